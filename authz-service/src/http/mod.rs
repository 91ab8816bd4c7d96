//! The HTTP shell: carries requests to [`crate::protocol`] and its verdicts back. Decides nothing that a test of the
//! pure part cannot see.

pub mod account;
pub mod admin;
pub mod app;
pub mod authorize;
pub mod body;
pub mod cimd;
pub mod consent;
pub mod fetch;
pub mod gate;
pub mod health;
pub mod index;
pub mod introspect;
pub mod limit;
pub mod live;
pub mod login;
pub mod logout;
pub mod manage;
pub mod metadata;
pub mod metrics;
pub mod openapi;
pub mod pages;
pub mod password;
pub mod proxy;
pub mod published;
pub mod register;
pub mod reply;
pub mod revoke;
pub mod routes;
pub mod seal;
pub mod server;
pub mod session;
pub mod setup;
pub mod tls;
pub mod token;
