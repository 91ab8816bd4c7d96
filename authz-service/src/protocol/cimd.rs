//! Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document): which URLs are fetched, what a document
//! must say, and how long it is believed. The fetching is the shell's.

use std::borrow::Cow;

use serde_json::Value;
use shared::id::ClientId;
use shared::oauth::cimd::{DocumentUrl, NotADocumentUrl};
use shared::oauth::freshness::freshness;
use shared::oauth::json;
use shared::oauth::register::AuthMethod;
use shared::secret::TokenHash;
use shared::state::{Change, Client, ClientOrigin, Facts};
use shared::time::{Seconds, Timestamp};

use super::policy::{DOCUMENT_LIFETIME, MAX_DOCUMENT_LIFETIME, Policy};
use super::refusal::Refusal;
use super::register;

/// Why a client that names itself by a URL is not believed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DocumentFault {
    /// Not a URL that a document may have (CIM-11).
    #[error("{0}")]
    Url(NotADocumentUrl),
    /// It leads back to this server, which has no such document (CIM-12).
    #[error("the client_id points at this server, which has no such document")]
    Own,
    /// Not one of the domains that the operator trusts.
    #[error("this server does not accept apps of that domain")]
    Untrusted,
    /// Too many documents are being fetched.
    #[error("too many metadata documents are being fetched; try again in a moment")]
    Busy,
    /// The name leads to an address that is not on the public internet (CIM-02).
    #[error("the host of the client_id has an address that is not on the public internet")]
    Address,
    /// No connection, or it broke.
    #[error("the document cannot be fetched: {0}")]
    Unreachable(String),
    /// Not within [`Bounds::document_time`](super::bounds::Bounds::document_time) (CIM-07).
    #[error("the document did not arrive in time")]
    Slow,
    /// A status other than 200, redirects among them (CIM-03, CIM-04).
    #[error("the document's server answers {0}; 200 is needed, and redirects are not followed")]
    Status(u16),
    /// Not JSON by its Content-Type (CIM-05).
    #[error("the document's Content-Type is not application/json")]
    ContentType,
    /// A place for keys that nobody else may reach, or that parsers read in different ways.
    #[error("jwks_uri is an https URL with a path, to a host on the public internet")]
    KeysUrl,
    /// Longer than so many bytes: [`Bounds::document`](super::bounds::Bounds::document) (CIM-06), or what a key set may be.
    #[error("the document is too long: it has {0} bytes at most")]
    TooLong(usize),
    /// What it says (CIM-01, CIM-08, CIM-09).
    #[error("the document cannot be used: {0}")]
    Content(String),
}

impl DocumentFault {
    /// What anybody may read. Which names resolve to which inner addresses, and what answers there, is nobody's business.
    pub fn shown(&self) -> String {
        match self {
            Self::Address | Self::Unreachable(_) => "its metadata document cannot be fetched".to_owned(),
            other => other.to_string(),
        }
    }
}

/// What an answer to a fetch was, as far as it counts.
#[derive(Debug)]
pub struct Fetched {
    /// The status.
    pub status: u16,
    /// `Content-Type`, if it is text.
    pub content_type: Option<String>,
    /// `Cache-Control`, all of them.
    pub cache_control: Vec<String>,
    /// `Age`, in seconds.
    pub age: Option<u64>,
    /// The body, at most as long as was asked for.
    pub body: Vec<u8>,
}

/// The URL to fetch for a client id, when it is one that we would fetch; `None` for ids of other kinds.
///
/// # Errors
/// When it is a URL, and not one that is fetched.
pub fn url(client_id: &str, policy: &Policy) -> Result<Option<DocumentUrl>, DocumentFault> {
    if !may_be_url(client_id, policy) {
        return Ok(None);
    }
    let url = DocumentUrl::parse(client_id, policy.cimd.local).map_err(DocumentFault::Url)?;
    admitted(url, policy).map(Some)
}

/// A URL that somebody names whom nobody vouches for: not one of ours, and of a domain that the operator trusts.
pub(super) fn admitted(url: DocumentUrl, policy: &Policy) -> Result<DocumentUrl, DocumentFault> {
    if url.is_at(policy.issuer.as_str()) {
        return Err(DocumentFault::Own);
    }
    let trusted = policy.cimd.trusted.is_empty() || policy.cimd.trusted.iter().any(|domain| url.is_within(domain));
    if trusted { Ok(url) } else { Err(DocumentFault::Untrusted) }
}

