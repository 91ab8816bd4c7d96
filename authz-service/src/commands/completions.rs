//! `authz-service completions SHELL`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;

/// Prints the script.
///
/// # Errors
/// None.
pub fn run(shell: Shell) -> Result<(), String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "authz-service", &mut script);
    super::print(&String::from_utf8_lossy(&script));
    Ok(())
}
