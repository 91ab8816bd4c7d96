//! Reading the configuration again while the service runs (SIGHUP): what can be changed is changed, the rest is told.

use actix_web::web::Data;

use crate::cli::{Command, ServeArgs};
use crate::config::{self, Config};
use crate::http::app::App;
use crate::http::tls::Tls;
use crate::logging::Log;
use crate::settings::{self, Loaded, Setting};

/// Settings that a running service cannot change: sockets, names that others hold, how it was built.
pub const FIXED: [&str; 20] = [
    "data",
    "listen",
    "port",
    "issuer",
    "mcp",
    "mcp-open",
    "auto-approve",
    "insecure-plain-http",
    "tls-cert",
    "tls-key",
    "workers",
    "log-format",
    "header-time",
    "body-time",
    "idle-time",
    "metrics",
    "client-id",
    "client-secret",
    "redirect-uris",
    "clients",
];

/// What a reload works on.
pub struct Reload {
    /// The service.
    pub app: Data<App>,
    /// Its certificate.
    pub tls: Option<Tls>,
    /// Its log.
    pub log: Log,
    /// What was in force before.
    pub settings: Vec<Setting>,
}

impl Reload {
    /// Reads command line, environment and file again. A mistake in them changes nothing.
    pub fn run(&mut self) {
        let argv: Vec<_> = std::env::args_os().collect();
        let variables: Vec<_> = std::env::vars_os().collect();
        let done = settings::load(&argv, &variables).map_err(|problem| problem.to_string());
        match done.and_then(|loaded| self.take(loaded)) {
            Ok((changed, fixed)) => {
                let changed = changed.join(" ");
                tracing::info!(changed, "SIGHUP: configuration and certificate were read again");
                if !fixed.is_empty() {
                    tracing::warn!(settings = fixed.join(" "), "these changed too, and count after a restart only");
                }
            }
            Err(reason) => tracing::error!(reason, "SIGHUP: the configuration stays as it was"),
        }
    }

    /// The names of what changed, and of what changed in vain.
    fn take(&mut self, loaded: Loaded) -> Result<(Vec<String>, Vec<String>), String> {
        let args = match &loaded.cli.command {
            Some(Command::Serve(args)) => args,
            _ => &loaded.cli.serve,
        };
        let mut policy = Config::check(args).map_err(|error| error.to_string())?;
        policy.issuer = self.app.policy.issuer.clone();
        policy.mcp = self.app.policy.mcp;
        policy.auto_approve = self.app.policy.auto_approve.clone();
        if let Some(tls) = &self.tls {
            tls.reload()?;
        }
        self.app.set_policy(policy)?;
        self.set_the_rest(args);
        let (fixed, changed) =
            differing(&self.settings, &loaded.settings).into_iter().partition(|name| FIXED.contains(&name.as_str()));
        // What could not be changed is compared with what is in force the next time too.
        let is_fixed = |setting: &Setting| FIXED.contains(&setting.name.as_str());
        self.settings.retain(is_fixed);
        self.settings.extend(loaded.settings.into_iter().filter(|setting| !is_fixed(setting)));
        Ok((changed, fixed))
    }

    fn set_the_rest(&self, args: &ServeArgs) {
        self.log.set(args);
        self.app.limits.set(config::rates(args).as_ref());
        self.app.proxies.set(config::proxies(args));
        self.app.cors.set(config::cors(args));
    }
}

fn differing(before: &[Setting], after: &[Setting]) -> Vec<String> {
    let other =
        |one: &Setting| before.iter().find(|old| old.name == one.name).is_none_or(|old| old.values != one.values);
    after.iter().filter(|one| other(one)).map(|one| one.name.clone()).collect()
}
