//! Which server a command means, and how its authorization server is found.

use clap::Args;
use serde_json::json;
use shared::oauth::metadata::well_known;
use shared::uri::{Issuer, Resource};

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::flow::discover::{self, CheckedIssuer, CheckedResource, DiscoverError, Hints};
use crate::flow::scopes::Known;
use crate::net::http::{METADATA_LIMIT, NoReply, Reply};
use crate::print::shell_word;

/// The issuer when nobody says.
pub const DEFAULT_ISSUER: &str = "http://localhost:3000";
/// The stdio server's name when nobody says.
pub const DEFAULT_NAME: &str = "default";
/// The environment variable with the issuer.
pub const ISSUER_VARIABLE: &str = "MCP_AUTHZ_ISSUER";

/// How a server is named on the command line.
#[derive(Args, Clone, Debug, Default)]
pub struct ServerArgs {
    /// URL of an MCP server, or of an authorization server (issuer) whose tokens a stdio server takes
    #[arg(value_name = "URL")]
    pub url: Option<String>,
    /// The same as URL
    #[arg(long = "server", value_name = "URL", conflicts_with = "url")]
    pub server: Option<String>,
    /// Authorization server to use instead of the one that the MCP server names [default for stdio servers:
    /// $MCP_AUTHZ_ISSUER, else http://localhost:3000]
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// Resource that tokens are for [default: the MCP server, or urn:mcp:stdio:NAME]
    #[arg(long, value_name = "URI", conflicts_with = "name")]
    pub resource: Option<String>,
    /// Name of the stdio server that tokens are for [default: default]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// A server that the command line names, before anybody was asked about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Named {
    /// A URL that may be an MCP server's or an issuer's.
    Url {
        /// The URL.
        url: String,
        /// The issuer, if one was fixed.
        issuer: Option<Issuer>,
    },
    /// A resource and the issuer of its tokens: nothing has to be found out.
    Resource {
        /// The issuer.
        issuer: Issuer,
        /// Whether the person named the issuer.
        fixed: bool,
        /// The resource.
        resource: Resource,
    },
}

impl ServerArgs {
    /// What the arguments mean. `environment` is the value of `MCP_AUTHZ_ISSUER`.
    ///
    /// # Errors
    /// When a URL, issuer, resource or name has a form that it cannot have.
    pub fn named(&self, environment: Option<&str>) -> Outcome<Named> {
        let url = self.url.as_ref().or(self.server.as_ref());
        let resource = match (&self.resource, &self.name) {
            (Some(resource), _) => Some(read_resource(resource)?),
            (None, Some(name)) => Some(Resource::stdio(name).map_err(|error| bad(name, &error))?),
            (None, None) => None,
        };
        let issuer = self.issuer.as_deref().map(read_issuer).transpose()?;
        match (url, resource, issuer) {
            (Some(url), None, issuer) => Ok(Named::Url { url: url.clone(), issuer }),
            (Some(url), Some(resource), None) => {
                Ok(Named::Resource { issuer: read_issuer(url)?, fixed: true, resource })
            }
            (Some(_), Some(_), Some(_)) => Err(Failure::usage(
                "URL, --issuer and --resource (or --name) together say more than there is to say",
                "leave one of them out",
            )),
            (None, resource, issuer) => {
                let fixed = issuer.is_some() || environment.is_some();
                let issuer = match issuer {
                    Some(issuer) => issuer,
                    None => read_issuer(environment.unwrap_or(DEFAULT_ISSUER))?,
                };
                Ok(Named::Resource { issuer, fixed, resource: resource.map_or_else(default_resource, Ok)? })
            }
        }
    }

    /// [`named`](Self::named), with the environment as it is.
    ///
    /// # Errors
    /// As there.
    pub fn named_here(&self) -> Outcome<Named> {
        let environment = std::env::var(ISSUER_VARIABLE).ok().filter(|value| !value.is_empty());
        self.named(environment.as_deref())
    }

    /// The command that logs in to this server.
    pub fn login_command(&self, profile: &str) -> String {
        let mut words = vec!["mcp-client".to_owned(), "login".to_owned()];
        words.extend(self.url.iter().chain(&self.server).map(|url| shell_word(url)));
        for (flag, value) in [("--issuer", &self.issuer), ("--resource", &self.resource), ("--name", &self.name)] {
            words.extend(value.iter().flat_map(|value| [flag.to_owned(), shell_word(value)]));
        }
        if profile != crate::cli::DEFAULT_PROFILE {
            words.extend(["--profile".to_owned(), profile.to_owned()]);
        }
        words.join(" ")
    }
}

