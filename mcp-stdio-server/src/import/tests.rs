//! Hosts and their files: exactly what becomes of each, and that it can be undone.

use std::path::Path;

use proptest::prelude::*;
use shared::secret::Secret;

use super::document::{Document, Syntax};
use super::hosts::{Format, Shape, named};
use super::rewrite::{Names, Planned, Us, plan};
use super::undo::{Standing, Undo};
use crate::vault::SecretName;

fn us() -> Us {
    Us { program: "/opt/mcp-stdio-server".to_owned(), flags: Vec::new() }
}

fn planned(text: &str, syntax: Syntax, shape: Shape) -> Planned {
    let document = Document::parse(text, syntax).unwrap();
    let mut choose = |server: &str, variable: &str, _: &str| SecretName::of_variable(server, variable, 1);
    plan(&document, shape, &us(), &mut Names::default(), &mut choose)
}

fn undo_of(text: &str, syntax: Syntax, planned: &Planned) -> Undo {
    let undo = Undo::of(text, syntax, planned, &|_| 1);
    Undo::parse(&undo.written().unwrap()).unwrap()
}

/// What a host's file becomes, and that it comes back.
#[track_caller]
fn check(file: &str, before: &str, after: &str) {
    let place = named(Path::new(file), &[]);
    let Format::Written(syntax) = place.format else { panic!("{file}") };
    let planned = planned(before, syntax, place.shape);
    assert_eq!(planned.text, after, "{file}");
    let undo = undo_of(before, syntax, &planned);
    let undone = undo.apply(&planned.text, &|_, _| None).unwrap();
    assert_eq!((undone.text.as_str(), undone.left.len()), (before, 0), "{file}");
    // What was rewritten is not rewritten again.
    let again = self::planned(after, syntax, place.shape);
    assert_eq!((again.text.as_str(), again.rewrites.len()), (after, 0), "{file}");
    assert_eq!(again.notes, [], "{file}");
    // Beside a change of somebody else's it comes back too, entry by entry.
    let (mark, other) = match syntax {
        Syntax::Jsonc => ("\n// later", format!("{after}\n// later")),
        Syntax::Toml => ("\n# later", format!("{after}\n# later")),
    };
    assert_eq!(undo.standing(other.as_bytes()), Standing::Other);
    let undone = undo.apply(&other, &|_, _| None).unwrap();
    assert!(undone.left.is_empty() && undone.text.ends_with(mark), "{file}");
    let entries = |text: &str| {
        let document = Document::parse(text, syntax).unwrap();
        let entries = super::servers::entries(&document, place.shape);
        let env = |entry: &super::servers::Entry<'_>| {
            let members = entry.env.map(|env| env.members().to_vec()).unwrap_or_default();
            let mut pairs: Vec<_> =
                members.iter().map(|member| (member.name.clone(), member.value.text().map(str::to_owned))).collect();
            pairs.sort();
            pairs
        };
        entries.iter().map(|entry| (entry.trail.clone(), entry.words(), env(entry))).collect::<Vec<_>>()
    };
    assert_eq!(entries(&undone.text), entries(before), "{file}: {}", undone.text);
}

