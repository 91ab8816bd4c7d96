//! `demo`: the whole path, step by step, on a store of its own.

mod service;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rmcp::model::{CallToolResult, JsonObject};
use serde_json::{Value, json};
use shared::secret::Secret;
use shared::store::place::{DATA_VARIABLE, default_folder};
use shared::uri::{Issuer, Resource};

use super::call::{Guarded, guarded, text};
use crate::connection::{OUR_SERVER, sibling};
use crate::context::Context;
use crate::elicit::Elicit;
use crate::failure::{Exit, Failure, Outcome};
use crate::login::{self, Identity, LoginArgs};
use crate::net::http::{Http, METADATA_LIMIT};
use crate::print::{Report, clean_line};
use crate::server::{DEFAULT_NAME, Located, Named, locate};
use crate::session::{Child, Manner, Session, SessionError};
use crate::tokens::{self, Revoked};
use crate::vault::Key;
use service::{Scratch, Service};

/// What is said through the guarded tool.
const HELLO: &str = "Hello from authenticated client!";
/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many redirects the played browser follows on the service.
const HOPS: usize = 5;

/// Walk the whole path: register, authorize, get a token, call a guarded tool, revoke
///
/// Starts an authz-service and a mcp-stdio-server on a fresh temporary store, and ends them again. Needs nobody: the
/// service approves by itself and the browser is played. With --interactive you set up the owner's account, log in
/// and consent in your own browser.
#[derive(Args, Debug)]
pub struct Demo {
    /// Use the real browser, login and consent page
    #[arg(long)]
    interactive: bool,
    /// Use the authz-service that runs at URL instead of starting one
    #[arg(long = "server", value_name = "URL")]
    server: Option<String>,
    /// Store folder of that service [default: the default store folder]
    #[arg(long, value_name = "DIR", env = DATA_VARIABLE)]
    data: Option<PathBuf>,
    /// With --interactive: open no browser; print the URL only
    #[arg(long)]
    no_browser: bool,
    /// How many seconds to wait for the person
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

/// What the demo plays with.
struct Stage<'a> {
    ctx: &'a Context,
    located: Located,
    args: LoginArgs,
    interactive: bool,
}

impl Demo {
    /// Plays the demo.
    ///
    /// # Errors
    /// When a step does not go as it must, also when something is open that must be closed.
    pub async fn run(self, ctx: &Context) -> Outcome<Report> {
        let scratch = Scratch::new()?;
        // Everything that the demo keeps goes with it.
        let vault = crate::vault::Vault::new(Some(scratch.path().join("client")));
        let ctx = &Context { http: Http::default(), vault, out: ctx.out, profile: ctx.profile.clone() };
        ctx.out.line("🎯 MCP Authorization Demo\n=================================\n");
        let (service, issuer, data) = match &self.server {
            Some(url) => (None, read_issuer(url)?, self.data.clone().unwrap_or_else(default_folder)),
            None => {
                let (service, issuer, data) = self.start(ctx, &scratch).await?;
                (Some(service), issuer, data)
            }
        };
        let played = self.play(ctx, issuer, data).await;
        if let Some(service) = service {
            service.end().await;
        }
        played
    }

    async fn start(&self, ctx: &Context, scratch: &Scratch) -> Outcome<(Service, Issuer, PathBuf)> {
        ctx.out.line("🚀 Starting authz-service on a fresh store...");
        let data = scratch.path().join("data");
        let service = Service::start(&data, scratch.path(), self.interactive).await?;
        let issuer = read_issuer(&service.url())?;
        ctx.out.line("✅ authz-service is ready");
        Ok((service, issuer, data))
    }

    async fn play(&self, ctx: &Context, issuer: Issuer, data: PathBuf) -> Outcome<Report> {
        ctx.out.line("🚀 Starting mcp-stdio-server, before any token exists...");
        let arguments = vec!["--data".into(), data.into(), "--issuer".into(), issuer.as_str().into()];
        let child = Child { program: sibling(OUR_SERVER), arguments, data: None };
        let manner = Manner { patience: PATIENCE, elicit: Elicit::Off, out: ctx.out };
        let session = Session::start(&child, manner).await.map_err(|error| failed(&error))?;
        ctx.out.line("✅ mcp-stdio-server is running\n");
        let resource =
            Resource::stdio(DEFAULT_NAME).map_err(|error| Failure::usage(error.to_string(), "report this"))?;
        let named = Named::Resource { issuer, fixed: true, resource };
        let located = locate(ctx, &named, None).await?;
        let args = LoginArgs { no_browser: self.no_browser, timeout: self.timeout, ..LoginArgs::default() };
        let stage = Stage { ctx, located, args, interactive: self.interactive };
        let told = stage.tell(&session).await;
        session.close().await;
        told
    }
}

