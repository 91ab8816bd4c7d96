//! The authorization request as it came, read but not believed: nobody is told of a mistake before it is known who may know.

use shared::id::ClientId;
use shared::oauth::form::{self, BadForm, MAX_PARAMETERS, Parameters};
use shared::secret::TokenHash;
use shared::state::Wanted;

use crate::protocol::policy::Policy;
use crate::protocol::pushed;
use crate::protocol::refusal::Refusal;

/// An authorization request, read but not believed.
#[derive(Debug)]
pub struct AuthorizeRequest {
    pub(super) client: String,
    pub(super) redirect_uri: Option<String>,
    /// The name of the pushed request that is meant (RFC 9126 section 4).
    pub(super) request_uri: Option<String>,
    /// `Err` when a parameter is repeated: told to the client, once it is known where the client is.
    pub(super) rest: Result<Parameters, BadForm>,
    pub(super) resources: Vec<String>,
    pub(super) state: Option<String>,
    /// Whether the browser says that no page of any site sent it here.
    pub(super) by_the_person: bool,
}

impl AuthorizeRequest {
    /// Reads a query, or the form body of a POST.
    ///
    /// # Errors
    /// When it is not clear which client, or which redirect URI, is meant: then nobody but the person may know.
    pub fn parse(query: &str) -> Result<Self, Refusal> {
        let mut pairs = Pairs::read(query);
        let client = pairs.once("client_id")?.ok_or(Refusal::Missing("client_id"))?;
        let redirect_uri = pairs.once("redirect_uri")?;
        let request_uri = pairs.once("request_uri")?;
        // A state that is no text is not given back, for it would come back as another one.
        let readable = |_: &String| form::all_values(query, "state").next().is_some();
        let state = pairs.once("state").ok().flatten().filter(readable);
        let resources = pairs.take_all("resource");
        let rest = pairs.into_parameters();
        Ok(Self { client, redirect_uri, request_uri, rest, resources, state, by_the_person: false })
    }

    /// Says whether the person, or a program of theirs, opened the address: then no site's page did (UI-16).
    #[must_use]
    pub fn opened_by_the_person(self, by_the_person: bool) -> Self {
        Self { by_the_person, ..self }
    }

    /// The client, as it names itself.
    pub fn client_id(&self) -> &str {
        &self.client
    }

    /// The records to decide on.
    pub fn wants(&self, session: Option<TokenHash>, policy: &Policy) -> Wanted {
        Wanted {
            client: self.client.parse::<ClientId>().ok(),
            pushed: self.request_uri.as_deref().and_then(pushed::named),
            agreed: session.is_some(),
            session,
            user: policy.auto_approve.clone(),
            consents: policy.remember_consent && self.by_the_person,
            tools_of: policy.resource(self.resources.iter().map(String::as_str)).ok(),
            ..Wanted::default()
        }
    }
}

/// Parameters as they came, repeated or not: it depends on which they are who may know.
struct Pairs {
    read: Vec<(String, String)>,
    wrong: Option<BadForm>,
}

impl Pairs {
    fn read(query: &str) -> Self {
        let mut pairs = Self { read: Vec::new(), wrong: None };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.read.len() == MAX_PARAMETERS {
                pairs.wrong = Some(BadForm::TooMany);
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (form::decode(name), form::decode(value));
            if name.is_err() || value.is_err() {
                pairs.wrong = Some(BadForm::NotUtf8);
            }
            // What cannot be read still stands there, and counts: a redirect URI that matches nothing.
            let unreadable = |_| char::REPLACEMENT_CHARACTER.to_string();
            pairs.read.push((name.unwrap_or_else(unreadable), value.unwrap_or_else(unreadable)));
        }
        pairs
    }

    /// The one value of a parameter; none when it is absent or empty.
    fn once(&self, name: &'static str) -> Result<Option<String>, Refusal> {
        let mut values = self.read.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
        let first = values.next();
        match values.next() {
            Some(_) => Err(Refusal::Repeated(name)),
            None => Ok(first.filter(|value| !value.is_empty()).cloned()),
        }
    }

    /// Takes every value of the one parameter that may stand more than once (RFC 8707 section 2).
    fn take_all(&mut self, name: &str) -> Vec<String> {
        self.read.extract_if(.., |(known, _)| known == name).map(|(_, value)| value).collect()
    }

    fn into_parameters(self) -> Result<Parameters, BadForm> {
        let again = |(at, (name, _)): (usize, &(String, String))| {
            self.read[..at].iter().any(|(before, _)| before == name).then(|| BadForm::Repeated(name.clone()))
        };
        match self.wrong.clone().or_else(|| self.read.iter().enumerate().find_map(again)) {
            Some(wrong) => Err(wrong),
            None => Ok(Parameters::from_pairs(self.read)),
        }
    }
}
