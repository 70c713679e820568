//! Taking over from the edge that runs: the other side of `handover`. The edge before ends by
//! itself with its last visitor (`predecessors`).

use std::fs::File;
use std::io::{self, Seek, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use zarpar_control::{EdgeReply, EdgeRequest, Handed};

use crate::descriptors;
use crate::error::EdgeError;

/// What the edge that runs may take for an answer. It may be handing over to a third one.
const PATIENCE: Duration = Duration::from_secs(15);

/// What an edge got from the one before.
#[derive(Debug)]
pub struct TakenOver {
    /// Where visitors come in.
    pub visitors: Vec<TcpListener>,
    /// Where the control plane comes in.
    pub control: UnixListener,
    /// For [`crate::run`].
    pub succession: Succession,
}

/// What makes an edge one of a row: the lock of the data folder, which it hands on, and the edge
/// before it, when one is still there.
#[derive(Debug, Default)]
pub struct Succession {
    /// Its text is the process id of the edge that accepts.
    lock: Option<File>,
    before: Option<UnixStream>,
    /// Those that handed over earlier and still have visitors.
    earlier: Vec<UnixStream>,
    /// Of the table in force at the edge before.
    generation: u64,
    /// Of the edge before, for messages.
    pid: String,
}

impl Succession {
    /// That of an edge that is the first one.
    pub fn first(lock: File) -> Succession {
        Succession {
            lock: Some(lock),
            ..Succession::default()
        }
    }

    /// Writes our process id where people and messages look for it.
    pub(crate) fn sign(lock: &mut File) -> io::Result<()> {
        lock.set_len(0)?;
        lock.rewind()?;
        write!(lock, "{}", std::process::id())
    }

    /// The oldest table to start from, when an edge that serves is to be replaced.
    pub(crate) fn generation(&self) -> Option<u64> {
        self.before.is_some().then_some(self.generation)
    }

    /// The process id of the edge before, for messages.
    pub(crate) fn pid(&self) -> &str {
        &self.pid
    }

    /// The lock, and the connections to the edges before, the last one first.
    pub(crate) fn split(self) -> (Option<File>, Vec<UnixStream>) {
        let edges = self.before.into_iter().chain(self.earlier).collect();
        (self.lock, edges)
    }
}

/// Asks the edge behind `socket` for what it listens on; `None` when there is no edge. It serves
/// on until [`crate::run`] tells it that we do.
///
/// # Errors
/// [`EdgeError::HandOver`] when it is there and does not hand over.
pub fn take_over(socket: &Path) -> Result<Option<TakenOver>, EdgeError> {
    let began = Instant::now();
    // Until it says so itself; the lock stands beside the socket.
    let mut pid = format!("$(cat {})", socket.with_extension("lock").display());
    loop {
        let Ok(stream) = UnixStream::connect(socket) else {
            return Ok(None);
        };
        match ask(stream, &mut pid) {
            Ok(mut taken) => {
                taken.succession.pid = pid;
                return Ok(Some(taken));
            }
            // It handed over to another one, or ended, in this instant.
            Err(Failure::Closed) if began.elapsed() < PATIENCE => {
                thread::park_timeout(Duration::from_millis(20));
            }
            Err(Failure::Closed) => {
                let reason = "it closes the connection".to_owned();
                return Err(EdgeError::HandOver { pid, reason });
            }
            Err(Failure::Because(reason)) => return Err(EdgeError::HandOver { pid, reason }),
        }
    }
}

enum Failure {
    Closed,
    Because(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof => Failure::Closed,
            io::ErrorKind::WouldBlock => Failure::Because(format!(
                "it does not answer within {} seconds",
                PATIENCE.as_secs()
            )),
            _ => Failure::Because(error.to_string()),
        }
    }
}

fn ask(mut stream: UnixStream, pid: &mut String) -> Result<TakenOver, Failure> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let generation = match exchange(&mut stream, &EdgeRequest::Status)? {
        (EdgeReply::Status(status), _) => {
            *pid = status.pid.to_string();
            status.generation
        }
        (other, _) => return Err(Failure::Because(format!("it answers `{other:?}`"))),
    };
    let (kinds, descriptors) = match exchange(&mut stream, &EdgeRequest::HandOver)? {
        (EdgeReply::HandingOver { descriptors: kinds }, descriptors) => (kinds, descriptors),
        // An older version, which does not know the word.
        (EdgeReply::Refused { text }, _) => return Err(Failure::Because(text)),
        (other, _) => return Err(Failure::Because(format!("it answers `{other:?}`"))),
    };
    if kinds.len() != descriptors.len() {
        let (said, came) = (kinds.len(), descriptors.len());
        return Err(Failure::Because(format!(
            "it announces {said} descriptors and {came} came"
        )));
    }
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    sort(kinds.into_iter().zip(descriptors), stream, generation)
}

fn sort(
    handed: impl Iterator<Item = (Handed, OwnedFd)>,
    before: UnixStream,
    generation: u64,
) -> Result<TakenOver, Failure> {
    let mut visitors = Vec::new();
    let mut control = None;
    let mut lock = None;
    let mut earlier = Vec::new();
    for (kind, descriptor) in handed {
        match kind {
            Handed::Visitors => visitors.push(TcpListener::from(descriptor)),
            Handed::Control => control = Some(UnixListener::from(descriptor)),
            Handed::Lock => lock = Some(File::from(descriptor)),
            Handed::Earlier => earlier.push(UnixStream::from(descriptor)),
        }
    }
    let control =
        control.ok_or_else(|| Failure::Because("its control socket is missing".to_owned()))?;
    Ok(TakenOver {
        visitors,
        control,
        succession: Succession {
            lock,
            before: Some(before),
            earlier,
            generation,
            pid: String::new(),
        },
    })
}

fn exchange(
    stream: &mut UnixStream,
    request: &EdgeRequest,
) -> Result<(EdgeReply, Vec<OwnedFd>), Failure> {
    let mut line = serde_json::to_vec(request).map_err(io::Error::from)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let (line, descriptors) = descriptors::receive(stream)?.ok_or(Failure::Closed)?;
    let reply = serde_json::from_slice(&line).map_err(io::Error::from)?;
    Ok((reply, descriptors))
}
