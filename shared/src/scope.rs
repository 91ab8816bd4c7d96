//! Scopes: what a token may do, and what each one means to a person.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::text::{Place, Text, recent, text_on_the_wire};

/// One scope token: 1 to 256 of `%x21 / %x23-5B / %x5D-7E` (RFC 6749 section 3.3).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Scope(Text);

/// Why a text is no scope.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a scope is 1 to 256 visible ASCII characters without quotes and backslashes, a list at most 1024")]
pub struct NotAScope;

impl Scope {
    /// The scope as it travels.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether no server may mean something of its own by it: MCP's scopes and those of OpenID Connect (Core, sections 5.4
    /// and 11), in small letters or capitals.
    pub fn is_reserved(&self) -> bool {
        let family = self.0.split(':').next().unwrap_or_default();
        family.eq_ignore_ascii_case("mcp") || OPENID.iter().any(|name| name.eq_ignore_ascii_case(&self.0))
    }
}

/// The scopes of OpenID Connect.
const OPENID: [&str; 6] = ["openid", "profile", "email", "address", "phone", OFFLINE_ACCESS];

impl FromStr for Scope {
    type Err = NotAScope;

    fn from_str(text: &str) -> Result<Self, NotAScope> {
        let fits =
            (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
        if fits { Ok(Self(text.into())) } else { Err(NotAScope) }
    }
}

impl TryFrom<String> for Scope {
    type Error = NotAScope;

    fn try_from(text: String) -> Result<Self, NotAScope> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.0.into()
    }
}

text_on_the_wire!(Scope, "a scope");

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest list of scopes, in bytes.
const MAX_LIST: usize = 1024;

/// An ordered set of scopes; on the wire and in the store a text with single spaces between them.
///
/// Cheap to clone, and kept once however many records hold it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Scopes(Arc<ScopeSet>);

/// A set and the text that it is written as.
#[derive(Debug, Eq, Hash, PartialEq)]
struct ScopeSet {
    set: BTreeSet<Scope>,
    text: Box<str>,
}

thread_local! {
    static SCOPES: Place<Scopes> = RefCell::default();
}

impl Scopes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.set.is_empty()
    }

    /// Whether `scope` is one of them.
    pub fn contains(&self, scope: &str) -> bool {
        self.0.set.iter().any(|held| held.as_str() == scope)
    }

    /// The scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.set.iter()
    }

    /// The scopes in order, with single spaces between them.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether all of these are in `other`.
    pub fn within(&self, other: &Self) -> bool {
        self.0.set.is_subset(&other.0.set)
    }

    /// These and those.
    pub fn union(&self, other: &Self) -> Self {
        self.0.set.union(&other.0.set).cloned().collect()
    }

    /// These that are also in `other`.
    pub fn intersection(&self, other: &Self) -> Self {
        self.0.set.intersection(&other.0.set).cloned().collect()
    }

    /// These without those.
    pub fn minus(&self, other: &Self) -> Self {
        self.0.set.difference(&other.0.set).cloned().collect()
    }

    /// The first of these that have room together in a list that can be read again.
    pub fn fitting(scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self::within_bytes(MAX_LIST, scopes)
    }

    /// The first of these that take up so many bytes at most.
    pub fn within_bytes(most: usize, scopes: impl IntoIterator<Item = Scope>) -> Self {
        let (mut set, mut room) = (BTreeSet::new(), most + 1);
        for scope in scopes {
            let takes = scope.as_str().len() + 1;
            if !set.contains(&scope) && takes <= room {
                room -= takes;
                set.insert(scope);
            }
        }
        set.into_iter().collect()
    }

    fn of(set: BTreeSet<Scope>) -> Self {
        let text = set.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ").into_boxed_str();
        Self(Arc::new(ScopeSet { set, text }))
    }
}

impl Default for Scopes {
    fn default() -> Self {
        Self::from_iter([])
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let made = Self::of(scopes.into_iter().collect());
        let kept = recent(&SCOPES, made.as_str(), |_| Ok::<_, NotAScope>(made.clone()));
        kept.unwrap_or(made)
    }
}

impl FromStr for Scopes {
    type Err = NotAScope;

    /// Reads a space-separated list; extra spaces are forgiven, as every peer does.
    fn from_str(text: &str) -> Result<Self, NotAScope> {
        if text.len() > MAX_LIST {
            return Err(NotAScope);
        }
        recent(&SCOPES, text, |text| {
            text.split(' ').filter(|part| !part.is_empty()).map(str::parse).collect::<Result<_, _>>().map(Self::of)
        })
    }
}

impl TryFrom<String> for Scopes {
    type Error = NotAScope;

    fn try_from(text: String) -> Result<Self, NotAScope> {
        text.parse()
    }
}

