//! One round of a call that comes back: the `requestState` of MCP 2026-07-28 ("Multi Round-Trip Requests").
//!
//! It goes through the host and is an attacker's until it opens: sealed under a key of this process, for this tool, these
//! arguments and this login, and only for minutes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::sealed::{Refuses, Sealer};
use shared::secret::TokenHash;
use shared::state::Device;
use shared::time::Timestamp;

/// What it is sealed for.
const PURPOSE: &str = "tools/call login round 1";

/// What a call that comes back carries.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Round {
    /// The login that is waited for.
    pub login: TokenHash,
    /// The person has said that they go there: nobody is asked again.
    pub accepted: bool,
    /// How often the call came back.
    pub count: u8,
    tool: String,
    arguments: TokenHash,
    until: Timestamp,
}

/// A call, as far as a round is bound to it.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The tool.
    pub tool: &'a str,
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
        let (tool, arguments) = (asking.tool.to_owned(), asking.digest());
        Self { login, accepted: false, count: 0, tool, arguments, until: now + Device::LIFETIME }
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
        let fits = round.tool == asking.tool && round.arguments == asking.digest() && round.until > now;
        fits.then_some(round)
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
        let asking = Asking { tool: "echo", arguments: &ours };
        let (sealer, login) = (Sealer::new().unwrap(), TokenHash::of(b"l"));
        let round = Round::first(login, asking, NOW);
        let text = round.seal(&sealer).unwrap();
        let open = |asking, later| Round::open(&text, asking, &sealer, NOW + Seconds(later));
        assert_eq!(open(asking, 599), Some(round.clone()));
        assert_eq!(open(asking, 600), None);
        assert_eq!(open(Asking { tool: "whoami", arguments: &ours }, 0), None);
        assert_eq!(open(Asking { tool: "echo", arguments: &other }, 0), None);
        assert_eq!(Round::open(&text, asking, &Sealer::new().unwrap(), NOW), None, "another process");
        assert_eq!(Round::open("", asking, &sealer, NOW), None);
        assert_eq!((round.next().count, round.next().accepted, round.next().until), (1, true, round.until));
    }
}
