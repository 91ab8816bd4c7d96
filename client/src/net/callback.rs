//! The loopback listener that the browser is sent back to (RFC 8252 section 7.3).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The path that the browser is sent back to.
pub const PATH: &str = "/callback";
/// The longest request head that is read.
const HEAD_LIMIT: usize = 16 * 1024;
/// How long a head may take.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How many connections may be open at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 32;

/// A listener on 127.0.0.1 and, where there is one, ::1. Closed when dropped.
#[derive(Debug)]
pub struct Listener {
    port: u16,
    hits: mpsc::Receiver<Hit>,
    _tasks: JoinSet<()>,
}

/// A request to the callback path, which waits for its page.
#[derive(Debug)]
pub struct Hit {
    /// The query, as sent. May hold a code.
    pub query: String,
    stream: TcpStream,
}

impl Listener {
    /// Listens on `port`, or on a random free one when it is `None`.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn bind(port: Option<u16>) -> io::Result<Self> {
        let sockets = match port {
            Some(port) => both(port).await?,
            None => free().await?,
        };
        let port = sockets[0].local_addr()?.port();
        let (sender, hits) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        for socket in sockets {
            tasks.spawn(accept(socket, port, sender.clone()));
        }
        Ok(Self { port, hits, _tasks: tasks })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The redirect URI.
    pub fn redirect_uri(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    /// The next request to the callback path.
    pub async fn hit(&mut self) -> Option<Hit> {
        self.hits.recv().await
    }
}

/// Both loopback addresses on one port. A machine without IPv6 has only the first.
async fn both(port: u16) -> io::Result<Vec<TcpListener>> {
    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let port = v4.local_addr()?.port();
    match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
        Ok(v6) => Ok(vec![v4, v6]),
        // Somebody else's listener there would receive the code when `localhost` means ::1.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        Err(_) => Ok(vec![v4]),
    }
}

/// A random port that is free on both addresses.
async fn free() -> io::Result<Vec<TcpListener>> {
    let mut taken = None;
    for _ in 0..16 {
        match both(0).await {
            Ok(sockets) => return Ok(sockets),
            Err(error) => taken = Some(error),
        }
    }
    Err(taken.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

async fn accept(socket: TcpListener, port: u16, hits: mpsc::Sender<Hit>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, peer)) => { connections.spawn(serve(stream, peer, port, hits.clone())); }
                // Out of descriptors: let a connection end before the next try.
                Err(_) => { connections.join_next().await; tokio::task::yield_now().await; }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn serve(mut stream: TcpStream, peer: SocketAddr, port: u16, hits: mpsc::Sender<Hit>) {
    if !peer.ip().is_loopback() {
        return;
    }
    let Ok(Some(head)) = timeout(HEAD_TIME, read_head(&mut stream)).await else { return };
    match judge(&head, port) {
        Ok(query) => {
            // The page is held back until the login knows how it ends.
            let _ = hits.send(Hit { query, stream }).await;
        }
        Err(page) => page.send(stream).await,
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut chunk = [0; 2048];
    loop {
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        head.extend_from_slice(&chunk[..read]);
        if head.windows(4).any(|window| window == b"\r\n\r\n") {
            return Some(head);
        }
        if head.len() > HEAD_LIMIT {
            return None;
        }
    }
}

/// The query of a GET to the callback path on this machine; otherwise the page that says no.
fn judge(head: &[u8], port: u16) -> Result<String, Page> {
    let bad = || Page::new(400, "Bad request", "This is not a request that this page answers.");
    let head = std::str::from_utf8(head).map_err(|_| bad())?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad());
    };
    // A web page that points its own name at 127.0.0.1 is not a redirect from the authorization server.
    let hosts = lines.filter_map(|line| line.split_once(':')).filter(|(name, _)| name.eq_ignore_ascii_case("host"));
    let ours = ["127.0.0.1", "[::1]", "localhost"].map(|host| format!("{host}:{port}"));
    if !hosts.map(|(_, value)| value.trim()).all(|host| ours.iter().any(|our| our.eq_ignore_ascii_case(host))) {
        return Err(bad());
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path != PATH {
        return Err(Page::new(404, "Not found", "There is nothing here."));
    }
    if method != "GET" {
        return Err(Page::new(405, "Method not allowed", "Only a browser's redirect is answered here."));
    }
    Ok(query.to_owned())
}

impl Hit {
    /// The login worked.
    pub async fn logged_in(self) {
        Page::new(200, "You are logged in", "You can close this window and go back to the terminal.")
            .send(self.stream)
            .await;
    }

    /// The login ended without tokens; the terminal says why.
    pub async fn ended(self) {
        Page::new(200, "You are not logged in", "The login did not succeed. The terminal says why.")
            .send(self.stream)
            .await;
    }

    /// The request is not an answer to this login, or not from whom it should be.
    pub async fn refused(self) {
        let text = "This answer does not belong to the login that is waiting. Nothing was done with it.";
        Page::new(400, "Not accepted", text).send(self.stream).await;
    }
}

/// A page whose every word is ours.
struct Page {
    status: u16,
    title: &'static str,
    text: &'static str,
}

const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:20vh auto;padding:0 1.5rem;\
color-scheme:light dark}h1{font-size:1.5rem}";

