//! What is fuzzed, one function a target: it takes any bytes, and panics when a promise is broken.
//!
//! `fuzz_targets/` calls these under a fuzzer; `shared/tests/fuzz.rs` calls them with the seeds and with mutations of
//! them on stable, at every test run.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use shared::files;
use shared::oauth::form::Parameters;
use shared::oauth::register::ClientMetadata;
use shared::oauth::{challenge, form, json as strict};
use shared::secret::TokenHash;
use shared::store::journal::JournalStore;
use shared::store::journal::inspect::{self, Weight};
use shared::store::journal::transfer::{self, Contents};
use shared::store::{Store, StoreError};
use shared::time::{ManualClock, Timestamp};
use shared::token::{AccessTokenFor, Expected, ForeignToken, KeyRing, KeySet, ProviderKeys, TokenType};
use shared::uri::{ExactRedirect, RedirectUri};

/// A target by its name, which is also that of its folder of seeds.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 9] = [
    ("journal", journal),
    ("snapshot", snapshot),
    ("store", store),
    ("form", form_body),
    ("json", json_body),
    ("redirect_uri", redirect_uri),
    ("challenge", www_authenticate),
    ("jwt", jwt),
    ("introspection", introspection),
];

const NOW: Timestamp = Timestamp(1_800_000_000);

const STORE: &str = "00000000-0000-0000-0000-00000000000f";

/// Lines of commits without their hashes, which are added: so that not every mutation ends at the chain.
pub fn journal(data: &[u8]) {
    let prev = TokenHash::of(b"fuzz");
    let mut file = header("mcp-authz-journal", &json!({ "generation": 1, "seq": 0, "prev": prev }));
    let mut link = *prev.as_bytes();
    for line in data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let body = &line[..line.len() - 1];
        let hash = TokenHash::of(&[link.as_slice(), body].concat());
        file.extend_from_slice(body);
        file.extend_from_slice(format!(",\"h\":{}}}\n", json!(hash)).as_bytes());
        link = *hash.as_bytes();
    }
    hold_its_promises(&[("journal.1.jsonl", &file)]);
}

/// Lines of records, to which header and closing line are added.
pub fn snapshot(data: &[u8]) {
    let prev = TokenHash::of(b"fuzz");
    let mut file = header("mcp-authz-snapshot", &json!({ "generation": 2, "seq": 7, "latest": NOW }));
    let lines: Vec<_> = data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    for line in &lines {
        file.extend_from_slice(line);
        file.push(b'\n');
    }
    let end = format!("{{\"end\":{},\"h\":{}}}\n", lines.len(), json!(TokenHash::of(&file)));
    file.extend_from_slice(end.as_bytes());
    let journal = header("mcp-authz-journal", &json!({ "generation": 2, "seq": 7, "prev": prev }));
    hold_its_promises(&[("journal.2.jsonl", &journal), ("snapshot.2.jsonl", &file)]);
}

/// A folder of a journal, a snapshot and keys: the bytes between two NULs, as they are.
pub fn store(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (journal, snapshot, keys) = (next(), next(), next());
    hold_its_promises(&[("journal.2.jsonl", journal), ("snapshot.2.jsonl", snapshot), ("keys.json", keys)]);
}

fn header(format: &str, more: &Value) -> Vec<u8> {
    let mut header = json!({ "format": format, "version": "1.0", "store": STORE });
    header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    format!("{header}\n").into_bytes()
}

/// A store is whole or refused; a check and a program that opens it agree on which; and what is written anew, by a
/// compaction or by an export and its import, is what was read.
fn hold_its_promises(contents: &[(&str, &[u8])]) {
    // Where there is a disk of memory, there is no waiting for syncs.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let folder = parent.path().join("store");
    files::create_private_folder(&folder).unwrap();
    for (name, bytes) in contents {
        files::replace(&folder.join(name), bytes).unwrap();
    }
    let nobody_waits: inspect::Watch<'_> = &mut |_, _| {};
    let checked = inspect::check(&folder, nobody_waits);
    let is_well = checked.as_ref().is_ok_and(|checked| {
        let damage = |finding: &&inspect::Finding| {
            finding.weight == Weight::Damage && finding.path.file_name().is_none_or(|name| name != "keys.json")
        };
        checked.findings.iter().find(damage).is_none()
    });
    let opened = match open(&folder) {
        // An empty journal is one that was only just made: a check finds no store, a writer makes it.
        Ok(opened) if matches!(checked, Err(StoreError::Absent(_))) => return drop(opened),
        opened => opened,
    };
    assert_eq!(opened.is_ok(), is_well, "{checked:?} {:?}", opened.err());
    let Ok(opened) = opened else { return };
    let before = records(&opened);
    assert!(opened.compact().unwrap());
    assert_eq!(records(&opened), before);
    drop(opened);
    assert_eq!(records(&open(&folder).unwrap()), before);
    let (file, there) = (parent.path().join("export"), parent.path().join("there"));
    let mut out = std::fs::File::create(&file).unwrap();
    transfer::export(&folder, &mut out, Contents::Whole, NOW, &mut |_, _| {}).unwrap();
    transfer::import(&file, &there, false, &mut |_, _| {}).unwrap();
    assert_eq!(records(&open(&there).unwrap()), before);
}