impl From<Scopes> for String {
    fn from(scopes: Scopes) -> Self {
        scopes.as_str().to_owned()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

text_on_the_wire!(Scopes, "scopes with spaces between them");

/// Read what the tools know about the person and their data.
pub const TOOLS_READ: &str = "mcp:tools:read";
/// Run tools that do something.
pub const TOOLS_EXECUTE: &str = "mcp:tools:execute";
/// Read the server's resources.
pub const RESOURCES: &str = "mcp:resources";
/// Stands for [`TOOLS_READ`] and [`TOOLS_EXECUTE`].
pub const TOOLS: &str = "mcp:tools";
/// Keep access while the person is away: a refresh token (OpenID Connect Core section 11).
pub const OFFLINE_ACCESS: &str = "offline_access";

/// The scopes that an authorization server gives out, in the words of the consent page.
#[derive(Clone, Debug)]
pub struct Catalogue {
    entries: Vec<Entry>,
}

/// One scope and its meaning.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The scope.
    pub scope: Scope,
    /// What a person allows by it, as an imperative sentence without a full stop.
    pub meaning: String,
}

impl Catalogue {
    /// The scopes at the start; more come by configuration.
    pub fn standard() -> Self {
        let entry = |scope: &str, meaning: &str| Entry { scope: Scope(scope.into()), meaning: meaning.to_owned() };
        Self {
            entries: vec![
                entry(TOOLS_READ, "Read with the server's tools: look things up, change nothing"),
                entry(TOOLS_EXECUTE, "Run the server's tools, also those that change something"),
                entry(RESOURCES, "Read the server's resources, such as files and records"),
                entry(OFFLINE_ACCESS, "Keep this access while you are away, until you revoke it"),
            ],
        }
    }

    /// Adds a scope, or gives one a new meaning.
    pub fn add(&mut self, scope: Scope, meaning: String) {
        self.entries.retain(|entry| entry.scope != scope);
        self.entries.push(Entry { scope, meaning });
    }

    /// The scopes with their meanings, in the order of the consent page.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Every scope there is.
    pub fn all(&self) -> Scopes {
        self.entries.iter().map(|entry| entry.scope.clone()).collect()
    }

    /// What to ask for when a client names nothing: all but [`OFFLINE_ACCESS`].
    pub fn default_scopes(&self) -> Scopes {
        self.entries
            .iter()
            .filter(|entry| entry.scope.as_str() != OFFLINE_ACCESS)
            .map(|entry| entry.scope.clone())
            .collect()
    }

    /// What a scope means to a person.
    pub fn meaning(&self, scope: &Scope) -> Option<&str> {
        self.entries.iter().find(|entry| entry.scope == *scope).map(|entry| entry.meaning.as_str())
    }
}

/// Replaces [`TOOLS`] by what it stands for, so that grants hold plain scopes only.
pub fn expand(scopes: &Scopes) -> Scopes {
    scopes
        .iter()
        .flat_map(|scope| match scope.as_str() {
            TOOLS => vec![Scope(TOOLS_READ.into()), Scope(TOOLS_EXECUTE.into())],
            _ => vec![scope.clone()],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(text: &str) -> Scopes {
        text.parse().unwrap()
    }

    #[test]
    fn a_list_is_a_set_in_order() {
        assert_eq!(scopes("b a  b ").to_string(), "a b");
        assert_eq!(scopes("").to_string(), "");
        for bad in ["a\"b", "a\\b", "a\tb", "ä"] {
            assert!(bad.parse::<Scopes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_set_is_kept_once() {
        let (one, two) = (scopes("b a"), scopes("b a"));
        assert!(Arc::ptr_eq(&one.0, &two.0));
        let collected: Scopes = scopes("a c").minus(&scopes("c"));
        assert!(Arc::ptr_eq(&collected.0, &scopes("a").0));
        assert_eq!(scopes("a  b"), one);
    }

    #[test]
    fn sets_compare_and_combine() {
        assert!(scopes("a").within(&scopes("a b")));
        assert!(!scopes("a c").within(&scopes("a b")));
        assert_eq!(scopes("a").union(&scopes("b")), scopes("a b"));
        assert_eq!(scopes("a b").minus(&scopes("b c")), scopes("a"));
        assert_eq!(scopes("a b").intersection(&scopes("b c")), scopes("b"));
    }

    #[test]
    fn a_list_that_is_too_long_to_be_read_again_is_cut_between_two_scopes() {
        let many = (0..200).map(|number| format!("scope-{number:03}").parse().unwrap());
        let fitting = Scopes::fitting(many.clone().chain(many));
        assert_eq!((fitting.iter().count(), fitting.as_str().len()), (102, 1019));
        assert_eq!(fitting.as_str().parse(), Ok(fitting.clone()));
        let long: Scope = "x".repeat(256).parse().unwrap();
        let few = Scopes::within_bytes(9, [long, "abcd".parse().unwrap(), "efgh".parse().unwrap()]);
        assert_eq!(few, scopes("abcd efgh"));
    }

    #[test]
    fn names_of_mcp_and_openid_connect_are_no_servers_own() {
        for name in
            ["mcp:tools", "mcp:anything", "MCP:Tools:read", "mcp", "openid", "OpenID", "offline_access", "email"]
        {
            assert!(name.parse::<Scope>().unwrap().is_reserved(), "{name}");
        }
        for name in ["files:write", "mcpx", "x:mcp:tools", "openid2", "https://example/mcp:x"] {
            assert!(!name.parse::<Scope>().unwrap().is_reserved(), "{name}");
        }
    }

    #[test]
    fn mcp_tools_stands_for_read_and_execute() {
        assert_eq!(expand(&scopes("mcp:tools x")), scopes("mcp:tools:execute mcp:tools:read x"));
    }
}
