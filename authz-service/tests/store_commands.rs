//! `authz-service store …` through the real program.

#[path = "support/http.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod http;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use shared::files;
use shared::secret::{Secret, TokenHash};
use shared::state::{Change, InitialToken, RevocationCause, Session, Wanted};
use shared::store::Store;
use shared::store::conformance::Sample;
use shared::store::journal::JournalStore;
use shared::time::{Clock, Seconds, SystemClock};

const BINARY: &str = env!("CARGO_BIN_EXE_authz-service");

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn json(&self, code: i32) -> Value {
        assert_eq!(self.code, code, "{} {}", self.out, self.err);
        let value: Value = serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out));
        assert_eq!(value["ok"], code == 0, "{value}");
        assert_eq!(self.out, format!("{}\n", serde_json::to_string_pretty(&value).unwrap()), "as every command");
        value
    }
}

fn store(folder: &Path, args: &[&str]) -> Said {
    let mut command = Command::new(BINARY);
    let output = command.arg("store").args(args).arg("--data").arg(folder).env_remove("RUST_LOG").output().unwrap();
    let said = Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(!said.err.contains("panicked"), "{}", said.err);
    said
}

struct Filled {
    parent: tempfile::TempDir,
    folder: PathBuf,
    samples: Vec<Sample>,
}

fn open(folder: &Path) -> JournalStore {
    JournalStore::open(folder, Arc::new(SystemClock)).unwrap()
}

/// A store of two authorizations.
fn filled() -> Filled {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("store");
    let open = open(&folder);
    open.keys().unwrap();
    let samples = vec![Sample::new(SystemClock.now()), Sample::new(SystemClock.now())];
    for sample in &samples {
        for changes in [sample.known(), sample.approved(), sample.redeemed()] {
            open.commit_blocking(changes).unwrap();
        }
    }
    drop(open);
    Filled { parent, folder, samples }
}

impl Filled {
    fn journal(&self) -> PathBuf {
        self.folder.join("journal.1.jsonl")
    }

    fn aside(&self, name: &str) -> PathBuf {
        self.parent.path().join(name)
    }

