//! The way back: a host's file as it was, or the entries of it that are still as we left them. Pure.

use serde::{Deserialize, Serialize};
use shared::secret::{Secret, TokenHash};
use zeroize::{Zeroize, Zeroizing};

use super::document::{Document, Syntax, Unchangeable};
use super::edit::{Edit, apply};
use super::hosts::Shape;
use super::node::Bad;
use super::rewrite::{Planned, Rewrite};
use super::servers::{Entry, find};
use crate::vault::SecretName;

/// What it takes to undo a rewriting. It has secrets in it: only ever kept sealed.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    toml: bool,
    before: TokenHash,
    after: TokenHash,
    back: Vec<Edit>,
    entries: Vec<Was>,
}

/// A server's entry before.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Was {
    trail: Vec<String>,
    environment: String,
    /// Its command line as we left it.
    words: Vec<String>,
    /// Its command line before.
    words_before: Vec<String>,
    command: String,
    args: Option<String>,
    variables: Vec<Variable>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    key: String,
    value: Zeroizing<String>,
    secret: SecretName,
    /// Which version of the secret that was.
    version: u64,
}

impl Drop for Undo {
    fn drop(&mut self) {
        self.back.iter_mut().for_each(|edit| edit.text.zeroize());
    }
}

/// Where a file stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// As before: nothing was rewritten, or it was undone.
    Before,
    /// As we left it.
    After,
    /// Somebody has changed it since.
    Other,
}

/// What came of it.
#[derive(Debug)]
pub struct Undone {
    /// The file's text.
    pub text: String,
    /// The entries that are as before.
    pub restored: Vec<String>,
    /// The entries that are no longer as we left them, and stay as they are.
    pub left: Vec<String>,
}

/// The present value of a secret, when it is not of this version any more.
pub type Current<'a> = dyn Fn(&SecretName, u64) -> Option<Secret> + 'a;

impl Undo {
    /// Of a plan; `version` says which version of a secret the vault will have.
    pub fn of(before: &str, syntax: Syntax, planned: &Planned, version: &dyn Fn(&SecretName) -> u64) -> Self {
        let was = |rewrite: &Rewrite| Was {
            trail: rewrite.trail.clone(),
            environment: rewrite.environment.to_owned(),
            words: rewrite.words.clone(),
            words_before: rewrite.words_before.clone(),
            command: rewrite.raw_command.clone(),
            args: rewrite.raw_args.clone(),
            variables: rewrite
                .leaving
                .iter()
                .map(|one| Variable {
                    name: one.variable.clone(),
                    key: one.raw_key.clone(),
                    value: Zeroizing::new(one.raw_value.expose().to_owned()),
                    secret: one.secret.clone(),
                    version: version(&one.secret),
                })
                .collect(),
        };
        Self {
            toml: syntax == Syntax::Toml,
            before: TokenHash::of(before.as_bytes()),
            after: TokenHash::of(planned.text.as_bytes()),
            back: planned.back.clone(),
            entries: planned.rewrites.iter().map(was).collect(),
        }
    }

    /// Reads what was kept.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// What is kept.
    ///
    /// # Errors
    /// Never in practice.
    pub fn written(&self) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
        serde_json::to_vec(self).map(Zeroizing::new)
    }

    /// How the file is written.
    pub fn syntax(&self) -> Syntax {
        if self.toml { Syntax::Toml } else { Syntax::Jsonc }
    }

    /// Where a file stands.
    pub fn standing(&self, text: &[u8]) -> Standing {
        match TokenHash::of(text) {
            hash if hash == self.after => Standing::After,
            hash if hash == self.before => Standing::Before,
            _ => Standing::Other,
        }
    }

    /// Puts a file back: byte for byte when it is as we left it, else each entry that is. A secret that was changed in the
    /// vault since goes back as it is now.
    ///
    /// # Errors
    /// When the file can no longer be read.
    pub fn apply(&self, text: &str, current: &Current<'_>) -> Result<Undone, Bad> {
        if self.standing(text.as_bytes()) == Standing::After
            && let Some((text, _)) = apply(text, &self.back)
        {
            let restored = self.entries.iter().filter_map(|was| was.trail.last().cloned()).collect();
            return Ok(Undone { text: self.with_current(text, current), restored, left: Vec::new() });
        }
        let document = Document::parse(text, self.syntax())?;
        let (mut edits, mut restored, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for was in &self.entries {
            let name = was.trail.last().cloned().unwrap_or_default();
            let entry = find(&document, &was.trail, was.shape());
            let words = entry.as_ref().and_then(Entry::words);
            if words.as_ref() == Some(&was.words_before) {
                // Somebody has put it back, or an undoing before this one has.
                continue;
            }
            let entry = entry.filter(|_| words.is_some_and(|words| words == was.words));
            match entry.and_then(|entry| was.restored(&document, &entry, current).ok()) {
                Some(changes) => {
                    edits.extend(changes);
                    restored.push(name);
                }
                None => left.push(name),
            }
        }
        match apply(text, &edits) {
            Some((text, _)) => Ok(Undone { text, restored, left }),
            None => Ok(Undone { text: text.to_owned(), restored: Vec::new(), left: [restored, left].concat() }),
        }
    }

    /// The text of before, with secrets as they are now.
    fn with_current(&self, text: String, current: &Current<'_>) -> String {
        let Ok(document) = Document::parse(&text, self.syntax()) else { return text };
        let mut edits = Vec::new();
        for was in &self.entries {
            let Some(env) = find(&document, &was.trail, was.shape()).and_then(|entry| entry.env) else { continue };
            for variable in &was.variables {
                let now = current(&variable.secret, variable.version);
                if let (Some(now), Some(node)) = (now, env.get(&variable.name)) {
                    edits.push(Edit::replace(node.span.clone(), Document::quoted(now.expose())));
                }
            }
        }
        apply(&text, &edits).map_or(text, |(text, _)| text)
    }
}

impl Was {
    fn shape(&self) -> Shape {
        let environment = if self.environment == "environment" { "environment" } else { "env" };
        Shape { servers: &[], environment }
    }

    fn restored(
        &self,
        document: &Document<'_>,
        entry: &Entry<'_>,
        current: &Current<'_>,
    ) -> Result<Vec<Edit>, Unchangeable> {
        let mut edits = vec![Edit::replace(entry.command.span.clone(), self.command.clone())];
        match (entry.args, &self.args) {
            (Some(args), Some(was)) => edits.push(Edit::replace(args.span.clone(), was.clone())),
            (Some(_), None) => edits.extend(document.take_out(entry.holder, &["args"])?),
            (None, _) => {}
        }
        let value = |variable: &Variable| match current(&variable.secret, variable.version) {
            Some(now) => Document::quoted(now.expose()),
            None => variable.value.to_string(),
        };
        let is_missing = |variable: &&Variable| entry.env.is_none_or(|env| env.get(&variable.name).is_none());
        let missing = self.variables.iter().filter(is_missing);
        let members: Vec<_> = missing.map(|variable| (variable.key.clone(), value(variable))).collect();
        match entry.env {
            _ if members.is_empty() => {}
            Some(env) => edits.extend(document.put_in(env, &members)?),
            None => {
                let sign = if document.syntax == Syntax::Toml { " = " } else { ": " };
                let members: Vec<_> = members.iter().map(|(key, value)| format!("{key}{sign}{value}")).collect();
                let object = format!("{{ {} }}", members.join(", "));
                let before = if entry.args.is_some() && self.args.is_some() { "args" } else { entry.command_name };
                edits.push(document.put_behind(entry.holder, before, &self.environment, &object)?);
            }
        }
        Ok(edits)
    }
}
