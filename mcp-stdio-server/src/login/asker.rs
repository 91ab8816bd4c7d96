//! Asking the store for a login, and taking what a person gave: the part that waits for locks and disks.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use shared::id::ClientId;
use shared::oauth::register::AuthMethod;
use shared::scope::Scopes;
use shared::secret::TokenHash;
use shared::state::{Change, Client, ClientOrigin, Device, DeviceStage, Facts, Program, Wanted};
use shared::store::journal::JournalStore;
use shared::store::{CommitError, Store, StoreError};
use shared::time::{Clock, Timestamp};
use shared::uri::{Issuer, Resource};
use uuid::Builder;

use super::book::{Book, BookError, Key, Login};
use super::program;
use super::standing::{Standing, redemption};

/// How long a service on this machine has to answer a connection.
const CONNECT: Duration = Duration::from_millis(300);

/// Whom to ask, and for what.
pub struct Asker {
    /// The store, where requests and answers are.
    pub store: Arc<JournalStore>,
    /// Its folder, where the logins are.
    pub folder: PathBuf,
    /// What the time is.
    pub clock: Arc<dyn Clock>,
    /// The server that a login is for.
    pub resource: Resource,
    /// What its tools need, as far as the store has not been told.
    pub scopes: Scopes,
    /// The service that people are sent to; else the first one that the store knew and that answers.
    pub issuer: Option<Issuer>,
    /// The program that started this server.
    pub program: OnceLock<Program>,
}

/// What came of asking.
pub enum Begun {
    /// It is open already.
    Open(Arc<Login>),
    /// It waits for a person, since now or since before.
    Waits(Arc<Login>),
    /// A person said no to it.
    Denied(Arc<Login>),
    /// It was open here, and was taken back.
    Revoked(Arc<Login>),
}

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The store names no service.
    #[error("the store names no issuer")]
    NoIssuer,
    /// The service's page would not be there.
    #[error("{0} does not answer")]
    NotServing(Issuer),
    /// There are no keys yet.
    #[error("the store has no keys")]
    NoKeys,
    /// The store has no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store does not take the request.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The file of logins cannot be used.
    #[error(transparent)]
    Book(#[from] BookError),
}

