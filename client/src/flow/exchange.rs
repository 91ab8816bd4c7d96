//! An access token becomes one that is good for one call (RFC 8693, RFC 9396).

use serde_json::{Map, Value, json};
use shared::jcs;
use shared::oauth::register::GrantType;
use shared::secret::Secret;
use shared::uri::Resource;

use super::FormRequest;
use super::client::Client;

/// The type of an access token (RFC 8693 section 3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A call of a tool, as an authorization server is told of it: the arguments by their hash.
#[derive(Clone, Debug)]
pub struct OneCall {
    /// The tool.
    pub tool: String,
    /// What is passed to it.
    pub arguments: Map<String, Value>,
}

impl OneCall {
    /// SHA-256 of the arguments in canonical form (RFC 8785), as base64url.
    pub fn arguments_sha256(&self) -> Value {
        json!(jcs::hash(&self.arguments))
    }
}

/// Exchanges the access token `subject` for one that is good for `call`. The answer is judged as every answer of the token
/// endpoint is ([`super::token::accept`]).
pub fn request(endpoint: &str, client: &Client, subject: &Secret, resource: &Resource, call: &OneCall) -> FormRequest {
    let details = json!([{ "type": "mcp_tool_call", "tool": call.tool, "arguments_sha256": call.arguments_sha256() }])
        .to_string();
    client.form(
        endpoint,
        &[
            ("grant_type", GrantType::TokenExchange.as_str()),
            ("subject_token", subject.expose()),
            ("subject_token_type", ACCESS_TOKEN),
            ("resource", resource.as_str()),
            ("authorization_details", &details),
        ],
    )
}

#[cfg(test)]
mod tests {
    use shared::oauth::form::Parameters;

    use super::*;

    #[test]
    fn n8_a_call_is_named_by_tool_and_hash_and_its_arguments_stay_here() {
        let arguments = json!({ "message": "swordfish" }).as_object().unwrap().clone();
        let call = OneCall { tool: "echo".into(), arguments };
        let client = Client::given("c_1".parse().unwrap(), None, &[]);
        let form =
            request("http://localhost/t", &client, &Secret::new("a.b.c".into()), &Resource::stdio("a").unwrap(), &call);
        let form = Parameters::parse(form.body.expose()).unwrap();
        assert_eq!(form.get("grant_type"), Some("urn:ietf:params:oauth:grant-type:token-exchange"));
        assert_eq!((form.get("subject_token"), form.get("client_id")), (Some("a.b.c"), Some("c_1")));
        let details: Value = serde_json::from_str(form.get("authorization_details").unwrap()).unwrap();
        assert_eq!((&details[0]["type"], &details[0]["tool"]), (&json!("mcp_tool_call"), &json!("echo")));
        assert_eq!(details[0]["arguments_sha256"].as_str().unwrap().len(), 43);
        assert!(!details.to_string().contains("swordfish"));
    }
}
