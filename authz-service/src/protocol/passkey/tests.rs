use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, RsaKeyPair};
use shared::time::Seconds;

use self::authenticator::{Authenticator, Fields, Key, Page};
use super::*;
use crate::protocol::interact::Destination;
use crate::protocol::sample::{NOW, policy, user, with_session};

#[path = "../../../tests/support/authenticator.rs"]
mod authenticator;

const CHALLENGE: &str = "the-challenge";

fn party() -> Party {
    Party::of(&policy().issuer).unwrap()
}

fn page() -> Page {
    let Party { id: rp_id, origin } = party();
    Page { challenge: CHALLENGE.into(), origin, rp_id, kind: None, cross_origin: false }
}

fn handle() -> TokenHash {
    TokenHash::of(b"ada")
}

fn theirs() -> Authenticator {
    Authenticator::new(b"credential", handle().as_bytes())
}

fn transaction() -> Transaction {
    Transaction::to(Destination::Account, NOW).asking(&Secret::new(CHALLENGE.into()))
}

fn form(fields: Fields) -> Parameters {
    Parameters::from_pairs(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// What adding this passkey stores.
fn kept(authenticator: &Authenticator) -> Passkey {
    let created = Created::parse(&form(authenticator.create(&page()))).unwrap();
    let verdict = add(&created, &transaction(), &party(), handle(), &with_session(), &policy(), NOW);
    match verdict.changes.as_slice() {
        [Change::PasskeyAdded { user: name, passkey, .. }] if *name == user().name => passkey.clone(),
        _ => panic!("{:?}", verdict.reply),
    }
}

fn known(passkey: Passkey) -> Facts {
    Facts { passkey_user: Some(User { passkeys: vec![passkey], ..user() }), ..Facts::default() }
}

struct Case {
    authenticator: Authenticator,
    page: Page,
    transaction: Transaction,
    facts: Facts,
    now: Timestamp,
}

/// A sign-in with the passkey that is known, after `change`.
#[track_caller]
fn signs_in(change: impl FnOnce(&mut Case), reply: Result<(), Refusal>) {
    let authenticator = theirs();
    let facts = known(kept(&authenticator));
    let mut case = Case { authenticator, page: page(), transaction: transaction(), facts, now: NOW };
    change(&mut case);
    let asserted = Asserted::parse(&form(case.authenticator.get(&case.page))).unwrap();
    let fresh = Secret::new("cookie".into());
    let verdict = log_in(&asserted, &case.transaction, &party(), &case.facts, &policy(), &fresh, case.now);
    assert_eq!(verdict.reply.map(drop), reply);
    assert_eq!(verdict.changes.len(), if reply.is_ok() { 2 } else { 0 });
}

fn passkey(case: &mut Case) -> &mut Passkey {
    &mut case.facts.passkey_user.as_mut().unwrap().passkeys[0]
}

#[test]
fn a_passkey_signs_in_once_here_and_now_with_its_owner_there() {
    use PasskeyFault::*;
    let refused = |fault| Err(Refusal::Passkey(fault));
    signs_in(|_| {}, Ok(()));
    signs_in(|case| case.now = NOW + Seconds(600), Ok(()));
    signs_in(|case| case.now = NOW + Seconds(601), Err(Refusal::PageExpired));
    signs_in(|case| case.facts.assertion_used = true, Err(Refusal::PageAnswered));
    signs_in(|case| case.transaction.challenge = None, Err(Refusal::LoginTooOld));
    signs_in(|case| case.page.challenge = "another".into(), refused(Challenge));
    signs_in(|case| case.page.kind = Some("webauthn.create"), refused(Ceremony));
    for origin in ["http://localhost:3001", "https://localhost:3000", "http://localhost:3000/", "https://evil.example"]
    {
        signs_in(|case| case.page.origin = origin.into(), refused(Origin));
    }
    signs_in(|case| case.page.cross_origin = true, refused(Origin));
    signs_in(|case| case.page.rp_id = "evil.example".into(), refused(Party));
    signs_in(|case| case.authenticator.flags = 0b001, refused(NotVerified));
    signs_in(|case| case.authenticator.flags = 0b100, refused(NotVerified));
    // Backed up, and not to be: and to be, when it was not.
    signs_in(|case| case.authenticator.flags |= 0b1_0000, refused(Backup));
    signs_in(|case| case.authenticator.flags |= 0b1000, refused(Backup));
    signs_in(|case| case.authenticator.key = theirs().key, refused(Signature));
    signs_in(|case| case.authenticator.id = b"unknown".to_vec(), refused(Unknown));
    signs_in(|case| case.facts.passkey_user = None, refused(Unknown));
    signs_in(|case| case.authenticator.handle = TokenHash::of(b"bob").as_bytes().to_vec(), refused(Foreign));
    signs_in(|case| case.facts.passkey_user.as_mut().unwrap().stage = UserStage::Disabled, Err(Refusal::WrongLogin));
}

#[test]
fn a_count_that_goes_back_is_a_clone_and_none_at_all_is_not() {
    for (before, now, good) in [(0, 0, true), (0, 5, true), (4, 5, true), (5, 5, false), (5, 4, false), (5, 0, false)] {
        let count = |case: &mut Case| {
            passkey(case).counter = before;
            case.authenticator.counter = now;
        };
        signs_in(count, if good { Ok(()) } else { Err(Refusal::Passkey(PasskeyFault::Cloned)) });
    }
}

#[test]
fn each_algorithm_signs_in_and_verifies_with_its_own_key_only() {
    let es256 = theirs().key;
    let ed_dsa = Key::EdDsa(Ed25519KeyPair::generate().unwrap());
    let rs256 = Key::Rs256(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
    for key in [es256, ed_dsa, rs256] {
        let authenticator = Authenticator { key, ..theirs() };
        let passkey = kept(&authenticator);
        for alg in PasskeyAlgorithm::ALL {
            let facts = known(Passkey { alg, ..passkey.clone() });
            let asserted = Asserted::parse(&form(authenticator.get(&page()))).unwrap();
            let fresh = Secret::new("cookie".into());
            let reply = log_in(&asserted, &transaction(), &party(), &facts, &policy(), &fresh, NOW).reply;
            assert_eq!(reply.is_ok(), alg == passkey.alg, "{:?} as {alg:?}", passkey.alg);
        }
    }
}

/// Adding a passkey, after `change`.
#[track_caller]
fn adds(change: impl FnOnce(&mut Case), edit: impl FnOnce(Fields) -> Fields, reply: Result<(), Refusal>) {
    let mut case =
        Case { authenticator: theirs(), page: page(), transaction: transaction(), facts: with_session(), now: NOW };
    case.facts.session.as_mut().unwrap().expires = NOW + Seconds(3600);
    change(&mut case);
    let fields = edit(case.authenticator.create(&case.page));
    let verdict = match Created::parse(&form(fields)) {
        Ok(created) => add(&created, &case.transaction, &party(), handle(), &case.facts, &policy(), case.now),
        Err(refusal) => Verdict::unchanged(Err(refusal)),
    };
    assert_eq!(verdict.reply, reply);
    assert_eq!(verdict.changes.len(), usize::from(reply.is_ok()));
}

#[test]
fn a_passkey_is_added_once_by_whoever_signed_in_lately() {
    use PasskeyFault::*;
    let refused = |fault| Err(Refusal::Passkey(fault));
    let same = |fields: Fields| fields;
    let with = |name: &'static str, value: &str| {
        let value = value.to_owned();
        move |mut fields: Fields| {
            fields.retain(|(known, _)| *known != name);
            fields.push((name, value));
            fields
        }
    };
    adds(|_| {}, same, Ok(()));
    adds(|case| case.now = NOW + Seconds(601), same, Err(Refusal::PageExpired));
    adds(|case| case.facts.session = None, same, Err(Refusal::NotLoggedIn));
    adds(|case| case.transaction.challenge = None, same, Err(Refusal::LoginTooOld));
    adds(|case| case.facts.assertion_used = true, same, Err(Refusal::PageAnswered));
    adds(|case| case.page.challenge = "another".into(), same, refused(Challenge));
    adds(|case| case.page.kind = Some("webauthn.get"), same, refused(Ceremony));
    adds(|case| case.page.origin = "http://localhost:3001".into(), same, refused(Origin));
    adds(|case| case.page.rp_id = "evil.example".into(), same, refused(Party));
    adds(|case| case.authenticator.flags = 0b001, same, refused(NotVerified));
    adds(|case| case.authenticator.id = Vec::new(), same, refused(Malformed("authenticatorData")));
    adds(|_| {}, with("algorithm", "-8"), refused(Key));
    adds(|_| {}, with("algorithm", "-65535"), refused(Key));
    adds(|_| {}, with("public_key", "AAAA"), refused(Key));
    adds(|_| {}, with("public_key", "%%%"), refused(Malformed("public_key")));
    adds(|_| {}, with("client_data", "e30"), refused(Malformed("clientDataJSON")));
    adds(|_| {}, with("name", &"x".repeat(64)), Ok(()));
    let long = Refusal::Account("choose a name of at most 64 characters for the passkey");
    adds(|_| {}, with("name", &"x".repeat(65)), Err(long));
    let somebodys = |case: &mut Case| case.facts.passkey_user = Some(user());
    adds(somebodys, same, Err(Refusal::Account("this passkey is known already")));
    let ten = |case: &mut Case| {
        let passkey = kept(&theirs());
        case.facts.user.as_mut().unwrap().passkeys = vec![passkey; Passkey::MOST];
    };
    adds(ten, same, Err(Refusal::Account("you have ten passkeys; remove one before you add another")));
}

#[test]
fn only_ones_own_passkey_is_removed_and_twice_is_no_harm() {
    let passkey = kept(&theirs());
    let short = passkey.short_id();
    let mut facts = with_session();
    assert_eq!(remove(&short, &facts, NOW).changes, vec![]);
    facts.user.as_mut().unwrap().passkeys.push(passkey.clone());
    let verdict = remove(&short, &facts, NOW);
    assert_eq!(verdict.changes, vec![Change::PasskeyRemoved(passkey.id.hash())]);
    facts.session = None;
    assert_eq!(remove(&short, &facts, NOW).reply, Err(Refusal::NotLoggedIn));
}