/// Whether a client id asks for a document, were it a good one.
pub fn may_be_url(client_id: &str, policy: &Policy) -> bool {
    let begins = |prefix: &str| client_id.get(..prefix.len()).is_some_and(|it| it.eq_ignore_ascii_case(prefix));
    policy.cimd.on && (begins("https://") || (policy.cimd.local && begins("http://")))
}

/// The client that a document describes, and until when that is believed.
///
/// # Errors
/// The first thing that is wrong.
pub fn read(
    url: &DocumentUrl,
    fetched: &Fetched,
    policy: &Policy,
    now: Timestamp,
) -> Result<(Client, Timestamp), DocumentFault> {
    let until = usable(fetched, now)?;
    let client = client(url, &fetched.body, policy, now).map_err(|why| DocumentFault::Content(why.to_string()))?;
    Ok((client, until))
}

/// Whether an answer can be used at all: until when.
pub(super) fn usable(fetched: &Fetched, now: Timestamp) -> Result<Timestamp, DocumentFault> {
    if fetched.status != 200 {
        return Err(DocumentFault::Status(fetched.status));
    }
    if !fetched.content_type.as_deref().is_some_and(is_json) {
        return Err(DocumentFault::ContentType);
    }
    Ok(now + lifetime(fetched))
}

/// `application/json`, or a kind of it: `application/x+json` (section 4.1 of the draft).
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let kind = essence.strip_prefix("application/").unwrap_or_default();
    kind == "json" || kind.strip_suffix("+json").is_some_and(|kind| !kind.is_empty())
}

/// How long a document is believed: what its server says, at most a day.
fn lifetime(fetched: &Fetched) -> Seconds {
    let said = fetched.cache_control.iter().map(String::as_str);
    freshness(said, fetched.age, DOCUMENT_LIFETIME).min(MAX_DOCUMENT_LIFETIME)
}

fn client(url: &DocumentUrl, body: &[u8], policy: &Policy, now: Timestamp) -> Result<Client, Refusal> {
    let wrong = |why: &str| Refusal::Metadata(why.to_owned());
    let value = json::parse_within(body, policy.bounds.json_depth).map_err(|error| wrong(&error.to_string()))?;
    // Section 4.1: byte for byte.
    if value.get("client_id").and_then(Value::as_str) != Some(url.as_str()) {
        return Err(wrong("its client_id is not its URL"));
    }
    if value.get("client_secret").is_some() || value.get("client_secret_expires_at").is_some() {
        return Err(wrong("it holds a client_secret, which everybody can read"));
    }
    let sent = register::from_value(value, &policy.bounds)?;
    if sent.client_name.as_ref().is_none_or(|name| name.trim().is_empty()) {
        return Err(wrong("client_name is required"));
    }
    // Unless it names a method, the client is public: no secret can have been agreed on (section 4.1).
    let method = register::auth_method(sent.token_endpoint_auth_method.as_deref())?.unwrap_or(AuthMethod::None);
    if matches!(method, AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost) {
        return Err(wrong("its token_endpoint_auth_method needs a secret, and nobody has agreed on one"));
    }
    if method != AuthMethod::None && sent.jwks.is_none() && sent.jwks_uri.is_none() {
        return Err(wrong("its token_endpoint_auth_method needs jwks or jwks_uri"));
    }
    let id: ClientId = url.as_str().parse().map_err(|_| wrong("its client_id is no client id"))?;
    let client = register::client(&sent, id, ClientOrigin::MetadataDocument, policy, now)?;
    Ok(Client { auth_method: Some(method), ..client })
}

/// The facts with the client as its document describes it now, in place of the one that was approved before. A client
/// whose description has changed counts as one that nobody has said yes to (N15).
pub fn with_document<'a>(facts: &'a Facts, document: Option<&Client>) -> Cow<'a, Facts> {
    let Some(document) = document else { return Cow::Borrowed(facts) };
    let known = facts.client.as_ref().filter(|known| known.origin == ClientOrigin::MetadataDocument);
    let same = known.filter(|known| fingerprint(known) == fingerprint(document));
    let client = same.unwrap_or(document).clone();
    Cow::Owned(Facts { client: Some(client), ..facts.clone() })
}

