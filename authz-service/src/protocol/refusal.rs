//! Why a request is refused: the exact cause for our log, and the RFC's word for the wire.

use shared::id::GrantId;
use shared::oauth::error::ErrorCode;
use shared::oauth::form::BadForm;
use shared::oauth::pkce::PkceError;
use shared::uri::BadRedirectUri;

use super::cimd::DocumentFault;
use super::client_auth::ClientFault;
use super::passkey::PasskeyFault;
use super::upstream::UpstreamFault;

/// The exact cause. Its text is for the log and for the developer who reads `error_description`; it never repeats
/// a secret, and never tells a stranger more than the word does.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The form or query cannot be read.
    #[error("{0}")]
    Form(BadForm),
    /// The body cannot be read.
    #[error("{0}")]
    Body(String),
    /// A parameter that must be there is not.
    #[error("the parameter {0} is required")]
    Missing(&'static str),
    /// A parameter stands more than once.
    #[error("the parameter {0} stands more than once")]
    Repeated(&'static str),
    /// A parameter's value is not of its form.
    #[error("the parameter {0} is malformed or too long")]
    Malformed(&'static str),

    /// The client did not prove who it is.
    #[error("{fault}")]
    Client {
        /// What was wrong.
        fault: ClientFault,
        /// Whether it tried with the Authorization header, which wants a challenge in the answer.
        header: bool,
    },
    /// The client registered without this grant type.
    #[error("this client did not register the grant type {0}")]
    GrantNotRegistered(&'static str),
    /// `grant_type` names nothing that we do.
    #[error("grant_type names nothing that this server does; its metadata list what it does")]
    UnsupportedGrant,
    /// A client asks for a token for itself, and the operator has not let it.
    #[error("{0}")]
    NotForItself(&'static str),

    /// No client has this `client_id`.
    #[error("no app is registered here under this client_id; it may have to register again")]
    UnknownClient,
    /// The client names itself by a URL, and what is there does not make it one.
    #[error("the app cannot be recognised: {0}")]
    Document(DocumentFault),
    /// `redirect_uri` is missing, and the client has none or several.
    #[error("the parameter redirect_uri is required, because the app did not register exactly one")]
    RedirectMissing,
    /// `redirect_uri` is not one of the client's.
    #[error("the redirect_uri is not one that the app registered")]
    RedirectUnregistered,
    /// `response_type` is not `code`.
    #[error("response_type must be code")]
    UnsupportedResponseType,
    /// The PKCE parameters of an authorization request.
    #[error("{0}")]
    Challenge(PkceError),
    /// Nothing of what is asked for can be given.
    #[error("none of the scopes is known here")]
    UnknownScope,
    /// More is asked for than was granted.
    #[error("the scope goes beyond what was granted")]
    ScopeExceeds,
    /// The resource is not ours, or not this grant's.
    #[error("{0}")]
    Target(&'static str),
    /// `prompt=none`, and nobody is logged in.
    #[error("nobody is logged in")]
    LoginRequired,
    /// `prompt=none`, and a person must be asked.
    #[error("a person has to consent")]
    ConsentRequired,
    /// The person pressed "Deny".
    #[error("the person said no")]
    Denied,

    /// The page's proof of origin is missing or belongs to another page or browser.
    #[error("the form does not belong to this browser or page")]
    Forged,
    /// The page was answered too late.
    #[error("the page was open for too long, or is out of date")]
    PageExpired,
    /// The page was answered before.
    #[error("the page was answered already")]
    PageAnswered,
    /// Logged in, and no administrator.
    #[error("this is for administrators")]
    NotAdmin,
    /// Everything was unticked.
    #[error("nothing was ticked; go back and tick what the app may do, or say no")]
    NothingChosen,
    /// Nobody is logged in any more.
    #[error("the login has ended")]
    NotLoggedIn,
    /// Wrong password, unknown or disabled account: nobody learns which.
    #[error("the name or the password is wrong")]
    WrongLogin,
    /// An authenticator's answer that is not good.
    #[error("the passkey was not accepted: {0}")]
    Passkey(PasskeyFault),
    /// A provider did not sign anybody in.
    #[error("{0}")]
    Upstream(UpstreamFault),
    /// The operator lets nobody in with a password.
    #[error("nobody signs in with a password here")]
    PasswordOff,
    /// Too long since the person signed in for what is asked.
    #[error("this needs a login of the last ten minutes")]
    LoginTooOld,
    /// A set-up link that is spent, old, or was never good.
    #[error("this set-up link does not work any more; a new one is printed when the service starts without accounts")]
    SetupLink,
    /// What a person chose for a new account cannot be used.
    #[error("{0}")]
    Account(&'static str),

    /// `request_uri` names no request that waits, or another client's.
    #[error("the request_uri is unknown, over, answered already, or another client's")]
    RequestUri,
    /// The request came through the browser, and the operator wants it pushed.
    #[error("this server takes pushed authorization requests only; its metadata name the endpoint")]
    NotPushed,

    /// Nobody has decided about the device yet.
    #[error("nobody has decided yet")]
    Undecided,
    /// Nobody has decided about the device yet, and it asks too often.
    #[error("nobody has decided yet; wait five seconds longer between two polls")]
    SlowDown,
    /// The device code's time is over.
    #[error("the device code has expired")]
    ExpiredDeviceCode,
    /// The device code has given its tokens.
    #[error("the device code was used before")]
    UsedDeviceCode,
    /// What a person typed is no code that a device waits with.
    #[error("no device waits with this code; compare it with what the device shows, or start again there")]
    UserCode,

    /// No such code.
    #[error("the code is unknown")]
    UnknownCode,
    /// Its minute is over.
    #[error("the code has expired")]
    ExpiredCode,
    /// It was given to another client.
    #[error("the code was given to another client")]
    ForeignCode,
    /// It was used before; whatever it gave is revoked.
    #[error("the code was used before")]
    ReplayedCode(GrantId),
    /// Not where the code was sent.
    #[error("redirect_uri is not the one of the authorization request")]
    RedirectDiffers,
    /// The verifier is malformed or belongs to another challenge.
    #[error("{0}")]
    Verifier(PkceError),
    /// No such refresh token.
    #[error("the refresh token is unknown")]
    UnknownRefresh,
    /// It belongs to another client.
    #[error("the refresh token was given to another client")]
    ForeignRefresh,
    /// It was exchanged before, and its successor was used: the family is revoked.
    #[error("the refresh token was used before")]
    ReplayedRefresh(GrantId),
    /// It lay unused too long, or its life is over.
    #[error("the refresh token has expired")]
    ExpiredRefresh,
    /// The token that is to be exchanged is none of this client's that lives.
    #[error("the subject_token is unknown, expired, revoked, or another client's")]
    SubjectToken,
    /// `authorization_details` say nothing that is given here.
    #[error("{0}")]
    AuthorizationDetails(&'static str),
    /// The grant behind it was revoked, or its person or client is gone.
    #[error("the grant was revoked")]
    DeadGrant,

    /// A redirect URI that cannot be registered.
    #[error("{0}")]
    RedirectUri(BadRedirectUri),
    /// `redirect_uris` is missing, empty, no list, or too long.
    #[error("redirect_uris must be a list of 1 to 10 URIs")]
    RedirectUris,
    /// Any other member of a registration.
    #[error("{0}")]
    Metadata(String),
    /// The operator lets no client register itself.
    #[error("clients cannot register themselves here; ask the operator for a client_id")]
    RegistrationOff,
    /// As many clients are known as the operator allows.
    #[error("no more apps can be registered now; try again later")]
    Full,
    /// No token for registering, or one that is unknown, expired or used up.
    #[error("registering needs an initial access token that is good; ask the operator for one")]
    InitialToken,
    /// No such registration, or not this token's (RFC 7592 section 3): nobody learns which.
    #[error("the registration access token is not good for this client")]
    RegistrationToken,
    /// A software statement: we trust nobody who could sign one.
    #[error("software statements are not accepted here; register without one")]
    SoftwareStatement,
}

impl Refusal {
    /// What the client may know. No wildcard arm: a new cause must choose its word here.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Form(_)
            | Self::Body(_)
            | Self::Missing(_)
            | Self::Repeated(_)
            | Self::Malformed(_)
            | Self::RedirectMissing
            | Self::RedirectUnregistered
            | Self::Challenge(_)
            | Self::Forged
            | Self::PageExpired
            | Self::PageAnswered
            | Self::NothingChosen
            | Self::SetupLink
            | Self::UserCode
            | Self::NotPushed
            // RFC 8693 section 2.2.2.
            | Self::SubjectToken
            | Self::Account(_) => ErrorCode::InvalidRequest,
            Self::Document(DocumentFault::Busy) | Self::Full | Self::Upstream(UpstreamFault::Down(_)) => {
                ErrorCode::TemporarilyUnavailable
            }
            Self::Upstream(UpstreamFault::TooLong | UpstreamFault::Answer) => ErrorCode::InvalidRequest,
            Self::Client { .. } | Self::UnknownClient | Self::Document(_) => ErrorCode::InvalidClient,
            Self::GrantNotRegistered(_) | Self::NotForItself(_) => ErrorCode::UnauthorizedClient,
            Self::UnsupportedGrant => ErrorCode::UnsupportedGrantType,
            Self::UnsupportedResponseType => ErrorCode::UnsupportedResponseType,
            Self::UnknownScope | Self::ScopeExceeds => ErrorCode::InvalidScope,
            Self::Target(_) => ErrorCode::InvalidTarget,
            Self::LoginRequired => ErrorCode::LoginRequired,
            Self::ConsentRequired => ErrorCode::ConsentRequired,
            Self::InitialToken | Self::RegistrationToken => ErrorCode::InvalidToken,
            Self::Denied
            | Self::NotLoggedIn
            | Self::NotAdmin
            | Self::WrongLogin
            | Self::Passkey(_)
            | Self::Upstream(_)
            | Self::PasswordOff
            | Self::LoginTooOld
            | Self::RegistrationOff => ErrorCode::AccessDenied,
            Self::RequestUri => ErrorCode::InvalidRequestUri,
            Self::AuthorizationDetails(_) => ErrorCode::InvalidAuthorizationDetails,
            Self::Undecided => ErrorCode::AuthorizationPending,
            Self::SlowDown => ErrorCode::SlowDown,
            Self::ExpiredDeviceCode => ErrorCode::ExpiredToken,
            Self::UnknownCode
            | Self::UsedDeviceCode
            | Self::ExpiredCode
            | Self::ForeignCode
            | Self::ReplayedCode(_)
            | Self::RedirectDiffers
            | Self::Verifier(_)
            | Self::UnknownRefresh
            | Self::ForeignRefresh
            | Self::ReplayedRefresh(_)
            | Self::ExpiredRefresh
            | Self::DeadGrant => ErrorCode::InvalidGrant,
            Self::RedirectUri(_) | Self::RedirectUris => ErrorCode::InvalidRedirectUri,
            Self::Metadata(_) => ErrorCode::InvalidClientMetadata,
            Self::SoftwareStatement => ErrorCode::InvalidSoftwareStatement,
        }
    }

    /// What the client's developer may read. A stranger who tries codes and tokens learns nothing from it.
    pub fn description(&self) -> String {
        match self.code() {
            ErrorCode::InvalidGrant if !matches!(self, Self::RedirectDiffers | Self::Verifier(_)) => {
                "the code or refresh token is unknown, expired, revoked, used before, or another client's".to_owned()
            }
            ErrorCode::InvalidClient if matches!(self, Self::Client { .. }) => {
                "the client is unknown, or did not authenticate with its registered method".to_owned()
            }
            _ => match self {
                Self::Document(fault) => format!("the app cannot be recognised: {}", fault.shown()),
                other => other.to_string(),
            },
        }
    }
}

impl From<BadForm> for Refusal {
    fn from(error: BadForm) -> Self {
        Self::Form(error)
    }
}
