//! Answers: refusals with their challenges, and what every answer has.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE,
};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde_json::json;
use shared::oauth::challenge;

use super::request::Rejection;
use super::{Denied, Front};
use crate::guard::Challenge;
use crate::wrap::message::{self, Id};

/// An answer that ends the work on a request.
pub(super) type Refused = Box<HttpResponse>;

/// Lets the page that asked read an answer, and nobody keep it.
pub(super) fn readable(mut response: HttpResponse, origin: Option<String>) -> HttpResponse {
    let headers = response.headers_mut();
    if let Some(Ok(origin)) = origin.map(|origin| HeaderValue::from_str(&origin)) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            HeaderName::from_static("access-control-expose-headers"),
            HeaderValue::from_static("WWW-Authenticate, Mcp-Session-Id, MCP-Protocol-Version, Retry-After"),
        );
    }
    headers.append(VARY, HeaderValue::from_static("Origin"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

pub(super) fn json_answer(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((CONTENT_TYPE, "application/json"));
    response.insert_header((CACHE_CONTROL, "no-store"));
    response.insert_header(("X-Content-Type-Options", "nosniff"));
    response
}

pub(super) fn failure(status: u16, error: &str, words: &str) -> Refused {
    let body = json!({ "error": error, "error_description": words });
    Box::new(json_answer(StatusCode::from_u16(status).unwrap_or_default()).body(body.to_string()))
}

pub(super) fn rejected(rejection: &Rejection, id: Option<&Id>) -> Refused {
    let body = message::failure(id, rejection.code, &rejection.words, rejection.data.clone());
    Box::new(json_answer(StatusCode::from_u16(rejection.status).unwrap_or_default()).body(body.to_string()))
}

pub(super) fn no_session() -> Refused {
    failure(404, "not_found", "there is no such session; begin another with initialize")
}

pub(super) fn busy() -> Refused {
    let mut response = failure(503, "temporarily_unavailable", "too much is under way; try again in a moment");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// 401 or 403 with a challenge (RFC 6750 section 3, RFC 9728 section 5.1), or 503.
pub(super) fn refuse(front: &Front, denied: &Denied) -> Refused {
    let (why, scopes) = match denied {
        Denied::Challenge(why, scopes) => (why, scopes),
        Denied::Unavailable(why) => {
            let mut response = failure(503, "temporarily_unavailable", &why.to_string());
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
            return response;
        }
    };
    let (status, words) = match why {
        Challenge::Unauthorized => (401, "sign in first: the challenge says where"),
        Challenge::InvalidToken(_) => (401, "the token is expired, revoked, unknown, or not for this server"),
        Challenge::AnotherCall => (401, "the token is good for another call"),
        Challenge::InsufficientScope => (403, "the token does not have the scopes that this needs"),
        Challenge::ToolLeftOut => (403, "the person who gave the token left this tool out"),
        Challenge::ToolChanged => (403, "the tool has changed since the person who gave the token agreed to it"),
    };
    let mut parameters = Vec::new();
    // Without a credential there is no error to name (RFC 6750 section 3.1).
    if *why != Challenge::Unauthorized {
        parameters.extend([("error", why.code()), ("error_description", words)]);
    }
    if !scopes.is_empty() {
        parameters.push(("scope", scopes.as_str()));
    }
    parameters.push(("resource_metadata", &front.metadata_url));
    let mut response = failure(status, why.code(), words);
    if let Ok(value) = challenge::write("Bearer", &parameters).parse() {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shared::scope::Scopes;
    use shared::secret::Secret;
    use shared::store::Answer;
    use shared::time::{ManualClock, Timestamp};
    use shared::token::TokenError;
    use shared::uri::{Issuer, Resource};

    use super::*;
    use crate::audit::Audit;
    use crate::gate::Gate;
    use crate::http::Setup;
    use crate::http::backend::Own;
    use crate::tools::Catalog;
    use crate::verify::{Checked, Unavailable, Unverified, Verify};

    struct Nothing;

    impl Verify for Nothing {
        fn check<'a>(&'a self, _: &'a Secret, _: Timestamp) -> Answer<'a, Result<Checked, Unverified>> {
            Box::pin(std::future::ready(Err(Unverified::Unavailable(Unavailable::Absent))))
        }

        fn issuers(&self) -> Answer<'_, Vec<Issuer>> {
            Box::pin(std::future::ready(Vec::new()))
        }
    }

    fn front() -> Front {
        let resource: Resource = "https://mcp.example/a/mcp".parse().unwrap();
        let gates = {
            let resource = resource.clone();
            move || {
                let clock = Arc::new(ManualClock::at(Timestamp(1)));
                Gate::of_front(Arc::new(Nothing), clock, resource.clone(), &Audit::default())
            }
        };
        let gate = gates();
        let tools = move || Catalog::new(Catalog::standard(&resource));
        let backend = Arc::new(Own::new(tools, Box::new(gates)));
        Front::new(Setup { backend, gate, open: false, hosts: None, origins: vec![], sessions: 1 })
    }

    #[test]
    fn met_04_05_a_challenge_says_where_to_sign_in_and_for_what() {
        let scopes: Scopes = "mcp:tools:execute mcp:tools:read".parse().unwrap();
        for (why, status, error) in [
            (Challenge::Unauthorized, 401, None),
            (Challenge::InvalidToken(TokenError::Expired), 401, Some("invalid_token")),
            (Challenge::InvalidToken(TokenError::Dead), 401, Some("invalid_token")),
            (Challenge::InsufficientScope, 403, Some("insufficient_scope")),
            (Challenge::ToolLeftOut, 403, Some("insufficient_scope")),
            (Challenge::ToolChanged, 403, Some("insufficient_scope")),
        ] {
            let response = refuse(&front(), &Denied::Challenge(why, scopes.clone()));
            assert_eq!(response.status().as_u16(), status);
            let found = challenge::parse(response.headers().get(WWW_AUTHENTICATE).unwrap().to_str().unwrap());
            let [bearer] = &found[..] else { panic!("one challenge, not {found:?}") };
            assert!(bearer.is("Bearer"));
            assert_eq!(bearer.get("error"), error);
            assert_eq!(bearer.get("error_description").is_some(), error.is_some());
            assert_eq!(bearer.get("scope"), Some(scopes.as_str()));
            let metadata = "https://mcp.example/.well-known/oauth-protected-resource/a/mcp";
            assert_eq!(bearer.get("resource_metadata"), Some(metadata));
        }
        assert_eq!(refuse(&front(), &Denied::Unavailable(Unavailable::Absent)).status(), 503);
    }
}
