//! A connection to whatever server the command line names, with the right token, and with what a refusal asks for.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use shared::scope::Scopes;
use shared::secret::Secret;

use crate::context::Context;
use crate::elicit::Elicit;
use crate::failure::{Exit, Failure, Outcome};
use crate::flow::discover::{self, Hints};
use crate::flow::exchange::OneCall;
use crate::flow::scopes;
use crate::login::{self, LoginArgs};
use crate::net::streamable::ServerClient;
use crate::print::{clean_line, shell_word};
use crate::server::{DEFAULT_ISSUER, DEFAULT_NAME, Named, ServerArgs, locate};
use crate::session::{Child, Manner, Session, SessionError};
use crate::tokens::{self, TOKEN_VARIABLE, When};
use crate::vault::{Book, Key};

/// The stdio server that is started when none is named.
pub const OUR_SERVER: &str = "mcp-stdio-server";

/// Which server, and how to come in.
#[derive(Args, Clone, Debug)]
pub struct ConnectArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Start a stdio server: COMMAND, or the mcp-stdio-server beside this program
    #[arg(long)]
    stdio: bool,
    /// Store folder of the stdio server that is started
    #[arg(long, value_name = "DIR", env = shared::store::place::DATA_VARIABLE)]
    data: Option<PathBuf>,
    /// Pass the token as the argument `access_token`, as older servers want it, instead of in the request's metadata
    #[arg(long)]
    token_argument: bool,
    /// Send no token
    #[arg(long)]
    anonymous: bool,
    /// Log in when the server asks for it, also when nobody is at a terminal
    #[arg(long)]
    login: bool,
    /// Whether the server may have a page opened in your browser: it is shown to you, and you are asked
    #[arg(long, value_name = "WHETHER", default_value = "auto")]
    elicit: Elicit,
    /// How many seconds a request may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    request_timeout: u64,
    /// Command of the stdio server, after `--`
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    login_args: LoginArgs,
}

/// Where requests go.
#[derive(Clone, Debug)]
enum Route {
    Stdio(Child),
    Http(String),
}

/// What we come with.
#[derive(Debug)]
enum Credential {
    Nothing,
    /// From the environment: used as it is.
    Given(Secret),
    /// From the vault: refreshed when due.
    Kept(Key),
}

/// A server that is going to be used.
#[derive(Debug)]
pub struct Connection<'a> {
    ctx: &'a Context,
    args: &'a ConnectArgs,
    named: Named,
    route: Route,
    credential: Credential,
    generation: Option<u64>,
    one_call: Option<OneCall>,
    tried_refresh: bool,
    tried_login: bool,
}

impl<'a> Connection<'a> {
    /// Finds out which server is meant, and which token is for it. Connects to nothing yet.
    ///
    /// # Errors
    /// When the command line makes no sense, or the vault cannot be read.
    pub async fn new(ctx: &'a Context, args: &'a ConnectArgs) -> Outcome<Self> {
        let has_url = args.server.url.is_some() || args.server.server.is_some();
        let wants_stdio = args.stdio || !args.command.is_empty() || !has_url;
        let named = args.named(wants_stdio)?;
        let book = ctx.vault.read().await?;
        let kept = tokens::find(&book, &ctx.profile, &named)?.map(crate::vault::Entry::key);
        // The issuer of a stdio server's tokens was named: the server is the one beside us.
        let is_issuer = kept.as_ref().is_some_and(|key| key.resource.stdio_name().is_some());
        let resource = match (&kept, &named) {
            (Some(key), _) => Some(key.resource.clone()),
            (None, Named::Resource { resource, .. }) => Some(resource.clone()),
            _ => None,
        };
        let route = match (&named, &resource) {
            (Named::Url { url, .. }, _) if !wants_stdio && !is_issuer => {
                Route::Http(discover::server_url(url).map(|_| url.clone())?)
            }
            (Named::Resource { .. }, Some(resource)) if !wants_stdio && resource.stdio_name().is_none() => {
                Route::Http(resource.as_str().to_owned())
            }
            _ => Route::Stdio(args.child(resource.as_ref().and_then(|resource| resource.stdio_name()))),
        };
        // The issuer's name finds a login too, but its token is for the server alone (contract C13).
        let kept = kept.filter(|_| match &route {
            Route::Stdio(_) => true,
            Route::Http(url) => is_for(&book, &ctx.profile, &named, url),
        });
        let environment = given_token(std::env::var_os(TOKEN_VARIABLE))?;
        let credential = match (args.anonymous, environment, kept) {
            (true, ..) => Credential::Nothing,
            (false, Some(token), _) => Credential::Given(token),
            (false, None, Some(key)) => Credential::Kept(key),
            (false, None, None) => Credential::Nothing,
        };
        Ok(Self {
            ctx,
            args,
            named,
            route,
            credential,
            generation: None,
            one_call: None,
            tried_refresh: false,
            tried_login: false,
        })
    }

