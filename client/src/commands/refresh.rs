//! `refresh`: new tokens now.

use clap::Args;
use serde_json::json;

use super::status;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::print::Report;
use crate::server::ServerArgs;
use crate::tokens::{self, Refreshed, When};

/// Fetch new tokens with the refresh token that is kept
#[derive(Args, Debug)]
pub struct Refresh {
    #[command(flatten)]
    server: ServerArgs,
}

impl Refresh {
    /// Refreshes now, due or not.
    ///
    /// # Errors
    /// When there is no login, or the server refuses.
    pub async fn run(self, ctx: &Context) -> Outcome<Report> {
        let named = self.server.named_here()?;
        let login = self.server.login_command(&ctx.profile);
        let book = ctx.vault.read().await?;
        let Some(entry) = tokens::find(&book, &ctx.profile, &named)? else {
            return Err(Failure::login("there is no login to refresh", &login));
        };
        let key = entry.key();
        let refreshed = tokens::refresh(ctx, &key, When::Still(entry.generation), &login).await?;
        let book = ctx.vault.read().await?;
        let described = book.entry(&key).map(|entry| status::describe(entry, ctx.now()));
        let text = match refreshed {
            Refreshed::Now => "✅ Tokens refreshed",
            Refreshed::ByAnother | Refreshed::NotDue => "✅ Tokens were refreshed by another program just now",
        };
        let json = json!({ "refreshed": refreshed == Refreshed::Now, "login": described });
        Ok(Report::done(text, json))
    }
}
