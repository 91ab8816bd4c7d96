//! Tokens that are kept, fresh when they are needed.

use shared::oauth::error::ErrorCode;
use shared::secret::Secret;
use shared::time::Timestamp;

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::flow::client::Client;
use crate::flow::exchange::{self, OneCall};
use crate::flow::revoke::{self, Kind};
use crate::flow::token::{self, TokenError};
use crate::net::http::NoReply;
use crate::server::{Named, issuer_metadata};
use crate::vault::{Book, Entry, Key};

/// The environment variable with a token that is used as it is.
pub const TOKEN_VARIABLE: &str = "MCP_ACCESS_TOKEN";

/// Which kept tokens belong to a server that the command line names; `None` when there are none.
///
/// # Errors
/// When several issuers' tokens would fit and the person named none of them.
pub fn find<'a>(book: &'a Book, profile: &'a str, named: &'a Named) -> Outcome<Option<&'a Entry>> {
    let mut fitting: Vec<&Entry> = match named {
        Named::Url { url, issuer } => book
            .entries(profile, move |entry| {
                (entry.server.as_deref() == Some(url) || entry.resource.as_str() == url || entry.issuer.as_str() == url)
                    && issuer.as_ref().is_none_or(|issuer| entry.issuer == *issuer)
            })
            .collect(),
        Named::Resource { issuer, fixed, resource } => {
            let ours: Vec<_> = book.entries(profile, |entry| entry.resource == *resource).collect();
            match ours.iter().position(|entry| entry.issuer == *issuer) {
                Some(at) => vec![ours[at]],
                None if *fixed => Vec::new(),
                None => ours,
            }
        }
    };
    // An issuer's URL that is also a server's means the server.
    if let Named::Url { url, .. } = named
        && fitting.iter().any(|entry| entry.server.as_deref() == Some(url))
    {
        fitting.retain(|entry| entry.server.as_deref() == Some(url));
    }
    // A server that has changed its authorization server: the login there, the latest, is the one that counts.
    if let Named::Url { url, .. } = named
        && fitting.iter().all(|entry| entry.server.as_deref() == Some(url) || entry.resource.as_str() == url)
        && let Some(latest) = fitting.iter().copied().max_by_key(|entry| entry.obtained)
    {
        fitting = vec![latest];
    }
    match fitting.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => {
            let names: Vec<_> = several.iter().map(|entry| format!("{} at {}", entry.resource, entry.issuer)).collect();
            Err(Failure::usage(
                format!("there are several logins that fit: {}", names.join(", ")),
                "say which with --issuer and --resource",
            ))
        }
    }
}

/// What a refresh did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refreshed {
    /// Nothing was due.
    NotDue,
    /// New tokens were fetched.
    Now,
    /// Another program fetched them while we waited.
    ByAnother,
}

/// When to refresh.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum When {
    /// When the token is about to die.
    Due,
    /// When the tokens are still those of this generation: somebody found that they do not work, or a person wants it.
    Still(u64),
}

/// Makes sure that the tokens for `key` are fresh. One program at a time: lock, read again, refresh, write, use.
///
/// # Errors
/// When there are none, the server refuses, or it is not reached while the token is already dead.
pub async fn refresh(ctx: &Context, key: &Key, when: When, login: &str) -> Outcome<Refreshed> {
    let book = ctx.vault.read().await?;
    let seen = entry(&book, key, login)?;
    if !is_wanted(seen, when, ctx.now()) {
        return Ok(Refreshed::NotDue);
    }
    if seen.refresh_token.is_none() {
        return without_refresh(seen, when, ctx.now(), login);
    }
    let generation = seen.generation;
    let _guard = ctx.vault.lock_refresh(key).await?;
    let book = ctx.vault.read().await?;
    let entry = entry(&book, key, login)?;
    if entry.generation != generation {
        return Ok(Refreshed::ByAnother);
    }
    match renew(ctx, &book, entry, login).await {
        Ok(()) => Ok(Refreshed::Now),
        // A server that cannot be reached says nothing about the token that we have.
        Err(failure)
            if failure.exit == Exit::Network && when == When::Due && !token::is_dead(entry.expires, ctx.now()) =>
        {
            ctx.out.note(&format!("The token could not be refreshed yet: {}", failure.what));
            Ok(Refreshed::NotDue)
        }
        Err(failure) => Err(failure),
    }
}

fn entry<'a>(book: &'a Book, key: &Key, login: &str) -> Outcome<&'a Entry> {
    book.entry(key).ok_or_else(|| Failure::login(format!("there is no login for {}", key.resource), login))
}

fn is_wanted(entry: &Entry, when: When, now: Timestamp) -> bool {
    match when {
        When::Due => token::is_due(entry.expires, now),
        When::Still(generation) => entry.generation == generation,
    }
}

fn without_refresh(entry: &Entry, when: When, now: Timestamp, login: &str) -> Outcome<Refreshed> {
    match when {
        When::Due if !token::is_dead(entry.expires, now) => Ok(Refreshed::NotDue),
        When::Due => Err(Failure::login("the login has expired", login)),
        When::Still(_) => Err(Failure::login("the server gave no refresh token with this login", login)),
    }
}

