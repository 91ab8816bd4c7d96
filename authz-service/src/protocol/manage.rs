//! What a client may do with its own registration (RFC 7592): read it, replace it, remove it.

use serde_json::Value;
use shared::id::ClientId;
use shared::oauth::json;
use shared::oauth::register::ClientMetadata;
use shared::secret::Secret;
use shared::state::{Change, Client, ClientOrigin, ClientSecret, Facts, Wanted};
use shared::time::Timestamp;

use super::Verdict;
use super::bounds::Bounds;
use super::policy::{Policy, SECRET_GRACE};
use super::refusal::Refusal;
use super::register;

/// What is wanted.
#[derive(Debug)]
pub enum Wish {
    /// To read it (section 2.1).
    Read,
    /// To replace it (section 2.2): what cannot be read is told to its owner only.
    Replace(Box<Result<Replacement, Refusal>>),
    /// To remove it (section 2.3).
    Remove,
}

/// The body of a replacement.
#[derive(Debug)]
pub struct Replacement {
    client_id: String,
    secret: Option<Secret>,
    metadata: ClientMetadata,
}

/// A request about a registration, read but not believed.
#[derive(Debug)]
pub struct ManageRequest {
    /// Which, as the path says.
    pub client: String,
    /// The registration access token.
    pub token: Option<Secret>,
    /// What is wanted.
    pub wish: Wish,
}

/// What became of it.
#[derive(Debug)]
pub enum Managed {
    /// As it is stored now; with a secret that was drawn just now, or without.
    Stored(Box<Client>, bool),
    /// It is gone, with every token of the client.
    Removed,
}

impl ManageRequest {
    /// The records to decide on.
    pub fn wants(&self) -> Wanted {
        Wanted { client: self.client.parse::<ClientId>().ok(), ..Wanted::default() }
    }
}

/// Members of the answer that a client may not send back (section 2.2).
const OURS: [&str; 4] =
    ["registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"];

impl Replacement {
    /// Reads the body of a replacement.
    ///
    /// # Errors
    /// When it is no JSON object, or has a member that does not belong there.
    pub fn parse(is_json: bool, body: &[u8], bounds: &Bounds) -> Result<Self, Refusal> {
        let wrong = |why: &str| Refusal::Body(why.to_owned());
        if !is_json {
            return Err(wrong("Content-Type must be application/json"));
        }
        let mut value =
            json::parse_within(body, bounds.json_depth).map_err(|error| Refusal::Body(error.to_string()))?;
        let members = value.as_object_mut().ok_or_else(|| wrong("the body must be a JSON object"))?;
        if let Some(ours) = OURS.into_iter().find(|name| members.contains_key(*name)) {
            return Err(Refusal::Body(format!("{ours} is not the client's to choose; leave it out")));
        }
        let Some(Value::String(client_id)) = members.remove("client_id") else {
            return Err(wrong("client_id is required"));
        };
        let secret = match members.remove("client_secret") {
            None | Some(Value::Null) => None,
            Some(Value::String(secret)) => Some(Secret::new(secret)),
            Some(_) => return Err(wrong("client_secret is not a text")),
        };
        Ok(Self { client_id, secret, metadata: register::from_value(value, bounds)? })
    }
}

/// Decides on a request about a registration. `fresh` becomes the client's secret when it replaces its registration.
pub fn decide(
    request: &ManageRequest,
    facts: &Facts,
    policy: &Policy,
    fresh: &Secret,
    now: Timestamp,
) -> Verdict<Managed> {
    let client = match managed(request, facts) {
        Ok(client) => client,
        Err(refusal) => return Verdict::unchanged(Err(refusal)),
    };
    match &request.wish {
        Wish::Read => Verdict::unchanged(Ok(Managed::Stored(Box::new(client.clone()), false))),
        Wish::Remove => {
            Verdict { changes: vec![Change::ClientRemoved(client.id.clone())], reply: Ok(Managed::Removed) }
        }
        Wish::Replace(body) => {
            match body
                .as_ref()
                .as_ref()
                .map_err(Refusal::clone)
                .and_then(|body| replaced(body, client, policy, fresh, now))
            {
                Ok(client) => Verdict {
                    changes: vec![Change::ClientUpdated(client.clone())],
                    reply: Ok(Managed::Stored(Box::new(client), true)),
                },
                Err(refusal) => Verdict::unchanged(Err(refusal)),
            }
        }
    }
}

