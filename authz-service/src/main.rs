//! The authorization service's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    authz_service::commands::run(authz_service::cli::Cli::read())
}