impl Page {
    fn new(status: u16, title: &'static str, text: &'static str) -> Self {
        Self { status, title, text }
    }

    fn bytes(&self) -> String {
        let Self { status, title, text } = self;
        let body = format!(
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
             <title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1><p>{text}</p></main></html>\n"
        );
        let allow = if *status == 405 { "Allow: GET\r\n" } else { "" };
        format!(
            "HTTP/1.1 {status} {title}\r\n{allow}Content-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
             Content-Security-Policy: default-src 'none'; style-src '{}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'\r\n\
             X-Frame-Options: DENY\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
            body.len(),
            style_hash()
        )
    }

    async fn send(&self, mut stream: TcpStream) {
        let page = self.bytes();
        // A browser that went away does not change how the login ends.
        let _ = timeout(HEAD_TIME, async {
            stream.write_all(page.as_bytes()).await?;
            stream.shutdown().await
        })
        .await;
    }
}

/// The style sheet's hash, as Content Security Policy names it.
fn style_hash() -> String {
    use base64::Engine;
    let digest = shared::secret::TokenHash::of(STYLE.as_bytes());
    format!("sha256-{}", base64::engine::general_purpose::STANDARD.encode(digest.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> u16 {
        judge(head.as_bytes(), 7).map_or_else(|page| page.status, |_| 200)
    }

    #[test]
    fn cbl_04_only_a_get_of_the_callback_path_on_this_machine_counts() {
        for (head, expected) in [
            ("GET /callback?x HTTP/1.1\r\nHost: 127.0.0.1:7\r\n\r\n", 200),
            ("GET /callback HTTP/1.1\r\nhost: LOCALHOST:7\r\n\r\n", 200),
            ("GET / HTTP/1.1\r\nHost: 127.0.0.1:7\r\n\r\n", 404),
            ("GET /callback/ HTTP/1.1\r\nHost: 127.0.0.1:7\r\n\r\n", 404),
            ("GET /favicon.ico HTTP/1.1\r\nHost: 127.0.0.1:7\r\n\r\n", 404),
            ("POST /callback?x HTTP/1.1\r\nHost: 127.0.0.1:7\r\n\r\n", 405),
            ("HEAD /callback?x HTTP/1.1\r\nHost: 127.0.0.1:7\r\n\r\n", 405),
            ("GET /callback HTTP/1.1\r\nHost: evil.example:7\r\n\r\n", 400),
            ("GET /callback HTTP/1.1\r\nHost: 127.0.0.1:8\r\n\r\n", 400),
            ("GET /callback HTTP/2\r\n\r\n", 400),
            ("GET  /callback HTTP/1.1\r\n\r\n", 400),
            ("junk\r\n\r\n", 400),
        ] {
            assert_eq!(status(head), expected, "{head}");
        }
    }

    #[test]
    fn cbl_07_a_page_loads_nothing_and_its_style_is_the_one_that_the_policy_names() {
        let page = Page::new(200, "You are logged in", "x").bytes();
        assert!(page.contains("default-src 'none'; style-src 'sha256-"));
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script"));
        assert!(page.contains(&style_hash()));
    }
}
