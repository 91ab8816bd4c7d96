//! The device grant (RFC 8628): a program shows a code, a person decides elsewhere.

use serde_json::{Value, json};
use shared::id::ClientId;
use shared::oauth::device::UserCode;
use shared::oauth::form;
use shared::oauth::register::AuthMethod;
use shared::scope::Scopes;
use shared::secret::{Secret, random_uuid};
use shared::state::{Change, Client, ClientOrigin, Device, DeviceStage, Effect, Program, Tool, Wanted};
use shared::time::Seconds;

use crate::support::documents::{Documents, document, ok};
use crate::support::http::Answer;
use crate::support::person::{Form, Person};
use crate::support::{Options, PASSWORD, Service, claims};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

fn device_client(service: &Service) -> String {
    let told = service.register(&json!({
        "redirect_uris": [], "token_endpoint_auth_method": "none", "grant_types": [GRANT, "refresh_token"],
    }));
    assert_eq!((&told["response_types"], told.get("redirect_uris")), (&json!([]), None), "{told}");
    told["client_id"].as_str().unwrap().to_owned()
}

fn start(service: &Service, client: &str, more: &[(&str, &str)]) -> Value {
    let answer = service.post("/oauth/device_authorization", &[&[("client_id", client)], more].concat());
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{}", answer.text());
    answer.json()
}

fn poll(service: &Service, client: &str, started: &Value) -> Answer {
    let code = started["device_code"].as_str().unwrap();
    service.post("/oauth/token", &[("grant_type", GRANT), ("client_id", client), ("device_code", code)])
}

/// Types the code; the page that follows.
fn type_code(person: &mut Person<'_>, code: &str) -> Answer {
    let page = person.get("/device");
    assert_eq!(page.status, 200, "{}", page.text());
    person.submit(&Form::first(&page).with("user_code", code))
}

/// Types the code and decides.
fn decide(person: &mut Person<'_>, code: &str, decision: &str) -> Answer {
    let page = type_code(person, code);
    page.is_page(200);
    let form = Form::first(&page).with("decision", decision);
    assert_eq!(form.action, "/device/consent");
    person.submit(&form)
}

#[test]
fn a_device_gets_tokens_once_a_person_has_typed_its_code_and_said_yes() {
    let service = Service::start();
    let client = device_client(&service);
    let started = start(&service, &client, &[("scope", "mcp:tools:read"), ("resource", "urn:mcp:stdio:a")]);
    assert_eq!((&started["expires_in"], &started["interval"]), (&json!(600), &json!(5)));
    let (page, code) = (format!("{}/device", service.issuer), started["user_code"].as_str().unwrap());
    assert_eq!(started["verification_uri"], page);
    assert_eq!(started["verification_uri_complete"], format!("{page}?user_code={code}"));
    poll(&service, &client, &started).fails(400, "authorization_pending");
    let mut ada = service.signed_in();
    let filled = ada.get(&format!("/device?user_code={code}"));
    filled.is_page(200);
    assert!(filled.text().contains(&format!("value=\"{code}\"")), "{}", filled.text());
    let asked = type_code(&mut ada, &code.to_lowercase().replace('-', " "));
    asked.is_page(200);
    for word in ["another device", code, "mcp:tools:read", "urn:mcp:stdio:a", "Nobody has checked"] {
        assert!(asked.text().contains(word), "{word}: {}", asked.text());
    }
    assert_eq!(ada.submit(&Form::first(&asked).with("decision", "allow")).status, 200);
    let answer = poll(&service, &client, &started);
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{}", answer.text());
    let tokens = answer.json();
    let said = claims(tokens["access_token"].as_str().unwrap());
    assert_eq!(
        (&said["sub"], &said["aud"], &said["scope"]),
        (&json!("ada"), &json!("urn:mcp:stdio:a"), &json!("mcp:tools:read"))
    );
    assert!(service.is_alive(tokens["access_token"].as_str().unwrap()));
    poll(&service, &client, &started).fails(400, "invalid_grant");
    assert!(service.is_alive(tokens["access_token"].as_str().unwrap()), "a late poll takes nothing away");
    assert_eq!(service.refresh(&client, tokens["refresh_token"].as_str().unwrap(), &[]).status, 200);
    type_code(&mut ada, code).is_page(400);
    let dump = service.dump_all();
    for secret in [code, &code.replace('-', ""), started["device_code"].as_str().unwrap()] {
        assert!(!dump.contains(secret), "{secret}");
    }
}

