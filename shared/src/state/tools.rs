//! Tools that servers announced: what a consent page shows behind a scope.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::apply::{Replaced, State, Undo, set};
use crate::scope::{Scope, Scopes};
use crate::secret::TokenHash;
use crate::time::{Seconds, Timestamp};
use crate::uri::Resource;

/// A tool's name, as it stands in `tools/call`: 1 to 128 characters, none of them a control character.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolName(String);

/// Why a text is no tool name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a tool's name is 1 to 128 characters without control characters")]
pub struct NotAToolName;

impl ToolName {
    /// The name as it travels.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ToolName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ToolName {
    type Error = NotAToolName;

    fn try_from(text: String) -> Result<Self, NotAToolName> {
        let fits = !text.is_empty() && text.chars().count() <= 128 && !text.chars().any(char::is_control);
        if fits { Ok(Self(text)) } else { Err(NotAToolName) }
    }
}

impl std::str::FromStr for ToolName {
    type Err = NotAToolName;

    fn from_str(text: &str) -> Result<Self, NotAToolName> {
        Self::try_from(text.to_owned())
    }
}

impl From<ToolName> for String {
    fn from(name: ToolName) -> Self {
        name.0
    }
}

/// What a tool does to the world, by its own account (MCP tool annotations).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It changes nothing.
    Read,
    /// It changes something.
    Write,
    /// It may destroy something.
    Destructive,
}

/// A tool as its server announced it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tool {
    /// Its name.
    pub name: ToolName,
    /// Its name for people, at most [`Tool::MAX_TITLE`] characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// What it does.
    pub effect: Effect,
    /// What a token needs to call it: all of these.
    pub scopes: Scopes,
    /// What it says of itself, as one hash ([`super::print_of`]); none in announcements from before this was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub print: Option<TokenHash>,
}

impl Tool {
    /// The longest title, in characters.
    pub const MAX_TITLE: usize = 128;
}

/// The tools of one server, each with when it was last announced.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Announcement {
    /// Whose.
    pub resource: Resource,
    /// The tools, in the server's order.
    pub tools: Vec<(Tool, Timestamp)>,
    /// The scopes that something else needs there, a resource or a prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<(Scope, Timestamp)>,
}

/// The most tools that are kept of one server: what a page of tick boxes can carry (contract C9: 200 parameters).
pub const MAX_TOOLS: usize = 128;

/// The most servers whose tools are kept; the one announced longest ago makes room.
pub const MAX_SERVERS: usize = 256;

/// The most scopes of its own that a server has (contract C9, as above), how long each may be, and all of them together: with
/// the service's own they are a list that can be read.
pub const MAX_OWN_SCOPES: usize = 32;
const LONGEST_OWN_SCOPE: usize = 128;
const MAX_OWN_BYTES: usize = 768;

/// The most that are counted of all servers.
const MAX_ALL_SCOPES: usize = 256;

/// How old an announcement is when the server repeats it.
const FRESH: Seconds = Seconds(3 * 86_400);

/// How long a tool that is announced no more is kept. Not at once: two servers may go by one name.
const KEPT: Seconds = Seconds(7 * 86_400);

impl Announcement {
    /// Whether a server with these tools and these other scopes has nothing to tell.
    pub fn says(&self, tools: &[Tool], scopes: &Scopes, now: Timestamp) -> bool {
        let known = |tool: &Tool| self.tools.iter().any(|(known, at)| known == tool && *at + FRESH > now);
        let told = |scope: &Scope| self.scopes.iter().any(|(known, at)| known == scope && *at + FRESH > now);
        tools.iter().take(MAX_TOOLS).all(known) && scopes.iter().take(MAX_OWN_SCOPES).all(told)
    }

    /// The scopes that its server gave a meaning to, and that a person can be asked for.
    pub fn own_scopes(&self) -> Scopes {
        let of_tools = self.tools.iter().flat_map(|(tool, _)| tool.scopes.iter());
        own(of_tools.chain(self.scopes.iter().map(|(scope, _)| scope)))
    }

    /// The tools that a token with these scopes can call, and that need any.
    pub fn opened_by<'a>(&'a self, scopes: &'a Scopes) -> impl Iterator<Item = &'a Tool> {
        let opened = |tool: &&Tool| !tool.scopes.is_empty() && tool.scopes.within(scopes);
        self.tools.iter().map(|(tool, _)| tool).filter(opened)
    }
}

/// Those of the scopes that a server may have for its own; so many as a page can carry.
pub fn own<'a>(scopes: impl IntoIterator<Item = &'a Scope>) -> Scopes {
    let is_own = |scope: &&Scope| !scope.is_reserved() && scope.as_str().len() <= LONGEST_OWN_SCOPE;
    let found: BTreeSet<_> = scopes.into_iter().filter(is_own).collect();
    Scopes::within_bytes(MAX_OWN_BYTES, found.into_iter().take(MAX_OWN_SCOPES).cloned())
}

