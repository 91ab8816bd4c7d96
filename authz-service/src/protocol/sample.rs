//! Records that the table tests of this folder start from.

use shared::id::{ClientId, GrantId, TokenId};
use shared::oauth::pkce::Challenge;
use shared::oauth::register::{AuthMethod, GrantType};
use shared::secret::Secret;
use shared::state::{
    Client, ClientOrigin, Code, CodeStage, Device, DeviceStage, Facts, Family, FamilyStage, Grant, GrantStage, Session,
    User, UserStage,
};
use shared::time::{Seconds, Timestamp};
use shared::uri::RedirectUri;
use uuid::Uuid;

use super::authorize::FreshCode;
use super::device::FreshDevice;
use super::policy::{CODE_LIFETIME, DEFAULT_RESOURCE, DEVICE_LIFETIME, Policy, REFRESH_ABSOLUTE};
use super::token::FreshTokens;

/// The second in which everything happens.
pub const NOW: Timestamp = Timestamp(1_800_000_000);
/// RFC 7636 appendix B.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// RFC 7636 appendix B.
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub fn policy() -> Policy {
    Policy::new("http://localhost:3000".parse().unwrap()).unwrap()
}

pub fn client() -> Client {
    Client {
        id: ClientId::generated(Uuid::from_u128(1)),
        name: Some("Test".into()),
        redirect_uris: vec![RedirectUri::register("http://127.0.0.1/cb", &[]).unwrap()].into(),
        auth_method: Some(AuthMethod::None),
        grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken].into(),
        secret: None,
        previous_secret: None,
        registration: None,
        scope: "".parse().unwrap(),
        client_uri: None,
        other: serde_json::Map::new(),
        resources: Vec::new().into(),
        origin: ClientOrigin::Dynamic,
        program: None,
        issued_at: NOW,
        approved_at: None,
        used_at: None,
    }
}

pub fn user() -> User {
    User {
        name: "ada".parse().unwrap(),
        password: None,
        admin: false,
        created: NOW,
        stage: UserStage::Enabled,
        passkeys: Vec::new(),
        links: Vec::new(),
    }
}

pub fn facts() -> Facts {
    Facts { client: Some(client()), has_users: true, ..Facts::default() }
}

pub fn with_session() -> Facts {
    let session = Session {
        hash: Secret::new("session".into()).hash(),
        user: user().name,
        created: Timestamp(NOW.0 - 30),
        expires: Timestamp(NOW.0 + 1),
        grants: Vec::new(),
    };
    Facts { session: Some(session), user: Some(user()), ..facts() }
}

pub fn fresh_code() -> FreshCode {
    FreshCode { grant: grant().id, code: Secret::new("the-code".into()) }
}

pub fn fresh_tokens() -> FreshTokens {
    FreshTokens {
        one_call: Secret::new("one-call".into()),
        token: TokenId(Uuid::from_u128(3)),
        grant: GrantId(Uuid::from_u128(4)),
        refresh: Secret::new("next-refresh".into()),
    }
}

pub fn fresh_device() -> FreshDevice {
    let user_code = Secret::new("the-user-code".into()).hash();
    FreshDevice { code: Secret::new("the-device-code".into()), user_code, grant: grant().id }
}

/// Lets the client use these grant types.
pub fn may(facts: &mut Facts, grant_types: &[GrantType]) {
    facts.client.as_mut().unwrap().grant_types = grant_types.to_vec().into();
}

/// A device that waits for a person.
pub fn device() -> Device {
    Device {
        hash: fresh_device().code.hash(),
        user_code: fresh_device().user_code,
        client: client().id,
        scopes: grant().scopes,
        resource: grant().resource,
        expires: NOW + DEVICE_LIFETIME,
        stage: DeviceStage::Waiting,
    }
}

pub fn grant() -> Grant {
    Grant {
        id: GrantId(Uuid::from_u128(2)),
        user: Some(user().name),
        client: client().id,
        resource: DEFAULT_RESOURCE.parse().unwrap(),
        scopes: "mcp:tools:execute mcp:tools:read".parse().unwrap(),
        created: NOW,
        stage: GrantStage::Consented,
        terms: None,
    }
}

pub fn with_code() -> Facts {
    let code = Code {
        hash: fresh_code().code.hash(),
        grant: grant().id,
        redirect_uri: RedirectUri::register("http://127.0.0.1:49152/cb", &[]).unwrap(),
        challenge: Challenge::from_request(Some(CHALLENGE), Some("S256")).unwrap(),
        expires: NOW + CODE_LIFETIME,
        stage: CodeStage::Issued,
    };
    Facts { code: Some(code), ..with_grant(GrantStage::Consented) }
}

pub fn with_grant(stage: GrantStage) -> Facts {
    Facts {
        grant: Some(Grant { stage, ..grant() }),
        grant_user: Some(user()),
        grant_client_exists: true,
        user: Some(user()),
        ..facts()
    }
}

/// A live grant whose current refresh token is `refresh`.
pub fn with_family(refresh: &str) -> Facts {
    let family = Family {
        grant: grant().id,
        current: Secret::new(refresh.into()).hash(),
        previous: None,
        spent: Vec::new(),
        used: NOW,
        expires: NOW + Seconds(REFRESH_ABSOLUTE.0),
        stage: FamilyStage::Live,
    };
    Facts { family: Some(family), ..with_grant(GrantStage::Live) }
}
