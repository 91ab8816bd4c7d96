//! What a page carries through the browser: a transaction that only we can have written, for this browser only, and
//! beside it the value that another site cannot know (RFC 9700 section 4.7).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::oauth::form::Parameters;
use shared::secret::{Secret, TokenHash};
use shared::token::KeySet;
use subtle::ConstantTimeEq;

use crate::protocol::Refusal;
use crate::protocol::interact::Transaction;

/// Which page: a login page's fields are no good on a consent page.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// The login page.
    Login,
    /// The consent page.
    Consent,
    /// The logout button.
    Logout,
    /// The account page.
    Account,
    /// The administrator's page.
    Admin,
    /// The page on which a device's code is typed.
    Device,
    /// The page that asks about a device.
    DeviceConsent,
    /// What goes to a provider and comes back.
    Upstream,
}

impl Purpose {
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Login => ("login transaction", "login csrf"),
            Self::Consent => ("consent transaction", "consent csrf"),
            Self::Logout => ("logout transaction", "logout csrf"),
            Self::Account => ("account transaction", "account csrf"),
            Self::Admin => ("admin transaction", "admin csrf"),
            Self::Device => ("device transaction", "device csrf"),
            Self::DeviceConsent => ("device consent transaction", "device consent csrf"),
            Self::Upstream => ("upstream transaction", "upstream csrf"),
        }
    }
}

/// The hidden fields of a form.
#[derive(Debug)]
pub struct Hidden {
    /// The transaction, sealed.
    pub transaction: String,
    /// The proof that the form was made for this cookie and this transaction.
    pub csrf: String,
}

/// Seals a transaction for the browser or session that `cookie` names.
pub fn close(keys: &KeySet, purpose: Purpose, cookie: &Secret, transaction: &impl Serialize) -> Hidden {
    let payload = serde_json::to_vec(transaction).unwrap_or_default();
    let (transaction_word, csrf_word) = purpose.words();
    let cookie = cookie.expose().as_bytes();
    let seal = keys.seal(transaction_word, &[cookie, &payload]);
    let sealed = format!("{}.{}", URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(seal.as_bytes()));
    let csrf = keys.seal(csrf_word, &[cookie, sealed.as_bytes()]);
    Hidden { csrf: URL_SAFE_NO_PAD.encode(csrf.as_bytes()), transaction: sealed }
}

/// Opens what [`close`] sealed for the same purpose and cookie.
///
/// # Errors
/// [`Refusal::Forged`], whatever is missing or wrong.
pub fn open(
    keys: &KeySet,
    purpose: Purpose,
    cookie: Option<&Secret>,
    form: &Parameters,
) -> Result<Transaction, Refusal> {
    open_as(keys, purpose, cookie, form)
}

/// Opens what [`close`] sealed when it was something else than a transaction of an app's.
///
/// # Errors
/// [`Refusal::Forged`], whatever is missing or wrong.
pub fn open_as<T: DeserializeOwned>(
    keys: &KeySet,
    purpose: Purpose,
    cookie: Option<&Secret>,
    form: &Parameters,
) -> Result<T, Refusal> {
    let (cookie, sealed, csrf) = match (cookie, form.get("transaction"), form.get("csrf")) {
        (Some(cookie), Some(sealed), Some(csrf)) => (cookie, sealed, csrf),
        _ => return Err(Refusal::Forged),
    };
    let (_, csrf_word) = purpose.words();
    if !is(&decoded(csrf)?, &keys.seal(csrf_word, &[cookie.expose().as_bytes(), sealed.as_bytes()])) {
        return Err(Refusal::Forged);
    }
    open_sealed(keys, purpose, cookie, sealed)
}

/// Opens a transaction that [`close`] sealed, where it comes back alone: the seal itself is what nobody else can make.
///
/// # Errors
/// [`Refusal::Forged`], whatever is missing or wrong.
pub fn open_sealed<T: DeserializeOwned>(
    keys: &KeySet,
    purpose: Purpose,
    cookie: &Secret,
    sealed: &str,
) -> Result<T, Refusal> {
    let (payload, seal) = sealed.split_once('.').ok_or(Refusal::Forged)?;
    let payload = decoded(payload)?;
    if !is(&decoded(seal)?, &keys.seal(purpose.words().0, &[cookie.expose().as_bytes(), &payload])) {
        return Err(Refusal::Forged);
    }
    serde_json::from_slice(&payload).map_err(|_| Refusal::Forged)
}

/// Compares a seal in the same time wherever it differs.
fn is(presented: &[u8], seal: &TokenHash) -> bool {
    presented.ct_eq(seal.as_bytes()).into()
}

fn decoded(text: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Forged)
}

#[cfg(test)]
mod tests {
    use shared::time::Timestamp;

    use super::*;

    #[test]
    fn ui_03_04_15_a_form_belongs_to_one_page_one_browser_and_one_transaction() {
        let keys = KeySet::generate(Timestamp(1)).unwrap();
        let (ours, theirs) = (Secret::random(), Secret::random());
        let make = |query: &str| close(&keys, Purpose::Consent, &ours, &Transaction::login(query.into(), Timestamp(1)));
        let (one, other) = (make("one"), make("other"));
        let form = |transaction: &str, csrf: &str| {
            Parameters::from_pairs(vec![("transaction".into(), transaction.into()), ("csrf".into(), csrf.into())])
        };
        let good = form(&one.transaction, &one.csrf);
        assert_eq!(open(&keys, Purpose::Consent, Some(&ours), &good).unwrap().query, "one");
        for (purpose, cookie, form) in [
            (Purpose::Login, Some(&ours), &good),
            (Purpose::Consent, Some(&theirs), &good),
            (Purpose::Consent, None, &good),
            (Purpose::Consent, Some(&ours), &form(&one.transaction, &other.csrf)),
            (Purpose::Consent, Some(&ours), &form(&one.transaction, "")),
            (Purpose::Consent, Some(&ours), &form("", &one.csrf)),
            (Purpose::Consent, Some(&ours), &form(&format!("{}A", one.transaction), &one.csrf)),
        ] {
            assert_eq!(open(&keys, purpose, cookie, form).unwrap_err(), Refusal::Forged);
        }
    }
}
