//! What a command has to say: human text, or with `--json` one JSON object. Foreign text is cleaned on the way out.

use std::io::{self, IsTerminal, Write};

use serde_json::{Value, json};

use crate::failure::{Exit, Failure};

/// The longest failure, in characters: a server chooses part of its words.
const LONGEST: usize = 1000;

/// What a command found out: for people, for programs, and for the shell.
#[derive(Debug)]
pub struct Report {
    /// For people; lines without the last newline.
    pub text: String,
    /// For programs: one object.
    pub json: Value,
    /// For the shell.
    pub exit: Exit,
}

impl Report {
    /// A success.
    pub fn done(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json, exit: Exit::Done }
    }
}

/// Where words go. Answers to stdout, everything else to stderr.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    json: bool,
    colour: bool,
}

impl Printer {
    /// A printer for people, or with `json` for programs. Colour only on a terminal without `NO_COLOR`.
    pub fn new(json: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { json, colour: !plain && io::stderr().is_terminal() }
    }

    /// Whether programs listen.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// A step on the way, for people who watch.
    pub fn note(self, text: &str) {
        // A closed stderr must not end the command.
        let _ = writeln!(io::stderr(), "{}", clean(text));
    }

    /// A line of a story that is the command's answer, such as the demo's. Programs get the whole at the end.
    pub fn line(self, text: &str) {
        if !self.json {
            let _ = writeln!(io::stdout(), "{}", clean(text));
        }
    }

    /// The answer.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn report(self, report: &Report) -> io::Result<()> {
        let text = if self.json { encode(&report.json) } else { clean(&report.text) };
        if text.is_empty() { Ok(()) } else { writeln!(io::stdout(), "{text}") }
    }

    /// The failure: to stderr for people; as an object to stdout for programs.
    pub fn failure(self, failure: &Failure) {
        let (what, next) = (clean_line(&failure.what, LONGEST), clean_line(&failure.next, LONGEST));
        if self.json {
            let object = json!({ "error": failure.code, "message": what, "next": next });
            let _ = writeln!(io::stdout(), "{}", encode(&object));
        } else {
            let (on, off) = if self.colour { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
            let _ = writeln!(io::stderr(), "{on}Error:{off} {what}\nNext:  {next}");
        }
    }
}

/// JSON on one line, in which nothing that a terminal obeys is left as it is.
pub fn encode(value: &Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        if is_unsafe(c) {
            text.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            text.push(c);
        }
    }
    text
}

/// Removes what a terminal would obey instead of showing: escape sequences whole, control characters, and the marks
/// that turn the direction of text (CWE-150). Newlines and tabs stay.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => match rest.next() {
                Some('[') => skip_csi(&mut rest),
                Some(']' | 'P' | 'X' | '^' | '_') => skip_string(&mut rest),
                _ => {}
            },
            '\u{9b}' => skip_csi(&mut rest),
            '\u{9d}' | '\u{90}' | '\u{98}' | '\u{9e}' | '\u{9f}' => skip_string(&mut rest),
            '\n' | '\t' => cleaned.push(c),
            c if is_unsafe(c) => {}
            c => cleaned.push(c),
        }
    }
    cleaned
}

/// As [`clean`], on one line and at most `longest` characters long.
pub fn clean_line(text: &str, longest: usize) -> String {
    let line = clean(text).replace(['\n', '\t'], " ");
    match line.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A word of a command that people are told to run. A shell reads it as it is: scopes and issuers come from servers,
/// and may hold `$(…)` (CWE-78).
pub fn shell_word(text: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:@%+=,".contains(&b);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Skips a control sequence up to its final byte (ECMA-48 section 5.4).
fn skip_csi(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(c) = rest.next_if(|c| matches!(c, ' '..='~')) {
        if ('@'..='~').contains(&c) {
            return;
        }
    }
}

/// Skips a control string up to its terminator (ECMA-48 section 5.6); without one, to the end of the line, so that
/// an opened string cannot swallow what follows.
fn skip_string(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(c) = rest.next_if(|c| *c != '\n') {
        match c {
            '\x07' | '\u{9c}' => return,
            '\x1b' => {
                rest.next_if_eq(&'\\');
                return;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dsc_13_what_a_terminal_would_obey_is_removed() {
        for (text, cleaned) in [
            ("plain ä\n\ttext", "plain ä\n\ttext"),
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]8;;https://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b]52;c;aGk=", ""),
            ("\x1b]open\nnext line", "\nnext line"),
            ("\u{9b}2Jx", "x"),
            ("a\x08\x08b\rc\x7f\0", "abc"),
            ("\x1bcreset", "reset"),
            ("\u{202e}txt.exe\u{2066}", "txt.exe"),
            ("\x1b", ""),
            ("\x1b[", ""),
        ] {
            assert_eq!(clean(text), cleaned, "{text:?}");
        }
    }

    #[test]
    fn dsc_13_json_keeps_everything_and_shows_nothing_to_obey() {
        let value = json!({ "text": "\u{9b}2J\u{202e}\x1b\x7f" });
        let encoded = encode(&value);
        assert!(encoded.chars().all(|c| !is_unsafe(c)), "{encoded}");
        assert_eq!(serde_json::from_str::<Value>(&encoded).unwrap(), value);
    }

    #[test]
    fn dsc_13_a_word_of_a_server_is_one_word_to_a_shell() {
        for (text, word) in [
            ("mcp:tools:read", "mcp:tools:read"),
            ("https://as.example:8443/t", "https://as.example:8443/t"),
            ("a b", "'a b'"),
            ("$(id)", "'$(id)'"),
            ("a`id`;b", "'a`id`;b'"),
            ("it's", r"'it'\''s'"),
            ("https://as.example/?x&y", "'https://as.example/?x&y'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(text), word, "{text}");
        }
    }

    #[test]
    fn a_line_is_one_line_of_bounded_length() {
        assert_eq!(clean_line("a\nb\tc", 10), "a b c");
        assert_eq!(clean_line("äöüß", 3), "äöü…");
    }
}