impl Asker {
    /// Whose logins they are. Looks at the parent process once.
    pub fn key(&self) -> Key {
        let program = self.program();
        let texts = [Some(&program.name), program.path.as_ref(), program.script.as_ref()];
        let mut name = self.resource.as_str().as_bytes().to_vec();
        for text in texts {
            name.push(0);
            name.extend_from_slice(text.map_or("", |text| text.as_str()).as_bytes());
        }
        // The same for every process that the program starts: they find each other's logins, and register it once.
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&TokenHash::of(&name).as_bytes()[..16]);
        let program = ClientId::generated(Builder::from_custom_bytes(bytes).into_uuid());
        Key { resource: self.resource.clone(), program }
    }

    fn program(&self) -> &Program {
        self.program.get_or_init(program::parent)
    }

    /// The login that is written down.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn peek(&self) -> Result<Option<Login>, BookError> {
        // Most servers never have any: then nothing is asked about the parent process either.
        if !Book::is_there(&self.folder) {
            return Ok(None);
        }
        Book::peek(&self.folder, &self.key())
    }

    /// Where a login stands now.
    ///
    /// # Errors
    /// When the store has no answer.
    pub fn standing(&self, login: &Login) -> Result<Standing, StoreError> {
        Ok(Standing::of(&self.facts(login, None)?, self.clock.now()))
    }

    fn facts(&self, login: &Login, client: Option<&ClientId>) -> Result<Facts, StoreError> {
        let wanted = Wanted {
            access: Some(login.id()),
            device: Some(login.hash()),
            client: client.cloned(),
            ..Wanted::default()
        };
        let mut facts = Facts::default();
        self.store.read(&mut |state| facts = state.facts(&wanted))?;
        Ok(facts)
    }

    /// Takes what a person gave. To find that somebody else has taken it is as good. Blocks.
    ///
    /// # Errors
    /// When the store has no answer, or takes nothing.
    pub fn redeem(&self, login: &Login) -> Result<(), Trouble> {
        let facts = self.facts(login, None)?;
        let Some(change) = redemption(login, &facts, self.clock.now()) else { return Ok(()) };
        match self.store.commit_once(vec![change]) {
            Ok(()) => {
                tracing::info!(resource = %self.resource, "a person has signed in for this server");
                Ok(())
            }
            Err(CommitError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Finds the login of this program, or begins one: of all the servers that look at the same time, one asks. `told` is
    /// the login whose end was said already. Blocks.
    ///
    /// # Errors
    /// Why nobody can be asked.
    pub fn begin(&self, needed: &Scopes, told: Option<TokenHash>, held: Option<&Arc<Login>>) -> Result<Begun, Trouble> {
        // Without a store there is nobody to ask, and nothing is written.
        self.store.read(&mut |_| ())?;
        let key = self.key();
        let mut book = Book::lock(&self.folder)?;
        let written = book.find(&key).map(|login| match held {
            Some(held) if held.hash() == login.hash() => Arc::new(login.known_as(held)),
            _ => Arc::new(login),
        });
        let mut before = None;
        if let Some(login) = written {
            let standing = self.standing(&login)?;
            match standing {
                Standing::Open => return Ok(Begun::Open(login)),
                Standing::Waiting => return Ok(Begun::Waits(login)),
                Standing::Approved => {
                    self.redeem(&login)?;
                    return Ok(Begun::Open(login));
                }
                Standing::Denied if told != Some(login.hash()) => return Ok(Begun::Denied(login)),
                Standing::Revoked if login.was_open() => return Ok(Begun::Revoked(login)),
                Standing::Denied | Standing::Revoked | Standing::Over => before = Some((login, standing)),
            }
        }
        let quiet = before.as_ref().is_some_and(|(_, standing)| *standing != Standing::Over);
        let opened = before.as_ref().and_then(|(login, _)| login.opened);
        let login = self.ask(&key, &mut book, needed, opened, quiet)?;
        Ok(Begun::Waits(Arc::new(login)))
    }

    fn ask(
        &self,
        key: &Key,
        book: &mut Book,
        needed: &Scopes,
        opened: Option<Timestamp>,
        quiet: bool,
    ) -> Result<Login, Trouble> {
        let (issuers, scopes) = self.whom_and_what(needed)?;
        // A service may have gone by another name before.
        let Some(issuer) = issuers.iter().find(|issuer| serves(issuer)).cloned() else {
            return Err(issuers.into_iter().next().map_or(Trouble::NoIssuer, Trouble::NotServing));
        };
        let keys = self.store.read_keys()?.ok_or(Trouble::NoKeys)?;
        let now = self.clock.now();
        let login = Login::draw(issuer, now, opened, quiet).ok_or(Trouble::NoKeys)?;
        let device = Device {
            hash: login.hash(),
            user_code: keys.user_code(&login.user_code),
            client: key.program.clone(),
            scopes,
            resource: self.resource.clone(),
            expires: login.ends(),
            stage: DeviceStage::Waiting,
        };
        // First the file: what waits in the store can then be finished by whoever comes after a kill.
        book.write(key, &login)?;
        let known = self.facts(&login, Some(&key.program))?.client.is_some();
        let registered = (!known).then(|| Change::ClientRegistered(self.client(key, now)));
        self.store.commit_once(registered.into_iter().chain([Change::DeviceAsked(device)]).collect())?;
        tracing::info!(resource = %self.resource, "a login waits for a person");
        Ok(login)
    }

    /// The services that may be asked, the first choice first, and every scope that the server's tools need: a person is asked once, and unticks what is too much.
    fn whom_and_what(&self, needed: &Scopes) -> Result<(Vec<Issuer>, Scopes), Trouble> {
        let mut issuers = Vec::new();
        let mut scopes: Vec<_> = needed.iter().chain(self.scopes.iter()).cloned().collect();
        self.store.read(&mut |state| {
            issuers = self.issuer.clone().map_or_else(|| state.issuers_by_age(), |only| vec![only]);
            let Some(announced) = state.announcement(&self.resource) else { return };
            scopes.extend(announced.tools.iter().flat_map(|(tool, _)| tool.scopes.iter().cloned()));
            scopes.extend(announced.own_scopes().iter().cloned());
        })?;
        // What the call needs first: a list that is too long could not be read again.
        Ok((issuers, Scopes::fitting(scopes)))
    }

    fn client(&self, key: &Key, now: Timestamp) -> Client {
        let program = self.program();
        Client {
            id: key.program.clone(),
            name: Some(program.name.clone()),
            redirect_uris: Vec::new().into(),
            auth_method: Some(AuthMethod::None),
            // None: over HTTP nobody may be it.
            grant_types: Vec::new().into(),
            secret: None,
            previous_secret: None,
            registration: None,
            scope: Scopes::default(),
            client_uri: None,
            other: serde_json::Map::new(),
            resources: Vec::new().into(),
            program: Some(Box::new(program.clone())),
            origin: ClientOrigin::Local,
            issued_at: now,
            approved_at: None,
            used_at: None,
        }
    }

    /// Notes something about a login, unless somebody has written another or opened a browser since it was read: then
    /// false. Blocks.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn note(&self, login: &Login, change: impl FnOnce(&mut Login)) -> Result<bool, BookError> {
        let key = self.key();
        let mut book = Book::lock(&self.folder)?;
        let same = |written: &Login| written.hash() == login.hash() && written.in_browser == login.in_browser;
        let Some(mut written) = book.find(&key).filter(same) else { return Ok(false) };
        change(&mut written);
        book.write(&key, &written)?;
        Ok(true)
    }
}

/// Whether a service on this machine takes connections. Of one elsewhere nothing is known, and nothing is asked.
fn serves(issuer: &Issuer) -> bool {
    let parts = issuer.parts();
    let Some(host) = parts.host().filter(|_| parts.is_loopback()) else { return true };
    let port = match (parts.port().map(str::parse), parts.scheme) {
        (Some(Ok(port)), _) => port,
        (_, "https") => 443,
        _ => 80,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = (host, port).to_socket_addrs().into_iter().flatten();
    addresses
        .filter(|address| address.ip().is_loopback())
        .any(|address| TcpStream::connect_timeout(&address, CONNECT).is_ok())
}
