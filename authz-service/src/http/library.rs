//! What others publish: fetched once for all who wait, a few at a time, and remembered for as long as they say.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_web::web::Data;
use shared::oauth::cimd::DocumentUrl;
use shared::time::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::app::App;
use super::fetch::{Fetcher, Within};
use crate::protocol::Policy;
use crate::protocol::cimd::{DocumentFault, Fetched};

/// Documents that are remembered. With 5 KiB each, a few megabytes.
const MOST_DOCUMENTS: usize = 1000;

/// Documents that are being fetched or wait for it; more are refused (CIM-13).
const MOST_PENDING: usize = 128;

/// Fetches at one time.
const AT_A_TIME: usize = 16;

/// Fetches at one time from one host: a stranger must not turn us against it.
const FROM_ONE_HOST: usize = 4;

type Outcome<T> = Result<Arc<T>, DocumentFault>;
type Told<T> = watch::Receiver<Option<Outcome<T>>>;
type Tell<T> = watch::Sender<Option<Outcome<T>>>;

/// Documents of one kind that are known or on their way, each read once into a `T`.
pub struct Library<T> {
    fetcher: Fetcher,
    turns: Semaphore,
    shelf: Mutex<Shelf<T>>,
}

struct Shelf<T> {
    known: HashMap<DocumentUrl, Kept<T>>,
    pending: HashMap<DocumentUrl, Told<T>>,
    hosts: HashMap<String, (Arc<Semaphore>, usize)>,
}

/// A document that is known.
struct Kept<T> {
    document: Arc<T>,
    since: Timestamp,
    until: Timestamp,
}

/// Reads an answer: what it says, and until when that is believed.
type Read<T> = fn(&DocumentUrl, &Fetched, &Policy, Timestamp) -> Result<(T, Timestamp), DocumentFault>;

/// How documents of one kind are treated.
pub struct Kind<T: 'static> {
    /// Where they stand.
    pub library: fn(&App) -> &Library<T>,
    /// How long one may be, in bytes.
    pub longest: fn(&Policy) -> usize,
    /// What makes one of an answer.
    pub read: Read<T>,
}

/// Where a document is.
enum Found<T> {
    Here(Arc<T>),
    Coming(Told<T>),
    Absent,
}

impl<T> Shelf<T> {
    /// A fetch that somebody will tell the end of; one whose thread died counts as none.
    fn coming(&self, url: &DocumentUrl) -> Option<Told<T>> {
        let coming = self.pending.get(url)?;
        let is_lost = coming.has_changed().is_err() && coming.borrow().is_none();
        (!is_lost).then(|| coming.clone())
    }
}

impl<T> Default for Library<T> {
    fn default() -> Self {
        let shelf = Shelf { known: HashMap::new(), pending: HashMap::new(), hosts: HashMap::new() };
        Self { fetcher: Fetcher::default(), turns: Semaphore::new(AT_A_TIME), shelf: Mutex::new(shelf) }
    }
}

impl<T> Library<T> {
    fn shelf(&self) -> MutexGuard<'_, Shelf<T>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, url: &DocumentUrl, will_do: impl Fn(&T, Timestamp) -> bool, now: Timestamp) -> Found<T> {
        let shelf = self.shelf();
        match (shelf.known.get(url), shelf.coming(url)) {
            (Some(kept), _) if kept.until > now && will_do(&kept.document, kept.since) => {
                Found::Here(Arc::clone(&kept.document))
            }
            (_, Some(coming)) => Found::Coming(coming),
            _ => Found::Absent,
        }
    }

    /// Notes that `url` is being fetched; what waits for it, and what tells those who wait, when it is the first.
    fn announce(&self, url: &DocumentUrl) -> Result<(Told<T>, Option<Tell<T>>), DocumentFault> {
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

    fn settle(&self, url: &DocumentUrl, document: Option<(Arc<T>, Timestamp)>, now: Timestamp) {
        let mut shelf = self.shelf();
        shelf.pending.remove(url);
        shelf.known.remove(url);
        let Some((document, until)) = document.filter(|(_, until)| *until > now) else { return };
        if shelf.known.len() >= MOST_DOCUMENTS {
            shelf.known.retain(|_, kept| kept.until > now);
        }
        if shelf.known.len() >= MOST_DOCUMENTS {
            let next = shelf.known.iter().min_by_key(|(_, kept)| kept.until).map(|(url, _)| url.clone());
            next.and_then(|url| shelf.known.remove(&url));
        }
        shelf.known.insert(url.clone(), Kept { document, since: now, until });
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

    async fn fetch(&self, url: &DocumentUrl, within: Within) -> Result<Fetched, DocumentFault> {
        let host = self.host(url);
        let turn = async {
            let _host = host.acquire().await.map_err(|_| DocumentFault::Busy)?;
            let _turn = self.turns.acquire().await.map_err(|_| DocumentFault::Busy)?;
            self.fetcher.get(url, within).await
        };
        let fetched = timeout(within.time, turn).await.unwrap_or(Err(DocumentFault::Slow));
        self.leave_host(url);
        fetched
    }
}

/// The document at `url`: a known one if it `will_do`, which its content and when it was fetched decide; else one that is
/// fetched now. `source` is who asks: a fetch counts as a registration.
///
/// # Errors
/// When there is no such document, or it cannot be believed.
pub async fn get<T: Send + Sync>(
    app: &Data<App>,
    kind: &'static Kind<T>,
    url: DocumentUrl,
    source: IpAddr,
    will_do: impl Fn(&T, Timestamp) -> bool,
) -> Outcome<T> {
    match (kind.library)(app).find(&url, will_do, app.now()) {
        Found::Here(document) => Ok(document),
        Found::Coming(coming) => wait(coming).await,
        Found::Absent => {
            app.limits.register(source).map_err(|_| DocumentFault::Busy)?;
            fetch_for_all(app, kind, url).await
        }
    }
}

/// Fetches for everybody who waits, whatever becomes of the one who asked first.
async fn fetch_for_all<T: Send + Sync>(app: &Data<App>, kind: &'static Kind<T>, url: DocumentUrl) -> Outcome<T> {
    let (told, tell) = (kind.library)(app).announce(&url)?;
    if let Some(tell) = tell {
        let app = app.clone();
        actix_web::rt::spawn(async move {
            let library = (kind.library)(&app);
            let policy: &Policy = &app.policy;
            let (longest, time) = ((kind.longest)(policy), policy.bounds.document_time.into());
            let fetched = library.fetch(&url, Within { longest, time, local: policy.cimd.local }).await;
            let now = app.now();
            let read = fetched.and_then(|fetched| (kind.read)(&url, &fetched, &app.policy, now));
            let read = read.map(|(document, until)| (Arc::new(document), until));
            library.settle(&url, read.as_ref().ok().cloned(), now);
            tell.send_replace(Some(read.map(|(document, _)| document)));
        });
    }
    wait(told).await
}

async fn wait<T>(mut told: Told<T>) -> Outcome<T> {
    match told.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or(Err(DocumentFault::Busy)),
        Err(_) => Err(DocumentFault::Busy),
    }
}
