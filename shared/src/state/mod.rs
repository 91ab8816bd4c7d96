//! What is known, and the one function that changes it.

mod apply;
mod change;
mod facts;
mod record;
mod records;
mod sweep;

pub use apply::{Conflict, State, Undo};
pub use change::{Change, RevocationCause};
pub use facts::{Facts, Wanted};
pub use record::{
    Access, Client, ClientOrigin, ClientSecret, Code, CodeStage, Family, FamilyStage, Grant, GrantStage, PublicKey,
    Rotated, Session, SetupLink, User, UserStage,
};
pub use records::{OwnedRecord, Record};
