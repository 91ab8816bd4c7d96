//! Who may call a tool: an MCP server on stdio whose tools are guarded by the store that `authz-service` writes.
//!
//! A line enters through [`framing`], which bounds and screens it, passes rmcp, and reaches [`handler`]:
//! the [`gate`] has [`credential`] find the token, [`verify`] check it against the followed store, and [`guard`] compare
//! scopes; a call without a credential climbs [`login`]; then a tool of the [`tools::Catalog`] runs.

pub mod announce;
pub mod audit;
pub mod cli;
pub mod conversation;
pub mod credential;
pub mod era;
pub mod framing;
pub mod gate;
pub mod guard;
pub mod handler;
pub mod http;
pub mod import;
pub mod listing;
mod logging;
pub mod login;
mod results;
pub mod server;
pub mod token;
pub mod tools;
pub mod vault;
pub mod verify;
pub mod wrap;

/// The page about adding a tool, of which the example is a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/ADD_A_TOOL.md")]
pub struct AddATool;
