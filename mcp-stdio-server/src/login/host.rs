//! What a login can ask of the host of a call.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use rmcp::model::{ElicitRequestParams, ElicitationSchema};
use serde_json::{Value, json};

/// An answer of a host's, which may take as long as a person takes.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// In which form a host asks its person something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// It shows a page (URL mode).
    Page,
    /// It shows words, and buttons for an answer (form mode).
    Words,
}

impl Mode {
    /// The better one of what a host's `elicitation` capability names. One that names none has forms, as all had before there
    /// were others (MCP 2025-11-25, elicitation, "Capabilities").
    pub fn of(capability: &Value) -> Option<Self> {
        let capability = capability.as_object()?;
        match (capability.contains_key("url"), capability.contains_key("form")) {
            (true, _) => Some(Self::Page),
            (false, true) => Some(Self::Words),
            (false, false) => capability.is_empty().then_some(Self::Words),
        }
    }
}

/// How a host is asked to ask its person.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Elicits {
    /// It is not.
    Never,
    /// It takes a request for it (up to 2025-11-25).
    Asks(Mode),
    /// It takes a result that says so, and calls again (2026-07-28).
    Returns(Mode),
}

/// What a person did with the question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Opened the page, or was about to; or said that they have signed in.
    Accept,
    /// Said no.
    Decline,
    /// Closed the dialog.
    Cancel,
}

impl Action {
    /// Reads the word of an `ElicitResult`.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "accept" => Some(Self::Accept),
            "decline" => Some(Self::Decline),
            "cancel" => Some(Self::Cancel),
            _ => None,
        }
    }
}

/// A question for a person: to go to a page.
#[derive(Clone, Debug)]
pub struct Question {
    /// In which form it is asked.
    pub mode: Mode,
    /// The name by which the host is told that it is done.
    pub id: String,
    /// The page.
    pub url: String,
    /// Why, for the person; where a host shows no pages, also where it is.
    pub message: String,
}

impl Question {
    /// As it travels: the parameters of `elicitation/create`. A form has no fields: nothing is asked but yes or no.
    pub fn params(&self) -> Value {
        match self.mode {
            Mode::Page => {
                json!({ "mode": "url", "message": self.message, "url": self.url, "elicitationId": self.id })
            }
            Mode::Words => {
                let nothing = json!({ "type": "object", "properties": {} });
                json!({ "mode": "form", "message": self.message, "requestedSchema": nothing })
            }
        }
    }
}

/// As rmcp writes it.
impl From<Question> for ElicitRequestParams {
    fn from(question: Question) -> Self {
        let Question { mode, id: elicitation_id, url, message } = question;
        match mode {
            // Before 2026-07-28 a name was needed, and some hosts still want it.
            Mode::Page => Self::UrlElicitationParams { meta: None, message, url, elicitation_id },
            Mode::Words => Self::FormElicitationParams {
                meta: None,
                message,
                requested_schema: ElicitationSchema::new(BTreeMap::new()),
            },
        }
    }
}

/// The host of one call. By itself it shows nothing and is told nothing: a front says what its hosts can do.
pub trait Host: Send + Sync {
    /// How it asks a person to go to a page.
    fn elicits(&self) -> Elicits {
        Elicits::Never
    }

    /// Asks a host that [`Elicits::Asks`]. `None` when it gives no sensible answer. Dropped, it takes the question back.
    fn elicit<'a>(&'a self, _question: &'a Question) -> Asked<'a, Option<Action>> {
        Box::pin(std::future::ready(None))
    }

    /// Tells the host that a question is settled. Of a form it need not know.
    fn settled<'a>(&'a self, _question: &'a Question) -> Asked<'a, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Whether it wants to know how a call goes on, and so has the patience for one that takes a while.
    fn is_patient(&self) -> bool {
        false
    }

    /// Tells the host that the call goes on, if it wants to know.
    fn progress<'a>(&'a self, _step: u32, _words: &'a str) -> Asked<'a, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Resolves when the host has left: then nobody waits for the call any more.
    fn left(&self) -> Asked<'_, ()> {
        Box::pin(std::future::pending())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r27_a_page_is_better_than_words_and_a_host_that_names_no_mode_has_forms() {
        for (capability, mode) in [
            (json!({ "url": {}, "form": {} }), Some(Mode::Page)),
            (json!({ "url": {} }), Some(Mode::Page)),
            (json!({ "form": {} }), Some(Mode::Words)),
            (json!({}), Some(Mode::Words)),
            (json!({ "of the future": {} }), None),
            (json!(null), None),
            (json!([]), None),
        ] {
            assert_eq!(Mode::of(&capability), mode, "{capability}");
        }
    }

    #[test]
    fn r27_a_form_asks_for_nothing() {
        let question = |mode| Question { mode, id: "i".into(), url: "u".into(), message: "m".into() }.params();
        let form = json!({ "mode": "form", "message": "m", "requestedSchema": { "type": "object", "properties": {} } });
        assert_eq!(question(Mode::Words), form);
        let page = json!({ "mode": "url", "message": "m", "url": "u", "elicitationId": "i" });
        assert_eq!(question(Mode::Page), page);
        for mode in [Mode::Page, Mode::Words] {
            let written =
                ElicitRequestParams::from(Question { mode, id: "i".into(), url: "u".into(), message: "m".into() });
            assert_eq!(serde_json::to_value(written).unwrap(), question(mode));
        }
    }
}
