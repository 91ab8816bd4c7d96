//! Dynamic client registration (RFC 7591): what a client says about itself becomes a record, or a reason why not.

use serde_json::{Map, Value};
use shared::id::ClientId;
use shared::oauth::json;
use shared::oauth::register::{AuthMethod, ClientMetadata, GrantType, Registered};
use shared::scope::Scopes;
use shared::secret::Secret;
use shared::state::{Change, Client, ClientOrigin, ClientSecret, Facts, Wanted};
use shared::text::Text;
use shared::time::Timestamp;
use shared::token::ClientKeys;
use shared::uri::{Issuer, Parts, RedirectUri};
use uuid::Uuid;

use super::Verdict;
use super::bounds::Bounds;
use super::client_keys;
use super::policy::{MAX_CONTACTS, Policy, Registration};
use super::refusal::Refusal;

/// What the shell draws for a client.
#[derive(Debug)]
pub struct FreshClient {
    /// For its name.
    pub id: Uuid,
    /// Its secret, if it is to have one.
    pub secret: Secret,
    /// What it manages its registration with (RFC 7592).
    pub token: Secret,
}

/// A registration, read but not believed.
#[derive(Debug)]
pub struct Registering {
    /// What the client says about itself, or why that cannot be read: told to those who may register.
    pub sent: Result<ClientMetadata, Refusal>,
    /// The initial access token that it presents.
    pub initial: Option<Secret>,
}

impl Registering {
    /// The records to decide on.
    pub fn wants(&self) -> Wanted {
        Wanted { initial: self.initial.as_ref().map(Secret::hash), ..Wanted::default() }
    }
}

/// Reads the body of a registration. A member that is `null` is absent (RFC 7592 section 2.2 says so for updates).
///
/// # Errors
/// When it is no JSON object, or a member is of the wrong type.
pub fn parse(is_json: bool, body: &[u8], bounds: &Bounds) -> Result<ClientMetadata, Refusal> {
    if !is_json {
        // A form on somebody's page can send anything but this type across origins.
        return Err(metadata("Content-Type must be application/json"));
    }
    from_value(json::parse_within(body, bounds.json_depth).map_err(|error| metadata(&error.to_string()))?, bounds)
}

/// Reads metadata out of a JSON value, of a body or of a document.
///
/// # Errors
/// When it is no object, or a member is of the wrong type or too long.
pub(super) fn from_value(value: Value, bounds: &Bounds) -> Result<ClientMetadata, Refusal> {
    let Value::Object(mut members) = value else { return Err(metadata("the body must be a JSON object")) };
    members.retain(|_, value| !value.is_null());
    if members.get("redirect_uris").is_some_and(|uris| !is_list_of_text(uris)) {
        return Err(Refusal::RedirectUris);
    }
    let is_long = |(name, value): (&String, &Value)| {
        !["redirect_uris", "software_statement"].contains(&name.as_str()) && longest_text(value) > bounds.text
    };
    if members.iter().any(is_long) {
        return Err(metadata(&format!("a member is longer than {} bytes", bounds.text)));
    }
    serde_json::from_value(Value::Object(members)).map_err(|_| metadata("a member has the wrong type"))
}

/// The length of the longest text within a value.
fn longest_text(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(longest_text).max().unwrap_or_default(),
        Value::Object(members) => members.values().map(longest_text).max().unwrap_or_default(),
        _ => 0,
    }
}

fn is_list_of_text(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
}

fn metadata(why: &str) -> Refusal {
    Refusal::Metadata(why.to_owned())
}

/// Decides on a registration: the change, and the answer (RFC 7591 section 3.2.1) but for the secret, which the shell
/// adds when the client has one.
pub fn decide(
    request: &Registering,
    facts: &Facts,
    policy: &Policy,
    fresh: &FreshClient,
    now: Timestamp,
) -> Verdict<Client> {
    let spent = match may_register(request, facts, policy, now) {
        Ok(spent) => spent,
        Err(refusal) => return Verdict::unchanged(Err(refusal)),
    };
    if facts.clients >= policy.max_clients {
        return Verdict::unchanged(Err(Refusal::Full));
    }
    let sent = request.sent.as_ref().map_err(Refusal::clone);
    match sent.and_then(|sent| registered(sent, policy, fresh, now)) {
        Ok(client) => {
            let changes = spent.into_iter().chain([Change::ClientRegistered(client.clone())]).collect();
            Verdict { changes, reply: Ok(client) }
        }
        Err(refusal) => Verdict::unchanged(Err(refusal)),
    }
}

