//! An edge on port 0 with its folder and control socket, and a client that speaks bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use zarpar_control::{EdgeReply, EdgeRequest};
use zarpar_router::{
    AccessLog, EdgeConfig, EdgeError, Entrance, Limits, Listeners, Succession, TableSource, bind,
    run, take_over,
};

use crate::backend::{fields, read_chunked, read_head};

/// How long anything may take that should take no time.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Edge {
    pub address: SocketAddr,
    pub https: SocketAddr,
    pub folder: TempDir,
    limits: Limits,
    running: Option<Running>,
    /// Those before it, the oldest first.
    before: Vec<Running>,
}

/// An edge on its thread.
struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: JoinHandle<Result<(), EdgeError>>,
}

impl Edge {
    pub fn start() -> Edge {
        Edge::start_with(Limits::default())
    }

    pub fn start_with(limits: Limits) -> Edge {
        Edge::start_in(tempfile::tempdir().unwrap(), limits)
    }

    pub fn start_in(folder: TempDir, limits: Limits) -> Edge {
        Edge::start_logging(folder, limits, None)
    }

    pub fn start_logging(folder: TempDir, limits: Limits, access_log: Option<AccessLog>) -> Edge {
        let http = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let https = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let socket = folder.path().join("router.sock");
        // Left by the edge before.
        let _ = std::fs::remove_file(&socket);
        let control = UnixListener::bind(socket).unwrap();
        let mut config = config(&folder, &limits);
        config.access_log = access_log;
        Edge {
            address: http.local_addr().unwrap(),
            https: https.local_addr().unwrap(),
            folder,
            limits,
            running: Some(Running::start(
                config,
                Listeners {
                    http,
                    https: Some(https),
                },
                control,
                Succession::default(),
            )),
            before: Vec::new(),
        }
    }

    /// Another edge takes over; this returns when it did.
    pub fn replace(&mut self) {
        let next = self.successor();
        self.before.extend(self.running.replace(next));
        while self.identity() != self.before.len().to_string() {
            std::thread::yield_now();
        }
    }

    /// The same with an edge that ends at once.
    pub fn try_replace(&mut self) -> Result<(), EdgeError> {
        self.successor().thread.join().unwrap()
    }

    fn successor(&self) -> Running {
        let taken = take_over(&self.socket()).unwrap().unwrap();
        let mut entrance = Entrance::default();
        entrance.extend(taken.visitors);
        let mut config = config(&self.folder, &self.limits);
        let number = self.before.len() + 1;
        config.identity = number.to_string();
        let listeners = Listeners {
            http: entrance.open(self.address).unwrap(),
            https: Some(entrance.open(self.https).unwrap()),
        };
        Running::start(config, listeners, taken.control, taken.succession)
    }

