//! Whose tokens are accepted at a URL: the store's, or those of another authorization server.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use shared::browser::INTROSPECTION_VARIABLE;
use shared::files::secret_in;
use shared::secret::Secret;
use shared::token::{AccessTokenFor, TokenType};
use shared::uri::{Issuer, Resource};

use crate::verify::Verify;
use crate::verify::foreign::introspection::{Credentials, Introspection};
use crate::verify::foreign::jwks::Jwks;
use crate::verify::foreign::site::Site;

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

    /// Our name at another issuer that is asked about tokens. Our secret there stands in MCP_AUTHZ_INTROSPECTION_SECRET or
    /// in a file: a command line is no place for it
    #[arg(long, value_name = "ID")]
    introspection_client: Option<String>,

    /// The file with nothing but our secret there, which nobody else may read
    #[arg(long, value_name = "FILE")]
    introspection_secret_file: Option<PathBuf>,

    /// How many seconds the answer that a token is good is believed: so long may a revocation go unseen. 0 asks anew for
    /// each request [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=300))]
    introspection_cache: Option<u64>,

    #[arg(skip = std::env::var(INTROSPECTION_VARIABLE).ok().filter(|secret| !secret.is_empty()).map(Secret::new))]
    introspection_secret: Option<Secret>,
}

/// What tokens are checked by.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum By {
    /// The store.
    Store,
    /// The keys of another issuer.
    Jwks,
    /// What another issuer says of each token.
    Introspection,
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
        self.check_flags()?;
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
        if self.verify == By::Jwks {
            let verify = Jwks::new(wanted, site);
            verify.prepare();
            return Ok(Some(Arc::new(verify)));
        }
        let cache = Duration::from_secs(self.introspection_cache.unwrap_or(5));
        let verify = Introspection::new(wanted, site, self.credentials()?, cache);
        verify.prepare();
        Ok(Some(Arc::new(verify)))
    }

    /// Refuses what would say something and mean nothing.
    fn check_flags(&self) -> io::Result<()> {
        let asks = self.introspection_client.is_some() || self.introspection_secret_file.is_some();
        let signed = self.token_type != Type::AccessToken;
        let idle = match self.verify {
            By::Store if self.audience.is_some() => Some("--audience needs --verify jwks or introspection"),
            By::Store | By::Jwks if asks => Some("--introspection-client and its secret need --verify introspection"),
            By::Store | By::Jwks if self.introspection_cache.is_some() => {
                Some("--introspection-cache needs --verify introspection")
            }
            By::Store | By::Introspection if signed => Some("--token-type needs --verify jwks"),
            _ => None,
        };
        idle.map_or(Ok(()), |idle| Err(io::Error::other(idle)))
    }

    /// Who we are to an issuer that is asked: it answers nobody else (RFC 7662 section 2.1).
    fn credentials(&self) -> io::Result<Credentials> {
        let secret = match (&self.introspection_secret_file, &self.introspection_secret) {
            (Some(file), _) => Some(secret_in(file).map_err(io::Error::other)?),
            (None, secret) => secret.as_ref().map(|secret| Secret::new(secret.expose().to_owned())),
        };
        match (&self.introspection_client, secret.filter(|secret| !secret.expose().is_empty())) {
            (Some(id), Some(secret)) if !id.is_empty() => Ok(Credentials { id: id.clone(), secret }),
            _ => Err(io::Error::other(format!(
                "--verify introspection needs --introspection-client, and its secret in {INTROSPECTION_VARIABLE} or \
                 --introspection-secret-file"
            ))),
        }
    }
}
