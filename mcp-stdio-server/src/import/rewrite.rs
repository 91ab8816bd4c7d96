//! What becomes of a host's file: secrets leave it, and its servers are started by `wrap`. Pure.

use std::collections::BTreeMap;

use shared::secret::Secret;

use super::document::{Document, Unchangeable};
use super::edit::{Edit, apply};
use super::hosts::Shape;
use super::node::{Member, Node};
use super::servers::{Entry, entries};
use super::suspect;
use crate::vault::SecretName;

/// This program, as entries are to name it.
#[derive(Clone, Debug)]
pub struct Us {
    /// Its path.
    pub program: String,
    /// What it must be told wherever it is started: folders that are not the usual ones.
    pub flags: Vec<String>,
}

/// Gives a secret its name: server, variable and value come in.
pub type Choose<'a> = dyn FnMut(&str, &str, &str) -> SecretName + 'a;

/// The names that servers have for `wrap --name`, by what hosts call them.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// The name of a server: what its host calls it, in the characters that `--name` takes. One name is one server's.
    fn of(&mut self, entry: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
        let base: String = entry.chars().map(plain).take(60).collect();
        let base = if base.is_empty() { "server".to_owned() } else { base };
        let mut name = base.clone();
        let mut twin = 1;
        while self.0.get(&name).is_some_and(|other| other != entry) {
            twin += 1;
            name = format!("{base}-{twin}");
        }
        self.0.insert(name.clone(), entry.to_owned());
        name
    }
}

/// A value that leaves the file.
#[derive(Debug)]
pub struct Leaving {
    /// The variable.
    pub variable: String,
    /// Its value.
    pub value: Secret,
    /// What the vault calls it.
    pub secret: SecretName,
    /// The variable as it is written in the file.
    pub raw_key: String,
    /// The value as it is written in the file.
    pub raw_value: Secret,
}

/// A server whose entry is rewritten.
#[derive(Debug)]
pub struct Rewrite {
    /// The members that lead to it.
    pub trail: Vec<String>,
    /// Whether it was wrapped before.
    pub was_wrapped: bool,
    /// What leaves it.
    pub leaving: Vec<Leaving>,
    /// Its command as it is written in the file.
    pub raw_command: String,
    /// Its arguments as they are written in the file.
    pub raw_args: Option<String>,
    /// The member with its environment.
    pub environment: &'static str,
    /// Its command line afterwards.
    pub words: Vec<String>,
    /// Its command line before.
    pub words_before: Vec<String>,
}

impl Rewrite {
    /// What its host calls it.
    pub fn name(&self) -> &str {
        self.trail.last().map_or("", String::as_str)
    }
}

/// Something that a person should know of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// The server's entry.
    pub entry: String,
    /// What there is to know.
    pub words: String,
}

/// What becomes of a file.
#[derive(Debug)]
pub struct Planned {
    /// Its text afterwards.
    pub text: String,
    /// What makes it the text of before.
    pub back: Vec<Edit>,
    /// The servers that are rewritten.
    pub rewrites: Vec<Rewrite>,
    /// What is left alone, and why.
    pub notes: Vec<Note>,
}

/// Notes the names of the servers that are wrapped already.
pub fn learn(document: &Document<'_>, shape: Shape, us: &Us, names: &mut Names) {
    for entry in entries(document, shape) {
        if let Some(wrapped) = entry.words().and_then(|words| wrapped(&words, us)) {
            names.0.entry(wrapped.name).or_insert_with(|| entry.name().to_owned());
        }
    }
}