    /// Comes with tokens that are good for this call and no other.
    ///
    /// # Errors
    /// When there is no login that such tokens could come from.
    pub fn for_one_call(&mut self, call: OneCall) -> Outcome<()> {
        if let Credential::Given(_) = self.credential {
            let what = "--one-shot needs a login, and there is a token in MCP_ACCESS_TOKEN";
            return Err(Failure::usage(what, "unset MCP_ACCESS_TOKEN, or leave out --one-shot"));
        }
        self.one_call = Some(call);
        Ok(())
    }

    /// Whether the token travels as an argument.
    pub fn token_argument(&self) -> bool {
        self.args.token_argument || self.one_call.is_some()
    }

    /// Connects, works, and says good-bye. What the server asks for by HTTP 401 and 403 is fetched: one refresh and one
    /// login at most.
    ///
    /// # Errors
    /// When the server refuses, fails or is not there.
    pub async fn run<T>(
        &mut self,
        work: impl AsyncFn(&Session, Option<&Secret>) -> Result<T, SessionError>,
    ) -> Outcome<T> {
        loop {
            let token = self.token().await?;
            let failure = match self.attempt(token, &work).await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            match failure {
                SessionError::Unauthorized(hints) => self.recover(Some(hints)).await?,
                SessionError::InsufficientScope(hints) => {
                    let needed = hints.scope.clone().unwrap_or_default();
                    self.step_up(&needed, Some(hints)).await?;
                }
                other => return Err(self.failure(&other)),
            }
        }
    }

    async fn attempt<T>(
        &self,
        token: Option<Secret>,
        work: &impl AsyncFn(&Session, Option<&Secret>) -> Result<T, SessionError>,
    ) -> Result<T, SessionError> {
        let patience = Duration::from_secs(self.args.request_timeout);
        let manner = Manner { patience, elicit: self.args.elicit, out: self.ctx.out };
        match &self.route {
            Route::Stdio(child) => {
                let session = Session::start(child, manner).await?;
                let done = work(&session, token.as_ref()).await;
                session.close().await;
                done
            }
            Route::Http(url) => {
                let http = self.ctx.http.client(url).map_err(|error| SessionError::Connection(error.to_string()))?;
                // The header carries it; a copy in the request would only be one more place.
                let session = Session::open(ServerClient::new(http.clone(), url, token), url, manner).await?;
                let done = work(&session, None).await;
                session.close().await;
                done
            }
        }
    }

    async fn token(&mut self) -> Outcome<Option<Secret>> {
        match &self.credential {
            Credential::Nothing => Ok(None),
            Credential::Given(token) => Ok(Some(crate::vault::copy(token))),
            Credential::Kept(key) => {
                let login = self.login_command();
                let got = match &self.one_call {
                    None => tokens::access(self.ctx, key, &login).await,
                    Some(call) => {
                        let got = tokens::one_shot(self.ctx, key, call, &login).await;
                        got.map(|one_shot| (one_shot.token, one_shot.generation))
                    }
                };
                let (token, generation) = match got {
                    // Tools that are open stay open when a login has ended.
                    Err(failure) if failure.exit == Exit::Login && failure.code == "login_required" => {
                        self.ctx.out.note(&format!("Note: {}; going on without a token.", failure.what));
                        return Ok(None);
                    }
                    other => other?,
                };
                self.generation = Some(generation);
                Ok(Some(token))
            }
        }
    }

