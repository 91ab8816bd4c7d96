//! `http`: the tools at a URL.

use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use actix_web::{App, HttpServer};
use shared::store::Store;
use shared::time::{Clock, SystemClock};
use shared::uri::{Parts, Resource};

use super::foreign::Whose;
use super::{Offered, announcer, followed, trail, wrap};
use crate::audit::Trail;
use crate::gate::Gate;
use crate::http::backend::{Announce, Backend, Gates, Own, Wrap};
use crate::http::{Front, Setup};
use crate::verify::Verify;
use crate::verify::local::Local;

/// What is served, and where.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Listen here. On addresses that other machines reach, --resource must name the https URL of the proxy in front
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:3001")]
    listen: String,

    /// The URL by which clients know this server, byte for byte; tokens must be for it, and authz-service must be
    /// started with the same --resource [default: http://localhost:PORT/mcp]
    #[arg(long, value_name = "URL")]
    resource: Option<Resource>,

    #[command(flatten)]
    whose: Whose,

    /// Answer without a token what needs no scope: the handshake, lists, open tools
    #[arg(long)]
    open: bool,

    /// Let pages of this origin ask too, besides our own; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    origin: Vec<String>,

    /// How many sessions there may be at once; each wrapped one is a process
    #[arg(long, value_name = "N", default_value_t = 256)]
    sessions: usize,

    /// The rules of a wrapped server
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,

    /// Show in lists, marked, what a grant does not open
    #[arg(long)]
    show_locked: bool,

    /// Not here
    #[arg(long, value_name = "ENV=NAME", hide = true)]
    secret: Vec<String>,

    /// The command line of a stdio server to serve in place of our own tools
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Serves until the system or a person asks the process to end.
pub(super) fn run(arguments: &super::Arguments, wanted: Arguments, offered: &Offered) -> io::Result<ExitCode> {
    if !wanted.secret.is_empty() {
        return Err(io::Error::other(
            "--secret: a server behind a URL gets no secrets of the vault, for many people's grants would have to cover one process; \
             give the service that starts this one the variable, or let each person start `wrap --secret`",
        ));
    }
    shared::files::limit::raise_open_files();
    let listener = listen(&wanted)?;
    let address = listener.local_addr()?;
    let resource = resource(&wanted, address)?;
    actix_web::rt::System::new().block_on(serve(arguments, wanted, offered, listener, resource))?;
    Ok(ExitCode::SUCCESS)
}

fn listen(wanted: &Arguments) -> io::Result<TcpListener> {
    let named = |error: io::Error| io::Error::other(format!("cannot listen on {}: {error}", wanted.listen));
    let address = wanted.listen.to_socket_addrs().map_err(named)?.next();
    let address = address.ok_or_else(|| named(io::Error::other("not an address of this machine")))?;
    let is_https = wanted.resource.as_ref().is_some_and(|resource| resource.as_str().starts_with("https://"));
    if !address.ip().is_loopback() && !is_https {
        return Err(io::Error::other(format!(
            "{address} can be reached from other machines, and without TLS they read every token on the way; put a proxy \
             in front that ends TLS, and name its URL with --resource https://..."
        )));
    }
    TcpListener::bind(address).map_err(named)
}

fn resource(wanted: &Arguments, address: SocketAddr) -> io::Result<Resource> {
    let resource = match &wanted.resource {
        Some(resource) => resource.clone(),
        None => format!("http://localhost:{}/mcp", address.port()).parse().map_err(io::Error::other)?,
    };
    let parts = Parts::of(resource.as_str());
    if parts.is_none_or(|parts| parts.authority.is_none() || parts.query.is_some()) {
        return Err(io::Error::other(format!("--resource {resource}: not the URL of an endpoint")));
    }
    Ok(resource)
}

async fn serve(
    arguments: &super::Arguments,
    wanted: Arguments,
    offered: &Offered,
    listener: TcpListener,
    resource: Resource,
) -> io::Result<()> {
    let clock = Arc::new(SystemClock);
    // Kept to the end: it waits for the last lines.
    let trail = trail(arguments, &clock, offered.program);
    let audit = trail.as_ref().map(Trail::audit).unwrap_or_default();
    let clock: Arc<dyn Clock> = clock;
    // Where another issuer's tokens are taken, the store is not asked for anything.
    let (store, verify) = match wanted.whose.verifier(arguments.issuer.as_ref(), &resource)? {
        Some(verify) => (None, verify),
        None => {
            let store = followed(arguments).0;
            let local = Local::new(Arc::clone(&store) as Arc<dyn Store>, resource.clone(), arguments.issuer.clone());
            (Some(store), Arc::new(local) as Arc<dyn Verify>)
        }
    };
    let announcer = store.and_then(|store| announcer(arguments, &store, resource.clone(), Arc::clone(&clock)));
    let gates = {
        let resource = resource.clone();
        move || {
            let gate = Gate::of_front(Arc::clone(&verify), Arc::clone(&clock), resource.clone(), &audit);
            Gate { announcer: announcer.clone(), ..gate }
        }
    };
    let gate = gates();
    let address = listener.local_addr()?;
    let announce: Announce = {
        let announcer = gate.announcer.clone();
        Box::new(move |told| {
            if let Some(announcer) = &announcer {
                announcer.tell(told);
            }
        })
    };
    let backend = backend(&wanted, offered, Box::new(gates), &resource, announce).await?;
    if let Some(announcer) = &gate.announcer {
        announcer.tell(backend.announced());
    }
    let own = Parts::of(resource.as_str()).and_then(|parts| parts.host()).map(str::to_owned);
    let local = address.ip().is_loopback().then_some(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
    tracing::info!(%resource, %address, "serving");
    let front = Arc::new(Front::new(Setup {
        backend,
        gate,
        open: wanted.open,
        hosts: Some(local.into_iter().flatten().chain(own).collect()),
        origins: wanted.origin,
        sessions: wanted.sessions.max(1),
    }));
    let factory = move || App::new().configure(front.mount()).configure(front.mount_metadata());
    HttpServer::new(factory)
        .keep_alive(std::time::Duration::from_secs(30))
        .client_request_timeout(std::time::Duration::from_secs(10))
        .tcp_nodelay(true)
        .shutdown_timeout(1)
        .listen(listener)?
        .run()
        .await
}

async fn backend(
    wanted: &Arguments,
    offered: &Offered,
    gates: Gates,
    resource: &Resource,
    announce: Announce,
) -> io::Result<Arc<dyn Backend>> {
    if wanted.command.is_empty() {
        let (resource, tools) = (resource.clone(), offered.clone());
        tools.catalog(&resource).check().map_err(io::Error::other)?;
        return Ok(Arc::new(Own::new(move || tools.catalog(&resource), gates).named(offered.program)));
    }
    let rules = wanted.rules.as_deref().map(wrap::read).transpose()?.unwrap_or_default();
    let scopes = wrap::asked_for(&rules);
    let spec = wrap::spec(wanted.command.clone());
    Ok(Arc::new(Wrap::new(rules, spec, wanted.show_locked, scopes, gates, announce).await?))
}
