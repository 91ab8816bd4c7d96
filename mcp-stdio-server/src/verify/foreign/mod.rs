//! Checking tokens of other people's authorization servers, such as Keycloak: by their published keys ([`jwks`]), or by
//! asking their issuer ([`introspection`]). The store is not consulted.

mod answers;
pub mod endpoints;
pub mod introspection;
pub mod jwks;
mod keys;
mod lane;
pub mod site;