    /// The token was not taken. Fetches a better one: by a refresh, then by a login, each once.
    ///
    /// # Errors
    /// When there is nothing left to try.
    pub async fn recover(&mut self, hints: Option<Hints>) -> Outcome<()> {
        if let (Credential::Kept(key), Some(generation), false) =
            (&self.credential, self.generation, self.tried_refresh)
        {
            self.tried_refresh = true;
            match tokens::refresh(self.ctx, key, When::Still(generation), &self.login_command()).await {
                Ok(_) => return Ok(()),
                Err(failure) if failure.exit != Exit::Login => return Err(failure),
                Err(_) => {}
            }
        }
        if self.args.anonymous {
            let what = "the server asks for a login, and --anonymous sends none";
            return Err(Failure::new(Exit::Login, "login_required", what, "leave out --anonymous"));
        }
        if !self.may_login() {
            let what = match &self.credential {
                Credential::Nothing => "the server asks for a login",
                Credential::Given(_) => "the server does not take the token in MCP_ACCESS_TOKEN",
                Credential::Kept(_) => "the server no longer takes the login that is kept",
            };
            return Err(Failure::new(Exit::Login, "login_required", what, self.advice(&self.login_command())));
        }
        self.log_in(self.args.login_args.clone(), hints).await
    }

    /// The token does not reach far enough. Asks the person for more, once.
    ///
    /// # Errors
    /// When there is nobody to ask, or it was tried already.
    pub async fn step_up(&mut self, needed: &Scopes, hints: Option<Hints>) -> Outcome<()> {
        let refusal = || {
            let mut command = self.login_command();
            command.push_str(&format!(" --scope {}", shell_word(&needed.to_string())));
            Failure::new(
                Exit::Refused,
                "insufficient_scope",
                format!(
                    "the login does not reach far enough; it takes these scopes: {}",
                    clean_line(&needed.to_string(), 500)
                ),
                self.advice(&command),
            )
        };
        let Credential::Kept(key) = &self.credential else { return Err(refusal()) };
        if !self.may_login() || needed.is_empty() {
            return Err(refusal());
        }
        let book = self.ctx.vault.read().await?;
        let before = book.entry(key).map(|entry| entry.scope.clone()).unwrap_or_default();
        if needed.within(&before) {
            return Err(refusal());
        }
        let scope = Some(scopes::step_up(&before, needed).to_string());
        self.log_in(LoginArgs { scope, ..self.args.login_args.clone() }, hints).await
    }

    fn may_login(&self) -> bool {
        let attended = std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && !self.ctx.out.is_json();
        !self.tried_login
            && !self.args.anonymous
            && !matches!(self.credential, Credential::Given(_))
            && (self.args.login || attended)
    }

    async fn log_in(&mut self, args: LoginArgs, hints: Option<Hints>) -> Outcome<()> {
        self.tried_login = true;
        self.ctx.out.note("The server asks for a login.");
        let located = locate(self.ctx, &self.named, hints).await?;
        let key = login::login(self.ctx, &located, &args).await?;
        self.credential = Credential::Kept(key);
        // A fresh token that is refused is an error, not a reason to refresh it.
        self.tried_refresh = true;
        Ok(())
    }

    /// What to do to come in. A token in the environment goes before every login.
    fn advice(&self, command: &str) -> String {
        match &self.credential {
            Credential::Given(_) => {
                format!("unset {TOKEN_VARIABLE}, or put a good token there; to log in, run: {command}")
            }
            _ => format!("run: {command}"),
        }
    }

