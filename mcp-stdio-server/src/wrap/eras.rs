//! Between the eras: a host of 2026-07-28 before a server that wants `initialize`, and the other way round. Pure.

use serde_json::{Map, Value, json};

use super::message::{meta, meta_mut, params_mut};

/// The newest version of the modern era.
pub const MODERN: &str = "2026-07-28";

/// The newest version that begins with `initialize`.
pub const LEGACY: &str = "2025-11-25";

/// Every version that begins with `initialize`, the newest first.
const LEGACY_VERSIONS: [&str; 4] = [LEGACY, "2025-06-18", "2025-03-26", "2024-11-05"];

/// What a peer of ours says of itself when the host has not.
pub fn ourselves() -> Value {
    json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") })
}

/// What a wrapped server said of itself, in whichever era.
#[derive(Clone, Debug)]
pub struct Server {
    /// What it can do.
    pub capabilities: Map<String, Value>,
    /// Its name and version.
    info: Value,
    /// What it tells models.
    instructions: Option<Value>,
}

impl Server {
    /// From an `InitializeResult`.
    pub fn of_initialize(result: &Value) -> Self {
        Self::new(result, result.get("serverInfo"))
    }

    /// From a `DiscoverResult`.
    pub fn of_discover(result: &Value) -> Self {
        Self::new(result, result.get("_meta").and_then(|members| members.get(meta::SERVER)))
    }

    fn new(result: &Value, info: Option<&Value>) -> Self {
        Self {
            capabilities: result.get("capabilities").and_then(Value::as_object).cloned().unwrap_or_default(),
            info: info.cloned().unwrap_or_else(ourselves),
            instructions: result.get("instructions").cloned(),
        }
    }

    /// Whether it has this capability, or this part of one (`tools/listChanged`).
    pub fn can(&self, capability: &str, part: Option<&str>) -> bool {
        let Some(found) = self.capabilities.get(capability) else { return false };
        part.is_none_or(|part| found.get(part).and_then(Value::as_bool).unwrap_or(false))
    }

    /// The answer to `server/discover`.
    pub fn discovered(&self) -> Value {
        let mut result = json!({ "supportedVersions": [MODERN], "capabilities": self.capabilities });
        if let Some(instructions) = &self.instructions {
            result["instructions"] = instructions.clone();
        }
        self.modern_result("server/discover", result)
    }

    /// The answer to `initialize`.
    pub fn initialized(&self, asked: Option<&str>) -> Value {
        let version = asked.filter(|asked| LEGACY_VERSIONS.contains(asked)).unwrap_or(LEGACY);
        let mut result =
            json!({ "protocolVersion": version, "capabilities": self.capabilities, "serverInfo": self.info });
        if let Some(instructions) = &self.instructions {
            result["instructions"] = instructions.clone();
        }
        result
    }

    /// A legacy result as a modern host reads it.
    pub fn modern_result(&self, method: &str, mut result: Value) -> Value {
        if let Some(members) = result.as_object_mut() {
            members.entry("resultType").or_insert_with(|| "complete".into());
            if is_cacheable(method) {
                members.entry("ttlMs").or_insert_with(|| 0.into());
                // What a grant shows is nobody else's.
                members.insert("cacheScope".to_owned(), "private".into());
            }
            meta_mut(members).entry(meta::SERVER).or_insert_with(|| self.info.clone());
        }
        result
    }
}

/// The operations that may be answered with a question, and then come back (MCP 2026-07-28, "Multi Round-Trip Requests").
pub fn comes_back(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read")
}

/// The operations whose results say how long they may be kept (MCP 2026-07-28, "Caching").
pub fn is_cacheable(method: &str) -> bool {
    matches!(
        method,
        "server/discover"
            | "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
    )
}

/// A modern result as a host of the `initialize` era reads it.
pub fn legacy_result(mut result: Value) -> Value {
    if let Some(members) = result.as_object_mut() {
        for name in ["resultType", "ttlMs", "cacheScope"] {
            members.remove(name);
        }
        without_meta(members, &[meta::SERVER]);
    }
    result
}

/// A modern request as a legacy server reads it.
pub fn legacy_request(message: &mut Map<String, Value>) {
    if let Some(Value::Object(params)) = message.get_mut("params") {
        without_meta(params, &[meta::VERSION, meta::CLIENT, meta::CAPABILITIES, meta::LOG_LEVEL]);
    }
}

/// A legacy request as a modern server reads it.
pub fn modern_request(message: &mut Map<String, Value>, host: &Host) {
    let members = meta_mut(params_mut(message));
    members.insert(meta::VERSION.to_owned(), MODERN.into());
    members.insert(meta::CLIENT.to_owned(), host.info.clone());
    members.insert(meta::CAPABILITIES.to_owned(), host.capabilities.clone());
    if let Some(level) = &host.log_level {
        members.insert(meta::LOG_LEVEL.to_owned(), level.clone());
    }
}

/// What a host said of itself, in whichever era.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name and version.
    pub info: Value,
    /// What it can do.
    pub capabilities: Value,
    /// From which level on it wants log messages.
    pub log_level: Option<Value>,
}

