//! The conformance suite that every kind of store passes. It panics at the first breach.

use std::sync::Arc;

use uuid::Uuid;

use super::{CommitError, Store};
use crate::id::{ClientId, GrantId, TokenId, UserName};
use crate::oauth::pkce::Verifier;
use crate::oauth::register::{AuthMethod, GrantType};
use crate::secret::{Secret, TokenHash, random_uuid};
use crate::state::{
    Access, Change, Client, ClientOrigin, Code, CodeStage, CredentialId, Device, DeviceStage, Family, FamilyStage,
    Grant, GrantStage, Link, Passkey, PasskeyAlgorithm, Pushed, RevocationCause, User, UserStage, Wanted,
};
use crate::time::{Seconds, Timestamp};
use crate::uri::{RedirectUri, Resource};

/// Runs every case on stores that `open` gives: handles on one and the same store.
///
/// # Panics
/// When the store breaks a promise.
pub async fn run(open: &dyn Fn() -> Arc<dyn Store>) {
    what_is_committed_is_seen_by_every_handle(open).await;
    a_conflict_leaves_nothing_behind(open).await;
    a_code_has_one_winner(open).await;
    a_revocation_is_in_the_next_answer(open).await;
    a_rotation_needs_the_current_token(open).await;
}

/// Records of one made-up authorization, to build histories from.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its client.
    pub client: Client,
    /// Its person.
    pub user: User,
    /// Its grant.
    pub grant: Grant,
    /// Its code.
    pub code: Code,
    /// Its first access token.
    pub access: Access,
    /// Its refresh tokens.
    pub family: Family,
}

impl Sample {
    /// A new one, with names that no other has.
    ///
    /// # Panics
    /// Never: the names are well-formed.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let uuid = random_uuid();
        let user: UserName = format!("u-{}", uuid.simple()).parse().expect("a user name");
        let client = ClientId::generated(uuid);
        let scopes: crate::scope::Scopes = "mcp:tools:execute mcp:tools:read".parse().expect("scopes");
        let redirect = RedirectUri::register("http://127.0.0.1/cb", &[]).expect("a redirect URI");
        let grant = GrantId(random_uuid());
        Self {
            client: Client {
                id: client.clone(),
                name: Some("sample".into()),
                redirect_uris: vec![redirect.clone()].into(),
                auth_method: Some(AuthMethod::None),
                grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken].into(),
                secret: None,
                previous_secret: None,
                registration: None,
                scope: scopes.clone(),
                client_uri: None,
                other: serde_json::Map::new(),
                resources: Vec::new().into(),
                origin: ClientOrigin::Dynamic,
                program: None,
                issued_at: now,
                approved_at: None,
                used_at: None,
            },
            user: User {
                name: user.clone(),
                password: None,
                admin: false,
                created: now,
                stage: UserStage::Enabled,
                passkeys: Vec::new(),
                links: Vec::new(),
            },
            grant: Grant {
                id: grant,
                user: Some(user),
                client,
                resource: Resource::stdio("default").expect("a resource"),
                scopes: scopes.clone(),
                created: now,
                stage: GrantStage::Consented,
                terms: None,
            },
            code: Code {
                hash: Secret::random().hash(),
                grant,
                redirect_uri: redirect,
                challenge: Verifier::random().challenge(),
                expires: now + Seconds(60),
                stage: CodeStage::Issued,
            },
            access: Access {
                id: TokenId(random_uuid()),
                grant,
                scopes,
                issued: now,
                expires: now + Seconds(3600),
                opaque: None,
                once: None,
            },
            family: Family {
                grant,
                current: Secret::random().hash(),
                previous: None,
                spent: Vec::new(),
                used: now,
                expires: now + Seconds(86_400),
                stage: FamilyStage::Live,
            },
        }
    }

    /// A link of the person's.
    #[must_use]
    pub fn link(&self) -> Link {
        Link {
            issuer: "https://id.example".parse().expect("an issuer"),
            subject: "248289761001".parse().expect("a subject"),
            created: self.user.created,
        }
    }

    /// A passkey of the person's; the key is none.
    #[must_use]
    pub fn passkey(&self) -> Passkey {
        Passkey {
            id: CredentialId::of(b"credential").expect("a credential id"),
            handle: TokenHash::of(b"handle"),
            alg: PasskeyAlgorithm::Es256,
            key: "key".into(),
            name: "Laptop".into(),
            counter: 0,
            syncs: false,
            created: self.user.created,
            used: None,
        }
    }

    /// The commit that makes client and person known.
    #[must_use]
    pub fn known(&self) -> Vec<Change> {
        vec![Change::UserCreated(self.user.clone()), Change::ClientRegistered(self.client.clone())]
    }

    /// The commit of the consent.
    #[must_use]
    pub fn approved(&self) -> Vec<Change> {
        vec![Change::Approved { grant: self.grant.clone(), code: self.code.clone(), session: None }]
    }

    /// The commit of the first tokens; each call draws a new access token.
    #[must_use]
    pub fn redeemed(&self) -> Vec<Change> {
        vec![Change::CodeRedeemed {
            code: self.code.hash,
            access: self.access.clone(),
            family: Some(self.family.clone()),
        }]
    }

    /// A request that the client pushed, for 90 seconds.
    #[must_use]
    pub fn pushed(&self) -> Pushed {
        let expires = self.grant.created + Seconds(90);
        Pushed {
            hash: self.code.hash,
            client: self.client.id.clone(),
            query: "x=y".to_owned(),
            resource: Some(self.grant.resource.clone()),
            expires,
            opened: false,
        }
    }

    /// A device of the client's that waits for the person, for ten minutes.
    #[must_use]
    pub fn device(&self) -> Device {
        Device {
            hash: self.code.hash,
            user_code: TokenHash::of(self.grant.id.0.as_bytes()),
            client: self.client.id.clone(),
            scopes: self.grant.scopes.clone(),
            resource: self.grant.resource.clone(),
            expires: self.grant.created + Seconds(600),
            stage: DeviceStage::Waiting,
        }
    }

    /// The commit of a token that the client gets for itself; its grant is the sample's, without the person.
    #[must_use]
    pub fn granted_to_client(&self) -> Vec<Change> {
        let grant = Grant { user: None, stage: GrantStage::Live, ..self.grant.clone() };
        vec![Change::ClientGranted { grant, access: self.access.clone() }]
    }

    /// The commit of the next tokens.
    #[must_use]
    pub fn rotated(&self, presented: TokenHash, successor: TokenHash) -> Vec<Change> {
        let access = Access { id: TokenId(random_uuid()), ..self.access.clone() };
        vec![Change::RefreshRotated { grant: self.grant.id, presented, successor, access }]
    }

    /// What to load to judge the access token.
    #[must_use]
    pub fn wants_access(&self) -> Wanted {
        Wanted { access: Some(self.access.id), ..Wanted::default() }
    }
}

