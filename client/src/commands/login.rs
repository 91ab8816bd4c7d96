//! `login`: through the browser.

use clap::Args;
use serde_json::json;

use super::status;
use crate::context::Context;
use crate::failure::Outcome;
use crate::login::{LoginArgs, login};
use crate::print::Report;
use crate::server::{ServerArgs, locate};

/// Log in through the browser, and keep the tokens
#[derive(Args, Debug)]
pub struct Login {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    login: LoginArgs,
}

impl Login {
    /// Logs in.
    ///
    /// # Errors
    /// When the login does not come about.
    pub async fn run(self, ctx: &Context) -> Outcome<Report> {
        self.login.wished()?;
        let located = locate(ctx, &self.server.named_here()?, None).await?;
        let key = login(ctx, &located, &self.login).await?;
        let book = ctx.vault.read().await?;
        let described = book.entry(&key).map(|entry| status::describe(entry, ctx.now()));
        let scope = book.entry(&key).map(|entry| entry.scope.to_string()).unwrap_or_default();
        let text = format!(
            "✅ Logged in to {}\n   Issuer: {}\n   Scopes: {}",
            key.resource,
            key.issuer,
            status::or_none(&scope)
        );
        Ok(Report::done(text, json!({ "logged_in": true, "login": described })))
    }
}