#[test]
fn ui_11_a_device_gets_only_the_tools_and_the_time_that_a_person_ticked() {
    let service = Service::start();
    let tool = |name: &str, scopes: &str| {
        let (name, scopes) = (name.parse().unwrap(), scopes.parse().unwrap());
        Tool { name, title: String::new(), effect: Effect::Destructive, scopes, print: None }
    };
    let announce = |resource: &str, tools| {
        service.commit(Change::ToolsAnnounced {
            resource: resource.parse().unwrap(),
            tools,
            scopes: Scopes::default(),
        });
    };
    announce("urn:mcp:stdio:a", vec![tool("look", "mcp:tools:read"), tool("purge", "mcp:tools:read")]);
    announce("urn:mcp:stdio:default", vec![tool("elsewhere", "mcp:tools:read")]);
    let client = device_client(&service);
    let begin = || start(&service, &client, &[("scope", "mcp:tools"), ("resource", "urn:mcp:stdio:a")]);
    let (started, stale) = (begin(), begin());
    let mut ada = service.signed_in();
    let page = type_code(&mut ada, started["user_code"].as_str().unwrap());
    for part in [
        "name=\"tool:look\" value=\"on\" checked",
        "<bdi>purge</bdi> <span class=\"badge destructive\">can destroy things</span>",
        "name=\"scope:mcp:tools:execute\" value=\"on\" checked",
        "name=\"lasting\" value=\"session\"",
    ] {
        assert!(page.text().contains(part), "{part}: {}", page.text());
    }
    assert!(!page.text().contains("elsewhere"));
    let form = Form::first(&page).with("decision", "allow").with("lasting", "session");
    ada.submit(&form).is_page(400);
    let form = form.with("scope:mcp:tools:read", "on").with("tool:look", "on");
    ada.submit(&form.clone().with("lasting", "for ever")).is_page(400);
    assert_eq!(ada.submit(&form).status, 200);
    let tokens = poll(&service, &client, &started).json();
    let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let said = claims(access);
    assert_eq!(said["scope"], "mcp:tools:read");
    let grant = said["grant"].as_str().unwrap().parse().unwrap();
    let grant = service.facts(&Wanted { grant: Some(grant), ..Wanted::default() }).grant.unwrap();
    assert_eq!((grant.allows("look"), grant.allows("purge")), (true, false));
    // Another tool, and a page that was made before is no yes to it.
    let form = Form::first(&type_code(&mut ada, stale["user_code"].as_str().unwrap())).with("decision", "allow");
    announce("urn:mcp:stdio:a", vec![tool("look", "mcp:tools:read"), tool("other", "mcp:tools:read")]);
    ada.submit(&form).is_page(400);
    poll(&service, &client, &stale).fails(400, "authorization_pending");
    // It ends with the login.
    assert!(service.is_alive(access));
    let page = ada.get("/device").text();
    let out = (0..).map(|nth| Form::nth(&page, nth)).find(|form| form.action == "/logout").unwrap();
    ada.submit(&out);
    assert!(!service.is_alive(access));
    service.refresh(&client, refresh, &[]).fails(400, "invalid_grant");
}

