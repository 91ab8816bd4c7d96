//! HTP: the HTTP layer under everything.

use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, init_service, read_body, try_call_service};
use actix_web::{App, HttpResponse, web};
use authz_service::http::gate;

use crate::support::{Service, block_on};

#[test]
fn htp_01_a_large_body_is_refused_before_it_is_read() {
    let service = Service::start();
    let head = "POST /oauth/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10000000000\r\n\r\n";
    service.connect().raw(head.as_bytes(), false).fails(413, "invalid_request");
    let mut chunked =
        b"POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..5 {
        chunked.extend(b"4000\r\n");
        chunked.extend([b' '; 0x4000]);
        chunked.extend(b"\r\n");
    }
    service.connect().raw(&chunked, false).fails(413, "invalid_client_metadata");
}

#[test]
fn htp_04_unknown_paths_and_wrong_methods_get_small_answers_with_our_headers() {
    let service = Service::start();
    for path in ["/nothing", "/oauth/tokens", "/../etc/passwd", "/oauth/token/", "/%00", "//oauth/token"] {
        let answer = service.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json()["error"], "not_found");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("server"), None);
    }
    let page = service.connect().send("GET", "/nothing", &[("Accept", "text/html")], b"");
    page.is_page(404);
    for (path, allow) in
        [("/register", "POST, OPTIONS"), ("/health", "GET"), ("/login", "POST"), ("/setup", "GET, POST")]
    {
        let answer = service.connect().send("DELETE", path, &[], b"");
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{path}");
        answer.fails(405, "invalid_request");
    }
}

#[test]
fn htp_04_a_refused_body_does_not_cost_the_connection() {
    let service = Service::start();
    let mut connection = service.connect();
    let body = vec![b'x'; 60 * 1024];
    for (method, path, status) in [("POST", "/nothing", 404), ("PUT", "/oauth/token", 405), ("POST", "/login", 400)] {
        assert_eq!(connection.send(method, path, &[], &body).status, status, "{path}");
    }
    assert_eq!(connection.send("GET", "/health", &[], b"").status, 200);
}

#[test]
fn htp_05_old_chunked_expecting_and_pipelined_requests_are_answered() {
    let service = Service::start();
    assert_eq!(service.connect().raw(b"GET /health HTTP/1.0\r\n\r\n", false).status, 200);
    let chunked = b"POST /oauth/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na=b&c\r\n3\r\n=de\r\n0\r\n\r\n";
    service.connect().raw(chunked, false).fails(400, "invalid_request");
    let mut connection = service.connect();
    let expecting = b"POST /oauth/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(connection.raw(expecting, true).status, 100);
    connection.raw(b"a=b", false).fails(400, "invalid_request");
    let mut connection = service.connect();
    let one = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(connection.raw(one.repeat(3).as_bytes(), false).status, 200);
    assert_eq!((connection.read(false).status, connection.read(false).status), (200, 200));
}

#[test]
fn htp_05_chunks_that_are_none_are_a_bad_request() {
    let service = Service::start();
    let head = "POST /oauth/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunks in ["zz\r\na=b\r\n0\r\n\r\n", "3\r\na=bX\r\n0\r\n\r\n", "-1\r\n\r\n", "ffffffffffffffffff\r\na"] {
        let answer = service.connect().raw(format!("{head}{chunks}").as_bytes(), false);
        assert_eq!(answer.status, 400, "{chunks:?}: {}", answer.text());
    }
    assert_eq!(service.get("/health").status, 200);
}

#[test]
fn htp_04_who_wants_a_tunnel_or_another_protocol_is_answered_at_once() {
    let service = Service::start();
    let begun = std::time::Instant::now();
    let upgrade = "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 17\r\n\r\ngrant_type=foobar";
    for (request, status) in [
        ("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 404),
        (format!("GET /nowhere HTTP/1.1\r\n{upgrade}\r\n"), 404),
        (format!("POST /oauth/authorize HTTP/1.1\r\n{upgrade}\r\n"), 400),
        (format!("POST /login HTTP/1.1\r\n{upgrade}\r\n"), 400),
    ] {
        assert_eq!(service.connect().raw(request.as_bytes(), false).status, status, "{request}");
    }
    // What has a length is read.
    let answer = service.connect().raw(format!("POST /oauth/token HTTP/1.1\r\n{upgrade}{form}").as_bytes(), false);
    assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("unsupported_grant_type")));
    assert!(begun.elapsed().as_secs() < 15, "nothing waited for a body that never ends");
}

#[test]
fn htp_06_a_request_has_one_host() {
    let service = Service::start();
    for head in [
        "GET /health HTTP/1.1\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    ] {
        assert_eq!(service.connect().raw(head.as_bytes(), false).status, 400, "{head}");
    }
}

#[test]
fn c9_long_request_lines_and_headers_are_refused() {
    let service = Service::start();
    let long = format!("/health?{}", "x".repeat(17 * 1024));
    assert_eq!(service.get(&long).status, 414);
    let value = "x".repeat(11 * 1024);
    let headers = [("A", value.as_str()), ("B", &value), ("C", &value)];
    assert_eq!(service.connect().send("GET", "/health", &headers, b"").status, 431);
    let many: Vec<_> = (0..201).map(|n| format!("p{n}=x")).collect();
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = service.connect().send("POST", "/oauth/token", &headers, many.join("&").as_bytes());
    answer.fails(400, "invalid_request");
}

#[test]
fn a_second_authorization_header_is_refused() {
    let service = Service::start();
    let headers = [
        ("Authorization", "Basic YTpi"),
        ("Authorization", "Basic YzpkCg"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let answer = service.connect().send("POST", "/oauth/token", &headers, b"grant_type=refresh_token&refresh_token=x");
    answer.fails(400, "invalid_request");
}

#[test]
fn htp_07_a_panic_is_answered_and_the_process_lives() {
    async fn panics() -> HttpResponse {
        panic!("a secret detail")
    }
    #[derive(Clone, Default)]
    struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let service = Service::start();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let told = tracing::subscriber::set_default(subscriber);
    let answer = block_on(async {
        let app = App::new().app_data(service.app.clone()).wrap(from_fn(gate::gate)).route("/", web::get().to(panics));
        let request = TestRequest::get().uri("/").insert_header(("Host", "localhost")).to_request();
        let error = try_call_service(&init_service(app).await, request).await.unwrap_err();
        let answer = error.error_response();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.headers().get("cache-control").unwrap(), "no-store");
        let request = TestRequest::default().to_srv_request();
        read_body(request.into_response(answer)).await
    });
    let body: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(body["error"], "server_error");
    let text = body["error_description"].as_str().unwrap();
    assert!(text.contains("request ") && !text.contains("secret detail"), "{text}");
    // Its name is in the log.
    drop(told);
    let id = text.split("request ").nth(1).unwrap().trim_end_matches(')');
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        id.len() >= 8 && logged.lines().any(|line| line.contains("panicked") && line.contains(id)),
        "{id}: {logged}"
    );
    assert_eq!(service.get("/health").status, 200);
}

#[test]
fn htp_03_many_idle_connections_keep_nobody_out() {
    let service = Service::start();
    let idle: Vec<_> = (0..200).map(|_| service.connect()).collect();
    let begun = std::time::Instant::now();
    assert_eq!(service.get("/health").status, 200);
    assert!(begun.elapsed().as_secs() < 1);
    drop(idle);
}