fn read_issuer(url: &str) -> Outcome<Issuer> {
    url.parse()
        .map_err(|error| Failure::usage(format!("{url}: {error}"), "name the service as in http://localhost:3000"))
}

impl Stage<'_> {
    async fn tell(&self, session: &Session) -> Outcome<Report> {
        let (identity, mut listener) = self.register().await?;
        let (key, token) = self.authorize(&identity, &mut listener).await?;
        drop(listener);
        let (tools, answer) = self.use_tools(session, &token).await?;
        self.revoke(session, &key, &token).await?;
        self.ctx.out.line("✅ Authorization flow complete!");
        let json = json!({
            "complete": true,
            "issuer": key.issuer,
            "resource": key.resource,
            "client_id": identity.client.id,
            "tools": tools,
            "refused_without_token": true,
            "answer": answer,
            "refused_after_revocation": true,
        });
        Ok(Report { text: String::new(), json, exit: Exit::Done })
    }

    async fn register(&self) -> Outcome<(Identity, crate::net::callback::Listener)> {
        self.title("Step 1: Dynamic Client Registration");
        self.say("📝 Registering client with server...");
        let issuer = &self.located.issuer;
        let listener = login::listen(self.ctx, &issuer.issuer, &self.args).await?;
        let identity = login::identify(self.ctx, issuer, &self.args, &listener.redirect_uri(), false).await?;
        self.say("✅ Client registration successful!");
        self.say(&format!("   Client ID: {}\n", identity.client.id));
        Ok((identity, listener))
    }

    async fn authorize(
        &self,
        identity: &Identity,
        listener: &mut crate::net::callback::Listener,
    ) -> Outcome<(Key, Secret)> {
        self.title("Step 2: OAuth Authorization Flow");
        self.say("🔐 Starting OAuth authorization flow...");
        self.say(&format!("   Callback server listening on port {}", listener.port()));
        let pending = login::begin(&self.located, identity, listener, &self.args)?;
        self.say("🌐 Opening browser for authorization...");
        let mut browser = None;
        if self.interactive {
            self.ctx.out.note("If authz-service printed a link for the owner's account above, open that one first.");
            login::show(self.ctx, &pending.url(), self.args.no_browser);
        } else {
            browser = Some(tokio::spawn(play_browser(pending.url(), pending.redirect_uri.clone())));
        }
        let patience = Duration::from_secs(self.args.timeout);
        let answer = login::answer(self.ctx, listener, &pending, patience);
        let (code, hit) = match browser.as_mut() {
            None => answer.await?,
            Some(browser) => tokio::select! {
                answer = answer => answer?,
                Err(failure) = watch(browser) => return Err(failure),
            },
        };
        self.say("✅ Authorization code received\n");
        self.title("Step 3: Token Exchange");
        self.say("🔄 Exchanging authorization code for access token...");
        let tokens = login::exchange(self.ctx, &self.located, &identity.client, &pending, &code).await;
        let tokens = match tokens {
            Ok(tokens) => tokens,
            Err(failure) => {
                hit.ended().await;
                return Err(failure.into());
            }
        };
        let key = login::keep(self.ctx, &self.located, identity, &pending.redirect_uri, &tokens).await?;
        hit.logged_in().await;
        self.say("✅ Access token received!");
        self.say("   Token type: Bearer");
        if let Some(expires) = tokens.expires {
            self.say(&format!("   Expires in: {} seconds", (expires - self.ctx.now()).0));
        }
        self.say(&format!("   Scopes: {}\n", tokens.scope));
        Ok((key, tokens.access))
    }

    async fn use_tools(&self, session: &Session, token: &Secret) -> Outcome<(Vec<String>, Value)> {
        self.title("Step 4: MCP Tool Access");
        self.say("🔌 Connecting to MCP server...");
        self.say("✅ Connected to MCP server");
        self.say("📋 Fetching available tools...");
        let mut tools: Vec<String> = session
            .tools()
            .await
            .map_err(|error| failed(&error))?
            .into_iter()
            .map(|tool| tool.name.into_owned())
            .collect();
        tools.sort();
        self.say(&format!("📋 Available tools: {}\n", tools.join(", ")));
        self.say("🔓 Testing public tool...");
        let public = call(session, "public_info", JsonObject::new(), None).await?;
        self.say(&format!("Response: {}\n", shown(&public)));
        self.say("🔒 Testing auth-protected tool without a token...");
        let refused = call(session, "echo", hello(), None).await?;
        expect_refusal(&refused, "without a token")?;
        self.say("✅ Refused: authorization is needed\n");
        self.say("🔐 Testing auth-protected tool...");
        let answered = call(session, "echo", hello(), Some(token)).await?;
        if answered.is_error == Some(true) {
            let what = format!("the guarded tool refused a good token: {}", clean_line(&text(&answered), 300));
            return Err(Failure::failed(
                "demo",
                what,
                "check that the service and the stdio server use one store folder",
            ));
        }
        self.say(&format!("Response: {}\n", shown(&answered)));
        Ok((tools, answered.structured_content.unwrap_or_default()))
    }

    async fn revoke(&self, session: &Session, key: &Key, token: &Secret) -> Outcome<()> {
        self.title("Step 5: Revocation");
        self.say("🚫 Revoking the access...");
        let book = self.ctx.vault.read().await?;
        let Some(entry) = book.entry(key) else {
            return Err(Failure::failed("demo", "the login was not kept", "report this"));
        };
        match tokens::revoke(self.ctx, &book, entry).await {
            Revoked::Done => self.say("✅ Access revoked"),
            Revoked::NotOffered => {
                return Err(Failure::failed("demo", "the service offers no revocation", "use another"));
            }
            Revoked::Failed(why) => {
                return Err(Failure::failed("demo", format!("the revocation failed: {why}"), "try again"));
            }
        }
        self.say("🔒 Testing the same tool with the same token, on the server that is running...");
        let refused = call(session, "echo", hello(), Some(token)).await?;
        expect_refusal(&refused, "after the revocation")?;
        self.say("✅ Refused: the token is no longer good\n");
        Ok(())
    }

    fn title(&self, text: &str) {
        self.ctx.out.line(&format!("{text}\n{}", "-".repeat(text.len())));
    }

    fn say(&self, text: &str) {
        self.ctx.out.line(text);
    }
}

