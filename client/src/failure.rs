//! What went wrong, in words for a person and a word for a program, and what to do next.

use crate::flow::discover::DiscoverError;
use crate::flow::register::RegisterError;
use crate::flow::token::TokenError;

/// The exit codes that scripts rely on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It did not work.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// A person has to log in first.
    Login = 3,
    /// The server said no.
    Refused = 4,
    /// The server was not reached, or not understood at all.
    Network = 5,
}

/// A failure: every one says what happened and what to do next.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// A stable word for programs.
    pub code: &'static str,
    /// What happened. May hold a server's words: they are cleaned when it is printed.
    pub what: String,
    /// What to do next.
    pub next: String,
}

/// Shorthand for a command's outcome.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure of any kind.
    pub fn new(exit: Exit, code: &'static str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { exit, code, what: what.into(), next: next.into() }
    }

    /// A command line that makes no sense.
    pub fn usage(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", what, next)
    }

    /// No usable token, and nobody was asked for one.
    pub fn login(what: impl Into<String>, command: &str) -> Self {
        Self::new(Exit::Login, "login_required", what, format!("run: {command}"))
    }

    /// Something here does not work.
    pub fn failed(code: &'static str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Exit::Failed, code, what, next)
    }

    /// The server was not reached.
    pub fn network(what: impl Into<String>) -> Self {
        Self::new(Exit::Network, "network", what, "check the address, and that the server is running")
    }
}

impl From<DiscoverError> for Failure {
    fn from(error: DiscoverError) -> Self {
        let what = error.to_string();
        match error {
            DiscoverError::NotAServer(_) => Self::usage(what, "name the server by its URL"),
            DiscoverError::Unreadable(_) => {
                Self::new(Exit::Network, "bad_metadata", what, "check that the URL is that of an MCP server or issuer")
            }
            _ => Self::new(
                Exit::Refused,
                "untrusted_metadata",
                what,
                "do not log in there before its operator has mended the metadata",
            ),
        }
    }
}

impl From<RegisterError> for Failure {
    fn from(error: RegisterError) -> Self {
        let next = match error {
            RegisterError::NotOffered(_) | RegisterError::Refused(_) => {
                "ask its operator for a client id, and pass it with --client-id (and --client-secret @FILE)"
            }
            RegisterError::Status(_) | RegisterError::Unusable(_) => "tell its operator, or pass --client-id",
        };
        Self::new(Exit::Refused, "registration_failed", error.to_string(), next)
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        let what = error.to_string();
        match error {
            TokenError::InvalidGrant(_) => Self::new(Exit::Login, "invalid_grant", what, "run: mcp-client login"),
            TokenError::InvalidClient(_) => {
                Self::new(Exit::Login, "invalid_client", what, "run: mcp-client login --register-again")
            }
            TokenError::Refused(_) => Self::new(Exit::Refused, "token_refused", what, "run: mcp-client login"),
            TokenError::Status(status) if status >= 500 => {
                Self::new(Exit::Network, "server_error", what, "try again in a moment; your login was kept")
            }
            TokenError::Status(_) | TokenError::Unusable(_) => {
                Self::new(Exit::Refused, "bad_token_answer", what, "tell the operator of the authorization server")
            }
        }
    }
}