async fn commit(store: &dyn Store, changes: Vec<Change>) {
    store.commit(changes).await.expect("a commit that fits");
}

async fn live(store: &dyn Store, now: Timestamp) -> Sample {
    let sample = Sample::new(now);
    for changes in [sample.known(), sample.approved(), sample.redeemed()] {
        commit(store, changes).await;
    }
    sample
}

async fn what_is_committed_is_seen_by_every_handle(open: &dyn Fn() -> Arc<dyn Store>) {
    let (writer, reader) = (open(), open());
    let sample = live(&*writer, Timestamp(1000)).await;
    for store in [&writer, &reader] {
        let wanted = sample.wants_access();
        let facts = store.load(&wanted).await.expect("facts");
        assert_eq!(facts.access.as_ref(), Some(&sample.access));
        assert!(facts.grant_lives());
    }
    let unknown = Wanted { access: Some(TokenId(Uuid::nil())), ..Wanted::default() };
    assert!(reader.load(&unknown).await.expect("facts").access.is_none());
}

async fn a_conflict_leaves_nothing_behind(open: &dyn Fn() -> Arc<dyn Store>) {
    let store = open();
    let sample = live(&*store, Timestamp(1000)).await;
    let other = Sample::new(Timestamp(1000));
    let mut changes = other.known();
    changes.extend(sample.known());
    assert!(matches!(store.commit(changes).await, Err(CommitError::Conflict(_))));
    let wanted = Wanted { client: Some(other.client.id.clone()), ..Wanted::default() };
    assert!(store.load(&wanted).await.expect("facts").client.is_none(), "half a commit is visible");
    commit(&*store, other.known()).await;
}

async fn a_code_has_one_winner(open: &dyn Fn() -> Arc<dyn Store>) {
    let handles: Vec<_> = (0..4).map(|_| open()).collect();
    let sample = Sample::new(Timestamp(1000));
    commit(&*handles[0], sample.known()).await;
    commit(&*handles[0], sample.approved()).await;
    let mut answers = Vec::new();
    for turn in 0..32 {
        answers.push(handles[turn % 4].commit(sample.redeemed()));
    }
    let mut won = 0;
    for answer in answers {
        match answer.await {
            Ok(()) => won += 1,
            Err(error) => assert!(matches!(error, CommitError::Conflict(_)), "{error}"),
        }
    }
    assert_eq!(won, 1, "a code has one winner");
}

async fn a_revocation_is_in_the_next_answer(open: &dyn Fn() -> Arc<dyn Store>) {
    let (writer, reader) = (open(), open());
    let sample = live(&*writer, Timestamp(1000)).await;
    let wanted = sample.wants_access();
    assert!(reader.load(&wanted).await.expect("facts").grant_lives());
    commit(&*writer, vec![Change::GrantRevoked { grant: sample.grant.id, cause: RevocationCause::User }]).await;
    assert!(!reader.load(&wanted).await.expect("facts").grant_lives());
}

async fn a_rotation_needs_the_current_token(open: &dyn Fn() -> Arc<dyn Store>) {
    let store = open();
    let sample = live(&*store, Timestamp(1000)).await;
    let (first, second, third) = (sample.family.current, Secret::random().hash(), Secret::random().hash());
    commit(&*store, sample.rotated(first, second)).await;
    assert!(matches!(store.commit(sample.rotated(first, third)).await, Err(CommitError::Conflict(_))));
    commit(&*store, sample.rotated(second, third)).await;
    // Every token of the family leads to it, so that a replay is recognised.
    for hash in [first, second, third] {
        let wanted = Wanted { refresh: Some(hash), ..Wanted::default() };
        assert_eq!(store.load(&wanted).await.expect("facts").family.map(|family| family.current), Some(third));
    }
}
