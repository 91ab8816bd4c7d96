//! Metadata documents of clients: fetched once for all who wait, a few at a time, and remembered for as long as they say.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_web::web::Data;
use shared::oauth::cimd::DocumentUrl;
use shared::state::{Client, Wanted};
use shared::time::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::app::{App, Failure};
use super::fetch::{self, Fetcher};
use crate::protocol::Refusal;
use crate::protocol::cimd::{self, DocumentFault};

/// Documents that are remembered. With 5 KiB each, a few megabytes.
const MOST_DOCUMENTS: usize = 1000;

/// Documents that are being fetched or wait for it; more are refused (CIM-13).
const MOST_PENDING: usize = 128;

/// Fetches at one time.
const AT_A_TIME: usize = 16;

/// Fetches at one time from one host: a stranger must not turn us against it.
const FROM_ONE_HOST: usize = 4;

type Outcome = Result<Arc<Client>, DocumentFault>;
type Told = watch::Receiver<Option<Outcome>>;
type Tell = watch::Sender<Option<Outcome>>;

/// The documents that are known or on their way.
pub struct Documents {
    fetcher: Fetcher,
    turns: Semaphore,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    known: HashMap<DocumentUrl, (Arc<Client>, Timestamp)>,
    pending: HashMap<DocumentUrl, Told>,
    hosts: HashMap<String, (Arc<Semaphore>, usize)>,
}

/// Where a document is.
enum Found {
    Here(Arc<Client>),
    Coming(Told),
    Absent,
}

impl Shelf {
    /// A fetch that somebody will tell the end of; one whose thread died counts as none.
    fn coming(&self, url: &DocumentUrl) -> Option<Told> {
        let coming = self.pending.get(url)?;
        let is_lost = coming.has_changed().is_err() && coming.borrow().is_none();
        (!is_lost).then(|| coming.clone())
    }
}

impl Default for Documents {
    fn default() -> Self {
        Self::new()
    }
}

impl Documents {
    /// None yet.
    pub fn new() -> Self {
        Self { fetcher: Fetcher::default(), turns: Semaphore::new(AT_A_TIME), shelf: Mutex::default() }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, url: &DocumentUrl, now: Timestamp) -> Found {
        let shelf = self.shelf();
        match (shelf.known.get(url), shelf.coming(url)) {
            (Some((client, until)), _) if *until > now => Found::Here(Arc::clone(client)),
            (_, Some(coming)) => Found::Coming(coming),
            _ => Found::Absent,
        }
    }

    /// Notes that `url` is being fetched; what waits for it, and what tells those who wait, when it is the first.
    fn announce(&self, url: &DocumentUrl) -> Result<(Told, Option<Tell>), DocumentFault> {
        let mut shelf = self.shelf();
        if let Some(coming) = shelf.coming(url) {
            return Ok((coming, None));
        }
        if shelf.pending.len() >= MOST_PENDING {
            return Err(DocumentFault::Busy);
        }
        let (tell, told) = watch::channel(None);
        shelf.pending.insert(url.clone(), told.clone());
        Ok((told, Some(tell)))
    }

    fn settle(&self, url: &DocumentUrl, client: Option<(Arc<Client>, Timestamp)>, now: Timestamp) {
        let mut shelf = self.shelf();
        shelf.pending.remove(url);
        shelf.known.remove(url);
        let Some((client, until)) = client.filter(|(_, until)| *until > now) else { return };
        if shelf.known.len() >= MOST_DOCUMENTS {
            shelf.known.retain(|_, (_, until)| *until > now);
        }
        if shelf.known.len() >= MOST_DOCUMENTS {
            let next = shelf.known.iter().min_by_key(|(_, (_, until))| *until).map(|(url, _)| url.clone());
            next.and_then(|url| shelf.known.remove(&url));
        }
        shelf.known.insert(url.clone(), (client, until));
    }

    /// The turns of one host, which are forgotten with the last who waits for one.
    fn host(&self, url: &DocumentUrl) -> Arc<Semaphore> {
        let mut shelf = self.shelf();
        let host = shelf.hosts.entry(url.host().to_ascii_lowercase());
        let (turns, waiting) = host.or_insert_with(|| (Arc::new(Semaphore::new(FROM_ONE_HOST)), 0));
        *waiting += 1;
        Arc::clone(turns)
    }

    fn leave_host(&self, url: &DocumentUrl) {
        let mut shelf = self.shelf();
        let host = url.host().to_ascii_lowercase();
        if let Some((_, waiting)) = shelf.hosts.get_mut(&host) {
            *waiting -= 1;
            if *waiting == 0 {
                shelf.hosts.remove(&host);
            }
        }
    }

    async fn fetch(&self, url: &DocumentUrl, local: bool) -> Result<cimd::Fetched, DocumentFault> {
        let host = self.host(url);
        let turn = async {
            let _host = host.acquire().await.map_err(|_| DocumentFault::Busy)?;
            let _turn = self.turns.acquire().await.map_err(|_| DocumentFault::Busy)?;
            self.fetcher.get(url, local).await
        };
        let fetched = timeout(fetch::time(), turn).await.unwrap_or(Err(DocumentFault::Slow));
        self.leave_host(url);
        fetched
    }
}

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
    let client = match app.cimd.find(&url, app.now()) {
        Found::Here(client) => Ok(client),
        Found::Coming(coming) => wait(coming).await,
        Found::Absent => {
            app.limits.register(source).map_err(|_| Refusal::Document(DocumentFault::Busy))?;
            fetch_for_all(app, url).await
        }
    };
    client.map(Some).map_err(|fault| Refusal::Document(fault).into())
}

/// Fetches for everybody who waits, whatever becomes of the one who asked first.
async fn fetch_for_all(app: &Data<App>, url: DocumentUrl) -> Outcome {
    let (told, tell) = app.cimd.announce(&url)?;
    if let Some(tell) = tell {
        let app = app.clone();
        actix_web::rt::spawn(async move {
            let fetched = app.cimd.fetch(&url, app.policy.cimd.local).await;
            let now = app.now();
            let read = fetched.and_then(|fetched| cimd::read(&url, &fetched, &app.policy, now));
            let read = read.map(|(client, until)| (Arc::new(client), until));
            app.cimd.settle(&url, read.as_ref().ok().cloned(), now);
            tell.send_replace(Some(read.map(|(client, _)| client)));
        });
    }
    wait(told).await
}

async fn wait(mut told: Told) -> Outcome {
    match told.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or(Err(DocumentFault::Busy)),
        Err(_) => Err(DocumentFault::Busy),
    }
}
