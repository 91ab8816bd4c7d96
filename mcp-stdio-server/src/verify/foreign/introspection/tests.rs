use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::token::TokenType;
use tokio::sync::Notify;

use super::*;

const NOW: Timestamp = Timestamp(1_000_000);

/// Answers what it is told to, when it is told to, and counts.
struct Scripted {
    answer: Mutex<Result<Value, Fault>>,
    asked: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    /// Answers wait for this, when there is one.
    gate: Mutex<Option<Arc<Notify>>>,
}

impl Authority for Scripted {
    fn ask<'a>(&'a self, _: &'a Secret) -> Answer<'a, Result<Vec<u8>, Fault>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(now, Ordering::SeqCst);
            let gate = self.gate.lock().unwrap().clone();
            match gate {
                Some(gate) => gate.notified().await,
                None => tokio::task::yield_now().await,
            }
            self.at_once.fetch_sub(1, Ordering::SeqCst);
            self.answer.lock().unwrap().clone().map(|answer| answer.to_string().into_bytes())
        })
    }
}

struct Bench {
    desk: Desk,
    authority: Arc<Scripted>,
}

fn active() -> Value {
    json!({ "active": true, "aud": "us", "client_id": "app", "sub": "ada", "scope": "x", "exp": NOW.0 + 600 })
}

fn bench(cache: u64) -> Bench {
    let authority = Arc::new(Scripted {
        answer: Mutex::new(Ok(active())),
        asked: AtomicUsize::new(0),
        at_once: AtomicUsize::new(0),
        most_at_once: AtomicUsize::new(0),
        gate: Mutex::default(),
    });
    let issuer = "https://id.example".parse().unwrap();
    let wanted = AccessTokenFor { issuer, audience: "us".into(), token_type: TokenType::AccessToken };
    let runtime = tokio::runtime::Handle::current();
    let desk = Desk::new(wanted, Arc::clone(&authority) as _, runtime, Duration::from_secs(cache));
    Bench { desk, authority }
}

impl Bench {
    fn says(&self, answer: Result<Value, Fault>) {
        *self.authority.answer.lock().unwrap() = answer;
    }

    async fn check(&self, token: &str, now: Timestamp) -> Result<(), Unverified> {
        self.desk.check(&Secret::new(token.to_owned()), now).await.map(drop)
    }

    fn asked(&self) -> usize {
        self.authority.asked.load(Ordering::SeqCst)
    }
}

async fn later(millis: u64) {
    tokio::time::advance(Duration::from_millis(millis)).await;
}

const DEAD: Result<(), Unverified> = Err(Unverified::Token(TokenError::Dead));
const DOWN: Result<(), Unverified> = Err(Unverified::Unavailable(Unavailable::Issuer));
const BUSY: Result<(), Unverified> = Err(Unverified::Unavailable(Unavailable::Busy));

#[tokio::test(start_paused = true)]
async fn an_answer_is_believed_for_as_long_as_the_operator_says_and_no_longer_than_the_token() {
    let bench = bench(5);
    assert_eq!(bench.check("t", NOW).await, Ok(()));
    bench.says(Ok(json!({ "active": false })));
    later(4999).await;
    assert_eq!((bench.check("t", NOW).await, bench.asked()), (Ok(()), 1));
    // Its own end counts within that time too.
    let expired = bench.check("t", Timestamp(NOW.0 + 600)).await;
    assert_eq!((expired, bench.asked()), (Err(Unverified::Token(TokenError::Expired)), 1));
    later(1).await;
    assert_eq!((bench.check("t", NOW).await, bench.asked()), (DEAD, 2));
    // That it is no good is believed for two seconds.
    bench.says(Ok(active()));
    later(1999).await;
    assert_eq!((bench.check("t", NOW).await, bench.asked()), (DEAD, 2));
    later(1).await;
    assert_eq!((bench.check("t", NOW).await, bench.asked()), (Ok(()), 3));
}

