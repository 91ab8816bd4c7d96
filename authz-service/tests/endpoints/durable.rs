//! The real program is killed under load, and two of them are asked the same thing by everybody at once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::oauth::form;
use shared::secret::{Secret, random_bytes};
use shared::state::Wanted;
use shared::store::journal::JournalStore;
use shared::store::{Store, StoreError};
use shared::time::SystemClock;

use crate::process::{APPROVE, Running};
use crate::support::{REDIRECT, authorize_query, block_on, code_form};

/// An answer in full, or none when the service died before or in the middle of it.
struct Heard {
    status: u16,
    text: String,
}

fn ask(address: SocketAddr, method: &str, target: &str, kind: &str, body: &str) -> Option<Heard> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    (length.unwrap_or(0) == body.len())
        .then(|| Heard { status: head.split(' ').nth(1).unwrap().parse().unwrap(), text: text.clone() })
}

impl Heard {
    #[track_caller]
    fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        serde_json::from_str(self.text.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

fn post(address: SocketAddr, target: &str, parameters: &[(&str, &str)]) -> Option<Heard> {
    ask(address, "POST", target, "application/x-www-form-urlencoded", &form::encode(parameters))
}

/// One client's authorization, as far as it was answered.
#[derive(Clone, Default)]
struct Answered {
    client: String,
    refresh: Option<String>,
    revocation_sent: bool,
    revoked: bool,
}

/// Register, authorize, token, refresh, refresh, revoke: again and again until the service is gone.
fn load(address: SocketAddr, turn: usize, answered: &Mutex<Vec<Answered>>) -> Option<()> {
    for turn in turn.. {
        let body = json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none" }).to_string();
        let registered = ask(address, "POST", "/register", "application/json", &body)?.json(201);
        let client = registered["client_id"].as_str()?.to_owned();
        let at = {
            let mut answered = answered.lock().unwrap();
            answered.push(Answered { client: client.clone(), ..Answered::default() });
            answered.len() - 1
        };
        let note = |change: &dyn Fn(&mut Answered)| change(&mut answered.lock().unwrap()[at]);
        let target = format!("/oauth/authorize?{}", authorize_query(&client, &[]));
        let page = ask(address, "GET", &target, "text/plain", "")?;
        let code = page.text.split_once("code=")?.1.split(['&', '\r']).next()?.to_owned();
        let mut tokens = post(address, "/oauth/token", &code_form(&client, &code))?.json(200);
        for _ in 0..3 {
            let refresh = tokens["refresh_token"].as_str()?.to_owned();
            note(&|answered| answered.refresh = Some(refresh.clone()));
            let parameters =
                [("grant_type", "refresh_token"), ("client_id", client.as_str()), ("refresh_token", refresh.as_str())];
            tokens = post(address, "/oauth/token", &parameters)?.json(200);
        }
        if turn % 2 == 0 {
            note(&|answered| answered.revocation_sent = true);
            let token = tokens["refresh_token"].as_str()?;
            assert_eq!(post(address, "/oauth/revoke", &[("client_id", &client), ("token", token)])?.status, 200);
            note(&|answered| answered.revoked = true);
        }
    }
    Some(())
}

/// Everything that was answered is in the store.
fn check(data: &Path, answered: &[Answered]) {
    let store = JournalStore::follow(data, Arc::new(SystemClock));
    let load = |wanted: Wanted| block_on(store.load(&wanted));
    // However long it takes on a busy machine; that it is read is what counts here.
    while let Err(error) = load(Wanted::default()) {
        assert!(matches!(error, StoreError::Loading), "{error}");
        std::thread::sleep(Duration::from_millis(5));
    }
    for one in answered {
        let client = one.client.parse().unwrap();
        assert!(
            load(Wanted { client: Some(client), ..Wanted::default() }).unwrap().client.is_some(),
            "a client is lost"
        );
        let Some(refresh) = &one.refresh else { continue };
        let hash = Secret::new(refresh.clone()).hash();
        let facts = load(Wanted { refresh: Some(hash), ..Wanted::default() }).unwrap();
        assert!(facts.family.is_some() && facts.grant.is_some(), "a token is lost");
        if one.revoked {
            assert!(facts.live_family().is_none(), "a revocation is lost");
        } else if !one.revocation_sent {
            assert!(facts.live_family().is_some(), "a grant is dead");
        }
    }
}

/// `KILL_ROUNDS=1000` runs the whole catalogue row; the rounds of every day are a sample.
#[test]
fn f_01_killed_at_any_moment_of_a_mixed_load_nothing_that_was_answered_is_lost() {
    let rounds: u32 = std::env::var("KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    // A hundred rounds fill a store so far that reading it takes longer than the round.
    for begun in (0..rounds).step_by(100) {
        kill_again_and_again(100.min(rounds - begun));
        eprintln!("{} of {rounds} rounds", rounds.min(begun + 100));
    }
}

fn kill_again_and_again(rounds: u32) {
    let data = tempfile::tempdir().unwrap();
    let answered = Mutex::new(Vec::new());
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds {
        let begun = Instant::now();
        let service = Running::start(data.path(), &APPROVE);
        slowest = slowest.max(begun.elapsed());
        let address = service.address();
        std::thread::scope(|scope| {
            for turn in 0..4 {
                let answered = &answered;
                scope.spawn(move || load(address, turn, answered));
            }
            let [moment, _] = u16::from_le_bytes(random_bytes()).to_le_bytes();
            std::thread::sleep(Duration::from_millis(u64::from(moment)));
            service.kill();
        });
        // What was answered in earlier rounds was looked at then, and is looked at again at the end.
        let recent = answered.lock().unwrap();
        check(data.path(), &recent[recent.len().saturating_sub(100)..]);
    }
    let answered = answered.into_inner().unwrap();
    check(data.path(), &answered);
    assert!(answered.len() > rounds as usize / 4, "the load was none: {}", answered.len());
    assert!(slowest < Duration::from_secs(10), "a restart took {slowest:?}");
}

/// 100 requests at the same moment, half of them at each of two services.
fn at_once(services: &[Running; 2], target: &str, parameters: &[(&str, &str)]) -> Vec<Heard> {
    let start = Barrier::new(100);
    std::thread::scope(|scope| {
        let run = |turn: usize| {
            let (address, start) = (services[turn % 2].address(), &start);
            scope.spawn(move || {
                start.wait();
                post(address, target, parameters).expect("an answer")
            })
        };
        let runs: Vec<_> = (0..100).map(run).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

#[test]
fn f_14_f_18_of_a_hundred_at_two_services_one_gets_the_code_and_one_lineage_lives() {
    let data = tempfile::tempdir().unwrap();
    let issuer = ["--issuer", "http://localhost:3000"];
    let start = || Running::start(data.path(), &[&APPROVE[..], &issuer].concat());
    let services = [start(), start()];
    let client = services[0].register();
    let code = services[0].code(&client);
    let answers = at_once(&services, "/oauth/token", &code_form(&client, &code));
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "one winner");
    assert!(answers.iter().all(|answer| [200, 400].contains(&answer.status)), "and nobody is kept waiting in vain");

    let tokens = services[0].tokens(&client);
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let parameters = [("grant_type", "refresh_token"), ("client_id", client.as_str()), ("refresh_token", refresh)];
    let answers = at_once(&services, "/oauth/token", &parameters);
    let successors: std::collections::HashSet<_> =
        answers.iter().map(|answer| answer.json(200)["refresh_token"].as_str().unwrap().to_owned()).collect();
    assert_eq!(successors.len(), 1, "all within the grace, all get the same successor");
    let next = services[1].refresh(&client, successors.iter().next().unwrap());
    assert_eq!(next.status, 200, "{}", next.text());
}