#[test]
fn n2_each_hosts_file_becomes_exactly_this() {
    check(
        "claude_desktop_config.json",
        r#"{
  "mcpServers": {
    "github": {
      "command": "npx",
      "args": ["-y", "@modelcontextprotocol/server-github"],
      "env": {
        "GITHUB_PERSONAL_ACCESS_TOKEN": "hunter2"
      }
    },
    "files": { "command": "npx", "args": ["-y", "server-filesystem", "/home/ada"] }
  }
}
"#,
        r#"{
  "mcpServers": {
    "github": {
      "command": "/opt/mcp-stdio-server",
      "args": ["wrap", "--name", "github", "--secret", "GITHUB_PERSONAL_ACCESS_TOKEN=github/GITHUB_PERSONAL_ACCESS_TOKEN", "--", "npx", "-y", "@modelcontextprotocol/server-github"],
      "env": {}
    },
    "files": { "command": "npx", "args": ["-y", "server-filesystem", "/home/ada"] }
  }
}
"#,
    );
    // VS Code: comments, trailing commas, inputs, values that its inputs fill.
    check(
        "/x/.vscode/mcp.json",
        "\u{feff}{\r\n\t// asked for\r\n\t\"inputs\": [{ \"id\": \"key\", \"type\": \"promptString\", \"password\": true }],\r\n\t\"servers\": {\r\n\t\t\"my db\": {\r\n\t\t\t\"type\": \"stdio\",\r\n\t\t\t\"command\": \"uvx\",\r\n\t\t\t\"args\": [\r\n\t\t\t\t\"db\",\r\n\t\t\t],\r\n\t\t\t\"env\": {\r\n\t\t\t\t\"A_KEY\": \"${input:key}\",\r\n\t\t\t\t\"DATABASE_URL\": \"postgres://ada:hunter2@db/x\", // mine\r\n\t\t\t\t\"LEVEL\": \"debug\",\r\n\t\t\t},\r\n\t\t},\r\n\t\t\"far\": { \"url\": \"https://x.org/mcp\", \"headers\": { \"Authorization\": \"Bearer hunter2\" } },\r\n\t},\r\n}",
        "\u{feff}{\r\n\t// asked for\r\n\t\"inputs\": [{ \"id\": \"key\", \"type\": \"promptString\", \"password\": true }],\r\n\t\"servers\": {\r\n\t\t\"my db\": {\r\n\t\t\t\"type\": \"stdio\",\r\n\t\t\t\"command\": \"/opt/mcp-stdio-server\",\r\n\t\t\t\"args\": [\r\n\t\t\t\t\"wrap\",\r\n\t\t\t\t\"--name\",\r\n\t\t\t\t\"my-db\",\r\n\t\t\t\t\"--secret\",\r\n\t\t\t\t\"DATABASE_URL=my-db/DATABASE_URL\",\r\n\t\t\t\t\"--\",\r\n\t\t\t\t\"uvx\",\r\n\t\t\t\t\"db\",\r\n\t\t\t],\r\n\t\t\t\"env\": {\r\n\t\t\t\t\"A_KEY\": \"${input:key}\",\r\n\t\t\t\t// mine\r\n\t\t\t\t\"LEVEL\": \"debug\",\r\n\t\t\t},\r\n\t\t},\r\n\t\t\"far\": { \"url\": \"https://x.org/mcp\", \"headers\": { \"Authorization\": \"Bearer hunter2\" } },\r\n\t},\r\n}",
    );
    // Claude Code: servers of every project, and no arguments.
    check(
        "/x/.claude.json",
        r#"{"numStartups":3,"projects":{"/p":{"history":["\ud83d"],"mcpServers":{"a":{"type":"stdio","command":"a","env":{"API_KEY":"hunter2","B":"1"}}}}},"mcpServers":{}}"#,
        r#"{"numStartups":3,"projects":{"/p":{"history":["\ud83d"],"mcpServers":{"a":{"type":"stdio","command":"/opt/mcp-stdio-server", "args": ["wrap", "--name", "a", "--secret", "API_KEY=a/API_KEY", "--", "a"],"env":{"B":"1"}}}}},"mcpServers":{}}"#,
    );
    check(
        "/x/opencode.json",
        r#"{ "mcp": { "gh": { "type": "local", "command": ["npx", "-y", "gh"], "environment": { "TOKEN": "hunter2" } } } }"#,
        r#"{ "mcp": { "gh": { "type": "local", "command": ["/opt/mcp-stdio-server", "wrap", "--name", "gh", "--secret", "TOKEN=gh/TOKEN", "--", "npx", "-y", "gh"], "environment": {} } } }"#,
    );
    check(
        "/x/.opencode/opencode.jsonc",
        r#"{ "mcp": { "servers": { "gh": { "type": "local", "command": ["gh"], "environment": { "TOKEN": "hunter2" } } } } }"#,
        r#"{ "mcp": { "servers": { "gh": { "type": "local", "command": ["/opt/mcp-stdio-server", "wrap", "--name", "gh", "--secret", "TOKEN=gh/TOKEN", "--", "gh"], "environment": {} } } } }"#,
    );
    check(
        "/x/zed/settings.json",
        "{\n  \"theme\": \"x\",\n  \"context_servers\": {\n    \"old\": { \"command\": { \"path\": \"old\", \"args\": [], \"env\": { \"PAT\": \"hunter2\" } }, \"settings\": {} },\n    \"new\": { \"source\": \"custom\", \"command\": \"new\", \"args\": [\"x\"], \"env\": { \"PAT\": \"hunter2\" } }\n  }\n}\n",
        "{\n  \"theme\": \"x\",\n  \"context_servers\": {\n    \"old\": { \"command\": { \"path\": \"/opt/mcp-stdio-server\", \"args\": [\"wrap\", \"--name\", \"old\", \"--secret\", \"PAT=old/PAT\", \"--\", \"old\"], \"env\": {} }, \"settings\": {} },\n    \"new\": { \"source\": \"custom\", \"command\": \"/opt/mcp-stdio-server\", \"args\": [\"wrap\", \"--name\", \"new\", \"--secret\", \"PAT=new/PAT\", \"--\", \"new\", \"x\"], \"env\": {} }\n  }\n}\n",
    );
    check(
        "/x/.codex/config.toml",
        "model = \"o3\" # best\n\n[mcp_servers.github]\ncommand = \"npx\" # runs it\nargs = ['-y', \"gh\"]\n\n[mcp_servers.github.env]\nGITHUB_TOKEN = \"hunter2\" # mine\nLEVEL = \"debug\"\n\n[mcp_servers.\"my db\"]\ncommand = \"db\"\nenv = { PASSWORD = 'hunter2', LEVEL = \"1\" }\n",
        "model = \"o3\" # best\n\n[mcp_servers.github]\ncommand = \"/opt/mcp-stdio-server\" # runs it\nargs = [\"wrap\", \"--name\", \"github\", \"--secret\", \"GITHUB_TOKEN=github/GITHUB_TOKEN\", \"--\", \"npx\", '-y', \"gh\"]\n\n[mcp_servers.github.env]\nLEVEL = \"debug\"\n\n[mcp_servers.\"my db\"]\ncommand = \"/opt/mcp-stdio-server\"\nargs = [\"wrap\", \"--name\", \"my-db\", \"--secret\", \"PASSWORD=my-db/PASSWORD\", \"--\", \"db\"]\nenv = { LEVEL = \"1\" }\n",
    );
    check(
        "/x/.codex/config.toml",
        "mcp_servers.a.command = \"a\"\nmcp_servers.a.env.TOKEN = \"hunter2\"\nmcp_servers.a.env.LEVEL = \"1\"\n",
        "mcp_servers.a.command = \"/opt/mcp-stdio-server\"\nmcp_servers.a.args = [\"wrap\", \"--name\", \"a\", \"--secret\", \"TOKEN=a/TOKEN\", \"--\", \"a\"]\nmcp_servers.a.env.LEVEL = \"1\"\n",
    );
    // The others write servers like Claude Desktop does.
    for file in [
        "/x/.cursor/mcp.json",
        "/x/.codeium/windsurf/mcp_config.json",
        "/x/cline_mcp_settings.json",
        "/x/.gemini/settings.json",
        "/x/.lmstudio/mcp.json",
        "/x/.continue/mcpServers/x.json",
        "/x/.aws/amazonq/mcp.json",
        "/x/.kiro/settings/mcp.json",
        "/x/mcp-config.json",
    ] {
        check(
            file,
            r#"{"mcpServers":{"a":{"command":"a","args":["b"],"env":{"TOKEN":"hunter2"}}}}"#,
            r#"{"mcpServers":{"a":{"command":"/opt/mcp-stdio-server","args":["wrap", "--name", "a", "--secret", "TOKEN=a/TOKEN", "--", "a", "b"],"env":{}}}}"#,
        );
    }
}