    /// Changes one byte of a line, counted from 1.
    fn damage(&self, path: &Path, line: usize) {
        let mut bytes = fs::read(path).unwrap();
        let start = bytes.split_inclusive(|byte| *byte == b'\n').take(line - 1).map(<[u8]>::len).sum::<usize>();
        bytes[start + 8] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    fn lives(&self, sample: &Sample) -> bool {
        lives(&self.folder, sample)
    }
}

fn lives(folder: &Path, sample: &Sample) -> bool {
    let mut lives = false;
    open(folder).read(&mut |state| lives = state.facts(&sample.wants_access()).grant_lives()).unwrap();
    lives
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A running service; killed when the test ends.
struct Service {
    child: Child,
    address: std::net::SocketAddr,
}

impl Service {
    fn start(folder: &Path) -> Self {
        let args = ["serve", "--listen", "127.0.0.1:0", "--data"];
        let mut child =
            Command::new(BINARY).args(args).arg(folder).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address =
            lines.find_map(|line| line.trim().strip_prefix("Listening on").map(|a| a.trim().parse().unwrap()));
        // Reads the rest, so that the service can write it.
        std::thread::spawn(move || lines.count());
        Self { child, address: address.expect("it starts") }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn check_says_that_all_is_well_beside_a_running_service_too() {
    let filled = filled();
    let alone = store(&filled.folder, &["check", "--json"]).json(0);
    assert_eq!((&alone["commits"], &alone["findings"]), (&json!(7), &json!([])));
    let _service = Service::start(&filled.folder);
    let beside = store(&filled.folder, &["check"]);
    assert!(beside.code == 0 && beside.out.contains("every line fits"), "{} {}", beside.out, beside.err);
}

#[test]
fn sto_07_check_names_file_and_line_says_what_to_do_and_changes_nothing() {
    let filled = filled();
    for (path, line, advice) in [(filled.journal(), 3, "store repair"), (filled.journal(), 1, "store import")] {
        let whole = fs::read(&path).unwrap();
        filled.damage(&path, line);
        let damaged = fs::read(&path).unwrap();
        let said = store(&filled.folder, &["check", "--json"]).json(1);
        let finding = &said["findings"][0];
        assert_eq!((&finding["weight"], &finding["line"]), (&json!("damage"), &json!(line)));
        assert_eq!(finding["path"], path.to_str().unwrap());
        assert!(finding["advice"].as_str().unwrap().contains(advice), "{finding}");
        let text = store(&filled.folder, &["check"]);
        assert!(text.code == 1 && text.out.contains(&format!("journal.1.jsonl line {line}: ")), "{}", text.out);
        assert_eq!(fs::read(&path).unwrap(), damaged);
        fs::write(&path, whole).unwrap();
    }
    assert_eq!(store(&filled.folder, &["compact"]).code, 0);
    let snapshot = filled.folder.join("snapshot.2.jsonl");
    filled.damage(&snapshot, 2);
    let said = store(&filled.folder, &["check", "--json"]).json(1);
    assert_eq!(said["findings"][0]["path"], snapshot.to_str().unwrap());
}

#[test]
fn sto_07_hand_edited_nonsense_is_refused_with_file_and_line() {
    let junk = [
        json!({ "n": 8, "t": -1, "c": [] }),
        json!({ "n": 8, "t": 1, "c": [{ "user_created": { "name": 5 } }] }),
        json!({ "n": 8, "t": 1, "c": "x".repeat(10 << 20) }),
        json!({ "n": 9, "t": 1, "c": [] }),
    ];
    for body in junk {
        let filled = filled();
        let mut text = fs::read_to_string(filled.journal()).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        text.push_str(&chained(&body, last["h"].as_str().unwrap()));
        fs::write(filled.journal(), text).unwrap();
        let said = store(&filled.folder, &["check", "--json"]).json(1);
        assert_eq!(said["findings"][0]["line"], 9, "{said}");
        assert!(JournalStore::open(&filled.folder, Arc::new(SystemClock)).is_err());
    }
}

/// The line of a commit with the right hash, as `docs/STORE.md` has it.
fn chained(body: &Value, prev: &str) -> String {
    let prev: TokenHash = serde_json::from_value(json!(prev)).unwrap();
    let text = body.to_string();
    let text = &text[..text.len() - 1];
    let hash = TokenHash::of(&[prev.as_bytes().as_slice(), text.as_bytes()].concat());
    format!("{text},\"h\":{}}}\n", serde_json::to_string(&hash).unwrap())
}

#[cfg(unix)]
#[test]
fn check_looks_at_keys_and_modes_and_leftovers() {
    use std::os::unix::fs::PermissionsExt;
    let filled = filled();
    let keys = filled.folder.join("keys.json");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
    let said = store(&filled.folder, &["check", "--json"]).json(1);
    assert_eq!((&said["findings"][0]["weight"], &said["findings"][0]["path"]), (&json!("problem"), &json!(keys)));
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
    files::replace(&filled.folder.join("snapshot.2.jsonl.tmp"), b"half").unwrap();
    let said = store(&filled.folder, &["check", "--json"]).json(0);
    assert_eq!(said["findings"][0]["weight"], "note");
    let private = fs::read_to_string(&keys).unwrap();
    files::replace(&keys, b"{\"format\":\"mcp-authz-keys 1\",\"pkcs8\":\"hunter2\"}").unwrap();
    let said = store(&filled.folder, &["check"]);
    assert!(said.code == 1 && said.out.contains("keys.json") && !said.out.contains("hunter2"), "{}", said.out);
    files::replace(&keys, private.as_bytes()).unwrap();
    // What a crash leaves at the end is no damage.
    let text = fs::read_to_string(filled.journal()).unwrap();
    fs::write(filled.journal(), &text[..text.len() - 9]).unwrap();
    let said = store(&filled.folder, &["check", "--json"]).json(0);
    assert!(said["findings"].as_array().unwrap().iter().any(|finding| finding["what"].to_string().contains("crash")));
}

#[test]
fn stats_count_what_lives_and_what_has_ended() {
    let filled = filled();
    let revoked = Change::GrantRevoked { grant: filled.samples[0].grant.id, cause: RevocationCause::User };
    open(&filled.folder).commit_blocking(vec![revoked]).unwrap();
    let said = store(&filled.folder, &["stats", "--json"]).json(0);
    assert_eq!(said["records"]["grants"], json!({ "live": 1, "ended": 1 }));
    assert_eq!(said["records"]["clients"], json!({ "live": 2, "ended": 0 }));
    assert_eq!(said["records"]["codes"], json!({ "live": 0, "ended": 2 }));
    assert_eq!((&said["commits"], &said["generation"], &said["growth"]), (&json!(8), &json!(1), &Value::Null));
    store(&filled.folder, &["compact"]);
    let said = store(&filled.folder, &["stats", "--json"]).json(0);
    assert!(said["growth"].as_f64().is_some_and(|growth| growth < 1.0), "{said}");
    let text = store(&filled.folder, &["stats"]);
    assert!(text.code == 0 && text.out.contains("last commit") && text.err.is_empty(), "{} {}", text.out, text.err);
}

#[test]
fn an_export_is_private_and_makes_the_same_store_elsewhere() {
    let filled = filled();
    let (first, second, there) = (filled.aside("one.jsonl"), filled.aside("two.jsonl"), filled.aside("there"));
    let service = Service::start(&filled.folder);
    let said = store(&filled.folder, &["export", first.to_str().unwrap(), "--json"]).json(0);
    assert_eq!(said["records"]["grants"], 2);
    drop(service);
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&first).unwrap().permissions()) & 0o777, 0o600);
    let import = ["import", first.to_str().unwrap(), "--json"];
    store(&there, &[&import[..], &["--dry-run"]].concat()).json(0);
    assert!(!there.exists(), "a dry run makes nothing");
    assert_eq!(store(&there, &import).json(0)["records"], said["records"]);
    store(&there, &["export", second.to_str().unwrap()]);
    let records = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<_> = text.lines().skip(1).map(str::to_owned).collect();
        let header: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let mut records = lines[..lines.len() - 1].to_vec();
        records.sort();
        (records, header["store"].clone(), header["seq"].clone(), header["prev"].clone())
    };
    assert_eq!(records(&first), records(&second));
    // And it works on: the chain continues, at the commit of the export.
    open(&there).commit_blocking(Sample::new(SystemClock.now()).known()).unwrap();
    assert!(filled.samples.iter().all(|sample| lives(&there, sample)));
    store(&there, &["check", "--json"]).json(0);
    let again = store(&there, &import).json(1);
    assert!(again["error"].as_str().unwrap().contains("already"), "{again}");
}

