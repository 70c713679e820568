//! Git's smart HTTP protocol (gitprotocol-http(5)) in front of git's own commands. Exactly three
//! paths exist. Bodies stream both ways between the socket and the process; nothing is held
//! whole. A push that has begun goes on when its client disappears: the process belongs to a
//! task, not to the response, and its deployment ends as it would have.

use std::io;
use std::sync::Arc;

use async_compression::tokio::bufread::GzipDecoder;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::io::StreamReader;
use tokio_util::task::TaskTracker;
use zarpar_model::{App, AppName};
use zarpar_store::Store;

use crate::auth::{authenticate, is_user_alone};
use crate::exchange::{Outputs, PIECES, exchange};
use crate::git::{Dialogue, Service};
use crate::repository::Repositories;

/// Git processes at once; each takes some MB.
const AT_ONCE: usize = 16;
/// The largest request of a fetch, unpacked, in bytes: a list of object names.
const FETCH_REQUEST: u64 = 32 * 1024 * 1024;

/// What the handlers share.
#[derive(Clone)]
pub struct ReceiverState {
    store: Store,
    repositories: Repositories,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl ReceiverState {
    /// `tasks` owns the git processes; who stops the server waits for it.
    pub fn new(store: Store, repositories: Repositories, tasks: TaskTracker) -> ReceiverState {
        ReceiverState {
            store,
            repositories,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            tasks,
        }
    }

    /// The repositories.
    pub(crate) fn repositories(&self) -> &Repositories {
        &self.repositories
    }

    /// The right to start one git process more, when there is room.
    pub(crate) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_owned().ok()
    }
}

/// The three paths.
pub fn routes(state: ReceiverState) -> Router {
    Router::new()
        .route("/git/{repository}/info/refs", get(advertise))
        .route("/git/{repository}/{service}", post(serve))
        .with_state(state)
}

