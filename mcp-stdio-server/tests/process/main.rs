//! The stdio server through its pipes, as a host meets it. Tests are named by the row of the catalogue of attacks
//! and faults that they hold.

mod arguments;
mod audit;
mod faults;
mod forms;
mod host;
mod http;
mod in_process;
#[cfg(unix)]
mod kills;
mod ladder;
mod messages;
mod one_call;
mod own;
mod store;
mod tasks;
mod tokens;
mod vault;
