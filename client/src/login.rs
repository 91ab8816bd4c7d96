//! A login: find, register, ask in the browser, exchange, keep.

use std::time::Duration;

use clap::Args;
use shared::browser;
use shared::id::ClientId;
use shared::oauth::cimd::{DocumentUrl, NotADocumentUrl};
use shared::oauth::pkce::Verifier;
use shared::scope::Scopes;
use shared::secret::Secret;
use shared::uri::{Issuer, Parts};

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::flow::authorize::{Pending, Response};
use crate::flow::client::Client;
use crate::flow::discover::CheckedIssuer;
use crate::flow::token::{self, TokenError, Tokens};
use crate::flow::{register, scopes};
use crate::input::read_text;
use crate::net::callback::{Hit, Listener};
use crate::print::clean_line;
use crate::server::Located;
use crate::vault::{Key, Registration, Source};

/// The longest file with a client secret, in bytes.
const LONGEST_SECRET: u64 = 64 * 1024;

/// How a person, and a client, log in.
#[derive(Args, Clone)]
#[command(next_help_heading = "Login")]
pub struct LoginArgs {
    /// Scopes to ask for, with spaces between them [default: what the server asks for]
    #[arg(long, value_name = "SCOPES")]
    pub scope: Option<String>,
    /// Id of a client that is registered there already
    #[arg(long, value_name = "ID", env = "MCP_CLIENT_ID")]
    pub client_id: Option<String>,
    /// Its secret; @FILE reads it from a file, which keeps it out of the list of processes
    #[arg(long, value_name = "SECRET", env = "MCP_CLIENT_SECRET", hide_env_values = true, requires = "client_id")]
    pub client_secret: Option<String>,
    /// https URL of this client's metadata document, used as its id where the server takes such documents
    #[arg(long, value_name = "URL", env = "MCP_CLIENT_METADATA_URL")]
    pub client_metadata_url: Option<String>,
    /// Forget the registration that is kept, and register again
    #[arg(long)]
    pub register_again: bool,
    /// Port of the callback listener on this machine [default: a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub callback_port: Option<u16>,
    /// Open no browser; print the URL only
    #[arg(long)]
    pub no_browser: bool,
    /// Show a code to type on another device, instead of a browser on this one
    #[arg(long)]
    pub device: bool,
    /// How many seconds to wait for the person
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
}

impl std::fmt::Debug for LoginArgs {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginArgs")
            .field("scope", &self.scope)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl Default for LoginArgs {
    fn default() -> Self {
        Self {
            scope: None,
            client_id: None,
            client_secret: None,
            client_metadata_url: None,
            register_again: false,
            callback_port: None,
            no_browser: false,
            device: false,
            timeout: 300,
        }
    }
}

impl LoginArgs {
    /// The scopes that the person wishes.
    ///
    /// # Errors
    /// When they are no scopes.
    pub fn wished(&self) -> Outcome<Option<Scopes>> {
        let read = |text: &String| {
            text.parse().map_err(|error| Failure::usage(format!("--scope: {error}"), "put spaces between scopes"))
        };
        self.scope.as_ref().map(read).transpose()
    }

