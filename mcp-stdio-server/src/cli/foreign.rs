//! Whose tokens are accepted at a URL: the store's, or those of another authorization server.

use std::io;
use std::sync::Arc;

use clap::ValueEnum;
use shared::token::{AccessTokenFor, TokenType};
use shared::uri::{Issuer, Resource};

use crate::verify::Verify;
use crate::verify::foreign::Site;
use crate::verify::foreign::jwks::Jwks;

/// How tokens are checked, and whose.
#[derive(Debug, clap::Args)]
pub(super) struct Whose {
    /// What tokens are checked by: the store that authz-service writes, or another authorization server, which --issuer
    /// names: by the keys that it publishes, or by asking it about each token
    #[arg(long, value_name = "BY", default_value = "store")]
    pub(super) verify: By,

    /// What must stand in the audience of another issuer's tokens, byte for byte [default: the URL of --resource]
    #[arg(long, value_name = "TEXT", value_parser = audience)]
    audience: Option<String>,

    /// Which type another issuer's signed tokens must have: at+jwt (RFC 9068), or jwt too, for issuers like Keycloak
    /// that write nothing more
    #[arg(long, value_name = "TYPE", default_value = "at+jwt")]
    token_type: Type,
}

/// What tokens are checked by.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum By {
    /// The store.
    Store,
    /// The keys of another issuer.
    Jwks,
}

/// What may stand in a token's header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Type {
    /// What RFC 9068 demands.
    #[value(name = "at+jwt")]
    AccessToken,
    /// Anything that does not say that it is something else.
    Jwt,
}

fn audience(text: &str) -> Result<String, &'static str> {
    let fits = (1..=2048).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    fits.then(|| text.to_owned()).ok_or("an audience is 1 to 2048 characters without spaces")
}

impl Whose {
    /// What checks the tokens of another authorization server; `None` when the store does.
    ///
    /// # Errors
    /// When it is not said whose.
    pub(super) fn verifier(&self, issuer: Option<&Issuer>, resource: &Resource) -> io::Result<Option<Arc<dyn Verify>>> {
        if self.verify == By::Store {
            return Ok(None);
        }
        let issuer =
            issuer.cloned().ok_or_else(|| io::Error::other("--verify needs --issuer: whose tokens are they?"))?;
        let wanted = AccessTokenFor {
            issuer: issuer.clone(),
            audience: self.audience.clone().unwrap_or_else(|| resource.to_string()),
            token_type: match self.token_type {
                Type::AccessToken => TokenType::AccessToken,
                Type::Jwt => TokenType::Jwt,
            },
        };
        let site = Arc::new(Site::new(issuer));
        let verify = Jwks::new(wanted, site);
        verify.prepare();
        Ok(Some(Arc::new(verify)))
    }
}