/// Plays the browser: follows the service's own redirects, then the one that leads back to the callback.
async fn play_browser(url: String, redirect_uri: String) -> Outcome<()> {
    let http = Http::default();
    let mut url = url;
    for _ in 0..HOPS {
        let reply = http.get_once(&url, METADATA_LIMIT).await?;
        if url.starts_with(&redirect_uri) {
            return Ok(());
        }
        let Some(next) = reply.location.filter(|_| (300..400).contains(&reply.status)) else { break };
        // Only this service's own pages, and our own callback.
        let ours = next.starts_with(&redirect_uri) || crate::flow::discover::same_origin(&url, &next);
        url = match (ours, next.starts_with('/')) {
            (true, _) => next,
            (false, true) => crate::flow::discover::origin(&url).unwrap_or_default() + &next,
            (false, false) => break,
        };
    }
    Err(Failure::failed(
        "needs_a_person",
        "the service does not approve by itself: it shows a page to a person",
        "run: mcp-client demo --interactive; or start the service with --auto-approve",
    ))
}

/// The played browser's failure; never ends when it succeeds, since then the callback has the answer.
async fn watch(browser: &mut tokio::task::JoinHandle<Outcome<()>>) -> Outcome<()> {
    match browser.await {
        Ok(Err(failure)) => Err(failure),
        _ => std::future::pending().await,
    }
}

fn hello() -> JsonObject {
    JsonObject::from_iter([("message".to_owned(), Value::from(HELLO))])
}

async fn call(session: &Session, name: &str, arguments: JsonObject, token: Option<&Secret>) -> Outcome<CallToolResult> {
    session.call(name, arguments, token, false).await.map_err(|error| failed(&error))
}

fn expect_refusal(result: &CallToolResult, when: &str) -> Outcome<()> {
    match guarded(result) {
        Some(Guarded::Unauthorized | Guarded::InvalidToken) => Ok(()),
        _ => Err(Failure::failed(
            "demo",
            format!("the guarded tool answered {when}"),
            "do not use this server: report this",
        )),
    }
}

fn shown(result: &CallToolResult) -> String {
    match &result.structured_content {
        Some(structured) => clean_line(&structured.to_string(), 500),
        None => clean_line(&text(result), 500),
    }
}

fn failed(error: &SessionError) -> Failure {
    Failure::failed("demo", error.to_string(), "look at what the servers printed above; run them by hand")
}
