//! The servers that a host's file lists. Pure.

use super::document::Document;
use super::hosts::Shape;
use super::node::{Kind, Node};

/// A server that a host starts.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The members that lead to it, its name last.
    pub trail: Vec<String>,
    /// The object with its command.
    pub holder: &'a Node,
    /// The member of `holder` that is the command.
    pub command_name: &'static str,
    /// The command: a text, or the whole command line as an array.
    pub command: &'a Node,
    /// The arguments, where they stand apart.
    pub args: Option<&'a Node>,
    /// The member's name that holds the environment.
    pub env_name: &'static str,
    /// The environment.
    pub env: Option<&'a Node>,
}

impl Entry<'_> {
    /// What the host calls it.
    pub fn name(&self) -> &str {
        self.trail.last().map_or("", String::as_str)
    }

    /// The whole command line; `None` when it is not of texts alone.
    pub fn words(&self) -> Option<Vec<String>> {
        if let Some(words) = self.command.texts() {
            return Some(words);
        }
        let mut words = vec![self.command.text()?.to_owned()];
        words.extend(self.args.map_or_else(|| Some(Vec::new()), Node::texts)?);
        Some(words)
    }
}

/// Finds the servers with a command. Others are reached over a network, and have no environment.
pub fn entries<'a>(document: &'a Document<'_>, shape: Shape) -> Vec<Entry<'a>> {
    let mut found: Vec<Entry<'a>> = Vec::new();
    for trail in shape.servers {
        for (path, servers) in follow(&document.root, trail) {
            for member in servers.members() {
                let trail: Vec<_> = path.iter().cloned().chain([member.name.clone()]).collect();
                if let Some(entry) = entry(trail, &member.value, shape)
                    && found.iter().all(|other| other.holder.span != entry.holder.span)
                {
                    found.push(entry);
                }
            }
        }
    }
    found
}

/// Finds one server again.
pub fn find<'a>(document: &'a Document<'_>, trail: &[String], shape: Shape) -> Option<Entry<'a>> {
    let node = trail.iter().try_fold(&document.root, |node, name| node.get(name))?;
    entry(trail.to_vec(), node, shape)
}

fn follow<'a>(node: &'a Node, trail: &[&str]) -> Vec<(Vec<String>, &'a Node)> {
    let Some((first, rest)) = trail.split_first() else { return vec![(Vec::new(), node)] };
    let steps = node.members().iter().filter(|member| *first == "*" || member.name == *first);
    let further = steps.flat_map(|member| {
        let found = follow(&member.value, rest).into_iter();
        found.map(|(mut path, node)| {
            path.insert(0, member.name.clone());
            (path, node)
        })
    });
    further.collect()
}

fn entry(trail: Vec<String>, node: &Node, shape: Shape) -> Option<Entry<'_>> {
    let command = node.get("command")?;
    let env_name = if node.get(shape.environment).is_none() && node.get("environment").is_some() {
        "environment"
    } else {
        shape.environment
    };
    let (holder, command_name, command) = match &command.kind {
        // As Zed once wrote it.
        Kind::Object(..) => (command, "path", command.get("path")?),
        Kind::Text(Some(_)) | Kind::Array(_) => (node, "command", command),
        _ => return None,
    };
    let is_whole = matches!(command.kind, Kind::Array(_));
    let args = holder.get("args").filter(|args| !is_whole && args.items().is_some());
    let env = holder.get(env_name).filter(|env| matches!(env.kind, Kind::Object(..)));
    Some(Entry { trail, holder, command_name, command, args, env_name, env })
}

#[cfg(test)]
mod tests {
    use super::super::document::Syntax;
    use super::*;

    const ANY: Shape = Shape { servers: &[&["s"], &["p", "*", "s"]], environment: "env" };

    #[test]
    fn servers_are_found_in_every_shape_that_hosts_write() {
        let text = r#"{
            "s": {
                "usual": { "command": "npx", "args": ["-y"], "env": { "A": "1" } },
                "array": { "type": "local", "command": ["npx", "-y"], "environment": { "A": "1" } },
                "nested": { "command": { "path": "npx", "args": ["-y"], "env": { "A": "1" } } },
                "remote": { "url": "https://x.org" },
                "odd": { "command": 7 }
            },
            "p": { "/a": { "s": { "deep": { "command": "npx", "args": ["-y"], "env": { "A": "1" } } } }, "/b": {} }
        }"#;
        let document = Document::parse(text, Syntax::Jsonc).unwrap();
        let entries = entries(&document, ANY);
        let names: Vec<_> = entries.iter().map(Entry::name).collect();
        assert_eq!(names, ["usual", "array", "nested", "deep"]);
        for entry in &entries {
            assert_eq!(entry.words().unwrap(), ["npx", "-y"], "{}", entry.name());
            assert_eq!(entry.env.unwrap().get("A").unwrap().text(), Some("1"), "{}", entry.name());
            let again = find(&document, &entry.trail, ANY).unwrap();
            assert_eq!(again.holder.span, entry.holder.span);
        }
        assert_eq!(entries[3].trail, ["p", "/a", "s", "deep"]);
    }
}
