//! What a person makes of a consent: fewer scopes, fewer tools, a shorter time.

use std::collections::BTreeSet;

use shared::oauth::form::Parameters;
use shared::scope::{self, Scope, Scopes};
use shared::secret::TokenHash;
use shared::state::{Prints, Session, Terms, Tool, ToolName};
use shared::time::{Seconds, Timestamp};

use super::refusal::Refusal;

/// How long "one hour" is.
const HOUR: Seconds = Seconds(3600);

/// What the fields of the tick boxes begin with.
pub const SCOPE_FIELD: &str = "scope:";
/// What the fields of the tick boxes begin with.
pub const TOOL_FIELD: &str = "tool:";

/// For how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lasting {
    /// Until this browser signs out, or its login ends by itself.
    Session,
    /// One hour.
    Hour,
    /// Until somebody revokes it.
    UntilRevoked,
}

impl Lasting {
    fn parse(word: &str) -> Result<Self, Refusal> {
        match word {
            "session" => Ok(Self::Session),
            "hour" => Ok(Self::Hour),
            "revoked" => Ok(Self::UntilRevoked),
            _ => Err(Refusal::Malformed("lasting")),
        }
    }
}

/// What was ticked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Choice {
    lasting: Lasting,
    /// The scopes and tools that were ticked; `None` for everything that was shown.
    ticked: Option<(Scopes, BTreeSet<ToolName>)>,
}

/// What a page offers to choose from, whatever asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// What is asked for.
    pub scopes: &'a Scopes,
    /// The tools that the scopes open, as far as their server announced them.
    pub tools: &'a [Tool],
    /// What the tools were when the person last agreed to them, whichever app asked.
    pub agreed: &'a Prints,
}

impl<'a> Offer<'a> {
    /// The tools that have become others since the person agreed to them.
    pub fn changed(self) -> impl Iterator<Item = &'a Tool> {
        self.tools.iter().filter(move |tool| self.has_changed(tool))
    }

    /// Whether the person agreed to a tool when it was another (N15).
    pub fn has_changed(&self, tool: &Tool) -> bool {
        self.agreed.changed(tool)
    }
}

/// What is granted.
#[derive(Debug)]
pub struct Chosen {
    /// The scopes.
    pub scopes: Scopes,
    /// What else holds.
    pub terms: Terms,
    /// The login with which it ends.
    pub session: Option<TokenHash>,
}

impl Chosen {
    /// Everything that is asked for, until revoked: what goes without a page.
    pub(super) fn everything(scopes: &Scopes) -> Self {
        Self { scopes: scopes.clone(), terms: Terms::default(), session: None }
    }

    /// What else holds, as a grant keeps it: nothing, when nothing does.
    pub(super) fn kept_terms(&self) -> Option<Box<Terms>> {
        (self.terms != Terms::default()).then(|| Box::new(self.terms.clone()))
    }
}

impl Choice {
    /// Everything that was shown, until revoked.
    pub const EVERYTHING: Self = Self { lasting: Lasting::UntilRevoked, ticked: None };

    /// Reads the boxes. A browser always sends how long; a form without it is a program's, which left the boxes as
    /// they were.
    ///
    /// # Errors
    /// When a field is none of ours.
    pub fn read(form: &Parameters) -> Result<Self, Refusal> {
        let Some(lasting) = form.get("lasting") else { return Ok(Self::EVERYTHING) };
        let lasting = Lasting::parse(lasting)?;
        let boxes = |prefix| form.iter().filter_map(move |(name, _)| name.strip_prefix(prefix));
        let scopes = boxes(SCOPE_FIELD).map(str::parse::<Scope>).collect::<Result<_, _>>();
        let tools = boxes(TOOL_FIELD).map(str::parse::<ToolName>).collect::<Result<_, _>>();
        let scopes = scopes.map_err(|_| Refusal::Malformed("scope"))?;
        let tools = tools.map_err(|_| Refusal::Malformed("tool"))?;
        Ok(Self { lasting, ticked: Some((scopes, tools)) })
    }

