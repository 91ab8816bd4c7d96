//! The network and the person's browser.

pub mod browser;
pub mod callback;
pub mod http;
pub mod streamable;

/// Environment variables that hold secrets: no program that we start inherits them.
pub const SECRET_VARIABLES: [&str; 2] = [crate::tokens::TOKEN_VARIABLE, "MCP_CLIENT_SECRET"];
