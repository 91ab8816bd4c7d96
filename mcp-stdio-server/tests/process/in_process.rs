//! What needs a tool that no server has: one that is slow, one that panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mcp_stdio_server::audit::Audit;
use mcp_stdio_server::gate::Gate;
use mcp_stdio_server::guard::Access;
use mcp_stdio_server::handler::{Handler, Parts};
use mcp_stdio_server::server::{Ending, serve};
use mcp_stdio_server::tools::{Answer, Call, Catalog, Definition, Tool, schema};
use mcp_stdio_server::verify::local::Local;
use serde_json::{Map, Value, json};
use shared::store::memory::MemoryStore;
use shared::time::{ManualClock, Timestamp};
use shared::uri::Resource;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

/// Never ends by itself; counts how often it began and was dropped.
#[derive(Clone, Default)]
struct Slow {
    begun: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn open(name: &'static str) -> Definition {
    Definition {
        name: name.into(),
        title: name.into(),
        description: name.into(),
        input: schema(&[]),
        output: schema(&[]),
        access: Access::Open,
        read_only: true,
    }
}

impl Tool for Slow {
    fn definition(&self) -> Definition {
        open("slow")
    }

    fn call<'a>(&'a self, _arguments: Map<String, Value>, _call: &'a Call) -> Answer<'a> {
        let counted = Counted(self.dropped.clone());
        self.begun.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let _counted = counted;
            std::future::pending().await
        })
    }
}

struct Panicking;

impl Tool for Panicking {
    fn definition(&self) -> Definition {
        open("panics")
    }

    fn call<'a>(&'a self, arguments: Map<String, Value>, _call: &'a Call) -> Answer<'a> {
        Box::pin(async move { panic!("with what was said: {arguments:?}") })
    }
}

/// A server in this process and the host's end of its streams.
struct Served {
    lines: tokio::io::Lines<BufReader<ReadHalf<DuplexStream>>>,
    input: Option<WriteHalf<DuplexStream>>,
    stop: Option<oneshot::Sender<()>>,
    ending: JoinHandle<Ending>,
}

impl Served {
    fn start(tools: Vec<Arc<dyn Tool>>) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(1_000_000)));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let resource = Resource::stdio("test").unwrap();
        let mut all = Catalog::standard(&resource);
        all.extend(tools);
        let handler = Handler::new(Parts {
            catalog: Catalog::new(all),
            gate: Gate {
                verify: Arc::new(Local::new(store, resource.clone(), None)),
                clock,
                resource,
                environment: None,
                ladder: None,
                audit: Audit::default(),
                token_argument: true,
                announcer: None,
            },
        });
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (output, input) = tokio::io::split(ours);
        let (their_input, their_output) = tokio::io::split(theirs);
        let (stop, stopped) = oneshot::channel();
        let ending = tokio::spawn(serve(handler, their_input, their_output, async move {
            if stopped.await.is_err() {
                std::future::pending().await
            }
        }));
        Self { lines: BufReader::new(output).lines(), input: Some(input), stop: Some(stop), ending }
    }

    async fn send(&mut self, message: Value) {
        self.input.as_mut().unwrap().write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn call(&mut self, id: i64, tool: &str) {
        let meta = crate::host::modern();
        let params = json!({ "name": tool, "arguments": { "secret": "hunter2" }, "_meta": meta });
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })).await;
    }

    async fn receive(&mut self) -> Value {
        let line = timeout(DEADLINE, self.lines.next_line()).await.expect("in time").unwrap().expect("a line");
        serde_json::from_str(&line).unwrap()
    }

    async fn end(mut self) -> Ending {
        drop(self.lines);
        if let Some(mut input) = self.input.take() {
            input.shutdown().await.unwrap();
        }
        timeout(Duration::from_secs(2), self.ending).await.expect("within 2 seconds").unwrap()
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = timeout(DEADLINE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn std_17_a_cancelled_call_stops_and_has_no_answer() {
    let slow = Slow::default();
    let mut served = Served::start(vec![Arc::new(slow.clone())]);
    served.call(1, "slow").await;
    until("the call begins", || slow.begun.load(Ordering::SeqCst) == 1).await;
    served.send(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } })).await;
    until("the work stops", || slow.dropped.load(Ordering::SeqCst) == 1).await;
    served.call(2, "public_info").await;
    assert_eq!(served.receive().await["id"], 2);
    served.end().await;
}

#[tokio::test]
async fn a_slow_call_does_not_hold_up_others() {
    let slow = Slow::default();
    let mut served = Served::start(vec![Arc::new(slow.clone())]);
    for id in 1..=20 {
        served.call(id, "slow").await;
    }
    served.call(99, "public_info").await;
    assert_eq!(served.receive().await["id"], 99);
    served.end().await;
}

#[tokio::test]
async fn f_22_calls_that_never_end_do_not_keep_the_server() {
    let slow = Slow::default();
    let mut served = Served::start(vec![Arc::new(slow.clone())]);
    served.call(1, "slow").await;
    until("the call begins", || slow.begun.load(Ordering::SeqCst) == 1).await;
    assert_eq!(served.end().await, Ending::InputClosed);
}

#[tokio::test]
async fn std_20_a_stop_does_not_wait_for_calls() {
    let slow = Slow::default();
    let mut served = Served::start(vec![Arc::new(slow.clone())]);
    served.call(1, "slow").await;
    until("the call begins", || slow.begun.load(Ordering::SeqCst) == 1).await;
    served.stop.take().unwrap().send(()).unwrap();
    let ending = timeout(Duration::from_secs(2), served.ending).await.expect("within 2 seconds").unwrap();
    assert_eq!(ending, Ending::Stopped);
}

#[tokio::test]
async fn a_tool_that_panics_is_answered_and_the_next_one_served() {
    let mut served = Served::start(vec![Arc::new(Panicking)]);
    for id in 1..=3 {
        served.call(id, "panics").await;
        let answer = served.receive().await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(id), &json!(-32603)), "{answer}");
        assert!(!answer.to_string().contains("hunter2"));
    }
    served.call(4, "public_info").await;
    assert_eq!(served.receive().await["id"], 4);
    served.end().await;
}
