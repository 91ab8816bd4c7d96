//! `authz-service serve`, the default command.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::web::Data;
use mcp_stdio_server::audit::{Trail, spans};
use shared::secret::Secret;
use shared::state::{Change, ClientCare, State, User, UserStage};
use shared::store::calls::Keep;
use shared::store::journal::JournalStore;
use shared::store::{CommitError, Store};
use shared::time::{Clock, Seconds, SystemClock, Timestamp};

use super::configured;
use super::reload::Reload;
use crate::cli::ServeArgs;
use crate::config::Config;
use crate::http::app::App;
use crate::http::limit::Limits;
use crate::http::live::Live;
use crate::http::mcp;
use crate::http::metrics::{self, Metrics};
use crate::http::server;
use crate::http::tls::Tls;
use crate::logging::Log;
use crate::protocol::policy::Registration;
use crate::protocol::{Policy, setup};
use crate::settings::Loaded;

/// How often the limits' counts are looked through.
const SWEEP_EVERY: std::time::Duration = std::time::Duration::from_secs(600);

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// In words for the person who started it.
pub fn run(args: &ServeArgs, loaded: Loaded) -> Result<(), String> {
    let log = Log::start(args);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    shared::files::limit::raise_open_files();
    let config = Config::new(args).map_err(|error| error.to_string())?;
    let clients = configured::read(args)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let journal = JournalStore::open(&args.store.folder(), Arc::clone(&clock)).map_err(|error| error.to_string())?;
    let journal = Arc::new(journal);
    let keys = journal.keys().map_err(|error| error.to_string())?;
    warn_of_the_clock(clock.now());
    announce(&journal, &config.policy)?;
    let setup = prepare(&journal, &config.policy, clock.as_ref())?;
    // Half of the room at most is for clients that nobody uses.
    let unused = Seconds(u64::from(args.client_days) * 86_400);
    journal.care_for_clients(ClientCare { unused, most_unused: config.policy.max_clients / 2 });
    configured::settle(&journal, &clients, &config.policy, clock.as_ref())?;
    let addresses: Vec<_> = config.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let limits = Limits::new(config.rates.as_ref());
    let mut app = App::new(Arc::clone(&journal) as Arc<dyn Store>, keys, clock, config.policy, limits, config.hosts)?;
    app.journal = Some(args.store.folder());
    app.times = config.times;
    app.proxies = Live::new(config.proxies);
    app.proxies_only = config.proxies_only;
    // Kept to the end: it waits for the last lines.
    let collector = || spans::from_environment(env!("CARGO_PKG_NAME"));
    let keep = || Trail::start(args.store.folder(), Keep::default(), Arc::clone(&app.clock), collector());
    let trail = app.policy.mcp.then(keep);
    app.mcp = app.policy.mcp_resource().map(|resource| {
        let origins = config.cors.clone().unwrap_or_default();
        let audit = trail.as_ref().map(Trail::audit).unwrap_or_default();
        mcp::front(mcp::Wanted { resource, open: args.mcp_open, origins, audit }, &app.store, &app.clock)
    });
    app.cors = Live::new(config.cors);
    app.metrics = config.metrics.is_some().then(Metrics::default);
    let figures = config.metrics.as_ref().and_then(|listener| listener.local_addr().ok());
    let banner = banner(&app, &addresses, figures, setup.as_ref());
    let app = Data::new(app);
    let tls = config.tls.as_ref().map(Tls::config).transpose()?;
    let reload = Reload { app: app.clone(), tls: config.tls, log, settings: loaded.settings };
    let kept = Arc::clone(&journal);
    let served = actix_web::rt::System::new().block_on(async move {
        let running = server::start(app.clone(), config.listeners, config.workers, tls.as_ref())
            .map_err(|error| error.to_string())?;
        if let Some(listener) = config.metrics {
            let figures = metrics::start(app.clone(), listener).map_err(|error| error.to_string())?;
            actix_web::rt::spawn(figures);
        }
        let signals = Signals::catch()?;
        super::print(&banner);
        actix_web::rt::spawn(sweep(app.clone()));
        super::key::keep(app.clone(), kept)?;
        let handle = running.handle();
        actix_web::rt::spawn(async move {
            signals.wait(reload).await;
            server::stop(&app, &handle).await;
        });
        running.await.map_err(|error| error.to_string())
    });
    journal.tidy();
    served
}

/// A clock that nobody has set makes tokens that nobody takes, or that live for decades elsewhere (F-17).
fn warn_of_the_clock(now: Timestamp) {
    const BUILT_AFTER: Timestamp = Timestamp(1_767_225_600); // 2026-01-01
    const MUCH_LATER: Timestamp = Timestamp(4_070_908_800); // 2099-01-01
    if now < BUILT_AFTER || now > MUCH_LATER {
        tracing::warn!(seconds_since_1970 = now.0, "the clock of this machine is wrong; tokens carry its time: set it");
    }
}

