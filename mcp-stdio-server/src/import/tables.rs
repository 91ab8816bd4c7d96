//! TOML, with the place of everything in the text. Pure.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::node::{Bad, Kind, Layout, Member, Node};

/// Reads a text.
///
/// # Errors
/// With line and column.
pub fn parse(text: &str) -> Result<Node, Bad> {
    let shift = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let body = text.get(shift..).unwrap_or_default();
    let read = DeTable::parse(body).map_err(|error| {
        let at = error.span().map_or(text.len(), |span| span.start + shift);
        // Its message may quote what stands there.
        Bad::at(text, at, "this is not TOML")
    })?;
    let members = members(text, shift, read.get_ref());
    Ok(Node { span: 0..text.len(), kind: Kind::Object(Layout::Lines, members) })
}

fn members(text: &str, shift: usize, table: &DeTable<'_>) -> Vec<Member> {
    let mut members: Vec<_> = table
        .iter()
        .map(|(key, value)| {
            let span = key.span();
            let key_span = span.start + shift..span.end + shift;
            Member { name: key.get_ref().to_string(), key: key_span, value: node(text, shift, value) }
        })
        .collect();
    members.sort_by_key(|member| member.key.start);
    members
}

fn node(text: &str, shift: usize, value: &Spanned<DeValue<'_>>) -> Node {
    let span = value.span().start + shift..value.span().end + shift;
    let kind = match value.get_ref() {
        DeValue::String(text) => Kind::Text(Some(text.to_string())),
        DeValue::Array(items) => Kind::Array(items.iter().map(|item| node(text, shift, item)).collect()),
        DeValue::Table(table) => {
            let is_inline = text.as_bytes().get(span.start) == Some(&b'{');
            let layout = if is_inline { Layout::Braces } else { Layout::Lines };
            Kind::Object(layout, members(text, shift, table))
        }
        _ => Kind::Other,
    };
    Node { span, kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_where_it_stands() {
        let text = "\u{feff}# é\n[a.b]\r\nc = \"x\" # c\n\"d e\" = { f = 'y', g = [\"1\", '2'] }\n[a.b.env]\nK = '''\nz'''\nenv2.L = \"w\"\n";
        let root = parse(text).unwrap();
        let b = root.get("a").unwrap().get("b").unwrap();
        let raw = |node: &Node| &text[node.span.clone()];
        assert_eq!((raw(b.get("c").unwrap()), b.get("c").unwrap().text()), ("\"x\"", Some("x")));
        let inline = b.get("d e").unwrap();
        assert!(matches!(inline.kind, Kind::Object(Layout::Braces, _)));
        assert_eq!(raw(inline), "{ f = 'y', g = [\"1\", '2'] }");
        assert_eq!(inline.get("g").unwrap().texts().unwrap(), ["1", "2"]);
        assert_eq!(&text[inline.members()[0].key.clone()], "f");
        let env = b.get("env").unwrap();
        assert!(matches!(env.kind, Kind::Object(Layout::Lines, _)));
        assert_eq!((raw(env.get("K").unwrap()), env.get("K").unwrap().text()), ("'''\nz'''", Some("z")));
        assert_eq!(env.get("env2").unwrap().get("L").unwrap().text(), Some("w"));
        let bad = parse("a = 1\nb = hunter2\n").unwrap_err();
        assert_eq!(bad.line, 2);
        assert!(!bad.to_string().contains("hunter2"));
        assert!(parse("a = 1\na = 2\n").is_err());
    }
}
