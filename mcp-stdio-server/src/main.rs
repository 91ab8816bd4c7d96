//! The stdio server's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    mcp_stdio_server::cli::main()
}
