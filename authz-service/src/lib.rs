//! The authorization service: registers clients, logs people in, asks for consent and issues tokens.
//!
//! [`protocol`] decides, purely; [`http`] and [`commands`] carry out; [`cli`], [`settings`] and [`config`] say how.

pub mod cli;
pub mod commands;
pub mod config;
pub mod http;
pub mod logging;
pub mod protocol;
pub mod settings;
