//! Words, records and the store that both ends of OAuth for MCP share.
//!
//! The layers, each allowed to use those before it only (`tests/layers.rs` reads the `use` lines):
//! [`text`] [`list`] [`id`] [`secret`] [`time`] [`date`] [`uri`] [`scope`] [`address`] — names, checked once where they
//! enter; [`oauth`] — the words on the wire; [`state`] — records and the one function that changes them; [`token`] — keys, minting,
//! verifying; [`store`] — where state lives; [`files`] — owner-only files; [`sealed`] — what only its maker
//! can read again; [`browser`] — the person's browser; [`stderr`] — logs that nobody waits for.

pub mod address;
pub mod browser;
pub mod date;
pub mod files;
pub mod id;
pub mod jcs;
pub mod list;
#[cfg(feature = "net")]
pub mod net;
pub mod oauth;
pub mod scope;
pub mod sealed;
pub mod secret;
pub mod state;
pub mod stderr;
pub mod store;
pub mod text;
pub mod time;
pub mod token;
pub mod uri;
