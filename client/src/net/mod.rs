//! The network and the person's browser.

pub mod callback;
pub mod http;
pub mod streamable;
