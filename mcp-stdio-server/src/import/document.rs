//! A host's file: its text, what it says, and changes that leave everything else byte for byte as it is. Pure.

use std::ops::Range;

use super::edit::Edit;
use super::node::{Bad, Kind, Layout, Member, Node};
use super::{jsonc, tables};

/// How a file is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Syntax {
    /// JSON, with comments and trailing commas.
    Jsonc,
    /// TOML.
    Toml,
}

/// A file that was read.
#[derive(Debug)]
pub struct Document<'a> {
    /// The whole text.
    pub text: &'a str,
    /// How it is written.
    pub syntax: Syntax,
    /// What it says.
    pub root: Node,
}

/// A member stands where it cannot be taken out or put in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is written in a way that this program does not change")]
pub struct Unchangeable;

impl<'a> Document<'a> {
    /// Reads a text.
    ///
    /// # Errors
    /// With line and column.
    pub fn parse(text: &'a str, syntax: Syntax) -> Result<Self, Bad> {
        let root = match syntax {
            Syntax::Jsonc => jsonc::parse(text)?,
            Syntax::Toml => tables::parse(text)?,
        };
        Ok(Self { text, syntax, root })
    }

    /// What stands at a place.
    pub fn raw(&self, at: &Range<usize>) -> &'a str {
        self.text.get(at.clone()).unwrap_or_default()
    }

    /// A text as it is written here.
    pub fn quoted(text: &str) -> String {
        // What JSON writes is also a basic string of TOML, but for one character.
        serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
    }

    /// Takes members out of an object.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub fn take_out(&self, object: &Node, names: &[&str]) -> Result<Vec<Edit>, Unchangeable> {
        let Kind::Object(layout, members) = &object.kind else { return Err(Unchangeable) };
        let goes: Vec<bool> = members.iter().map(|member| names.contains(&member.name.as_str())).collect();
        match layout {
            Layout::Lines => {
                members.iter().zip(goes).filter(|(_, goes)| *goes).map(|(member, _)| self.cut_line(member)).collect()
            }
            Layout::Braces => Ok(self.cut_members(object, members, &goes)),
        }
    }

    fn cut_line(&self, member: &Member) -> Result<Edit, Unchangeable> {
        let start = self.line_start(member.key.start);
        let before = self.raw(&(start..member.value.span.start));
        let is_alone = !before.contains(['{', ',', '[', '\n']) && before.contains('=');
        let end = self.line_end(member.value.span.end);
        let behind = self.raw(&(member.value.span.end..end)).trim();
        if is_alone && (behind.is_empty() || behind.starts_with('#')) {
            Ok(Edit::remove(start..end))
        } else {
            Err(Unchangeable)
        }
    }

    fn cut_members(&self, object: &Node, members: &[Member], goes: &[bool]) -> Vec<Edit> {
        let inside = object.span.start + 1..object.span.end - 1;
        if goes.iter().all(|goes| *goes) && !self.has_comment(&inside, members) {
            return vec![Edit::remove(inside)];
        }
        let comma = |at: usize| self.comma_behind(members[at].value.span.end, inside.end);
        let mut edits = Vec::new();
        for at in (0..members.len()).filter(|at| goes[*at]) {
            let member = &members[at];
            let mut span = member.key.start..member.value.span.end;
            match comma(at) {
                Some(comma) if comma == span.end => span.end = comma + 1,
                Some(comma) => edits.push(Edit::remove(comma..comma + 1)),
                None => {
                    // The last one: the comma before it goes, or there would be one too many.
                    let kept = (0..at).rev().find(|at| !goes[*at]).and_then(comma);
                    match kept {
                        Some(kept)
                            if !goes[at - 1]
                                && self.raw(&(kept + 1..span.start)).trim_matches([' ', '\t']).is_empty() =>
                        {
                            edits.push(Edit::remove(kept..span.end));
                            continue;
                        }
                        Some(kept) => edits.push(Edit::remove(kept..kept + 1)),
                        None => {}
                    }
                }
            }
            edits.push(Edit::remove(self.with_white_space(span)));
        }
        edits
    }

    /// A whole line, where there is nothing else in it; else with the blanks that follow.
    fn with_white_space(&self, span: Range<usize>) -> Range<usize> {
        let (start, end) = (self.line_start(span.start), self.line_end(span.end));
        let before_is_blank = self.raw(&(start..span.start)).trim().is_empty() && start > 0;
        if before_is_blank && self.raw(&(span.end..end)).trim().is_empty() {
            return start..end;
        }
        let rest = self.raw(&(span.end..end));
        let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        // One blank before the brace at the end is the brace's.
        let has_blank = self.raw(&(start..span.start)).ends_with([' ', '\t']);
        let is_braces = rest.trim_start().starts_with('}') && !has_blank;
        span.start..span.end + if is_braces { 0 } else { blanks }
    }

    /// Puts a member at the end of an object.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub fn put_in(&self, object: &Node, members: &[(String, String)]) -> Result<Vec<Edit>, Unchangeable> {
        let Kind::Object(layout, there) = &object.kind else { return Err(Unchangeable) };
        match (layout, there.last()) {
            (Layout::Lines, Some(last)) => self.lines_behind(last.value.span.end, self.tables_before(last), members),
            (Layout::Lines, None) => self.lines_behind(object.span.end, "", members),
            (Layout::Braces, Some(last)) => {
                let gap = self.gap_before(there, last);
                let put: String =
                    members.iter().map(|(key, value)| format!(",{gap}{}", self.member(key, value))).collect();
                Ok(vec![Edit::insert(last.value.span.end, put)])
            }
            (Layout::Braces, None) => {
                let put: Vec<_> = members.iter().map(|(key, value)| self.member(key, value)).collect();
                let inside = object.span.start + 1..object.span.end - 1;
                let text = format!(" {} ", put.join(", "));
                Ok(vec![if self.raw(&inside).trim().is_empty() {
                    Edit::replace(inside, text)
                } else {
                    Edit::insert(inside.start, text)
                }])
            }
        }
    }

    /// Puts a member behind another one.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub fn put_behind(&self, object: &Node, before: &str, key: &str, value: &str) -> Result<Edit, Unchangeable> {
        let Kind::Object(layout, members) = &object.kind else { return Err(Unchangeable) };
        let member = members.iter().find(|member| member.name == before).ok_or(Unchangeable)?;
        let key = Self::quoted(key);
        match layout {
            Layout::Lines => {
                let mut edits =
                    self.lines_behind(member.value.span.end, self.tables_before(member), &[(key, value.to_owned())])?;
                edits.pop().ok_or(Unchangeable)
            }
            Layout::Braces => {
                let gap = self.gap_before(members, member);
                Ok(Edit::insert(member.value.span.end, format!(",{gap}{}", self.member(&key, value))))
            }
        }
    }

    /// The tables that stand with dots before a key.
    fn tables_before(&self, member: &Member) -> &'a str {
        self.raw(&(self.line_start(member.key.start)..member.key.start)).trim_start()
    }

    fn lines_behind(&self, at: usize, tables: &str, members: &[(String, String)]) -> Result<Vec<Edit>, Unchangeable> {
        let (start, end) = (self.line_start(at), self.line_end(at));
        let behind = self.raw(&(at..end)).trim();
        if !behind.is_empty() && !behind.starts_with('#') && !behind.starts_with(']') {
            return Err(Unchangeable);
        }
        let line = self.raw(&(start..end));
        let break_ = if line.ends_with("\r\n") { "\r\n" } else { "\n" };
        let indent: String = line.chars().take_while(|c| matches!(c, ' ' | '\t')).collect();
        let lines: String =
            members.iter().map(|(key, value)| format!("{indent}{tables}{}{break_}", self.member(key, value))).collect();
        // The last line of a file may have no end.
        let text =
            if line.ends_with('\n') { lines } else { format!("{break_}{}", lines.trim_end_matches(['\r', '\n'])) };
        Ok(vec![Edit::insert(end, text)])
    }

    fn member(&self, key: &str, value: &str) -> String {
        match self.syntax {
            Syntax::Jsonc => format!("{key}: {value}"),
            Syntax::Toml => {
                // A key of plain characters needs no quotes.
                let bare = key.trim_matches('"');
                let is_bare =
                    !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
                format!("{} = {value}", if is_bare { bare } else { key })
            }
        }
    }

    /// Puts values at the beginning of an array.
    pub fn put_first(&self, array: &Node, words: &[String]) -> Edit {
        let quoted: Vec<_> = words.iter().map(|word| Self::quoted(word)).collect();
        let inside = array.span.start + 1..array.span.end - 1;
        match array.items().and_then(<[Node]>::first) {
            Some(first) => {
                let gap = self.gap(inside.start, first.span.start);
                let put: String = quoted.iter().map(|word| format!("{word},{gap}")).collect();
                Edit::insert(first.span.start, put)
            }
            None if self.raw(&inside).trim().is_empty() => Edit::replace(inside, quoted.join(", ")),
            None => Edit::insert(inside.start, format!("{} ", quoted.join(", "))),
        }
    }

    /// Puts values before another one of an array.
    pub fn put_before(&self, items: &[Node], at: usize, words: &[String]) -> Option<Edit> {
        let item = items.get(at)?;
        let before = at.checked_sub(1).and_then(|at| items.get(at)).map_or(item.span.start, |before| before.span.end);
        let gap = self.gap(before, item.span.start);
        let put: String = words.iter().map(|word| format!("{},{gap}", Self::quoted(word))).collect();
        Some(Edit::insert(item.span.start, put))
    }

    /// What stands between two values: a line feed with its indentation where there is one, else a blank.
    fn gap(&self, from: usize, to: usize) -> String {
        let between = self.raw(&(from..to));
        let is_white = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
        let tail = &between[between.trim_end_matches(is_white).len()..];
        match tail.rfind('\n') {
            Some(at) => {
                let from = if tail[..at].ends_with('\r') { at - 1 } else { at };
                tail[from..].to_owned()
            }
            None => " ".to_owned(),
        }
    }

    fn gap_before(&self, members: &[Member], member: &Member) -> String {
        let at = members.iter().position(|other| other.key == member.key).unwrap_or_default();
        let from = match at.checked_sub(1).and_then(|before| members.get(before)) {
            Some(before) => before.value.span.end,
            None => self.text.get(..member.key.start).and_then(|text| text.rfind('{')).map_or(0, |at| at + 1),
        };
        self.gap(from, member.key.start)
    }

    fn line_start(&self, at: usize) -> usize {
        self.raw(&(0..at)).rfind('\n').map_or(0, |found| found + 1)
    }

    /// Behind the line feed.
    fn line_end(&self, at: usize) -> usize {
        self.raw(&(at..self.text.len())).find('\n').map_or(self.text.len(), |found| at + found + 1)
    }

    /// The comma that follows a value, past white space and comments.
    fn comma_behind(&self, at: usize, end: usize) -> Option<usize> {
        let mut at = at;
        while at < end {
            let rest = self.raw(&(at..end));
            let (length, is_comma) = match (rest.as_bytes().first()?, self.syntax) {
                (b',', _) => (0, true),
                (b' ' | b'\t' | b'\r' | b'\n', _) => (1, false),
                (b'/', Syntax::Jsonc) if rest.starts_with("/*") => (rest.find("*/")? + 2, false),
                (b'/', Syntax::Jsonc) | (b'#', Syntax::Toml) => (rest.find('\n')?, false),
                _ => return None,
            };
            if is_comma {
                return Some(at);
            }
            at += length;
        }
        None
    }

    /// Whether anything but the members and their commas stands at a place.
    fn has_comment(&self, at: &Range<usize>, members: &[Member]) -> bool {
        let mut from = at.start;
        let mut gaps = Vec::new();
        for member in members {
            gaps.push(from..member.key.start);
            from = member.value.span.end;
        }
        gaps.push(from..at.end);
        gaps.iter().any(|gap| !self.raw(gap).trim_matches([' ', '\t', '\r', '\n', ',']).is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::super::edit::apply;
    use super::*;

    #[track_caller]
    fn check(syntax: Syntax, text: &str, names: &[&str], expected: &str) {
        let document = Document::parse(text, syntax).unwrap();
        let object = document.root.get("env").unwrap();
        let edits = document.take_out(object, names).unwrap();
        let (changed, back) = apply(text, &edits).unwrap();
        assert_eq!(changed, expected, "{text}");
        let again = Document::parse(&changed, syntax).unwrap();
        let left: Vec<_> = object.members().iter().filter(|member| !names.contains(&member.name.as_str())).collect();
        let env = again.root.get("env").map(Node::members).unwrap_or_default();
        assert_eq!(left.iter().map(|m| &m.name).collect::<Vec<_>>(), env.iter().map(|m| &m.name).collect::<Vec<_>>());
        assert_eq!(apply(&changed, &back).unwrap().0, text);
    }

    #[test]
    fn members_are_taken_out_and_nothing_else_is() {
        use Syntax::{Jsonc, Toml};
        check(Jsonc, r#"{"env":{"A":"1","B":"2","C":"3"}}"#, &["B"], r#"{"env":{"A":"1","C":"3"}}"#);
        check(Jsonc, r#"{"env":{"A":"1","B":"2"}}"#, &["B"], r#"{"env":{"A":"1"}}"#);
        check(Jsonc, r#"{"env": { "A": "1", "B": "2" }}"#, &["A"], r#"{"env": { "B": "2" }}"#);
        check(Jsonc, r#"{"env": { "A": "1", "B": "2" }}"#, &["B"], r#"{"env": { "A": "1" }}"#);
        check(Jsonc, r#"{"env": { "A": "1", "B": "2" }}"#, &["A", "B"], r#"{"env": {}}"#);
        check(Jsonc, r#"{"env": { "A": "1", "B": "2", }}"#, &["B"], r#"{"env": { "A": "1", }}"#);
        let lines = "{\n  \"env\": {\n    \"A\": \"1\",\n    \"B\": \"2\",\n    \"C\": \"3\"\n  }\n}\n";
        check(Jsonc, lines, &["B"], "{\n  \"env\": {\n    \"A\": \"1\",\n    \"C\": \"3\"\n  }\n}\n");
        check(Jsonc, lines, &["C"], "{\n  \"env\": {\n    \"A\": \"1\",\n    \"B\": \"2\"\n  }\n}\n");
        check(Jsonc, lines, &["B", "C"], "{\n  \"env\": {\n    \"A\": \"1\"\n  }\n}\n");
        check(Jsonc, lines, &["A", "B", "C"], "{\n  \"env\": {}\n}\n");
        check(Jsonc, lines, &["A", "C"], "{\n  \"env\": {\n    \"B\": \"2\"\n  }\n}\n");
        let crlf = lines.replace('\n', "\r\n");
        check(Jsonc, &crlf, &["B"], "{\r\n  \"env\": {\r\n    \"A\": \"1\",\r\n    \"C\": \"3\"\r\n  }\r\n}\r\n");
        let notes = "{ \"env\": {\n  // of ada\n  \"A\": \"1\", // first\n  \"B\": \"2\" /* second */, \"C\": \"3\" // third\n} }";
        check(
            Jsonc,
            notes,
            &["A"],
            "{ \"env\": {\n  // of ada\n  // first\n  \"B\": \"2\" /* second */, \"C\": \"3\" // third\n} }",
        );
        check(
            Jsonc,
            notes,
            &["B"],
            "{ \"env\": {\n  // of ada\n  \"A\": \"1\", // first\n  /* second */ \"C\": \"3\" // third\n} }",
        );
        check(
            Jsonc,
            notes,
            &["C"],
            "{ \"env\": {\n  // of ada\n  \"A\": \"1\", // first\n  \"B\": \"2\" /* second */ // third\n} }",
        );
        check(Jsonc, notes, &["A", "B", "C"], "{ \"env\": {\n  // of ada\n  // first\n  /* second */ // third\n} }");
        check(Toml, "[env]\nA = \"1\" # a\nB = \"2\"\n", &["A"], "[env]\nB = \"2\"\n");
        check(Toml, "[env]\nA = '''\n1'''\nB = \"2\"", &["A"], "[env]\nB = \"2\"");
        check(Toml, "env.A = \"1\"\nenv.B = \"2\"\n", &["A"], "env.B = \"2\"\n");
        check(Toml, "env = { A = \"1\", B = \"2\" }\n", &["A"], "env = { B = \"2\" }\n");
        check(Toml, "env = { A = \"1\", B = \"2\" }\n", &["A", "B"], "env = {}\n");
    }

    #[test]
    fn what_cannot_be_taken_out_by_lines_is_left() {
        let text = "x = { env.A = \"1\", env.B = \"2\" }\n";
        let document = Document::parse(text, Syntax::Toml).unwrap();
        let env = document.root.get("x").unwrap().get("env").unwrap();
        assert_eq!(document.take_out(env, &["A"]), Err(Unchangeable));
    }

    #[test]
    fn members_and_words_are_put_in_as_their_neighbours_stand() {
        let put = |syntax, text: &str| {
            let document = Document::parse(text, syntax).unwrap();
            let object = document.root.get("env").unwrap();
            let edits = document.put_in(object, &[("\"N\"".to_owned(), "\"n\"".to_owned())]).unwrap();
            let changed = apply(text, &edits).unwrap().0;
            assert_eq!(
                Document::parse(&changed, syntax).unwrap().root.get("env").unwrap().get("N").unwrap().text(),
                Some("n")
            );
            changed
        };
        assert_eq!(put(Syntax::Jsonc, r#"{"env":{}}"#), r#"{"env":{ "N": "n" }}"#);
        assert_eq!(
            put(Syntax::Jsonc, "{\"env\":{\n  \"A\": \"1\",\n}}"),
            "{\"env\":{\n  \"A\": \"1\",\n  \"N\": \"n\",\n}}"
        );
        assert_eq!(put(Syntax::Jsonc, r#"{"env":{"A":"1"}}"#), r#"{"env":{"A":"1", "N": "n"}}"#);
        assert_eq!(put(Syntax::Toml, "[env]\n"), "[env]\nN = \"n\"\n");
        assert_eq!(put(Syntax::Toml, "[env]\n  A = \"1\" # a\n[x]\n"), "[env]\n  A = \"1\" # a\n  N = \"n\"\n[x]\n");
        assert_eq!(put(Syntax::Toml, "env = { A = \"1\" }"), "env = { A = \"1\", N = \"n\" }");
        let first = |text: &str| {
            let document = Document::parse(text, Syntax::Jsonc).unwrap();
            let edit = document.put_first(&document.root, &["x".to_owned(), "y\"".to_owned()]);
            apply(text, &[edit]).unwrap().0
        };
        assert_eq!(first("[]"), r#"["x", "y\""]"#);
        assert_eq!(first(r#"["a"]"#), r#"["x", "y\"", "a"]"#);
        assert_eq!(first("[\r\n  // c\r\n  1\r\n]"), "[\r\n  // c\r\n  \"x\",\r\n  \"y\\\"\",\r\n  1\r\n]");
        assert_eq!(first("[ // c\n]"), "[\"x\", \"y\\\"\"  // c\n]");
    }
}
