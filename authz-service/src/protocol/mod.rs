//! Who gets a token: deciding, as a pure function of request, facts and time.
//!
//! Nothing here knows of sockets, files, clocks or randomness. A decision is a [`Verdict`]: what changes, and what
//! the caller is told. `http` carries both out.

pub mod account;
pub mod admin;
pub mod authorize;
pub mod bounds;
pub mod choice;
pub mod cimd;
pub mod client_auth;
pub mod client_keys;
pub mod device;
pub mod grantable;
pub mod interact;
pub mod introspect;
pub mod manage;
pub mod metadata;
pub mod operator;
pub mod passkey;
pub mod policy;
pub mod pushed;
pub mod refusal;
pub mod register;
pub mod remembered;
pub mod revoke;
pub mod setup;
pub mod token;
pub mod upstream;

#[cfg(test)]
pub(crate) mod sample;

use shared::state::Change;

pub use policy::Policy;
pub use refusal::Refusal;

/// What follows from a request: changes to commit, also when it is refused, and the reply.
#[derive(Debug)]
pub struct Verdict<T, E = Refusal> {
    /// To be committed, whole, before the reply is given.
    pub changes: Vec<Change>,
    /// What the caller is told.
    pub reply: Result<T, E>,
}

impl<T, E> Verdict<T, E> {
    /// A reply that changes nothing.
    pub fn unchanged(reply: Result<T, E>) -> Self {
        Self { changes: Vec::new(), reply }
    }

    /// The same, after another change.
    pub fn after(mut self, change: Option<Change>) -> Self {
        self.changes.splice(0..0, change);
        self
    }
}
