//! JSON as people keep it in files: with comments and with commas behind the last value. Pure.
//!
//! Everything else is JSON (RFC 8259), read strictly: no name twice in an object, nothing nested deeper than [`DEEPEST`].

use std::collections::BTreeSet;

use super::node::{Bad, Kind, Layout, Member, Node};

/// So many objects and arrays may stand within each other.
pub const DEEPEST: usize = 128;

/// Reads a text.
///
/// # Errors
/// With line and column.
pub fn parse(text: &str) -> Result<Node, Bad> {
    let mut scan = Scan { text, at: 0 };
    if text.starts_with('\u{feff}') {
        scan.at = '\u{feff}'.len_utf8();
    }
    let root = scan.value(0)?;
    scan.blank()?;
    if scan.at < text.len() { Err(scan.bad("there is something behind the end")) } else { Ok(root) }
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl Scan<'_> {
    fn bad(&self, what: &str) -> Bad {
        Bad::at(self.text, self.at, what)
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Goes behind white space and comments.
    fn blank(&mut self) -> Result<(), Bad> {
        loop {
            match self.next() {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                Some(b'/') if self.rest().starts_with("//") => {
                    self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                }
                Some(b'/') if self.rest().starts_with("/*") => {
                    let end = self.rest().find("*/").ok_or_else(|| self.bad("a comment does not end"))?;
                    self.at += end + 2;
                }
                _ => return Ok(()),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Bad> {
        if depth > DEEPEST {
            return Err(self.bad("this is nested too deeply"));
        }
        self.blank()?;
        let start = self.at;
        let kind = match self.next() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Kind::Text(self.string()?.ok()),
            Some(_) => self.literal()?,
            None => return Err(self.bad("it ends too early")),
        };
        Ok(Node { span: start..self.at, kind })
    }

    fn object(&mut self, depth: usize) -> Result<Kind, Bad> {
        self.at += 1;
        let (mut members, mut names) = (Vec::new(), BTreeSet::new());
        loop {
            self.blank()?;
            match self.next() {
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Kind::Object(Layout::Braces, members));
                }
                Some(b'"') => {}
                Some(_) => return Err(self.bad("a name in double quotes, or }, must stand here")),
                None => return Err(self.bad("it ends too early")),
            }
            let start = self.at;
            let name = self.string()?.unwrap_or_else(|lossy| lossy);
            let key = start..self.at;
            if !names.insert(name.clone()) {
                self.at = start;
                return Err(self.bad("this name stands twice in its object"));
            }
            self.blank()?;
            if self.next() != Some(b':') {
                return Err(self.bad("a colon must stand here"));
            }
            self.at += 1;
            let value = self.value(depth + 1)?;
            members.push(Member { name, key, value });
            self.comma(b'}')?;
        }
    }

    fn array(&mut self, depth: usize) -> Result<Kind, Bad> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.blank()?;
            if self.next() == Some(b']') {
                self.at += 1;
                return Ok(Kind::Array(items));
            }
            items.push(self.value(depth + 1)?);
            self.comma(b']')?;
        }
    }

    /// Goes behind a comma, or stays before the end.
    fn comma(&mut self, end: u8) -> Result<(), Bad> {
        self.blank()?;
        match self.next() {
            Some(b',') => self.at += 1,
            Some(found) if found == end => {}
            Some(_) => return Err(self.bad("a comma or the end must stand here")),
            None => return Err(self.bad("it ends too early")),
        }
        Ok(())
    }

    fn literal(&mut self) -> Result<Kind, Bad> {
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let length = self.rest().bytes().take_while(|b| is_part(b)).count();
        let word = self.rest().get(..length).unwrap_or_default();
        if !matches!(word, "true" | "false" | "null") && serde_json::from_str::<serde_json::Number>(word).is_err() {
            return Err(self.bad("this is no value of JSON"));
        }
        self.at += length;
        Ok(Kind::Other)
    }

    /// A text; what it reads like, where it cannot be had exactly.
    fn string(&mut self) -> Result<Result<String, String>, Bad> {
        self.at += 1;
        let (mut text, mut exact) = (String::new(), true);
        loop {
            let length = self.rest().find(['"', '\\']).ok_or_else(|| self.bad("a text does not end"))?;
            let plain = self.rest().get(..length).unwrap_or_default();
            if let Some(control) = plain.find(|c: char| c < ' ') {
                self.at += control;
                return Err(self.bad("a text has a control character in it, or does not end in its line"));
            }
            text.push_str(plain);
            self.at += length;
            if self.next() == Some(b'"') {
                self.at += 1;
                return Ok(if exact { Ok(text) } else { Err(text) });
            }
            let found = self.escape()?;
            exact &= found.is_some();
            text.push(found.unwrap_or(char::REPLACEMENT_CHARACTER));
        }
    }

    /// What stands behind a backslash; `None` for half a pair.
    fn escape(&mut self) -> Result<Option<char>, Bad> {
        self.at += 1;
        let escaped = self.next().ok_or_else(|| self.bad("a text does not end"))?;
        let found = match escaped {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.bad("this must not stand behind a backslash")),
        };
        self.at += 1;
        Ok(Some(found))
    }

    fn unicode(&mut self) -> Result<Option<char>, Bad> {
        let high = self.four()?;
        if !(0xd800..0xdc00).contains(&high) {
            return Ok(char::from_u32(high));
        }
        if !self.rest().starts_with("\\u") {
            return Ok(None);
        }
        let before = self.at;
        self.at += 2;
        let low = self.four()?;
        if (0xdc00..0xe000).contains(&low) {
            return Ok(char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)));
        }
        self.at = before;
        Ok(None)
    }

    fn four(&mut self) -> Result<u32, Bad> {
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let number = number.ok_or_else(|| self.bad("four hexadecimal digits must stand here"))?;
        self.at += 4;
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text as plain JSON, without what only people need.
    fn plain(text: &str, node: &Node) -> serde_json::Value {
        match &node.kind {
            Kind::Object(_, members) => {
                members.iter().map(|member| (member.name.clone(), plain(text, &member.value))).collect()
            }
            Kind::Array(items) => items.iter().map(|item| plain(text, item)).collect(),
            Kind::Text(found) => found.clone().map_or(serde_json::Value::Null, Into::into),
            Kind::Other => serde_json::from_str(&text[node.span.clone()]).unwrap(),
        }
    }

    #[test]
    fn what_is_json_is_read_as_json() {
        for text in [
            "{}",
            "[]",
            " [1, -2.5e3, true, false, null, \"\"] ",
            r#"{"a":{"b":[{"c":"\"\\\/\b\f\n\r\tA\ud83d\ude00é"}]},"":0}"#,
            "\"text\"",
        ] {
            let node = parse(text).unwrap();
            assert_eq!(plain(text, &node), serde_json::from_str::<serde_json::Value>(text).unwrap(), "{text}");
            assert_eq!(&text[node.span.clone()], text.trim());
        }
    }

    #[test]
    fn comments_trailing_commas_and_byte_order_marks_are_tolerated() {
        let text = "\u{feff}// one\r\n{ /* two, } */ \"a\": [1, 2,], // \"x\": 3\n \"b\": \"//no\", }\n// end";
        let node = parse(text).unwrap();
        assert_eq!(plain(text, &node), serde_json::json!({ "a": [1, 2], "b": "//no" }));
        let member = &node.members()[1];
        assert_eq!((&text[member.key.clone()], &text[member.value.span.clone()]), ("\"b\"", "\"//no\""));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_without_its_contents() {
        for (text, line, column, what) in [
            ("", 1, 1, "ends too early"),
            ("{", 1, 2, "ends too early"),
            ("{\n  \"a\": 1\n  \"b\": 2\n}", 3, 3, "a comma"),
            ("{ a: 1 }", 1, 3, "a name in double quotes"),
            ("{ \"a\" 1 }", 1, 7, "a colon"),
            ("{ \"a\": 1, \"\\u0061\": 2 }", 1, 11, "twice"),
            ("[hunter2]", 1, 2, "no value"),
            ("[01]", 1, 2, "no value"),
            ("[\"a\nb\"]", 1, 4, "control character"),
            ("[\"é\\x\"]", 1, 5, "behind a backslash"),
            ("[\"\\u12g4\"]", 1, 5, "hexadecimal"),
            ("[1] 2", 1, 5, "behind the end"),
            ("[,]", 1, 2, "no value"),
            ("[1 /* ", 1, 4, "comment does not end"),
            ("[\"a", 1, 3, "does not end"),
        ] {
            let bad = parse(text).unwrap_err();
            assert_eq!((bad.line, bad.column), (line, column), "{text}: {bad}");
            assert!(bad.what.contains(what), "{text}: {bad}");
            assert!(!bad.to_string().contains("hunter2"));
        }
        let deep = "[".repeat(DEEPEST + 2);
        assert!(parse(&deep).unwrap_err().what.contains("too deeply"));
    }

    #[test]
    fn half_a_pair_is_no_text_and_spoils_nothing_else() {
        let text = r#"{"history":"\ud83d","next":"\ud83d\u0041","a":"b"}"#;
        let node = parse(text).unwrap();
        assert_eq!((node.get("history").unwrap().text(), node.get("next").unwrap().text()), (None, None));
        assert_eq!(node.get("a").unwrap().text(), Some("b"));
    }
}