impl State {
    /// The scopes that servers have for their own, of all servers together.
    pub fn own_scopes(&self) -> BTreeSet<Scope> {
        let mut scopes: BTreeSet<Scope> = BTreeSet::new();
        for announced in self.announcements.values() {
            scopes.extend(announced.own_scopes().iter().cloned());
        }
        scopes.into_iter().take(MAX_ALL_SCOPES).collect()
    }

    /// What the server of a resource has announced.
    pub fn announcement(&self, resource: &Resource) -> Option<&Announcement> {
        self.announcements.get(resource)
    }

    /// What is announced replaces what was known by the same names.
    pub(super) fn announce(
        &mut self,
        resource: Resource,
        mut tools: Vec<Tool>,
        scopes: &Scopes,
        at: Timestamp,
        undo: &mut Undo,
    ) {
        let mut names = BTreeSet::new();
        tools.retain(|tool| names.insert(tool.name.clone()));
        let known = self.announcements.get(&resource);
        let (before, scopes_before) =
            known.map(|known| (known.tools.clone(), known.scopes.clone())).unwrap_or_default();
        let others = before.into_iter().filter(|(tool, seen)| !names.contains(&tool.name) && *seen + KEPT > at);
        let tools = tools.into_iter().map(|tool| (tool, at)).chain(others).take(MAX_TOOLS).collect();
        let others =
            scopes_before.into_iter().filter(|(scope, seen)| !scopes.contains(scope.as_str()) && *seen + KEPT > at);
        let scopes = scopes.iter().map(|scope| (scope.clone(), at)).chain(others).take(MAX_OWN_SCOPES).collect();
        if !self.announcements.contains_key(&resource) && self.announcements.len() >= MAX_SERVERS {
            let latest = |known: &Announcement| {
                let scopes = known.scopes.iter().map(|(_, at)| *at);
                known.tools.iter().map(|(_, at)| *at).chain(scopes).max()
            };
            let oldest = self.announcements.values().min_by_key(|known| (latest(known), known.resource.to_string()));
            if let Some(oldest) = oldest.map(|known| known.resource.clone()) {
                set(&mut self.announcements, oldest, None, undo, Replaced::Announcement);
            }
        }
        let announced = Announcement { resource: resource.clone(), tools, scopes };
        set(&mut self.announcements, resource, Some(announced), undo, Replaced::Announcement);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Change;

    fn tool(name: &str, scopes: &str) -> Tool {
        let (name, scopes) = (name.parse().unwrap(), scopes.parse().unwrap());
        Tool { name, title: String::new(), effect: Effect::Read, scopes, print: None }
    }

    fn announced(state: &mut State, resource: &str, tools: &[Tool], at: u64) -> Undo {
        let resource = Resource::stdio(resource).unwrap();
        let change = Change::ToolsAnnounced { resource, tools: tools.to_vec(), scopes: Scopes::default() };
        state.apply_all(vec![change], Timestamp(at)).unwrap()
    }

    fn names(state: &State, resource: &str) -> Vec<String> {
        let known = state.announcement(&Resource::stdio(resource).unwrap()).unwrap();
        known.tools.iter().map(|(tool, _)| tool.name.as_str().to_owned()).collect()
    }

    #[test]
    fn a_server_repeats_what_changed_or_is_old_and_nothing_else() {
        let mut state = State::default();
        announced(&mut state, "a", &[tool("x", "s"), tool("y", "s")], 100);
        let known = state.announcement(&Resource::stdio("a").unwrap()).unwrap().clone();
        let says = |tools: &[Tool], now| known.says(tools, &Scopes::default(), Timestamp(now));
        assert!(says(&[tool("x", "s"), tool("y", "s")], 100) && says(&[tool("y", "s")], 100));
        assert!(!says(&[tool("x", "t")], 100) && !says(&[tool("z", "s")], 100));
        assert!(!says(&[Tool { effect: Effect::Destructive, ..tool("x", "s") }], 100));
        assert!(!says(&[Tool { print: Some(TokenHash::of(b"other words")), ..tool("x", "s") }], 100));
        assert!(says(&[tool("x", "s")], 99 + 3 * 86_400) && !says(&[tool("x", "s")], 100 + 3 * 86_400));
    }

    #[test]
    fn two_servers_of_one_name_do_not_take_turns_and_a_tool_that_is_gone_is_forgotten() {
        let mut state = State::default();
        announced(&mut state, "a", &[tool("x", "s"), tool("x", "other")], 100);
        announced(&mut state, "a", &[tool("y", "s")], 101);
        assert_eq!(names(&state, "a"), ["y", "x"]);
        announced(&mut state, "a", &[tool("y", "s")], 100 + 7 * 86_400);
        assert_eq!(names(&state, "a"), ["y"]);
    }

    fn says_scopes(state: &mut State, tools: &[Tool], scopes: &str, at: u64) -> Announcement {
        let (resource, scopes) = (Resource::stdio("a").unwrap(), scopes.parse().unwrap());
        let change = Change::ToolsAnnounced { resource: resource.clone(), tools: tools.to_vec(), scopes };
        // As it is read again by whoever follows.
        let change = serde_json::from_str(&serde_json::to_string(&change).unwrap()).unwrap();
        state.apply_all(vec![change], Timestamp(at)).unwrap();
        state.announcement(&resource).unwrap().clone()
    }

    #[test]
    fn a_server_has_scopes_of_its_own_and_none_of_the_services() {
        let mut state = State::default();
        let long = "x".repeat(129);
        let tools = [tool("w", "files:write mcp:tools:execute"), tool("o", "openid MCP:x"), tool("l", &long)];
        let known = says_scopes(&mut state, &tools, "files:read mcp:resources profile", 100);
        assert_eq!(known.own_scopes().to_string(), "files:read files:write");
        assert_eq!(state.own_scopes(), known.own_scopes().iter().cloned().collect());
        let says = |scopes: &str, at| known.says(&tools, &scopes.parse().unwrap(), Timestamp(at));
        assert!(says("files:read", 100) && !says("files:more", 100) && !says("files:read", 100 + 3 * 86_400));
        // Another server of the name, and what it does not have is forgotten in a week.
        assert_eq!(says_scopes(&mut state, &[], "b", 101).own_scopes().to_string(), "b files:read files:write");
        assert_eq!(says_scopes(&mut state, &[], "b", 100 + 7 * 86_400).own_scopes().to_string(), "b");
    }

    #[test]
    fn a_servers_own_scopes_are_so_many_as_a_page_and_a_list_can_carry() {
        let scope = |number: usize| format!("{number:03}{}", "x".repeat(27));
        let tools: Vec<_> = (0..100).map(|number| tool(&format!("t{number}"), &scope(number))).collect();
        let mut state = State::default();
        let own = says_scopes(&mut state, &tools, "", 1).own_scopes();
        assert_eq!((own.iter().count(), own.as_str().len()), (24, 24 * 31 - 1));
        let short: Vec<_> = (0..100).map(|number| tool(&format!("t{number}"), &format!("{number}"))).collect();
        assert_eq!(says_scopes(&mut state, &short, "", 1).own_scopes().iter().count(), MAX_OWN_SCOPES);
    }

    #[test]
    fn an_announcement_of_an_older_program_is_read_and_without_scopes_it_is_written_as_one() {
        let old = r#"{"tools_announced":{"resource":"urn:mcp:stdio:a","tools":[]}}"#;
        let change: Change = serde_json::from_str(old).unwrap();
        assert_eq!(serde_json::to_string(&change).unwrap(), old);
        let old = r#"{"resource":"urn:mcp:stdio:a","tools":[]}"#;
        let known: Announcement = serde_json::from_str(old).unwrap();
        assert_eq!((serde_json::to_string(&known).unwrap().as_str(), known.own_scopes()), (old, Scopes::default()));
    }

    #[test]
    fn tools_and_servers_are_bounded_and_a_change_can_be_taken_back() {
        let mut state = State::default();
        let many: Vec<_> = (0..300).map(|n| tool(&format!("t{n}"), "s")).collect();
        announced(&mut state, "a", &many, 1);
        assert_eq!(names(&state, "a").len(), MAX_TOOLS);
        assert!(state.announcement(&Resource::stdio("a").unwrap()).unwrap().says(
            &many,
            &Scopes::default(),
            Timestamp(1)
        ));
        for n in 0..MAX_SERVERS {
            announced(&mut state, &format!("s{n}"), &[tool("x", "s")], 2);
        }
        assert_eq!(state.announcements.len(), MAX_SERVERS);
        assert!(state.announcement(&Resource::stdio("a").unwrap()).is_none(), "the oldest made room");
        let before = state.clone();
        let mut undo = announced(&mut state, "new", &[tool("x", "s")], 3);
        state.revert(&mut undo);
        assert_eq!(state, before);
    }

    #[test]
    fn a_token_opens_the_tools_whose_scopes_it_has_all_of() {
        let resource = Resource::stdio("a").unwrap();
        let tools = [tool("open", ""), tool("one", "a"), tool("both", "a b"), tool("other", "c")];
        let known = Announcement { resource, tools: tools.map(|tool| (tool, Timestamp(1))).to_vec(), scopes: vec![] };
        let opened = |scopes: &str| {
            known.opened_by(&scopes.parse().unwrap()).map(|tool| tool.name.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(opened("a"), ["one"]);
        assert_eq!(opened("a b"), ["one", "both"]);
        assert_eq!(opened(""), Vec::<String>::new());
    }

    #[test]
    fn a_name_has_bounds() {
        assert!("a".repeat(128).parse::<ToolName>().is_ok() && "ä/b.c-d_e".parse::<ToolName>().is_ok());
        for bad in ["", &"a".repeat(129), "a\nb", "a\u{0}", "a\u{9b}"] {
            assert!(bad.parse::<ToolName>().is_err(), "{bad:?}");
        }
    }
}
