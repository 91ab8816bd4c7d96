//! `register`: who we are at an issuer.

use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::login::{LoginArgs, identify};
use crate::net::callback::Listener;
use crate::print::Report;
use crate::server::{ServerArgs, locate};
use crate::vault::{Registration, Source};

/// Register this client with an authorization server, and keep the registration
#[derive(Args, Debug)]
pub struct Register {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    login: LoginArgs,
}

impl Register {
    /// Registers, unless a registration is kept already.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn run(self, ctx: &Context) -> Outcome<Report> {
        let located = locate(ctx, &self.server.named_here()?, None).await?;
        let listener = Listener::bind(self.login.callback_port).await.map_err(|error| {
            Failure::failed("port_in_use", format!("cannot listen: {error}"), "choose another --callback-port")
        })?;
        let redirect_uri = listener.redirect_uri();
        let identity = identify(ctx, &located.issuer, &self.login, &redirect_uri, self.login.register_again).await?;
        if identity.source == Source::Given {
            let issuer = &located.issuer.issuer;
            let given = Registration::of(issuer, &ctx.profile, Source::Given, &identity.client, &redirect_uri);
            ctx.vault.change(|book| book.register(given)).await?;
        }
        let id = identity.client.id.as_str();
        let head =
            if identity.fresh { "✅ Client registration successful!" } else { "This client is registered already." };
        let json = json!({
            "registered": identity.fresh,
            "issuer": located.issuer.issuer,
            "client_id": id,
            "token_endpoint_auth_method": identity.client.method,
        });
        Ok(Report::done(format!("{head}\n   Client ID: {id}\n   Issuer: {}", located.issuer.issuer), json))
    }
}
