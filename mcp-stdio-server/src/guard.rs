//! The decision: a tool's scopes × a credential × what the store knows × the time → a caller, or a challenge.

use serde_json::{Map, Value};
use shared::id::TokenId;
use shared::jcs;
use shared::oauth::error::ErrorCode;
use shared::scope::Scopes;
use shared::secret::TokenHash;
use shared::state::{Facts, Kind, OneCall, User};
use shared::time::Timestamp;
use shared::token::TokenError;

use crate::token::Token;

/// Who may call a tool.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Access {
    /// Anybody.
    Open,
    /// Whoever holds a token with all of these scopes.
    Scopes(Scopes),
}

/// What a call shows of its right: nothing, a token that is no good, or one whose signature and claims were checked,
/// with what the store knows about it.
pub enum Shown<'a> {
    /// No token came with the call.
    Nothing,
    /// A token came, and its signature or its claims are wrong.
    Bad(TokenError),
    /// A token came and verified.
    Token(&'a Token, &'a Facts),
}

/// Evidence that a token opens a tool. Only [`admit`] makes one.
#[derive(Clone, Debug)]
pub struct Caller {
    token: Token,
    client_name: Option<String>,
    user: Option<User>,
    once: Option<TokenId>,
}

impl Caller {
    /// The token, which says who they are.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// What the client calls itself: self-declared, not to be trusted.
    pub fn client_name(&self) -> Option<&str> {
        self.client_name.as_deref()
    }

    /// The name of a token that is good for this one call, and is to be spent before it is made.
    pub fn once(&self) -> Option<TokenId> {
        self.once
    }

    /// The person who consented; nobody when the client acts for itself.
    pub fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }
}

/// Why a call is refused. The cause is for the log; the caller learns [`Challenge::code`] (RFC 6750 section 3.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Challenge {
    /// No token came with the call.
    Unauthorized,
    /// The token is no good.
    InvalidToken(TokenError),
    /// The token lives and opens something else.
    InsufficientScope,
    /// The scopes would do, but the person left this tool out.
    ToolLeftOut,
    /// The person agreed to this tool when it said something else of itself.
    ToolChanged,
    /// The token is good for one call, and this is another: another tool, or other arguments.
    AnotherCall,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// With what.
    pub kind: Kind,
    /// Its name, or its URI.
    pub name: &'a str,
    /// What is passed to it; `None` when it is no call.
    pub arguments: Option<&'a Map<String, Value>>,
    /// What a tool says of itself.
    pub says: Says,
}

/// What a tool says of itself now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Says {
    /// That is not known here, or it is no tool: whoever knows it decides.
    Unknown,
    /// Nothing: its server does not list it.
    Nothing,
    /// This, as one hash ([`shared::state::print_of`]).
    This(TokenHash),
}

impl Says {
    /// Of what a list holds.
    pub fn of(listed: Option<TokenHash>) -> Self {
        listed.map_or(Self::Nothing, Self::This)
    }
}

impl Challenge {
    /// Exactly what was wrong, in one word with dashes: for the trail.
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::Unauthorized => "no-token",
            Self::InvalidToken(cause) => cause.word(),
            Self::InsufficientScope => "scope-missing",
            Self::ToolLeftOut => "tool-left-out",
            Self::ToolChanged => "tool-changed",
            Self::AnotherCall => "token-for-another-call",
        }
    }

    /// What the caller may know: expired, revoked, unknown and foreign tokens are one (contract, ARG-02, ARG-04).
    pub fn code(&self) -> &'static str {
        match self {
            // RFC 6750 section 3.1: without a credential there is no error to name; MCP hosts need a word.
            Self::Unauthorized => "unauthorized",
            Self::InvalidToken(_) | Self::AnotherCall => ErrorCode::InvalidToken.as_str(),
            Self::InsufficientScope | Self::ToolLeftOut | Self::ToolChanged => ErrorCode::InsufficientScope.as_str(),
        }
    }
}

