//! The build context as a tar stream: the files of the commit, straight from git's objects into
//! the engine's connection. Nothing is kept but the piece on its way, so a context of any size
//! costs the same memory. `git cat-file --batch` delivers the contents, because it streams a
//! large blob where gix holds it whole.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio_tar::{Builder, EntryType, Header};
use tokio_util::io::ReaderStream;

use crate::checkout::{Checkout, File, FileKind, Source};
use crate::dockerignore::DockerIgnore;

/// Bytes on their way between git and the engine.
const PIPE: usize = 64 * 1024;

/// Streams the context: every file that `ignore` lets through, `always` in any case, and the
/// `generated` files. A failure ends the stream with its error, so that the engine never builds
/// from half a context.
pub(crate) fn stream_context(
    checkout: Checkout,
    ignore: DockerIgnore,
    always: Vec<String>,
    generated: Vec<(String, String)>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (writer, reader) = tokio::io::duplex(PIPE);
    let mut packing = tokio::task::JoinSet::new();
    packing.spawn(async move {
        let wanted = |file: &&File| {
            always.iter().any(|path| path.as_bytes() == file.path) || !ignore.ignores(&file.path)
        };
        pack(&checkout, wanted, &generated, writer).await
    });
    // Dropping the stream drops the set, which ends the packing and, with it, git.
    ReaderStream::with_capacity(reader, PIPE).chain(stream::once(async move {
        match packing.join_next().await {
            Some(Ok(Ok(()))) | None => Ok(Bytes::new()),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(error)) => Err(io::Error::other(error)),
        }
    }))
}

async fn pack(
    checkout: &Checkout,
    wanted: impl Fn(&&File) -> bool,
    generated: &[(String, String)],
    writer: impl AsyncWrite + Unpin + Send + 'static,
) -> io::Result<()> {
    let mut tar = Builder::new_non_terminated(writer);
    let Source::Repository(repository) = &checkout.source else {
        return Err(io::Error::other(
            "only a commit can be streamed as a context",
        ));
    };
    let mut blobs = Blobs::open(repository)?;
    for file in checkout.files.iter().filter(wanted) {
        let size = blobs.seek(&file.blob).await?;
        let path = Path::new(std::ffi::OsStr::from_bytes(&file.path));
        let mut header = header(file.kind, size, checkout.time);
        if file.kind == FileKind::Link {
            let mut target = vec![0; usize::try_from(size.min(4096)).unwrap_or(4096)];
            blobs.output.read_exact(&mut target).await?;
            header.set_size(0);
            header.set_link_name(std::ffi::OsStr::from_bytes(&target)).map_err(|error| {
                io::Error::new(error.kind(), format!("the symbolic link `{}` has a target that does not fit into a tar archive: {error}", path.display()))
            })?;
            tar.append_data(&mut header, path, tokio::io::empty())
                .await?;
        } else {
            tar.append_data(&mut header, path, (&mut blobs.output).take(size))
                .await?;
        }
        blobs.end().await?;
    }
    for (path, text) in generated {
        let mut header = header(FileKind::Plain, text.len() as u64, checkout.time);
        tar.append_data(&mut header, path, text.as_bytes()).await?;
    }
    tar.finish().await?;
    tar.into_inner().await?.shutdown().await
}

fn header(kind: FileKind, size: u64, time: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size);
    header.set_mtime(time);
    header.set_mode(if kind == FileKind::Plain {
        0o644
    } else {
        0o755
    });
    header.set_entry_type(if kind == FileKind::Link {
        EntryType::Symlink
    } else {
        EntryType::Regular
    });
    header
}

/// Contents by id, one after the other, from one git process.
struct Blobs {
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Blobs {
    #[expect(
        clippy::disallowed_methods,
        reason = "reads objects: fixed arguments, ids on standard input, emptied environment"
    )]
    fn open(repository: &Path) -> io::Result<Blobs> {
        // git compares with the real path.
        let real = repository.canonicalize()?;
        let mut child = tokio::process::Command::new("git")
            .args(["-c", "core.bigFileThreshold=1m", "-c"])
            .arg(format!("safe.directory={}", real.display()))
            .args(["cat-file", "--batch"])
            .current_dir(repository)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("GIT_DIR", repository)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::other("git started without its pipes");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = BufReader::with_capacity(PIPE, child.stdout.take().ok_or_else(missing)?);
        Ok(Blobs {
            _child: child,
            input,
            output,
        })
    }

    /// Asks for a blob; its content is what `output` gives next. Returns its size.
    async fn seek(&mut self, blob: &str) -> io::Result<u64> {
        self.input.write_all(format!("{blob}\n").as_bytes()).await?;
        self.input.flush().await?;
        let mut line = String::new();
        self.output.read_line(&mut line).await?;
        // `<id> blob <size>`, or `<id> missing`
        match line.trim_end().split(' ').collect::<Vec<_>>()[..] {
            [_, "blob", size] => size.parse().map_err(io::Error::other),
            _ => Err(io::Error::other(format!(
                "git has no blob `{blob}`: {}",
                line.trim_end()
            ))),
        }
    }

    /// The line end after a content.
    async fn end(&mut self) -> io::Result<()> {
        match self.output.read_u8().await? {
            b'\n' => Ok(()),
            other => Err(io::Error::other(format!(
                "expected the end of a blob from git, found byte {other}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests;