#[test]
fn n2_a_server_that_is_wrapped_keeps_its_flags_and_gets_more_of_them() {
    check(
        "/x/.cursor/mcp.json",
        r#"{"mcpServers":{"a":{"command":"/usr/bin/mcp-stdio-server","args":["wrap","--name","mine","--secret","OLD=mine/OLD","--","a","--","b"],"env":{"NEW_KEY":"hunter2"}}}}"#,
        r#"{"mcpServers":{"a":{"command":"/usr/bin/mcp-stdio-server","args":["wrap","--name","mine","--secret","OLD=mine/OLD","--secret", "NEW_KEY=mine/NEW_KEY", "--","a","--","b"],"env":{}}}}"#,
    );
}

#[test]
fn n2_what_is_left_alone_is_said() {
    let file = r#"{"mcpServers":{
        "flag": { "command": "npx", "args": ["mcp-remote", "https://x.org", "--header", "Authorization: Bearer hunter2hunter2"] },
        "odd": { "command": "npx", "args": ["a", 7], "env": { "TOKEN": "hunter2" } },
        "none": { "command": "npx", "env": { "TOKEN": "${TOKEN}", "LEVEL": "1" } },
        "far": { "url": "https://x.org", "env": { "TOKEN": "hunter2" } }
    }}"#;
    let planned = planned(file, Syntax::Jsonc, named(Path::new("/x/.cursor/mcp.json"), &[]).shape);
    assert_eq!((planned.text.as_str(), planned.rewrites.len()), (file, 0));
    let notes: Vec<_> = planned.notes.iter().map(|note| (note.entry.as_str(), note.words.as_str())).collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].0 == "flag" && notes[0].1.starts_with("word 5 of its command line"), "{notes:?}");
    assert!(notes[1].0 == "odd" && notes[1].1.contains("does not change"), "{notes:?}");
    assert!(!notes.iter().any(|(_, words)| words.contains("hunter2")));
}

