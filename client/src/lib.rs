//! Gets tokens and uses them: discovers, registers, logs in, refreshes, and calls tools behind OAuth for MCP.
//!
//! [`flow`] decides and is pure; [`net`], [`vault`] and [`session`] touch the world; [`login`] and [`tokens`] carry
//! between them; [`elicit`] asks the person for a server; [`commands`] are what a person types.

pub mod cli;
pub mod commands;
pub mod connection;
pub mod context;
pub mod device;
pub mod elicit;
pub mod failure;
pub mod flow;
pub mod input;
pub mod login;
pub mod net;
pub mod print;
pub mod server;
pub mod session;
pub mod tokens;
pub mod vault;