fn default_resource() -> Outcome<Resource> {
    Resource::stdio(DEFAULT_NAME).map_err(|error| bad(DEFAULT_NAME, &error))
}

fn read_issuer(text: &str) -> Outcome<Issuer> {
    text.parse().map_err(|error| bad(text, &error))
}

fn read_resource(text: &str) -> Outcome<Resource> {
    text.parse().map_err(|error| bad(text, &error))
}

fn bad(text: &str, error: &dyn std::error::Error) -> Failure {
    Failure::usage(format!("{text:?}: {error}"), "run: mcp-client help login")
}

/// A server whose authorization server was found and checked.
#[derive(Clone, Debug)]
pub struct Located {
    /// The authorization server.
    pub issuer: CheckedIssuer,
    /// What tokens are asked for.
    pub resource: Resource,
    /// The MCP server's URL, if it has one.
    pub server: Option<String>,
    /// What is known about scopes.
    pub known: Known,
}

/// Finds the authorization server of a server.
///
/// A URL is asked first: an MCP server answers `401`; what answers otherwise and publishes an issuer's metadata under
/// exactly this name is an issuer.
///
/// # Errors
/// When nothing answers, or what answers cannot be trusted.
pub async fn locate(ctx: &Context, named: &Named, hints: Option<Hints>) -> Outcome<Located> {
    match named {
        Named::Resource { issuer, resource, .. } => {
            let checked = issuer_metadata(ctx, issuer).await?;
            let server = resource.stdio_name().is_none().then(|| resource.as_str().to_owned());
            Ok(located(checked, resource.clone(), server, None, None))
        }
        Named::Url { url, issuer } => locate_url(ctx, url, issuer.as_ref(), hints).await,
    }
}

async fn locate_url(ctx: &Context, url: &str, fixed: Option<&Issuer>, hints: Option<Hints>) -> Outcome<Located> {
    let server = discover::server_url(url)?;
    let hints = match hints {
        Some(hints) => Some(hints),
        None => probe(ctx, url).await?,
    };
    let mut failure = open_or_nothing(url);
    if let (None, None, Ok(issuer)) = (&hints, fixed, url.parse::<Issuer>()) {
        match issuer_metadata(ctx, &issuer).await {
            Ok(checked) => return Ok(located(checked, default_resource()?, None, None, None)),
            // It is an issuer, but not one to trust: say that, unless it turns out to be an MCP server.
            Err(untrusted) if untrusted.exit == Exit::Refused => failure = untrusted,
            Err(_) => {}
        }
    }
    let asked_for = hints.is_some();
    let hints = hints.unwrap_or_default();
    let found = resource_metadata(ctx, &server, hints.resource_metadata.as_deref()).await?;
    let (resource, issuer, scopes) = match (found, fixed) {
        (Some(found), Some(issuer)) => (found.resource, issuer.clone(), found.scopes),
        (Some(found), None) => (found.resource, found.issuer, found.scopes),
        (None, Some(issuer)) => (server.clone(), issuer.clone(), None),
        // MCP 2025-03-26: a server without metadata is its own authorization server.
        (None, None) if asked_for => (server.clone(), origin_issuer(url)?, None),
        (None, None) => return Err(failure),
    };
    let checked = issuer_metadata(ctx, &issuer).await?;
    Ok(located(checked, resource, Some(url.to_owned()), hints.scope, scopes))
}

fn located(
    issuer: CheckedIssuer,
    resource: Resource,
    server: Option<String>,
    challenged: Option<shared::scope::Scopes>,
    listed: Option<Vec<String>>,
) -> Located {
    let stdio = resource.stdio_name().is_some();
    let known = Known { wished: None, challenged, resource: listed, issuer: issuer.scopes.clone(), stdio };
    Located { issuer, resource, server, known }
}

fn origin_issuer(url: &str) -> Outcome<Issuer> {
    discover::origin(url).and_then(|origin| origin.parse().ok()).ok_or_else(|| DiscoverError::NoIssuer.into())
}

fn open_or_nothing(url: &str) -> Failure {
    Failure::failed(
        "no_login",
        format!("{url} neither asks for a login nor publishes an authorization server's metadata"),
        format!("if it is an open MCP server, run: mcp-client tools {}; otherwise check the URL", shell_word(url)),
    )
}

