//! Which protocol era a request belongs to. Decided request by request, so that both live on one process.

use rmcp::RoleServer;
use rmcp::model::{ClientRequest, ErrorData, ProtocolVersion, RequestMetaObject};
use rmcp::service::RequestContext;
use serde_json::Value;

/// The `_meta` member that names the version (MCP 2026-07-28, basic, "Per-request protocol fields").
const VERSION: &str = RequestMetaObject::DRAFT_REQUIRED_KEYS[0];

/// A protocol era.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Era {
    /// Up to 2025-11-25: `initialize` came before.
    Legacy,
    /// From 2026-07-28 on: the request says everything itself.
    Modern,
}

impl Era {
    /// The era of a request.
    ///
    /// # Errors
    /// -32022 for a version that is not spoken here, and -32602 for a request of neither era: one without a version,
    /// when no `initialize` came before or some other modern member is there, or one without the other members.
    pub fn of(context: &RequestContext<RoleServer>) -> Result<Self, ErrorData> {
        match context.meta.get(VERSION) {
            Some(Value::String(version)) => Self::of_version(version, context),
            None if context.peer.peer_info().is_some() && !has_modern_member(&context.meta) => Ok(Self::Legacy),
            _ => Err(missing(context)),
        }
    }

    fn of_version(version: &str, context: &RequestContext<RoleServer>) -> Result<Self, ErrorData> {
        let known = ProtocolVersion::KNOWN_VERSIONS;
        match known.iter().find(|known| known.as_str() == version) {
            None => {
                let asked = context.meta.protocol_version().unwrap_or_default();
                Err(ErrorData::unsupported_protocol_version(asked, known))
            }
            Some(version) if version.has_initialize() => Ok(Self::Legacy),
            Some(_) if context.meta.client_capabilities().is_none() => Err(missing(context)),
            Some(_) => Ok(Self::Modern),
        }
    }
}

/// Whether a request may come in any era, before anything is known of the host.
pub fn is_of_any(request: &ClientRequest) -> bool {
    matches!(
        request,
        ClientRequest::InitializeRequest(_) | ClientRequest::PingRequest(_) | ClientRequest::CustomRequest(_)
    )
}

fn has_modern_member(meta: &RequestMetaObject) -> bool {
    RequestMetaObject::DRAFT_REQUIRED_KEYS.iter().any(|name| meta.contains_key(*name))
}

fn missing(context: &RequestContext<RoleServer>) -> ErrorData {
    let missing = context.meta.missing_required_keys(&ProtocolVersion::V_2026_07_28).join(", ");
    ErrorData::invalid_params(format!("Invalid params: _meta needs {missing}; or send initialize first"), None)
}
