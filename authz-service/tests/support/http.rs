//! A small HTTP client that sends exactly what a test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use shared::oauth::form;

/// One connection, which stays open between requests.
pub struct Connection {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Connection {
    pub fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { address, stream: BufReader::new(stream) }
    }

    pub fn post(&mut self, target: &str, parameters: &[(&str, &str)]) -> Answer {
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        self.send("POST", target, &headers, form::encode(parameters).as_bytes())
    }

    /// Sends a request with a Host and a Content-Length, and whatever else the test wants.
    pub fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        let whole = [format!("{head}\r\n").as_bytes(), body].concat();
        self.raw(&whole, method == "HEAD")
    }

    /// Sends bytes, and reads one answer. An answer that comes before all is sent counts.
    pub fn raw(&mut self, bytes: &[u8], is_head: bool) -> Answer {
        let _ = self.stream.get_mut().write_all(bytes);
        self.read(is_head)
    }

    pub fn read(&mut self, is_head: bool) -> Answer {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {line:?}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        let length = answer.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        if !is_head && status != 204 {
            answer.body = vec![0; length];
            self.stream.read_exact(&mut answer.body).unwrap();
        }
        answer
    }

    /// Whether the other side has closed.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        matches!(self.stream.read(&mut byte), Ok(0) | Err(_))
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{} is no JSON: {}", self.status, self.text()))
    }

    /// A parameter of the Location's query.
    pub fn redirected(&self, name: &str) -> Option<String> {
        let (_, query) = self.header("location")?.split_once('?')?;
        form::all_values(query, name).next().map(std::borrow::Cow::into_owned)
    }

    /// An OAuth error, with what contract C1 and C2 owe.
    #[track_caller]
    pub fn fails(&self, status: u16, word: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        let body = self.json();
        assert_eq!(body["error"], word, "{body}");
        let description = body["error_description"].as_str().unwrap_or_default();
        assert!(description.bytes().all(|b| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)), "{description}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
    }

    /// A page that sends nobody anywhere, with what contract C2 owes.
    #[track_caller]
    pub fn is_page(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("location"), None);
        assert_eq!(self.header("content-type"), Some("text/html; charset=utf-8"), "{}", self.text());
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(self.header(name), Some(value), "{name}");
        }
        let policy = self.header("content-security-policy").unwrap_or_default();
        for directive in ["default-src 'none'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(directive), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(self.header("access-control-allow-origin"), None);
        // The one script, where it may run: by its name, and nothing in the page itself.
        let text = self.text();
        let scripts: Vec<_> = text.split("<script").skip(1).collect();
        let ours = |script: &&str| script.starts_with(" src=\"/assets/passkey.js?") && script.contains("\"></script>");
        assert!(scripts.len() <= 1 && scripts.iter().all(ours), "{text}");
        assert_eq!(policy.contains("script-src 'self';"), !scripts.is_empty(), "{policy}");
    }
}
