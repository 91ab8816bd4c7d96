//! Pushed authorization requests (RFC 9126): the request goes to us directly, checked and authenticated, and the browser
//! carries only its name.

use shared::id::ClientId;
use shared::oauth::form::{self, BadForm, MAX_PARAMETERS, Parameters};
use shared::secret::{Secret, TokenHash};
use shared::state::{Change, Facts, Pushed, Wanted};
use shared::time::Timestamp;

use super::Verdict;
use super::authorize::{self, AuthorizeRequest};
use super::bounds::Bounds;
use super::client_auth::Presented;
use super::policy::{MAX_PUSHED, PUSHED_LIFETIME, Policy};
use super::refusal::Refusal;
use super::token::BodyForm;

/// What a name of ours begins with (RFC 9126 section 2.2).
const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

/// The name of a pushed request.
pub fn request_uri(handle: &Secret) -> String {
    format!("{PREFIX}{}", handle.expose())
}

/// What the store knows a name by; `None` when it is no name of ours.
pub(super) fn named(request_uri: &str) -> Option<TokenHash> {
    let handle = request_uri.strip_prefix(PREFIX)?;
    (handle.len() == 43).then(|| TokenHash::of(handle.as_bytes()))
}

/// A request to be kept, read but not believed.
#[derive(Debug)]
pub struct PushRequest {
    /// Who says to be asking.
    pub client: Presented,
    /// The request as the browser would have carried it.
    query: String,
    request: AuthorizeRequest,
}

impl PushRequest {
    /// Reads a form: the parameters of an authorization request, and what authenticates the client, which is not kept.
    ///
    /// # Errors
    /// When it is no form, names no client, or names a pushed request itself (RFC 9126 section 2.1).
    pub fn parse(
        authorization: Option<&[u8]>,
        form: Option<BodyForm>,
        body: &[u8],
        bounds: &Bounds,
    ) -> Result<Self, Refusal> {
        let text = match form {
            Some(BodyForm::Form) => std::str::from_utf8(body).map_err(|_| Refusal::Form(BadForm::NotUtf8))?,
            _ => return Err(Refusal::Body("Content-Type must be application/x-www-form-urlencoded".into())),
        };
        let (resources, rest) = split(text.trim_end_matches(['\r', '\n']))?;
        let mut parameters = Parameters::parse(&rest)?;
        bounds.check_parameters(&parameters, resources.len())?;
        let client = Presented::read(authorization, &mut parameters)?;
        if parameters.get("request_uri").is_some() {
            return Err(Refusal::Malformed("request_uri"));
        }
        let mut kept = vec![("client_id", client.name())];
        kept.extend(parameters.iter());
        kept.extend(resources.iter().map(|resource| ("resource", resource.as_str())));
        let query = form::encode(&kept);
        if query.len() > MAX_PUSHED {
            return Err(Refusal::Body("the request is longer than 8 KiB".into()));
        }
        let request = AuthorizeRequest::parse(&query)?;
        Ok(Self { client, query, request })
    }

    /// The records to decide on.
    pub fn wants(&self, policy: &Policy) -> Wanted {
        Wanted { tools_of: self.request.wants(None, policy).tools_of, ..self.client.wants() }
    }
}

/// Sets the one parameter apart that may stand more than once (RFC 8707 section 2).
fn split(text: &str) -> Result<(Vec<String>, String), Refusal> {
    let (mut resources, mut rest) = (Vec::new(), Vec::new());
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if form::decode(name)? == "resource" { resources.push(form::decode(value)?) } else { rest.push(pair) }
    }
    if resources.len() + rest.len() > MAX_PARAMETERS {
        return Err(Refusal::Form(BadForm::TooMany));
    }
    Ok((resources, rest.join("&")))
}

/// Decides on a request: it is kept, for a short while, when an authorization endpoint would show it to a person.
pub fn decide(
    push: &PushRequest,
    facts: &Facts,
    policy: &Policy,
    handle: &Secret,
    now: Timestamp,
) -> Verdict<ClientId> {
    let client = match push.client.authenticate(facts, &policy.issuer, now) {
        Ok(client) => client,
        Err(refusal) => return Verdict::unchanged(Err(refusal)),
    };
    let id = client.record().id.clone();
    let verdict = match authorize::check_parameters(&push.request, facts, policy, now) {
        Ok(asked) => {
            let (hash, query, resource) = (handle.hash(), push.query.clone(), Some(asked.resource));
            let expires = now + PUSHED_LIFETIME;
            let pushed = Pushed { hash, client: id.clone(), query, resource, expires, opened: false };
            Verdict { changes: vec![Change::RequestPushed(pushed)], reply: Ok(id) }
        }
        Err(refused) => Verdict::unchanged(Err(refused.into_cause())),
    };
    verdict.after(client.spent())
}