    /// What follows from the boxes for what was asked. Nothing that was not shown can be ticked.
    ///
    /// # Errors
    /// [`Refusal::NothingChosen`] when nothing would be opened.
    pub fn apply(&self, asked: Offer<'_>, session: &Session, now: Timestamp) -> Result<Chosen, Refusal> {
        let (until, bound) = match self.lasting {
            Lasting::Session => (Some(session.expires), Some(session.hash)),
            Lasting::Hour => (Some(now + HOUR), None),
            Lasting::UntilRevoked => (None, None),
        };
        let (scopes, tools) = match &self.ticked {
            None => (asked.scopes.clone(), None),
            Some((scopes, tools)) => self.narrowed(asked, scopes, tools),
        };
        if !scopes.iter().any(|scope| scope.as_str() != scope::OFFLINE_ACCESS) {
            return Err(Refusal::NothingChosen);
        }
        let shown = shown(asked.tools, &scopes, tools.as_ref());
        Ok(Chosen { scopes, terms: Terms { tools, until, consent: None, shown }, session: bound })
    }

    fn narrowed(
        &self,
        asked: Offer<'_>,
        scopes: &Scopes,
        tools: &BTreeSet<ToolName>,
    ) -> (Scopes, Option<BTreeSet<ToolName>>) {
        let kept = |scope: &&Scope| match scope.as_str() {
            // It says how long, and is chosen with that.
            scope::OFFLINE_ACCESS => self.lasting == Lasting::UntilRevoked,
            _ => scopes.contains(scope.as_str()),
        };
        let scopes: Scopes = asked.scopes.iter().filter(kept).cloned().collect();
        let opened: Vec<_> = asked.tools.iter().filter(|tool| tool.scopes.within(&scopes)).collect();
        let chosen: BTreeSet<_> =
            opened.iter().map(|tool| &tool.name).filter(|name| tools.contains(*name)).cloned().collect();
        let all = chosen.len() == opened.len();
        (scopes, (!all).then_some(chosen))
    }
}

/// What the tools are that scopes and a choice of tools let in: a yes is to what they say of themselves now.
pub(super) fn shown(tools: &[Tool], scopes: &Scopes, only: Option<&BTreeSet<ToolName>>) -> Prints {
    let is_in = |tool: &&Tool| tool.scopes.within(scopes) && only.is_none_or(|only| only.contains(&tool.name));
    tools.iter().filter(is_in).filter_map(|tool| Some((tool.name.clone(), tool.print?))).collect()
}

