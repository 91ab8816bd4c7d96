//! How large things from outside may be (contract C9), as the operator chose.

use shared::oauth::form::MAX_PARAMETERS;
use shared::oauth::json::MAX_DEPTH;

use super::policy::MAX_TOKEN;
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
    /// A token, a code, or any other parameter of a form.
    pub token: usize,
    /// A `state`.
    pub state: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            form_body: 64 * 1024,
            registration_body: 64 * 1024,
            request_line: 16 * 1024,
            headers: 32 * 1024,
            parameters: MAX_PARAMETERS,
            json_depth: MAX_DEPTH,
            text: 1024,
            client_name: 128,
            redirect_uris: 10,
            token: MAX_TOKEN,
            state: 4 * 1024,
        }
    }
}

impl Bounds {
    /// Counts what a body holds before it is parsed, where the operator wants less than the parsers allow anyway.
    ///
    /// # Errors
    /// [`Refusal::Body`], with the limit that is passed.
    pub fn check(&self, form: Option<BodyForm>, body: &[u8]) -> Result<(), Refusal> {
        match form {
            Some(BodyForm::Form) => self.check_form(body),
            Some(BodyForm::Json) if deepest(body) > self.json_depth => {
                Err(Refusal::Body(format!("nested more than {} levels deep", self.json_depth)))
            }
            _ => Ok(()),
        }
    }

    /// Counts the parameters of a form or query, and looks at their lengths as they were sent.
    ///
    /// # Errors
    /// [`Refusal::Body`].
    pub fn check_form(&self, text: &[u8]) -> Result<(), Refusal> {
        let pieces = || text.split(|byte| *byte == b'&').filter(|piece| !piece.is_empty());
        if self.parameters < MAX_PARAMETERS && pieces().count() > self.parameters {
            return Err(Refusal::Body(format!("more than {} parameters", self.parameters)));
        }
        let value = |piece: &[u8]| piece.iter().position(|byte| *byte == b'=').map_or(0, |at| piece.len() - at - 1);
        if self.token < MAX_TOKEN && pieces().any(|piece| value(piece) > self.token) {
            return Err(Refusal::Body(format!("a parameter is longer than {} bytes", self.token)));
        }
        Ok(())
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
            (BodyForm::Json, r#"{"a":["[[[\"[["]}"#, true),
            (BodyForm::Json, r#"{"a":[[]]}"#, false),
        ] {
            assert_eq!(small().check(Some(form), body.as_bytes()).is_ok(), fits, "{body}");
        }
        assert!(small().check(None, b"a=1&b=2&c=3&d=4").is_ok());
    }
}
