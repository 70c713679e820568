//! Apps for tests: a thread for each connection, which reads whole requests and writes what the
//! test says, byte for byte.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
    /// Which request on its connection, from 0.
    pub number: usize,
}

impl Seen {
    /// The values of a field.
    pub fn field(&self, name: &str) -> Vec<&str> {
        fields(&self.head, name)
    }

    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }
}

/// What happens to the connection after an answer.
#[derive(PartialEq, Eq)]
pub enum Next {
    Keep,
    Close,
}

/// A running app.
pub struct Backend {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Backend {
    /// An app that answers each request through `answer`.
    pub fn start(
        answer: impl Fn(&Seen, &mut TcpStream) -> Next + Send + Sync + 'static,
    ) -> Backend {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let log = seen.clone();
        let address = raw(move |stream| {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut stream = stream;
            for number in 0.. {
                let Some(request) = read_request(&mut reader, number) else {
                    return;
                };
                log.lock().unwrap().push(request.clone());
                if answer(&request, &mut stream) == Next::Close {
                    return;
                }
            }
        });
        Backend { address, seen }
    }

    /// An app that says the same to everybody and keeps connections open.
    pub fn saying(text: &'static str) -> Backend {
        Backend::start(move |_, stream| {
            write_whole(stream, text);
            Next::Keep
        })
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// An app that does as it likes with each connection.
pub fn raw(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = serve.clone();
            let stream = stream.unwrap();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// An address where nobody listens.
pub fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Writes a whole answer.
pub fn write_whole(stream: &mut TcpStream, text: &str) {
    let length = text.len();
    // The edge may have left already; the test sees that elsewhere.
    let _ = stream.write_all(
        format!("HTTP/1.1 200 OK\r\nServer: test\r\nContent-Length: {length}\r\n\r\n{text}")
            .as_bytes(),
    );
}

/// The values of a field in a head.
pub fn fields<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

/// Reads up to and including the empty line; `None` at the end of the stream.
pub fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// Reads a body in chunks up to its last one.
pub fn read_chunked(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let size = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

pub fn read_request(reader: &mut impl BufRead, number: usize) -> Option<Seen> {
    let head = read_head(reader)?;
    let body = if !fields(&head, "transfer-encoding").is_empty() {
        read_chunked(reader)?
    } else {
        let length = fields(&head, "content-length");
        let mut body = vec![0; length.first().map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut body).ok()?;
        body
    };
    Some(Seen { head, body, number })
}
