//! A connected MCP server: a child process, or a URL.

use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, Implementation, JsonObject,
    ProtocolVersion, RequestMetaObject, Tool,
};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, ClientServiceExt, RoleClient, RunningService, ServiceError,
};
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, HttpStatusError, InsufficientScopeError, StreamableHttpClientTransportConfig,
    StreamableHttpError,
};
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use serde_json::Value;
use shared::browser::{LOGIN_VARIABLE, SECRET_VARIABLES};
use shared::secret::Secret;
use tokio::process::Command;
use tokio::time::timeout;

use crate::elicit::{Elicit, Us};
use crate::flow::discover::Hints;
use crate::net::streamable::{HttpFault, ServerClient};
use crate::print::Printer;

/// Where our servers look for the token in a request's `_meta`.
pub const TOKEN_META: &str = "authz/access_token";
/// The argument that older servers expect the token in.
pub const TOKEN_ARGUMENT: &str = "access_token";
/// How long a server may take to introduce itself: the probe for the newer era, then the older handshake.
const CONNECT_TIME: Duration = Duration::from_secs(30);
/// How many pages of tools are read, so that a server cannot keep us turning them.
const PAGES: usize = 100;

/// A stdio server to be started.
#[derive(Clone, Debug)]
pub struct Child {
    /// The program.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The store folder, for servers of ours.
    pub data: Option<PathBuf>,
}

/// Why a server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It wants a token, or a better one (HTTP 401).
    #[error("the server asks for a login")]
    Unauthorized(Hints),
    /// The token does not reach far enough (HTTP 403).
    #[error("the server asks for more scopes")]
    InsufficientScope(Hints),
    /// A JSON-RPC error.
    #[error("the server answered with error {code}: {message}")]
    Rpc {
        /// Its code.
        code: i32,
        /// Its message: foreign text.
        message: String,
    },
    /// It could not be started.
    #[error("cannot start {program}: {error}")]
    Start {
        /// The program.
        program: String,
        /// The answer of the operating system.
        error: std::io::Error,
    },
    /// It went away, or was never there.
    #[error("{0}")]
    Connection(String),
    /// An HTTP status that is no answer.
    #[error("the server answered HTTP {0}")]
    Status(u16),
    /// It took too long.
    #[error("the server did not answer within {} seconds", .0.as_secs())]
    Timeout(Duration),
    /// It answered with something else than was asked for.
    #[error("the server's answer makes no sense: {0}")]
    Nonsense(String),
}

/// A connected server. Close it, so that a child can end in its own time.
#[derive(Debug)]
pub struct Session {
    running: RunningService<RoleClient, Us>,
    patience: Duration,
}

/// How we deal with a server.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How long a request may take.
    pub patience: Duration,
    /// Whether it may have a page opened.
    pub elicit: Elicit,
    /// Where the person is told.
    pub out: Printer,
}

/// How long a request may take in which a person is asked something.
const PERSON: Duration = Duration::from_secs(600);

impl Session {
    /// Starts a stdio server and connects to it. Its stderr is ours.
    ///
    /// # Errors
    /// When it cannot be started or does not speak MCP.
    pub async fn start(child: &Child, manner: Manner) -> Result<Self, SessionError> {
        let auto = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        };
        match connect(spawn(child)?, auto, manner).await {
            // Servers of the older era that know nothing else may end at the newer era's first message.
            Err(SessionError::Connection(_)) => connect(spawn(child)?, ClientLifecycleMode::Initialize, manner).await,
            other => other,
        }
    }

    /// Connects to a server by HTTP.
    ///
    /// # Errors
    /// When it is not reached, wants a (better) token, or does not speak MCP.
    pub async fn open(client: ServerClient, url: &str, manner: Manner) -> Result<Self, SessionError> {
        let config = StreamableHttpClientTransportConfig::with_uri(url);
        let transport = StreamableHttpClientTransport::with_client(client, config);
        let auto = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        };
        connect(transport, auto, manner).await
    }

    /// The server's own name for itself, and the protocol version that both speak.
    pub fn about(&self) -> (Option<String>, Option<String>) {
        let info = self.running.peer().peer_info();
        let name = info.as_ref().and_then(|info| info.server_info.as_ref()).map(|server| server.name.clone());
        (name, info.map(|info| info.protocol_version.as_str().to_owned()))
    }

    /// Lists its tools.
    ///
    /// # Errors
    /// When the server refuses, takes too long or goes away.
    pub async fn tools(&self) -> Result<Vec<Tool>, SessionError> {
        self.within(async {
            let mut tools = Vec::new();
            let mut cursor = None;
            for _ in 0..PAGES {
                let mut page = rmcp::model::PaginatedRequestParams::default();
                page.cursor = cursor;
                let read = self.running.list_tools(Some(page)).await.map_err(service)?;
                tools.extend(read.tools);
                cursor = read.next_cursor;
                if cursor.is_none() {
                    return Ok(tools);
                }
            }
            Err(SessionError::Nonsense(format!("its list of tools has more than {PAGES} pages")))
        })
        .await
    }

    /// Calls a tool, once. `token` travels in the request's `_meta`, and as an argument only where `as_argument` says.
    ///
    /// # Errors
    /// When the server refuses, takes too long or goes away. A tool's own error is a result.
    pub async fn call(
        &self,
        name: &str,
        mut arguments: JsonObject,
        token: Option<&Secret>,
        as_argument: bool,
    ) -> Result<CallToolResult, SessionError> {
        let mut meta = RequestMetaObject::new();
        if let Some(token) = token {
            if as_argument {
                arguments.insert(TOKEN_ARGUMENT.to_owned(), Value::from(token.expose()));
            } else {
                meta.0.0.insert(TOKEN_META.to_owned(), Value::from(token.expose()));
            }
        }
        let mut request = CallToolRequestParams::new(name.to_owned()).with_arguments(arguments);
        request.meta = Some(meta);
        self.within(async { self.running.call_tool(request).await.map_err(service) }).await
    }

    /// Says good-bye, and waits for a child to end.
    pub async fn close(mut self) {
        let _ = self.running.close_with_timeout(Duration::from_secs(10)).await;
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, SessionError>>) -> Result<T, SessionError> {
        let mut work = std::pin::pin!(work);
        let mut patience = self.patience;
        if let Ok(done) = timeout(patience, &mut work).await {
            return done;
        }
        // A server that has a page opened waits for the person, and we for it.
        if self.running.service().has_asked() {
            patience = PERSON;
            if let Ok(done) = timeout(patience, &mut work).await {
                return done;
            }
        }
        Err(SessionError::Timeout(patience))
    }
}