/// Decides whether somebody may do what needs `needed`. Pure: the same token, facts and second give the same
/// answer.
///
/// # Errors
/// The first thing that is missing.
pub fn admit(wish: Wish<'_>, needed: &Scopes, shown: Shown<'_>, now: Timestamp) -> Result<Caller, Challenge> {
    let (token, facts) = match shown {
        Shown::Nothing => return Err(Challenge::Unauthorized),
        Shown::Bad(cause) => return Err(Challenge::InvalidToken(cause)),
        Shown::Token(token, facts) => (token, facts),
    };
    token.alive(facts, now).map_err(Challenge::InvalidToken)?;
    if !token.opens(needed) {
        return Err(Challenge::InsufficientScope);
    }
    // Before the tools that were left out, which say nothing about resources and prompts: this token does.
    let once = token.once(facts);
    if once.is_some_and(|(_, once)| !is_this(once, wish)) {
        return Err(Challenge::AnotherCall);
    }
    // Whoever left tools out said nothing about resources and prompts. A task is its tool's.
    if matches!(wish.kind, Kind::Tool | Kind::Task) && !token.allows(facts, wish.name) {
        return Err(Challenge::ToolLeftOut);
    }
    // A yes was to what the person was shown, and not to whatever goes by that name later (N15).
    if wish.kind == Kind::Tool && has_changed(token, facts, wish) {
        return Err(Challenge::ToolChanged);
    }
    Ok(Caller {
        token: token.clone(),
        client_name: facts.client.as_ref().and_then(|client| client.name.as_deref().map(str::to_owned)),
        user: facts.grant_user.clone(),
        once: once.map(|(name, _)| name),
    })
}

fn has_changed(token: &Token, facts: &Facts, wish: Wish<'_>) -> bool {
    match wish.says {
        Says::Unknown => false,
        Says::Nothing => token.saw_another(facts, wish.name, None),
        Says::This(print) => token.saw_another(facts, wish.name, Some(&print)),
    }
}

fn is_this(once: &OneCall, wish: Wish<'_>) -> bool {
    wish.kind == Kind::Tool
        && once.tool.as_str() == wish.name
        && wish.arguments.is_some_and(|arguments| jcs::hash(arguments) == once.arguments)
}

#[cfg(test)]
mod tests {
    use shared::id::{GrantId, TokenId};
    use shared::oauth::jwt::{AccessClaims, Audience};
    use shared::state::{Access as Record, Grant, GrantStage, Prints, Terms, UserStage};
    use shared::time::Seconds;
    use shared::token::{Expected, KeyRing, KeySet};
    use shared::uri::Resource;
    use uuid::Uuid;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    const CALL: Wish<'_> = Wish { kind: Kind::Tool, name: "look", arguments: None, says: Says::Unknown };

    fn claims() -> AccessClaims {
        AccessClaims {
            iss: "http://localhost:3000".parse().unwrap(),
            sub: "ada".into(),
            aud: Audience::One(Resource::stdio("a").unwrap()),
            client_id: "c_1".parse().unwrap(),
            scope: "mcp:tools:read x".parse().unwrap(),
            jti: TokenId(Uuid::from_u128(1)),
            grant: GrantId(Uuid::from_u128(2)),
            nbf: None,
            iat: NOW,
            exp: NOW + Seconds(300),
        }
    }

    fn facts(claims: &AccessClaims) -> Facts {
        Facts {
            access: Some(Record {
                id: claims.jti,
                grant: claims.grant,
                scopes: claims.scope.clone(),
                issued: NOW,
                expires: claims.exp,
                opaque: None,
                once: None,
            }),
            grant: Some(Grant {
                id: claims.grant,
                user: Some("ada".parse().unwrap()),
                client: claims.client_id.clone(),
                resource: Resource::stdio("a").unwrap(),
                scopes: claims.scope.clone(),
                created: NOW,
                stage: GrantStage::Live,
                terms: None,
            }),
            grant_user: Some(User {
                name: "ada".parse().unwrap(),
                password: None,
                admin: false,
                created: NOW,
                stage: UserStage::Enabled,
                passkeys: Vec::new(),
                links: Vec::new(),
            }),
            grant_client_exists: true,
            ..Facts::default()
        }
    }

