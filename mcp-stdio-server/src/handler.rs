//! rmcp's handler over the catalog and the guard, in both protocol eras.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientNotification, ClientRequest, ContentBlock,
    CustomRequest, CustomResult, ErrorCode, ErrorData, Implementation, InitializeRequestParams, InitializeResult,
    ListToolsResult, MetaObject, PaginatedRequestParams, ProtocolVersion, ServerCapabilities, ServerConfig,
    ServerResult, ToolAnnotations,
};
use rmcp::service::{NotificationContext, RequestContext, Service};
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Map, Value, json};
use shared::scope::Scopes;
use shared::secret::Secret;
use shared::time::{Clock, Timestamp};
use shared::uri::Resource;

use crate::credential::{self, BadPlace, Presented};
use crate::era::{Era, is_of_any};
use crate::guard::{Access, Caller, Challenge, Shown, admit};
use crate::tools::{Call, Catalog, Definition, Entry, ToolError};
use crate::verify::{Unavailable, Unverified, Verify};

/// The `_meta` member under which a result names its server (MCP 2026-07-28, "Per-response protocol fields").
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// How long a list of tools waits for a store that is still being read; then it is the whole list.
const LIST_PATIENCE: Duration = Duration::from_millis(200);

/// What a server is made of.
pub struct Parts {
    /// Its tools.
    pub catalog: Catalog,
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

/// The server that rmcp calls.
pub struct Handler {
    parts: Parts,
    config: ServerConfig,
    listing: Vec<rmcp::model::Tool>,
    identity: MetaObject,
}

impl Handler {
    /// A handler over `parts`.
    pub fn new(parts: Parts) -> Self {
        let listing = parts.catalog.iter().map(|entry| listed(&entry.definition, parts.token_argument)).collect();
        let server = Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        let mut identity = MetaObject::new();
        identity.insert(SERVER_INFO.to_owned(), json!({ "name": server.name, "version": server.version }));
        let mut config = ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_instructions(instructions(&parts.resource));
        config.server_info = server;
        config.protocol_version = ProtocolVersion::LATEST_WITH_INITIALIZE;
        Self { parts, config, listing, identity }
    }

    /// The tools.
    pub fn catalog(&self) -> &Catalog {
        &self.parts.catalog
    }

    /// The tools as `tools/list` shows them to whoever asks: without those that the person behind the token left out.
    /// Without a good token it is the whole list, so that a person can be asked for it.
    async fn listing_for(&self, presented: &Presented) -> Vec<rmcp::model::Tool> {
        let mut listing = self.listing.clone();
        let (environment, argument) = (self.parts.environment.as_ref(), self.parts.token_argument);
        if let Ok(Some(token)) = credential::choose(presented, environment, argument) {
            let now = self.parts.clock.now();
            let checked = tokio::time::timeout(LIST_PATIENCE, self.parts.verify.check(token, now)).await;
            let checked = checked.ok().and_then(Result::ok);
            let alive = checked.as_ref().filter(|checked| checked.token.alive(&checked.facts, now).is_ok());
            if let Some(grant) = alive.and_then(|checked| checked.facts.grant.as_ref()) {
                let is_open = |name: &str| {
                    self.parts.catalog.get(name).is_some_and(|entry| entry.definition.access == Access::Open)
                };
                listing.retain(|tool| is_open(&tool.name) || grant.allows(&tool.name));
            }
        }
        listing
    }

    /// Names this server in a result, for clients of the era that asks for it.
    fn identity(&self, era: Era) -> Option<MetaObject> {
        (era == Era::Modern).then(|| self.identity.clone())
    }

    /// Answers a call: finds the tool, judges the token, runs the tool.
    ///
    /// # Errors
    /// -32602 for a tool that there is not. Everything else is a result that says what went wrong.
    pub async fn answer(
        &self,
        request: CallToolRequestParams,
        presented: Arc<Presented>,
        era: Era,
    ) -> Result<CallToolResult, ErrorData> {
        let Some(entry) = self.parts.catalog.get(&request.name) else {
            let words = format!("Unknown tool: {}; tools/list names them all", shown(&request.name));
            return Err(ErrorData::invalid_params(words, None));
        };
        let mut result = self.run(entry, request.arguments.unwrap_or_default(), &presented).await;
        result.meta = self.identity(era);
        if era == Era::Legacy {
            // The member is of the modern era.
            result.result_type = None;
        }
        Ok(result)
    }

    async fn run(&self, entry: &Entry, arguments: Map<String, Value>, presented: &Presented) -> CallToolResult {
        let now = self.parts.clock.now();
        let caller = match self.admit(entry, presented, now).await {
            Ok(caller) => caller,
            Err(refused) => return self.refusal(&refused).await,
        };
        match entry.tool.call(arguments, &Call { caller, now }).await {
            Ok(answer) => success(answer),
            Err(error @ ToolError::Argument(_)) => failure("invalid_request", &error.to_string(), Map::new()),
            Err(error @ ToolError::Failed(_)) => failure("server_error", &error.to_string(), Map::new()),
        }
    }

