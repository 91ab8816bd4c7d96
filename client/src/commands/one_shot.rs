//! `one-shot`: a token for one call, for whoever makes the call.

use clap::Args;
use serde_json::json;

use super::call::arguments;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::flow::exchange::OneCall;
use crate::print::Report;
use crate::server::ServerArgs;
use crate::tokens;

/// Print a token that is good for one call of a tool with these arguments, once, within a minute
#[derive(Args, Debug)]
pub struct OneShot {
    /// Name of the tool
    #[arg(value_name = "NAME")]
    tool: String,
    /// The arguments of the call, without access_token: a JSON object, or @FILE
    #[arg(long, value_name = "JSON", default_value = "{}")]
    args: String,
    #[command(flatten)]
    server: ServerArgs,
}

impl OneShot {
    /// Exchanges the token that is kept.
    ///
    /// # Errors
    /// When there is no login, the arguments are no object, or the server refuses.
    pub async fn run(self, ctx: &Context) -> Outcome<Report> {
        let mut arguments = arguments(&self.args).await?;
        // It is not part of the call that is hashed.
        arguments.remove("access_token");
        let call = OneCall { tool: self.tool, arguments };
        let named = self.server.named_here()?;
        let login = self.server.login_command(&ctx.profile);
        let book = ctx.vault.read().await?;
        let Some(entry) = tokens::find(&book, &ctx.profile, &named)? else {
            return Err(Failure::login("there is no login for this server", &login));
        };
        let one_shot = tokens::one_shot(ctx, &entry.key(), &call, &login).await?;
        let json = json!({
            "access_token": one_shot.token.expose(),
            "expires_in": one_shot.expires.map(|expires| (expires - ctx.now()).0),
            "tool": call.tool,
            "arguments_sha256": call.arguments_sha256(),
        });
        Ok(Report::done(one_shot.token.expose(), json))
    }
}
