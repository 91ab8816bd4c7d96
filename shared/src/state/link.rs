//! Accounts of OpenID providers that sign in here: how they are kept, and what happens to them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::apply::{Conflict, Replaced, State, Undo, known, set, vacant};
use super::entries::LinkEntry;
use super::record::{User, UserStage};
use crate::id::UserName;
use crate::secret::TokenHash;
use crate::time::Timestamp;
use crate::uri::Issuer;

/// A person as an OpenID provider knows them. It belongs to the record of the account that they sign in to: by these two
/// names and never by an e-mail address, which may be given to somebody else (OpenID Connect Core section 5.7).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Link {
    /// The provider, byte for byte.
    pub issuer: Issuer,
    /// How it calls the person.
    pub subject: Subject,
    /// Since when.
    pub created: Timestamp,
}

impl Link {
    /// How many one account may have.
    pub const MOST: usize = 10;

    /// What a link is looked up by. No issuer holds a zero byte, so that no two pairs have one text.
    pub fn hash(&self) -> TokenHash {
        Self::hash_of(&self.issuer, &self.subject)
    }

    /// The same, of one that may not be kept.
    pub fn hash_of(issuer: &Issuer, subject: &Subject) -> TokenHash {
        TokenHash::of(format!("openid\0{issuer}\0{subject}").as_bytes())
    }
}

/// How a provider calls a person, its `sub`: 1 to 255 visible ASCII characters (OpenID Connect Core section 2 has "ASCII
/// characters in length"; none that is in use holds a blank).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subject(String);

/// It is no subject.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a subject is 1 to 255 visible ASCII characters")]
pub struct NotASubject;

impl Subject {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Subject {
    type Error = NotASubject;

    fn try_from(text: String) -> Result<Self, NotASubject> {
        let fits = (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Self(text)) } else { Err(NotASubject) }
    }
}

impl FromStr for Subject {
    type Err = NotASubject;