    /// Judges a call by its own token. Nothing of an earlier call counts.
    async fn admit(&self, entry: &Entry, presented: &Presented, now: Timestamp) -> Result<Option<Caller>, Refused> {
        let Access::Scopes(needed) = &entry.definition.access else { return Ok(None) };
        let token = credential::choose(presented, self.parts.environment.as_ref(), self.parts.token_argument)
            .map_err(Refused::Place)?;
        let tool = entry.definition.name.as_ref();
        let admitted = match token {
            None => admit(tool, needed, Shown::Nothing, now),
            Some(token) => match self.parts.verify.check(token, now).await {
                Ok(checked) => admit(tool, needed, Shown::Token(&checked.token, &checked.facts), now),
                Err(Unverified::Token(cause)) => admit(tool, needed, Shown::Bad(cause), now),
                Err(Unverified::Unavailable(why)) => return Err(Refused::Unavailable(why)),
            },
        };
        admitted.map(Some).map_err(|challenge| {
            tracing::info!(tool = %entry.definition.name, ?challenge, "call refused");
            Refused::Challenge(challenge, needed.clone())
        })
    }

    async fn refusal(&self, refused: &Refused) -> CallToolResult {
        match refused {
            Refused::Challenge(challenge, needed) => self.challenge(challenge, needed).await,
            Refused::Place(place) => failure("invalid_request", &format!("Bad arguments: {place}."), Map::new()),
            Refused::Unavailable(why) => {
                failure("temporarily_unavailable", &format!("The tool cannot be used now: {why}."), Map::new())
            }
        }
    }

    async fn challenge(&self, challenge: &Challenge, needed: &Scopes) -> CallToolResult {
        let issuers: Vec<_> = self.parts.verify.issuers().await.iter().map(ToString::to_string).collect();
        let resource = &self.parts.resource;
        let words = words(challenge, needed, resource, &issuers, self.parts.token_argument);
        let mut details = Map::new();
        details.insert("scope".to_owned(), needed.to_string().into());
        details.insert("resource".to_owned(), resource.as_str().into());
        details.insert("authorization_servers".to_owned(), issuers.into());
        failure(challenge.code(), &words, details)
    }
}

/// Why a tool was not run.
enum Refused {
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

fn instructions(resource: &Resource) -> String {
    format!(
        "Tools other than public_info need an OAuth access token for the resource {resource}. A tool that is called \
         without one answers what to do. Never show a token to anybody."
    )
}

/// A result that says what went wrong, to people in words and to programs in members.
fn failure(error: &str, description: &str, mut details: Map<String, Value>) -> CallToolResult {
    details.insert("error".to_owned(), error.into());
    details.insert("error_description".to_owned(), description.into());
    let mut result = CallToolResult::error(vec![ContentBlock::text(description)]);
    result.structured_content = Some(Value::Object(details));
    result
}

/// A result with its data, and the same as text for hosts that show text.
fn success(answer: Map<String, Value>) -> CallToolResult {
    let answer = Value::Object(answer);
    let text = text_of(&answer);
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = Some(answer);
    result
}

/// The text form of an answer: JSON in which strings have lost the characters that steer terminals and hide text.
fn text_of(answer: &Value) -> String {
    if is_plain(answer) {
        return answer.to_string();
    }
    let mut cleaned = answer.clone();
    clean(&mut cleaned);
    cleaned.to_string()
}

/// Control characters except line breaks and tabs, and the marks that reorder or hide text (Unicode TR 36).
fn steers(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

fn is_plain(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.chars().any(steers),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(members) => members.values().all(is_plain),
        _ => true,
    }
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) => text.retain(|c| !steers(c)),
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(members) => members.values_mut().for_each(clean),
        _ => {}
    }
}

/// A tool as `tools/list` shows it.
fn listed(definition: &Definition, token_argument: bool) -> rmcp::model::Tool {
    let mut input = definition.input.clone();
    if token_argument && definition.access != Access::Open {
        let properties = input.entry("properties").or_insert_with(|| json!({}));
        // No `x-mcp-header`: a proxy would copy the token into a header that is logged (MCP 2026-07-28, tools).
        properties[credential::ARGUMENT] = json!({
            "type": "string",
            "writeOnly": true,
            "description": "Sensitive: an OAuth access token for this server, if the host has no better way to send \
                            it. Never show it, repeat it or store it.",
        });
    }
    let annotations = ToolAnnotations::with_title(definition.title.clone())
        .read_only(definition.read_only)
        .destructive(false)
        .idempotent(definition.read_only)
        .open_world(false);
    rmcp::model::Tool::new(definition.name.clone(), definition.description.clone(), input)
        .with_title(definition.title.clone())
        .with_raw_output_schema(Arc::new(or_error(definition.output.clone())))
        .with_annotations(annotations)
}

