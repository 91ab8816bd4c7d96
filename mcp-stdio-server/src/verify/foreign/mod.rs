//! Checking tokens of other people's authorization servers, such as Keycloak: by their published keys ([`jwks`])
//! The store is not consulted.

pub mod endpoints;
pub mod jwks;
mod keys;
mod site;

pub use self::site::Site;
