//! A store as the service writes it, without the service.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::id::{ClientId, GrantId, TokenId};
use shared::oauth::jwt::{AccessClaims, Audience};
use shared::oauth::pkce::{Challenge, S256};
use shared::oauth::register::{AuthMethod, GrantType};
use shared::secret::{Secret, random_bytes, random_uuid};
use shared::state::{
    Access, Change, Client, ClientOrigin, Code, CodeStage, Facts, Grant, GrantStage, OneCall, RevocationCause, Terms,
    User, UserStage, Wanted,
};
use shared::store::Store;
use shared::store::journal::JournalStore;
use shared::time::{Clock, Seconds, SystemClock, Timestamp};
use shared::token::{KeySet, opaque_token};
use shared::uri::{RedirectUri, Resource};

pub const ISSUER: &str = "http://localhost:3000";

/// A store folder with one person, one client, one issuer and one key.
pub struct Fixture {
    folder: tempfile::TempDir,
    pub store: JournalStore,
    pub keys: KeySet,
    pub client: ClientId,
    issuer: String,
}

/// A token and its names in the store.
pub struct Issued {
    pub token: String,
    pub grant: GrantId,
    pub claims: AccessClaims,
}

pub fn now() -> Timestamp {
    SystemClock.now()
}

impl Fixture {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::at(folder, "store")
    }

    pub fn at(folder: tempfile::TempDir, name: &str) -> Self {
        Self::of_issuer(folder, name, ISSUER)
    }

    pub fn of_issuer(folder: tempfile::TempDir, name: &str, issuer: &str) -> Self {
        let store = JournalStore::open(&folder.path().join(name), Arc::new(SystemClock)).unwrap();
        let keys = store.keys().unwrap();
        let client = ClientId::generated(random_uuid());
        let fixture = Self { folder, store, keys, client, issuer: issuer.to_owned() };
        fixture.commit(vec![
            Change::IssuerDeclared(issuer.parse().unwrap()),
            Change::UserCreated(User {
                name: "ada".parse().unwrap(),
                password: None,
                admin: true,
                created: Timestamp(1_785_229_501),
                stage: UserStage::Enabled,
                passkeys: Vec::new(),
                links: Vec::new(),
            }),
            Change::ClientRegistered(Client {
                id: fixture.client.clone(),
                name: Some("A \u{1b}[31mred\u{202e} client".into()),
                redirect_uris: vec![redirect()].into(),
                auth_method: Some(AuthMethod::None),
                grant_types: vec![GrantType::AuthorizationCode].into(),
                secret: None,
                previous_secret: None,
                registration: None,
                scope: "".parse().unwrap(),
                client_uri: None,
                other: serde_json::Map::new(),
                resources: Vec::new().into(),
                origin: ClientOrigin::Dynamic,
                program: None,
                issued_at: now(),
                approved_at: None,
                used_at: None,
            }),
        ]);
        fixture
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub fn around(&self) -> &Path {
        self.folder.path()
    }

    pub fn commit(&self, changes: Vec<Change>) {
        self.store.commit_blocking(changes).unwrap();
    }

    /// The records behind something.
    pub fn facts(&self, wanted: Wanted) -> Facts {
        let mut facts = Facts::default();
        self.store.read(&mut |state| facts = state.facts(&wanted)).unwrap();
        facts
    }

    /// What a token for the default server says.
    pub fn claims(&self, scope: &str) -> AccessClaims {
        AccessClaims {
            iss: self.issuer.parse().unwrap(),
            sub: "ada".to_owned(),
            aud: Audience::One(Resource::stdio("default").unwrap()),
            client_id: self.client.clone(),
            scope: scope.parse().unwrap(),
            jti: TokenId(random_uuid()),
            grant: GrantId(random_uuid()),
            nbf: None,
            iat: now(),
            exp: now() + Seconds(600),
        }
    }

    /// Issues a token as the service would: consent, code, redemption, signature.
    pub fn issue(&self, scope: &str) -> Issued {
        self.issue_claims(self.claims(scope))
    }

    /// Issues a token with exactly these claims.
    pub fn issue_claims(&self, claims: AccessClaims) -> Issued {
        self.record(&claims);
        Issued { token: self.sign(&claims), grant: claims.grant, claims }
    }

    /// Issues a token of a grant that opens these tools alone.
    pub fn issue_only(&self, scope: &str, tools: &[&str]) -> Issued {
        let tools = tools.iter().map(|tool| tool.parse().unwrap()).collect();
        self.issue_under(scope, Terms { tools: Some(tools), ..Terms::default() })
    }

    /// Issues a token of a grant with these terms.
    pub fn issue_under(&self, scope: &str, terms: Terms) -> Issued {
        let claims = self.claims(scope);
        self.record_with(&claims, Some(Box::new(terms)));
        Issued { token: self.sign(&claims), grant: claims.grant, claims }
    }

    /// Enters a token into the store.
    pub fn record(&self, claims: &AccessClaims) {
        self.record_with(claims, None);
    }

    fn record_with(&self, claims: &AccessClaims, terms: Option<Box<Terms>>) {
        let code = Secret::random().hash();
        let challenge = Challenge::from_request(Some(&"A".repeat(43)), Some(S256)).unwrap();
        let grant = Grant {
            id: claims.grant,
            user: Some("ada".parse().unwrap()),
            client: self.client.clone(),
            resource: resource(&claims.aud),
            scopes: claims.scope.clone(),
            created: now(),
            stage: GrantStage::Consented,
            terms,
        };
        let issued = Code {
            hash: code,
            grant: claims.grant,
            redirect_uri: redirect(),
            challenge,
            expires: now() + Seconds(60),
            stage: CodeStage::Issued,
        };
        let access = Access {
            id: claims.jti,
            grant: claims.grant,
            scopes: claims.scope.clone(),
            issued: claims.iat,
            expires: claims.exp,
            opaque: None,
            once: None,
        };
        self.commit(vec![
            Change::Approved { grant, code: issued, session: None },
            Change::CodeRedeemed { code, access, family: None },
        ]);
    }

    /// Exchanges a token for one that is good for one call.
    pub fn one_call(&self, issued: &Issued, tool: &str, arguments: &serde_json::Value) -> String {
        let id = TokenId(random_uuid());
        let token = opaque_token(id, &random_bytes());
        let arguments = shared::jcs::hash(arguments.as_object().unwrap());
        let access = Access {
            id,
            grant: issued.grant,
            scopes: issued.claims.scope.clone(),
            issued: now(),
            expires: now() + Seconds(60),
            opaque: Some(Box::new(token.hash())),
            once: Some(Box::new(OneCall { tool: tool.parse().unwrap(), arguments })),
        };
        self.commit(vec![Change::TokenExchanged { subject: issued.claims.jti, access }]);
        token.expose().to_owned()
    }

    pub fn sign(&self, claims: &AccessClaims) -> String {
        self.keys.mint(claims).unwrap().expose().to_owned()
    }

    pub fn revoke(&self, grant: GrantId) {
        self.commit(vec![Change::GrantRevoked { grant, cause: RevocationCause::User }]);
    }
}

/// What a person consented to, for a token to say `audience`.
fn resource(audience: &Audience) -> Resource {
    match audience {
        Audience::One(resource) => resource.clone(),
        Audience::Many(all) => all.last().map_or("urn:mcp:stdio:default", String::as_str).parse().unwrap(),
    }
}

fn redirect() -> RedirectUri {
    RedirectUri::register("http://127.0.0.1/cb", &[]).unwrap()
}
