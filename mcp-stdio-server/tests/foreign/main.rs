//! `/mcp` behind an authorization server of other people's, through the real process. Tests are named by the row of the
//! catalogue of attacks and faults that they hold.

mod introspection;
mod issuer;
mod jwks;
mod server;
