//! Clients that the operator registers: by command, by file, by environment. The operator vouches for them, and they are
//! held to the same rules as those that register themselves.

use serde_json::{Value, json};
use shared::id::{ClientId, ClientKind};
use shared::oauth::register::{AuthMethod, ClientMetadata, GrantType};
use shared::secret::Secret;
use shared::state::{Change, Client, ClientOrigin, ClientSecret};
use shared::time::Timestamp;
use shared::uri::{Issuer, Resource};

use super::policy::{Policy, SECRET_GRACE};
use super::refusal::Refusal;
use super::register;

/// The shortest secret that an operator may choose, in bytes. Ours have 43; guessing is limited besides.
pub const MIN_SECRET: usize = 8;

/// A client as the operator describes it.
#[derive(Debug)]
pub struct Wish {
    /// What it is called.
    pub id: ClientId,
    /// Its secret; none for a public client.
    pub secret: Option<Secret>,
    /// The resources that it is the server of.
    pub resources: Vec<Resource>,
    /// Everything else, in the words of RFC 7591.
    pub metadata: ClientMetadata,
}

/// Reads a description out of JSON: the metadata of RFC 7591 with `client_id`, with `client_secret` if it has one,
/// and with `resource`, one or a list (the word of RFC 9728), if it is the server of some.
///
/// # Errors
/// The first thing that is wrong.
pub fn read(mut value: Value) -> Result<Wish, Refusal> {
    let wrong = |why: &str| Refusal::Metadata(why.to_owned());
    let members = value.as_object_mut().ok_or_else(|| wrong("a client is a JSON object"))?;
    let id = match members.remove("client_id") {
        Some(Value::String(id)) => id.parse().map_err(|error| wrong(&format!("client_id: {error}")))?,
        _ => return Err(wrong("client_id is required")),
    };
    let secret = match members.remove("client_secret") {
        None | Some(Value::Null) => None,
        Some(Value::String(secret)) => Some(Secret::new(secret)),
        Some(_) => return Err(wrong("client_secret is not a text")),
    };
    let resources = match members.remove("resource") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list.into_iter().map(resource).collect::<Result<_, _>>()?,
        Some(one) => vec![resource(one)?],
    };
    Ok(Wish { id, secret, resources, metadata: register::from_value(value, &super::bounds::Bounds::default())? })
}

fn resource(value: Value) -> Result<Resource, Refusal> {
    serde_json::from_value(value).map_err(|_| Refusal::Metadata("resource is no https URL and no stdio URN".to_owned()))
}

/// The record of a client that the operator describes.
///
/// # Errors
/// The first thing that is wrong.
pub fn client(wish: &Wish, policy: &Policy, now: Timestamp) -> Result<Client, Refusal> {
    let wrong = |why: &str| Refusal::Metadata(why.to_owned());
    if wish.metadata.software_statement.is_some() {
        return Err(Refusal::SoftwareStatement);
    }
    if wish.secret.as_ref().is_some_and(|secret| secret.expose().len() < MIN_SECRET) {
        return Err(wrong("a client_secret has 8 bytes at least; take 32 random ones"));
    }
    let client = described(wish, policy, now)?;
    // Who names no method gets the one that fits: either way with a secret, public without.
    let auth_method = client.auth_method.or(wish.secret.is_none().then_some(AuthMethod::None));
    let needs_secret = matches!(auth_method, None | Some(AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost));
    if needs_secret != wish.secret.is_some() {
        return Err(wrong("token_endpoint_auth_method and client_secret do not go together"));
    }
    if !wish.resources.is_empty() && auth_method == Some(AuthMethod::None) {
        return Err(wrong("a resource server proves who it is: give it a secret, or a key"));
    }
    let secret = wish.secret.as_ref().map(|secret| Box::new(ClientSecret { hash: secret.hash(), expires: None }));
    Ok(Client { auth_method, secret, resources: wish.resources.clone().into(), ..client })
}