#[tokio::test(start_paused = true)]
async fn without_a_cache_no_answer_is_older_than_the_question() {
    let bench = bench(0);
    for asked in 1..=3 {
        later(1).await;
        assert_eq!((bench.check("t", NOW).await, bench.asked()), (Ok(()), asked));
    }
    bench.says(Ok(json!({ "active": false })));
    later(1).await;
    assert_eq!(bench.check("t", NOW).await, DEAD);
    bench.says(Ok(active()));
    later(1).await;
    assert_eq!(bench.check("t", NOW).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn one_question_serves_all_who_ask_about_a_token_at_once() {
    let bench = bench(5);
    let all = join_all((0..100).map(|_| bench.check("t", NOW))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(bench.asked(), 1);
    let others: Vec<_> = (0..20).map(|at| format!("t{at}")).collect();
    let all = join_all(others.iter().map(|token| bench.check(token, NOW))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(bench.asked(), 21);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_unknown_tokens_is_bounded_and_crowds_nobody_out() {
    let bench = bench(5);
    assert_eq!(bench.check("mine", NOW).await, Ok(()));
    later(5000).await;
    let gate = Arc::new(Notify::new());
    *bench.authority.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let names: Vec<_> = (0..1000).map(|at| format!("junk{at}")).collect();
    let flood = join_all(names.iter().map(|name| bench.check(name, NOW)));
    let mine = async {
        // When the flood is under way.
        while bench.asked() < 9 {
            tokio::task::yield_now().await;
        }
        *bench.authority.gate.lock().unwrap() = None;
        assert_eq!(bench.check("mine", NOW).await, Ok(()));
        bench.says(Ok(json!({ "active": false })));
        gate.notify_waiters();
    };
    let (found, ()) = tokio::join!(flood, mine);
    let counted = |wanted: &Result<(), Unverified>| found.iter().filter(|one| *one == wanted).count();
    // Those who had room to wait, and the few who came when the first were through.
    assert!((72..150).contains(&counted(&DEAD)) && counted(&DEAD) + counted(&BUSY) == 1000, "{}", counted(&DEAD));
    assert_eq!(bench.authority.most_at_once.load(Ordering::SeqCst), 9);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_cannot_be_reached_says_nothing_about_a_token() {
    let bench = bench(5);
    assert_eq!(bench.check("t", NOW).await, Ok(()));
    later(5000).await;
    bench.says(Err(Fault::Status("introspection_endpoint", 500)));
    assert_eq!((bench.check("t", NOW).await, bench.check("u", NOW).await, bench.asked()), (DOWN, DOWN, 3));
    // One that is not there at all is left alone for a second.
    bench.says(Err(Fault::NoReply(shared::net::NoReply::because("refused"))));
    assert_eq!((bench.check("t", NOW).await, bench.check("u", NOW).await, bench.asked()), (DOWN, DOWN, 4));
    bench.says(Ok(active()));
    assert_eq!((bench.check("t", NOW).await, bench.asked()), (DOWN, 4));
    later(1000).await;
    assert_eq!((bench.check("t", NOW).await, bench.check("u", NOW).await), (Ok(()), Ok(())));
    // What is no answer is none.
    later(5000).await;
    bench.says(Ok(json!({ "active": "true" })));
    assert_eq!(bench.check("t", NOW).await, DOWN);
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_bounded_and_refused_tokens_have_no_good_one_forgotten() {
    let bench = bench(300);
    assert_eq!(bench.check("mine", NOW).await, Ok(()));
    bench.says(Ok(json!({ "active": false })));
    for at in 0..5000 {
        assert_eq!(bench.check(&format!("junk{at}"), NOW).await, DEAD);
    }
    let asked = bench.asked();
    assert_eq!((bench.check("mine", NOW).await, bench.asked()), (Ok(()), asked));
    assert!(bench.desk.answers().size() <= 2 * 4096 + 4096);
}
