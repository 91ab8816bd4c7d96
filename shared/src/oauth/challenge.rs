//! The `WWW-Authenticate` header: written by resource servers, read by clients (RFC 9110 section 11.6.1, RFC 6750
//! section 3, RFC 9728 section 5.1).

/// One challenge: a scheme and its parameters, names in lower case.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Challenge {
    /// `Bearer`, `Basic`, `DPoP`, …, as written.
    pub scheme: String,
    /// Parameters in order, each name once.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the scheme is `name`, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(name)
    }
}

/// Reads every challenge in a header value. What is malformed ends the reading: the challenges before it count.
///
/// A real parser, not a search for `scope=`: `error_description="needs scope=admin"` names no scope.
pub fn parse(header: &str) -> Vec<Challenge> {
    let mut rest = header.trim_start();
    let mut challenges: Vec<Challenge> = Vec::new();
    while !rest.is_empty() {
        let Some((word, after)) = token(rest) else { break };
        let spaced = after.trim_start();
        let is_parameter = spaced.starts_with('=') && !challenges.is_empty();
        if is_parameter {
            let Some((value, after)) = value(spaced[1..].trim_start()) else { break };
            if let Some(current) = challenges.last_mut() {
                let name = word.to_ascii_lowercase();
                if current.get(&name).is_none() {
                    current.parameters.push((name, value));
                }
            }
            rest = after;
        } else {
            challenges.push(Challenge { scheme: word.to_owned(), parameters: Vec::new() });
            rest = after;
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    challenges
}

fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = token(text)?;
        return Some((word.to_owned(), rest));
    };
    let mut read = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((read, &quoted[at + 1..])),
            '\\' => read.push(characters.next()?.1),
            _ => read.push(c),
        }
    }
    None
}

/// Writes a challenge. Quotes and backslashes in values are escaped, other than visible ASCII and space left out.
pub fn write(scheme: &str, parameters: &[(&str, &str)]) -> String {
    let mut header = scheme.to_owned();
    for (index, (name, value)) in parameters.iter().enumerate() {
        header.push_str(if index == 0 { " " } else { ", " });
        header.push_str(name);
        header.push_str("=\"");
        for c in value.chars().filter(|c| matches!(c, ' '..='~')) {
            if c == '"' || c == '\\' {
                header.push('\\');
            }
            header.push(c);
        }
        header.push('"');
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(scheme: &str, parameters: &[(&str, &str)]) -> Challenge {
        let owned = parameters.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Challenge { scheme: scheme.to_owned(), parameters: owned }
    }

    #[test]
    fn challenges_are_parsed_and_not_searched() {
        for (header, read) in [
            ("Bearer", vec![one("Bearer", &[])]),
            ("Bearer realm=\"x\", scope=\"a b\"", vec![one("Bearer", &[("realm", "x"), ("scope", "a b")])]),
            (
                "bearer Scope=a,resource_metadata=\"https://x/y?a,b\"",
                vec![one("bearer", &[("scope", "a"), ("resource_metadata", "https://x/y?a,b")])],
            ),
            (
                "Basic realm=\"b\", Bearer error=\"invalid_token\"",
                vec![one("Basic", &[("realm", "b")]), one("Bearer", &[("error", "invalid_token")])],
            ),
            ("DPoP, Bearer a=1", vec![one("DPoP", &[]), one("Bearer", &[("a", "1")])]),
            (
                "Bearer error_description=\"needs scope=admin \\\"x\\\"\", scope=\"mcp:read\"",
                vec![one("Bearer", &[("error_description", "needs scope=admin \"x\""), ("scope", "mcp:read")])],
            ),
            ("Bearer scope=\"a\", scope=\"b\"", vec![one("Bearer", &[("scope", "a")])]),
            ("Bearer scope=\"open", vec![one("Bearer", &[])]),
            ("", vec![]),
            ("=x", vec![]),
        ] {
            assert_eq!(parse(header), read, "{header}");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let header = write(
            "Bearer",
            &[("resource_metadata", "https://x/"), ("scope", "a b"), ("error_description", "say \"hi\" \\ \r\nX: y")],
        );
        let read = parse(&header);
        assert_eq!(read[0].get("scope"), Some("a b"));
        assert_eq!(read[0].get("error_description"), Some("say \"hi\" \\ X: y"));
        assert!(!header.contains('\n'));
    }
}
