//! `authz-service config …`: what is in force, and who says so.

use serde_json::json;

use super::lists;
use crate::cli::ConfigCommand;
use crate::config::Config;
use crate::settings::{Loaded, Setting, Source};

/// Runs the command.
///
/// # Errors
/// In words for the person at the terminal.
pub fn run(command: &ConfigCommand, loaded: &Loaded) -> Result<(), String> {
    for warning in &loaded.warnings {
        super::complain(warning);
    }
    match command {
        ConfigCommand::Check(show) => {
            Config::check(&show.serve).map_err(|error| error.to_string())?;
            let set = loaded.settings.iter().filter(|setting| setting.source != Source::Default).count();
            let text = format!("The configuration is well: {set} of {} settings are set.\n", loaded.settings.len());
            let json = json!({ "valid": true, "set": set, "settings": loaded.settings.len() });
            super::print(&if show.json { lists::json_text(&json)? } else { text });
        }
        ConfigCommand::Show(show) => {
            super::print(&if show.json { as_json(&loaded.settings)? } else { as_toml(&loaded.settings) });
        }
    }
    Ok(())
}

/// A setting as lines of a configuration file.
pub(crate) fn as_toml(settings: &[Setting]) -> String {
    let mut text = String::new();
    for setting in settings {
        let value = match (setting.secret, setting.values.as_slice()) {
            (true, [_, ..]) => "\"(secret)\"".to_owned(),
            (_, []) => {
                text.push_str(&format!("# {} is not set\n", setting.name));
                continue;
            }
            (_, [one]) if ["true", "false"].contains(&one.as_str()) => one.clone(),
            (_, [one]) if !is_list(&setting.name) => quoted(one),
            (_, many) => format!("[{}]", many.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(", ")),
        };
        text.push_str(&format!("{} = {value}  # {}\n", setting.name, setting.source));
    }
    text
}

fn is_list(name: &str) -> bool {
    let table = crate::settings::table();
    let mut args = table.get_arguments();
    args.any(|arg| arg.get_long() == Some(name) && matches!(arg.get_action(), clap::ArgAction::Append))
}

/// What JSON quotes, TOML reads as the same text.
fn quoted(text: &str) -> String {
    json!(text).to_string()
}

/// The settings as one JSON object.
///
/// # Errors
/// Never.
pub(crate) fn as_json(settings: &[Setting]) -> Result<String, String> {
    let one = |setting: &Setting| {
        let values = if setting.secret {
            setting.values.iter().map(|_| "(secret)").collect()
        } else {
            setting.values.iter().map(String::as_str).collect::<Vec<_>>()
        };
        let mut object = json!({ "name": setting.name, "values": values });
        let source = match &setting.source {
            Source::Flag => json!({ "source": "flag" }),
            Source::Environment(name) => json!({ "source": "environment", "variable": name }),
            Source::File(path, line) => json!({ "source": "file", "file": path.display().to_string(), "line": line }),
            Source::Default => json!({ "source": "default" }),
        };
        if let (Some(object), Some(source)) = (object.as_object_mut(), source.as_object()) {
            object.extend(source.clone());
        }
        object
    };
    lists::json_text(&json!({ "settings": settings.iter().map(one).collect::<Vec<_>>() }))
}
