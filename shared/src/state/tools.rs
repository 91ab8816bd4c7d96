//! Tools that servers announced: what a consent page shows behind a scope.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::apply::{Replaced, State, Undo, set};
use crate::scope::Scopes;
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
}

/// The most tools that are kept of one server: what a page of tick boxes can carry (contract C9: 200 parameters).
pub const MAX_TOOLS: usize = 128;

/// The most servers whose tools are kept; the one announced longest ago makes room.
pub const MAX_SERVERS: usize = 256;

/// How old an announcement is when the server repeats it.
const FRESH: Seconds = Seconds(3 * 86_400);

/// How long a tool that is announced no more is kept. Not at once: two servers may go by one name.
const KEPT: Seconds = Seconds(7 * 86_400);

impl Announcement {
    /// Whether a server with these tools has nothing to tell.
    pub fn says(&self, tools: &[Tool], now: Timestamp) -> bool {
        let known = |tool: &Tool| self.tools.iter().any(|(known, at)| known == tool && *at + FRESH > now);
        tools.iter().take(MAX_TOOLS).all(known)
    }

    /// The tools that a token with these scopes can call, and that need any.
    pub fn opened_by<'a>(&'a self, scopes: &'a Scopes) -> impl Iterator<Item = &'a Tool> {
        let opened = |tool: &&Tool| !tool.scopes.is_empty() && tool.scopes.within(scopes);
        self.tools.iter().map(|(tool, _)| tool).filter(opened)
    }
}

impl State {
    /// What the server of a resource has announced.
    pub fn announcement(&self, resource: &Resource) -> Option<&Announcement> {
        self.announcements.get(resource)
    }

    /// What is announced replaces what was known by the same names.
    pub(super) fn announce(&mut self, resource: Resource, mut tools: Vec<Tool>, at: Timestamp, undo: &mut Undo) {
        let mut names = BTreeSet::new();
        tools.retain(|tool| names.insert(tool.name.clone()));
        let before = self.announcements.get(&resource).map(|known| known.tools.clone()).unwrap_or_default();
        let others = before.into_iter().filter(|(tool, seen)| !names.contains(&tool.name) && *seen + KEPT > at);
        let tools = tools.into_iter().map(|tool| (tool, at)).chain(others).take(MAX_TOOLS).collect();
        if !self.announcements.contains_key(&resource) && self.announcements.len() >= MAX_SERVERS {
            let latest = |known: &Announcement| known.tools.iter().map(|(_, at)| *at).max();
            let oldest = self.announcements.values().min_by_key(|known| (latest(known), known.resource.to_string()));
            if let Some(oldest) = oldest.map(|known| known.resource.clone()) {
                set(&mut self.announcements, oldest, None, undo, Replaced::Announcement);
            }
        }
        let announced = Announcement { resource: resource.clone(), tools };
        set(&mut self.announcements, resource, Some(announced), undo, Replaced::Announcement);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Change;

    fn tool(name: &str, scopes: &str) -> Tool {
        let (name, scopes) = (name.parse().unwrap(), scopes.parse().unwrap());
        Tool { name, title: String::new(), effect: Effect::Read, scopes }
    }

    fn announced(state: &mut State, resource: &str, tools: &[Tool], at: u64) -> Undo {
        let resource = Resource::stdio(resource).unwrap();
        let change = Change::ToolsAnnounced { resource, tools: tools.to_vec() };
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
        let says = |tools: &[Tool], now| known.says(tools, Timestamp(now));
        assert!(says(&[tool("x", "s"), tool("y", "s")], 100) && says(&[tool("y", "s")], 100));
        assert!(!says(&[tool("x", "t")], 100) && !says(&[tool("z", "s")], 100));
        assert!(!says(&[Tool { effect: Effect::Destructive, ..tool("x", "s") }], 100));
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

    #[test]
    fn tools_and_servers_are_bounded_and_a_change_can_be_taken_back() {
        let mut state = State::default();
        let many: Vec<_> = (0..300).map(|n| tool(&format!("t{n}"), "s")).collect();
        announced(&mut state, "a", &many, 1);
        assert_eq!(names(&state, "a").len(), MAX_TOOLS);
        assert!(state.announcement(&Resource::stdio("a").unwrap()).unwrap().says(&many, Timestamp(1)));
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
        let known = Announcement { resource, tools: tools.map(|tool| (tool, Timestamp(1))).to_vec() };
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
