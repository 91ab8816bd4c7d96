//! The hosts whose files are known: where those lie, and how servers are written there. Pure.

use std::path::{Path, PathBuf};

use super::document::Syntax;

/// How a file is written that lists servers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// JSON with comments, or TOML: it can be changed.
    Written(Syntax),
    /// YAML: it cannot be changed here.
    Yaml,
}

/// Where the servers stand in a file: names of members; `*` is every member of an object.
pub type Trail = &'static [&'static str];

/// How a host writes a server.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Where the servers stand, each a member of an object.
    pub servers: &'static [Trail],
    /// The member with the variables of the environment.
    pub environment: &'static str,
}

/// The folders of a person that hosts keep their files in.
#[derive(Clone, Debug)]
pub struct Folders {
    /// The person's own.
    pub home: PathBuf,
    /// Where programs keep their settings: `~/.config`, `~/Library/Application Support`, `%APPDATA%`.
    pub settings: PathBuf,
    /// `~/.config`, on every system: some programs use it everywhere.
    pub dot_config: PathBuf,
    /// The folder of a project: the present one.
    pub project: PathBuf,
}

/// Which folder a path begins in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Base {
    Home,
    Settings,
    DotConfig,
    Project,
}

use Base::{DotConfig, Home, Project, Settings};

/// A host.
#[derive(Debug)]
pub struct Host {
    /// What `--host` calls it.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    format: Format,
    shape: Shape,
    files: &'static [(Base, &'static str)],
}

/// A file of a host.
#[derive(Clone, Debug)]
pub struct Place {
    /// The host, as people know it.
    pub title: &'static str,
    /// The file.
    pub path: PathBuf,
    /// How it is written.
    pub format: Format,
    /// How servers are written in it.
    pub shape: Shape,
    /// Whether it belongs to a project, and may be shared with others.
    pub is_shared: bool,
}

const JSON: Format = Format::Written(Syntax::Jsonc);
const USUAL: Shape = Shape { servers: &[&["mcpServers"]], environment: "env" };
const OPENCODE: Shape = Shape { servers: &[&["mcp"], &["mcp", "servers"]], environment: "environment" };

