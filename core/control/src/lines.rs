//! JSON lines over any byte stream, bounded in length.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// The longest line in bytes. A route table of 1,000 hosts is about 300 kB; output is sent in
/// pieces of 16 KiB.
pub const MAX_LINE: u64 = 8 * 1024 * 1024;

/// A line that could not be exchanged.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The connection.
    #[error("the connection to the zarpar socket broke")]
    Io(#[from] std::io::Error),
    /// A line that is no value of the expected kind, as when two versions talk.
    #[error(
        "not a line of zarpar's protocol: {message}\nhint: do client and server have the same version? `zarpar --version`"
    )]
    Format {
        /// What the JSON reader says.
        message: String,
    },
    /// A line beyond [`MAX_LINE`].
    #[error("a line on the zarpar socket is longer than {MAX_LINE} bytes")]
    TooLong,
}

/// Reads values.
#[derive(Debug)]
pub struct LineReader<R> {
    inner: BufReader<R>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads from `inner`.
    pub fn new(inner: R) -> LineReader<R> {
        LineReader {
            inner: BufReader::new(inner),
            line: Vec::new(),
        }
    }

    /// What it reads from, with what has been read ahead; for what comes after the last line.
    pub fn get_mut(&mut self) -> &mut BufReader<R> {
        &mut self.inner
    }

    /// The next value; `None` when the peer is done. Safe to drop and call again: what was read
    /// of an unfinished line is kept, so it can stand in a `select!`.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LineError> {
        loop {
            let room = MAX_LINE.saturating_sub(self.line.len() as u64);
            if room == 0 {
                return Err(LineError::TooLong);
            }
            // `read_until` appends what it got before it is dropped, which makes it resumable.
            let count = (&mut self.inner)
                .take(room)
                .read_until(b'\n', &mut self.line)
                .await?;
            if self.line.last() == Some(&b'\n') {
                let value = serde_json::from_slice(&self.line);
                self.line.clear();
                self.line.shrink_to(64 * 1024);
                return value.map(Some).map_err(|error| LineError::Format {
                    message: error.to_string(),
                });
            }
            if count == 0 {
                return if self.line.is_empty() {
                    Ok(None)
                } else {
                    Err(LineError::Io(std::io::ErrorKind::UnexpectedEof.into()))
                };
            }
        }
    }
}

/// Writes values.
#[derive(Debug)]
pub struct LineWriter<W> {
    inner: W,
}

impl<W: AsyncWrite + Unpin> LineWriter<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> LineWriter<W> {
        LineWriter { inner }
    }

    /// What it writes to.
    pub fn get_ref(&self) -> &W {
        &self.inner
    }

    /// What it wrote to.
    pub fn into_inner(self) -> W {
        self.inner
    }

    /// What it writes to, for what goes beside the lines.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// Sends one value.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn send<T: Serialize>(&mut self, value: &T) -> Result<(), LineError> {
        let mut line = serde_json::to_vec(value).map_err(|error| LineError::Format {
            message: error.to_string(),
        })?;
        line.push(b'\n');
        if line.len() as u64 > MAX_LINE {
            return Err(LineError::TooLong);
        }
        self.inner.write_all(&line).await?;
        self.inner.flush().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn values_come_out_as_they_went_in() {
        let (a, b) = tokio::io::duplex(7);
        let mut writing = tokio::task::JoinSet::new();
        writing.spawn(async move {
            let mut writer = LineWriter::new(a);
            writer.send(&"uno\ndos").await.unwrap();
            writer.send(&"tres").await.unwrap();
        });
        let mut reader = LineReader::new(b);
        assert_eq!(reader.next::<String>().await.unwrap().unwrap(), "uno\ndos");
        assert_eq!(reader.next::<String>().await.unwrap().unwrap(), "tres");
        assert!(reader.next::<String>().await.unwrap().is_none());
        writing.join_next().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_endless_line_is_refused() {
        let endless = tokio::io::repeat(b'x');
        assert!(matches!(
            LineReader::new(endless).next::<String>().await,
            Err(LineError::TooLong)
        ));
    }

    #[tokio::test]
    async fn a_line_that_stops_in_the_middle_is_an_error() {
        let mut reader = LineReader::new(&b"\"un"[..]);
        assert!(matches!(
            reader.next::<String>().await,
            Err(LineError::Io(_))
        ));
    }

    #[tokio::test]
    async fn a_dropped_read_loses_nothing() {
        let (mut a, b) = tokio::io::duplex(64);
        let mut reader = LineReader::new(b);
        a.write_all(b"\"un").await.unwrap();
        // The first read sees half a line and is dropped.
        tokio::select! {
            biased;
            _ = reader.next::<String>() => panic!("half a line is no value"),
            () = tokio::task::yield_now() => {}
        }
        a.write_all(b"o\"\n").await.unwrap();
        assert_eq!(reader.next::<String>().await.unwrap().unwrap(), "uno");
    }
}
