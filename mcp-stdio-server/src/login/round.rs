//! One round of a call that comes back: the `requestState` of MCP 2026-07-28 ("Multi Round-Trip Requests").
//!
//! It goes through the host and is an attacker's until it opens: sealed under a key of this process, for this tool (or resource,
//! or prompt), these arguments and this login, and only for minutes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::sealed::{Refuses, Sealer};
use shared::secret::TokenHash;
use shared::state::{Device, Kind};
use shared::time::Timestamp;

/// What it is sealed for.
const PURPOSE: &str = "login round 2";

/// What a call that comes back carries.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Round {
    /// The login that is waited for.
    pub login: TokenHash,
    /// The person has said that they go there: nobody is asked again.
    pub accepted: bool,
    /// How often the call came back.
    pub count: u8,
    kind: Kind,
    name: String,
    arguments: TokenHash,
    until: Timestamp,
}

/// A call, as far as a round is bound to it.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Of what.
    pub kind: Kind,
    /// Its name, or its URI.
    pub name: &'a str,
    /// Its arguments, without a token.
    pub arguments: &'a Map<String, Value>,
}

impl Asking<'_> {
    /// The arguments as one hash: their members are sorted.
    fn digest(&self) -> TokenHash {
        TokenHash::of(&serde_json::to_vec(self.arguments).unwrap_or_default())
    }
}

impl Round {
    /// The first round of a call.
    pub fn first(login: TokenHash, asking: Asking<'_>, now: Timestamp) -> Self {
        let (kind, name, arguments) = (asking.kind, asking.name.to_owned(), asking.digest());
        Self { login, accepted: false, count: 0, kind, name, arguments, until: now + Device::LIFETIME }
    }

    /// The round after this one. Its end stays.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { accepted: true, count: self.count.saturating_add(1), ..self.clone() }
    }

    /// The text that travels.
    ///
    /// # Errors
    /// Never in practice.
    pub fn seal(&self, sealer: &Sealer) -> Result<String, Refuses> {
        sealer.seal(PURPOSE, &serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads a text that came back with this call; `None` for everything that was not given out for it, or too long ago.
    pub fn open(text: &str, asking: Asking<'_>, sealer: &Sealer, now: Timestamp) -> Option<Self> {
        let round: Self = serde_json::from_slice(&sealer.open(PURPOSE, text)?).ok()?;
        let same = round.kind == asking.kind && round.name == asking.name && round.arguments == asking.digest();
        (same && round.until > now).then_some(round)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::time::Seconds;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    #[test]
    fn arg_14_a_round_is_for_its_call_and_time_alone() {
        let arguments = |value: Value| value.as_object().unwrap().clone();
        let (ours, other) = (arguments(json!({ "b": 1, "a": 2 })), arguments(json!({ "b": 1 })));
        let asking = Asking { kind: Kind::Tool, name: "echo", arguments: &ours };
        let (sealer, login) = (Sealer::new().unwrap(), TokenHash::of(b"l"));
        let round = Round::first(login, asking, NOW);
        let text = round.seal(&sealer).unwrap();
        let open = |asking, later| Round::open(&text, asking, &sealer, NOW + Seconds(later));
        assert_eq!(open(asking, 599), Some(round.clone()));
        assert_eq!(open(asking, 600), None);
        for other in [
            Asking { name: "whoami", ..asking },
            Asking { arguments: &other, ..asking },
            Asking { kind: Kind::Prompt, ..asking },
            Asking { kind: Kind::Resource, ..asking },
        ] {
            assert_eq!(open(other, 0), None, "{other:?}");
        }
        assert_eq!(Round::open(&text, asking, &Sealer::new().unwrap(), NOW), None, "another process");
        assert_eq!(Round::open("", asking, &sealer, NOW), None);
        assert_eq!((round.next().count, round.next().accepted, round.next().until), (1, true, round.until));
    }
}