/// Tools as one hash: a yes is to those that were shown, and to no others.
pub fn print_of(tools: &[Tool]) -> TokenHash {
    TokenHash::of(&serde_json::to_vec(tools).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use shared::oauth::form;
    use shared::state::{Announcement, Effect, Facts};

    use super::*;
    use crate::protocol::authorize::{self, Asked, AuthorizeRequest};
    use crate::protocol::sample::{CHALLENGE, NOW, client, policy, with_session};

    /// Nearly all that a tool says of itself here is its name.
    fn print(name: &str) -> TokenHash {
        TokenHash::of(name.as_bytes())
    }

    fn tool(name: &str, scopes: &str) -> (Tool, Timestamp) {
        let (print, name, scopes) = (print(name), name.parse().unwrap(), scopes.parse().unwrap());
        (Tool { name, title: String::new(), effect: Effect::Read, scopes, print: Some(print) }, NOW)
    }

    fn facts() -> Facts {
        let tools = vec![
            tool("look", "mcp:tools:read"),
            tool("find", "mcp:tools:read"),
            tool("run", "mcp:tools:execute"),
            tool("open", ""),
        ];
        let resource = policy().default_resource;
        Facts { tools: Some(Announcement { resource, tools, scopes: vec![] }), ..with_session() }
    }

    fn asked(facts: &Facts, scope: &str) -> Asked {
        let query = form::encode(&[
            ("response_type", "code"),
            ("client_id", client().id.as_str()),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("scope", scope),
        ]);
        authorize::check(&AuthorizeRequest::parse(&query).unwrap(), facts, &policy(), NOW).unwrap()
    }

    /// The scopes, the tools and the end of what these fields lead to, in words.
    fn outcome(fields: &[(&str, &str)]) -> Result<String, Refusal> {
        let facts = facts();
        let asked = asked(&facts, "mcp:tools:read mcp:tools:execute mcp:resources offline_access");
        let form = Parameters::parse(&form::encode(fields)).unwrap();
        let session = facts.session.clone().unwrap();
        let chosen = Choice::read(&form)?.apply(asked.offer(), &session, NOW)?;
        let tools = chosen.terms.tools.map(|tools| tools.into_iter().map(String::from).collect::<Vec<_>>().join(","));
        let until = chosen.terms.until.map_or("-".to_owned(), |until| (until - NOW).0.to_string());
        let bound = if chosen.session.is_some() { " session" } else { "" };
        Ok(format!("{} | {} | {until}{bound}", chosen.scopes, tools.as_deref().unwrap_or("all")))
    }

    #[track_caller]
    fn check(fields: &[(&str, &str)], expected: &str) {
        assert_eq!(outcome(fields).unwrap(), expected);
    }

    const READ: (&str, &str) = ("scope:mcp:tools:read", "on");
    const RUN: (&str, &str) = ("scope:mcp:tools:execute", "on");
    const LOOK: (&str, &str) = ("tool:look", "on");
    const FIND: (&str, &str) = ("tool:find", "on");

    #[test]
    fn ui_11_what_is_not_ticked_is_not_granted() {
        let until = ("lasting", "revoked");
        check(&[], "mcp:resources mcp:tools:execute mcp:tools:read offline_access | all | -");
        check(&[until, READ, LOOK, FIND], "mcp:tools:read offline_access | all | -");
        check(&[until, READ, LOOK], "mcp:tools:read offline_access | look | -");
        check(&[until, READ], "mcp:tools:read offline_access |  | -");
        check(&[until, READ, RUN, LOOK, FIND], "mcp:tools:execute mcp:tools:read offline_access | find,look | -");
        // A tool whose scope is not ticked, or that was not shown, is not opened by its own tick.
        check(&[until, READ, LOOK, FIND, ("tool:run", "on")], "mcp:tools:read offline_access | all | -");
        check(&[until, READ, LOOK, ("tool:hidden", "on")], "mcp:tools:read offline_access | look | -");
        check(&[until, READ, LOOK, FIND, ("scope:admin", "on")], "mcp:tools:read offline_access | all | -");
    }

    #[test]
    fn n15_a_grant_remembers_what_each_tool_was_that_it_lets_in() {
        let facts = facts();
        let asked = asked(&facts, "mcp:tools:read mcp:tools:execute");
        let shown = |fields: &[(&str, &str)]| {
            let form = Parameters::parse(&form::encode(fields)).unwrap();
            let chosen = Choice::read(&form).unwrap().apply(asked.offer(), facts.session.as_ref().unwrap(), NOW);
            let shown = chosen.unwrap().terms.shown;
            ["look", "find", "run", "open"].map(|name| shown.get(name).map(|known| *known == print(name)))
        };
        assert_eq!(shown(&[]), [Some(true), Some(true), Some(true), None]);
        assert_eq!(shown(&[("lasting", "hour"), READ, LOOK, FIND]), [Some(true), Some(true), None, None]);
        assert_eq!(shown(&[("lasting", "hour"), READ, RUN, LOOK]), [Some(true), None, None, None]);
    }

    #[test]
    fn n15_a_tool_has_changed_when_its_person_agreed_to_another() {
        let facts = facts();
        let mut asked = asked(&facts, "mcp:tools:read mcp:tools:execute");
        asked.agreed = [("look", "look"), ("find", "what find was")]
            .map(|(name, was)| (name.parse().unwrap(), TokenHash::of(was.as_bytes())))
            .into_iter()
            .collect();
        let changed = |asked: &Asked| -> Vec<String> {
            asked.offer().changed().map(|tool| tool.name.as_str().to_owned()).collect()
        };
        assert_eq!(changed(&asked), ["find"]);
        // Of a server that does not tell what its tools say of themselves, nothing is known.
        asked.tools.iter_mut().for_each(|tool| tool.print = None);
        assert!(changed(&asked).is_empty());
    }

    #[test]
    fn a_person_says_for_how_long() {
        check(&[("lasting", "hour"), READ, LOOK, FIND], "mcp:tools:read | all | 3600");
        check(&[("lasting", "session"), READ, LOOK, FIND], "mcp:tools:read | all | 1 session");
    }

    #[test]
    fn nothing_ticked_and_odd_fields_are_refused() {
        assert_eq!(outcome(&[("lasting", "revoked")]), Err(Refusal::NothingChosen));
        assert_eq!(outcome(&[("lasting", "revoked"), LOOK]), Err(Refusal::NothingChosen));
        assert_eq!(outcome(&[("lasting", "for ever")]), Err(Refusal::Malformed("lasting")));
        assert_eq!(outcome(&[("lasting", "hour"), ("scope:a b", "on")]), Err(Refusal::Malformed("scope")));
        assert_eq!(outcome(&[("lasting", "hour"), ("tool:a\u{1}", "on")]), Err(Refusal::Malformed("tool")));
    }
}