/// Every host that is known.
pub const HOSTS: [Host; 22] = [
    Host {
        name: "claude-desktop",
        title: "Claude Desktop",
        format: JSON,
        shape: USUAL,
        files: &[(Settings, "Claude/claude_desktop_config.json")],
    },
    Host {
        name: "claude-code",
        title: "Claude Code",
        format: JSON,
        shape: Shape { servers: &[&["mcpServers"], &["projects", "*", "mcpServers"]], environment: "env" },
        files: &[(Home, ".claude.json"), (Project, ".mcp.json")],
    },
    Host {
        name: "cursor",
        title: "Cursor",
        format: JSON,
        shape: USUAL,
        files: &[(Home, ".cursor/mcp.json"), (Project, ".cursor/mcp.json")],
    },
    Host {
        name: "vscode",
        title: "VS Code",
        format: JSON,
        shape: Shape { servers: &[&["servers"], &["mcp", "servers"]], environment: "env" },
        files: &[
            (Settings, "Code/User/mcp.json"),
            (Settings, "Code/User/settings.json"),
            (Settings, "Code - Insiders/User/mcp.json"),
            (Project, ".vscode/mcp.json"),
        ],
    },
    Host {
        name: "windsurf",
        title: "Windsurf",
        format: JSON,
        shape: USUAL,
        files: &[(Home, ".codeium/windsurf/mcp_config.json"), (Home, ".codeium/mcp_config.json")],
    },
    Host {
        name: "cline",
        title: "Cline",
        format: JSON,
        shape: USUAL,
        files: &[
            (Settings, "Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json"),
            (Home, ".cline/data/settings/cline_mcp_settings.json"),
        ],
    },
    Host {
        name: "roo-code",
        title: "Roo Code",
        format: JSON,
        shape: USUAL,
        files: &[
            (Settings, "Code/User/globalStorage/rooveterinaryinc.roo-cline/settings/mcp_settings.json"),
            (Project, ".roo/mcp.json"),
        ],
    },
    Host {
        name: "zed",
        title: "Zed",
        format: JSON,
        shape: Shape { servers: &[&["context_servers"]], environment: "env" },
        files: &[(DotConfig, "zed/settings.json"), (Settings, "Zed/settings.json"), (Project, ".zed/settings.json")],
    },
    Host {
        name: "gemini-cli",
        title: "Gemini CLI",
        format: JSON,
        shape: USUAL,
        files: &[(Home, ".gemini/settings.json"), (Project, ".gemini/settings.json")],
    },
    Host {
        name: "qwen-code",
        title: "Qwen Code",
        format: JSON,
        shape: USUAL,
        files: &[(Home, ".qwen/settings.json"), (Project, ".qwen/settings.json")],
    },
    Host {
        name: "codex",
        title: "Codex",
        format: Format::Written(Syntax::Toml),
        shape: Shape { servers: &[&["mcp_servers"]], environment: "env" },
        files: &[(Home, ".codex/config.toml"), (Project, ".codex/config.toml")],
    },
    Host {
        name: "continue",
        title: "Continue",
        format: JSON,
        shape: USUAL,
        files: &[(Home, ".continue/mcpServers/*.json"), (Project, ".continue/mcpServers/*.json")],
    },
    Host {
        name: "continue",
        title: "Continue",
        format: Format::Yaml,
        shape: USUAL,
        files: &[(Home, ".continue/config.yaml")],
    },
    Host {
        name: "lm-studio",
        title: "LM Studio",
        format: JSON,
        shape: USUAL,
        files: &[(Home, ".lmstudio/mcp.json"), (Home, ".cache/lm-studio/mcp.json")],
    },
    Host {
        name: "opencode",
        title: "opencode",
        format: JSON,
        shape: OPENCODE,
        files: &[
            (DotConfig, "opencode/opencode.json"),
            (DotConfig, "opencode/opencode.jsonc"),
            (Project, "opencode.json"),
            (Project, "opencode.jsonc"),
            (Project, ".opencode/opencode.json"),
            (Project, ".opencode/opencode.jsonc"),
        ],
    },
    Host {
        name: "crush",
        title: "Crush",
        format: JSON,
        shape: Shape { servers: &[&["mcp"]], environment: "env" },
        files: &[(DotConfig, "crush/crush.json"), (Project, ".crush.json"), (Project, "crush.json")],
    },
    Host {
        name: "amazon-q",
        title: "Amazon Q",
        format: JSON,
        shape: USUAL,
        files: &[(Home, ".aws/amazonq/mcp.json"), (Project, ".amazonq/mcp.json")],
    },
    Host {
        name: "kiro",
        title: "Kiro",
        format: JSON,
        shape: USUAL,
        files: &[(Home, ".kiro/settings/mcp.json"), (Project, ".kiro/settings/mcp.json")],
    },
    Host {
        name: "copilot-cli",
        title: "Copilot CLI",
        format: JSON,
        shape: USUAL,
        files: &[(Home, ".copilot/mcp-config.json"), (Project, ".github/mcp.json")],
    },
    Host { name: "junie", title: "Junie", format: JSON, shape: USUAL, files: &[(Home, ".junie/mcp/mcp.json")] },
    Host { name: "factory", title: "Factory", format: JSON, shape: USUAL, files: &[(Home, ".factory/mcp.json")] },
    Host {
        name: "goose",
        title: "Goose",
        format: Format::Yaml,
        shape: USUAL,
        files: &[(DotConfig, "goose/config.yaml")],
    },
];

/// The hosts' names, each once.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = HOSTS.iter().map(|host| host.name).collect();
    names.dedup();
    names
}

/// The files that hosts may have; `*` in a name stands for any. All hosts, or those of these names.
pub fn places(folders: &Folders, only: &[String]) -> Vec<Place> {
    let wanted = HOSTS.iter().filter(|host| only.is_empty() || only.iter().any(|name| name == host.name));
    let mut places: Vec<Place> = Vec::new();
    for host in wanted {
        for (base, file) in host.files {
            let folder = match base {
                Home => &folders.home,
                Settings => &folders.settings,
                DotConfig => &folders.dot_config,
                Project => &folders.project,
            };
            let path = file.split('/').fold(folder.clone(), |path, part| path.join(part));
            // In the home folder the project's files are the person's own.
            if places.iter().all(|place| place.path != path) {
                let is_shared = *base == Project;
                places.push(Place { title: host.title, path, format: host.format, shape: host.shape, is_shared });
            }
        }
    }
    places
}

