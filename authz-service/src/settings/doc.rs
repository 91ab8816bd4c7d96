//! `docs/CONFIG.md`, made from the same list as everything else.

use std::fmt::Write;

use clap::Arg;

use super::{is_list, table, variable_name};
use crate::commands::reload::FIXED;

const HEAD: &str = "\
# Configuration

Made from the program's own list of settings; a test fails when this page differs. `authz-service config show` prints
what is in force and who says so, `authz-service config check --config FILE` tells whether a file would be taken.

- A **flag** wins over the **environment**, that over the **file** (`--config FILE`, or `MCP_AUTHZ_CONFIG`), and that over
  the default. No file is read that nobody named.
- The file is TOML without sections. Its keys are the flags without dashes, a list is a TOML list, a flag without a value
  is `true` or `false`. An unknown key is an error with its line.
- A variable that is empty counts as not set. Lists in variables are separated by spaces.
- **SIGHUP** reads everything again, the certificate too. A mistake changes nothing; settings marked with * count after a
  restart only, and the log says so. (A service that was started at a terminal ends with the terminal instead.)
- Times: `90`, `90s`, `15m`, `12h`, `30d`. Sizes: `4096`, `64KiB`, `1MiB`.
- A file that others may write to is refused; so is one that others can read, when it holds a secret.

```toml
issuer = \"https://login.example.org\"
listen = [\"127.0.0.1:3000\"]
resource = [\"https://mcp.example.org/mcp\"]
access-lifetime = \"15m\"
```
";

/// The page.
pub fn page() -> String {
    let table = table();
    let mut page = HEAD.to_owned();
    let mut heading = None;
    for arg in table.get_arguments().filter(|arg| arg.get_long().is_some_and(|name| name != "help")) {
        let of = arg.get_help_heading().unwrap_or("Serving");
        if heading != Some(of) {
            heading = Some(of);
            let _ = write!(
                page,
                "\n## {of}\n\n| key | variable | value | default | what |\n| --- | --- | --- | --- | --- |\n"
            );
        }
        row(&mut page, arg);
    }
    page
}

fn row(page: &mut String, arg: &Arg) {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let what = help.split(" [env:").next().unwrap_or_default();
    let (what, told) = what.split_once(" [default: ").unwrap_or((what, ""));
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default = if defaults.is_empty() { told.trim_end_matches(['.', ']']).to_owned() } else { defaults.join(" ") };
    let takes = if arg.get_action().takes_values() {
        arg.get_value_names().map_or("TEXT", |names| names[0].as_str())
    } else {
        "true or false"
    };
    let name = arg.get_long().unwrap_or_default();
    let fixed = if FIXED.contains(&name) { " *" } else { "" };
    let many = if is_list(arg) { ", several" } else { "" };
    let _ = writeln!(
        page,
        "| `{name}`{fixed} | `{}` | {}{many} | {} | {} |",
        variable_name(arg.get_id().as_str()),
        takes.replace('|', " or "),
        default.trim(),
        what.trim_end_matches('.').replace('|', "\\|"),
    );
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_is_the_programs_own_list() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFIG.md");
        let page = super::page();
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            kept == page,
            "docs/CONFIG.md is not what the settings are: BLESS=1 cargo test -p authz-service the_page"
        );
    }
}
