//! A web server that serves metadata documents as a test says, and counts.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// Serves what the test put in, until the test ends.
pub struct Documents {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

type Answer = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

struct Shared {
    answer: Mutex<Answer>,
    requests: AtomicUsize,
    /// Requests that are held, and the most at one time.
    open: AtomicUsize,
    most: AtomicUsize,
    heads: Mutex<Vec<String>>,
    gate: (Mutex<bool>, Condvar),
    /// How long each byte of an answer takes, and whether its head comes at once.
    pace: Mutex<Option<(Duration, bool)>>,
}

impl Documents {
    /// Answers every path with a good document of that path.
    pub fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer: Answer = Arc::new(move |path| ok(&document(address, path)));
        let shared = Arc::new(Shared {
            answer: Mutex::new(answer),
            requests: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            heads: Mutex::default(),
            gate: (Mutex::new(true), Condvar::new()),
            pace: Mutex::default(),
        });
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let served = Arc::clone(&served);
                std::thread::spawn(move || served.one(stream.unwrap()));
            }
        });
        Self { address, shared }
    }

    /// Answers every path with this from now on.
    pub fn answer(&self, answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) {
        *self.shared.answer.lock().unwrap() = Arc::new(answer);
    }

    /// Sends a byte in so long from now on; with `head_at_once`, only of the body.
    pub fn trickle(&self, pace: Duration, head_at_once: bool) {
        *self.shared.pace.lock().unwrap() = Some((pace, head_at_once));
    }

    /// Closed, requests wait.
    pub fn gate(&self, open: bool) {
        *self.shared.gate.0.lock().unwrap() = open;
        self.shared.gate.1.notify_all();
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// The most requests that were open at one time.
    pub fn most(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }

    /// The heads of all requests, in small letters.
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }
}

impl Shared {
    fn one(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        self.heads.lock().unwrap().push(head.to_ascii_lowercase());
        self.requests.fetch_add(1, Ordering::SeqCst);
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(open, Ordering::SeqCst);
        drop(self.gate.1.wait_while(self.gate.0.lock().unwrap(), |open| !*open).unwrap());
        self.open.fetch_sub(1, Ordering::SeqCst);
        let answer = Arc::clone(&self.answer.lock().unwrap());
        let (answer, stream) = (answer(&path), reader.get_mut());
        let Some((pace, head_at_once)) = *self.pace.lock().unwrap() else {
            let _ = stream.write_all(&answer);
            return;
        };
        let _ = stream.set_nodelay(true);
        let body = answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4);
        let (head, rest) = answer.split_at(if head_at_once { body } else { 0 });
        let _ = stream.write_all(head);
        for byte in rest {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(pace);
        }
    }
}

/// A good document.
pub fn document(address: SocketAddr, path: &str) -> Value {
    json!({
        "client_id": format!("http://{address}{path}"),
        "client_name": "Documented",
        "redirect_uris": ["http://127.0.0.1/cb", "https://app.example/cb"],
    })
}

pub fn ok(body: &Value) -> Vec<u8> {
    with("200 OK", "Content-Type: application/json\r\n", &body.to_string())
}

pub fn with(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}
