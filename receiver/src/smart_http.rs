//! Git's smart HTTP protocol (gitprotocol-http(5)) in front of git's own commands. Exactly three
//! paths exist. Bodies stream both ways between the socket and the process; nothing is held
//! whole. A push that has begun goes on when its client disappears: the process belongs to a
//! task, not to the response, and its deployment ends as it would have.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::TaskTracker;
use zarpar_store::Store;

use crate::admission::{Admitted, admit, trouble, words};
use crate::attempts::Attempts;
use crate::exchange::{Outputs, PIECES, exchange};
use crate::git::{Dialogue, Service};
use crate::receives::Served;
use crate::repository::Repositories;
use crate::request_body::{Coding, announced, begun, linger, reader};

/// Git processes at once; each takes some MB.
const AT_ONCE: usize = 16;
/// The largest request of a fetch, unpacked, in bytes: a list of object names.
const FETCH_REQUEST: u64 = 32 * 1024 * 1024;
/// What a push may have beside its pack, in bytes: the references it moves.
const COMMANDS: u64 = 16 * 1024 * 1024;

/// What the handlers share.
#[derive(Clone)]
pub struct ReceiverState {
    pub(crate) store: Store,
    repositories: Repositories,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) attempts: Arc<Attempts>,
    tasks: TaskTracker,
}

impl ReceiverState {
    /// `tasks` owns the git processes; who stops the server waits for it.
    pub fn new(store: Store, repositories: Repositories, tasks: TaskTracker) -> ReceiverState {
        ReceiverState {
            store,
            repositories,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            attempts: Arc::default(),
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

/// The three paths; every other one, and every other method, is no place of ours.
pub fn routes(state: ReceiverState) -> Router {
    Router::new()
        .route(
            "/git/{repository}/info/refs",
            get(advertise).fallback(nothing),
        )
        .route("/git/{repository}/{service}", post(serve).fallback(nothing))
        .with_state(state)
}

async fn nothing() -> Response {
    words(
        StatusCode::NOT_FOUND,
        "there is nothing here\nhint: the address of a repository is `http://TOKEN@HOST:PORT/git/APP.git`",
    )
}

async fn advertise(
    State(state): State<ReceiverState>,
    Path(repository): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let query = query.unwrap_or_default();
    let wanted = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("service="));
    let Some(service) = wanted.and_then(Service::from_name) else {
        return words(
            StatusCode::FORBIDDEN,
            "expected a git client of version 1.6.6 or later\nhint: push with `git push`, clone with `git clone`",
        );
    };
    let headers = request.headers();
    let admitted = match admit(&state, &repository, service, headers, request.extensions()) {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    let child = match start(&state, service, &admitted, Dialogue::Advertise, headers) {
        Ok(child) => child,
        Err(refusal) => return *refusal,
    };
    let content_type = format!("application/x-{}-advertisement", service.name());
    // As git's own http-backend does: the line that names the service, unless the client
    // speaks version 2, whose answer has a header of its own.
    let speaks_v2 = protocol(headers) == Some("version=2");
    let prefix = if speaks_v2 {
        Bytes::new()
    } else {
        service_line(service)
    };
    let input = Input {
        body: Body::empty(),
        coding: Coding::Plain,
        limit: 0,
    };
    respond(&state, child, input, prefix, content_type, admitted.permit)
}

async fn serve(
    State(state): State<ReceiverState>,
    Path((repository, service)): Path<(String, String)>,
    request: Request,
) -> Response {
    let Some(service) = Service::from_name(&service) else {
        return nothing().await;
    };
    let (head, body) = request.into_parts();
    match prepare(&state, &repository, service, &head) {
        Ok((admitted, coding, limit)) => {
            // A client that waits for `100 Continue` gets it by this, before our answer's head.
            let Some(body) = begun(body).await else {
                return words(StatusCode::REQUEST_TIMEOUT, "expected a request's body");
            };
            let headers = &head.headers;
            let child = match start(&state, service, &admitted, Dialogue::Stateless, headers) {
                Ok(child) => child,
                Err(refusal) => return *refusal,
            };
            let content_type = format!("application/x-{}-result", service.name());
            let input = Input {
                body,
                coding,
                limit,
            };
            let prefix = Bytes::new();
            respond(&state, child, input, prefix, content_type, admitted.permit)
        }
        Err(refusal) => {
            // Who waits for `100 Continue` has sent nothing, and to read would ask for it.
            if !head.headers.contains_key(header::EXPECT) {
                state.tasks.spawn(linger(body));
            }
            *refusal
        }
    }
}

/// Everything that can be said before the body is read.
fn prepare(
    state: &ReceiverState,
    repository: &str,
    service: Service,
    head: &Parts,
) -> Result<(Admitted, Coding, u64), Box<Response>> {
    let headers = &head.headers;
    let admitted = admit(state, repository, service, headers, &head.extensions)?;
    let content_type = format!("application/x-{}-request", service.name());
    if headers
        .get(header::CONTENT_TYPE)
        .is_none_or(|found| found.as_bytes() != content_type.as_bytes())
    {
        let text = format!("expected a request of a git client, of the type `{content_type}`");
        let refusal = words(StatusCode::UNSUPPORTED_MEDIA_TYPE, &text);
        return Err(Box::new(refusal));
    }
    let Some(coding) = Coding::of(headers) else {
        return Err(Box::new(words(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "expected a body that is plain or gzip",
        )));
    };
    let limit = match service {
        // git has a limit of its own for the pack (receive.maxInputSize), and says so better.
        Service::ReceivePack => state.repositories.git().config.limits.max_pack + COMMANDS,
        Service::UploadPack => FETCH_REQUEST,
    };
    if let Some(length) = announced(headers).filter(|length| *length > limit) {
        let text = format!(
            "this request has {length} bytes, and this server takes at most {limit}\nhint: is a file in the repository that should not be? `git rev-list --objects --disk-usage=human HEAD` shows the size of its history"
        );
        return Err(Box::new(words(StatusCode::PAYLOAD_TOO_LARGE, &text)));
    }
    Ok((admitted, coding, limit))
}

fn start(
    state: &ReceiverState,
    service: Service,
    admitted: &Admitted,
    dialogue: Dialogue,
    headers: &HeaderMap,
) -> Result<Served, Box<Response>> {
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

/// A request body, how it is packed, and the most bytes it may unpack to.
struct Input {
    body: Body,
    coding: Coding,
    limit: u64,
}

/// Answers with what git writes. The exchange runs in a task of its own and goes on without the
/// client.
fn respond(
    state: &ReceiverState,
    child: Served,
    input: Input,
    prefix: Bytes,
    content_type: String,
    permit: OwnedSemaphorePermit,
) -> Response {
    let (out, mut taken) = mpsc::channel::<Bytes>(PIECES);
    state.tasks.spawn(async move {
        let reader = reader(input.body, input.coding, input.limit);
        let outputs = Outputs { out, err: None };
        // The reader has the limit, and one byte more would look like git's own end.
        if let Err(error) = exchange(child, reader, u64::MAX, outputs).await {
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
