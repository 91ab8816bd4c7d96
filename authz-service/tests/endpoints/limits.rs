//! Contract C9 through the real program: every limit that can be set is taken exactly, and one more is refused with the
//! answer that it owes; with other values than the usual ones, smaller and larger, and with the usual ones.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value, json};
use shared::oauth::form;

use super::process::{APPROVE, Running};
use crate::support::documents::{Documents, document, with};
use crate::support::http::Answer;
use crate::support::person::Form;
use crate::support::{authorize_query, code_form};

/// What a limit is asked with: a running service, and how much.
type Probe = fn(&Fixture, usize) -> Answer;

/// What an answer must be.
#[derive(Clone, Copy, Debug)]
enum Owed {
    /// This status, with this `error` unless it is empty.
    Status(u16, &'static str),
    /// A redirect with a code.
    Code,
    /// A redirect with this error.
    Redirect(&'static str),
}

/// A limit: its flag, how it is asked, what is owed at the limit and one above.
struct Limit {
    flag: &'static str,
    probe: Probe,
    at: Owed,
    above: Owed,
}

const fn limit(flag: &'static str, probe: Probe, at: Owed, above: Owed) -> Limit {
    Limit { flag, probe, at, above }
}

/// A code that nobody has, of whatever length.
const DEAD: Owed = Owed::Status(400, "invalid_grant");
const MALFORMED: Owed = Owed::Status(400, "invalid_request");
const OTHER_GRANT: Owed = Owed::Status(400, "unsupported_grant_type");
const CREATED: Owed = Owed::Status(201, "");
const FINE: Owed = Owed::Status(200, "");
const METADATA: Owed = Owed::Status(400, "invalid_client_metadata");

const LIMITS: [Limit; 17] = [
    limit("max-form", form_of, OTHER_GRANT, Owed::Status(413, "invalid_request")),
    limit("max-registration", registration_of, CREATED, Owed::Status(413, "invalid_client_metadata")),
    limit("max-request-line", request_line_of, FINE, Owed::Status(414, "invalid_request")),
    limit("max-headers", headers_of, FINE, Owed::Status(431, "invalid_request")),
    limit("max-parameters", query_parameters, FINE, MALFORMED),
    limit("max-parameters", form_parameters, OTHER_GRANT, MALFORMED),
    limit("max-parameters", json_parameters, OTHER_GRANT, MALFORMED),
    limit("max-json-depth", json_depth, CREATED, METADATA),
    limit("max-text", text_of, CREATED, METADATA),
    limit("max-client-name", client_name_of, CREATED, METADATA),
    limit("max-redirect-uris", redirect_uris, CREATED, Owed::Status(400, "invalid_redirect_uri")),
    limit("max-state", state_of, Owed::Code, Owed::Redirect("invalid_request")),
    limit("max-token", code_in_form, DEAD, MALFORMED),
    limit("max-token", code_in_json, DEAD, MALFORMED),
    limit("max-token", token_to_revoke, FINE, MALFORMED),
    limit("max-token", parameter_of_authorize, Owed::Code, Owed::Redirect("invalid_request")),
    limit("max-document", document_of, Owed::Code, Owed::Status(400, "")),
];

const KIB: usize = 1024;

/// The settings of [`LIMITS`]: smaller than usual, usual (contract C9), larger.
const VALUES: [(&str, [usize; 3]); 12] = [
    ("max-form", [2 * KIB, 64 * KIB, 128 * KIB]),
    ("max-registration", [2 * KIB, 64 * KIB, 128 * KIB]),
    ("max-request-line", [3 * KIB, 16 * KIB, 20 * KIB]),
    ("max-headers", [2 * KIB, 32 * KIB, 40 * KIB]),
    ("max-parameters", [12, 200, 300]),
    ("max-json-depth", [6, 64, 100]),
    ("max-text", [100, KIB, 2 * KIB]),
    ("max-client-name", [20, 128, 200]),
    ("max-redirect-uris", [3, 10, 20]),
    ("max-token", [KIB, 8 * KIB, 10 * KIB]),
    ("max-state", [64, 4 * KIB, 6 * KIB]),
    ("max-document", [KIB, 5 * KIB, 8 * KIB]),
];

struct Fixture {
    service: Running,
    client: String,
    documents: Documents,
}

impl Fixture {
    fn send(&self, method: &str, target: &str, content_type: &str, body: &str) -> Answer {
        self.service.connect().send(method, target, &[("Content-Type", content_type)], body.as_bytes())
    }

    fn form(&self, body: &str) -> Answer {
        self.send("POST", "/oauth/token", "application/x-www-form-urlencoded", body)
    }

    fn json(&self, body: &Value) -> Answer {
        self.send("POST", "/oauth/token", "application/json", &body.to_string())
    }

    fn register(&self, name: &str, value: Value) -> Answer {
        let mut body = json!({ "redirect_uris": ["http://127.0.0.1/cb"] });
        body[name] = value;
        self.send("POST", "/register", "application/json", &body.to_string())
    }

    fn get(&self, target: &str) -> Answer {
        self.service.connect().send("GET", target, &[], b"")
    }

    fn authorize(&self, client: &str, more: &[(&str, &str)]) -> Answer {
        self.get(&format!("/oauth/authorize?{}", authorize_query(client, more)))
    }
}

/// A JSON text with spaces behind it.
fn padded(body: &str, bytes: usize) -> String {
    format!("{body}{}", " ".repeat(bytes - body.len()))
}

fn form_of(it: &Fixture, bytes: usize) -> Answer {
    // Empty parameters count as none, but take their bytes.
    it.form(&format!("grant_type=x{}", "&".repeat(bytes - 12)))
}

fn registration_of(it: &Fixture, bytes: usize) -> Answer {
    let body = r#"{"redirect_uris":["http://127.0.0.1/cb"]}"#;
    it.send("POST", "/register", "application/json", &padded(body, bytes))
}

fn request_line_of(it: &Fixture, bytes: usize) -> Answer {
    it.get(&format!("/health?{}", "&".repeat(bytes - "GET /health? HTTP/1.1".len())))
}

fn headers_of(it: &Fixture, bytes: usize) -> Answer {
    let head = "Host: localhost\r\nX-Padding: \r\n";
    let padding = "x".repeat(bytes - head.len());
    let request = format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX-Padding: {padding}\r\n\r\n");
    it.service.connect().raw(request.as_bytes(), false)
}

fn query_parameters(it: &Fixture, count: usize) -> Answer {
    it.get(&format!("/health?{}", vec!["a"; count].join("&")))
}

fn form_parameters(it: &Fixture, count: usize) -> Answer {
    let more: String = (1..count).map(|n| format!("&p{n}=1")).collect();
    it.form(&format!("grant_type=x{more}"))
}

fn json_parameters(it: &Fixture, count: usize) -> Answer {
    let more = (1..count).map(|n| (format!("p{n}"), json!("1")));
    it.json(&Value::Object(more.chain([("grant_type".to_owned(), json!("x"))]).collect::<Map<_, _>>()))
}

fn json_depth(it: &Fixture, depth: usize) -> Answer {
    // The object itself is one.
    it.register("x", (1..depth - 1).fold(json!([]), |inner, _| json!([inner])))
}

fn text_of(it: &Fixture, bytes: usize) -> Answer {
    it.register("software_id", json!("x".repeat(bytes)))
}

fn client_name_of(it: &Fixture, characters: usize) -> Answer {
    it.register("client_name", json!("ä".repeat(characters)))
}

fn redirect_uris(it: &Fixture, count: usize) -> Answer {
    it.register("redirect_uris", (0..count).map(|n| json!(format!("http://127.0.0.1/{n}"))).collect())
}

fn state_of(it: &Fixture, bytes: usize) -> Answer {
    let state = "%".repeat(bytes / 8) + &"s".repeat(bytes - bytes / 8);
    let answer = it.authorize(&it.client, &[("state", &state)]);
    // Exactly, or not at all (C4).
    assert!(answer.redirected("state").is_none_or(|back| back == state));
    answer
}

fn code_in_form(it: &Fixture, bytes: usize) -> Answer {
    it.service.post("/oauth/token", &code_form(&it.client, &"c".repeat(bytes)))
}

fn code_in_json(it: &Fixture, bytes: usize) -> Answer {
    let code = "c".repeat(bytes);
    let members = code_form(&it.client, &code).into_iter().map(|(name, value)| (name.to_owned(), json!(value)));
    it.json(&Value::Object(members.collect()))
}

fn token_to_revoke(it: &Fixture, bytes: usize) -> Answer {
    it.service.post("/oauth/revoke", &[("client_id", &it.client), ("token", &"t".repeat(bytes))])
}

fn parameter_of_authorize(it: &Fixture, bytes: usize) -> Answer {
    it.authorize(&it.client, &[("unknown", &"u".repeat(bytes))])
}

fn document_of(it: &Fixture, bytes: usize) -> Answer {
    let address = it.documents.address;
    it.documents.answer(move |path| {
        let body = document(address, path).to_string();
        with("200 OK", "Content-Type: application/json\r\n", &padded(&body, bytes))
    });
    it.authorize(&it.documents.url(&format!("/{bytes}")), &[])
}

#[track_caller]
fn is_owed(what: &str, answer: &Answer, owed: Owed) {
    let redirected = |name| answer.redirected(name);
    match owed {
        Owed::Status(status, "") => assert_eq!(answer.status, status, "{what}: {}", answer.text()),
        Owed::Status(status, word) => {
            assert_eq!((answer.status, &answer.json()["error"]), (status, &json!(word)), "{what}: {}", answer.text());
        }
        Owed::Code => assert!(redirected("code").is_some(), "{what}: {} {}", answer.status, answer.text()),
        Owed::Redirect(word) => assert_eq!(redirected("error").as_deref(), Some(word), "{what}: {}", answer.text()),
    }
}

fn every_limit_holds(which: usize) {
    let data = tempfile::tempdir().unwrap();
    let flags: Vec<_> = VALUES.iter().map(|(flag, values)| format!("--{flag}={}", values[which])).collect();
    let flags = flags.iter().map(String::as_str).filter(|_| which != 1);
    let args: Vec<_> = APPROVE.into_iter().chain(["--cimd-allow-private"]).chain(flags).collect();
    let service = Running::start(data.path(), &args);
    let client = service.register();
    let it = Fixture { service, client, documents: Documents::serve() };
    for Limit { flag, probe, at, above } in LIMITS {
        let (_, values) = VALUES.iter().find(|(name, _)| *name == flag).unwrap();
        let most = values[which];
        is_owed(&format!("--{flag}: {most}"), &probe(&it, most), at);
        is_owed(&format!("--{flag}: {most} and one"), &probe(&it, most + 1), above);
    }
}

#[test]
fn c9_reg_10_every_limit_smaller_than_usual_is_taken_exactly_and_one_more_is_refused() {
    every_limit_holds(0);
}

#[test]
fn c9_reg_10_every_limit_is_taken_exactly_by_default_and_one_more_is_refused() {
    every_limit_holds(1);
}

#[test]
fn c9_reg_10_every_limit_larger_than_usual_is_taken_exactly_and_one_more_is_refused() {
    every_limit_holds(2);
}

/// What came, and how long it took until the other side closed, while `byte` is sent every tenth of a second.
fn until_closed(service: &Running, first: &[u8], byte: Option<u8>) -> (String, Duration) {
    let mut stream = TcpStream::connect(service.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let begun = Instant::now();
    stream.write_all(first).unwrap();
    let (mut came, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        assert!(begun.elapsed().as_secs() < 20, "it is never closed; there came {}", String::from_utf8_lossy(&came));
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => came.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if let Some(byte) = byte {
                    let _ = stream.write_all(&[byte]);
                }
            }
            Err(_) => break,
        }
    }
    (String::from_utf8_lossy(&came).into_owned(), begun.elapsed())
}

#[test]
fn c9_htp_02_slow_headers_bodies_and_idle_connections_are_closed_when_their_time_is_over() {
    let data = tempfile::tempdir().unwrap();
    let head = "POST /oauth/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let begun_body = format!("{head}Content-Length: 1000\r\n\r\ngrant_type=x");
    let whole = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // Each time on its own, beside others that are far longer: it is this one that ends it.
    for (flag, first, byte, status) in [
        ("header-time", "GET /health HTTP/1.1\r\nHost: local", None, "HTTP/1.1 408"),
        ("header-time", "GET /health HTTP/1.1\r\nHost: local", Some(b'a'), "HTTP/1.1 408"),
        ("body-time", &begun_body, None, "HTTP/1.1 408"),
        ("body-time", &begun_body, Some(b'a'), "HTTP/1.1 408"),
        ("idle-time", whole, None, "HTTP/1.1 200"),
    ] {
        let usual = ["header-time", "body-time", "idle-time"].map(|name| {
            let time = if name == flag { "2s" } else { "60s" };
            format!("--{name}={time}")
        });
        let service = Running::start(data.path(), &usual.each_ref().map(String::as_str));
        let (came, took) = until_closed(&service, first.as_bytes(), byte);
        assert!(came.starts_with(status), "{flag} {byte:?}: {came}");
        assert!((1..6).contains(&took.as_secs()), "{flag} {byte:?}: {took:?}");
        if flag == "body-time" {
            assert!(came.contains("invalid_request") && came.contains("no-store"), "{came}");
        }
        // And others are served.
        assert_eq!(service.connect().send("GET", "/health", &[], b"").status, 200);
    }
}

#[test]
fn c9_cim_07_a_document_that_trickles_in_is_given_up_when_the_time_that_was_chosen_is_over() {
    let data = tempfile::tempdir().unwrap();
    let documents = Documents::serve();
    documents.trickle(Duration::from_millis(100), true);
    let service = Running::start(data.path(), &["--cimd-allow-private", "--document-time", "2s"]);
    let begun = Instant::now();
    let target = format!("/oauth/authorize?{}", authorize_query(&documents.url("/c"), &[]));
    let page = service.connect().send("GET", &target, &[], b"");
    page.is_page(400);
    assert!(page.text().contains("did not arrive in time"), "{}", page.text());
    assert!((1..5).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

/// One request from an address behind the proxy.
type Ask = fn(&Service, &str) -> u16;

/// A service behind a proxy on this machine, with a public client and one that has a secret.
struct Service {
    running: Running,
    public: String,
    confidential: String,
}

impl Service {
    fn send(&self, source: &str, target: &str, content_type: &str, body: &str) -> u16 {
        let headers = [("Content-Type", content_type), ("X-Forwarded-For", source)];
        self.running.connect().send("POST", target, &headers, body.as_bytes()).status
    }

    fn form(&self, source: &str, target: &str, fields: &[(&str, &str)]) -> u16 {
        self.send(source, target, "application/x-www-form-urlencoded", &form::encode(fields))
    }
}

fn register(it: &Service, source: &str) -> u16 {
    it.send(source, "/register", "application/json", r#"{"redirect_uris":["http://127.0.0.1/cb"]}"#)
}

fn wrong_secret(it: &Service, source: &str) -> u16 {
    it.form(source, "/oauth/token", &[&code_form(&it.confidential, "x")[..], &[("client_secret", "wrong")]].concat())
}

fn wrong_code(it: &Service, source: &str) -> u16 {
    it.form(source, "/oauth/token", &code_form(&it.public, "x"))
}

fn wrong_refresh_token(it: &Service, source: &str) -> u16 {
    let fields = [("grant_type", "refresh_token"), ("client_id", &it.public), ("refresh_token", "x")];
    it.form(source, "/oauth/token", &fields)
}

fn wrong_password(it: &Service, source: &str) -> u16 {
    let page = it.running.connect().send("GET", "/account", &[], b"");
    let cookie = page.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let filled = Form::first(&page).with("username", "nobody").with("password", "a wrong password");
    let fields: Vec<_> = filled.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let kind = ("Content-Type", "application/x-www-form-urlencoded");
    let headers = [kind, ("X-Forwarded-For", source), ("Cookie", &cookie)];
    it.running.connect().send("POST", "/login", &headers, form::encode(&fields).as_bytes()).status
}

fn device(it: &Service, source: &str) -> u16 {
    it.form(source, "/oauth/device_authorization", &[("client_id", &it.public)])
}

fn push(it: &Service, source: &str) -> u16 {
    it.send(source, "/oauth/par", "application/x-www-form-urlencoded", &authorize_query(&it.public, &[]))
}

#[test]
fn reg_17_tok_19_every_rate_is_taken_exactly_one_more_waits_and_other_addresses_go_on() {
    let data = tempfile::tempdir().unwrap();
    for (flag, ask, usual) in [
        ("rate-registrations", register as Ask, 201),
        ("rate-failed-clients", wrong_secret, 401),
        ("rate-failed-grants", wrong_code, 400),
        ("rate-failed-grants", wrong_refresh_token, 400),
        ("rate-failed-logins", wrong_password, 403),
        ("rate-failed-logins-in-all", wrong_password, 403),
        ("rate-devices", device, 200),
        ("rate-pushed", push, 201),
    ] {
        let running = Running::start(data.path(), &["--behind-proxy", "127.0.0.1", &format!("--{flag}=3")]);
        let client = |method: &str| {
            let body = json!({
                "redirect_uris": ["http://127.0.0.1/cb"],
                "token_endpoint_auth_method": method,
                "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
            });
            let headers = [("Content-Type", "application/json")];
            let answer = running.connect().send("POST", "/register", &headers, body.to_string().as_bytes());
            answer.json()["client_id"].as_str().unwrap().to_owned()
        };
        let (public, confidential) = (client("none"), client("client_secret_post"));
        let it = Service { running, public, confidential };
        #[expect(clippy::disallowed_methods, reason = "the running service counts by the same clock")]
        let minute = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / 60;
        // Failures are counted by the minute of the clock: once more from elsewhere if it went by meanwhile.
        let told = (1..5).find_map(|host| {
            let (begun, source) = (minute(), format!("192.0.2.{host}"));
            let told: Vec<_> = (0..5).map(|_| ask(&it, &source)).collect();
            (minute() == begun).then_some(told)
        });
        assert_eq!(told.unwrap(), [usual, usual, usual, 429, 429], "--{flag}");
        assert_eq!(ask(&it, "198.51.100.1"), usual, "--{flag}: another address");
    }
}

#[test]
fn tok_19_the_right_client_at_another_address_is_served_while_a_guesser_waits() {
    let data = tempfile::tempdir().unwrap();
    let args = ["--behind-proxy", "127.0.0.1", "--rate-failed-clients=3", "--auto-approve"];
    let running = Running::start(data.path(), &args);
    let body = br#"{"redirect_uris":["http://127.0.0.1/cb"],"token_endpoint_auth_method":"client_secret_post"}"#;
    let made = running.connect().send("POST", "/register", &[("Content-Type", "application/json")], body).json();
    let [confidential, secret] = ["client_id", "client_secret"].map(|name| made[name].as_str().unwrap().to_owned());
    let code = running.code(&confidential);
    let it = Service { running, public: String::new(), confidential };
    let told: Vec<_> = (0..100).map(|_| wrong_secret(&it, "192.0.2.1")).collect();
    assert!(told.contains(&429) && told.iter().all(|status| [401, 429].contains(status)), "{told:?}");
    let right = [&code_form(&it.confidential, &code)[..], &[("client_secret", &secret)]].concat();
    assert_eq!(it.form("192.0.2.2", "/oauth/token", &right), 200);
}