    /// The secret, read from its file if it names one.
    async fn secret(&self) -> Outcome<Option<Secret>> {
        let Some(text) = self.client_secret.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let Some(path) = text.strip_prefix('@') else { return Ok(Some(Secret::new(text.to_owned()))) };
        let read = read_text(path, LONGEST_SECRET)
            .await
            .map_err(|error| Failure::usage(format!("--client-secret: {path}: {error}"), "name a readable file"))?;
        Ok(Some(Secret::new(read.trim_end_matches(['\r', '\n']).to_owned())))
    }
}

/// Who we are at an issuer, and how we came to be.
#[derive(Debug)]
pub struct Identity {
    /// The client.
    pub client: Client,
    /// Where it comes from.
    pub source: Source,
    /// Whether it was made just now.
    pub fresh: bool,
}

/// Logs in, and keeps the tokens. One new registration at most, when the server has forgotten the one that we keep.
///
/// # Errors
/// When the server or the person refuses, nobody answers in time, or an answer cannot be trusted.
pub async fn login(ctx: &Context, located: &Located, args: &LoginArgs) -> Outcome<Key> {
    if args.device {
        return crate::device::login(ctx, located, args).await;
    }
    let mut again = args.register_again;
    loop {
        let mut listener = listen(ctx, &located.issuer.issuer, args).await?;
        let identity = identify(ctx, &located.issuer, args, &listener.redirect_uri(), again).await?;
        let may_register_again = identity.source == Source::Dynamic && !identity.fresh && !again;
        if may_register_again && is_forgotten(ctx, located, &identity, &listener.redirect_uri()).await {
            ctx.out.note("The server does not know this client any more: registering again.");
            again = true;
            continue;
        }
        let pending = begin(located, &identity, &listener, args)?;
        show(ctx, &pending.url(), args.no_browser);
        let (code, hit) = answer(ctx, &mut listener, &pending, Duration::from_secs(args.timeout)).await?;
        // Whoever comes now finds nobody: the login has its answer.
        drop(listener);
        match exchange(ctx, located, &identity.client, &pending, &code).await {
            Ok(tokens) => {
                let kept = keep(ctx, located, &identity, &pending.redirect_uri, &tokens).await;
                match &kept {
                    Ok(_) => hit.logged_in().await,
                    Err(_) => hit.ended().await,
                }
                return kept;
            }
            Err(Exchange::Token(TokenError::InvalidClient(_))) if may_register_again => {
                hit.ended().await;
                ctx.out.note("The server does not know this client any more: registering again.");
                again = true;
            }
            Err(failure) => {
                hit.ended().await;
                return Err(failure.into());
            }
        }
    }
}

/// Listens where the kept registration expects it, else where the person says, else anywhere.
pub(crate) async fn listen(ctx: &Context, issuer: &Issuer, args: &LoginArgs) -> Outcome<Listener> {
    if let Some(port) = args.callback_port {
        return Listener::bind(Some(port)).await.map_err(|error| {
            Failure::failed(
                "port_in_use",
                format!("cannot listen on port {port}: {error}"),
                "free it, or leave out --callback-port",
            )
        });
    }
    // Any port will do on loopback (RFC 8252 section 7.3), but not every server knows that.
    let book = ctx.vault.read().await.or_else(forgive_damage)?;
    let registered = book.registration(issuer, &ctx.profile).map(|known| known.redirect_uri.clone());
    let port = registered.as_deref().and_then(Parts::of).and_then(|parts| parts.port()?.parse().ok());
    if let Some(port) = port
        && let Ok(listener) = Listener::bind(Some(port)).await
    {
        return Ok(listener);
    }
    Listener::bind(None).await.map_err(|error| {
        Failure::failed("no_port", format!("cannot listen on this machine: {error}"), "check its network")
    })
}

/// A damaged file was put aside: a login starts afresh, and that is what the person asked for.
fn forgive_damage(error: crate::vault::VaultError) -> Outcome<crate::vault::Book> {
    match error {
        crate::vault::VaultError::Damaged(_) => Ok(crate::vault::Book::default()),
        other => Err(other.into()),
    }
}

/// Who we are: given by the person, then a metadata document, then what is kept, then a new registration.
///
/// # Errors
/// When the server registers nobody, or refuses us.
pub async fn identify(
    ctx: &Context,
    issuer: &CheckedIssuer,
    args: &LoginArgs,
    redirect_uri: &str,
    again: bool,
) -> Outcome<Identity> {
    let bad_id = |_| Failure::usage("the client id is not 1 to 2048 visible ASCII characters", "check --client-id");
    if let Some(id) = &args.client_id {
        let client = Client::given(id.parse::<ClientId>().map_err(bad_id)?, args.secret().await?, &issuer.auth_methods);
        return Ok(Identity { client, source: Source::Given, fresh: false });
    }
    let book = ctx.vault.read().await.or_else(forgive_damage)?;
    let kept = book.registration(&issuer.issuer, &ctx.profile).filter(|_| !again);
    let identity = |known: &Registration| Identity { client: known.client(), source: known.source, fresh: false };
    if let Some(known) = kept.filter(|known| known.source == Source::Given) {
        return Ok(identity(known));
    }
    if let Some(url) = args.client_metadata_url.as_ref().filter(|_| issuer.takes_documents) {
        let id = document_id(url)?;
        return Ok(Identity { client: Client::given(id, None, &[]), source: Source::Document, fresh: false });
    }
    if let Some(known) = kept {
        return Ok(identity(known));
    }
    let client = register(ctx, issuer, redirect_uri).await?;
    let registration = Registration::of(&issuer.issuer, &ctx.profile, Source::Dynamic, &client, redirect_uri);
    ctx.vault.change(|book| book.register(registration)).await?;
    Ok(Identity { client, source: Source::Dynamic, fresh: true })
}

/// A metadata document's URL is https with a path (Client ID Metadata Documents section 3).
fn document_id(url: &str) -> Outcome<ClientId> {
    let bad = |why: NotADocumentUrl| Failure::usage(why.to_string(), "check --client-metadata-url");
    let url: DocumentUrl = url.parse().map_err(bad)?;
    url.as_str().parse().map_err(|_| bad(NotADocumentUrl::Form))
}

/// Registers a new client.
///
/// # Errors
/// When the server does not, or gives something that cannot be used.
pub async fn register(ctx: &Context, issuer: &CheckedIssuer, redirect_uri: &str) -> Outcome<Client> {
    let Some(endpoint) = &issuer.registration_endpoint else {
        return Err(register::RegisterError::NotOffered(issuer.issuer.to_string()).into());
    };
    let body = serde_json::to_value(register::request(issuer, redirect_uri)).unwrap_or_default();
    let reply = ctx.http.post_json(endpoint, "application/json", &body).await?;
    Ok(register::accept(reply.status, &reply.body, redirect_uri)?)
}

/// Whether the server has forgotten the registration that we keep. It would show that to the person and not to us, and
/// the login would wait in vain; so it is asked first, by a request that shows no page (`prompt=none`, OpenID Connect
/// Core section 3.1.2.1): a client that it knows is sent back by a redirect.
async fn is_forgotten(ctx: &Context, located: &Located, identity: &Identity, redirect_uri: &str) -> bool {
    let question = pending(located, identity, redirect_uri, Scopes::default());
    let url = format!("{}&prompt=none", question.url());
    let reply = ctx.http.get_once(&url, crate::net::http::METADATA_LIMIT).await;
    reply.is_ok_and(|reply| matches!(reply.status, 400 | 401) && reply.location.is_none())
}

pub(crate) fn begin(located: &Located, identity: &Identity, listener: &Listener, args: &LoginArgs) -> Outcome<Pending> {
    let known = scopes::Known { wished: args.wished()?, ..located.known.clone() };
    Ok(pending(located, identity, &listener.redirect_uri(), scopes::select(&known)))
}

fn pending(located: &Located, identity: &Identity, redirect_uri: &str, scope: Scopes) -> Pending {
    Pending::new(
        &located.issuer,
        identity.client.id.clone(),
        redirect_uri.to_owned(),
        (scope, located.resource.clone()),
        (Secret::random(), Verifier::random()),
    )
}

/// Sends the person to the browser, and prints the URL whatever comes of it.
pub(crate) fn show(ctx: &Context, url: &str, no_browser: bool) {
    let variable = std::env::var("BROWSER").ok();
    if no_browser {
        ctx.out.note(&format!("Open this URL in a browser on this machine:\n\n  {url}\n"));
    } else if browser::open(url, variable.as_deref()).is_ok() {
        ctx.out.note(&format!("A browser was opened. If it does not show up, open this URL:\n\n  {url}\n"));
    } else {
        ctx.out.note(&format!("No browser could be started. Open this URL in one on this machine:\n\n  {url}\n"));
    }
}

/// Waits for the answer to this login. Whatever else arrives is turned away and does not end the wait.
pub(crate) async fn answer(
    ctx: &Context,
    listener: &mut Listener,
    pending: &Pending,
    patience: Duration,
) -> Outcome<(Secret, Hit)> {
    let wait = async {
        while let Some(hit) = listener.hit().await {
            match pending.accept(&hit.query) {
                Response::NotOurs(why) => {
                    ctx.out.note(&format!("Turned away a request to the callback: {why}. Still waiting."));
                    hit.refused().await;
                }
                Response::MixUp => {
                    hit.refused().await;
                    return Err(Failure::new(
                        Exit::Refused,
                        "mix_up",
                        format!("the answer does not come from {}: the login was stopped (RFC 9207)", pending.issuer),
                        "do not trust the server that sent you there; check its URL before you try again",
                    ));
                }
                Response::Refused(named) => {
                    hit.ended().await;
                    let what = format!("the login was refused ({})", clean_line(&named.to_string(), 300));
                    let next = "run the command again, and allow the access";
                    return Err(Failure::new(Exit::Refused, "access_denied", what, next));
                }
                Response::Code(code) => return Ok((code, hit)),
            }
        }
        Err(Failure::failed("listener", "the callback listener ended", "try again"))
    };
    tokio::time::timeout(patience, wait).await.unwrap_or_else(|_| {
        Err(Failure::new(
            Exit::Login,
            "login_timeout",
            format!("nobody logged in within {} seconds", patience.as_secs()),
            "run the command again; if the browser showed an error about the client, add --register-again",
        ))
    })
}

/// Why an exchange failed.
pub(crate) enum Exchange {
    Network(Failure),
    Token(TokenError),
}

impl From<Exchange> for Failure {
    fn from(error: Exchange) -> Self {
        match error {
            Exchange::Network(failure) => failure,
            // A code that is refused at once is not a login that has grown old.
            Exchange::Token(TokenError::InvalidGrant(named)) => Self::new(
                Exit::Refused,
                "invalid_grant",
                format!("the server refused the code ({named})"),
                "log in again",
            ),
            Exchange::Token(error) => error.into(),
        }
    }
}

pub(crate) async fn exchange(
    ctx: &Context,
    located: &Located,
    client: &Client,
    pending: &Pending,
    code: &Secret,
) -> Result<Tokens, Exchange> {
    let form = token::code_request(&located.issuer.token_endpoint, client, pending, code);
    let reply = ctx.http.post_form(&form).await.map_err(|error| Exchange::Network(error.into()))?;
    token::accept(reply.status, &reply.body, &pending.scope, ctx.now()).map_err(Exchange::Token)
}

pub(crate) async fn keep(
    ctx: &Context,
    located: &Located,
    identity: &Identity,
    redirect_uri: &str,
    tokens: &Tokens,
) -> Outcome<Key> {
    let issuer = located.issuer.issuer.clone();
    let key = Key { issuer, resource: located.resource.clone(), profile: ctx.profile.clone() };
    let registration = Registration::of(&key.issuer, &ctx.profile, identity.source, &identity.client, redirect_uri);
    let now = ctx.now();
    let result = ctx
        .vault
        .change(|book| {
            // A dynamic registration is kept with the redirect URI that was registered.
            if identity.source != Source::Dynamic {
                book.register(registration);
            }
            book.log_in(&key, located.server.clone(), &identity.client.id, tokens, now);
        })
        .await;
    result.map_err(Failure::from)?;
    Ok(key)
}