#[test]
fn every_outcome_has_its_word_and_who_polls_too_fast_is_told() {
    let service = Service::start();
    let client = device_client(&service);
    let mut ada = service.signed_in();
    let (denied, waiting) = (start(&service, &client, &[]), start(&service, &client, &[]));
    assert!(decide(&mut ada, denied["user_code"].as_str().unwrap(), "deny").text().contains("denied"));
    poll(&service, &client, &denied).fails(400, "access_denied");
    poll(&service, &client, &waiting).fails(400, "authorization_pending");
    poll(&service, &client, &waiting).fails(400, "slow_down");
    service.advance(5);
    poll(&service, &client, &waiting).fails(400, "slow_down");
    service.advance(15);
    poll(&service, &client, &waiting).fails(400, "authorization_pending");
    let other = device_client(&service);
    poll(&service, &other, &waiting).fails(400, "invalid_grant");
    let public = service.public_client();
    poll(&service, &public, &waiting).fails(400, "unauthorized_client");
    service.post("/oauth/device_authorization", &[("client_id", &public)]).fails(400, "unauthorized_client");
    service.advance(580);
    poll(&service, &client, &waiting).fails(400, "expired_token");
    type_code(&mut ada, waiting["user_code"].as_str().unwrap()).is_page(400);
    let unknown = json!({ "device_code": "x".repeat(43) });
    poll(&service, &client, &unknown).fails(400, "invalid_grant");
}

#[test]
fn what_cannot_be_asked_for_makes_no_code() {
    let service = Service::start();
    let client = device_client(&service);
    for (more, status, word) in [
        (&[("client_id", "c_nobody")][..], 401, "invalid_client"),
        (&[], 401, "invalid_client"),
        (&[("client_id", client.as_str()), ("client_secret", "x")], 401, "invalid_client"),
        (&[("client_id", client.as_str()), ("scope", "unknown")], 400, "invalid_scope"),
        (&[("client_id", client.as_str()), ("resource", "https://other.example")], 400, "invalid_target"),
    ] {
        service.post("/oauth/device_authorization", more).fails(status, word);
    }
    let get = service.get("/oauth/device_authorization");
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    assert_eq!(service.count("devices"), 0);
}

#[test]
fn ui_03_04_15_an_answer_belongs_to_one_page_one_session_and_one_device() {
    let service = Service::start();
    let client = device_client(&service);
    let (one, two) = (start(&service, &client, &[]), start(&service, &client, &[]));
    let (mut ada, mut eve) = (service.signed_in(), service.signed_in());
    let page = type_code(&mut ada, one["user_code"].as_str().unwrap());
    let other = type_code(&mut eve, two["user_code"].as_str().unwrap());
    let (form, foreign) = (Form::first(&page).with("decision", "allow"), Form::first(&other));
    ada.submit(&form.clone().without("csrf")).is_page(403);
    ada.submit(&form.clone().with("csrf", foreign.field("csrf"))).is_page(403);
    eve.submit(&form).is_page(403);
    Person::new(&service).submit(&form).is_page(403);
    ada.submit(&form.clone().with("decision", "perhaps")).is_page(400);
    ada.submit_with(&form, &[("Origin", "https://evil.example")]).is_page(403);
    poll(&service, &client, &one).fails(400, "authorization_pending");
    assert_eq!(ada.submit(&form).status, 200);
    ada.submit(&form).is_page(400);
    assert_eq!(poll(&service, &client, &one).status, 200);
    assert_eq!(service.count("grants"), 1);
    // The page on which a code is typed belongs to its session too.
    let entry = Form::first(&ada.get("/device")).with("user_code", two["user_code"].as_str().unwrap());
    eve.submit(&entry).is_page(403);
    service.advance(601);
    ada.submit(&entry).is_page(400);
}

#[test]
fn a_person_signs_in_on_the_way_and_the_code_is_not_lost() {
    let service = Service::start();
    let client = device_client(&service);
    let started = start(&service, &client, &[]);
    let code = started["user_code"].as_str().unwrap();
    let mut person = Person::new(&service);
    let url = format!("/device?user_code={code}");
    person.get(&url).is_page(200);
    assert_eq!(person.sign_in(&url, "ada", "wrong").status, 403);
    let answer = person.sign_in(&url, "ada", PASSWORD);
    assert_eq!((answer.status, answer.header("location")), (303, Some(url.as_str())));
    assert!(person.get(&url).text().contains(&format!("value=\"{code}\"")));
    let hostile = person.get(&format!("/device?user_code={}", form::encode_value("\"><script>alert(1)</script>")));
    hostile.is_page(200);
    assert!(decide(&mut person, code, "allow").text().contains("allowed"));
    assert_eq!(poll(&service, &client, &started).status, 200);
}

