//! Tells the store which tools this server has, so that a person can be shown them on the consent page. Once, when they
//! are not known there; never a reason not to start, and never waited for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shared::scope::Scopes;
use shared::state::{Change, Effect, MAX_TOOLS, Tool};
use shared::store::journal::JournalStore;
use shared::store::{CommitError, Store, StoreError};
use shared::time::Clock;
use shared::uri::Resource;
use tokio::sync::watch;

use crate::guard::Access;
use crate::tools::{Catalog, Entry};

/// How many tries a store that is busy or full gets.
const TRIES: u32 = 5;

/// How long after a failed try the next one comes.
const PAUSE: Duration = Duration::from_secs(30);

/// What a server tells.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Announced {
    /// The tools that need a consent.
    pub tools: Vec<Tool>,
    /// The scopes of its own that something else needs, a resource or a prompt.
    pub scopes: Scopes,
}

/// The tools that need a consent, as the store keeps them.
pub fn tools(catalog: &Catalog) -> Vec<Tool> {
    catalog.iter().filter_map(announced).take(MAX_TOOLS).collect()
}

/// `None` for an open tool, and for one whose name no page can carry.
fn announced(entry: &Entry) -> Option<Tool> {
    let definition = &entry.definition;
    let Access::Scopes(scopes) = &definition.access else { return None };
    Some(Tool {
        name: definition.name.parse().ok()?,
        title: definition.title.chars().filter(|c| !c.is_control()).take(Tool::MAX_TITLE).collect(),
        effect: if definition.read_only { Effect::Read } else { Effect::Write },
        scopes: scopes.clone(),
        print: Some(entry.print),
    })
}

/// Who tells a store about one server: one task, so that what a server said first is never told after what it said last.
pub struct Announcer {
    told: watch::Sender<Announced>,
    telling: Mutex<Option<Telling>>,
}

/// What the task needs, until it begins.
struct Telling {
    store: Arc<JournalStore>,
    resource: Resource,
    clock: Arc<dyn Clock>,
    told: watch::Receiver<Announced>,
}

impl Announcer {
    /// Nothing is told yet.
    pub fn new(store: Arc<JournalStore>, resource: Resource, clock: Arc<dyn Clock>) -> Self {
        let (told, receiver) = watch::channel(Announced::default());
        Self { told, telling: Mutex::new(Some(Telling { store, resource, clock, told: receiver })) }
    }

    /// Tells the store, beside everything else.
    pub fn tell(&self, told: Announced) {
        self.told.send_replace(told);
        if let Some(telling) = self.telling.lock().unwrap_or_else(PoisonError::into_inner).take() {
            tokio::spawn(telling.run());
        }
    }

    /// Tells it once more: a person is to agree to what this server has, and another of its name may have told of another
    /// since. Nothing is written when it has not.
    pub fn again(&self) {
        self.told.send_modify(|_| {});
    }
}

impl Telling {
    async fn run(mut self) {
        loop {
            self.announce().await;
            if self.told.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until there is a store, compares, and commits what differs: at each try what was said last.
    async fn announce(&mut self) {
        let mut changed = self.store.changed();
        let mut tries = 0;
        while tries < TRIES {
            // Before the look: a change after it is then not missed.
            changed.mark_unchanged();
            let told = self.told.borrow_and_update().clone();
            match self.is_known(&told) {
                Ok(true) => return,
                Ok(false) => {}
                Err(StoreError::Absent(_) | StoreError::Loading) => {
                    if changed.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                Err(error) => {
                    tracing::debug!(%error, "the store cannot be told which tools there are");
                    return;
                }
            }
            tries += 1;
            match self.commit(told).await {
                Ok(()) => return,
                Err(CommitError::Unavailable(StoreError::Locked { holder })) => {
                    tracing::debug!(%holder, "the store is busy; it will be told later which tools there are");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "the store was not told which tools there are");
                    return;
                }
            }
        }
    }

    fn is_known(&self, told: &Announced) -> Result<bool, StoreError> {
        let mut known = told.tools.is_empty() && told.scopes.is_empty();
        let now = self.clock.now();
        self.store.read(&mut |state| {
            let announced = state.announcement(&self.resource);
            known |= announced.is_some_and(|announced| announced.says(&told.tools, &told.scopes, now));
        })?;
        Ok(known)
    }

    async fn commit(&self, Announced { tools, scopes }: Announced) -> Result<(), CommitError> {
        let (writer, resource) = (Arc::clone(&self.store), self.resource.clone());
        let commit = move || writer.commit_once(vec![Change::ToolsAnnounced { resource, tools, scopes }]);
        // One that panicked is not tried again.
        tokio::task::spawn_blocking(commit).await.unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_is_what_needs_a_consent() {
        let resource = Resource::stdio("t").unwrap();
        let mut all = Catalog::standard(&resource);
        all.extend(Catalog::samples(None));
        let catalog = Catalog::new(all);
        let tools = tools(&catalog);
        let names: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
        let guarded = catalog.iter().filter(|entry| entry.definition.access != Access::Open);
        assert_eq!(names, guarded.map(|entry| entry.definition.name.as_ref()).collect::<Vec<_>>());
        assert!(names.contains(&"echo") && !names.contains(&"public_info"));
        for tool in &tools {
            let definition = &catalog.get(tool.name.as_str()).unwrap().definition;
            assert_eq!(definition.access, Access::Scopes(tool.scopes.clone()));
            assert_eq!(definition.read_only, tool.effect == Effect::Read);
            assert!(!tool.title.is_empty());
            assert_eq!(tool.print, Some(catalog.get(tool.name.as_str()).unwrap().print));
        }
    }
}
