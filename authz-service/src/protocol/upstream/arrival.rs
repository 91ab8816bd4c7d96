//! Whom a provider identified becomes somebody here: the account that is linked, or one that is made.

use shared::id::UserName;
use shared::secret::Secret;
use shared::state::{Change, Facts, Link, Subject, User, UserStage, Wanted};
use shared::time::Timestamp;
use shared::token::Identity;

use super::{Upstream, UpstreamFault};
use crate::protocol::Verdict;
use crate::protocol::interact;
use crate::protocol::policy::Policy;

/// Somebody whom a provider identified, and what to look up about them.
#[derive(Debug)]
pub struct Arrival<'a> {
    upstream: &'a Upstream,
    identity: Identity,
    link: Link,
    name: UserName,
}

impl<'a> Arrival<'a> {
    /// Takes over whom an ID token names.
    ///
    /// # Errors
    /// [`UpstreamFault::Subject`].
    pub fn new(upstream: &'a Upstream, identity: Identity, now: Timestamp) -> Result<Self, UpstreamFault> {
        let subject: Subject = identity.subject().parse().map_err(|_| UpstreamFault::Subject)?;
        let link = Link { issuer: upstream.issuer.clone(), subject, created: now };
        let by_email = identity.verified_email().and_then(|email| email.to_ascii_lowercase().parse().ok());
        let hash = link.hash();
        let digits: String = hash.as_bytes()[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        let name = match by_email {
            Some(name) => name,
            None => format!("{}-{digits}", upstream.name).parse().map_err(|_| UpstreamFault::Subject)?,
        };
        Ok(Self { upstream, identity, link, name })
    }

    /// How the provider calls the person.
    pub fn subject(&self) -> &Subject {
        &self.link.subject
    }

    /// The records to decide on.
    pub fn wants(&self) -> Wanted {
        Wanted { link: Some(self.link.hash()), user: Some(self.name.clone()), ..Wanted::default() }
    }
}

/// Decides on a sign-in: the linked account's session, or an account's that is made for it. Nobody becomes an
/// administrator by it, and no account is found by an address.
pub fn sign_in(
    arrival: &Arrival<'_>,
    facts: &Facts,
    policy: &Policy,
    fresh: &Secret,
    now: Timestamp,
) -> Verdict<UserName> {
    match account(arrival, facts, now) {
        Ok((name, made)) => {
            let opened = Change::SessionOpened(interact::session(&name, fresh, policy, now));
            Verdict { changes: made.into_iter().chain([opened]).collect(), reply: Ok(name) }
        }
        Err(fault) => Verdict::unchanged(Err(fault.into())),
    }
}

fn account(arrival: &Arrival<'_>, facts: &Facts, now: Timestamp) -> Result<(UserName, Option<Change>), UpstreamFault> {
    let Arrival { upstream, identity, link, name } = arrival;
    if upstream.allow.as_ref().is_some_and(|allow| !allow.lets_in(identity)) {
        return Err(UpstreamFault::NotAllowed(link.subject.clone()));
    }
    match &facts.linked_user {
        Some(user) if user.stage == UserStage::Enabled => return Ok((user.name.clone(), None)),
        Some(_) => return Err(UpstreamFault::Resting),
        None => {}
    }
    if !upstream.create {
        return Err(UpstreamFault::NoAccount(link.subject.clone()));
    }
    if facts.user.is_some() {
        return Err(UpstreamFault::NameTaken(link.subject.clone()));
    }
    let user = User {
        name: name.clone(),
        password: None,
        admin: false,
        created: now,
        stage: UserStage::Enabled,
        passkeys: Vec::new(),
        links: vec![link.clone()],
    };
    Ok((name.clone(), Some(Change::UserCreated(user))))
}