async fn renew(ctx: &Context, book: &Book, entry: &Entry, login: &str) -> Outcome<()> {
    let Some(refresh) = &entry.refresh_token else { return Ok(()) };
    let issuer = issuer_metadata(ctx, &entry.issuer).await?;
    let client = client(book, entry);
    let form = token::refresh_request(&issuer.token_endpoint, &client, refresh, &entry.resource);
    let reply = ctx.http.post_form(&form).await?;
    match token::accept(reply.status, &reply.body, &entry.scope, ctx.now()) {
        Ok(tokens) => {
            let (key, now) = (entry.key(), ctx.now());
            ctx.vault.change(|book| book.refresh(&key, &tokens, now)).await?;
            Ok(())
        }
        Err(error @ TokenError::InvalidGrant(_)) => Err(Failure::login(error.to_string(), login)),
        Err(error @ TokenError::InvalidClient(_)) => {
            forget_dynamic(ctx, entry).await?;
            Err(Failure::login(error.to_string(), login))
        }
        Err(error) => Err(error.into()),
    }
}

/// Forgets a registration that the server has forgotten, so that the next login makes a new one.
async fn forget_dynamic(ctx: &Context, entry: &Entry) -> Outcome<()> {
    Ok(ctx.vault.change(|book| book.unregister_dynamic(entry)).await?)
}

/// The client that the tokens were given to.
fn client(book: &Book, entry: &Entry) -> Client {
    book.registration_of(entry)
        .map_or_else(|| Client::given(entry.client_id.clone(), None, &[]), |known| known.client())
}

/// The access token for `key`, fresh, and its generation.
///
/// # Errors
/// As [`refresh`].
pub async fn access(ctx: &Context, key: &Key, login: &str) -> Outcome<(Secret, u64)> {
    refresh(ctx, key, When::Due, login).await?;
    let book = ctx.vault.read().await?;
    let entry = entry(&book, key, login)?;
    Ok((crate::vault::copy(&entry.access_token), entry.generation))
}

/// A token for one call.
#[derive(Debug)]
pub struct OneShot {
    /// The token.
    pub token: Secret,
    /// When it dies unused.
    pub expires: Option<Timestamp>,
    /// The generation of the tokens that it came from.
    pub generation: u64,
}

/// Exchanges the access token for `key` for one that is good for `call`.
///
/// # Errors
/// As [`refresh`]; and when the server has no such tokens, or none for this client.
pub async fn one_shot(ctx: &Context, key: &Key, call: &OneCall, login: &str) -> Outcome<OneShot> {
    let (subject, generation) = access(ctx, key, login).await?;
    let book = ctx.vault.read().await?;
    let entry = entry(&book, key, login)?;
    let issuer = issuer_metadata(ctx, &entry.issuer).await?;
    if !issuer.exchanges_tokens {
        let what = format!("{} gives out no tokens for one call", issuer.issuer);
        return Err(Failure::new(Exit::Refused, "not_offered", what, "call without --one-shot"));
    }
    let form = exchange::request(&issuer.token_endpoint, &client(&book, entry), &subject, &entry.resource, call);
    let reply = ctx.http.post_form(&form).await?;
    match token::accept(reply.status, &reply.body, &entry.scope, ctx.now()) {
        Ok(tokens) => Ok(OneShot { token: tokens.access, expires: tokens.expires, generation }),
        Err(TokenError::Refused(named)) if named.error == ErrorCode::UnauthorizedClient.as_str() => {
            let what = "this client registered before the server gave out tokens for one call";
            Err(Failure::new(Exit::Refused, "unauthorized_client", what, format!("run: {login} --register-again")))
        }
        Err(error) => Err(error.into()),
    }
}

/// What became of a revocation.
#[derive(Clone, Debug)]
pub enum Revoked {
    /// The server has taken the tokens back.
    Done,
    /// The server offers no revocation.
    NotOffered,
    /// It did not work.
    Failed(String),
}

/// Takes tokens back at the server: the refresh token, with which the grant dies, and the access token.
pub async fn revoke(ctx: &Context, book: &Book, entry: &Entry) -> Revoked {
    let issuer = match issuer_metadata(ctx, &entry.issuer).await {
        Ok(issuer) => issuer,
        Err(failure) => return Revoked::Failed(failure.what),
    };
    let Some(endpoint) = &issuer.revocation_endpoint else { return Revoked::NotOffered };
    let client = client(book, entry);
    let tokens = [(entry.refresh_token.as_ref(), Kind::Refresh), (Some(&entry.access_token), Kind::Access)];
    for (token, kind) in tokens.into_iter().filter_map(|(token, kind)| token.map(|token| (token, kind))) {
        let form = revoke::request(endpoint, &client, token, kind);
        let done = ctx.http.post_form(&form).await.map_err(|error: NoReply| error.to_string());
        let done = done.and_then(|reply| revoke::accept(reply.status).map_err(|status| format!("HTTP {status}")));
        if let Err(reason) = done {
            return Revoked::Failed(reason);
        }
    }
    Revoked::Done
}
