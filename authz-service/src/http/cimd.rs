//! Metadata documents of clients, and the keys of clients that sign: what is fetched before a decision.

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::web::Data;
use shared::state::{Client, Wanted};
use shared::token::ClientKeys;

use super::app::{App, Failure};
use super::library::{self, Kind};
use crate::protocol::Refusal;
use crate::protocol::cimd;
use crate::protocol::client_auth::{ClientFault, Presented};
use crate::protocol::client_keys::{self, FetchedKeys, LOOK_AGAIN, MAX_KEY_SET};

static DOCUMENTS: Kind<Client> =
    Kind { library: |app| &app.cimd, longest: |policy| policy.bounds.document, read: cimd::read };

static KEY_SETS: Kind<ClientKeys> = Kind {
    library: |app| &app.key_sets,
    longest: |_| MAX_KEY_SET,
    read: |_, fetched, _, now| client_keys::read(fetched, now),
};

/// The client that a document describes, when `client_id` is a URL that is fetched and the operator has no record of
/// that name; `None` for every other client. `source` is who asks: a fetch counts as a registration.
///
/// # Errors
/// When there is no such document, or it cannot be believed.
pub async fn described(app: &Data<App>, client_id: &str, source: IpAddr) -> Result<Option<Arc<Client>>, Failure> {
    if !cimd::may_be_url(client_id, &app.policy) {
        return Ok(None);
    }
    let wanted = Wanted { client: client_id.parse().ok(), ..Wanted::default() };
    if app.store.load(&wanted).await?.client.is_some_and(|client| client.origin.is_vouched_for()) {
        return Ok(None);
    }
    let Some(url) = cimd::url(client_id, &app.policy).map_err(Refusal::Document)? else { return Ok(None) };
    let client = library::get(app, &DOCUMENTS, url, source, |_, _| true).await;
    client.map(Some).map_err(|fault| Refusal::Document(fault).into())
}

/// Fetches the keys with which a client that presents an assertion signs, when they lie behind its `jwks_uri`. `document`
/// is the client as it describes itself, if it does. A key set that lacks the key which the assertion names is fetched
/// again, if it is not from just now: the client may have a new key.
///
/// # Errors
/// When there are no keys to be had.
pub async fn fetch_keys(
    app: &Data<App>,
    presented: &mut Presented,
    document: Option<&Client>,
    source: IpAddr,
) -> Result<(), Failure> {
    let Some(assertion) = presented.assertion().map(str::to_owned) else { return Ok(()) };
    let stored = match document {
        Some(_) => None,
        None => app.store.load(&Wanted { client: presented.name().parse().ok(), ..Wanted::default() }).await?.client,
    };
    // An unknown client is refused by who decides.
    let Some(client) = document.or(stored.as_ref()) else { return Ok(()) };
    let url = match client_keys::url(client, &app.policy) {
        Ok(Some(url)) => url,
        Ok(None) => return Ok(()),
        Err(fault) => return Err(unfetched(client, &fault)),
    };
    let now = app.now();
    let will_do = |keys: &ClientKeys, since| keys.may_verify(&assertion) || since + LOOK_AGAIN > now;
    let keys = library::get(app, &KEY_SETS, url.clone(), source, will_do).await;
    let keys = keys.map_err(|fault| unfetched(client, &fault))?;
    presented.set_keys(FetchedKeys { url, keys });
    Ok(())
}

fn unfetched(client: &Client, fault: &cimd::DocumentFault) -> Failure {
    tracing::warn!(client = %client.id, %fault, "the keys of a client cannot be fetched");
    Refusal::Client { fault: ClientFault::Keys, header: false }.into()
}