    /// The command that logs in to this server again, at the same issuer.
    fn login_command(&self) -> String {
        let mut server = self.args.server.clone();
        let names_issuer = server.url.is_some() || server.server.is_some() || server.issuer.is_some();
        if let (Credential::Kept(key), false) = (&self.credential, names_issuer)
            && key.issuer.as_str() != DEFAULT_ISSUER
        {
            server.issuer = Some(key.issuer.to_string());
        }
        server.login_command(&self.ctx.profile)
    }

    fn failure(&self, error: &SessionError) -> Failure {
        let what = error.to_string();
        match error {
            SessionError::Unauthorized(_) => Failure::login(what, &self.login_command()),
            SessionError::InsufficientScope(_) => {
                Failure::new(Exit::Refused, "insufficient_scope", what, format!("run: {}", self.login_command()))
            }
            SessionError::Rpc { .. } => Failure::new(
                Exit::Refused,
                "json_rpc_error",
                what,
                "check the tool's name and arguments: mcp-client tools",
            ),
            SessionError::Start { .. } => {
                Failure::failed("start", what, "check the command after --, or put the program on the PATH")
            }
            SessionError::Status(status @ (403 | 429)) => Failure::new(
                Exit::Refused,
                "http_refused",
                format!("the server refused with HTTP {status}"),
                "ask its operator, or try later",
            ),
            // A page that takes no messages: perhaps the issuer that a stdio server's tokens come from.
            SessionError::Status(404 | 405) if matches!(self.route, Route::Http(_)) => Failure::new(
                Exit::Network,
                "no_answer",
                what,
                format!(
                    "check that an MCP server is running there; if it is an authorization server, run: {}, or add --stdio",
                    self.login_command()
                ),
            ),
            SessionError::Status(_) | SessionError::Connection(_) | SessionError::Timeout(_) => {
                let next = match self.route {
                    Route::Stdio(_) => "look at what the server printed above; run its command by hand",
                    Route::Http(_) => "check the address, and that an MCP server is running there",
                };
                Failure::new(Exit::Network, "no_answer", what, next)
            }
            SessionError::Nonsense(_) => {
                Failure::new(Exit::Network, "bad_answer", what, "check that this is an MCP server")
            }
        }
    }
}

impl ConnectArgs {
    /// For a stdio server a URL is the issuer of its tokens.
    fn named(&self, stdio: bool) -> Outcome<Named> {
        let server = &self.server;
        let names_resource = server.resource.is_some() || server.name.is_some() || server.issuer.is_some();
        if stdio && !names_resource {
            return ServerArgs { name: Some(DEFAULT_NAME.to_owned()), ..server.clone() }.named_here();
        }
        server.named_here()
    }

    fn child(&self, name: Option<&str>) -> Child {
        let data = self.data.clone();
        if let Some((program, arguments)) = self.command.split_first() {
            return Child { program: program.clone(), arguments: arguments.to_vec(), data };
        }
        let name = name.filter(|name| *name != DEFAULT_NAME);
        let arguments = name.map_or_else(Vec::new, |name| vec!["--name".into(), name.into()]);
        Child { program: sibling(OUR_SERVER), arguments, data }
    }
}

/// The token that the environment gives; an empty one counts as not set.
fn given_token(value: Option<OsString>) -> Outcome<Option<Secret>> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    match value.into_string() {
        Ok(token) if token.bytes().all(|b| b.is_ascii_graphic()) => Ok(Some(Secret::new(token))),
        _ => Err(Failure::usage(
            format!("{TOKEN_VARIABLE} holds no access token: there are characters in it that no token has"),
            "set it to the token alone: no blanks, no line breaks, no \"Bearer\"",
        )),
    }
}

/// Whether the login that was found is for the server at `url`.
fn is_for(book: &Book, profile: &str, named: &Named, url: &str) -> bool {
    let found = tokens::find(book, profile, named).ok().flatten();
    found.is_some_and(|entry| entry.server.as_deref() == Some(url) || entry.resource.as_str() == url)
}

/// A program beside this one; else its name, for the PATH.
pub fn sibling(name: &str) -> OsString {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join(&file)));
    beside.filter(|path| path.is_file()).map_or_else(|| file.into(), PathBuf::into_os_string)
}