    pub fn identity(&self) -> String {
        match self.ask(&EdgeRequest::Status) {
            EdgeReply::Status(status) => status.identity,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until all edges before this one have ended by themselves.
    pub fn alone(&mut self) {
        for before in self.before.drain(..) {
            before.thread.join().unwrap().unwrap();
        }
    }

    /// An edge whose host `a.test` leads to these targets.
    pub fn with_targets(targets: &[SocketAddr]) -> Edge {
        let edge = Edge::start();
        edge.apply(1, json!([route(targets)]));
        edge
    }

    pub fn apply(&self, generation: u64, routes: Value) {
        let reply = self.ask_apply(generation, routes);
        assert_eq!(reply, EdgeReply::Applied { generation });
    }

    pub fn ask_apply(&self, generation: u64, routes: Value) -> EdgeReply {
        let table = serde_json::from_value(json!({"generation": generation, "routes": routes}));
        self.ask(&EdgeRequest::Apply {
            table: table.unwrap(),
        })
    }

    /// The requests targets still hold after at most `limit`.
    pub fn drain(&self, target: SocketAddr, limit: Duration) -> u64 {
        let request = EdgeRequest::WaitDrained {
            targets: vec![target],
            timeout_ms: u64::try_from(limit.as_millis()).unwrap(),
        };
        match self.ask(&request) {
            EdgeReply::Drained { remaining } => remaining.iter().map(|load| load.requests).sum(),
            other => panic!("{other:?}"),
        }
    }

    pub fn ask(&self, request: &EdgeRequest) -> EdgeReply {
        let mut line = serde_json::to_vec(request).unwrap();
        line.push(b'\n');
        self.say(&line)
    }

    /// Sends a line to the control socket as it is.
    pub fn say(&self, line: &[u8]) -> EdgeReply {
        // Closed without a word: the edge just handed over, and the next one answers.
        loop {
            let mut socket = UnixStream::connect(self.socket()).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let said = socket.write_all(line);
            let mut reply = String::new();
            let heard = BufReader::new(socket).read_line(&mut reply);
            if said.is_ok() && heard.is_ok() && !reply.is_empty() {
                return serde_json::from_str(&reply).unwrap();
            }
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("router.sock")
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    pub fn ask_http(&self, request: &str) -> Answer {
        let mut client = self.client();
        client.send(request);
        client.answer_to(request)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, "")
    }

    /// GET with more fields, each ending in a line break.
    pub fn get_with(&self, path: &str, fields: &str) -> Answer {
        self.ask_http(&format!(
            "GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"
        ))
    }

    /// Begins the shutdown.
    pub fn begin_stop(&mut self) {
        let running = self.running.as_mut().unwrap();
        running.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the end of the shutdown.
    pub fn stopped(&mut self) -> Result<(), EdgeError> {
        self.running.take().unwrap().thread.join().unwrap()
    }
}

fn config(folder: &TempDir, limits: &Limits) -> EdgeConfig {
    let mut config = EdgeConfig::new(
        TableSource::Kept(folder.path().join("edge/table.json")),
        folder.path().join("certificates"),
        folder.path().join("edge/uploads"),
    );
    config.workers = 2;
    config.limits = limits.clone();
    config
}

impl Running {
    fn start(
        config: EdgeConfig,
        listeners: Listeners,
        control: UnixListener,
        succession: Succession,
    ) -> Running {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            run(config, listeners, control, succession, async {
                let _ = stopped.await;
            })
        });
        Running {
            stop: Some(stop),
            thread,
        }
    }
}

/// A route of `a.test`.
pub fn route(targets: &[SocketAddr]) -> Value {
    json!({"app": "a", "release": "v1", "hosts": ["a.test"], "targets": targets})
}

pub struct Client {
    pub stream: TcpStream,
    pub reader: BufReader<TcpStream>,
}

/// An answer read to its end.
#[derive(Debug)]
pub struct Answer {
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let all = fields(&self.head, name);
        assert!(all.len() <= 1, "{name} twice in {}", self.head);
        all.first().copied()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Client { stream, reader }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// The next answer, as one to `request`.
    pub fn answer_to(&mut self, request: &str) -> Answer {
        self.try_answer(request.starts_with("HEAD"))
            .expect("an answer")
    }

    pub fn answer(&mut self) -> Answer {
        self.try_answer(false).expect("an answer")
    }

    pub fn head(&mut self) -> String {
        read_head(&mut self.reader).expect("the head of an answer")
    }

    /// `None` when the connection ends before or in the answer.
    pub fn try_answer(&mut self, is_head: bool) -> Option<Answer> {
        read_answer(&mut self.reader, is_head)
    }

    /// Asserts that nothing more comes and the connection ends.
    pub fn expect_end(&mut self) {
        let mut rest = Vec::new();
        let ended = self.reader.read_to_end(&mut rest);
        let reset = ended
            .as_ref()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(ended.is_ok() || reset, "{ended:?}");
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    pub fn close(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Reads an answer, to a HEAD or not; `None` when the stream ends before or in it.
pub fn read_answer(reader: &mut impl BufRead, is_head: bool) -> Option<Answer> {
    let head = read_head(reader)?;
    let length: Option<usize> = fields(&head, "content-length")
        .first()
        .map(|length| length.parse().unwrap());
    let bodiless = is_head || head.starts_with("HTTP/1.1 304") || head.starts_with("HTTP/1.1 204");
    let body = if bodiless {
        Vec::new()
    } else if !fields(&head, "transfer-encoding").is_empty() {
        read_chunked(reader)?
    } else if let Some(length) = length {
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        body
    } else {
        let mut body = Vec::new();
        reader.read_to_end(&mut body).ok()?;
        body
    };
    Some(Answer { head, body })
}