/// A file that a person names: of the host whose files end like it, else written like most.
pub fn named(path: &Path, only: &[String]) -> Place {
    let text = path.to_string_lossy().replace('\\', "/");
    let ends = |file: &str| text.ends_with(file) || text.rsplit('/').next() == file.rsplit('/').next();
    let is_meant = |host: &&Host| only.is_empty() || only.iter().any(|name| name == host.name);
    let fits = |host: &&Host, whole: bool| {
        host.files
            .iter()
            .any(|(_, file)| if whole { text.ends_with(file) } else { ends(file) && !file.ends_with("/mcp.json") })
    };
    let hosts = || HOSTS.iter().filter(is_meant);
    let host = match only {
        [_] => hosts().next(),
        _ => hosts().find(|host| fits(host, true)).or_else(|| hosts().find(|host| fits(host, false))),
    };
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let format = match extension.as_deref() {
        Some("toml") => Format::Written(Syntax::Toml),
        Some("yaml" | "yml") => Format::Yaml,
        _ => JSON,
    };
    // A file that nobody knows may be written like any of them.
    const ANY: Shape = Shape {
        servers: &[
            &["mcpServers"],
            &["servers"],
            &["mcp", "servers"],
            &["context_servers"],
            &["mcp_servers"],
            &["mcp"],
        ],
        environment: "env",
    };
    let (title, shape) = host.map_or(("a file", ANY), |host| (host.title, host.shape));
    Place { title, path: path.to_owned(), format, shape, is_shared: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(settings: &str) -> Folders {
        Folders { home: "/h".into(), settings: settings.into(), dot_config: "/h/.config".into(), project: "/p".into() }
    }

    #[test]
    fn each_host_has_its_files_where_its_system_keeps_them() {
        for (host, settings, files) in [
            ("claude-desktop", "/h/.config", vec!["/h/.config/Claude/claude_desktop_config.json"]),
            ("claude-desktop", "/h/AppData/Roaming", vec!["/h/AppData/Roaming/Claude/claude_desktop_config.json"]),
            ("claude-code", "/h/.config", vec!["/h/.claude.json", "/p/.mcp.json"]),
            ("codex", "/h/.config", vec!["/h/.codex/config.toml", "/p/.codex/config.toml"]),
            ("lm-studio", "/h/.config", vec!["/h/.lmstudio/mcp.json", "/h/.cache/lm-studio/mcp.json"]),
            ("goose", "/h/Library/Application Support", vec!["/h/.config/goose/config.yaml"]),
        ] {
            let found = places(&folders(settings), &[host.to_owned()]);
            let found: Vec<_> = found.iter().map(|place| place.path.to_str().unwrap()).collect();
            assert_eq!(found, files, "{host}");
        }
        assert!(names().len() >= 20);
        let all = places(&folders("/h/.config"), &[]);
        let mut paths: Vec<_> = all.iter().map(|place| &place.path).collect();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), all.len(), "no file twice");
    }

    #[test]
    fn a_named_file_is_read_as_its_host_writes_it() {
        for (path, title, servers) in [
            ("/x/claude_desktop_config.json", "Claude Desktop", "mcpServers"),
            ("/x/.vscode/mcp.json", "VS Code", "servers"),
            ("/x/.cursor/mcp.json", "Cursor", "mcpServers"),
            ("/x/.codex/config.toml", "Codex", "mcp_servers"),
            ("/x/opencode.json", "opencode", "mcp"),
            ("/x/mine.json", "a file", "mcpServers"),
        ] {
            let place = named(Path::new(path), &[]);
            assert_eq!((place.title, place.shape.servers[0][0]), (title, servers), "{path}");
        }
        assert_eq!(named(Path::new("/x/y.json"), &["zed".to_owned()]).shape.servers[0][0], "context_servers");
        assert_eq!(named(Path::new("/x/y.yml"), &[]).format, Format::Yaml);
    }
}