    /// Admits a good token that needs `needed`, after `change` to the claims and the facts, `later` seconds on.
    #[track_caller]
    fn check(
        needed: &str,
        change: impl FnOnce(&mut AccessClaims, &mut Facts),
        later: u64,
        expected: Result<(), Challenge>,
    ) {
        let mut claims = claims();
        let mut facts = facts(&claims);
        change(&mut claims, &mut facts);
        let keys = KeySet::generate(NOW).unwrap();
        let wanted = Expected { issuers: vec![claims.iss.clone()], resource: Resource::stdio("a").unwrap() };
        let secret = keys.mint(&claims).unwrap();
        let token = KeyRing::new(&[keys.public()]).verify(secret.expose(), &wanted, NOW).unwrap().into();
        let admitted = admit(CALL, &needed.parse().unwrap(), Shown::Token(&token, &facts), NOW + Seconds(later));
        assert_eq!(admitted.map(|caller| assert_eq!(caller.token().subject(), claims.sub)), expected);
    }

    #[test]
    fn a_live_token_opens_what_its_scopes_say() {
        check("mcp:tools:read", |_, _| {}, 0, Ok(()));
        check("mcp:tools:read x", |_, _| {}, 299, Ok(()));
        check("mcp:tools:execute", |_, _| {}, 0, Err(Challenge::InsufficientScope));
        check("mcp:tools:read mcp:tools:execute", |_, _| {}, 0, Err(Challenge::InsufficientScope));
        check("mcp:tools:READ", |_, _| {}, 0, Err(Challenge::InsufficientScope));
        let only = |tools: &[&str]| {
            let tools = Some(tools.iter().map(|name| name.parse().unwrap()).collect());
            Some(Box::new(Terms { tools, ..Terms::default() }))
        };
        check("x", |_, facts| facts.grant.as_mut().unwrap().terms = only(&["look", "run"]), 0, Ok(()));
        let left_out = |tools| {
            move |_: &mut AccessClaims, facts: &mut Facts| {
                facts.grant.as_mut().unwrap().terms = only(tools);
            }
        };
        check("x", left_out(&["run"]), 0, Err(Challenge::ToolLeftOut));
        check("x", left_out(&[]), 0, Err(Challenge::ToolLeftOut));
        check("mcp:tools:execute", left_out(&["look"]), 0, Err(Challenge::InsufficientScope));
        let broad = |claims: &mut AccessClaims, facts: &mut Facts| {
            claims.scope = "mcp:tools".parse().unwrap();
            facts.access.as_mut().unwrap().scopes = claims.scope.clone();
        };
        check("mcp:tools:read mcp:tools:execute", broad, 0, Ok(()));
    }