/// Asks a URL something without a token. `Some` when it answers that a token is needed.
async fn probe(ctx: &Context, url: &str) -> Outcome<Option<Hints>> {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "mcp-client", "version": env!("CARGO_PKG_VERSION") },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let question = json!({ "jsonrpc": "2.0", "id": 0, "method": "server/discover", "params": { "_meta": meta } });
    let reply = ctx.http.post_json(url, "application/json, text/event-stream", &question).await;
    match reply {
        Ok(reply) if reply.status == 401 => Ok(Some(hints(&reply))),
        Ok(_) => Ok(None),
        // An open server may answer with a stream that does not end: that is an answer too.
        Err(NoReply { reason, .. }) if reason.starts_with("it sends more") => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn hints(reply: &Reply) -> Hints {
    Hints::read(reply.challenges.iter().map(String::as_str))
}

async fn resource_metadata(ctx: &Context, server: &Resource, hint: Option<&str>) -> Outcome<Option<CheckedResource>> {
    for place in discover::resource_places(server, hint)? {
        let reply = ctx.http.get(&place, METADATA_LIMIT).await?;
        match reply.status {
            200 => match discover::accept_resource(server, &place, &reply.body) {
                Ok(checked) => return Ok(Some(checked)),
                // A page that is served for every path says nothing.
                Err(DiscoverError::Unreadable(_)) if hint.is_none() => {}
                // The root's metadata may be another resource's.
                Err(DiscoverError::OtherResource { .. }) if hint.is_none() && is_root(server, &place) => {}
                Err(error) => return Err(error.into()),
            },
            status if hint.is_some() => {
                return Err(Failure::new(
                    Exit::Network,
                    "bad_metadata",
                    format!("{place}, where the server says its metadata is, answered HTTP {status}"),
                    "tell the operator of the server, or name its authorization server with --issuer",
                ));
            }
            _ => {}
        }
    }
    Ok(None)
}

fn is_root(server: &Resource, place: &str) -> bool {
    well_known(server.as_str(), "oauth-protected-resource").is_some_and(|own| own != place)
}

/// Fetches and checks an issuer's metadata.
///
/// # Errors
/// When no place has it, or what is there cannot be trusted.
pub async fn issuer_metadata(ctx: &Context, issuer: &Issuer) -> Outcome<CheckedIssuer> {
    let mut first = None;
    for place in discover::issuer_places(issuer) {
        let reply = ctx.http.get(&place, METADATA_LIMIT).await?;
        let failure = match reply.status {
            200 => match discover::accept_issuer(issuer, &reply.body) {
                Ok(checked) => return Ok(checked),
                Err(error) => error.into(),
            },
            status if status >= 500 => Failure::network(format!("{place} answered HTTP {status}")),
            _ => continue,
        };
        first.get_or_insert(failure);
    }
    Err(first.unwrap_or_else(|| {
        Failure::new(
            Exit::Network,
            "no_metadata",
            format!("{issuer} publishes no authorization server metadata"),
            "check the URL, and that it is the issuer's exact name",
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(url: Option<&str>, issuer: Option<&str>, resource: Option<&str>, name: Option<&str>) -> ServerArgs {
        let text = |text: Option<&str>| text.map(str::to_owned);
        ServerArgs { url: text(url), server: None, issuer: text(issuer), resource: text(resource), name: text(name) }
    }

    fn resource(issuer: &str, fixed: bool, resource: &str) -> Named {
        Named::Resource { issuer: issuer.parse().unwrap(), fixed, resource: resource.parse().unwrap() }
    }

    #[test]
    fn a_server_is_named_by_url_or_by_issuer_and_resource() {
        let default = "urn:mcp:stdio:default";
        for (given, environment, named) in [
            (args(None, None, None, None), None, resource(DEFAULT_ISSUER, false, default)),
            (args(None, None, None, None), Some("https://e.example"), resource("https://e.example", true, default)),
            (args(None, Some("https://i.example"), None, Some("files")), Some("https://e.example"), {
                resource("https://i.example", true, "urn:mcp:stdio:files")
            }),
            (args(Some("https://i.example"), None, Some("https://r.example/mcp"), None), None, {
                resource("https://i.example", true, "https://r.example/mcp")
            }),
            (args(Some("https://u.example"), None, None, None), Some("https://e.example"), {
                Named::Url { url: "https://u.example".into(), issuer: None }
            }),
            (args(Some("https://u.example"), Some("https://i.example"), None, None), None, {
                Named::Url { url: "https://u.example".into(), issuer: Some("https://i.example".parse().unwrap()) }
            }),
        ] {
            assert_eq!(given.named(environment).unwrap(), named);
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        for given in [
            args(None, Some("not a url"), None, None),
            args(None, None, Some("http://remote.example"), None),
            args(None, None, None, Some("../x")),
            args(Some("https://u"), Some("https://i"), Some("https://r"), None),
        ] {
            assert_eq!(given.named(None).unwrap_err().exit, Exit::Usage, "{given:?}");
        }
    }
}
