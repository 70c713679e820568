//! What is noted about a request, from its head to the end of its answer, however that comes
//! about: when the answer's body is dropped, or the visitor left before there was one, the
//! request is counted and its line goes to the access log.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::{HOST, REFERER, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};

use crate::access_log::{Line, Log};
use crate::metrics::{AppMetrics, Ended, Metrics};
use crate::request_id::X_REQUEST_ID;

/// The status of a request whose visitor left before there was an answer, as Nginx logs it.
const LEFT: u16 = 499;

/// Where a worker notes what it sees.
pub(crate) struct Watch {
    metrics: Arc<Metrics>,
    /// The worker's number.
    worker: usize,
    log: Option<Log>,
}

/// A request until its answer's body ends.
pub(crate) struct Seen {
    watch: Rc<Watch>,
    app: Option<Arc<AppMetrics>>,
    began: Instant,
    status: u16,
    bytes: u64,
    is_file: bool,
    asked: Option<Box<Asked>>,
}

/// What of a request's head goes into its line. Cookies and credentials are not among it.
struct Asked {
    client: HeaderValue,
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
}

impl Watch {
    pub(crate) fn new(metrics: Arc<Metrics>, worker: usize, log: Option<Log>) -> Watch {
        Watch {
            metrics,
            worker,
            log,
        }
    }

    /// Begins with a request's head, once the request has its name.
    pub(crate) fn begin<B>(self: &Rc<Watch>, client: &HeaderValue, request: &Request<B>) -> Seen {
        let asked = self.log.is_some().then(|| {
            // Copies of pointers: the bytes are those of the head.
            let field = |name| request.headers().get(name).cloned();
            Box::new(Asked {
                client: client.clone(),
                method: request.method().clone(),
                uri: request.uri().clone(),
                version: request.version(),
                host: field(HOST),
                user_agent: field(USER_AGENT),
                referer: field(REFERER),
                request_id: field(X_REQUEST_ID),
            })
        });
        Seen {
            watch: self.clone(),
            app: None,
            began: Instant::now(),
            status: LEFT,
            bytes: 0,
            is_file: false,
            asked,
        }
    }

    pub(crate) fn connection_opened(&self) {
        self.metrics.connection_opened(self.worker);
    }

    pub(crate) fn connection_closed(&self) {
        self.metrics.connection_closed(self.worker);
    }

    pub(crate) fn connection_refused(&self) {
        self.metrics.connection_refused();
    }
}

impl Seen {
    /// An app was found; said once.
    pub(crate) fn routed(&mut self, app: &Arc<AppMetrics>) {
        app.begun(self.watch.worker);
        self.app = Some(app.clone());
    }

    /// The answer is a static or uploaded file.
    pub(crate) fn is_file(&mut self) {
        self.is_file = true;
    }

    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }

    /// Bytes of the body went out.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    fn log(&self, asked: &Asked, log: &Log, answer: &Ended) {
        let host = match (asked.uri.authority(), &asked.host) {
            (Some(authority), _) => authority.as_str().as_bytes(),
            (None, Some(host)) => host.as_bytes(),
            (None, None) => b"",
        };
        let path = asked.uri.path_and_query().map_or("/", |path| path.as_str());
        log.put(&Line {
            time: SystemTime::now(),
            app: self
                .app
                .as_ref()
                .unwrap_or(self.watch.metrics.nobody())
                .name(),
            host,
            client: asked.client.as_bytes(),
            method: asked.method.as_str(),
            path: path.as_bytes(),
            protocol: protocol(asked.version),
            status: answer.status,
            bytes: answer.bytes,
            took: answer.took,
            user_agent: asked.user_agent.as_ref().map(HeaderValue::as_bytes),
            referer: asked.referer.as_ref().map(HeaderValue::as_bytes),
            request_id: asked.request_id.as_ref().map(HeaderValue::as_bytes),
        });
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        let answer = Ended {
            status: self.status,
            took: self.began.elapsed(),
            bytes: self.bytes,
        };
        let worker = self.watch.worker;
        match &self.app {
            Some(app) => app.ended(worker, &answer),
            None => {
                // It was refused at once, so it is only counted.
                let nobody = self.watch.metrics.nobody();
                nobody.begun(worker);
                nobody.ended(worker, &answer);
            }
        }
        if let (Some(asked), Some(log)) = (&self.asked, &self.watch.log)
            && (!self.is_file || log.with_static())
        {
            self.log(asked, log, &answer);
        }
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}