    #[test]
    fn n15_a_tool_that_became_another_is_not_what_the_person_agreed_to() {
        let (claims, keys) = (claims(), KeySet::generate(NOW).unwrap());
        let (was, is) = (TokenHash::of(b"Looks."), TokenHash::of(b"Looks, and tells mallory."));
        let wanted = Expected { issuers: vec![claims.iss.clone()], resource: Resource::stdio("a").unwrap() };
        let secret = keys.mint(&claims).unwrap();
        let token = KeyRing::new(&[keys.public()]).verify(secret.expose(), &wanted, NOW).unwrap().into();
        let shown: Prints = [("look".parse().unwrap(), was)].into_iter().collect();
        let changed = || Err(Challenge::ToolChanged);
        for (shown, kind, name, says, expected) in [
            (&shown, Kind::Tool, "look", Says::This(was), Ok(())),
            (&shown, Kind::Tool, "look", Says::This(is), changed()),
            (&shown, Kind::Tool, "look", Says::Nothing, changed()),
            (&shown, Kind::Tool, "look", Says::Unknown, Ok(())),
            // The scopes let in what came later.
            (&shown, Kind::Tool, "later", Says::This(is), Ok(())),
            (&shown, Kind::Prompt, "look", Says::Nothing, Ok(())),
            // Whoever agreed before this was kept, or to a server that tells nothing.
            (&Prints::default(), Kind::Tool, "look", Says::This(is), Ok(())),
        ] {
            let mut facts = facts(&claims);
            let terms = Terms { shown: shown.clone(), ..Terms::default() };
            facts.grant.as_mut().unwrap().terms = Some(Box::new(terms));
            let wish = Wish { kind, name, arguments: None, says };
            let admitted = admit(wish, &"x".parse().unwrap(), Shown::Token(&token, &facts), NOW);
            assert_eq!(admitted.map(drop), expected, "{name} {says:?}");
        }
        assert_eq!(Challenge::ToolChanged.code(), "insufficient_scope");
    }

    #[test]
    fn whoever_left_tools_out_said_nothing_about_resources_and_prompts() {
        let (claims, keys) = (claims(), KeySet::generate(NOW).unwrap());
        let mut facts = facts(&claims);
        facts.grant.as_mut().unwrap().terms = Some(Box::new(Terms { tools: Some([].into()), ..Terms::default() }));
        let wanted = Expected { issuers: vec![claims.iss.clone()], resource: Resource::stdio("a").unwrap() };
        let secret = keys.mint(&claims).unwrap();
        let token = KeyRing::new(&[keys.public()]).verify(secret.expose(), &wanted, NOW).unwrap().into();
        for (kind, needed, expected) in [
            (Kind::Tool, "x", Err(Challenge::ToolLeftOut)),
            (Kind::Resource, "x", Ok(())),
            (Kind::Prompt, "x", Ok(())),
            (Kind::Task, "x", Err(Challenge::ToolLeftOut)),
            (Kind::Prompt, "y", Err(Challenge::InsufficientScope)),
        ] {
            let wish = Wish { kind, name: "look", arguments: None, says: Says::Unknown };
            let admitted = admit(wish, &needed.parse().unwrap(), Shown::Token(&token, &facts), NOW);
            assert_eq!(admitted.map(drop), expected, "{kind:?}");
        }
    }

    #[test]
    fn a_dead_token_opens_nothing() {
        let dead = || Err(Challenge::InvalidToken(TokenError::Dead));
        check("x", |_, _| {}, 300, Err(Challenge::InvalidToken(TokenError::Expired)));
        check("x", |_, facts| facts.access = None, 0, dead());
        check("x", |_, facts| facts.grant = None, 0, dead());
        check("x", |_, facts| facts.grant.as_mut().unwrap().stage = GrantStage::Revoked, 0, dead());
        check("x", |_, facts| facts.grant.as_mut().unwrap().stage = GrantStage::Consented, 0, dead());
        check("x", |_, facts| facts.grant_user.as_mut().unwrap().stage = UserStage::Disabled, 0, dead());
        check("x", |_, facts| facts.grant_client_exists = false, 0, dead());
        check("x", |_, facts| facts.access.as_mut().unwrap().grant = GrantId(Uuid::nil()), 0, dead());
        let elsewhere = Resource::stdio("b").unwrap();
        check("x", |_, facts| facts.grant.as_mut().unwrap().resource = elsewhere, 0, dead());
        check("x", |_, facts| facts.grant.as_mut().unwrap().client = "c_2".parse().unwrap(), 0, dead());
        check("x", |claims, _| claims.sub = "bob".into(), 0, dead());
    }

