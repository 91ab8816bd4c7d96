//! The authorization service's program.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    authz_service::commands::run(authz_service::cli::Cli::parse())
}