/// Whether anybody, or this token, may register; the use of the token, which a registration that is refused leaves.
fn may_register(
    request: &Registering,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Result<Option<Change>, Refusal> {
    match policy.registration {
        Registration::Open => Ok(None),
        Registration::Off => Err(Refusal::RegistrationOff),
        Registration::Token => {
            let presented = request.initial.as_ref().map(Secret::hash).ok_or(Refusal::InitialToken)?;
            let known = facts.initial.as_ref().filter(|token| token.hash == presented && token.expires > now);
            known.map(|token| Some(Change::InitialTokenSpent(token.hash))).ok_or(Refusal::InitialToken)
        }
    }
}

fn registered(sent: &ClientMetadata, policy: &Policy, fresh: &FreshClient, now: Timestamp) -> Result<Client, Refusal> {
    let client = client(sent, ClientId::generated(fresh.id), ClientOrigin::Dynamic, policy, now)?;
    let secret = needs_secret(&client).then(|| Box::new(ClientSecret { hash: fresh.secret.hash(), expires: None }));
    Ok(Client { secret, registration: Some(fresh.token.hash()), ..client })
}

/// Whether a client is to have a secret.
pub(super) fn needs_secret(client: &Client) -> bool {
    client.auth_method.is_none_or(AuthMethod::has_secret)
}

/// The record of a client that says this about itself; without a secret.
///
/// # Errors
/// The first thing that is wrong.
pub fn client(
    sent: &ClientMetadata,
    id: ClientId,
    origin: ClientOrigin,
    policy: &Policy,
    now: Timestamp,
) -> Result<Client, Refusal> {
    if sent.software_statement.is_some() {
        return Err(Refusal::SoftwareStatement);
    }
    let grant_types = match grant_types(sent.grant_types.as_deref(), origin) {
        // What is wrong with a redirect URI is said first: it is what clients get wrong most.
        Err(refusal) => {
            let words = sent.grant_types.as_deref().unwrap_or_default();
            let redirects = words != [GrantType::ClientCredentials.as_str()];
            return Err(redirect_uris(&sent.redirect_uris, redirects, policy).err().unwrap_or(refusal));
        }
        Ok(grant_types) => grant_types,
    };
    let redirects = grant_types.contains(&GrantType::AuthorizationCode);
    let redirect_uris = redirect_uris(&sent.redirect_uris, redirects, policy)?;
    response_types(sent.response_types.as_deref())?;
    let auth_method = auth_method(sent.token_endpoint_auth_method.as_deref())?;
    check_texts(sent, &policy.bounds)?;
    check_keys(sent)?;
    if auth_method == Some(AuthMethod::PrivateKeyJwt) {
        check_can_sign(sent, origin, policy)?;
    }
    Ok(Client {
        id,
        name: sent.client_name.as_deref().filter(|name| !name.trim().is_empty()).map(Text::from),
        redirect_uris: redirect_uris.into(),
        auth_method,
        grant_types: grant_types.into(),
        secret: None,
        previous_secret: None,
        registration: None,
        scope: scope(sent.scope.as_deref())?,
        client_uri: sent.client_uri.as_deref().map(Text::from),
        other: other(sent),
        resources: Vec::new().into(),
        origin,
        program: None,
        issued_at: now,
        approved_at: None,
        used_at: None,
    })
}

/// A client that is sent codes needs somewhere to be sent them; a device needs nothing (RFC 7591 section 2).
fn redirect_uris(sent: &[String], needed: bool, policy: &Policy) -> Result<Vec<RedirectUri>, Refusal> {
    if (sent.is_empty() && needed) || sent.len() > policy.bounds.redirect_uris {
        return Err(Refusal::RedirectUris);
    }
    sent.iter()
        .map(|text| RedirectUri::register(text, &policy.redirect_schemes).map_err(Refusal::RedirectUri))
        .collect()
}

/// Without a word, both: RFC 7591 says `authorization_code` alone, and real clients that rely on refresh tokens
/// forget to ask. Extension grants that we do not know, and `client_credentials`, which only the operator gives, are left
/// out of the registration, which the answer shows (RFC 7591 section 3.2.1 lets a server replace what was asked for);
/// the two that OAuth 2.1 removed are refused.
fn grant_types(sent: Option<&[String]>, origin: ClientOrigin) -> Result<Vec<GrantType>, Refusal> {
    let offered = if origin == ClientOrigin::Operator { &GrantType::ALL[..] } else { &GrantType::SELF_REGISTERED };
    let Some(words) = sent.filter(|words| !words.is_empty()) else {
        return Ok(vec![GrantType::AuthorizationCode, GrantType::RefreshToken]);
    };
    let mut known = Vec::new();
    for word in words {
        match GrantType::from_word(word).filter(|grant_type| offered.contains(grant_type)) {
            Some(grant_type) if !known.contains(&grant_type) => known.push(grant_type),
            Some(_) => {}
            None if word == "client_credentials" || word.starts_with("urn:") => {}
            None => {
                return Err(metadata(
                    "grant_types may hold what this server's metadata list, but for client_credentials",
                ));
            }
        }
    }
    let begins = |grant_type: &GrantType| !matches!(grant_type, GrantType::RefreshToken | GrantType::TokenExchange);
    if known.iter().any(begins) {
        Ok(known)
    } else {
        Err(metadata(
            "grant_types must hold authorization_code, or urn:ietf:params:oauth:grant-type:device_code; a client that \
             acts for itself (client_credentials) is registered by the operator",
        ))
    }
}

fn response_types(sent: Option<&[String]>) -> Result<(), Refusal> {
    match sent {
        None | Some([]) => Ok(()),
        Some(words) if words.iter().all(|word| word == "code") => Ok(()),
        Some(_) => Err(metadata("response_types may hold code only")),
    }
}

/// `None` for a client that registers no method: it gets a secret, and may use it either way (contract C5).
pub(super) fn auth_method(sent: Option<&str>) -> Result<Option<AuthMethod>, Refusal> {
    let method = sent.map(|word| {
        AuthMethod::from_word(word).ok_or_else(|| {
            metadata(
                "token_endpoint_auth_method must be none, client_secret_basic, client_secret_post or private_key_jwt",
            )
        })
    });
    method.transpose()
}

fn scope(sent: Option<&str>) -> Result<Scopes, Refusal> {
    sent.unwrap_or_default().parse().map_err(|error: shared::scope::NotAScope| metadata(&error.to_string()))
}

fn check_texts(sent: &ClientMetadata, bounds: &Bounds) -> Result<(), Refusal> {
    if sent.client_name.as_ref().is_some_and(|name| name.chars().count() > bounds.client_name) {
        return Err(metadata(&format!("client_name may have {} characters at most", bounds.client_name)));
    }
    let plain = [&sent.client_name, &sent.software_id, &sent.software_version, &sent.application_type];
    let links = [&sent.client_uri, &sent.logo_uri, &sent.tos_uri, &sent.policy_uri, &sent.jwks_uri];
    let contacts = sent.contacts.iter().flatten();
    let too_long = plain.into_iter().chain(links).flatten().chain(contacts).any(|text| text.len() > bounds.text);
    if too_long || sent.contacts.as_ref().is_some_and(|contacts| contacts.len() > MAX_CONTACTS) {
        return Err(metadata(&format!("a member is too long: {} bytes at most, and 10 contacts", bounds.text)));
    }
    if links.into_iter().flatten().any(|link| !is_web_link(link)) {
        return Err(metadata("client_uri, logo_uri, tos_uri, policy_uri and jwks_uri must be https URLs"));
    }
    Ok(())
}

/// What a page may link to: `https`, or `http` on this machine. Never `javascript:` and its kin (REG-13).
fn is_web_link(text: &str) -> bool {
    let visible = text.bytes().all(|b| b.is_ascii_graphic() && !br#"\<>"{}^`|"#.contains(&b));
    visible
        && Parts::of(text).is_some_and(|parts| {
            let scheme = parts.scheme == "https" || (parts.scheme == "http" && parts.is_loopback());
            let user = parts.authority.is_some_and(|authority| authority.contains('@'));
            scheme && !user && parts.host().is_some_and(|host| !host.is_empty())
        })
}

/// Members of a JWK that only its owner may know (RFC 7518 sections 6.2.2, 6.3.2, 6.4.1).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The longest key set that is kept: the size of a whole client metadata document (contract C9). It stays in memory.
const MAX_JWKS: usize = 5 * 1024;

fn check_keys(sent: &ClientMetadata) -> Result<(), Refusal> {
    if sent.jwks.is_some() && sent.jwks_uri.is_some() {
        return Err(metadata("jwks and jwks_uri exclude each other"));
    }
    let Some(jwks) = &sent.jwks else { return Ok(()) };
    if jwks.to_string().len() > MAX_JWKS {
        return Err(metadata("jwks is longer than 5 KiB"));
    }
    check_key_set(jwks)
}

/// A key set holds public keys: a private one is nobody's secret any more (REG-14).
pub(super) fn check_key_set(jwks: &Value) -> Result<(), Refusal> {
    let keys = jwks.get("keys").and_then(Value::as_array).ok_or_else(|| metadata("jwks must hold a list of keys"))?;
    let public = |key: &Value| {
        key.as_object().is_some_and(|key| {
            key.contains_key("kty") && !PRIVATE_MEMBERS.iter().any(|member| key.contains_key(*member))
        })
    };
    if keys.iter().all(public) { Ok(()) } else { Err(metadata("jwks must hold public keys only")) }
}

/// A client that signs needs a key that can verify it, or a place where we would fetch one.
fn check_can_sign(sent: &ClientMetadata, origin: ClientOrigin, policy: &Policy) -> Result<(), Refusal> {
    match (&sent.jwks, &sent.jwks_uri) {
        (Some(jwks), _) if !ClientKeys::read(jwks).is_empty() => Ok(()),
        (Some(_), _) => Err(metadata("private_key_jwt needs a key for ES256, EdDSA, RS256 or PS256 in jwks")),
        (None, Some(uri)) => {
            client_keys::may_be_fetched(uri, origin, policy).map(drop).map_err(|why| metadata(&why.to_string()))
        }
        (None, None) => Err(metadata("private_key_jwt needs the public keys, in jwks or behind jwks_uri")),
    }
}

/// What we keep for the echo; of it only `jwks` and `jwks_uri` are used.
fn other(sent: &ClientMetadata) -> Map<String, Value> {
    let text = |value: &Option<String>| value.clone().map(Value::String);
    [
        ("logo_uri", text(&sent.logo_uri)),
        ("tos_uri", text(&sent.tos_uri)),
        ("policy_uri", text(&sent.policy_uri)),
        ("jwks_uri", text(&sent.jwks_uri)),
        ("software_id", text(&sent.software_id)),
        ("software_version", text(&sent.software_version)),
        ("application_type", text(&sent.application_type)),
        ("contacts", sent.contacts.clone().map(Value::from)),
        ("jwks", sent.jwks.clone()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

/// The answer about a registration: everything as it is stored (RFC 7591 section 3.2.1, RFC 7592 section 3). `secret` is
/// the client's, when it has just been drawn; later nobody knows it.
pub fn answer(client: &Client, secret: Option<&Secret>, token: &Secret, issuer: &Issuer) -> Registered {
    let secret = secret.filter(|_| client.secret.is_some());
    Registered {
        client_id: client.id.to_string(),
        client_id_issued_at: Some(client.issued_at.0),
        client_secret: secret.map(|secret| secret.expose().to_owned()),
        client_secret_expires_at: client.secret.is_some().then_some(0),
        registration_access_token: Some(token.expose().to_owned()),
        registration_client_uri: Some(issuer.join(&format!("/register/{}", client.id))),
        metadata: stored(client),
    }
}

/// A client's metadata as they are stored.
pub fn stored(client: &Client) -> ClientMetadata {
    // What stands in `other` was read as these members, so it can be read as these members again.
    let other: ClientMetadata = serde_json::from_value(Value::Object(client.other.clone())).unwrap_or_default();
    let method = client.auth_method.unwrap_or(AuthMethod::ClientSecretBasic);
    let redirects = client.grant_types.contains(&GrantType::AuthorizationCode);
    let response_types = redirects.then(|| "code".to_owned()).into_iter().collect();
    ClientMetadata {
        redirect_uris: client.redirect_uris.iter().map(|uri| uri.as_str().to_owned()).collect(),
        token_endpoint_auth_method: Some(method.as_str().to_owned()),
        grant_types: Some(client.grant_types.iter().map(|grant| grant.as_str().to_owned()).collect()),
        response_types: Some(response_types),
        client_name: client.name.as_deref().map(str::to_owned),
        client_uri: client.client_uri.as_deref().map(str::to_owned),
        scope: Some(client.scope.to_string()).filter(|scope| !scope.is_empty()),
        ..other
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use shared::state::InitialToken;

    use crate::protocol::sample::{NOW, policy};

    fn register(body: &Value) -> Result<Client, Refusal> {
        let fresh =
            FreshClient { id: Uuid::from_u128(7), secret: Secret::new("s".into()), token: Secret::new("t".into()) };
        let request = Registering { sent: parse(true, body.to_string().as_bytes(), &policy().bounds), initial: None };
        let verdict = decide(&request, &Facts::default(), &policy(), &fresh, NOW);
        assert_eq!(verdict.changes.len(), usize::from(verdict.reply.is_ok()));
        verdict.reply
    }

    fn told(client: &Client) -> Value {
        let (secret, token) = (Secret::new("s".into()), Secret::new("t".into()));
        serde_json::to_value(answer(client, Some(&secret), &token, &policy().issuer)).unwrap()
    }

    fn with(name: &str, value: Value) -> Value {
        let mut body = json!({ "redirect_uris": ["http://localhost:3001/callback"] });
        body[name] = value;
        body
    }

    #[track_caller]
    fn refuses(name: &str, value: Value, word: &str) {
        let refusal = register(&with(name, value.clone())).expect_err(&format!("{name}: {value:.80}"));
        assert_eq!(refusal.code().as_str(), word, "{name}: {refusal}");
    }

    #[test]
    fn reg_01_02_19_what_is_no_registration_is_refused() {
        for body in ["", "{", "redirect_uris=x", "<html>", "[]", "\"x\"", r#"{"redirect_uris":[],"redirect_uris":[]}"#]
        {
            assert_eq!(
                parse(true, body.as_bytes(), &policy().bounds).unwrap_err().code().as_str(),
                "invalid_client_metadata",
                "{body}"
            );
        }
        assert!(parse(false, br#"{"redirect_uris":["https://a.example/cb"]}"#, &policy().bounds).is_err());
        let folded = register(&json!({ "Redirect_URIs": ["https://a.example/cb"] }));
        assert_eq!(folded.unwrap_err(), Refusal::RedirectUris);
    }

    #[test]
    fn reg_03_to_10_redirect_uris() {
        let word = "invalid_redirect_uri";
        assert_eq!(register(&json!({})).unwrap_err().code().as_str(), word);
        for bad in [json!([]), json!("https://a.example"), json!([1]), json!({}), json!(null)] {
            refuses("redirect_uris", bad, word);
        }
        for bad in
            ["javascript:alert(1)", "https://a.example/#f", "/cb", "http://a.example/", "https://*.a/", "myapp:/cb"]
        {
            refuses("redirect_uris", json!([bad]), word);
            refuses("redirect_uris", json!(["https://a.example/cb", bad]), word);
        }
        refuses("redirect_uris", json!(vec!["https://a.example/cb"; 11]), word);
        assert!(register(&with("redirect_uris", json!(vec!["https://a.example/cb"; 10]))).is_ok());
        assert!(register(&with("redirect_uris", json!(["cursor://anysphere.cursor-mcp/oauth/callback"]))).is_ok());
    }

    #[test]
    fn reg_11_to_16_metadata() {
        let word = "invalid_client_metadata";
        refuses("token_endpoint_auth_method", json!("private_key_jwt"), word);
        for bad in
            [json!(["implicit", "authorization_code"]), json!(["password"]), json!(["refresh_token"]), json!("x")]
        {
            refuses("grant_types", bad, word);
        }
        for bad in [json!(["token"]), json!(["code", "token"]), json!(["code token"]), json!("code")] {
            refuses("response_types", bad, word);
        }
        for name in ["client_uri", "logo_uri", "tos_uri", "policy_uri", "jwks_uri"] {
            for bad in
                ["javascript:alert(1)", "data:x", "http://a.example", "https://", "//a", "https://u@a", "https://a/ b"]
            {
                refuses(name, json!(bad), word);
            }
            refuses(name, json!(format!("https://a.example/{}", "x".repeat(1024))), word);
            assert!(register(&with(name, json!("https://a.example/x"))).is_ok(), "{name}");
        }
        for member in PRIVATE_MEMBERS {
            refuses("jwks", json!({ "keys": [{ "kty": "EC" }, { "kty": "EC", member: "x" }] }), word);
        }
        refuses("jwks", json!({}), word);
        let mut both = with("jwks", json!({ "keys": [] }));
        both["jwks_uri"] = json!("https://a.example/jwks");
        assert_eq!(register(&both).unwrap_err().code().as_str(), word);
        refuses("software_statement", json!("e30.e30."), "invalid_software_statement");
        refuses("client_name", json!("x".repeat(129)), word);
        refuses("client_name", json!(1), word);
        refuses("contacts", json!(vec!["a"; 11]), word);
        refuses("scope", json!("a\"b"), word);
        assert!(register(&with("client_name", json!("\u{e4}".repeat(128)))).is_ok());
        assert!(register(&with("client_name", json!(null))).is_ok());
    }

    #[test]
    fn reg_20_a_public_client_gets_no_secret_and_everything_back() {
        let body = json!({
            "redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code"], "response_types": ["code"], "client_name": "<b>\"x\"</b>",
            "client_uri": "https://a.example", "logo_uri": "https://a.example/l", "contacts": ["a@a.example"],
            "scope": "mcp:tools", "software_id": "i", "software_version": "1", "application_type": "native",
        });
        let client = register(&body).unwrap();
        let answer = told(&client);
        for (name, value) in body.as_object().unwrap() {
            assert_eq!(answer[name], *value, "{name}");
        }
        assert!(answer.get("client_secret").is_none() && answer["client_id_issued_at"].is_u64());
    }

    #[test]
    fn reg_21_a_confidential_client_gets_a_secret_that_is_stored_as_a_hash() {
        for (method, echoed) in
            [(json!(null), "client_secret_basic"), (json!("client_secret_post"), "client_secret_post")]
        {
            let client = register(&with("token_endpoint_auth_method", method)).unwrap();
            let answer = told(&client);
            assert_eq!(answer["client_secret"], "s");
            assert_eq!(answer["client_secret_expires_at"], 0);
            assert_eq!(answer["token_endpoint_auth_method"], echoed);
            assert_eq!(client.secret.unwrap().hash, Secret::new("s".into()).hash());
        }
    }

    #[test]
    fn a_client_that_names_no_grant_types_gets_both_and_extensions_are_left_out() {
        let both = vec![GrantType::AuthorizationCode, GrantType::RefreshToken];
        assert_eq!(register(&with("grant_types", json!(null))).unwrap().grant_types, both);
        let foreign = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        let more = json!(["authorization_code", "refresh_token", "client_credentials", foreign]);
        assert_eq!(register(&with("grant_types", more)).unwrap().grant_types, both);
        let device = with("grant_types", json!([GrantType::DeviceCode.as_str()]));
        assert_eq!(register(&device).unwrap().grant_types, [GrantType::DeviceCode]);
        for alone in ["refresh_token", "client_credentials", foreign, GrantType::TokenExchange.as_str()] {
            assert!(register(&with("grant_types", json!([alone]))).is_err(), "{alone}");
        }
        let code = register(&with("grant_types", json!(["authorization_code"]))).unwrap();
        assert_eq!(code.grant_types, [GrantType::AuthorizationCode]);
    }

    #[test]
    fn reg_22_23_who_may_register_is_the_operators_choice() {
        let body = json!({ "redirect_uris": ["https://a.example/cb"] }).to_string();
        let ask = |registration, body: &str, presented: Option<&str>, at| {
            let mut policy = policy();
            policy.registration = registration;
            let initial = presented.map(|text| Secret::new(text.into()));
            let request = Registering { sent: parse(true, body.as_bytes(), &policy.bounds), initial };
            let hash = Secret::new("i".into()).hash();
            let token = InitialToken { hash, note: None, created: NOW, expires: Timestamp(NOW.0 + 1), uses: 1 };
            let facts = Facts { initial: request.wants().initial.and(Some(token)), ..Facts::default() };
            let fresh =
                FreshClient { id: Uuid::from_u128(7), secret: Secret::new("s".into()), token: Secret::new("t".into()) };
            let verdict = decide(&request, &facts, &policy, &fresh, at);
            verdict.reply.map(|_| verdict.changes.len())
        };
        use Registration::{Off, Open, Token};
        assert_eq!(ask(Open, &body, Some("junk"), NOW), Ok(1));
        assert_eq!(ask(Off, &body, Some("i"), NOW), Err(Refusal::RegistrationOff));
        assert_eq!(ask(Token, &body, Some("i"), NOW), Ok(2));
        for (presented, at) in [(None, NOW), (Some("j"), NOW), (Some(""), NOW), (Some("i"), Timestamp(NOW.0 + 1))] {
            assert_eq!(ask(Token, &body, presented, at), Err(Refusal::InitialToken));
            // Who may not register does not learn what is wrong with the rest either.
            assert_eq!(ask(Token, "{", presented, at), Err(Refusal::InitialToken));
        }
        assert_eq!(ask(Token, "{}", Some("i"), NOW), Err(Refusal::RedirectUris));
    }
}
