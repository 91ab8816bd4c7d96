//! Which secrets of the vault a wrapped server gets, and while which grants live.
//!
//! A grant covers the secrets while it lives and gives a scope that the server's rules ask for: the grant behind this program's own
//! login or token, or behind a token that came with a request. The tokens themselves are not kept.

use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::id::GrantId;
use shared::scope::{Scopes, expand};
use shared::secret::Secret;
use shared::state::Facts;
use shared::time::Timestamp;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::child::Secrets;
use super::standin::Known;
use crate::credential::Presented;
use crate::gate::Gate;
use crate::vault::{Place, SecretName, Vault, VaultError};

/// So many grants are looked at, at most; the oldest go first.
const MOST: usize = 64;

/// The end of a grant is looked for at least so often: a computer that slept does not know how long.
const LOOK: Duration = Duration::from_secs(60);

/// How long a start waits for a store that is still being read.
const PATIENCE: Duration = Duration::from_secs(3);

/// The secrets of one wrapped server.
pub struct Release {
    place: Place,
    secrets: Vec<(OsString, SecretName)>,
    scopes: Scopes,
    grants: Mutex<Vec<GrantId>>,
    added: watch::Sender<()>,
}

/// Why there are no secrets to give.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// The vault cannot be read.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// It holds no such secret.
    #[error("the vault has no secret {0}; write it with `mcp-stdio-server vault set {0}`")]
    Secret(SecretName),
}

impl Release {
    /// Secrets of the vault at `place`, each for a variable, for grants that give one of `scopes`.
    pub fn new(place: Place, secrets: Vec<(OsString, SecretName)>, scopes: Scopes) -> Self {
        Self { place, secrets, scopes, grants: Mutex::default(), added: watch::Sender::new(()) }
    }

    /// The variables and their values, as the vault has them now.
    ///
    /// # Errors
    /// When one of them is not to be had.
    pub fn read(&self) -> Result<Secrets, Missing> {
        let vault = Vault::open(&self.place)?;
        let value = |(variable, name): &(OsString, SecretName)| {
            let found = vault.as_ref().map(|vault| vault.get(name)).transpose()?.flatten();
            Ok((variable.clone(), found.ok_or_else(|| Missing::Secret(name.clone()))?))
        };
        self.secrets.iter().map(value).collect()
    }

    /// Whether a server says of itself none of the secrets that it has: what it says is kept in a file.
    pub fn is_free_of_secrets(&self, known: &Known) -> bool {
        let Ok(secrets) = self.read() else { return false };
        let text = serde_json::to_string(known).unwrap_or_default();
        let says = |value: &Secret| {
            let quoted = Zeroizing::new(serde_json::Value::from(value.expose()).to_string());
            text.contains(quoted.trim_matches('"'))
        };
        let is_free = !secrets.iter().any(|(_, value)| says(value));
        if !is_free {
            tracing::warn!("the server tells its own secret in what it says of itself; that is not remembered");
        }
        is_free
    }

    /// Whether a grant covers the secrets now: the one that let a request in, or one that came by before.
    pub async fn covers(&self, gate: &Gate, admitted: Option<GrantId>) -> bool {
        if let Some(grant) = admitted {
            self.note_and_tell(grant);
        }
        self.look(gate).await.is_some_and(|(covered, _)| covered)
    }

    /// Notes the grant behind the token that came with a request.
    pub async fn meet(&self, gate: &Gate, presented: &Presented) {
        if let Some(grant) = gate.grant_of(presented).await {
            self.note_and_tell(grant);
        }
    }

    /// Whether the secrets are covered at the start of it all.
    pub async fn at_first(&self, gate: &Gate) -> bool {
        let look = tokio::time::timeout(PATIENCE, self.look(gate));
        look.await.ok().flatten().is_some_and(|(covered, _)| covered)
    }