/// What a client says about itself, as one value to compare: changed metadata have another.
pub fn fingerprint(client: &Client) -> TokenHash {
    let (secret, previous_secret, registration) = (None, None, None);
    let (issued_at, approved_at, used_at) = (Timestamp(0), None, None);
    let described = Client { secret, previous_secret, registration, issued_at, approved_at, used_at, ..client.clone() };
    TokenHash::of(&serde_json::to_vec(&described).unwrap_or_default())
}

/// The record that a consent to such a client brings along, when the store has another or none.
pub fn change(client: &Client) -> Option<Change> {
    let new = client.origin == ClientOrigin::MetadataDocument && client.approved_at.is_none();
    new.then(|| Change::ClientDescribed(client.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protocol::sample::{NOW, facts, policy};

    const URL: &str = "https://app.example/client.json";

    fn document() -> Value {
        json!({ "client_id": URL, "client_name": "App", "redirect_uris": ["http://127.0.0.1/cb"] })
    }

    fn fetched(body: &Value) -> Fetched {
        Fetched {
            status: 200,
            content_type: Some("application/json".into()),
            cache_control: vec![],
            age: None,
            body: body.to_string().into_bytes(),
        }
    }

    fn read_it(fetched: &Fetched) -> Result<Client, DocumentFault> {
        read(&URL.parse().unwrap(), fetched, &policy(), NOW).map(|(client, _)| client)
    }

    #[track_caller]
    fn refuses(name: &str, value: Value) {
        let mut body = document();
        match value {
            Value::Null => drop(body.as_object_mut().unwrap().remove(name)),
            value => body[name] = value,
        }
        assert!(matches!(read_it(&fetched(&body)), Err(DocumentFault::Content(_))), "{body}");
    }

    #[test]
    fn cim_01_the_document_names_its_own_url_byte_for_byte() {
        assert_eq!(read_it(&fetched(&document())).unwrap().id.as_str(), URL);
        for other in ["https://app.example/client.json/", "https://APP.example/client.json", "", "c_1"] {
            refuses("client_id", json!(other));
        }
        refuses("client_id", Value::Null);
        refuses("client_id", json!([URL]));
    }

    #[test]
    fn cim_03_04_05_the_answer_is_200_and_json() {
        for status in [201, 204, 301, 302, 304, 307, 401, 404, 500] {
            let answer = Fetched { status, ..fetched(&document()) };
            assert_eq!(read_it(&answer).unwrap_err(), DocumentFault::Status(status));
        }
        for (content_type, fits) in [
            (Some("application/json"), true),
            (Some("Application/JSON; charset=utf-8"), true),
            (Some("application/oauth-client+json"), true),
            (Some("text/html"), false),
            (Some("image/png"), false),
            (Some("text/json"), false),
            (Some("application/jsonp"), false),
            (Some("application/+json"), false),
            (Some("text/plain; application/json"), false),
            (None, false),
        ] {
            let answer = Fetched { content_type: content_type.map(str::to_owned), ..fetched(&document()) };
            assert_eq!(read_it(&answer).is_ok(), fits, "{content_type:?}");
        }
    }

    #[test]
    fn cim_08_09_a_document_has_no_secret_and_everything_that_is_needed() {
        refuses("client_secret", json!("s"));
        refuses("client_secret", json!(""));
        refuses("client_secret_expires_at", json!(0));
        for method in ["client_secret_basic", "client_secret_post", "client_secret_jwt", "tls_client_auth", ""] {
            refuses("token_endpoint_auth_method", json!(method));
        }
        refuses("client_name", Value::Null);
        refuses("client_name", json!(" "));
        refuses("client_name", json!(["App"]));
        refuses("client_name", json!("x".repeat(129)));
        for bad in [Value::Null, json!([]), json!("https://app.example/cb"), json!([1]), json!({})] {
            refuses("redirect_uris", bad);
        }
        for bad in ["javascript:alert(1)", "http://app.example/cb", "https://*.example/cb", "https://a.example/#f"] {
            refuses("redirect_uris", json!([bad]));
        }
        refuses("redirect_uris", json!(vec!["https://a.example/cb"; 11]));
        refuses("grant_types", json!(["implicit"]));
        refuses("response_types", json!(["token"]));
        refuses("logo_uri", json!("javascript:alert(1)"));
        refuses("jwks", json!({ "keys": [{ "kty": "EC", "d": "x" }] }));
        for bad in ["", "{", "[]", "null", "\"x\"", "<html>", r#"{"client_id":"a","client_id":"b"}"#] {
            let answer = Fetched { body: bad.into(), ..fetched(&document()) };
            assert!(matches!(read_it(&answer), Err(DocumentFault::Content(_))), "{bad}");
        }
        let answer = Fetched { body: b"{\"client_id\":\"\xff\"}".to_vec(), ..fetched(&document()) };
        assert!(read_it(&answer).is_err());
    }

    #[test]
    fn a_document_describes_a_public_client() {
        let mut body = document();
        body["scope"] = json!("mcp:tools");
        body["jwks_uri"] = json!("https://app.example/jwks");
        let client = read_it(&fetched(&body)).unwrap();
        assert_eq!((client.auth_method, client.origin), (Some(AuthMethod::None), ClientOrigin::MetadataDocument));
        assert_eq!((client.secret.is_none(), client.other["jwks_uri"].clone()), (true, body["jwks_uri"].clone()));
    }

    #[test]
    fn cim_14_a_document_is_believed_as_long_as_its_server_says_and_at_most_a_day() {
        let lives = |values: &[&str], age: Option<u64>| {
            let cache_control = values.iter().map(|value| (*value).to_owned()).collect();
            lifetime(&Fetched { cache_control, age, ..fetched(&document()) }).0
        };
        for (values, age, seconds) in [
            (&[][..], None, DOCUMENT_LIFETIME.0),
            (&["public"], None, DOCUMENT_LIFETIME.0),
            (&["max-age=60"], None, 60),
            (&["public, Max-Age=60"], Some(20), 40),
            (&["max-age=60"], Some(100), 0),
            (&["public", "max-age=\"7\""], None, 7),
            (&["max-age=31536000"], None, 86_400),
            (&["max-age=99999999999999999999999"], None, 0),
            (&["max-age=-1"], None, 0),
            (&["no-store"], None, 0),
            (&["max-age=60, NO-CACHE"], None, 0),
        ] {
            assert_eq!(lives(values, age), seconds, "{values:?} {age:?}");
        }
    }

    #[test]
    fn cim_12_15_which_urls_are_fetched() {
        let ask = |change: fn(&mut Policy), id: &str| {
            let mut policy = policy();
            policy.issuer = "https://as.example".parse().unwrap();
            change(&mut policy);
            url(id, &policy).map(|url| url.map(|url| url.to_string()))
        };
        let some = Ok(Some(URL.to_owned()));
        assert_eq!(ask(|_| {}, URL), some);
        assert_eq!(ask(|policy| policy.cimd.on = false, URL), Ok(None));
        assert_eq!(ask(|policy| policy.cimd.on = false, "https://as.example/"), Ok(None));
        assert_eq!(ask(|policy| policy.cimd.trusted = vec!["app.example".into()], URL), some);
        assert_eq!(ask(|policy| policy.cimd.trusted = vec!["b.example".into()], URL), Err(DocumentFault::Untrusted));
        for id in ["c_1", "http://127.0.0.1/c", "urn:x", "", "ftp://a.example/c"] {
            assert_eq!(ask(|_| {}, id), Ok(None), "{id}");
        }
        for own in ["https://as.example/c", "https://AS.example:443/c?x", "https://as.example./c"] {
            assert_eq!(ask(|_| {}, own), Err(DocumentFault::Own), "{own}");
        }
        for bad in ["https://", "HTTPS://app.example/c", "https://app.example", "https://10.0.0.1/c"] {
            assert!(matches!(ask(|_| {}, bad), Err(DocumentFault::Url(_))), "{bad}");
        }
        assert!(ask(|policy| policy.cimd.local = true, "http://127.0.0.1:1/c").unwrap().is_some());
    }

    #[test]
    fn n15_a_changed_document_counts_as_a_client_that_nobody_said_yes_to() {
        let client = read_it(&fetched(&document())).unwrap();
        let known = Client { approved_at: Some(NOW), issued_at: Timestamp(1), ..client.clone() };
        let before = Facts { client: Some(known.clone()), ..facts() };
        assert_eq!(with_document(&before, Some(&client)).client, Some(known.clone()));
        assert_eq!((change(&known), change(&client)), (None, Some(Change::ClientDescribed(client.clone()))));
        let mut changed = client.clone();
        changed.redirect_uris = Default::default();
        assert_eq!(with_document(&before, Some(&changed)).client, Some(changed.clone()));
        assert!(change(&changed).is_some());
        assert!(matches!(with_document(&before, None), Cow::Borrowed(_)));
    }
}
