//! `list`: everything that is kept.

use clap::Args;
use serde_json::json;

use super::status;
use crate::context::Context;
use crate::failure::Outcome;
use crate::print::Report;

/// List every login and registration that is kept, of all profiles
#[derive(Args, Debug)]
pub struct List {}

impl List {
    /// Lists; shows no secret.
    ///
    /// # Errors
    /// When the vault cannot be read.
    pub async fn run(self, ctx: &Context) -> Outcome<Report> {
        let book = ctx.vault.read().await?;
        let now = ctx.now();
        let logins: Vec<_> = book.tokens.iter().map(|entry| status::describe(entry, now)).collect();
        let registrations: Vec<_> = book
            .registrations
            .iter()
            .map(|known| {
                json!({
                    "issuer": known.issuer,
                    "profile": known.profile,
                    "client_id": known.client_id,
                    "source": known.source,
                    "token_endpoint_auth_method": known.method,
                })
            })
            .collect();
        let lines: Vec<_> = book
            .tokens
            .iter()
            .map(|entry| format!("{}\n   Profile: {}", status::lines(entry, now), entry.profile))
            .collect();
        let text = if lines.is_empty() { "No logins are kept.".to_owned() } else { lines.join("\n\n") };
        let folder = ctx.vault.folder().to_string_lossy();
        Ok(Report::done(text, json!({ "store": folder, "logins": logins, "registrations": registrations })))
    }
}
