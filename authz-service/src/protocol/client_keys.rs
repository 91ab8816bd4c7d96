//! Keys of clients that sign (RFC 7523) and keep their keys behind a `jwks_uri` (RFC 7591 section 2): which URLs are
//! fetched, what must lie there, and how long it is believed. The fetching is the shell's.

use std::sync::Arc;

use serde_json::Value;
use shared::oauth::cimd::DocumentUrl;
use shared::oauth::json;
use shared::oauth::register::AuthMethod;
use shared::state::{Client, ClientOrigin};
use shared::time::{Seconds, Timestamp};
use shared::token::ClientKeys;

use super::cimd::{self, DocumentFault, Fetched};
use super::policy::Policy;
use super::register;

/// The longest key set that is fetched: a dozen RSA keys, each with its certificate.
pub const MAX_KEY_SET: usize = 32 * 1024;

/// How old a key set must be before an assertion that names a key which is not in it makes us look again: whoever
/// signs rotates his keys, and a stranger can name any.
pub const LOOK_AGAIN: Seconds = Seconds(60);

/// A key set, and where it was found: it counts for clients that name that very place.
#[derive(Clone, Debug)]
pub struct FetchedKeys {
    /// Where.
    pub url: DocumentUrl,
    /// What was there.
    pub keys: Arc<ClientKeys>,
}

/// Where a client's keys have to be fetched from; `None` when it has them with it, or does not sign.
///
/// # Errors
/// When it names a place that is not fetched from.
pub fn url(client: &Client, policy: &Policy) -> Result<Option<DocumentUrl>, DocumentFault> {
    let signs = client.auth_method == Some(AuthMethod::PrivateKeyJwt) && !client.other.contains_key("jwks");
    match client.other.get("jwks_uri").and_then(Value::as_str).filter(|_| signs) {
        Some(text) => may_be_fetched(text, client.origin, policy).map(Some),
        None => Ok(None),
    }
}

/// The rules for documents hold for keys too: what a stranger names is fetched when documents are, from the domains
/// that the operator trusts, and not from ourselves. What the operator names is fetched anyway.
///
/// # Errors
/// Why it is not fetched.
pub fn may_be_fetched(text: &str, origin: ClientOrigin, policy: &Policy) -> Result<DocumentUrl, DocumentFault> {
    let url = DocumentUrl::parse(text, policy.cimd.local).map_err(|_| DocumentFault::KeysUrl)?;
    if origin.is_vouched_for() {
        return Ok(url);
    }
    if !policy.cimd.on {
        return Err(DocumentFault::Untrusted);
    }
    cimd::admitted(url, policy)
}

/// The keys that an answer holds, and until when they are believed.
///
/// # Errors
/// The first thing that is wrong.
pub fn read(fetched: &Fetched, now: Timestamp) -> Result<(ClientKeys, Timestamp), DocumentFault> {
    let until = cimd::usable(fetched, now)?;
    let wrong = |why: &str| DocumentFault::Content(why.to_owned());
    let jwks = json::parse(&fetched.body).map_err(|error| wrong(&error.to_string()))?;
    register::check_key_set(&jwks).map_err(|why| wrong(&why.to_string()))?;
    Ok((ClientKeys::read(&jwks), until))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protocol::sample::{NOW, client, policy};

    const URL: &str = "https://app.example/keys.json";

    fn signing(origin: ClientOrigin, other: &[(&str, Value)]) -> Client {
        let other = other.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Client { auth_method: Some(AuthMethod::PrivateKeyJwt), origin, other, ..client() }
    }

    #[test]
    fn keys_are_fetched_for_who_signs_and_has_none_with_it_from_where_documents_are() {
        let uri = [("jwks_uri", json!(URL))];
        for origin in [ClientOrigin::Operator, ClientOrigin::Dynamic, ClientOrigin::MetadataDocument] {
            assert_eq!(url(&signing(origin, &uri), &policy()).unwrap().unwrap().as_str(), URL);
            assert_eq!(url(&signing(origin, &[]), &policy()), Ok(None));
        }
        let both = [("jwks_uri", json!(URL)), ("jwks", json!({}))];
        assert_eq!(url(&signing(ClientOrigin::Operator, &both), &policy()), Ok(None));
        let public = Client { auth_method: Some(AuthMethod::None), ..signing(ClientOrigin::Dynamic, &uri) };
        assert_eq!(url(&public, &policy()), Ok(None));
        let mut strict = policy();
        strict.cimd.trusted = vec!["other.example".into()];
        let mut off = policy();
        off.cimd.on = false;
        for policy in [&strict, &off] {
            assert_eq!(url(&signing(ClientOrigin::Dynamic, &uri), policy), Err(DocumentFault::Untrusted));
            assert!(url(&signing(ClientOrigin::Operator, &uri), policy).unwrap().is_some());
        }
        for bad in
            ["http://app.example/k", "https://127.0.0.1/k", "https://app.example", "https://a@app.example/k", "x"]
        {
            let client = signing(ClientOrigin::Operator, &[("jwks_uri", json!(bad))]);
            assert_eq!(url(&client, &policy()), Err(DocumentFault::KeysUrl), "{bad}");
        }
    }

    #[test]
    fn a_key_set_is_json_of_public_keys_and_believed_as_long_as_its_server_says() {
        let fetched = |status, kind: &str, cache: &[&str], body: &Value| Fetched {
            status,
            content_type: Some(kind.to_owned()),
            cache_control: cache.iter().map(|text| (*text).to_owned()).collect(),
            age: None,
            body: body.to_string().into_bytes(),
        };
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        let set = json!({ "keys": [key] });
        let json = "application/jwk-set+json";
        let (keys, until) = read(&fetched(200, json, &["max-age=60"], &set), NOW).unwrap();
        assert_eq!((keys.is_empty(), until), (false, NOW + Seconds(60)));
        assert_eq!(read(&fetched(200, json, &["no-store"], &set), NOW).unwrap().1, NOW);
        let mut private = set.clone();
        private["keys"][0]["d"] = json!("x");
        for bad in [
            fetched(404, json, &[], &set),
            fetched(302, json, &[], &set),
            fetched(200, "text/html", &[], &set),
            fetched(200, json, &[], &json!([])),
            fetched(200, json, &[], &private),
        ] {
            assert!(read(&bad, NOW).is_err(), "{bad:?}");
        }
    }
}
