//! Listening, and stopping without cutting anybody off.

use std::io;
use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::rt::time::{Instant, sleep};
use actix_web::web::Data;
use actix_web::{App as Actix, HttpServer};
use rustls::ServerConfig;

use super::app::App;
use super::{gate, routes};

/// How long requests in flight may take to finish after SIGTERM (F-20).
const STOP_TIME: Duration = Duration::from_millis(9_500);

/// Starts to serve on listeners that are bound already. Returns the running server, to be awaited.
///
/// # Errors
/// When a listener cannot be used.
pub fn start(
    app: Data<App>,
    listeners: Vec<TcpListener>,
    workers: usize,
    tls: Option<&ServerConfig>,
) -> io::Result<Server> {
    let times = app.times;
    let factory = move || {
        let actix = Actix::new().app_data(app.clone()).wrap(from_fn(gate::gate));
        let mcp = app.mcp.clone();
        actix
            .configure(|config| mcp.iter().for_each(|front| front.mount()(config)))
            .configure(routes::mount(&app.prefix))
    };
    let mut server = HttpServer::new(factory)
        .workers(workers)
        .keep_alive(times.idle)
        .client_request_timeout(times.headers)
        .tcp_nodelay(true)
        .disable_signals()
        .shutdown_timeout(1);
    for listener in listeners {
        server = match tls {
            Some(tls) => server.listen_rustls_0_23(listener, tls.clone())?,
            None => server.listen(listener)?,
        };
    }
    Ok(server.run())
}

/// Stops accepting, lets requests in flight finish, then stops. Idle connections are simply closed.
pub async fn stop(app: &App, server: &ServerHandle) {
    app.stopping.store(true, Ordering::SeqCst);
    server.pause().await;
    let deadline = Instant::now() + STOP_TIME;
    let mut quiet = 0;
    // Twice quiet in a row: an answer that was just made has then been written.
    while quiet < 2 && Instant::now() < deadline {
        quiet = if app.in_flight.load(Ordering::SeqCst) == 0 { quiet + 1 } else { 0 };
        sleep(Duration::from_millis(20)).await;
    }
    server.stop(false).await;
}
