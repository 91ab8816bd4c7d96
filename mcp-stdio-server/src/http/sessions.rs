//! The sessions that there are: of the earlier era by their names, of the modern one by whose they are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::secret::Secret;

use super::backend::Backend;
use super::session::{PIPE, Principal, Session};

/// How long a session may lie unused before it ends.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// The same for a server that requests of the modern era share: nobody notices when it starts anew.
const IDLE_MODERN: Duration = Duration::from_secs(5 * 60);

/// How many sessions of one person's program there may be: the one unused for longest makes room.
const OF_ONE: usize = 16;

/// The sessions.
pub struct Sessions {
    backend: Arc<dyn Backend>,
    /// How many there may be in all.
    most: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    by_name: HashMap<String, Arc<Session>>,
    by_principal: HashMap<Option<Principal>, Arc<Session>>,
}

/// There are as many as there may be, and all are in use.
#[derive(Debug)]
pub struct Full;

impl Sessions {
    /// No sessions yet, and at most `most`.
    pub fn new(backend: Arc<dyn Backend>, most: usize) -> Self {
        Self { backend, most, table: Mutex::default() }
    }

    /// What answers.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// Begins a session of the earlier era; its name is a secret between the front and its client.
    ///
    /// # Errors
    /// When there is no room.
    pub fn begin(&self, principal: Option<Principal>) -> Result<(String, Arc<Session>), Full> {
        let mut table = self.table();
        table.make_room(&principal, self.most)?;
        let session = self.start(principal, false, IDLE);
        let name = Secret::random().expose().to_owned();
        table.by_name.insert(name.clone(), Arc::clone(&session));
        Ok((name, session))
    }

    /// The session of this name, if it lives and is this principal's. Somebody else's is not told from none.
    pub fn find(&self, name: &str, principal: Option<&Principal>) -> Option<Arc<Session>> {
        let found = self.table().by_name.get(name).cloned()?;
        (!found.is_over() && found.principal.as_ref() == principal).then_some(found)
    }

    /// Ends a session.
    pub fn end(&self, name: &str) {
        if let Some(session) = self.table().by_name.remove(name) {
            session.end();
        }
    }

    /// The server that this principal's requests of the modern era go to.
    ///
    /// # Errors
    /// When there is no room for another.
    pub fn shared(&self, principal: Option<Principal>) -> Result<Arc<Session>, Full> {
        let mut table = self.table();
        if let Some(session) = table.by_principal.get(&principal).filter(|session| !session.is_over()) {
            return Ok(Arc::clone(session));
        }
        table.make_room(&principal, self.most)?;
        let session = self.start(principal.clone(), true, IDLE_MODERN);
        table.by_principal.insert(principal, Arc::clone(&session));
        Ok(session)
    }

    fn start(&self, principal: Option<Principal>, is_modern: bool, idle: Duration) -> Arc<Session> {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        tokio::spawn(self.backend.serve(theirs));
        Session::start(principal, is_modern, ours, idle)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Forgets what is over; ends the longest unused one when there are too many.
    fn make_room(&mut self, principal: &Option<Principal>, most: usize) -> Result<(), Full> {
        self.by_name.retain(|_, session| !session.is_over());
        self.by_principal.retain(|_, session| !session.is_over());
        let of_one = self.by_name.values().filter(|session| session.principal == *principal).count();
        let is_full = self.by_name.len() + self.by_principal.len() >= most;
        if of_one < OF_ONE && !is_full {
            return Ok(());
        }
        // One's own first: whoever opens many closes nobody else's.
        let mut unused: Vec<_> = self
            .by_name
            .iter()
            .filter_map(|(name, session)| {
                Some((session.principal != *principal, session.unused_since()?, name.clone()))
            })
            .collect();
        unused.sort();
        let oldest = unused.into_iter().find(|(is_foreign, ..)| is_full || !is_foreign);
        let Some((.., name)) = oldest else { return Err(Full) };
        if let Some(session) = self.by_name.remove(&name) {
            session.end();
        }
        Ok(())
    }
}
