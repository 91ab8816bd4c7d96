//! What of an authorization server's metadata is used to check its tokens (RFC 8414 section 2).

use serde::Deserialize;
use shared::oauth::json::parse_as;
use shared::oauth::metadata::is_endpoint;
use shared::uri::Issuer;

/// Where an issuer is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoints {
    /// Its keys.
    pub jwks: Option<String>,
    /// What it says of a token.
    pub introspection: Option<String>,
    /// Whether a secret goes there by Basic; else in the form.
    pub takes_basic: bool,
}

/// Why a metadata document is not used. For the operator.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadMetadata {
    /// Not a metadata document.
    #[error("its metadata cannot be read: {0}")]
    Unreadable(String),
    /// RFC 8414 section 3.3.
    #[error("its metadata are of the issuer {0:?}; --issuer must name the same, byte for byte")]
    OtherIssuer(String),
    /// Not a place to send anything to.
    #[error("its {0} is neither an https URL nor, like the issuer, on this machine")]
    Endpoint(&'static str),
}

/// What others write is read only as far as it is used.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    #[serde(default)]
    jwks_uri: Option<String>,
    #[serde(default)]
    introspection_endpoint: Option<String>,
    #[serde(default)]
    introspection_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Endpoints {
    /// Judges the metadata document of `issuer`.
    ///
    /// # Errors
    /// When it is another issuer's, or leads where nothing may be sent.
    pub fn accept(issuer: &Issuer, body: &[u8]) -> Result<Self, BadMetadata> {
        let read: Metadata = parse_as(body).map_err(|error| BadMetadata::Unreadable(error.to_string()))?;
        if read.issuer != issuer.as_str() {
            let shown = read.issuer.chars().take(200).collect();
            return Err(BadMetadata::OtherIssuer(shown));
        }
        let endpoint = |name, url: Option<String>| match url {
            Some(url) if !is_endpoint(issuer, &url) => Err(BadMetadata::Endpoint(name)),
            url => Ok(url),
        };
        // Nothing said means Basic, as at the token endpoint (RFC 8414 section 2).
        let methods = read.introspection_endpoint_auth_methods_supported;
        let takes = |word: &str| methods.as_ref().is_some_and(|all| all.iter().any(|one| one == word));
        Ok(Self {
            takes_basic: takes("client_secret_basic") || !takes("client_secret_post"),
            jwks: endpoint("jwks_uri", read.jwks_uri)?,
            introspection: endpoint("introspection_endpoint", read.introspection_endpoint)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn accept(issuer: &str, change: &[(&str, Value)]) -> Result<Endpoints, BadMetadata> {
        let mut document = json!({
            "issuer": "https://id.example/t",
            "jwks_uri": "https://keys.example/jwks",
            "introspection_endpoint": "https://id.example/t/introspect",
            "scopes_supported": null,
        });
        change.iter().for_each(|(name, value)| document[*name] = value.clone());
        Endpoints::accept(&issuer.parse().unwrap(), document.to_string().as_bytes())
    }

    #[test]
    fn dsc_03_metadata_are_of_the_issuer_that_was_asked_byte_for_byte() {
        assert!(accept("https://id.example/t", &[]).is_ok());
        for other in ["https://id.example/t/", "https://ID.example/t", "https://evil.example", ""] {
            let refused = accept("https://id.example/t", &[("issuer", json!(other))]);
            assert_eq!(refused, Err(BadMetadata::OtherIssuer(other.into())));
        }
    }

    #[test]
    fn dsc_01_nothing_is_sent_where_an_issuer_has_no_business() {
        for bad in
            ["http://id.example/x", "https://127.0.0.1/x", "https://u@id.example/x", "file:///x", "https://x/#y", ""]
        {
            for name in ["jwks_uri", "introspection_endpoint"] {
                let refused = accept("https://id.example/t", &[(name, json!(bad))]);
                assert_eq!(refused, Err(BadMetadata::Endpoint(name)), "{bad}");
            }
        }
        let local = [("issuer", json!("http://localhost:1")), ("jwks_uri", json!("http://127.0.0.1:2/jwks"))];
        assert!(accept("http://localhost:1", &local).is_ok());
    }

    #[test]
    fn a_secret_goes_by_basic_unless_only_the_form_is_taken() {
        let takes_basic = |methods: Value| {
            let name = "introspection_endpoint_auth_methods_supported";
            accept("https://id.example/t", &[(name, methods)]).unwrap().takes_basic
        };
        assert!(takes_basic(json!(null)) && takes_basic(json!(["client_secret_post", "client_secret_basic"])));
        assert!(takes_basic(json!(["private_key_jwt"])) && !takes_basic(json!(["client_secret_post"])));
    }

    #[test]
    fn metadata_are_read_strictly_as_far_as_they_are_used() {
        let none = accept("https://id.example/t", &[("jwks_uri", json!(null))]).unwrap();
        assert_eq!(none.jwks, None);
        let issuer = "https://id.example".parse().unwrap();
        let twice = br#"{"issuer":"https://id.example","issuer":"https://id.example"}"#;
        for body in [&b"<html>"[..], b"", b"[]", b"{}", b"{", br#"{"issuer":7}"#, twice] {
            assert!(matches!(Endpoints::accept(&issuer, body), Err(BadMetadata::Unreadable(_))));
        }
    }
}
