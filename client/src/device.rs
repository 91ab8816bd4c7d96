//! A login without a browser on this machine: a code to type elsewhere, and waiting (RFC 8628).

use std::time::Duration;

use serde_json::json;

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::flow::device::{self, DeviceError, Polled, Waiting};
use crate::flow::scopes;
use crate::flow::token::{TokenError, Tokens};
use crate::login::{Identity, LoginArgs, identify, keep, listen};
use crate::server::Located;
use crate::vault::{Key, Source};
use shared::scope::Scopes;

/// Logs in by a code, and keeps the tokens. One new registration at most, when the server has forgotten the one that we
/// keep, or it was made before we asked for this grant.
///
/// # Errors
/// When the server or the person refuses, or nobody decides in time.
pub async fn login(ctx: &Context, located: &Located, args: &LoginArgs) -> Outcome<Key> {
    let known = scopes::Known { wished: args.wished()?, ..located.known.clone() };
    let scope = scopes::select(&known);
    // A registration serves both ways to log in, so it gets a place to be sent back to.
    let redirect_uri = listen(ctx, &located.issuer.issuer, args).await?.redirect_uri();
    let mut again = args.register_again;
    loop {
        let identity = identify(ctx, &located.issuer, args, &redirect_uri, again).await?;
        let may_register_again = identity.source == Source::Dynamic && !identity.fresh && !again;
        match start(ctx, located, &identity, &scope).await {
            Ok(waiting) => {
                let tokens = wait(ctx, located, &identity, &scope, waiting, args).await?;
                return keep(ctx, located, &identity, &redirect_uri, &tokens).await;
            }
            Err(error) if may_register_again && wants_a_new_client(&error) => {
                ctx.out.note("The server does not know this client, or not for this: registering again.");
                again = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Why a login did not begin.
enum NotStarted {
    Network(Failure),
    Device(DeviceError),
}

impl From<NotStarted> for Failure {
    fn from(error: NotStarted) -> Self {
        match error {
            NotStarted::Network(failure) => failure,
            NotStarted::Device(DeviceError::Token(error)) => error.into(),
            NotStarted::Device(error @ DeviceError::NotOffered(_)) => {
                Self::new(Exit::Refused, "device_not_offered", error.to_string(), "log in without --device")
            }
            NotStarted::Device(error @ DeviceError::Unusable(_)) => Self::new(
                Exit::Refused,
                "bad_device_answer",
                error.to_string(),
                "tell the operator of the authorization server",
            ),
        }
    }
}

fn wants_a_new_client(error: &NotStarted) -> bool {
    match error {
        NotStarted::Device(DeviceError::Token(TokenError::InvalidClient(_))) => true,
        NotStarted::Device(DeviceError::Token(TokenError::Refused(named))) => named.error == "unauthorized_client",
        _ => false,
    }
}

async fn start(ctx: &Context, located: &Located, identity: &Identity, scope: &Scopes) -> Result<Waiting, NotStarted> {
    let form = device::request(&located.issuer, &identity.client, scope, &located.resource);
    let form = form.map_err(NotStarted::Device)?;
    let reply = ctx.http.post_form(&form).await.map_err(|error| NotStarted::Network(error.into()))?;
    device::accept(&located.issuer, reply.status, &reply.body, ctx.now()).map_err(NotStarted::Device)
}

async fn wait(
    ctx: &Context,
    located: &Located,
    identity: &Identity,
    scope: &Scopes,
    mut waiting: Waiting,
    args: &LoginArgs,
) -> Outcome<Tokens> {
    show(ctx, &waiting);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(args.timeout);
    loop {
        let pause = Duration::from_secs(waiting.interval.0);
        if tokio::time::Instant::now() + pause > deadline || waiting.expires <= ctx.now() {
            return Err(nobody_came());
        }
        tokio::time::sleep(pause).await;
        let form = waiting.poll(&located.issuer.token_endpoint, &identity.client, &located.resource);
        // A network that comes and goes does not end a login.
        let Ok(reply) = ctx.http.post_form(&form).await else {
            waiting.slow_down();
            continue;
        };
        match waiting.judge(reply.status, &reply.body, scope, ctx.now())? {
            Polled::Waiting => {}
            Polled::Done(tokens) => return Ok(tokens),
            Polled::Expired => return Err(nobody_came()),
            Polled::Denied => {
                let next = "run the command again, and allow the access";
                return Err(Failure::new(Exit::Refused, "access_denied", "the login was refused", next));
            }
        }
    }
}

fn nobody_came() -> Failure {
    let what = "nobody decided before the code's time was over";
    Failure::new(Exit::Login, "login_timeout", what, "run the command again")
}

/// What the person needs: a page and a code. For programs as one line of JSON.
fn show(ctx: &Context, waiting: &Waiting) {
    if ctx.out.is_json() {
        ctx.out.note(&json!({ "verification_uri": waiting.page, "user_code": waiting.user_code }).to_string());
        return;
    }
    let link = waiting.complete.as_ref().map(|url| format!("\n\nor this link, which has the code in it:\n\n  {url}"));
    ctx.out.note(&format!(
        "Open this page on any device:\n\n  {}\n\nand type the code  {}{}\n\nWaiting until you have decided there.",
        waiting.page,
        waiting.user_code,
        link.unwrap_or_default()
    ));
}