#[cfg(test)]
mod tests {
    use shared::oauth::register::AuthMethod;
    use shared::state::ClientSecret;

    use super::*;
    use crate::protocol::sample::{CHALLENGE, NOW, client, facts, policy};

    fn push(body: &str, change: impl FnOnce(&mut Facts)) -> Result<Pushed, Refusal> {
        let body = body.replace("ID", client().id.as_str()).replace("CH", CHALLENGE);
        let request = PushRequest::parse(None, Some(BodyForm::Form), body.as_bytes(), &Bounds::default())?;
        let mut facts = facts();
        change(&mut facts);
        let verdict = decide(&request, &facts, &policy(), &Secret::new("handle".into()), NOW);
        if let Err(refusal) = verdict.reply {
            assert!(verdict.changes.is_empty());
            return Err(refusal);
        }
        let [Change::RequestPushed(pushed)] = &verdict.changes[..] else { panic!() };
        Ok(pushed.clone())
    }

    const GOOD: &str = "client_id=ID&response_type=code&code_challenge=CH&code_challenge_method=S256&state=a+b";

    #[test]
    fn a_good_request_is_kept_without_what_authenticated_the_client() {
        let pushed = push(GOOD, |_| {}).unwrap();
        assert_eq!((pushed.hash, pushed.expires), (Secret::new("handle".into()).hash(), NOW + PUSHED_LIFETIME));
        assert_eq!(pushed.client, client().id);
        let kept = Parameters::parse(&pushed.query).unwrap();
        assert_eq!((kept.get("state"), kept.get("client_id")), (Some("a b"), Some(client().id.as_str())));
        let confidential = |facts: &mut Facts| {
            let client = facts.client.as_mut().unwrap();
            client.auth_method = Some(AuthMethod::ClientSecretPost);
            client.secret = Some(Box::new(ClientSecret { hash: Secret::new("hunter2".into()).hash(), expires: None }));
        };
        let pushed = push(&format!("{GOOD}&client_secret=hunter2"), confidential).unwrap();
        assert!(!pushed.query.contains("hunter2") && !pushed.query.contains("client_secret"));
        assert!(matches!(push(GOOD, confidential).unwrap_err(), Refusal::Client { .. }));
    }

    #[test]
    fn what_no_person_would_be_shown_is_refused_at_once() {
        let with = |more: &str| push(&format!("{GOOD}{more}"), |_| {}).map(|_| ()).unwrap_err();
        assert_eq!(with("&redirect_uri=https://evil.example/"), Refusal::RedirectUnregistered);
        assert_eq!(with("&scope=nothing"), Refusal::UnknownScope);
        assert!(matches!(with("&resource=https://other.example"), Refusal::Target(_)));
        assert!(matches!(with("&resource=urn:mcp:stdio:a&resource=urn:mcp:stdio:b"), Refusal::Target(_)));
        assert_eq!(with("&request_uri=urn:x"), Refusal::Malformed("request_uri"));
        assert!(matches!(with("&state=again"), Refusal::Form(BadForm::Repeated(_))));
        assert!(matches!(with(&format!("&x={}", "y".repeat(9000))), Refusal::Body(_)));
        assert!(matches!(with(&"&resource=a".repeat(200)), Refusal::Body(_)));
        assert!(matches!(with(&"&resource=a".repeat(MAX_PARAMETERS)), Refusal::Form(BadForm::TooMany)));
        assert!(push(&format!("{GOOD}&resource=urn:mcp:stdio:a&resource=URN:mcp:stdio:a"), |_| {}).is_ok());
        let missing = push("client_id=ID&response_type=code", |_| {}).unwrap_err();
        assert!(matches!(missing, Refusal::Challenge(_)));
        assert!(PushRequest::parse(None, Some(BodyForm::Json), b"{}", &Bounds::default()).is_err());
        assert!(PushRequest::parse(None, Some(BodyForm::Form), b"client_id=\xff", &Bounds::default()).is_err());
    }

    #[test]
    fn a_name_is_ours_in_form_or_no_name() {
        let handle = Secret::random();
        assert_eq!(named(&request_uri(&handle)), Some(handle.hash()));
        for other in
            ["", "urn:ietf:params:oauth:request_uri:", "urn:ietf:params:oauth:request_uri:x", "https://a.example/r"]
        {
            assert_eq!(named(other), None);
        }
    }
}
