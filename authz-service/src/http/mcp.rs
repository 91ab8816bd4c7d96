//! `/mcp` beside the authorization service: the tools of `mcp-stdio-server` at a URL, behind the service's own tokens.

use std::sync::Arc;

use mcp_stdio_server::audit::Audit;
use mcp_stdio_server::gate::Gate;
use mcp_stdio_server::http::backend::Own;
use mcp_stdio_server::http::{Front, Setup};
use mcp_stdio_server::tools::Catalog;
use mcp_stdio_server::verify::Verify;
use mcp_stdio_server::verify::local::Local;
use shared::scope::Scopes;
use shared::state::{Change, Tool};
use shared::store::Store;
use shared::time::Clock;
use shared::uri::Resource;

/// How many sessions there may be at once: each is a few kilobytes.
const SESSIONS: usize = 4096;

/// How `/mcp` is served.
pub struct Wanted {
    /// Its URL, which tokens must be for.
    pub resource: Resource,
    /// Whether the handshake, lists and open tools need no token.
    pub open: bool,
    /// Origins whose pages may ask, besides our own.
    pub origins: Vec<String>,
    /// Where calls are written down.
    pub audit: Audit,
}

/// The front of `/mcp`. Host names are checked by the service's own gate.
pub fn front(wanted: Wanted, store: &Arc<dyn Store>, clock: &Arc<dyn Clock>) -> Arc<Front> {
    let Wanted { resource, open, origins, audit } = wanted;
    let verify: Arc<dyn Verify> = Arc::new(Local::new(Arc::clone(store), resource.clone(), None));
    let gates = {
        let (clock, resource) = (Arc::clone(clock), resource.clone());
        move || Gate::of_front(Arc::clone(&verify), Arc::clone(&clock), resource.clone(), &audit)
    };
    let gate = gates();
    let backend = Arc::new(Own::new(move || catalog(&resource), Box::new(gates)));
    Arc::new(Front::new(Setup { backend, gate, open, hosts: None, origins, sessions: SESSIONS }))
}

/// What the store must be told so that people see the tools when they consent; nothing when it knows.
pub fn announcement(resource: &Resource, known: &[Tool]) -> Option<Change> {
    let tools = mcp_stdio_server::announce::tools(&catalog(resource));
    (known != tools).then(|| Change::ToolsAnnounced { resource: resource.clone(), tools, scopes: Scopes::default() })
}

fn catalog(resource: &Resource) -> Catalog {
    Catalog::new(Catalog::standard(resource))
}
