//! Any stdio MCP server behind the guard.
//!
//! A relay between a host and a server that neither knows of it: what the relay need not change passes byte for byte. It
//! judges what is used, filters what is listed, and speaks to each side in the era that the side knows. [`rules`] says
//! what is needed, [`eras`] translates, [`child`] is the server's process, [`relay`] is everything that happens.

pub mod child;
pub mod eras;
pub mod exact;
pub mod lint;
pub mod listing;
pub mod message;
pub mod probe;
pub mod queue;
pub mod relay;
pub mod release;
pub mod rules;
pub mod standin;

use std::future::Future;
use std::sync::Arc;

use tokio::io::AsyncRead;

use self::listing::Listing;
use crate::framing::streams::Output;
use crate::gate::Gate;
use crate::server::Ending;

/// Who is told which tools the server lists.
pub type Told = Box<dyn Fn(&Listing) + Send + Sync>;

/// A server that is wrapped.
pub struct Wrapped {
    /// Who lets callers in.
    pub gate: Arc<Gate>,
    /// What is needed.
    pub rules: rules::Rules,
    /// What to start.
    pub spec: child::Spec,
    /// The secrets that it gets while a grant covers them.
    pub secrets: Option<Arc<release::Release>>,
    /// Where it is remembered what such a server has.
    pub memory: standin::Memory,
    /// Whether lists show what a grant does not open, marked.
    pub shows_locked: bool,
    /// Who is told which tools there are, whenever they become others.
    pub told: Told,
}

/// Serves one host until it leaves or `stop` resolves; nothing of the wrapped server is left then.
pub async fn serve<R, W>(wrapped: Wrapped, input: R, output: W, stop: impl Future<Output = ()>) -> Ending
where
    R: AsyncRead + Unpin + Send + 'static,
    W: Output + 'static,
{
    relay::run(wrapped, input, output, stop).await
}
