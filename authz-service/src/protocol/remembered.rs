//! Remembered consent (UI-16): whether a person need not be asked, because nothing is new.
//!
//! Off unless the operator wants it: whoever can open a URL in the person's browser gets what the client was given
//! before (RFC 8252 section 8.6). What is remembered is a grant that is in force, so to revoke it is to forget.

use shared::secret::TokenHash;
use shared::state::{Announcement, Facts, Grant, Session, Terms, Tool};
use shared::uri::{ExactRedirect, Parts};

use super::authorize::Asked;
use super::choice::{self, Chosen};
use super::cimd;

/// What a consent was to, as one hash: where the answer goes, everything that the client says of itself, and the tools
/// behind the scopes. When one of them is another, the person is asked again (N15).
pub fn print_of(asked: &Asked, tools: &[&Tool]) -> TokenHash {
    let everything = (place(asked.reply_to.redirect()), cimd::fingerprint(&asked.client), tools);
    TokenHash::of(&serde_json::to_vec(&everything).unwrap_or_default())
}

/// Where the answer goes; a program on this machine has another port each time.
fn place(redirect: &ExactRedirect) -> String {
    match Parts::of(redirect.as_str()) {
        Some(parts) if parts.scheme == "http" && parts.is_loopback() => {
            format!("http://{}{}", parts.host().unwrap_or_default(), parts.path)
        }
        _ => redirect.as_str().to_owned(),
    }
}

/// Notes on a consent what it was to. One that ends by itself is not remembered.
pub fn note(chosen: &mut Chosen, asked: &Asked) {
    if chosen.terms.until.is_none() {
        let tools: Vec<_> = asked.tools.iter().filter(|tool| tool.scopes.within(&chosen.scopes)).collect();
        chosen.terms.consent = Some(print_of(asked, &tools));
    }
}

/// What an earlier consent of the same person covers: the same as was chosen then, for no more than is asked now.
pub fn find(asked: &Asked, facts: &Facts, session: &Session) -> Option<Chosen> {
    let covers = |grant: &&Grant| {
        grant.user.as_ref() == Some(&session.user)
            && grant.client == asked.client.id
            && grant.resource == asked.resource
            && asked.scopes.within(&grant.scopes)
            && grant.terms.as_ref().and_then(|terms| terms.consent) == Some(print_now(asked, facts, grant))
    };
    let grant = facts.consents.iter().find(covers)?;
    let tools = grant.terms.as_ref().and_then(|terms| terms.tools.clone());
    let shown = choice::shown(&asked.tools, &asked.scopes, tools.as_ref());
    let terms = Terms { tools, shown, ..Terms::default() };
    let mut chosen = Chosen { scopes: asked.scopes.clone(), terms, session: None };
    note(&mut chosen, asked);
    Some(chosen)
}

/// What a consent to the scopes of `grant` would be to now.
fn print_now(asked: &Asked, facts: &Facts, grant: &Grant) -> TokenHash {
    let tools: Vec<_> = facts
        .tools
        .iter()
        .filter(|known| known.resource == asked.resource)
        .flat_map(|known: &Announcement| known.opened_by(&grant.scopes))
        .collect();
    print_of(asked, &tools)
}

#[cfg(test)]
mod tests {
    use shared::oauth::form;
    use shared::state::{Effect, GrantStage};
    use shared::time::Timestamp;

    use super::*;
    use crate::protocol::authorize::{self, AuthorizeRequest, Step};
    use crate::protocol::choice::Choice;
    use crate::protocol::policy::Policy;
    use crate::protocol::sample::{CHALLENGE, NOW, client, fresh_code, grant, policy, with_session};

    const READ: &str = "mcp:tools:read";

    fn remembering() -> Policy {
        Policy { remember_consent: true, ..policy() }
    }

    fn tool(name: &str, effect: Effect) -> (Tool, Timestamp) {
        let (name, scopes) = (name.parse().unwrap(), READ.parse().unwrap());
        (Tool { name, title: String::new(), effect, scopes, print: None }, NOW)
    }

    fn request(more: &[(&str, &str)]) -> AuthorizeRequest {
        let id = client().id.to_string();
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", id.as_str()),
            ("redirect_uri", "http://127.0.0.1:49152/cb"),
            ("scope", READ),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        parameters.retain(|(name, _)| !more.iter().any(|(other, _)| name == other));
        parameters.extend(more);
        AuthorizeRequest::parse(&form::encode(&parameters)).unwrap()
    }