/// A resource server that says nothing of redirects and grants gets no tokens: it only asks about them.
fn described(wish: &Wish, policy: &Policy, now: Timestamp) -> Result<Client, Refusal> {
    let sent = &wish.metadata;
    let read = |sent: &ClientMetadata| register::client(sent, wish.id.clone(), ClientOrigin::Operator, policy, now);
    if wish.resources.is_empty() || !sent.redirect_uris.is_empty() || sent.grant_types.is_some() {
        return read(sent);
    }
    // The one grant that needs nothing else holds the rest of the description to the rules.
    let alone = Some(vec![GrantType::ClientCredentials.as_str().to_owned()]);
    let client = read(&ClientMetadata { grant_types: alone, ..sent.clone() })?;
    Ok(Client { grant_types: Vec::new().into(), ..client })
}

/// What must be committed so that a client of the configuration is as described; nothing when it is.
///
/// # Errors
/// When its name belongs to a client that the operator did not register.
pub fn configured(known: Option<&Client>, wanted: Client) -> Result<Option<Change>, Refusal> {
    let Some(known) = known else { return Ok(Some(Change::ClientRegistered(wanted))) };
    if known.origin != ClientOrigin::Operator {
        return Err(Refusal::Metadata(format!("{} is the name of a client that came by itself", known.id)));
    }
    let (issued_at, approved_at, used_at) = (known.issued_at, known.approved_at, known.used_at);
    let wanted = Client { issued_at, approved_at, used_at, ..wanted };
    Ok((wanted != *known).then_some(Change::ClientUpdated(wanted)))
}

/// The client with another secret; the one before counts for a day more, or not at all.
///
/// # Errors
/// When it has none to change.
pub fn with_secret(known: &Client, fresh: &Secret, keep_old: bool, now: Timestamp) -> Result<Client, Refusal> {
    let old = known.secret.clone().ok_or_else(|| Refusal::Metadata(format!("{} has no secret", known.id)))?;
    let previous_secret = keep_old.then(|| Box::new(ClientSecret { expires: Some(now + SECRET_GRACE), ..*old }));
    let secret = Some(Box::new(ClientSecret { hash: fresh.hash(), expires: None }));
    Ok(Client { secret, previous_secret, ..known.clone() })
}

/// The path of a metadata document that we publish, below the issuer.
pub fn published_path(name: &str) -> String {
    format!("/clients/{name}.json")
}

/// The name that a client is published under at this issuer: its id is then the document's URL.
///
/// # Errors
/// When the name cannot stand in a URL: 1 to 64 letters, digits and `. _ -`, the first no dot.
pub fn published_id(name: &str, issuer: &Issuer) -> Result<ClientId, Refusal> {
    let wrong = |why: &str| Refusal::Metadata(why.to_owned());
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(plain) || name.starts_with('.') {
        return Err(wrong("a document's name is 1 to 64 letters, digits, '.', '_' and '-'"));
    }
    issuer.join(&published_path(name)).parse().map_err(|_| wrong("the issuer is too long"))
}

