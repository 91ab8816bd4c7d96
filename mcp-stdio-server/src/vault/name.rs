//! What secrets are called.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A secret's name: 1 to 128 ASCII letters, digits or `. _ - /`, such as `github/GITHUB_TOKEN`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

/// Why a text is no secret's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a secret's name is 1 to 128 ASCII letters, digits or . _ - /")]
pub struct NotAName;

impl SecretName {
    /// A name for a variable of a server, whatever the two are called. `twin` tells apart secrets that would have one name;
    /// 1 is the first.
    pub fn of_variable(server: &str, variable: &str, twin: usize) -> Self {
        let plain = |text: &str, most: usize| -> String {
            let fits = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
            let text: String = text.chars().map(fits).take(most).collect();
            if text.is_empty() { "-".to_owned() } else { text }
        };
        let twin = if twin > 1 { format!(".{twin}") } else { String::new() };
        Self(format!("{}/{}{twin}", plain(server, 56), plain(variable, 56)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SecretName {
    type Error = NotAName;

    fn try_from(text: String) -> Result<Self, NotAName> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(is_plain);
        if fits { Ok(Self(text)) } else { Err(NotAName) }
    }
}

impl std::str::FromStr for SecretName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        text.to_owned().try_into()
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_and_every_variable_has_one() {
        for (text, fits) in [("github/GITHUB_TOKEN", true), ("a", true), ("", false), ("a b", false), ("ä", false)] {
            assert_eq!(text.parse::<SecretName>().is_ok(), fits, "{text}");
        }
        let long = "x".repeat(200);
        for (server, variable, twin, name) in [
            ("github", "GITHUB_TOKEN", 1, "github/GITHUB_TOKEN"),
            ("github", "GITHUB_TOKEN", 2, "github/GITHUB_TOKEN.2"),
            ("my server/ä", "K=", 1, "my-server--/K-"),
            ("", "", 1, "-/-"),
            (&long, &long, 12, &format!("{0}/{0}.12", "x".repeat(56))),
        ] {
            let made = SecretName::of_variable(server, variable, twin);
            assert_eq!(made.as_str(), name);
            assert_eq!(made.as_str().parse(), Ok(made.clone()));
        }
    }
}