/// An output schema that a refusal fits too: some clients hold structured content against it even when `isError` is
/// set, and would show the mismatch in place of the refusal.
fn or_error(mut output: Map<String, Value>) -> Map<String, Value> {
    let required = output.remove("required").unwrap_or_else(|| json!([]));
    if let Some(Value::Object(properties)) = output.get_mut("properties") {
        properties.insert("error".to_owned(), json!({ "type": "string", "description": "Only when refused." }));
        properties.insert("error_description".to_owned(), json!({ "type": "string" }));
    }
    output.insert("anyOf".to_owned(), json!([{ "required": required }, { "required": ["error"] }]));
    output
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        self.config.clone()
    }

    async fn initialize(
        &self,
        mut request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        let result = self.negotiate_initialize(&request)?;
        // What was agreed on, not what was asked for, rules the requests that follow.
        request.protocol_version = result.protocol_version.clone();
        context.peer.set_peer_info(request);
        Ok(result)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        mut context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        // There is one page, and no cursor leads to another (MCP "Pagination").
        if request.is_some_and(|request| request.cursor.is_some_and(|cursor| !cursor.is_empty())) {
            return Err(ErrorData::invalid_params("Invalid params: unknown cursor", None));
        }
        let era = Era::of(&context)?;
        let presented = presented(&mut context, None);
        // Private: what a host sees depends on its grant.
        let mut result = ListToolsResult::with_all_items(self.listing_for(&presented).await);
        if let Some(identity) = self.identity(era) {
            result = result.with_ttl_ms(0).with_cache_scope(rmcp::model::CacheScope::Private);
            result.meta = Some(identity);
        }
        Ok(result)
    }

    async fn call_tool(
        &self,
        mut request: CallToolRequestParams,
        mut context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let era = Era::of(&context)?;
        let presented = presented(&mut context, request.arguments.as_mut());
        self.answer(request, presented, era).await.map(Into::into)
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let words = format!("Method not found: {}", shown(&request.method));
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, words, None))
    }
}

/// A caller's text as far as an error may repeat it.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !steers(*c) && !c.is_control()).take(64).collect()
}

/// The handler with what rmcp leaves open: which era a request belongs to, tools that panic, and calls that nobody
/// waits for any more.
pub struct Front(pub Handler);

/// An answer under way. On the heap: rmcp moves the futures that it is given, and large ones cost more than the call.
type Answering<'a> = Pin<Box<dyn Future<Output = Result<ServerResult, ErrorData>> + Send + 'a>>;

impl Front {
    fn dispatch(
        &self,
        request: ClientRequest,
        mut context: RequestContext<RoleServer>,
    ) -> Result<Answering<'_>, ErrorData> {
        if is_of_any(&request) {
            return Ok(Box::pin(Service::<RoleServer>::handle_request(&self.0, request, context)));
        }
        let era = Era::of(&context)?;
        let ClientRequest::CallToolRequest(mut call) = request else {
            return Ok(Box::pin(Service::<RoleServer>::handle_request(&self.0, request, context)));
        };
        let presented = presented(&mut context, call.params.arguments.as_mut());
        let under_way = context.extensions;
        Ok(Box::pin(async move {
            let result = self.0.answer(call.params, presented, era).await;
            // Held until the work has ended: the room that the request takes up.
            drop(under_way);
            result.map(ServerResult::CallToolResult)
        }))
    }
}

/// The tokens of a request.
fn presented(context: &mut RequestContext<RoleServer>, arguments: Option<&mut Map<String, Value>>) -> Arc<Presented> {
    context.extensions.remove::<Arc<Presented>>().unwrap_or_else(|| {
        // Another transport than ours: the tokens are still where they were.
        Arc::new(credential::take(Some(&mut context.meta.0.0), arguments))
    })
}

impl Service<RoleServer> for Front {
    fn handle_request(
        &self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> impl Future<Output = Result<ServerResult, ErrorData>> + Send + '_ {
        let cancelled = context.ct.clone();
        let work = self.dispatch(request, context);
        async move {
            tokio::select! {
                biased;
                answer = caught(work?) => answer.unwrap_or_else(|| Err(ErrorData::internal_error(
                    "Internal error: the tool failed; this server's log says where", None))),
                // Never sent: rmcp drops the answers to cancelled requests.
                () = cancelled.cancelled() => Err(ErrorData::internal_error("cancelled", None)),
            }
        }
    }

    async fn handle_notification(
        &self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Service::<RoleServer>::handle_notification(&self.0, notification, context).await
    }

    fn get_info(&self) -> ServerConfig {
        self.0.config.clone()
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        ServerHandler::supported_protocol_versions(&self.0)
    }
}

/// Runs to the end, or to a panic: then `None`.
async fn caught<T>(mut work: Pin<Box<dyn Future<Output = T> + Send + '_>>) -> Option<T> {
    poll_fn(move |context| {
        // Nothing of the work is looked at after a panic, and what it shares is behind locks that recover.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(Poll::Ready(done)) => Poll::Ready(Some(done)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}