    /// Tells whether the secrets are covered, whenever that changes. Never returns while somebody listens.
    pub async fn watch(self: Arc<Self>, gate: Arc<Gate>, covered: watch::Sender<bool>) {
        let Some(mut changed) = gate.verify.changed() else { return };
        let mut added = self.added.subscribe();
        loop {
            // Before the look: a change after it is then not missed.
            changed.mark_unchanged();
            added.mark_unchanged();
            let mut end = None;
            // A store that is gone for a moment says nothing new.
            if let Some((is_covered, until)) = self.look(&gate).await {
                covered.send_if_modified(|before| std::mem::replace(before, is_covered) != is_covered);
                end = until;
            }
            let end = end.map(|end| Duration::from(end - gate.clock.now()).min(LOOK));
            let ends = async {
                match end {
                    Some(end) => tokio::time::sleep(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = changed.changed() => if changed.is_err() { return },
                added = added.changed() => if added.is_err() { return },
                () = ends => {}
                () = covered.closed() => return,
            }
        }
    }

    /// Lets whoever watches look again.
    pub fn look_again(&self) {
        self.added.send_replace(());
    }

    fn note_and_tell(&self, grant: GrantId) {
        if self.note(grant) {
            self.look_again();
        }
    }

    /// Whether it was not known.
    fn note(&self, grant: GrantId) -> bool {
        let mut grants = self.grants();
        let is_new = !grants.contains(&grant);
        if is_new {
            grants.push(grant);
            let excess = grants.len().saturating_sub(MOST);
            grants.drain(..excess);
        }
        is_new
    }

    fn grants(&self) -> MutexGuard<'_, Vec<GrantId>> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one of the grants covers the secrets, and when the last of those ends by itself. `None` while the store has no
    /// answer.
    async fn look(&self, gate: &Gate) -> Option<(bool, Option<Timestamp>)> {
        if let Some(own) = gate.grant_of(&Presented::default()).await {
            self.note(own);
        }
        let (mut covered, mut ends) = (false, Some(Timestamp(0)));
        let grants = self.grants().clone();
        for grant in grants {
            let facts = gate.verify.grant(grant).await?;
            let now = gate.clock.now();
            if !is_covered(&facts, &self.scopes, now) {
                // What has ended does not come back.
                self.grants().retain(|known| *known != grant);
                continue;
            }
            covered = true;
            let until = facts.grant.as_ref().and_then(shared::state::Grant::until);
            ends = ends.and_then(|ends| until.map(|until| until.max(ends)));
        }
        Some((covered, ends.filter(|_| covered)))
    }
}

/// Whether a grant covers the secrets of a server whose rules ask for `scopes`.
fn is_covered(facts: &Facts, scopes: &Scopes, now: Timestamp) -> bool {
    let Some(grant) = facts.grant.as_ref().filter(|_| facts.grant_lives()) else { return false };
    let given = expand(&grant.scopes);
    grant.until().is_none_or(|until| until > now) && expand(scopes).iter().any(|scope| given.contains(scope.as_str()))
}

#[cfg(test)]
mod tests {
    use shared::state::{GrantStage, Terms, UserStage};
    use shared::store::conformance::Sample;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    #[track_caller]
    fn check(change: impl FnOnce(&mut Facts), covered: bool) {
        let sample = Sample::new(NOW);
        let mut facts = Facts {
            grant: Some(sample.grant.clone()),
            grant_user: Some(sample.user),
            grant_client_exists: true,
            ..Facts::default()
        };
        let grant = facts.grant.as_mut().unwrap();
        (grant.stage, grant.scopes) = (GrantStage::Live, "mcp:tools".parse().unwrap());
        change(&mut facts);
        assert_eq!(is_covered(&facts, &"mcp:tools:read x".parse().unwrap(), NOW), covered);
    }

    #[test]
    fn a_grant_covers_secrets_while_it_lives_and_gives_a_scope_of_the_servers() {
        check(|_| {}, true);
        let scopes =
            |text: &'static str| move |facts: &mut Facts| facts.grant.as_mut().unwrap().scopes = text.parse().unwrap();
        check(scopes("x"), true);
        check(scopes("mcp:resources"), false);
        check(scopes(""), false);
        for stage in [GrantStage::Consented, GrantStage::Revoked] {
            check(|facts| facts.grant.as_mut().unwrap().stage = stage, false);
        }
        check(|facts| facts.grant = None, false);
        check(|facts| facts.grant_client_exists = false, false);
        check(|facts| facts.grant_user.as_mut().unwrap().stage = UserStage::Disabled, false);
        for (until, covered) in [(NOW, false), (Timestamp(NOW.0 + 1), true)] {
            let terms = Some(Box::new(Terms { until: Some(until), ..Terms::default() }));
            check(|facts| facts.grant.as_mut().unwrap().terms = terms, covered);
        }
    }
}
