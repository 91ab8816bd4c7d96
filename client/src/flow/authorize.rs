//! The authorization request, and what comes back through the browser (RFC 6749 section 4.1, RFC 9207, RFC 7636).

use shared::id::ClientId;
use shared::oauth::authorize::AuthorizationRequest;
use shared::oauth::form::Parameters;
use shared::oauth::pkce::Verifier;
use shared::scope::Scopes;
use shared::secret::{Secret, TokenHash};
use shared::uri::{Issuer, Resource};

use super::Named;
use super::discover::CheckedIssuer;

/// A login that waits for its answer. Fresh for every login: nothing of it is used twice.
#[derive(Debug)]
pub struct Pending {
    /// Who must answer.
    pub issuer: Issuer,
    /// Who asked.
    pub client: ClientId,
    /// Where the answer must come.
    pub redirect_uri: String,
    /// What was asked for.
    pub scope: Scopes,
    /// For which resource.
    pub resource: Resource,
    /// What unlocks the code.
    pub verifier: Verifier,
    state: Secret,
    sends_iss: bool,
    endpoint: String,
}

/// What an authorization response means.
#[derive(Debug)]
pub enum Response {
    /// It is not an answer to this login: the login goes on waiting.
    NotOurs(&'static str),
    /// It comes from somebody else than was asked (RFC 9207 section 2.4): the login ends, and nothing that it says is
    /// acted on or shown.
    MixUp,
    /// The server, or the person, said no.
    Refused(Named),
    /// The code.
    Code(Secret),
}

impl Pending {
    /// Begins a login. `state` and `verifier` are fresh random values of 128 and 256 bits at least.
    pub fn new(
        issuer: &CheckedIssuer,
        client: ClientId,
        redirect_uri: String,
        (scope, resource): (Scopes, Resource),
        (state, verifier): (Secret, Verifier),
    ) -> Self {
        Self {
            issuer: issuer.issuer.clone(),
            client,
            redirect_uri,
            scope,
            resource,
            verifier,
            state,
            sends_iss: issuer.sends_iss,
            endpoint: issuer.authorization_endpoint.clone(),
        }
    }

    /// The URL for the browser: ASCII, percent-encoded, beginning with `http`.
    pub fn url(&self) -> String {
        AuthorizationRequest {
            client_id: self.client.as_str(),
            redirect_uri: &self.redirect_uri,
            state: self.state.expose(),
            challenge: &self.verifier.challenge(),
            scope: &self.scope.to_string(),
            resource: Some(self.resource.as_str()),
        }
        .url(&self.endpoint)
    }

    /// Judges the query of a request to the redirect URI.
    ///
    /// `state` first: whoever does not know it is a stranger and learns nothing. Then `iss`, before a word of the
    /// answer is believed.
    pub fn accept(&self, query: &str) -> Response {
        let Ok(mut answer) = Parameters::parse(query) else {
            return Response::NotOurs("its parameters are not readable");
        };
        if answer.get("state").is_none_or(|state| TokenHash::of(state.as_bytes()) != self.state.hash()) {
            return Response::NotOurs("its state is not that of this login");
        }
        match answer.get("iss") {
            Some(iss) if iss != self.issuer.as_str() => return Response::MixUp,
            None if self.sends_iss => return Response::MixUp,
            _ => {}
        }
        if let Some(error) = answer.take("error") {
            return Response::Refused(Named { error, description: answer.take("error_description") });
        }
        answer.take("code").map_or(Response::NotOurs("it has no code"), |code| Response::Code(Secret::new(code)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::discover::accept_issuer;
    use super::*;

    fn pending(sends_iss: bool) -> Pending {
        let body = json!({
            "issuer": "https://as.example", "authorization_endpoint": "https://as.example/authorize?tenant=1",
            "token_endpoint": "https://as.example/token", "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": sends_iss,
        });
        let issuer = accept_issuer(&"https://as.example".parse().unwrap(), body.to_string().as_bytes()).unwrap();
        let verifier = Verifier::parse("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into()).unwrap();
        Pending::new(
            &issuer,
            "c 1".replace(' ', "_").parse().unwrap(),
            "http://127.0.0.1:1/callback".into(),
            ("a b".parse().unwrap(), "https://MCP.example/mcp?x=1".parse().unwrap()),
            (Secret::new("st&te".into()), verifier),
        )
    }

    fn says(sends_iss: bool, query: &str) -> &'static str {
        match pending(sends_iss).accept(query) {
            Response::NotOurs(_) => "not ours",
            Response::MixUp => "mix-up",
            Response::Refused(_) => "refused",
            Response::Code(_) => "code",
        }
    }

    #[test]
    fn dsc_11_the_request_names_the_resource_byte_for_byte_and_carries_pkce() {
        let url = pending(true).url();
        assert_eq!(
            url,
            "https://as.example/authorize?tenant=1&response_type=code&client_id=c_1\
             &redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcallback&state=st%26te\
             &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256\
             &scope=a+b&resource=https%3A%2F%2FMCP.example%2Fmcp%3Fx%3D1"
        );
    }

    #[test]
    fn cbl_01_a_wrong_or_missing_state_is_not_an_answer() {
        for query in
            ["", "code=x", "state=&code=x", "state=st%26tf&code=x", "state=st%26te&state=st%26te&code=x", "%ff=%ff"]
        {
            assert_eq!(says(false, query), "not ours", "{query}");
        }
        assert_eq!(says(false, "state=st%26te"), "not ours");
    }

    #[test]
    fn cbl_02_a_refusal_with_the_right_state_ends_the_login() {
        let query = "state=st%26te&error=access_denied&error_description=No+thanks&iss=https%3A%2F%2Fas.example";
        match pending(true).accept(query) {
            Response::Refused(named) => assert_eq!(named.to_string(), "access_denied: No thanks"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn cbl_03_iss_follows_the_table_of_rfc_9207() {
        let ours = "iss=https%3A%2F%2Fas.example";
        for (sends_iss, iss, expected) in [
            (true, ours, "code"),
            (true, "", "mix-up"),
            (false, ours, "code"),
            (false, "", "code"),
            (true, "iss=https%3A%2F%2Fas.example%2F", "mix-up"),
            (false, "iss=https%3A%2F%2Fevil.example", "mix-up"),
            (false, "iss=HTTPS%3A%2F%2Fas.example", "mix-up"),
        ] {
            assert_eq!(says(sends_iss, &format!("state=st%26te&code=x&{iss}")), expected, "{sends_iss} {iss}");
        }
        // An error of somebody else's is not shown either.
        assert_eq!(says(true, "state=st%26te&error=access_denied&iss=https%3A%2F%2Fevil.example"), "mix-up");
        assert_eq!(says(true, "state=st%26te&error=access_denied"), "mix-up");
    }
}
