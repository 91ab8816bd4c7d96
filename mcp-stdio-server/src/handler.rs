//! rmcp's handler over the catalog and the guard, in both protocol eras.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientNotification, ClientRequest, CustomRequest,
    CustomResult, ErrorCode, ErrorData, Implementation, InitializeRequestParams, InitializeResult, InputResponses,
    ListToolsResult, MetaObject, PaginatedRequestParams, ProtocolVersion, ServerCapabilities, ServerConfig,
    ServerResult, SubscriptionFilter, ToolAnnotations,
};
use rmcp::service::{NotificationContext, RequestContext, Service, SubscriptionContext};
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Map, Value, json};
use shared::state::Kind;
use shared::store::calls::Outcome;
use shared::uri::Resource;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::conversation::{Conversation, left};
use crate::credential::{self, Presented};
use crate::era::{Era, is_of_any};
use crate::gate::{self, Admission, Gate, Turned, View};
use crate::guard::{Access, Says};
use crate::listing::{self, Last, Told};
use crate::login::QUESTION;
use crate::login::host::Action;
use crate::results::{failure, shown, success};
use crate::server::Program;
use crate::tools::{Call, Catalog, Definition, Entry, ToolError};

/// The `_meta` member under which a result names its server (MCP 2026-07-28, "Per-response protocol fields").
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// What a server is made of.
pub struct Parts {
    /// Its tools.
    pub catalog: Catalog,
    /// Who lets its callers in.
    pub gate: Gate,
}

/// The server that rmcp calls.
pub struct Handler {
    catalog: Catalog,
    gate: Arc<Gate>,
    /// True when the host has left.
    ended: Option<watch::Receiver<bool>>,
    /// Whose list a host of the earlier era saw last.
    last: Last,
    /// Tells a host of the earlier era that its list has changed.
    watching: Mutex<Option<Watching>>,
    config: ServerConfig,
    listing: Vec<rmcp::model::Tool>,
    identity: MetaObject,
}

impl Handler {
    /// A handler over `parts`.
    pub fn new(parts: Parts) -> Self {
        let listing = parts.catalog.iter().map(|entry| listed(&entry.definition, parts.gate.token_argument)).collect();
        let mut config =
            ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build())
                .with_instructions(instructions(&parts.catalog, &parts.gate.resource));
        config.protocol_version = ProtocolVersion::LATEST_WITH_INITIALIZE;
        let Parts { catalog, gate } = parts;
        let handler = Self {
            catalog,
            gate: Arc::new(gate),
            ended: None,
            last: Last::default(),
            watching: Mutex::default(),
            config,
            listing,
            identity: MetaObject::new(),
        };
        handler.named(Program::OURS)
    }

    /// The same under another name.
    #[must_use]
    pub fn named(mut self, program: Program) -> Self {
        let Program { name, version, .. } = program;
        self.identity.insert(SERVER_INFO.to_owned(), json!({ "name": name, "version": version }));
        self.config.server_info = Implementation::new(name, version);
        self
    }

    /// The same, which knows when its host has left: what waits for a person or for a change then ends.
    #[must_use]
    pub fn until(self, ended: watch::Receiver<bool>) -> Self {
        Self { ended: Some(ended), ..self }
    }

    /// The tools.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The tools as `tools/list` shows them to whoever asks: without those that the person behind the token left out, and
    /// without any that need a grant when that was taken back. Without a token it is the whole list, so that a person can
    /// be asked for it.
    fn listing_for(&self, view: &View) -> Vec<rmcp::model::Tool> {
        let is_open = |name: &str| self.catalog.get(name).is_some_and(|entry| entry.definition.access == Access::Open);
        let shows = |name: &str| match view {
            View::Whole | View::Scoped(_) => true,
            View::Granted(grant) => grant.allows(name) || is_open(name),
            View::Closed => is_open(name),
        };
        let has_changed = |name: &str| match view {
            View::Granted(grant) => {
                self.catalog.get(name).is_some_and(|entry| grant.saw_another(name, Some(&entry.print)))
            }
            _ => false,
        };
        let listed = |tool: &rmcp::model::Tool| match has_changed(&tool.name) {
            true => serde_json::from_value(listing::withheld(&tool.name)).ok(),
            false => Some(tool.clone()),
        };
        self.listing.iter().filter(|tool| shows(&tool.name)).filter_map(listed).collect()
    }

    /// Names this server in a result, for clients of the era that asks for it.
    fn identity(&self, era: Era) -> Option<MetaObject> {
        (era == Era::Modern).then(|| self.identity.clone())
    }

    /// Answers a call: finds the tool, judges the token, runs the tool.
    ///
    /// # Errors
    /// -32602 for a tool that there is not, and for a `requestState` that was not given out for the call. Everything
    /// else is a result that says what went wrong.
    pub async fn answer(
        &self,
        request: CallToolRequestParams,
        presented: Arc<Presented>,
        conversation: Conversation,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(entry) = self.catalog.get(&request.name) else {
            let words = format!("Unknown tool: {}; tools/list names them all", shown(&request.name));
            return Err(ErrorData::invalid_params(words, None));
        };
        let mut result = match self.run(entry, request, &presented, &conversation).await {
            Ok(result) => result,
            Err(Turned::Back(result) | Turned::Page(result, _)) => *result,
            Err(Turned::Ask(mut question)) => {
                question.meta = self.identity(conversation.era);
                return Ok(CallToolResponse::InputRequired(*question));
            }
            Err(Turned::BadState) => {
                let words =
                    "Invalid params: \"requestState\" was not given out for this call, or is over; call without it";
                return Err(ErrorData::invalid_params(words, None));
            }
        };
        result.meta = self.identity(conversation.era);
        if conversation.era == Era::Legacy {
            // The member is of the modern era.
            result.result_type = None;
        }
        Ok(CallToolResponse::Complete(result))
    }

    async fn run(
        &self,
        entry: &Entry,
        request: CallToolRequestParams,
        presented: &Presented,
        host: &Conversation,
    ) -> Result<CallToolResult, Turned> {
        let (gate, definition) = (&self.gate, &entry.definition);
        let arguments = request.arguments.unwrap_or_default();
        let call = gate::Entry {
            kind: Kind::Tool,
            name: &definition.name,
            method: Kind::Tool.method(),
            access: &definition.access,
            arguments: &arguments,
            presented,
            state: request.request_state.as_deref(),
            answer: request.input_responses.as_ref().and_then(answered),
            host: Some(host),
            origin: &host.origin(),
            says: Says::This(entry.print),
        };
        let Admission { caller, underway } = gate.enter(&call, gate.clock.now()).await?;
        // A person may have taken minutes to let it in.
        let now = gate.clock.now();
        let answer = entry.tool.call(arguments, &Call { caller, now }).await;
        underway.ended(if answer.is_ok() { Outcome::Ok } else { Outcome::Error });
        Ok(match answer {
            Ok(answer) => success(answer),
            Err(error @ ToolError::Argument(_)) => failure("invalid_request", &error.to_string(), Map::new()),
            Err(error @ ToolError::Failed(_)) => failure("server_error", &error.to_string(), Map::new()),
        })
    }
}

