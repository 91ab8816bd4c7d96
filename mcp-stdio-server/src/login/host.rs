//! What a login can ask of the host of a call.

use std::future::Future;
use std::pin::Pin;

use serde_json::{Value, json};

/// An answer of a host's, which may take as long as a person takes.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a host shows a person a URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Elicits {
    /// It does not.
    Never,
    /// It takes a request for it (up to 2025-11-25).
    Asks,
    /// It takes a result that says so, and calls again (2026-07-28).
    Returns,
}

/// What a person did with the URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Opened it, or was about to.
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

/// A URL for a person, and why.
#[derive(Clone, Debug)]
pub struct Question {
    /// The name by which the host is told that it is done.
    pub id: String,
    /// The URL.
    pub url: String,
    /// Why, for the person.
    pub message: String,
}

impl Question {
    /// As it travels: the parameters of `elicitation/create` in URL mode.
    pub fn params(&self) -> Value {
        json!({ "mode": "url", "message": self.message, "url": self.url, "elicitationId": self.id })
    }
}

/// The host of one call. By itself it shows nothing and is told nothing: a front says what its hosts can do.
pub trait Host: Send + Sync {
    /// How it shows a person a URL.
    fn elicits(&self) -> Elicits {
        Elicits::Never
    }

    /// Asks a host that [`Elicits::Asks`]. `None` when it gives no sensible answer. Dropped, it takes the question back.
    fn elicit<'a>(&'a self, _question: &'a Question) -> Asked<'a, Option<Action>> {
        Box::pin(std::future::ready(None))
    }

    /// Tells the host that a question is settled.
    fn settled<'a>(&'a self, _id: &'a str) -> Asked<'a, ()> {
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