/// The metadata document of a client that we publish (draft-ietf-oauth-client-id-metadata-document section 4.1); `None`
/// for any other client.
pub fn document(client: &Client) -> Option<Value> {
    let is_public = client.auth_method == Some(AuthMethod::None) && client.secret.is_none();
    let is_named_so = client.id.kind() == ClientKind::MetadataDocument || client.id.as_str().starts_with("http://");
    if client.origin != ClientOrigin::Operator || !is_public || !is_named_so {
        return None;
    }
    let mut document = json!(register::stored(client));
    document["client_id"] = json!(client.id);
    Some(document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sample::{NOW, policy};

    fn wish(more: Value) -> Result<Client, Refusal> {
        let mut value = json!({ "client_id": "my-client", "redirect_uris": ["http://127.0.0.1/cb"] });
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(value).and_then(|wish| client(&wish, &policy(), NOW))
    }

    #[test]
    fn an_operators_client_is_held_to_the_rules_of_all() {
        let public = wish(json!({})).unwrap();
        assert_eq!((public.auth_method, public.secret), (Some(AuthMethod::None), None));
        let confidential = wish(json!({ "client_secret": "a good secret" })).unwrap();
        assert_eq!((confidential.auth_method, confidential.origin), (None, ClientOrigin::Operator));
        assert_eq!(confidential.secret.unwrap().hash, Secret::new("a good secret".into()).hash());
        for bad in [
            json!({ "client_id": "" }),
            json!({ "client_id": "a b" }),
            json!({ "client_id": 1 }),
            json!({ "client_secret": "short" }),
            json!({ "client_secret": 1 }),
            json!({ "client_secret": "a good secret", "token_endpoint_auth_method": "none" }),
            json!({ "token_endpoint_auth_method": "client_secret_basic" }),
            json!({ "redirect_uris": ["http://app.example/cb"] }),
            json!({ "redirect_uris": [] }),
            json!({ "software_statement": "x" }),
        ] {
            assert!(wish(bad.clone()).is_err(), "{bad}");
        }
        assert!(read(json!([])).is_err());
    }

    #[test]
    fn a_resource_server_is_named_by_the_operator_and_proves_who_it_is() {
        let server = |more: Value| {
            let mut value = json!({ "client_id": "files", "client_secret": "a good secret" });
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            read(value).and_then(|wish| client(&wish, &policy(), NOW))
        };
        let urn = "urn:mcp:stdio:files";
        let one = server(json!({ "resource": urn })).unwrap();
        assert_eq!((one.resources.len(), one.grant_types.len(), one.redirect_uris.len()), (1, 0, 0));
        let both = json!({ "resource": [urn, "https://mcp.example/mcp"], "grant_types": ["client_credentials"] });
        let both = server(both).unwrap();
        assert_eq!((both.resources.len(), &both.grant_types[..]), (2, &[GrantType::ClientCredentials][..]));
        for bad in [
            json!({ "resource": "files" }),
            json!({ "resource": [urn, 1] }),
            json!({ "resource": {} }),
            json!({ "resource": urn, "client_secret": null }),
            json!({ "resource": urn, "grant_types": [] , "client_secret": null }),
            json!({ "resource": urn, "logo_uri": "javascript:x" }),
            json!({ "resource": [] }),
        ] {
            assert!(server(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_configuration_changes_only_what_differs_and_only_the_operators_clients() {
        let wanted = wish(json!({})).unwrap();
        assert_eq!(configured(None, wanted.clone()), Ok(Some(Change::ClientRegistered(wanted.clone()))));
        let known = Client { issued_at: Timestamp(1), approved_at: Some(NOW), ..wanted.clone() };
        assert_eq!(configured(Some(&known), wanted.clone()), Ok(None));
        let renamed = Client { name: Some("Other".into()), ..known.clone() };
        assert_eq!(configured(Some(&renamed), wanted.clone()), Ok(Some(Change::ClientUpdated(known.clone()))));
        let foreign = Client { origin: ClientOrigin::Dynamic, ..known };
        assert!(configured(Some(&foreign), wanted).is_err());
    }

    #[test]
    fn a_new_secret_keeps_the_old_one_for_a_day_or_ends_it() {
        let known = wish(json!({ "client_secret": "a good secret" })).unwrap();
        let fresh = Secret::new("another one".into());
        let kept = with_secret(&known, &fresh, true, NOW).unwrap().previous_secret.unwrap();
        assert_eq!((kept.hash, kept.expires), (known.secret.as_ref().unwrap().hash, Some(NOW + SECRET_GRACE)));
        assert_eq!(with_secret(&known, &fresh, false, NOW).unwrap().previous_secret, None);
        assert!(with_secret(&wish(json!({})).unwrap(), &fresh, true, NOW).is_err());
    }

    #[test]
    fn n14_a_document_says_what_the_client_is_and_holds_no_secret() {
        let issuer: Issuer = "https://as.example/tenant".parse().unwrap();
        let id = published_id("bridge", &issuer).unwrap();
        assert_eq!(id.as_str(), "https://as.example/tenant/clients/bridge.json");
        for bad in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(published_id(bad, &issuer).is_err(), "{bad}");
        }
        let published = wish(json!({ "client_id": id, "client_name": "Bridge" })).unwrap();
        let document = document(&published).unwrap();
        assert_eq!((&document["client_id"], &document["client_name"]), (&json!(id), &json!("Bridge")));
        assert_eq!(document["token_endpoint_auth_method"], "none");
        for other in [json!({}), json!({ "client_id": id, "client_secret": "a good secret" })] {
            assert_eq!(super::document(&wish(other).unwrap()), None);
        }
        assert_eq!(super::document(&Client { origin: ClientOrigin::MetadataDocument, ..published }), None);
    }
}
