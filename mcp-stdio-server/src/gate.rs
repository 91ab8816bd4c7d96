//! The gate: finds a call's token, has it checked, and lets the guard decide. One for everything that is guarded.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::CallToolResult;
use serde_json::Map;
use shared::scope::Scopes;
use shared::secret::Secret;
use shared::state::Grant;
use shared::time::{Clock, Timestamp};
use shared::uri::Resource;

use crate::credential::{self, BadPlace, Presented};
use crate::guard::{Access, Caller, Challenge, Shown, admit};
use crate::results::failure;
use crate::verify::{Unavailable, Unverified, Verify};

/// How long a list of tools waits for a store that is still being read; then it is the whole list.
const LIST_PATIENCE: Duration = Duration::from_millis(200);

/// What calls are judged by.
pub struct Gate {
    /// How tokens are checked.
    pub verify: Arc<dyn Verify>,
    /// What the time is.
    pub clock: Arc<dyn Clock>,
    /// The name that tokens must be for.
    pub resource: Resource,
    /// The token of calls that bring none.
    pub environment: Option<Secret>,
    /// Whether tools take a token as an argument.
    pub token_argument: bool,
}

impl Gate {
    /// Judges a call by its own token. Nothing of an earlier call counts.
    pub async fn judge(
        &self,
        tool: &str,
        access: &Access,
        presented: &Presented,
        now: Timestamp,
    ) -> Result<Option<Caller>, Refused> {
        let Access::Scopes(needed) = access else { return Ok(None) };
        let token =
            credential::choose(presented, self.environment.as_ref(), self.token_argument).map_err(Refused::Place)?;
        let admitted = match token {
            None => admit(tool, needed, Shown::Nothing, now),
            Some(token) => match self.verify.check(token, now).await {
                Ok(checked) => admit(tool, needed, Shown::Token(&checked.token, &checked.facts), now),
                Err(Unverified::Token(cause)) => admit(tool, needed, Shown::Bad(cause), now),
                Err(Unverified::Unavailable(why)) => return Err(Refused::Unavailable(why)),
            },
        };
        admitted.map(Some).map_err(|challenge| {
            tracing::info!(tool = %tool, ?challenge, "call refused");
            Refused::Challenge(challenge, needed.clone())
        })
    }

    /// The live grant behind the token that came with a request for a list. `None` without a good token.
    pub async fn grant(&self, presented: &Presented) -> Option<Grant> {
        let token = credential::choose(presented, self.environment.as_ref(), self.token_argument).ok().flatten()?;
        let now = self.clock.now();
        let checked = tokio::time::timeout(LIST_PATIENCE, self.verify.check(token, now)).await.ok()?.ok()?;
        checked.token.alive(&checked.facts, now).ok()?;
        checked.facts.grant
    }

    /// What a refused call gives back.
    pub async fn refusal(&self, refused: &Refused) -> CallToolResult {
        match refused {
            Refused::Challenge(challenge, needed) => self.challenge(challenge, needed).await,
            Refused::Place(place) => failure("invalid_request", &format!("Bad arguments: {place}."), Map::new()),
            Refused::Unavailable(why) => {
                failure("temporarily_unavailable", &format!("The tool cannot be used now: {why}."), Map::new())
            }
        }
    }

    async fn challenge(&self, challenge: &Challenge, needed: &Scopes) -> CallToolResult {
        let issuers: Vec<_> = self.verify.issuers().await.iter().map(ToString::to_string).collect();
        let resource = &self.resource;
        let words = words(challenge, needed, resource, &issuers, self.token_argument);
        let mut details = Map::new();
        details.insert("scope".to_owned(), needed.to_string().into());
        details.insert("resource".to_owned(), resource.as_str().into());
        details.insert("authorization_servers".to_owned(), issuers.into());
        failure(challenge.code(), &words, details)
    }
}

/// Why a tool was not run.
#[derive(Debug)]
pub enum Refused {
    /// The token does not open it.
    Challenge(Challenge, Scopes),
    /// What should be a token is none.
    Place(BadPlace),
    /// There is nothing to check a token against.
    Unavailable(Unavailable),
}

/// What a person or a model reads when a call is refused: what happened and what to do next. The same words for every
/// token that is no good, so that nothing can be learnt by trying.
fn words(challenge: &Challenge, needed: &Scopes, resource: &Resource, issuers: &[String], argument: bool) -> String {
    let what = match challenge {
        Challenge::Unauthorized => "Authorization is needed to use this tool: no access token came with the call.",
        Challenge::InvalidToken(_) => {
            "The access token was refused: it is expired, revoked, unknown, or not for this server."
        }
        Challenge::InsufficientScope => "The access token is good, but does not have the scope that this tool needs.",
        Challenge::ToolLeftOut => "The access token is good, but the person who gave it left this tool out.",
    };
    let from = match issuers {
        [] => "the authorization service (start authz-service first)".to_owned(),
        issuers => issuers.join(" or "),
    };
    let place = if argument { ", in the argument \"access_token\"," } else { "" };
    format!(
        "{what} Get a token with the scope \"{needed}\" for the resource {resource} from {from}, for example with \
         `mcp-client login`, and send it in _meta[\"{}\"]{place} or start this server with it in {}.",
        credential::META_MEMBER,
        credential::VARIABLE,
    )
}