/// What the store must hold before the first request. The one-time set-up link's secret, when nobody has an account.
fn prepare(store: &JournalStore, policy: &Policy, clock: &dyn Clock) -> Result<Option<Secret>, String> {
    let (mut declared, mut has_users, mut has_approver) = (false, false, false);
    store
        .read(&mut |state| {
            declared = state.issuers().contains(&policy.issuer);
            has_users = state.someone_can_log_in();
            has_approver = state.users().iter().any(|user| Some(&user.name) == policy.auto_approve.as_ref());
        })
        .map_err(|error| error.to_string())?;
    if !declared {
        commit(store, Change::IssuerDeclared(policy.issuer.clone()))?;
    }
    match &policy.auto_approve {
        Some(name) if !has_approver => {
            let created = clock.now();
            let user = User {
                name: name.clone(),
                password: None,
                admin: false,
                created,
                stage: UserStage::Enabled,
                passkeys: Vec::new(),
                links: Vec::new(),
            };
            commit(store, Change::UserCreated(user))?;
            Ok(None)
        }
        None if !has_users => {
            let secret = Secret::random();
            commit(store, setup::offer(&secret, policy, clock.now()))?;
            Ok(Some(secret))
        }
        _ => Ok(None),
    }
}

/// Tells the store which tools we serve ourselves, so that people see them when they consent.
fn announce(store: &JournalStore, policy: &Policy) -> Result<(), String> {
    let Some(resource) = policy.mcp_resource() else { return Ok(()) };
    let mut known = Vec::new();
    let mut look = |state: &State| {
        let announced = state.announcement(&resource).into_iter().flat_map(|announced| &announced.tools);
        known = announced.map(|(tool, _)| tool.clone()).collect();
    };
    store.read(&mut look).map_err(|error| error.to_string())?;
    mcp::announcement(&resource, &known).map_or(Ok(()), |change| commit(store, change))
}

fn commit(store: &JournalStore, change: Change) -> Result<(), String> {
    match store.commit_blocking(vec![change]) {
        // A service that starts beside us was first.
        Ok(()) | Err(CommitError::Conflict(_)) => Ok(()),
        Err(CommitError::Unavailable(error)) => Err(error.to_string()),
    }
}

/// What a person sees when the service has started.
fn banner(app: &App, addresses: &[SocketAddr], figures: Option<SocketAddr>, setup: Option<&Secret>) -> String {
    let at = |path: &str| app.policy.issuer.join(path);
    let listening = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let mut text = format!("Authorization service {}\n\n", env!("CARGO_PKG_VERSION"));
    for (name, value) in [
        ("Listening on", listening),
        ("Issuer", app.policy.issuer.to_string()),
        (
            "Register",
            match app.policy.registration {
                Registration::Open => format!("POST {}", at("/register")),
                Registration::Token => format!("POST {} with a token of: authz-service client token", at("/register")),
                Registration::Off => "by the operator: authz-service client add".to_owned(),
            },
        ),
        ("Authorize", format!("GET  {}", at("/oauth/authorize"))),
        ("Token", format!("POST {}", at("/oauth/token"))),
        ("Metadata", format!("GET  {}", at("/.well-known/oauth-authorization-server"))),
    ] {
        text.push_str(&format!("  {name:<13} {value}\n"));
    }
    if let Some(resource) = app.policy.mcp_resource() {
        text.push_str(&format!("  {:<13} POST {resource}\n", "Tools"));
    }
    if let Some(address) = figures {
        text.push_str(&format!("  {:<13} GET  http://{address}/metrics\n", "Figures"));
    }
    if let Some(user) = &app.policy.auto_approve {
        text.push_str(&format!(
            "\nDEVELOPMENT MODE: every request is approved as \"{user}\" without asking anybody (--auto-approve).\n"
        ));
    }
    if let Some(secret) = setup {
        text.push_str(&format!(
            "\nNobody has an account yet. Open this link within 24 hours to create the owner's:\n  {}?token={}\n",
            at("/setup"),
            secret.expose()
        ));
    }
    text.push('\n');
    text
}

/// Forgets the limits' counts of those who have not come for long. The store forgets by itself.
async fn sweep(app: Data<App>) {
    loop {
        actix_web::rt::time::sleep(SWEEP_EVERY).await;
        app.limits.sweep(app.now());
    }
}

/// The signals that end the service.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    /// Catches them from now on.
    fn catch() -> Result<Self, String> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let [terminate, hangup] = [SignalKind::terminate(), SignalKind::hangup()].map(signal);
            let (terminate, hangup) =
                terminate.and_then(|one| Ok((one, hangup?))).map_err(|error| error.to_string())?;
            Ok(Self { terminate, hangup })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits for one that ends the service; on SIGHUP the configuration is read again. A service that was started at a
    /// terminal ends with it: the system says so with the same signal.
    #[cfg(unix)]
    async fn wait(mut self, mut reload: Reload) {
        let at_terminal = std::io::IsTerminal::is_terminal(&std::io::stdin());
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return tracing::info!("SIGTERM: stopping"),
                _ = tokio::signal::ctrl_c() => return tracing::info!("interrupted: stopping"),
                _ = self.hangup.recv() => {
                    if at_terminal {
                        return tracing::info!("the terminal was closed: stopping");
                    }
                    reload.run();
                }
            }
        }
    }

    /// Waits for the first.
    #[cfg(not(unix))]
    async fn wait(self, _reload: Reload) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
