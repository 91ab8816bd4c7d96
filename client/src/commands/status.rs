//! `status`: whether a login is usable.

use clap::Args;
use serde_json::{Value, json};
use shared::time::Timestamp;

use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::flow::token;
use crate::print::{Report, clean_line};
use crate::server::ServerArgs;
use crate::tokens;
use crate::vault::Entry;

/// Say whether there is a usable login for a server (exit code 3 when there is none)
#[derive(Args, Debug)]
pub struct Status {
    #[command(flatten)]
    server: ServerArgs,
}

impl Status {
    /// Looks into the vault; asks no server.
    ///
    /// # Errors
    /// When the vault cannot be read.
    pub async fn run(self, ctx: &Context) -> Outcome<Report> {
        let named = self.server.named_here()?;
        let book = ctx.vault.read().await?;
        let now = ctx.now();
        let Some(entry) = tokens::find(&book, &ctx.profile, &named)? else {
            let command = self.server.login_command(&ctx.profile);
            let json = json!({ "logged_in": false, "profile": ctx.profile, "next": command });
            return Ok(Report { text: format!("Not logged in.\nNext:  run: {command}"), json, exit: Exit::Login });
        };
        let usable = state(entry, now) != State::Dead;
        let exit = if usable { Exit::Done } else { Exit::Login };
        let json = json!({ "logged_in": usable, "profile": ctx.profile, "login": describe(entry, now) });
        Ok(Report { text: lines(entry, now), json, exit })
    }
}

/// How good a login is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// The access token can be used.
    Alive,
    /// The access token is dead, the refresh token gets another.
    Refreshable,
    /// Only a new login helps.
    Dead,
}

/// How good the login is at `now`, as far as the vault knows.
pub fn state(entry: &Entry, now: Timestamp) -> State {
    match (token::is_dead(entry.expires, now), &entry.refresh_token) {
        (false, _) => State::Alive,
        (true, Some(_)) => State::Refreshable,
        (true, None) => State::Dead,
    }
}

impl State {
    /// The word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "valid",
            Self::Refreshable => "refreshable",
            Self::Dead => "expired",
        }
    }
}

/// A login without its secrets, for programs.
pub fn describe(entry: &Entry, now: Timestamp) -> Value {
    json!({
        "issuer": entry.issuer,
        "resource": entry.resource,
        "server": entry.server,
        "profile": entry.profile,
        "client_id": entry.client_id,
        "scope": entry.scope,
        "state": state(entry, now).as_str(),
        "obtained": entry.obtained,
        "expires": entry.expires,
        "expires_in": entry.expires.map(|expires| (expires - now).0),
        "has_refresh_token": entry.refresh_token.is_some(),
    })
}

/// A login without its secrets, for people.
pub fn lines(entry: &Entry, now: Timestamp) -> String {
    let life = match (state(entry, now), entry.expires) {
        (State::Alive, None) => "valid, the server does not say for how long".to_owned(),
        (State::Alive, Some(expires)) => format!("valid for {}", span((expires - now).0)),
        (State::Refreshable, _) => "expired; refreshed at the next use".to_owned(),
        (State::Dead, _) => "expired; log in again".to_owned(),
    };
    let name = clean_line(entry.server.as_deref().unwrap_or(entry.resource.as_str()), 200);
    format!(
        "{name}\n   Issuer:  {}\n   Client:  {}\n   Scopes:  {}\n   Token:   {life}",
        entry.issuer,
        clean_line(entry.client_id.as_str(), 100),
        or_none(&entry.scope.to_string())
    )
}

/// A text, or a word for an empty one.
pub fn or_none(text: &str) -> &str {
    if text.is_empty() { "(none named)" } else { text }
}

/// A length of time in the largest unit that fits.
fn span(seconds: u64) -> String {
    let (number, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7200 => (seconds / 60, "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_short() {
        for (seconds, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "119 seconds"),
            (3600, "60 minutes"),
            (7200, "2 hours"),
            (864_000, "10 days"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