#[test]
fn n2_undo_leaves_what_somebody_changed_and_puts_newer_secrets_back() {
    let shape = named(Path::new("/x/.cursor/mcp.json"), &[]).shape;
    let before = r#"{"mcpServers":{"a":{"command":"a","env":{"TOKEN":"hunter2"}},"b":{"command":"b","env":{"TOKEN":"hunter2"}}}}"#;
    let planned = planned(before, Syntax::Jsonc, shape);
    let undo = undo_of(before, Syntax::Jsonc, &planned);
    // Somebody gave b another argument.
    let other = planned.text.replace(r#""--", "b""#, r#""--", "b", "--loud""#);
    let undone = undo.apply(&other, &|_, _| None).unwrap();
    assert_eq!((undone.restored, undone.left), (vec!["a".to_owned()], vec!["b".to_owned()]));
    assert!(undone.text.contains(r#""a":{"command":"a", "env":{ "TOKEN": "hunter2" }}"#), "{}", undone.text);
    assert!(undone.text.contains("--loud"));
    // The token was changed in the vault: the file gets the one that is good.
    let newer = |name: &SecretName, version: u64| {
        assert_eq!(version, 1);
        (name.as_str() == "a/TOKEN").then(|| Secret::new("new\"er".to_owned()))
    };
    let undone = undo.apply(&planned.text, &newer).unwrap();
    assert_eq!(undone.text, before.replacen("\"hunter2\"", r#""new\"er""#, 1));
    // What was put back by hand, or by an undoing that was killed, is done.
    let undone = undo.apply(&format!("{before} "), &|_, _| None).unwrap();
    assert_eq!((undone.restored.len(), undone.left.len()), (0, 0));
}

/// A file as people write it: indentation, comments, odd names and values.
fn file() -> impl Strategy<Value = String> {
    let gap = || prop::sample::select(vec!["", " ", "\n  ", "\r\n\t", " // note, }\n", " /* { */ "]);
    let name = prop::string::string_regex("[A-Za-z_ é.-]{0,8}(KEY|TOKEN|LEVEL|PATH)").unwrap();
    let value = prop::sample::select(vec![
        "hunter2",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "${x}",
        "",
        "a\\\"b",
        "\\u00e9\\ud83d",
        "1",
    ]);
    let member = (gap(), name, gap(), value, gap())
        .prop_map(|(a, name, b, value, c)| (name, format!("{a}\"{{}}\":{b}\"{value}\"{c}")));
    let env = prop::collection::vec(member, 0..4).prop_map(|members| {
        let members: Vec<_> = members
            .iter()
            .enumerate()
            .map(|(at, (name, text))| text.replacen("{}", &format!("{at}{name}"), 1))
            .collect();
        format!("{{{}}}", members.join(","))
    });
    let args =
        prop::collection::vec((gap(), prop::sample::select(vec!["\"-y\"", "\"é\"", "\"\""])), 0..3).prop_map(|items| {
            let items: Vec<_> = items.iter().map(|(gap, item)| format!("{gap}{item}")).collect();
            format!("[{}]", items.join(","))
        });
    let server = (gap(), prop::option::of(args), env, any::<bool>(), gap()).prop_map(|(a, args, env, trailing, b)| {
        let args = args.map(|args| format!("\"args\":{args},{b}")).unwrap_or_default();
        format!("{{{a}\"command\":{b}\"npx\",{args}\"env\": {env}{}{a}}}", if trailing { "," } else { "" })
    });
    (prop::collection::vec((gap(), server), 0..4), gap(), any::<bool>()).prop_map(|(servers, gap, mark)| {
        let servers: Vec<_> =
            servers.iter().enumerate().map(|(at, (gap, server))| format!("{gap}\"s{at}\": {server}")).collect();
        format!("{}{gap}{{\"mcpServers\": {{{}{gap}}}{gap}}}", if mark { "\u{feff}" } else { "" }, servers.join(","))
    })
}

proptest! {
    #[test]
    fn n2_import_and_undo_give_back_every_byte(before in file()) {
        let shape = named(Path::new("/x/.cursor/mcp.json"), &[]).shape;
        let planned = planned(&before, Syntax::Jsonc, shape);
        let undo = undo_of(&before, Syntax::Jsonc, &planned);
        let undone = undo.apply(&planned.text, &|_, _| None).unwrap();
        prop_assert_eq!(&undone.text, &before);
        // What is left can be read, has the secrets no more, and is not rewritten again.
        let again = self::planned(&planned.text, Syntax::Jsonc, shape);
        prop_assert_eq!(again.rewrites.len(), 0);
        for one in planned.rewrites.iter().flat_map(|rewrite| &rewrite.leaving) {
            let quoted = format!("\"{}\": \"{}\"", one.variable, one.value.expose());
            prop_assert!(!planned.text.contains(&quoted));
        }
        // Entry by entry, too.
        if !planned.rewrites.is_empty() {
            let other = format!("{} ", planned.text);
            let undone = undo.apply(&other, &|_, _| None).unwrap();
            prop_assert!(undone.left.is_empty());
            let document = Document::parse(&undone.text, Syntax::Jsonc).unwrap();
            let first = Document::parse(&before, Syntax::Jsonc).unwrap();
            let said = |document: &Document<'_>| {
                let entries = super::servers::entries(document, shape);
                entries.iter().map(|entry| {
                    let members = entry.env.map(|env| env.members().len());
                    (entry.words(), members)
                }).collect::<Vec<_>>()
            };
            prop_assert_eq!(said(&document), said(&first));
        }
    }

    #[test]
    fn n2_no_text_upsets_the_readers(text in "\\PC*|[\\[\\]{}\",:/*\\\\ua0-9\n ]*") {
        let _ = Document::parse(&text, Syntax::Jsonc);
        let _ = Document::parse(&text, Syntax::Toml);
        let _ = super::diff::masked(&text, Syntax::Jsonc);
    }
}

/// The same as TOML: tables by header, by dots, and between braces.
fn toml_file() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["KEY", "API_TOKEN", "LEVEL", "\"odd key\"", "'x.TOKEN'"]);
    let value = prop::sample::select(vec![
        "\"hunter2\"",
        "'hunter2'",
        "'''\nhunter2'''",
        "\"\"",
        "\"${x}\"",
        "\"\\u00e9\\tx\"",
    ]);
    let line_end = prop::sample::select(vec!["\n", " # note, }\n", "\r\n", "\n\n"]);
    let args = prop::sample::select(vec![
        "",
        "args = []\n",
        "args = ['-y', \"x\"] # two\n",
        "  args = [\n    '-y', # yes\n  ]\n",
    ]);
    let members = prop::collection::btree_map(name, (value, line_end), 0..4);
    let server = (args, members, 0..3_u8).prop_map(|(args, members, layout)| {
        let lines = |prefix: &str| -> String {
            members.iter().map(|(name, (value, end))| format!("{prefix}{name} = {value}{end}")).collect()
        };
        match layout {
            0 => format!("command = 'npx'\n{args}\n[NAME.env]\n{}", lines("")),
            1 => format!("command = \"npx\" # runs\n{args}{}", lines("env.")),
            _ => {
                let members: Vec<_> = members.iter().map(|(name, (value, _))| format!("{name} = {value}")).collect();
                format!("{args}env = {{ {} }}\ncommand = \"npx\"", members.join(", "))
            }
        }
    });
    (prop::collection::vec(server, 0..4), any::<bool>()).prop_map(|(servers, mark)| {
        let table = |(at, server): (usize, &String)| {
            let name = format!("mcp_servers.\"s {at}\"");
            format!("[{name}]\n{}", server.replace("NAME", &name))
        };
        let servers: Vec<_> = servers.iter().enumerate().map(table).collect();
        format!("{}model = \"x\"\n{}", if mark { "\u{feff}" } else { "" }, servers.join("\n"))
    })
}

proptest! {
    #[test]
    fn n2_import_and_undo_give_back_every_byte_of_toml(before in toml_file()) {
        let shape = named(Path::new("/x/.codex/config.toml"), &[]).shape;
        let planned = planned(&before, Syntax::Toml, shape);
        let undo = undo_of(&before, Syntax::Toml, &planned);
        prop_assert_eq!(&undo.apply(&planned.text, &|_, _| None).unwrap().text, &before);
        // Every secret is gone, and what is left can be read.
        let again = self::planned(&planned.text, Syntax::Toml, shape);
        prop_assert_eq!(again.rewrites.len(), 0);
        prop_assert!(planned.notes.is_empty(), "{:?}", planned.notes);
        if planned.rewrites.is_empty() {
            return Ok(());
        }
        let undone = undo.apply(&format!("{}\n# later\n", planned.text), &|_, _| None).unwrap();
        prop_assert!(undone.left.is_empty());
        let said = |text: &str| {
            let document = Document::parse(text, Syntax::Toml).unwrap();
            let entries = super::servers::entries(&document, shape);
            let pairs = |entry: &super::servers::Entry<'_>| {
                let members = entry.env.map(|env| env.members().to_vec()).unwrap_or_default();
                let text = |member: super::node::Member| (member.name, member.value.text().map(str::to_owned));
                members.into_iter().map(text).collect::<std::collections::BTreeMap<_, _>>()
            };
            entries.iter().map(|entry| (entry.words(), pairs(entry))).collect::<Vec<_>>()
        };
        prop_assert_eq!(said(&undone.text), said(&before));
    }
}
