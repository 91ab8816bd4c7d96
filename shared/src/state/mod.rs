//! What is known, and the one function that changes it.

mod apply;
mod audit;
mod change;
mod clients;
mod device;
mod entries;
mod facts;
mod kind;
mod link;
mod passkey;
mod people;
mod prints;
mod record;
mod records;
mod sweep;
mod table;
mod tools;

pub use apply::{Conflict, State, Undo};
pub use audit::Event;
pub use change::{Change, Expired, RevocationCause};
pub use facts::{Facts, Wanted};
pub use kind::Kind;
pub use link::{Link, NotASubject, Subject};
pub use passkey::{AnsweredChallenge, CredentialId, NotACredentialId, Passkey, PasskeyAlgorithm};
pub use people::LiveGrant;
pub use prints::{Prints, print_of};
pub use record::{
    Access, Answered, Client, ClientOrigin, ClientSecret, Code, CodeStage, Device, DeviceStage, Family, FamilyStage,
    Grant, GrantStage, InitialToken, OneCall, Program, PublicKey, Pushed, Rotated, Session, SetupLink, Terms, User,
    UserStage,
};
pub use records::{OwnedRecord, Record, Restoring};
pub use sweep::ClientCare;
pub use tools::{Announcement, Effect, MAX_OWN_SCOPES, MAX_TOOLS, NotAToolName, Tool, ToolName, own};