async fn advertise(
    State(state): State<ReceiverState>,
    Path(repository): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let wanted = query
        .as_deref()
        .and_then(|query| query.strip_prefix("service="));
    let Some(service) = wanted.and_then(Service::from_name) else {
        return words(
            StatusCode::FORBIDDEN,
            "expected a git client of version 1.6.6 or later\nhint: push with `git push`, clone with `git clone`",
        );
    };
    let admitted = match admit(&state, &repository, &headers) {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    let child = match start(&state, service, &admitted, Dialogue::Advertise, &headers) {
        Ok(child) => child,
        Err(refusal) => return *refusal,
    };
    let content_type = format!("application/x-{}-advertisement", service.name());
    // As git's own http-backend does: the line that names the service, unless the client
    // speaks version 2, whose answer has a header of its own.
    let speaks_v2 = protocol(&headers) == Some("version=2");
    let prefix = if speaks_v2 {
        Bytes::new()
    } else {
        service_line(service)
    };
    let request = Input {
        body: Body::empty(),
        encoding: Encoding::Plain(1),
    };
    respond(
        &state,
        child,
        request,
        prefix,
        content_type,
        admitted.permit,
    )
}

async fn serve(
    State(state): State<ReceiverState>,
    Path((repository, service)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(service) = Service::from_name(&service) else {
        return words(
            StatusCode::NOT_FOUND,
            "there is nothing here\nhint: the address of a repository is `http://TOKEN@HOST:PORT/git/APP.git`",
        );
    };
    let content_type = format!("application/x-{}-request", service.name());
    if headers
        .get(header::CONTENT_TYPE)
        .is_none_or(|found| found.as_bytes() != content_type.as_bytes())
    {
        return words(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "expected a request of a git client",
        );
    }
    let admitted = match admit(&state, &repository, &headers) {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    // A pack has git's own limit (receive.maxInputSize); the rest is bounded here.
    let limit = if service == Service::ReceivePack {
        u64::MAX
    } else {
        FETCH_REQUEST
    };
    let encoding = match headers
        .get(header::CONTENT_ENCODING)
        .map(HeaderValue::as_bytes)
    {
        None | Some(b"identity") => Encoding::Plain(limit),
        Some(b"gzip" | b"x-gzip") => Encoding::Gzip(limit),
        Some(_) => {
            return words(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "expected a body that is plain or gzip",
            );
        }
    };
    let child = match start(&state, service, &admitted, Dialogue::Stateless, &headers) {
        Ok(child) => child,
        Err(refusal) => return *refusal,
    };
    let content_type = format!("application/x-{}-result", service.name());
    let request = Input { body, encoding };
    respond(
        &state,
        child,
        request,
        Bytes::new(),
        content_type,
        admitted.permit,
    )
}

/// How a request body is packed, with the most bytes it may unpack to.
enum Encoding {
    Plain(u64),
    Gzip(u64),
}

struct Admitted {
    app: App,
    by: String,
    permit: OwnedSemaphorePermit,
}

/// Who may do what: a token first, then the app within its scope. An app that does not exist
/// and one that the token may not touch look the same.
fn admit(
    state: &ReceiverState,
    repository: &str,
    headers: &HeaderMap,
) -> Result<Admitted, Box<Response>> {
    let credentials = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token =
        authenticate(&state.store, credentials).map_err(|error| Box::new(trouble(&error)))?;
    let Some(token) = token else {
        return Err(Box::new(unknown(credentials)));
    };
    let name = repository
        .strip_suffix(".git")
        .and_then(|name| name.parse::<AppName>().ok());
    let app = match name.filter(|name| token.scope.allows(name)) {
        Some(name) => state
            .store
            .app(&name)
            .map_err(|error| Box::new(trouble(&error)))?,
        None => None,
    };
    let Some(app) = app else {
        let text = format!(
            "the token `{}` opens no app of this name\nhint: `zarpar apps list` and `zarpar tokens list` on the server show what there is",
            token.name
        );
        return Err(Box::new(words(StatusCode::NOT_FOUND, &text)));
    };
    let Ok(permit) = state.permits.clone().try_acquire_owned() else {
        let mut response = words(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many pushes and fetches at once\nhint: try again in some seconds",
        );
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        return Err(Box::new(response));
    };
    Ok(Admitted {
        app,
        by: format!("token:{}", token.name),
        permit,
    })
}

/// No token, or one that opens nothing. To a client without a password git would ask its user
/// for one, whatever we say; when a token was sent without a password, words help more.
fn unknown(credentials: Option<&str>) -> Response {
    let text = "expected a token of this server, as user name or password\nhint: `zarpar tokens create NAME --app APP` on the server prints one; then `git remote set-url production http://TOKEN@HOST:PORT/git/APP.git`";
    if credentials.is_some_and(is_user_alone) {
        return words(StatusCode::FORBIDDEN, text);
    }
    let mut response = words(StatusCode::UNAUTHORIZED, text);
    let challenge = HeaderValue::from_static("Basic realm=\"zarpar\"");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn start(
    state: &ReceiverState,
    service: Service,
    admitted: &Admitted,
    dialogue: Dialogue,
    headers: &HeaderMap,
) -> Result<Child, Box<Response>> {
    let app = admitted.app.name.as_str();
    let hook_env = [
        (zarpar_hooks::ENV_APP, app),
        (zarpar_hooks::ENV_BY, admitted.by.as_str()),
    ];
    let repository = state.repositories.path(&admitted.app.name);
    state
        .repositories
        .git()
        .serve(service, &repository, dialogue, protocol(headers), &hook_env)
        .map_err(|error| Box::new(trouble(&error)))
}

/// What the client says of the protocol. The text becomes an environment variable, so only the
/// three versions may pass.
fn protocol(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get("git-protocol")?.to_str().ok()?;
    matches!(text, "version=0" | "version=1" | "version=2").then_some(text)
}

/// `# service=NAME` as a pkt-line, and a flush.
fn service_line(service: Service) -> Bytes {
    let line = format!("# service={}\n", service.name());
    Bytes::from(format!("{:04x}{line}0000", line.len() + 4))
}

/// A request body and how it is packed.
struct Input {
    body: Body,
    encoding: Encoding,
}

/// Answers with what git writes. The exchange runs in a task of its own and goes on without the
/// client.
fn respond(
    state: &ReceiverState,
    child: Child,
    request: Input,
    prefix: Bytes,
    content_type: String,
    permit: OwnedSemaphorePermit,
) -> Response {
    let (out, mut taken) = mpsc::channel::<Bytes>(PIECES);
    state.tasks.spawn(async move {
        let body = StreamReader::new(request.body.into_data_stream().map_err(io::Error::other));
        let outputs = Outputs { out, err: None };
        let ended = match request.encoding {
            Encoding::Plain(limit) => exchange(child, body, limit, outputs).await,
            Encoding::Gzip(limit) => {
                let plain = GzipDecoder::new(BufReader::new(body));
                exchange(child, plain, limit, outputs).await
            }
        };
        if let Err(error) = ended {
            tracing::error!(%error, "git could not be followed to its end");
        }
        drop(permit);
    });
    let rest = futures_util::stream::poll_fn(move |context| taken.poll_recv(context));
    let start = futures_util::stream::iter((!prefix.is_empty()).then_some(prefix));
    let stream = start.chain(rest).map(Ok::<_, io::Error>);
    (
        [
            (header::CONTENT_TYPE, content_type),
            (header::CACHE_CONTROL, "no-cache".to_owned()),
        ],
        Body::from_stream(stream),
    )
        .into_response()
}

/// Plain text: git shows it to its user line by line.
fn words(status: StatusCode, text: &str) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        format!("{text}\n"),
    )
        .into_response()
}

fn trouble(error: &dyn std::error::Error) -> Response {
    tracing::error!(%error, "a git request could not be served");
    words(
        StatusCode::INTERNAL_SERVER_ERROR,
        "zarpar cannot serve this now\nhint: its log on the server says why",
    )
}