fn open(folder: &Path) -> Result<JournalStore, StoreError> {
    JournalStore::open(folder, Arc::new(ManualClock::at(NOW)))
}

fn records(store: &JournalStore) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    store.read(&mut |state| lines = state.records().map(|r| serde_json::to_string(&r).unwrap()).collect()).unwrap();
    lines
}

/// A form body: what is read can be written and is read the same.
pub fn form_body(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(parameters) = Parameters::parse(text) else { return };
    let pairs: Vec<_> = parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let borrowed: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let again = Parameters::parse(&form::encode(&borrowed)).expect("what was read can be read");
    assert!(again.iter().eq(borrowed.into_iter()));
}

/// A JSON body: what is accepted is what any reader would read, and what is refused is not repeated in the error.
pub fn json_body(data: &[u8]) {
    if let Ok(value) = strict::parse(data) {
        assert_eq!(serde_json::from_slice::<Value>(data).unwrap(), value, "another reader sees the same");
        assert_eq!(strict::parse(value.to_string().as_bytes()).unwrap(), value);
    }
    let _ = strict::parse_as::<ClientMetadata>(data);
}

/// A redirect URI: what is accepted keeps contract C3, and matches itself and no other.
pub fn redirect_uri(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(uri) = RedirectUri::register(text, &[]) else { return };
    assert!(text.len() <= 2048 && text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
    assert!(!text.contains(['#', '*', '\\', '<', '>', '"', '{', '}', '^', '`', '|']), "{text}");
    let authority = text.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
    assert!(!authority.contains('@'), "{text}");
    let found = ExactRedirect::find(std::slice::from_ref(&uri), Some(text)).expect("it matches itself");
    assert_eq!(found.as_str(), text);
    assert!(found.with(&[("code", "a&b")]).contains("code=a%26b"));
    assert!(ExactRedirect::find(&[uri], Some(&format!("{text}x"))).is_err());
}

/// A `WWW-Authenticate` header: what is read can be written and is read the same.
pub fn www_authenticate(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for challenge in challenge::parse(text) {
        let parameters: Vec<_> = challenge.parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let is_plain = parameters.iter().all(|(_, value)| value.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        if is_plain {
            let written = challenge::write(&challenge.scheme, &parameters);
            assert_eq!(challenge::parse(&written), std::slice::from_ref(&challenge), "{written}");
        }
    }
}

/// An introspection response: what it makes of a token is for us, from that issuer, and active, by any reader.
pub fn introspection(data: &[u8]) {
    let wanted = wanted(TokenType::AccessToken);
    let Ok(Ok(token)) = ForeignToken::introspected(data, &wanted, NOW) else { return };
    let read: Value = serde_json::from_slice(data).expect("another reader reads it");
    assert_eq!(read["active"], true);
    assert!(read["iss"].is_null() || read["iss"] == wanted.issuer.as_str());
    let is_ours = |aud: &Value| *aud == wanted.audience;
    assert!(is_ours(&read["aud"]) || read["aud"].as_array().is_some_and(|all| all.iter().any(is_ours)));
    assert!(token.alive(NOW).is_ok() && read["cnf"].is_null());
    assert!(!token.subject().is_empty() && !token.client().is_empty());
}

fn wanted(token_type: TokenType) -> AccessTokenFor {
    AccessTokenFor {
        issuer: "https://id.example".parse().unwrap(),
        audience: "https://mcp.example/mcp".into(),
        token_type,
    }
}

/// An access token: whatever it says, nothing is accepted that our key has not signed.
pub fn jwt(data: &[u8]) {
    static RING: OnceLock<(KeyRing, ProviderKeys)> = OnceLock::new();
    let (ring, foreign) = RING.get_or_init(|| {
        let public = KeySet::generate(NOW).unwrap().public();
        (KeyRing::new(std::slice::from_ref(&public)), ProviderKeys::read(&json!({ "keys": [public.jwk] })))
    });
    let expected = Expected {
        issuers: vec!["http://localhost:3000".parse().unwrap()],
        resource: "urn:mcp:stdio:default".parse().unwrap(),
    };
    let token = String::from_utf8_lossy(data);
    assert!(ring.verify(&token, &expected, NOW).is_err());
    assert!(foreign.verify_access(&token, &wanted(TokenType::Jwt), NOW).is_err());
}