/// Plans what becomes of a file.
pub fn plan(document: &Document<'_>, shape: Shape, us: &Us, names: &mut Names, choose: &mut Choose<'_>) -> Planned {
    let (mut edits, mut rewrites, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries(document, shape) {
        let note = |words: String| Note { entry: entry.name().to_owned(), words };
        match rewrite(document, &entry, us, names, choose) {
            Ok(Some((changes, rewrite))) => {
                edits.extend(changes);
                rewrites.push(rewrite);
            }
            Ok(None) => {}
            Err(words) => notes.push(note(words.to_owned())),
        }
        let words = entry.words().unwrap_or_default();
        for at in suspect::in_arguments(&words) {
            let words = format!(
                "word {} of its command line looks like a secret and is left there: `wrap` fills variables only. If the \
                 server can take it from one, move it to \"{}\" and import again",
                at + 1,
                entry.env_name
            );
            notes.push(note(words));
        }
    }
    match apply(document.text, &edits) {
        Some((text, back)) => Planned { text, back, rewrites, notes },
        // Two entries in one place; none of them is changed.
        None => Planned { text: document.text.to_owned(), back: Vec::new(), rewrites: Vec::new(), notes },
    }
}

const ODD: &str = "its entry has secrets, and is written in a way that this program does not change";

fn rewrite(
    document: &Document<'_>,
    entry: &Entry<'_>,
    us: &Us,
    names: &mut Names,
    choose: &mut Choose<'_>,
) -> Result<Option<(Vec<Edit>, Rewrite)>, &'static str> {
    let Some(env) = entry.env else { return Ok(None) };
    let secret = |member: &&Member| {
        let value = member.value.text();
        // The environment of a process holds no NUL, and its names no equals sign.
        let fits = !member.name.is_empty() && !member.name.contains(['=', '\0']);
        fits && value.is_some_and(|value| suspect::is_secret(&member.name, value) && !value.contains('\0'))
    };
    let secrets: Vec<&Member> = env.members().iter().filter(secret).collect();
    if secrets.is_empty() {
        return Ok(None);
    }
    let words = entry.words().ok_or(ODD)?;
    let wrapped = wrapped(&words, us);
    let name = match &wrapped {
        Some(wrapped) => wrapped.name.clone(),
        None => names.of(entry.name()),
    };
    let leaving: Vec<_> = secrets.iter().map(|member| leaving(document, member, &name, choose)).collect();
    let assigned = |one: &Leaving| ["--secret".to_owned(), format!("{}={}", one.variable, one.secret)];
    let (mut edits, after) = match wrapped {
        Some(wrapped) => {
            let is_new = |one: &&Leaving| {
                let pair = assigned(one);
                !words[..wrapped.end].windows(2).any(|two| two == pair)
            };
            let flags: Vec<_> = leaving.iter().filter(is_new).flat_map(assigned).collect();
            extended(document, entry, &words, wrapped.end, &flags)?
        }
        None => {
            let mut flags = vec!["wrap".to_owned()];
            flags.extend(us.flags.iter().cloned());
            flags.extend(["--name".to_owned(), name]);
            flags.extend(leaving.iter().flat_map(assigned));
            flags.push("--".to_owned());
            wrapping(document, entry, &words, us, flags).map_err(|Unchangeable| ODD)?
        }
    };
    let gone: Vec<&str> = secrets.iter().map(|member| member.name.as_str()).collect();
    edits.extend(document.take_out(env, &gone).map_err(|Unchangeable| ODD)?);
    let rewrite = Rewrite {
        trail: entry.trail.clone(),
        was_wrapped: after.1,
        leaving,
        raw_command: document.raw(&entry.command.span).to_owned(),
        raw_args: entry.args.map(|args| document.raw(&args.span).to_owned()),
        environment: entry.env_name,
        words: after.0,
        words_before: words,
    };
    Ok(Some((edits, rewrite)))
}

fn leaving(document: &Document<'_>, member: &Member, server: &str, choose: &mut Choose<'_>) -> Leaving {
    let value = member.value.text().unwrap_or_default();
    Leaving {
        secret: choose(server, &member.name, value),
        variable: member.name.clone(),
        value: Secret::new(value.to_owned()),
        raw_key: document.raw(&member.key).to_owned(),
        raw_value: Secret::new(document.raw(&member.value.span).to_owned()),
    }
}

/// The command line afterwards, and whether it was ours before.
type After = (Vec<String>, bool);

/// Lets `wrap` start a server.
fn wrapping(
    document: &Document<'_>,
    entry: &Entry<'_>,
    words: &[String],
    us: &Us,
    mut flags: Vec<String>,
) -> Result<(Vec<Edit>, After), Unchangeable> {
    let mut after = vec![us.program.clone()];
    after.extend(flags.iter().cloned());
    after.extend(words.iter().cloned());
    if entry.command.items().is_some() {
        flags.insert(0, us.program.clone());
        return Ok((vec![document.put_first(entry.command, &flags)], (after, false)));
    }
    flags.push(words.first().cloned().unwrap_or_default());
    let command = Edit::replace(entry.command.span.clone(), Document::quoted(&us.program));
    let args = match entry.args {
        Some(args) => document.put_first(args, &flags),
        None => {
            let quoted: Vec<_> = flags.iter().map(|word| Document::quoted(word)).collect();
            document.put_behind(entry.holder, entry.command_name, "args", &format!("[{}]", quoted.join(", ")))?
        }
    };
    Ok((vec![command, args], (after, false)))
}

/// Puts more flags before the `--` of a server that `wrap` starts already.
fn extended(
    document: &Document<'_>,
    entry: &Entry<'_>,
    words: &[String],
    end: usize,
    flags: &[String],
) -> Result<(Vec<Edit>, After), &'static str> {
    let mut after = words.to_vec();
    after.splice(end..end, flags.iter().cloned());
    let (items, at) = match entry.command.items() {
        Some(items) => (Some(items), end),
        None => (entry.args.and_then(Node::items), end - 1),
    };
    let edit = items.and_then(|items| document.put_before(items, at, flags)).ok_or(ODD)?;
    Ok((vec![edit], (after, true)))
}

/// A command line that begins with this program's `wrap`.
struct Wrapped {
    /// The server's name.
    name: String,
    /// Where the `--` stands.
    end: usize,
}

fn wrapped(words: &[String], us: &Us) -> Option<Wrapped> {
    let program = words.first()?;
    let file = program.rsplit(['/', '\\']).next().unwrap_or_default();
    let is_ours = *program == us.program || file.strip_suffix(".exe").unwrap_or(file) == env!("CARGO_PKG_NAME");
    let end = words.iter().position(|word| word == "--").filter(|end| *end > 0)?;
    let flags = &words[1..end];
    if !is_ours || !flags.iter().any(|word| word == "wrap") {
        return None;
    }
    let follows = flags.iter().position(|word| word == "--name").and_then(|at| flags.get(at + 1)).cloned();
    let name = follows.or_else(|| flags.iter().find_map(|word| word.strip_prefix("--name=").map(str::to_owned)));
    Some(Wrapped { name: name.unwrap_or_else(|| "default".to_owned()), end })
}
