//! The first account, made by whoever holds the one-time link that the service printed at its start.

use shared::id::UserName;
use shared::secret::Secret;
use shared::state::{Change, Facts, SetupLink, User, UserStage};
use shared::time::Timestamp;

use super::Verdict;
use super::interact;
use super::policy::{MAX_PASSWORD, MIN_PASSWORD, Policy};
use super::refusal::Refusal;

/// The change that puts a link out. It replaces an earlier one.
pub fn offer(fresh: &Secret, policy: &Policy, now: Timestamp) -> Change {
    Change::SetupOffered(SetupLink { hash: fresh.hash(), expires: now + policy.lifetimes.setup })
}

/// Checks a link.
///
/// # Errors
/// [`Refusal::SetupLink`] when it is not the one that is out, too old, or spent.
pub fn check(token: &Secret, facts: &Facts, now: Timestamp) -> Result<(), Refusal> {
    let good = facts.setup.as_ref().is_some_and(|link| link.hash == token.hash() && link.expires >= now);
    if good && !facts.has_users { Ok(()) } else { Err(Refusal::SetupLink) }
}

/// Checks what a person chose.
///
/// # Errors
/// In words for that person.
pub fn chosen(name: Option<&str>, password: &str) -> Result<UserName, Refusal> {
    let name = name
        .and_then(|name| name.trim().parse().ok())
        .ok_or(Refusal::Account("choose a name of 1 to 64 letters, digits or . _ @ + -"))?;
    if password.chars().count() < MIN_PASSWORD {
        return Err(Refusal::Account("choose a password of at least 8 characters"));
    }
    if password.len() > MAX_PASSWORD {
        return Err(Refusal::Account("choose a password of at most 1024 bytes"));
    }
    Ok(name)
}

/// Decides on the first account: made once, with an administrator's rights, and logged in.
pub fn decide(
    token: &Secret,
    name: &UserName,
    password_hash: &str,
    facts: &Facts,
    policy: &Policy,
    session: &Secret,
    now: Timestamp,
) -> Verdict<()> {
    if let Err(refusal) = check(token, facts, now) {
        return Verdict::unchanged(Err(refusal));
    }
    let user = User {
        name: name.clone(),
        password: Some(password_hash.to_owned()),
        admin: true,
        created: now,
        stage: UserStage::Enabled,
        passkeys: Vec::new(),
        links: Vec::new(),
    };
    let made = Change::OwnerCreated { user, setup: token.hash() };
    let logged_in = Change::SessionOpened(interact::session(name, session, policy, now));
    Verdict { changes: vec![made, logged_in], reply: Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::policy::SETUP_LIFETIME;
    use crate::protocol::sample::{NOW, policy};

    #[test]
    fn a_link_works_once_for_a_day_and_only_without_accounts() {
        let link = Secret::new("link".into());
        let Change::SetupOffered(offered) = offer(&link, &policy(), NOW) else { panic!() };
        let facts = Facts { setup: Some(offered), ..Facts::default() };
        let last = NOW + SETUP_LIFETIME;
        assert_eq!(check(&link, &facts, last), Ok(()));
        assert_eq!(check(&link, &facts, Timestamp(last.0 + 1)), Err(Refusal::SetupLink));
        assert_eq!(check(&Secret::new("other".into()), &facts, NOW), Err(Refusal::SetupLink));
        assert_eq!(check(&link, &Facts::default(), NOW), Err(Refusal::SetupLink));
        let users = Facts { has_users: true, ..facts };
        assert_eq!(check(&link, &users, NOW), Err(Refusal::SetupLink));
    }

    #[test]
    fn a_name_and_a_password_have_bounds() {
        for (name, password, good) in [
            (Some("ada"), "12345678", true),
            (Some(" ada "), "12345678", true),
            (Some("a b"), "12345678", false),
            (None, "12345678", false),
            (Some("ada"), "1234567", false),
            (Some("ada"), &"x".repeat(1025), false),
        ] {
            assert_eq!(chosen(name, password).is_ok(), good, "{name:?} {}", password.len());
        }
    }
}
