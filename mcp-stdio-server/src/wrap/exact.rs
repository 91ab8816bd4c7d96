//! What two readers could read differently. A guard that reads one thing while the server behind it reads another has judged
//! nothing, so that such a message is not passed on. Pure.

use serde_json::{Map, Value};

/// The members by which a message is judged, and where they stand.
const JUDGED_BY: [(&[&str], &[&str]); 4] = [
    (&[], &["jsonrpc", "id", "method", "params", "result", "error"]),
    (&["params"], &["_meta", "name", "uri", "taskId", "arguments", "ref", "notifications"]),
    (&["params", "ref"], &["type", "name", "uri"]),
    (&["params", "notifications"], &["resourceSubscriptions"]),
];

/// A member that a reader who ignores case takes for one by which the message is judged (CVE-2026-27896).
///
/// Go's decoder is such a reader, and lets the last one count: `"Method"` behind `"method"` would be what is done.
pub fn lookalike(message: &Map<String, Value>) -> Option<&str> {
    JUDGED_BY.iter().find_map(|(path, names)| {
        let holder = path.iter().try_fold(message, |holder, name| holder.get(*name)?.as_object())?;
        let is_lookalike = |member: &&String| {
            names
                .iter()
                .any(|name| member.len() <= 3 * name.len() && *name != member.as_str() && fold(name) == fold(member))
        };
        holder.keys().find(is_lookalike).map(String::as_str)
    })
}

/// Without case: down and up again, for the long s and the Kelvin sign are letters to Go, too.
fn fold(text: &str) -> String {
    text.to_lowercase().to_uppercase()
}

/// Whether a URI names what it seems to name, so that a pattern can be held against it.
///
/// RFC 3986 section 6.2.2 and the URL standard know texts that are another one to whoever opens them: dot segments, also with
/// backslashes, coded or with control characters between; letters, slashes and dots in percent code; a scheme in capitals.
pub fn is_plain(uri: &str) -> bool {
    let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_hidden = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/\\".contains(&byte);
    let climbs = || uri.split(['/', '\\']).any(|segment| matches!(segment, "." | ".."));
    !scheme.bytes().any(|byte| byte.is_ascii_uppercase())
        && !uri.chars().any(char::is_control)
        && uri.trim() == uri
        && !coded(uri).any(is_hidden)
        && !climbs()
}

/// The bytes that stand in a text in percent code.
fn coded(text: &str) -> impl Iterator<Item = u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.as_bytes().windows(3).filter_map(move |three| match *three {
        [b'%', high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_lax_reader_would_take_for_something_else_is_found() {
        for (message, found) in [
            (json!({ "jsonrpc": "2.0", "id": 1, "method": "ping", "params": {} }), None),
            (json!({ "id": 1, "method": "ping", "Method": "tools/call" }), Some("Method")),
            (json!({ "id": 1, "result": {}, "METHOD": "tools/call" }), Some("METHOD")),
            (json!({ "method": "x", "param\u{17f}": {} }), Some("param\u{17f}")),
            (json!({ "method": "x", "params": { "name": "a", "Name": "b" } }), Some("Name")),
            (json!({ "method": "x", "params": { "uri": "a", "URI": "b" } }), Some("URI")),
            (json!({ "method": "x", "params": { "taskId": "a", "taskID": "b" } }), Some("taskID")),
            (json!({ "method": "x", "params": { "ref": { "name": "a", "nAme": "b" } } }), Some("nAme")),
            (
                json!({ "method": "x", "params": { "notifications": { "ResourceSubscriptions": [] } } }),
                Some("ResourceSubscriptions"),
            ),
            // A tool's own arguments are its own, and members that nobody judges by come through.
            (
                json!({ "method": "x", "params": { "name": "a", "arguments": { "Name": 1, "name": 2 }, "Odd": 1 } }),
                None,
            ),
        ] {
            assert_eq!(lookalike(message.as_object().unwrap()), found, "{message}");
        }
    }

    #[test]
    fn a_uri_that_is_another_one_when_it_is_opened_is_not_plain() {
        for uri in
            ["file:///a/b.txt", "x://1", "urn:a:b", "file:///a%20b/%C3%A9", "file:///..a/b..", "file:///{path}", "a b"]
        {
            assert!(is_plain(uri), "{uri}");
        }
        for uri in [
            "file:///a/../b",
            "file:///a/..",
            "file:///a/./b",
            "file:///a\\..\\b",
            "file:///a/%2e%2E/b",
            "file:///a/..%2fb",
            "file:///a/.%2e/b",
            "file:///%61",
            "file:///a%5Cb",
            "FILE:///a",
            "file:///a/.\t./b",
            " file:///a",
            "x:a?/../b",
        ] {
            assert!(!is_plain(uri), "{uri}");
        }
    }
}