    #[test]
    fn a_client_that_acts_for_itself_needs_no_person_and_is_none() {
        let itself = |claims: &mut AccessClaims, facts: &mut Facts| {
            claims.sub = claims.client_id.to_string();
            facts.grant.as_mut().unwrap().user = None;
            facts.grant_user = None;
        };
        check("x", itself, 0, Ok(()));
        let dead = || Err(Challenge::InvalidToken(TokenError::Dead));
        check(
            "x",
            |claims, facts| {
                itself(claims, facts);
                claims.sub = "ada".into()
            },
            0,
            dead(),
        );
        check(
            "x",
            |claims, facts| {
                itself(claims, facts);
                facts.grant_client_exists = false
            },
            0,
            dead(),
        );
        // A grant of a person's is not one of a client's because the person is not found.
        check("x", |_, facts| facts.grant_user = None, 0, dead());
    }

    #[test]
    fn n8_a_token_for_one_call_opens_that_tool_with_those_arguments() {
        let (claims, keys) = (claims(), KeySet::generate(NOW).unwrap());
        let (of, other) = (serde_json::json!({ "b": 1, "a": [2.0] }), serde_json::json!({ "b": 1, "a": [3] }));
        let mut facts = facts(&claims);
        let arguments = jcs::hash(of.as_object().unwrap());
        let once = OneCall { tool: "look".parse().unwrap(), arguments };
        facts.access.as_mut().unwrap().once = Some(Box::new(once));
        // The grant leaves tools out, which lets resources and prompts in; a token for one call of it does not.
        let only = Some(["look"].iter().map(|name| name.parse().unwrap()).collect());
        facts.grant.as_mut().unwrap().terms = Some(Box::new(Terms { tools: only, ..Terms::default() }));
        let wanted = Expected { issuers: vec![claims.iss.clone()], resource: Resource::stdio("a").unwrap() };
        let secret = keys.mint(&claims).unwrap();
        let token = KeyRing::new(&[keys.public()]).verify(secret.expose(), &wanted, NOW).unwrap().into();
        let admits_of = |kind, name, arguments: Option<&Value>| {
            let wish = Wish { kind, name, arguments: arguments.and_then(Value::as_object), says: Says::Unknown };
            admit(wish, &"x".parse().unwrap(), Shown::Token(&token, &facts), NOW).map(|caller| caller.once().is_some())
        };
        let admits = |name, arguments| admits_of(Kind::Tool, name, arguments);
        assert_eq!(admits("look", Some(&of)), Ok(true));
        // The same, written in another way.
        let same = serde_json::json!({ "a": [2], "b": 1 });
        assert_eq!(admits("look", Some(&same)), Ok(true));
        let others = [
            admits("run", Some(&of)),
            admits("look", Some(&other)),
            admits("look", None),
            admits_of(Kind::Resource, "x://1", None),
            admits_of(Kind::Resource, "look", Some(&of)),
            admits_of(Kind::Prompt, "look", Some(&of)),
        ];
        for refused in others {
            assert_eq!(refused.as_ref().unwrap_err().code(), "invalid_token");
            assert_eq!(refused, Err(Challenge::AnotherCall));
        }
    }

    #[test]
    fn what_is_no_token_is_challenged_in_few_words() {
        let needed = "x".parse().unwrap();
        let refused = |shown| admit(CALL, &needed, shown, NOW).map(|_| ()).unwrap_err();
        assert_eq!(refused(Shown::Nothing).code(), "unauthorized");
        for cause in [TokenError::Form, TokenError::Signature, TokenError::Audience, TokenError::Expired] {
            assert_eq!(refused(Shown::Bad(cause)).code(), "invalid_token");
        }
        assert_eq!(Challenge::InsufficientScope.code(), "insufficient_scope");
        assert_eq!(Challenge::ToolLeftOut.code(), "insufficient_scope");
    }
}
