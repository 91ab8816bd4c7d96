//! Where the store folder is when nobody says: `data/` in a checkout, else the platform's data folder.

use std::path::{Path, PathBuf};

use etcetera::{AppStrategy, AppStrategyArgs, choose_app_strategy};

/// The environment variable that names the store folder for all three programs.
pub const DATA_VARIABLE: &str = "MCP_AUTHZ_DATA";

/// The default store folder. A program that runs from a checkout's `target` folder, or in a checkout, uses the
/// checkout's `data/`, so that service, stdio server and client agree however they are started.
pub fn default_folder() -> PathBuf {
    let program = std::env::current_exe().ok();
    let here = std::env::current_dir().ok();
    [program, here]
        .iter()
        .flatten()
        .find_map(|start| checkout(start))
        .map_or_else(platform_folder, |root| root.join("data"))
}

/// The checkout that `start` lies in.
fn checkout(start: &Path) -> Option<&Path> {
    start.ancestors().find(|folder| {
        ["Cargo.toml", "authz-service", "mcp-stdio-server", "data/.gitignore"]
            .iter()
            .all(|name| folder.join(name).exists())
    })
}

/// The platform's folder for an application's data; the current folder where there is no home.
pub fn platform_folder() -> PathBuf {
    let names =
        AppStrategyArgs { top_level_domain: "dev".into(), author: "mcp-authz".into(), app_name: "mcp-authz".into() };
    choose_app_strategy(names)
        .map_or_else(|_| PathBuf::from("mcp-authz-data"), |strategy| strategy.data_dir().join("store"))
}
