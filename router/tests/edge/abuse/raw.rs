//! HTTP/2 by hand, byte for byte, because no honest library sends what is sent here.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::process::EdgeProcess;
use crate::tls::config;
use crate::world::PATIENCE;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const INITIAL_WINDOW_SIZE: u16 = 4;

/// Between two writes of a flood: edge, attacker and normal client share two processors, and
/// what is measured is the edge, not who gets them.
pub const BREATH: Duration = Duration::from_millis(2);

/// The way in with TLS.
#[derive(Clone)]
pub struct Door {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    /// Bytes the system takes for us while we do not read.
    receive: Option<u32>,
}

impl Door {
    pub fn new(edge: &EdgeProcess, alpn: &str) -> Door {
        Door {
            address: edge.https,
            config: config(&edge.certificate, &[alpn], &[&TLS13]),
            receive: None,
        }
    }

    /// For visitors whose system takes little for them.
    pub fn narrow(&self) -> Door {
        Door {
            receive: Some(16 * 1024),
            ..self.clone()
        }
    }

    pub async fn enter(&self) -> io::Result<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        if let Some(receive) = self.receive {
            socket.set_recv_buffer_size(receive)?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("a.test").unwrap();
        let connector = TlsConnector::from(self.config.clone());
        timeout(PATIENCE, connector.connect(name, stream)).await?
    }

    /// The first flight of a handshake.
    pub fn hello(&self) -> Vec<u8> {
        let name = ServerName::try_from("a.test").unwrap();
        let mut tls = rustls::ClientConnection::new(self.config.clone(), name).unwrap();
        let mut bytes = Vec::new();
        tls.write_tls(&mut bytes).unwrap();
        bytes
    }
}

/// What a connection begins with.
pub fn preface(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &payload));
    bytes
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The streams a client may open, in their order.
pub fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

/// The fields every request has, compressed (RFC 7541): `method` is 2 for GET and 3 for POST.
pub fn fields(method: u8, path: &str) -> Vec<u8> {
    let mut block = vec![0x80 | method, 0x87];
    for (name, value) in [(1, "a.test"), (4, path)] {
        block.push(name);
        text(&mut block, value);
    }
    block
}

/// A field that is kept in the dynamic table as its newest.
pub fn kept_field(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0x40];
    text(&mut block, name);
    text(&mut block, value);
    block
}

/// The newest field of the dynamic table once more, in one byte.
pub const AGAIN: u8 = 0x80 | 62;

fn text(block: &mut Vec<u8>, text: &str) {
    let Some(mut rest) = text.len().checked_sub(127) else {
        block.push(u8::try_from(text.len()).unwrap());
        block.extend(text.as_bytes());
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
    block.extend(text.as_bytes());
}

/// Sends `first` and then what `next` says until the edge hangs up, reading what it answers.
pub async fn flood<S: AsyncRead + AsyncWrite>(
    stream: S,
    first: Vec<u8>,
    mut next: impl FnMut() -> Vec<u8>,
) {
    let (mut reader, mut writer) = split(stream);
    let write = async {
        let mut bytes = first;
        while writer.write_all(&bytes).await.is_ok() && writer.flush().await.is_ok() {
            bytes = next();
            sleep(BREATH).await;
        }
    };
    tokio::select! {
        () = write => {}
        () = hung_up(&mut reader) => {}
    }
}

/// The kind and flags of the next frame; `None` when the edge hung up.
pub async fn next_frame<S: AsyncRead + Unpin>(stream: &mut S) -> Option<(u8, u8)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], head[4]))
}

/// Reads until the edge hangs up.
pub async fn hung_up<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut scrap = vec![0; 16 * 1024];
    while stream.read(&mut scrap).await.is_ok_and(|read| read > 0) {}
}