#[test]
fn a_damaged_export_is_refused_whole() {
    let filled = filled();
    let (file, there) = (filled.aside("export.jsonl"), filled.aside("there"));
    store(&filled.folder, &["export", file.to_str().unwrap()]);
    let whole = fs::read(&file).unwrap();
    for at in (10..whole.len() - 1).step_by(whole.len() / 12) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&file, damaged).unwrap();
        assert_eq!(store(&there, &["import", file.to_str().unwrap()]).code, 1, "byte {at}");
        fs::write(&file, &whole[..at]).unwrap();
        assert_eq!(store(&there, &["import", file.to_str().unwrap()]).code, 1, "cut at {at}");
        assert!(names(&there).is_empty());
    }
    let missing = store(&there, &["import", "/no/such/file"]);
    assert!(missing.code == 1 && missing.err.contains("/no/such/file"), "{}", missing.err);
}

#[test]
fn adm_03_a_redacted_export_has_no_hash_and_is_no_backup() {
    let filled = filled();
    let mut client = Sample::new(SystemClock.now()).client;
    client.name = Some("evil\u{1b}[2J\u{202e}".into());
    open(&filled.folder).commit_blocking(vec![Change::ClientRegistered(client)]).unwrap();
    let said = store(&filled.folder, &["export", "-", "--redacted"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let whole = store(&filled.folder, &["export", "-"]).out;
    let hash = |hash: &TokenHash| serde_json::to_string(hash).unwrap();
    for sample in &filled.samples {
        for secret in [hash(&sample.family.current), hash(&sample.code.hash)] {
            assert!(whole.contains(&secret) && !said.out.contains(&secret));
        }
        assert!(said.out.contains(&sample.grant.id.to_string()));
    }
    assert!(!said.out.contains("challenge") && said.err.contains("redacted"));
    let file = filled.aside("redacted.jsonl");
    fs::write(&file, &said.out).unwrap();
    let there = filled.aside("there");
    let refused = store(&there, &["import", file.to_str().unwrap()]);
    assert!(refused.code == 1 && refused.err.contains("--redacted"), "{}", refused.err);
    assert!(!there.exists());
}

#[test]
fn repair_keeps_what_can_be_read_ends_what_was_ended_and_deletes_nothing() {
    let filled = filled();
    let [first, second] = [&filled.samples[0], &filled.samples[1]];
    let next = Secret::random();
    let open_store = open(&filled.folder);
    let third = Sample::new(SystemClock.now());
    for changes in [third.known(), third.approved(), third.redeemed()] {
        open_store.commit_blocking(changes).unwrap();
    }
    // Line 12 will be damaged; these two come after it.
    open_store.commit_blocking(Sample::new(SystemClock.now()).known()).unwrap();
    open_store
        .commit_blocking(vec![Change::GrantRevoked { grant: first.grant.id, cause: RevocationCause::User }])
        .unwrap();
    open_store.commit_blocking(second.rotated(second.family.current, next.hash())).unwrap();
    drop(open_store);
    filled.damage(&filled.journal(), 12);
    let damaged = fs::read(filled.journal()).unwrap();
    let service = store(&filled.folder, &["repair", "--dry-run", "--json"]).json(0);
    assert_eq!((&service["line"], &service["kept_commits"]), (&json!(12), &json!(10)));
    assert_eq!((&service["lost_lines"], &service["ended"]), (&json!(3), &json!(2)));
    assert_eq!(fs::read(filled.journal()).unwrap(), damaged, "a dry run changes nothing");
    let said = store(&filled.folder, &["repair", "--json"]).json(0);
    assert_eq!(fs::read(said["set_aside"].as_str().unwrap()).unwrap(), damaged, "nothing is deleted");
    let checked = store(&filled.folder, &["check", "--json"]).json(0);
    assert_eq!(checked["commits"], 11);
    assert!(!filled.lives(first), "a lost revocation is made again");
    assert!(!filled.lives(second), "a spent refresh token does not come back to life");
    assert!(filled.lives(&third));
    let audit = fs::read_to_string(filled.journal()).unwrap();
    assert!(audit.contains(r#"{"store_repaired":{"line":12,"#));
    let again = store(&filled.folder, &["repair"]);
    assert!(again.code == 1 && again.err.contains("nothing is damaged"), "{}", again.err);
    // What was set aside outlives a compaction.
    store(&filled.folder, &["compact"]);
    assert!(Path::new(said["set_aside"].as_str().unwrap()).exists());
}

#[test]
fn repair_ends_what_a_lost_password_had_ended_and_counts_every_use_of_a_registration_token() {
    let filled = filled();
    let [first, second] = [&filled.samples[0], &filled.samples[1]];
    let (now, hash, session) = (SystemClock.now(), TokenHash::of(b"initial"), TokenHash::of(b"session"));
    let expires = now + Seconds(3600);
    let opened = Session { hash: session, user: first.user.name.clone(), created: now, expires, grants: vec![] };
    let token = InitialToken { hash, note: None, created: now, expires, uses: 3 };
    let open_store = open(&filled.folder);
    let user = first.user.name.clone();
    for changes in [
        vec![Change::SessionOpened(opened), Change::InitialTokenIssued(token)],
        // The line that will be damaged.
        Sample::new(now).known(),
        vec![Change::PasswordChanged { user, password: "new".to_owned() }],
        vec![Change::InitialTokenSpent(hash)],
        vec![Change::InitialTokenSpent(hash)],
    ] {
        open_store.commit_blocking(changes).unwrap();
    }
    drop(open_store);
    let lines = fs::read_to_string(filled.journal()).unwrap().lines().count();
    filled.damage(&filled.journal(), lines - 3);
    let said = store(&filled.folder, &["repair"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(!filled.lives(first) && filled.lives(second), "the grants from before the new password have ended");
    let wanted = Wanted { session: Some(session), initial: Some(hash), ..Wanted::default() };
    let mut left = None;
    open(&filled.folder)
        .read(&mut |state| {
            let facts = state.facts(&wanted);
            left = Some((facts.session.is_some(), facts.initial.map(|token| token.uses)));
        })
        .unwrap();
    assert_eq!(left, Some((false, Some(1))));
}

#[cfg(unix)]
#[test]
fn an_export_never_takes_the_place_of_the_store_or_of_a_device() {
    let filled = filled();
    let before = fs::read(filled.journal()).unwrap();
    // A link, so that a failure of this test harms no device.
    let device = filled.aside("device");
    std::os::unix::fs::symlink("/dev/null", &device).unwrap();
    for file in [filled.journal(), filled.folder.join("keys.json"), device.clone(), filled.parent.path().into()] {
        let refused = store(&filled.folder, &["export", file.to_str().unwrap()]);
        assert!(refused.code == 1 && refused.err.contains("name"), "{} {}", refused.out, refused.err);
    }
    assert_eq!(fs::read(filled.journal()).unwrap(), before);
    assert!(device.is_symlink());
}

#[cfg(unix)]
#[test]
fn sto_04_a_check_does_not_wait_for_keys_that_are_a_fifo() {
    let filled = filled();
    let keys = filled.folder.join("keys.json");
    fs::remove_file(&keys).unwrap();
    assert!(Command::new("mkfifo").arg(&keys).status().unwrap().success());
    let said = store(&filled.folder, &["check"]);
    assert!(said.code == 1 && said.out.contains("not a file"), "{} {}", said.out, said.err);
}

#[cfg(unix)]
#[test]
fn repair_is_refused_beside_a_running_service_and_where_nothing_is_left() {
    let filled = filled();
    let service = Service::start(&filled.folder);
    filled.damage(&filled.journal(), 4);
    let refused = store(&filled.folder, &["repair"]);
    let pid = service.child.id().to_string();
    assert!(refused.code == 1 && refused.err.contains("in use by"), "{}", refused.err);
    assert!(!cfg!(target_os = "linux") || refused.err.contains(&pid), "{}", refused.err);
    drop(service);
    filled.damage(&filled.journal(), 1);
    let before = names(&filled.folder);
    let refused = store(&filled.folder, &["repair", "--json"]).json(1);
    assert!(refused["error"].as_str().unwrap().contains("store import"), "{refused}");
    assert_eq!(names(&filled.folder), before);
}

#[test]
fn compact_tells_the_sizes_and_makes_no_store() {
    let filled = filled();
    let open_store = open(&filled.folder);
    for _ in 0..50 {
        let sample = Sample::new(SystemClock.now());
        let removed = vec![Change::ClientRemoved(sample.client.id.clone())];
        open_store.commit_blocking(sample.known()).unwrap();
        open_store.commit_blocking(removed).unwrap();
    }
    drop(open_store);
    let said = store(&filled.folder, &["compact", "--json"]).json(0);
    let sum = |at: &Value| at["journal_bytes"].as_u64().unwrap() + at["snapshot_bytes"].as_u64().unwrap();
    assert!(sum(&said["after"]) < sum(&said["before"]), "{said}");
    assert_eq!(said["after"]["generation"], 2);
    let nowhere = filled.aside("nowhere");
    for command in ["check", "stats", "repair", "compact"] {
        let said = store(&nowhere, &[command, "--json"]).json(1);
        assert!(said["error"].as_str().unwrap().contains("no store at"), "{said}");
    }
    assert!(!nowhere.exists());
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let filled = filled();
    for args in [&["stat"][..], &["export"], &["export", "-", "--json"], &["import", "x", "--from", "other"]] {
        assert_eq!(store(&filled.folder, args).code, 2, "{args:?}");
    }
}

#[test]
fn clients_of_mcp_auth_poc_come_over_with_their_secrets_hashed_and_their_tokens_left() {
    let filled = filled();
    let old = filled.aside(".mcp-auth-storage");
    fs::create_dir(&old).unwrap();
    let secret = "secret_6b0de4a5-6f43-4d06-8f62-0a3c1f3a7a11";
    let client = |id: &str, uri: &str| {
        json!([id, {
            "client_id": id, "client_secret": secret, "client_id_issued_at": 1_763_500_000, "client_secret_expires_at": 0,
            "client_name": "MCP Demo Client", "redirect_uris": [uri], "grant_types": ["authorization_code"]
        }])
    };
    let good = "client_2a0f3f8e-58a5-4a4c-9a3b-4f5cbe1f9c11";
    let clients =
        json!([client(good, "http://localhost:3001/callback"), client("bad\u{1b}[2J", "javascript:alert(1)")]);
    fs::write(old.join("clients.json"), clients.to_string()).unwrap();
    let token =
        json!([["token_1", { "access_token": "token_1", "client_id": good, "expires_at": 1, "user_id": "demo_user" }]]);
    fs::write(old.join("tokens.json"), token.to_string()).unwrap();
    let import = ["import", "--from", "mcp-auth-poc", old.to_str().unwrap(), "--json"];
    let before = fs::read(filled.journal()).unwrap();
    let would = store(&filled.folder, &[&import[..], &["--dry-run"]].concat()).json(0);
    assert_eq!((&would["clients"], &would["tokens_not_taken"]), (&json!(1), &json!(1)));
    assert_eq!(fs::read(filled.journal()).unwrap(), before);
    let done = store(&filled.folder, &import);
    assert!(!done.out.contains('\u{1b}') && !done.out.contains(secret));
    assert_eq!(done.json(0)["skipped"].as_array().unwrap().len(), 1);
    let again = store(&filled.folder, &import).json(0);
    assert_eq!((&again["clients"], &again["known"]), (&json!(0), &json!(1)), "it can be run again");
    assert!(!fs::read_to_string(filled.journal()).unwrap().contains(secret));
    // The client's secret works here: only the code is refused.
    let service = Service::start(&filled.folder);
    let exchange = |secret: &str| {
        http::Connection::new(service.address).post(
            "/oauth/token",
            &[
                ("grant_type", "authorization_code"),
                ("code", "x"),
                ("client_id", good),
                ("client_secret", secret),
                ("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            ],
        )
    };
    assert_eq!(exchange(secret).json()["error"], "invalid_grant");
    assert_eq!(exchange("secret_of-somebody-else-00000000000000000000").json()["error"], "invalid_client");
    fs::write(old.join("clients.json"), "[[\"x\",").unwrap();
    let damaged = store(&filled.folder, &import).json(1);
    assert!(damaged["error"].as_str().unwrap().contains("clients.json"), "{damaged}");
}

#[test]
fn sto_08_names_of_clients_and_people_are_no_file_names() {
    let filled = filled();
    let mut client = Sample::new(SystemClock.now()).client;
    client.id = "../../etc/passwd".parse().unwrap();
    open(&filled.folder).commit_blocking(vec![Change::ClientRegistered(client.clone())]).unwrap();
    let before = names(filled.parent.path());
    store(&filled.folder, &["compact"]);
    let (file, there) = (filled.aside("export.jsonl"), filled.aside("there"));
    store(&filled.folder, &["export", file.to_str().unwrap()]);
    store(&there, &["import", file.to_str().unwrap()]);
    assert_eq!(names(filled.parent.path()).len(), before.len() + 2);
    let files = ["compact.lock", "journal.2.jsonl", "snapshot.2.jsonl", "store.lock"];
    assert!(names(&there).iter().all(|name| files.contains(&name.as_str())), "{:?}", names(&there));
    let wanted = Wanted { client: Some(client.id.clone()), ..Wanted::default() };
    let mut found = None;
    open(&there).read(&mut |state| found = state.facts(&wanted).client).unwrap();
    assert_eq!(found, Some(client));
}

#[test]
fn sto_09_the_files_follow_what_lives() {
    let filled = filled();
    let sizes = || {
        let said = store(&filled.folder, &["compact", "--json"]).json(0);
        said["after"]["journal_bytes"].as_u64().unwrap() + said["after"]["snapshot_bytes"].as_u64().unwrap()
    };
    let few = sizes();
    let open_store = open(&filled.folder);
    let now = SystemClock.now();
    for _ in 0..200 {
        let mut sample = Sample::new(now);
        (sample.code.expires, sample.access.expires, sample.family.expires) = (now, now, now);
        for changes in [sample.known(), sample.approved(), sample.redeemed()] {
            open_store.commit_blocking(changes).unwrap();
        }
    }
    let many = sizes();
    let swept = Change::Swept {
        before: shared::time::Timestamp(now.0 + 1),
        unused_clients: shared::time::Timestamp(now.0 + 1),
    };
    open_store.commit_blocking(vec![swept]).unwrap();
    let users = 200 * 200;
    let after = sizes();
    assert!(many > 5 * few && after < few + users, "{few} {many} {after}");
}