impl Host {
    /// From the parameters of `initialize`.
    pub fn of_initialize(params: Option<&Value>) -> Self {
        let member = |name: &str| params.and_then(|params| params.get(name)).cloned();
        Self {
            info: member("clientInfo").unwrap_or_else(ourselves),
            capabilities: member("capabilities").unwrap_or_else(|| json!({})),
            log_level: None,
        }
    }

    /// From the `_meta` of a modern request.
    pub fn of_meta(params: Option<&Value>) -> Self {
        let members = params.and_then(|params| params.get("_meta"));
        let member = |name: &str| members.and_then(|members| members.get(name)).cloned();
        Self {
            info: member(meta::CLIENT).unwrap_or_else(ourselves),
            capabilities: member(meta::CAPABILITIES).unwrap_or_else(|| json!({})),
            log_level: member(meta::LOG_LEVEL),
        }
    }

    /// Whether it can be asked this (`sampling`, `elicitation`, `roots`).
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.get(capability).is_some()
    }

    /// The parameters of an `initialize` in its name.
    pub fn initialize(&self) -> Value {
        json!({ "protocolVersion": LEGACY, "capabilities": self.capabilities, "clientInfo": self.info })
    }

    /// The `_meta` of a request in its name.
    pub fn meta(&self) -> Value {
        let mut message = Map::new();
        modern_request(&mut message, self);
        message["params"]["_meta"].clone()
    }
}

/// The capability that a host needs for a server's question.
pub fn needed_for(method: &str) -> Option<&'static str> {
    match method {
        "sampling/createMessage" => Some("sampling"),
        "elicitation/create" => Some("elicitation"),
        "roots/list" => Some("roots"),
        _ => None,
    }
}

/// An error of a legacy server with a code that the modern era forbids (STD-19), with one that it has.
pub fn modern_error(error: &mut Value) {
    let code = error.get("code").and_then(Value::as_i64);
    let better = match code {
        Some(-32002) => -32602,
        Some(-32019..=-32000 | -32042) => -32603,
        _ => return,
    };
    error["code"] = better.into();
}

fn without_meta(holder: &mut Map<String, Value>, names: &[&str]) {
    let Some(Value::Object(members)) = holder.get_mut("_meta") else { return };
    names.iter().for_each(|name| drop(members.remove(*name)));
    if members.is_empty() {
        holder.remove("_meta");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server::of_initialize(&json!({
            "protocolVersion": "2025-06-18",
            "capabilities": { "tools": { "listChanged": true }, "prompts": {} },
            "serverInfo": { "name": "s", "version": "1" },
            "instructions": "Be kind.",
        }))
    }

    #[test]
    fn a_legacy_server_is_discovered() {
        let result = server().discovered();
        assert_eq!(result["supportedVersions"], json!(["2026-07-28"]));
        assert_eq!(result["resultType"], "complete");
        assert_eq!(result["ttlMs"], 0);
        assert_eq!(result["cacheScope"], "private");
        assert_eq!(result["_meta"][meta::SERVER]["name"], "s");
        assert_eq!(result["instructions"], "Be kind.");
        assert!(server().can("tools", Some("listChanged")) && server().can("prompts", None));
        assert!(!server().can("prompts", Some("listChanged")) && !server().can("resources", None));
    }

    #[test]
    fn a_modern_server_is_initialized() {
        let modern = Server::of_discover(&server().discovered());
        for (asked, answered) in
            [(Some("2025-06-18"), "2025-06-18"), (Some("2026-07-28"), LEGACY), (Some("1.0"), LEGACY), (None, LEGACY)]
        {
            let result = modern.initialized(asked);
            assert_eq!(result["protocolVersion"], answered);
            assert_eq!(result["serverInfo"]["name"], "s");
            assert_eq!(result["instructions"], "Be kind.");
        }
    }

    #[test]
    fn requests_and_results_come_through_with_everything_else_that_they_carry() {
        let legacy =
            json!({ "method": "tools/call", "params": { "name": "x", "odd": [1], "_meta": { "progressToken": 7 } } });
        let mut message = legacy.as_object().unwrap().clone();
        let host =
            Host::of_initialize(Some(&json!({ "clientInfo": { "name": "h" }, "capabilities": { "roots": {} } })));
        modern_request(&mut message, &host);
        assert_eq!(message["params"]["_meta"][meta::VERSION], MODERN);
        assert_eq!(message["params"]["_meta"][meta::CLIENT]["name"], "h");
        assert!(Host::of_meta(message.get("params")).can("roots"));
        legacy_request(&mut message);
        assert_eq!(Value::Object(message), legacy);
        let result = json!({ "tools": [], "nextCursor": "c", "_meta": { "x/y": 1 } });
        let modern = server().modern_result("tools/list", result.clone());
        assert_eq!((&modern["resultType"], &modern["ttlMs"]), (&json!("complete"), &json!(0)));
        assert_eq!(legacy_result(modern), result);
        assert!(server().modern_result("tools/call", json!({})).get("ttlMs").is_none());
    }

    #[test]
    fn std_19_codes_of_old_servers_become_codes_of_this_era() {
        for (code, better) in [(-32002, -32602), (-32000, -32603), (-32042, -32603), (-32601, -32601), (7, 7)] {
            let mut error = json!({ "code": code, "message": "m" });
            modern_error(&mut error);
            assert_eq!(error, json!({ "code": better, "message": "m" }));
        }
    }
}
