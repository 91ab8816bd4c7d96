//! The service through its sockets: every test is named after the row of the attack catalogue that it plays.

#[path = "../support/mod.rs"]
mod support;

mod account;
mod admin;
mod authorize;
mod calls;
mod cimd;
mod client_keys;
mod clients;
mod clock;
mod commands;
mod consent;
mod device;
mod durable;
mod exchange;
mod http;
mod limits;
mod machines;
mod metadata;
mod operate;
mod pages;
mod par;
mod passkey;
mod process;
mod refresh;
mod register;
mod revoke;
mod token;
mod upstream;
