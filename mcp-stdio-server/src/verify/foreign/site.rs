//! An authorization server of other people's, over the network.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shared::net::{Manner, NoReply, Remote, Reply};
use shared::oauth::metadata::issuer_places;
use shared::uri::Issuer;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::endpoints::{BadMetadata, Endpoints};

/// How long one request may take.
const TIME: Duration = Duration::from_secs(5);

/// How long metadata are believed. Nothing secret hangs on them: a place that has moved no longer answers.
const LIFETIME: Duration = Duration::from_secs(3600);

/// How long metadata that are not to be had are not asked for again: whoever waited gets the same answer.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// All requests are made on one runtime, so that connections can be kept.
const MANNER: Manner = Manner { agent: concat!("mcp-stdio-server/", env!("CARGO_PKG_VERSION")), time: TIME, kept: 8 };

/// An authorization server.
pub struct Site {
    issuer: Issuer,
    remote: Remote,
    runtime: Handle,
    endpoints: Mutex<Option<(Result<Endpoints, Fault>, Instant)>>,
}

/// Why an authorization server is of no use now. For the log.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// No answer.
    #[error("{0}")]
    NoReply(#[from] NoReply),
    /// Another status than was hoped for.
    #[error("its {0} answers with status {1}")]
    Status(&'static str, u16),
    /// Its metadata are no good.
    #[error("{0}")]
    Metadata(#[from] BadMetadata),
    /// It has no such thing.
    #[error("its metadata have no {0}")]
    Without(&'static str),
    /// What it says has not the form.
    #[error("{0}")]
    Content(String),
}

/// Says once in the log that something ails, and once that it is well again.
#[derive(Default)]
pub(super) struct Health(AtomicBool);

impl Health {
    pub(super) fn ill(&self, fault: &Fault) {
        if !self.0.swap(true, Ordering::Relaxed) {
            tracing::warn!(%fault, "the authorization server is of no use at the moment");
        }
    }

    pub(super) fn well(&self) {
        if self.0.swap(false, Ordering::Relaxed) {
            tracing::warn!("the authorization server is well again");
        }
    }
}

impl Site {
    /// An authorization server. Requests are made on the runtime that this is called on, whoever waits for the answers.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn new(issuer: Issuer) -> Self {
        Self { issuer, remote: Remote::new(MANNER), runtime: Handle::current(), endpoints: Mutex::default() }
    }

    /// Its name.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The runtime that requests are to be made on.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// What requests are made with.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Where it is asked. Read once for all who wait, and then remembered.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn endpoints(&self) -> Result<Endpoints, Fault> {
        let mut known = self.endpoints.lock().await;
        if let Some((found, since)) = known.as_ref()
            && since.elapsed() < if found.is_ok() { LIFETIME } else { LEFT_ALONE }
        {
            return found.clone();
        }
        let found = self.discover().await;
        *known = Some((found.clone(), Instant::now()));
        found
    }

    /// What is known of its endpoints is asked again the next time, where one of them answers as if it had moved.
    pub async fn moved(&self, status: u16) {
        if matches!(status, 300..=399 | 404 | 405 | 410) {
            *self.endpoints.lock().await = None;
        }
    }

    async fn discover(&self) -> Result<Endpoints, Fault> {
        let mut fault = Fault::Without("place");
        for place in issuer_places(&self.issuer) {
            match self.remote.get(&place).await? {
                Reply { status: 200, body, .. } => match Endpoints::accept(&self.issuer, &body) {
                    Ok(endpoints) => return Ok(endpoints),
                    // Many servers answer anything with a page.
                    Err(bad) => fault = bad.into(),
                },
                Reply { status, .. } if !matches!(fault, Fault::Metadata(_)) => {
                    fault = Fault::Status("metadata", status)
                }
                Reply { .. } => {}
            }
        }
        Err(fault)
    }
}