/// The client, when the token is its own; one answer for every other case (REG-24).
fn managed<'a>(request: &ManageRequest, facts: &'a Facts) -> Result<&'a Client, Refusal> {
    // Before the comparison, so that an unknown client takes the same steps as a wrong token.
    let presented = request.token.as_ref().map(Secret::hash).ok_or(Refusal::RegistrationToken)?;
    let named = facts.client.as_ref().filter(|client| client.id.as_str() == request.client);
    named
        .filter(|client| client.origin == ClientOrigin::Dynamic && client.registration == Some(presented))
        .ok_or(Refusal::RegistrationToken)
}

/// The client as it is after the replacement: what is left out is gone (section 2.2). A client with a secret gets
/// another, and the one before counts for a day.
fn replaced(
    body: &Replacement,
    known: &Client,
    policy: &Policy,
    fresh: &Secret,
    now: Timestamp,
) -> Result<Client, Refusal> {
    if body.client_id != known.id.as_str() {
        return Err(Refusal::Body("client_id is not this client's".to_owned()));
    }
    let is_current = |secret: &Secret| known.secret.as_ref().is_some_and(|kept| kept.hash == secret.hash());
    if body.secret.as_ref().is_some_and(|secret| !is_current(secret)) {
        return Err(Refusal::Body("client_secret is not this client's".to_owned()));
    }
    if body.metadata.software_statement.is_some() {
        return Err(Refusal::SoftwareStatement);
    }
    let client = register::client(&body.metadata, known.id.clone(), ClientOrigin::Dynamic, policy, now)?;
    let confidential = register::needs_secret(&client);
    let secret = confidential.then(|| Box::new(ClientSecret { hash: fresh.hash(), expires: None }));
    let previous_secret = known.secret.clone().filter(|_| confidential).map(|kept| {
        let end = now + SECRET_GRACE;
        Box::new(ClientSecret { expires: Some(kept.expires.map_or(end, |expires| expires.min(end))), ..*kept })
    });
    Ok(Client {
        secret,
        previous_secret,
        registration: known.registration,
        issued_at: known.issued_at,
        approved_at: known.approved_at,
        used_at: known.used_at,
        ..client
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::oauth::register::AuthMethod;
    use shared::state::Facts;

    use super::*;
    use crate::protocol::sample::{NOW, client, facts, policy};

    const TOKEN: &str = "manages";

    fn known() -> Client {
        let secret = Some(Box::new(ClientSecret { hash: Secret::new("old".into()).hash(), expires: None }));
        let registration = Some(Secret::new(TOKEN.into()).hash());
        Client { auth_method: None, secret, registration, approved_at: Some(NOW), ..client() }
    }

    fn ask(client: &str, token: Option<&str>, wish: Wish, known: Option<Client>) -> Verdict<Managed> {
        let token = token.map(|text| Secret::new(text.into()));
        let request = ManageRequest { client: client.into(), token, wish };
        decide(&request, &Facts { client: known, ..facts() }, &policy(), &Secret::new("new".into()), NOW)
    }

    fn body(more: Value) -> Value {
        let mut body = json!({ "client_id": known().id.as_str(), "redirect_uris": ["https://new.example/cb"] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    }

    fn replace(body: &Value) -> Wish {
        Wish::Replace(Box::new(Replacement::parse(true, body.to_string().as_bytes(), &policy().bounds)))
    }

    #[test]
    fn reg_24_another_clients_token_and_a_guessed_client_get_one_answer() {
        let id = known().id.to_string();
        let operators = Client { origin: ClientOrigin::Operator, ..known() };
        let without = Client { registration: None, ..known() };
        for (client, token, known) in [
            (&*id, None, Some(known())),
            (&*id, Some(""), Some(known())),
            (&*id, Some("another"), Some(known())),
            ("c_guess", Some(TOKEN), None),
            ("c_guess", Some(TOKEN), Some(known())),
            ("", Some(TOKEN), None),
            (&*id, Some(TOKEN), Some(operators)),
            (&*id, Some(TOKEN), Some(without)),
        ] {
            for wish in [Wish::Read, Wish::Remove, replace(&body(json!({}))), replace(&json!([]))] {
                let verdict = ask(client, token, wish, known.clone());
                assert_eq!(verdict.reply.unwrap_err(), Refusal::RegistrationToken, "{client} {token:?}");
                assert!(verdict.changes.is_empty());
            }
        }
    }

    #[test]
    fn the_owner_reads_and_removes() {
        let id = known().id;
        let verdict = ask(id.as_str(), Some(TOKEN), Wish::Read, Some(known()));
        assert!(matches!(verdict.reply, Ok(Managed::Stored(client, false)) if *client == known()));
        let verdict = ask(id.as_str(), Some(TOKEN), Wish::Remove, Some(known()));
        assert!(matches!(verdict.reply, Ok(Managed::Removed)));
        assert_eq!(verdict.changes, [Change::ClientRemoved(id)]);
    }

    #[test]
    fn a_replacement_leaves_nothing_of_the_old_and_the_old_secret_counts_for_a_day() {
        let id = known().id;
        let replaced = |known: Client, more| match ask(id.as_str(), Some(TOKEN), replace(&body(more)), Some(known))
            .changes
            .pop()
        {
            Some(Change::ClientUpdated(client)) => client,
            other => panic!("{other:?}"),
        };
        let client = replaced(known(), json!({}));
        assert_eq!((client.name, client.redirect_uris[0].as_str()), (None, "https://new.example/cb"));
        assert_eq!((client.registration, client.approved_at), (known().registration, Some(NOW)));
        assert_eq!(client.secret.unwrap().hash, Secret::new("new".into()).hash());
        let previous = client.previous_secret.unwrap();
        assert_eq!((previous.hash, previous.expires), (known().secret.unwrap().hash, Some(NOW + SECRET_GRACE)));
        let public = replaced(known(), json!({ "token_endpoint_auth_method": "none", "client_secret": "old" }));
        assert_eq!((public.secret, public.previous_secret, public.auth_method), (None, None, Some(AuthMethod::None)));
        let was_public = Client { secret: None, auth_method: Some(AuthMethod::None), ..known() };
        let confidential = replaced(was_public, json!({}));
        assert!(confidential.secret.is_some() && confidential.previous_secret.is_none());
    }

    #[test]
    fn what_a_replacement_may_not_say() {
        let refused = |body: &Value| {
            let verdict = ask(known().id.as_str(), Some(TOKEN), replace(body), Some(known()));
            assert!(verdict.changes.is_empty());
            verdict.reply.expect_err(&body.to_string()).code().as_str().to_owned()
        };
        for name in OURS {
            assert_eq!(refused(&body(json!({ name: "x" }))), "invalid_request", "{name}");
        }
        assert_eq!(refused(&body(json!({ "client_id": "c_other" }))), "invalid_request");
        assert_eq!(refused(&json!({ "redirect_uris": ["https://new.example/cb"] })), "invalid_request");
        assert_eq!(refused(&body(json!({ "client_secret": "wrong" }))), "invalid_request");
        assert_eq!(refused(&body(json!({ "redirect_uris": [] }))), "invalid_redirect_uri");
        assert_eq!(refused(&body(json!({ "redirect_uris": ["http://a.example/"] }))), "invalid_redirect_uri");
        assert_eq!(refused(&body(json!({ "grant_types": ["implicit"] }))), "invalid_client_metadata");
        assert_eq!(refused(&body(json!({ "software_statement": "x.y.z" }))), "invalid_software_statement");
        assert_eq!(refused(&json!("x")), "invalid_request");
    }
}
