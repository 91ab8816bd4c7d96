//! Who may call a tool: an MCP server on stdio whose tools are guarded by the store that `authz-service` writes.
//!
//! A line enters through [`framing`], which bounds and screens it, passes rmcp, and reaches [`handler`]:
//! [`credential`] finds the token, [`verify`] checks it against the followed store, [`guard`] compares scopes, and
//! a tool of the [`tools::Catalog`] runs.

pub mod announce;
pub mod cli;
pub mod credential;
pub mod era;
pub mod framing;
pub mod guard;
pub mod handler;
mod logging;
pub mod server;
pub mod tools;
pub mod verify;
