//! `logout`: taken back, then forgotten.

use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::print::Report;
use crate::server::ServerArgs;
use crate::tokens::{self, Revoked};

/// Take the tokens back at the server, and forget them
#[derive(Args, Debug)]
pub struct Logout {
    #[command(flatten)]
    server: ServerArgs,
}

impl Logout {
    /// Logs out. The tokens are forgotten here also when the server could not be told.
    ///
    /// # Errors
    /// When there is nothing to log out from.
    pub async fn run(self, ctx: &Context) -> Outcome<Report> {
        let named = self.server.named_here()?;
        let book = ctx.vault.read().await?;
        let Some(entry) = tokens::find(&book, &ctx.profile, &named)? else {
            return Err(Failure::failed(
                "not_logged_in",
                "there is no such login",
                "see what there is: mcp-client list",
            ));
        };
        let key = entry.key();
        // No refresh may put new tokens there meanwhile.
        let _guard = ctx.vault.lock_refresh(&key).await?;
        let book = ctx.vault.read().await?;
        let revoked = match book.entry(&key) {
            Some(entry) => tokens::revoke(ctx, &book, entry).await,
            None => Revoked::Done,
        };
        ctx.vault.change(|book| book.remove(&key)).await?;
        let (exit, text, word) = match &revoked {
            Revoked::Done => (Exit::Done, "✅ Logged out: the server has taken the tokens back.".to_owned(), "revoked"),
            Revoked::NotOffered => (
                Exit::Done,
                "Logged out here. The server offers no revocation: the tokens end when they expire.".to_owned(),
                "not_offered",
            ),
            Revoked::Failed(reason) => (
                Exit::Failed,
                format!(
                    "Logged out here, but the server could not be told ({reason}).\nThe tokens stay good until they expire, or until you revoke this access at {}.",
                    key.issuer
                ),
                "failed",
            ),
        };
        let json = json!({
            "logged_out": true,
            "revocation": word,
            "issuer": key.issuer,
            "resource": key.resource,
            "profile": key.profile,
        });
        Ok(Report { text, json, exit })
    }
}
