//! Sign-in through an OpenID provider of other people's: we are its client (OpenID Connect Core section 3.1, OpenID Connect
//! Discovery, RFC 7636, RFC 9207). Who signs in there is known by issuer and subject, and by nothing else.

mod arrival;
mod exchange;

use serde::Deserialize;
use serde_json::Value;
use shared::oauth::json::parse_as;
use shared::secret::Secret;
use shared::state::Subject;
use shared::token::{IdTokenError, Identity};
use shared::uri::Issuer;

pub use self::arrival::{Arrival, sign_in};
pub use self::exchange::{Attempt, Provider, TokenRequest, Tokens, accept, exchange, identify, request, tokens};
use super::refusal::Refusal;

/// A provider that people may sign in with, as the operator describes it.
#[derive(Debug)]
pub struct Upstream {
    /// What stands in our redirect URI: lower-case letters, digits and dashes.
    pub name: String,
    /// What people read on the button.
    pub title: String,
    /// The provider's name, byte for byte.
    pub issuer: Issuer,
    /// Our name there.
    pub client_id: String,
    /// Our secret there; none for a public client.
    pub secret: Option<Secret>,
    /// What we ask for, `openid` among it.
    pub scope: String,
    /// Who gets in; `None` for whoever's account is linked.
    pub allow: Option<Allow>,
    /// Whether somebody who may get in gets an account at the first sign-in.
    pub create: bool,
}

/// Who gets in: whoever one of the lists names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    #[serde(default)]
    emails: Vec<String>,
    #[serde(default)]
    domains: Vec<String>,
    #[serde(default)]
    subjects: Vec<String>,
}

impl Allow {
    /// Addresses count only when the provider verified them; a domain does not stand for those below it.
    fn lets_in(&self, identity: &Identity) -> bool {
        let among = |list: &[String], text: &str| list.iter().any(|one| one.eq_ignore_ascii_case(text));
        let by_email = identity.verified_email().is_some_and(|email| {
            let domain = email.rsplit_once('@').map(|(_, domain)| domain).unwrap_or_default();
            among(&self.emails, email) || (!domain.is_empty() && among(&self.domains, domain))
        });
        by_email || self.subjects.iter().any(|one| one == identity.subject())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    title: Option<String>,
    issuer: Issuer,
    client_id: String,
    #[serde(default)]
    client_secret: Option<String>,
    #[serde(default)]
    client_secret_file: Option<String>,
    #[serde(default)]
    scopes: Option<Vec<String>>,
    #[serde(default)]
    allow: Option<Allow>,
    #[serde(default)]
    create: bool,
}

impl Upstream {
    /// Reads one description. `secret_in` reads the file that holds the secret.
    ///
    /// # Errors
    /// The first thing that is wrong, in words for the operator.
    pub fn read(value: &Value, secret_in: impl Fn(&str) -> Result<Secret, String>) -> Result<Self, String> {
        // Read from text, by what never repeats a value: one of them is a secret.
        let written: Written = parse_as(value.to_string().as_bytes()).map_err(|error| error.to_string())?;
        let named = (1..=32).contains(&written.name.len())
            && written.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !named {
            return Err("name is 1 to 32 lower-case letters, digits and dashes".to_owned());
        }
        if written.client_id.is_empty() {
            return Err("client_id is empty".to_owned());
        }
        let secret = match (written.client_secret, written.client_secret_file) {
            (Some(_), Some(_)) => return Err("client_secret and client_secret_file exclude each other".to_owned()),
            (Some(secret), None) => Some(Secret::new(secret)),
            (None, Some(file)) => Some(secret_in(&file)?),
            (None, None) => None,
        };
        if secret.as_ref().is_some_and(|secret| secret.expose().is_empty()) {
            return Err("the client's secret is empty".to_owned());
        }
        if written.create && written.allow.is_none() {
            return Err("create needs allow: without it, everybody whom the provider knows would get an account".into());
        }
        let allow = written.allow.as_ref();
        if allow.is_some_and(|allow| allow.emails.is_empty() && allow.domains.is_empty() && allow.subjects.is_empty()) {
            return Err("allow names nobody; leave it out to let in whoever's account is linked".to_owned());
        }
        let more = written.scopes.unwrap_or_else(|| vec!["email".to_owned()]);
        let is_scope =
            |one: &String| !one.is_empty() && one.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'));
        if !more.iter().all(is_scope) {
            return Err("scopes is a list of words".to_owned());
        }
        let more = more.into_iter().filter(|one| one != "openid");
        let scope = std::iter::once("openid".to_owned()).chain(more).collect::<Vec<_>>().join(" ");
        let title = written.title.unwrap_or_else(|| written.name.clone());
        let (name, issuer, client_id) = (written.name, written.issuer, written.client_id);
        Ok(Self { name, title, issuer, client_id, secret, scope, allow: written.allow, create: written.create })
    }

    /// Where its metadata are (OpenID Connect Discovery section 4).
    pub fn discovery(&self) -> String {
        self.issuer.join("/.well-known/openid-configuration")
    }

    /// Where it sends people back to: one address for each provider, so that no answer is taken for another's.
    pub fn redirect_uri(&self, ours: &Issuer) -> String {
        ours.join(&format!("/login/upstream/{}", self.name))
    }
}

/// Why nobody signs in. Its text is for the person.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UpstreamFault {
    /// No provider has this name.
    #[error("no provider of that name is set up here")]
    Unknown,
    /// It does not answer, or not as a provider does. What exactly is for the log.
    #[error("the provider does not answer as it should")]
    Down(String),
    /// The app's request does not fit in an address.
    #[error("the app's request is too long to be taken along to the provider")]
    TooLong,
    /// The person, or the provider, said no.
    #[error("you, or the provider, said no")]
    Denied,
    /// The provider has another error to tell.
    #[error("the provider could not sign you in: {0}")]
    Error(String),
    /// What came back is no answer.
    #[error("the provider's answer is incomplete")]
    Answer,
    /// Another provider's answer (RFC 9207 section 2.4).
    #[error("the answer comes from another provider")]
    Issuer,
    /// Its token endpoint did not take the code.
    #[error("the provider's answer was used before, is too old, or was never its own")]
    Code,
    /// The ID token is not good.
    #[error("{0}")]
    IdToken(IdTokenError),
    /// Its `sub` cannot be kept.
    #[error("the provider calls you by a name that cannot be kept here")]
    Subject,
    /// The operator lets others in.
    #[error("you are not among those who may sign in here; the provider calls you {0}")]
    NotAllowed(Subject),
    /// No account is linked, and none is made.
    #[error("no account here is linked to you; the provider calls you {0}")]
    NoAccount(Subject),
    /// An account would be made, and its name is or was another's.
    #[error("there is or was an account with your name here; the provider calls you {0}")]
    NameTaken(Subject),
    /// The account rests.
    #[error("your account does not work at the moment")]
    Resting,
}

impl UpstreamFault {
    /// Whether it is the provider's, and nothing that the person did.
    pub fn is_down(&self) -> bool {
        matches!(self, Self::Down(_))
    }

    /// Its exact cause, for the log.
    pub fn cause(&self) -> String {
        match self {
            Self::Down(cause) => cause.clone(),
            other => other.to_string(),
        }
    }
}

impl From<UpstreamFault> for Refusal {
    fn from(fault: UpstreamFault) -> Self {
        Self::Upstream(fault)
    }
}

#[cfg(test)]
mod tests;