#[test]
fn who_guesses_codes_waits_and_who_starts_too_many_waits() {
    let service = Service::with(&Options { limits: true, ..Options::default() });
    let client = device_client(&service);
    let mut ada = service.signed_in();
    for _ in 0..5 {
        type_code(&mut ada, "BBBB-BBBB").is_page(400);
    }
    let started = start(&service, &client, &[]);
    let refused = type_code(&mut ada, started["user_code"].as_str().unwrap());
    refused.is_page(429);
    assert!(refused.header("retry-after").is_some());
    service.advance(60);
    type_code(&mut ada, started["user_code"].as_str().unwrap()).is_page(200);
    let start = || service.post("/oauth/device_authorization", &[("client_id", &client)]).status;
    assert!((0..300).any(|_| start() == 429), "one address cannot fill the store");
}

#[test]
fn thirty_two_polls_at_once_give_one_set_of_tokens() {
    let service = Service::start();
    let client = device_client(&service);
    let started = start(&service, &client, &[]);
    decide(&mut service.signed_in(), started["user_code"].as_str().unwrap(), "allow");
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..32).map(|_| scope.spawn(|| poll(&service, &client, &started))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(won.len(), 1);
    lost.iter().for_each(|answer| answer.fails(400, "invalid_grant"));
    assert!(service.is_alive(won[0].json()["access_token"].as_str().unwrap()));
    assert_eq!(service.count("access_tokens"), 1);
}

#[test]
fn a_client_by_its_metadata_document_may_ask_for_a_device_when_its_document_says_so() {
    let (documents, service) = (Documents::serve(), by_document());
    let client = documents.url("/client.json");
    service.post("/oauth/device_authorization", &[("client_id", &client)]).fails(400, "unauthorized_client");
    let address = documents.address;
    documents.answer(move |path| {
        let mut body = document(address, path);
        body["grant_types"] = json!([GRANT]);
        ok(&body)
    });
    let client = documents.url("/device.json");
    let started = start(&service, &client, &[]);
    let answer = decide(&mut service.signed_in(), started["user_code"].as_str().unwrap(), "allow");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let tokens = poll(&service, &client, &started).json();
    assert_eq!(claims(tokens["access_token"].as_str().unwrap())["client_id"], client);
}

fn by_document() -> Service {
    Service::with(&Options { policy: Some(|policy| policy.cimd.local = true), ..Options::default() })
}

#[test]
fn a_device_is_approved_at_once_in_development_mode() {
    let service = Service::with(&Options { auto_approve: true, ..Options::default() });
    let client = device_client(&service);
    let started = start(&service, &client, &[]);
    let answer = poll(&service, &client, &started);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(claims(answer.json()["access_token"].as_str().unwrap())["sub"], "demo");
    let hash = Secret::new(started["device_code"].as_str().unwrap().to_owned()).hash();
    assert!(service.facts(&Wanted { device: Some(hash), ..Wanted::default() }).device.is_some());
}

