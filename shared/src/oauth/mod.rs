//! The words on the wire, used by both ends.

pub mod authorize;
pub mod challenge;
pub mod cimd;
pub mod device;
pub mod error;
pub mod form;
pub mod freshness;
pub mod json;
pub mod jwt;
pub mod metadata;
pub mod pkce;
pub mod register;
pub mod token;