async fn connect<T, E, A>(transport: T, mode: ClientLifecycleMode, manner: Manner) -> Result<Session, SessionError>
where
    T: rmcp::transport::IntoTransport<RoleClient, E, A>,
    E: Error + Send + Sync + 'static,
{
    let name = Implementation::new("mcp-client", env!("CARGO_PKG_VERSION"));
    let config = ClientConfig::new(ClientCapabilities::default(), name)
        .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
    let us = Us::new(config, manner.elicit, manner.out);
    match timeout(CONNECT_TIME, us.serve_with_lifecycle(transport, mode)).await {
        Ok(Ok(running)) => Ok(Session { running, patience: manner.patience }),
        Ok(Err(error)) => Err(initialize(error)),
        Err(_) => Err(SessionError::Timeout(CONNECT_TIME)),
    }
}

fn spawn(child: &Child) -> Result<TokioChildProcess, SessionError> {
    let mut command = Command::new(&child.program);
    command.args(&child.arguments).kill_on_drop(true);
    // What we know is not for every program that we start.
    for secret in SECRET_VARIABLES {
        command.env_remove(secret);
    }
    // We log in ourselves, and say so in the call: a server need not ask anybody.
    if std::env::var_os(LOGIN_VARIABLE).is_none() {
        command.env(LOGIN_VARIABLE, "off");
    }
    if let Some(data) = &child.data {
        command.env(shared::store::place::DATA_VARIABLE, data);
    }
    let program = || child.program.to_string_lossy().into_owned();
    TokioChildProcess::new(command).map_err(|error| SessionError::Start { program: program(), error })
}

fn initialize(error: ClientInitializeError) -> SessionError {
    match error {
        ClientInitializeError::JsonRpcError(error) => {
            SessionError::Rpc { code: error.code.0, message: error.message.into_owned() }
        }
        ClientInitializeError::TransportError { error, .. } => transport(error.error.as_ref()),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => initialize(*fallback),
        ClientInitializeError::ConnectionClosed(_) => {
            SessionError::Connection("the server ended the connection before it introduced itself".into())
        }
        ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
            SessionError::Nonsense("it speaks no version of MCP that we know".into())
        }
        other => SessionError::Nonsense(other.to_string()),
    }
}

fn service(error: ServiceError) -> SessionError {
    match error {
        ServiceError::McpError(error) => SessionError::Rpc { code: error.code.0, message: error.message.into_owned() },
        ServiceError::TransportSend(error) => transport(error.error.as_ref()),
        ServiceError::TransportClosed => SessionError::Connection("the server ended the connection".into()),
        ServiceError::Timeout { timeout } => SessionError::Timeout(timeout),
        other => SessionError::Nonsense(other.to_string()),
    }
}

/// Finds what our own HTTP client, or the operating system, had to say in a chain of errors.
fn transport(error: &(dyn Error + 'static)) -> SessionError {
    let mut link = Some(error);
    while let Some(current) = link {
        if let Some(challenge) = current.downcast_ref::<AuthRequiredError>() {
            return SessionError::Unauthorized(Hints::read([challenge.www_authenticate_header.as_str()]));
        }
        if let Some(challenge) = current.downcast_ref::<InsufficientScopeError>() {
            return SessionError::InsufficientScope(Hints::read([challenge.www_authenticate_header.as_str()]));
        }
        if let Some(status) = current.downcast_ref::<HttpStatusError>() {
            return SessionError::Status(status.status);
        }
        match current.downcast_ref::<StreamableHttpError<HttpFault>>() {
            Some(StreamableHttpError::Client(HttpFault::Status(status))) => return SessionError::Status(*status),
            Some(StreamableHttpError::HttpStatus(status)) => return SessionError::Status(status.status),
            Some(StreamableHttpError::Client(fault)) => return SessionError::Connection(fault.to_string()),
            _ => {}
        }
        link = current.source();
    }
    SessionError::Connection(format!("the connection to the server failed: {error}"))
}