    /// The facts after a consent to reading and running.
    fn consented() -> Facts {
        let mut facts = with_session();
        let tools = vec![tool("look", Effect::Read)];
        facts.tools = Some(Announcement { resource: policy().default_resource, tools, scopes: vec![] });
        let all = request(&[("scope", "mcp:tools:read mcp:tools:execute")]);
        let asked = authorize::check(&all, &facts, &remembering(), NOW).unwrap();
        let mut chosen = Choice::EVERYTHING.apply(asked.offer(), facts.session.as_ref().unwrap(), NOW).unwrap();
        note(&mut chosen, &asked);
        let terms = Some(Box::new(chosen.terms));
        facts.consents = vec![Grant { stage: GrantStage::Live, scopes: chosen.scopes, terms, ..grant() }];
        facts
    }

    #[track_caller]
    fn check(by_the_person: bool, more: &[(&str, &str)], change: impl FnOnce(&mut Facts), asked: bool) {
        let mut facts = consented();
        change(&mut facts);
        let request = request(more).opened_by_the_person(by_the_person);
        let verdict = authorize::decide(&request, &facts, &remembering(), &fresh_code(), NOW);
        match verdict.reply.unwrap() {
            Step::Answer(_) => assert!(!asked && verdict.changes.len() == 1),
            step => assert!(asked && verdict.changes.is_empty(), "{step:?}"),
        }
    }

    #[test]
    fn ui_16_only_what_is_the_same_or_less_goes_without_asking() {
        check(true, &[], |_| {}, false);
        check(true, &[("redirect_uri", "http://127.0.0.1:50000/cb")], |_| {}, false);
        check(true, &[("scope", "mcp:tools:read mcp:tools:execute")], |_| {}, false);
        check(false, &[], |_| {}, true);
        check(true, &[("prompt", "consent")], |_| {}, true);
        check(true, &[("prompt", "select_account")], |_| {}, true);
        check(true, &[("scope", "mcp:tools:read mcp:resources")], |_| {}, true);
        check(true, &[("scope", "mcp:tools:read offline_access")], |_| {}, true);
        check(true, &[("resource", "urn:mcp:stdio:other")], |_| {}, true);
        check(true, &[], |facts| facts.consents.clear(), true);
        check(true, &[], |facts| facts.consents[0].user = Some("bob".parse().unwrap()), true);
        check(true, &[], |facts| facts.consents[0].terms = None, true);
    }

    #[test]
    fn n15_a_changed_client_or_tool_asks_again() {
        check(true, &[], |facts| facts.client.as_mut().unwrap().name = Some("Other".into()), true);
        check(true, &[], |facts| facts.client.as_mut().unwrap().client_uri = Some("https://x.example".into()), true);
        let more = |facts: &mut Facts| {
            let uris = ["http://127.0.0.1/cb", "https://evil.example/cb"];
            facts.client.as_mut().unwrap().redirect_uris =
                uris.into_iter().map(|uri| shared::uri::RedirectUri::register(uri, &[]).unwrap()).collect();
        };
        check(true, &[], more, true);
        let announced = |facts: &mut Facts, tools| facts.tools.as_mut().unwrap().tools = tools;
        check(true, &[], |facts| announced(facts, vec![tool("look", Effect::Destructive)]), true);
        let reworded = || {
            let (tool, at) = tool("look", Effect::Read);
            vec![(Tool { print: Some(TokenHash::of(b"Looks, and tells mallory.")), ..tool }, at)]
        };
        check(true, &[], |facts| announced(facts, reworded()), true);
        let both = || vec![tool("look", Effect::Read), tool("new", Effect::Read)];
        check(true, &[], |facts| announced(facts, both()), true);
        // A new name for an old face, or another time, is no change.
        check(true, &[], |facts| facts.client.as_mut().unwrap().approved_at = Some(NOW), false);
        check(true, &[], |facts| facts.tools.as_mut().unwrap().tools[0].1 = Timestamp(1), false);
    }

    #[test]
    fn ui_16_nothing_is_remembered_unless_the_operator_wants_it() {
        let request = request(&[]).opened_by_the_person(true);
        let verdict = authorize::decide(&request, &consented(), &policy(), &fresh_code(), NOW);
        assert!(matches!(verdict.reply, Ok(Step::Consent(..))));
        assert!(!request.wants(None, &policy()).consents && request.wants(None, &remembering()).consents);
    }

    #[test]
    fn what_was_left_out_stays_out() {
        let mut facts = consented();
        let only = Some(["look".parse().unwrap()].into_iter().collect());
        facts.consents[0].terms.as_mut().unwrap().tools = only.clone();
        let asked = authorize::check(&request(&[]), &facts, &remembering(), NOW).unwrap();
        let chosen = find(&asked, &facts, facts.session.as_ref().unwrap()).unwrap();
        assert_eq!((chosen.terms.tools, chosen.scopes.to_string().as_str()), (only, READ));
    }
}
