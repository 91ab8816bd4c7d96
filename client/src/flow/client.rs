//! Who we are to an authorization server, and how we prove it (RFC 6749 section 2.3).

use shared::id::ClientId;
use shared::oauth::form::{basic, encode};
use shared::oauth::register::AuthMethod;
use shared::secret::Secret;

use super::FormRequest;

/// A registration at one authorization server.
#[derive(Debug)]
pub struct Client {
    /// Our name there.
    pub id: ClientId,
    /// Our secret there, if we have one.
    pub secret: Option<Secret>,
    /// How the secret is sent.
    pub method: AuthMethod,
}

impl Client {
    /// A client that was registered by hand. Without a secret it is public; with one it uses the first of Basic and
    /// form that the server lists, Basic when it lists nothing (RFC 8414 section 2).
    pub fn given(id: ClientId, secret: Option<Secret>, listed: &[String]) -> Self {
        let takes = |method: AuthMethod| listed.iter().any(|word| word == method.as_str());
        let method = match secret {
            None => AuthMethod::None,
            Some(_) if takes(AuthMethod::ClientSecretPost) && !takes(AuthMethod::ClientSecretBasic) => {
                AuthMethod::ClientSecretPost
            }
            Some(_) => AuthMethod::ClientSecretBasic,
        };
        Self { id, secret, method }
    }

    /// A form to `url`, with the client's credentials added in the registered way and no other.
    pub fn form(&self, url: &str, parameters: &[(&str, &str)]) -> FormRequest {
        let mut parameters = parameters.to_vec();
        let secret = self.secret.as_ref().map_or("", Secret::expose);
        let authorization = match self.method {
            AuthMethod::ClientSecretBasic => Some(basic(self.id.as_str(), secret)),
            AuthMethod::ClientSecretPost => {
                parameters.extend([("client_id", self.id.as_str()), ("client_secret", secret)]);
                None
            }
            // We have no key to sign with; registration never asks for it.
            AuthMethod::None | AuthMethod::PrivateKeyJwt => {
                parameters.push(("client_id", self.id.as_str()));
                None
            }
        };
        FormRequest { url: url.to_owned(), authorization, body: Secret::new(encode(&parameters)) }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn client(method: AuthMethod) -> Client {
        let secret = (method != AuthMethod::None).then(|| Secret::new("a:b %+ä".into()));
        Client { id: "c:1".parse().unwrap(), secret, method }
    }

    #[test]
    fn a_client_authenticates_in_the_registered_way_and_no_other() {
        for (method, header, body) in [
            (AuthMethod::None, None, "x=y&client_id=c%3A1"),
            (AuthMethod::ClientSecretPost, None, "x=y&client_id=c%3A1&client_secret=a%3Ab+%25%2B%C3%A4"),
            (AuthMethod::ClientSecretBasic, Some("c%3A1:a%3Ab+%25%2B%C3%A4"), "x=y"),
        ] {
            let form = client(method).form("https://as.example/token", &[("x", "y")]);
            let expected = header.map(|pair| format!("Basic {}", STANDARD.encode(pair)));
            assert_eq!(form.authorization.as_ref().map(Secret::expose), expected.as_deref());
            assert_eq!(form.body.expose(), body);
        }
    }

    #[test]
    fn a_given_secret_goes_the_way_that_the_server_lists() {
        let method = |secret: Option<&str>, listed: &[&str]| {
            let listed: Vec<_> = listed.iter().map(|word| (*word).to_owned()).collect();
            Client::given("c".parse().unwrap(), secret.map(|s| Secret::new(s.into())), &listed).method
        };
        assert_eq!(method(None, &["client_secret_basic"]), AuthMethod::None);
        assert_eq!(method(Some("s"), &[]), AuthMethod::ClientSecretBasic);
        assert_eq!(method(Some("s"), &["client_secret_post", "client_secret_basic"]), AuthMethod::ClientSecretBasic);
        assert_eq!(method(Some("s"), &["none", "client_secret_post"]), AuthMethod::ClientSecretPost);
    }

    #[test]
    fn crd_07_a_request_does_not_show_its_secrets() {
        let form = client(AuthMethod::ClientSecretPost).form("https://as.example/token", &[("code", "hunter2")]);
        let shown = format!("{form:?} {:?}", client(AuthMethod::ClientSecretPost));
        assert!(!shown.contains("hunter2") && !shown.contains("a:b"), "{shown}");
    }
}