/// What the person did with our question.
fn answered(responses: &InputResponses) -> Option<Action> {
    responses.get(QUESTION)?.get("action")?.as_str().and_then(Action::of)
}

/// A task that ends with the handler.
struct Watching(JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn instructions(catalog: &Catalog, resource: &Resource) -> String {
    let open = catalog.iter().filter(|entry| entry.definition.access == Access::Open);
    let open: Vec<_> = open.map(|entry| entry.definition.name.as_ref()).collect();
    let which = if open.is_empty() { "Tools".to_owned() } else { format!("Tools other than {}", open.join(", ")) };
    format!(
        "{which} need an OAuth access token for the resource {resource}. A tool that is called without one answers what \
         to do. Never show a token to anybody."
    )
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
        let told = Told::Peer(context.peer.clone());
        let watched = listing::watch_for(Arc::clone(&self.gate), Presented::default(), self.last.subscribe(), told);
        let watching = tokio::spawn(watched);
        *self.watching.lock().unwrap_or_else(PoisonError::into_inner) = Some(Watching(watching));
        Ok(result)
    }

    fn accepted_subscription_filter(&self, _requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        let mut accepted = SubscriptionFilter::default();
        accepted.tools_list_changed = Some(true);
        Some(accepted)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut meta = context.request_context().meta.0.0.clone();
        let presented = credential::take(Some(&mut meta), None);
        let told = Told::Subscription(context.sink().clone());
        let watching = async {
            listing::watch(Arc::clone(&self.gate), presented, told).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = watching => {}
            () = context.cancelled() => {}
            () = left(self.ended.clone()) => {}
        }
        Ok(())
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
        let view = self.gate.view(&presented).await;
        let mut result = ListToolsResult::with_all_items(self.listing_for(&view));
        if era == Era::Legacy {
            self.last.send_replace(self.gate.holder(&presented).await.map(|token| (token, view)));
        }
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
        let conversation = Conversation::of(&mut context, era, self.ended.clone());
        self.answer(request, presented, conversation).await
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
        let conversation = Conversation::of(&mut context, era, self.0.ended.clone());
        let under_way = context.extensions;
        Ok(Box::pin(async move {
            let result = self.0.answer(call.params, presented, conversation).await;
            // Held until the work has ended: the room that the request takes up.
            drop(under_way);
            result.map(ServerResult::from)
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
