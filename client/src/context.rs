//! What every command works with.

use shared::time::{Clock, SystemClock, Timestamp};

use crate::net::http::Http;
use crate::print::Printer;
use crate::vault::Vault;

/// The network, the credentials, and where words go.
#[derive(Debug)]
pub struct Context {
    /// HTTP.
    pub http: Http,
    /// Credentials.
    pub vault: Vault,
    /// Words.
    pub out: Printer,
    /// The person's name for this set of logins.
    pub profile: String,
}

impl Context {
    /// The present second.
    pub fn now(&self) -> Timestamp {
        SystemClock.now()
    }
}
