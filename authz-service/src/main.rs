//! The authorization service's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    authz_service::commands::main()
}