/// A device that a server on this machine asked for, its code, and its secret.
fn local_device(service: &Service, scopes: &str) -> (ClientId, UserCode, Secret) {
    let (id, code) = (ClientId::generated(random_uuid()), UserCode::draw(&[7; 8]).unwrap());
    let program =
        Program { name: "host\u{202e}".into(), path: Some("/opt/<b>host".into()), script: Some("/opt/host.js".into()) };
    let known = Client {
        id: id.clone(),
        name: Some(program.name.clone()),
        redirect_uris: Vec::new().into(),
        auth_method: Some(AuthMethod::None),
        grant_types: Vec::new().into(),
        secret: None,
        previous_secret: None,
        registration: None,
        scope: "".parse().unwrap(),
        client_uri: None,
        other: serde_json::Map::new(),
        resources: Vec::new().into(),
        program: Some(Box::new(program)),
        origin: ClientOrigin::Local,
        issued_at: service.clock_now(),
        approved_at: None,
        used_at: None,
    };
    let device = Secret::random();
    service.commit(Change::ClientRegistered(known));
    service.commit(Change::DeviceAsked(Device {
        hash: device.hash(),
        user_code: service.app.keys.user_code(&code),
        client: id.clone(),
        scopes: scopes.parse().unwrap(),
        resource: "urn:mcp:stdio:a".parse().unwrap(),
        expires: service.clock_now() + Seconds(600),
        stage: DeviceStage::Waiting,
    }));
    (id, code, device)
}

#[test]
fn n6_a_program_on_this_machine_is_named_by_the_machine_and_cannot_be_played_over_http() {
    let service = Service::start();
    let (id, code, device) = local_device(&service, "mcp:tools:read");
    let id = id.as_str();
    service.post("/oauth/device_authorization", &[("client_id", id)]).fails(400, "unauthorized_client");
    let body = [("grant_type", GRANT), ("client_id", id), ("device_code", device.expose())];
    service.post("/oauth/token", &body).fails(400, "unauthorized_client");
    let mut ada = service.signed_in();
    let query = format!("/oauth/authorize?response_type=code&client_id={id}&redirect_uri=http://127.0.0.1/cb");
    assert_eq!(ada.get(&query).status, 400);
    let page = type_code(&mut ada, &code.shown());
    page.is_page(200);
    for part in
        ["<bdi>host</bdi>", "the computer says which one it is", "/opt/&lt;b&gt;host /opt/host.js", "up to 90 days"]
    {
        let unslashed = page.text().replace("&#x2f;", "/");
        assert!(unslashed.contains(part), "{part}: {unslashed}");
    }
    assert!(!page.text().contains("another device") && !page.text().contains("Nobody has checked"));
    assert_eq!(ada.submit(&Form::first(&page).with("decision", "allow")).status, 200);
    service.post("/oauth/token", &body).fails(400, "unauthorized_client");
}

#[test]
fn a_link_for_a_program_on_this_machine_is_enough_where_nobody_is_asked() {
    for auto_approve in [true, false] {
        let service = Service::with(&Options { auto_approve, ..Options::default() });
        let (_, code, device) = local_device(&service, "mcp:tools:read");
        let stage = || {
            let wanted = Wanted { device: Some(device.hash()), ..Wanted::default() };
            service.facts(&wanted).device.unwrap().stage
        };
        let page = service.get(&format!("/device?user_code={}", code.shown()));
        assert_eq!(page.text().contains("Access allowed"), auto_approve, "{}", page.text());
        assert_eq!(matches!(stage(), DeviceStage::Approved(_)), auto_approve);
        let wrong = service.get("/device?user_code=BCDF-GHJK");
        assert!(!wrong.text().contains("Access allowed"));
    }
}

#[test]
fn ui_11_a_program_on_this_machine_is_given_its_servers_own_scopes_and_no_name_of_ours() {
    let service = Service::start();
    let (_, code, device) = local_device(&service, "files:write mcp:admin openid mcp:tools:read");
    let mut ada = service.signed_in();
    let page = type_code(&mut ada, &code.shown());
    let text = page.text();
    assert!(text.contains("name=\"scope:files:write\" value=\"on\" checked"), "{text}");
    assert!(text.contains("scope:mcp:tools:read") && !text.contains("mcp:admin") && !text.contains("openid"), "{text}");
    assert_eq!(ada.submit(&Form::first(&page).with("decision", "allow")).status, 200);
    let wanted = Wanted { device: Some(device.hash()), ..Wanted::default() };
    let granted = service.facts(&wanted).grant.unwrap().scopes;
    assert_eq!(granted.to_string(), "files:write mcp:tools:read");
}