    fn from_str(text: &str) -> Result<Self, NotASubject> {
        text.to_owned().try_into()
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stands in the way of two changes that cannot both be.
const WHAT: &str = "the link to the provider's account";

impl State {
    pub(super) fn link(&mut self, name: UserName, link: Link, undo: &mut Undo) -> Result<(), Conflict> {
        let mut user = known(&self.users, &name, "the account")?.clone();
        if user.stage == UserStage::Removed {
            return Err(Conflict::Stage("the account"));
        }
        if user.links.len() >= Link::MOST {
            return Err(Conflict::Stage("the number of links"));
        }
        self.note_link(&link, &name, undo)?;
        user.links.push(link);
        set(&mut self.users, name, Some(user), undo, Replaced::User);
        Ok(())
    }

    pub(super) fn unlink(&mut self, link: &TokenHash, undo: &mut Undo) -> Result<(), Conflict> {
        let mut user = self.link_owner(link).ok_or(Conflict::Missing(WHAT))?.clone();
        user.links.retain(|one| one.hash() != *link);
        set(&mut self.links, *link, None, undo, Replaced::Link);
        set(&mut self.users, user.name.clone(), Some(user), undo, Replaced::User);
        Ok(())
    }

    /// Notes the links that a new account comes with.
    pub(super) fn note_links(&mut self, user: &User, undo: &mut Undo) -> Result<(), Conflict> {
        user.links.iter().try_for_each(|link| self.note_link(link, &user.name, undo))
    }

    fn note_link(&mut self, link: &Link, user: &UserName, undo: &mut Undo) -> Result<(), Conflict> {
        let link = link.hash();
        vacant(&self.links, &link, WHAT)?;
        set(&mut self.links, link, Some(LinkEntry { link, user: user.clone() }), undo, Replaced::Link);
        Ok(())
    }

    /// Forgets that these links are a person's.
    pub(super) fn forget_links(&mut self, links: &[Link], undo: &mut Undo) {
        for link in links {
            set(&mut self.links, link.hash(), None, undo, Replaced::Link);
        }
    }

    /// To whose account it leads, by its hash.
    pub(super) fn link_owner(&self, link: &TokenHash) -> Option<&User> {
        self.users.get(&self.links.get(link)?.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Change, Wanted};
    use crate::store::conformance::Sample;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn link(subject: &str) -> Link {
        Link { subject: subject.parse().unwrap(), ..Sample::new(NOW).link() }
    }

    fn user(name: &str, links: Vec<Link>) -> User {
        User { name: name.parse().unwrap(), links, ..Sample::new(NOW).user }
    }

    fn linked(name: &str, subject: &str) -> Change {
        Change::UpstreamLinked { user: name.parse().unwrap(), link: link(subject) }
    }

    /// Applies a change that fits, forth and back and forth.
    #[track_caller]
    fn fits(state: &mut State, change: Change) {
        let before = state.clone();
        let mut undo = state.apply_all(vec![change], NOW).unwrap();
        let after = state.clone();
        state.revert(&mut undo);
        assert_eq!(*state, before);
        state.redo(&mut undo);
        assert_eq!(*state, after);
    }

    #[track_caller]
    fn conflicts(state: &mut State, change: Change) {
        let before = state.clone();
        state.apply_all(vec![change], NOW).unwrap_err();
        assert_eq!(*state, before);
    }

    fn owner(state: &State, subject: &str) -> Option<String> {
        let wanted = Wanted { link: Some(link(subject).hash()), ..Wanted::default() };
        state.facts(&wanted).linked_user.map(|user| user.name.to_string())
    }

    #[test]
    fn a_providers_person_signs_in_to_one_account_and_makes_it_somebodys() {
        let mut state = State::default();
        fits(&mut state, Change::UserCreated(user("ada", vec![link("1")])));
        assert!(state.someone_can_log_in());
        fits(&mut state, Change::UserCreated(user("bob", vec![])));
        conflicts(&mut state, Change::UserCreated(user("eve", vec![link("1")])));
        // Nobody takes an account over that a provider's person signs in to.
        let with_password = User { password: Some("x".into()), ..user("ada", vec![]) };
        conflicts(&mut state, Change::UserCreated(with_password));
        conflicts(&mut state, linked("bob", "1"));
        conflicts(&mut state, linked("nobody", "2"));
        fits(&mut state, linked("bob", "2"));
        assert_eq!((owner(&state, "1").as_deref(), owner(&state, "2").as_deref()), (Some("ada"), Some("bob")));
        fits(&mut state, Change::UpstreamUnlinked(link("2").hash()));
        conflicts(&mut state, Change::UpstreamUnlinked(link("2").hash()));
        assert_eq!(owner(&state, "2"), None);
        for n in 2..=Link::MOST {
            fits(&mut state, linked("ada", &n.to_string()));
        }
        conflicts(&mut state, linked("ada", "one-too-many"));
    }

    #[test]
    fn an_account_that_is_gone_is_nobodys_and_its_links_are_free() {
        let mut state = State::default();
        fits(&mut state, Change::UserCreated(user("ada", vec![link("1")])));
        let removed = Change::UserStageSet { user: "ada".parse().unwrap(), stage: UserStage::Removed };
        fits(&mut state, removed);
        assert!(owner(&state, "1").is_none() && !state.someone_can_log_in());
        conflicts(&mut state, linked("ada", "1"));
        fits(&mut state, Change::UserCreated(user("bob", vec![link("1")])));
    }

    #[test]
    fn a_subject_is_visible_ascii_of_255_characters_at_most() {
        for (text, fits) in [
            ("1", true),
            (&"x".repeat(255), true),
            (&"x".repeat(256), false),
            ("", false),
            ("a b", false),
            ("ä", false),
        ] {
            assert_eq!(text.parse::<Subject>().is_ok(), fits, "{text}");
        }
    }
}
