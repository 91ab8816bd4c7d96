//! How large things from outside may be (contract C9), as the operator chose.

use shared::oauth::form::Parameters;
use shared::oauth::json::MAX_DEPTH;
use shared::time::Seconds;

use super::policy::{FETCH_TIME, MAX_DOCUMENT, MAX_TOKEN};
use super::refusal::Refusal;
use super::token::BodyForm;

/// The limits of contract C9. Sizes are in bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// A form.
    pub form_body: usize,
    /// A registration.
    pub registration_body: usize,
    /// A request's first line: method, path and query, version.
    pub request_line: usize,
    /// A request's headers together.
    pub headers: usize,
    /// Parameters of one form or query, or members of one JSON object that stands for a form.
    pub parameters: usize,
    /// JSON objects and arrays within each other.
    pub json_depth: usize,
    /// A string member of a registration.
    pub text: usize,
    /// A `client_name`, in characters.
    pub client_name: usize,
    /// Redirect URIs of one client.
    pub redirect_uris: usize,
    /// A token, a code, or any other parameter that a program sends. What our own pages send is not among them: they
    /// carry a request whole, and a form's size bounds that.
    pub token: usize,
    /// A `state`.
    pub state: usize,
    /// A client's metadata document.
    pub document: usize,
    /// How long fetching that, or a client's keys, may take: from waiting for a turn to the last byte.
    pub document_time: Seconds,
}

/// How many parameters a request may have (contract C9).
pub const PARAMETERS: usize = 200;

impl Default for Bounds {
    fn default() -> Self {
        Self {
            form_body: 64 * 1024,
            registration_body: 64 * 1024,
            request_line: 16 * 1024,
            headers: 32 * 1024,
            parameters: PARAMETERS,
            json_depth: MAX_DEPTH,
            text: 1024,
            client_name: 128,
            redirect_uris: 10,
            token: MAX_TOKEN,
            state: 4 * 1024,
            document: MAX_DOCUMENT,
            document_time: FETCH_TIME,
        }
    }
}

impl Bounds {
    /// Counts what a body holds before it is parsed.
    ///
    /// # Errors
    /// [`Refusal::Body`], with the limit that is passed.
    pub fn check(&self, form: Option<BodyForm>, body: &[u8]) -> Result<(), Refusal> {
        match form {
            Some(BodyForm::Form) => self.check_count(body),
            Some(BodyForm::Json) if deepest(body) > self.json_depth => {
                Err(Refusal::Body(format!("nested more than {} levels deep", self.json_depth)))
            }
            _ => Ok(()),
        }
    }

    /// Counts the parameters of a form or query.
    ///
    /// # Errors
    /// [`Refusal::Body`].
    pub fn check_count(&self, text: &[u8]) -> Result<(), Refusal> {
        let count = text.split(|byte| *byte == b'&').filter(|piece| !piece.is_empty()).count();
        if count > self.parameters { Err(self.too_many()) } else { Ok(()) }
    }

    /// Looks at parameters that a program sent, in whatever form: how many with the `others` that were set apart, and how
    /// long each is once it is decoded.
    ///
    /// # Errors
    /// [`Refusal::Body`].
    pub fn check_parameters(&self, parameters: &Parameters, others: usize) -> Result<(), Refusal> {
        if parameters.iter().count() + others > self.parameters {
            return Err(self.too_many());
        }
        if parameters.iter().any(|(_, value)| value.len() > self.token) {
            return Err(Refusal::Body(format!("a parameter is longer than {} bytes", self.token)));
        }
        Ok(())
    }

    fn too_many(&self) -> Refusal {
        Refusal::Body(format!("more than {} parameters", self.parameters))
    }
}

/// How deep a JSON text nests, outside its strings.
fn deepest(text: &[u8]) -> usize {
    let (mut depth, mut most, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                most = most.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::token::parameters;

    fn small() -> Bounds {
        Bounds { parameters: 3, token: 5, json_depth: 2, ..Bounds::default() }
    }

    #[test]
    fn c9_a_body_is_taken_at_the_limit_and_refused_one_above() {
        for (form, body, fits) in [
            (BodyForm::Form, "a=1&b=2&c=3", true),
            (BodyForm::Form, "a=1&b=2&c=3&d=4", false),
            (BodyForm::Form, "a=12345", true),
            (BodyForm::Form, "a=123456", false),
            (BodyForm::Form, "a=%31%32%33%34%35", true),
            (BodyForm::Form, "a=%31%32%33%34%35%36", false),
            (BodyForm::Json, r#"{"a":"1","b":"2","c":"3"}"#, true),
            (BodyForm::Json, r#"{"a":"1","b":"2","c":"3","d":"4"}"#, false),
            (BodyForm::Json, r#"{"a":"12345"}"#, true),
            (BodyForm::Json, r#"{"a":"123456"}"#, false),
        ] {
            assert_eq!(parameters(Some(form), body.as_bytes(), &small()).is_ok(), fits, "{body}");
        }
    }

    #[test]
    fn c9_what_a_body_holds_is_counted_before_it_is_parsed() {
        for (form, body, fits) in [
            (BodyForm::Form, "a=1&b=2&&c=3&", true),
            (BodyForm::Form, "a=1&b=2&c=3&d", false),
            (BodyForm::Json, r#"{"a":["[[[\"[["]}"#, true),
            (BodyForm::Json, r#"{"a":[[]]}"#, false),
        ] {
            assert_eq!(small().check(Some(form), body.as_bytes()).is_ok(), fits, "{body}");
        }
        assert!(small().check(None, b"a=1&b=2&c=3&d=4").is_ok());
    }
}
