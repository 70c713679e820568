//! A file as a body, in pieces. What the page cache holds is read on the worker itself without
//! ever waiting (`RWF_NOWAIT`); what must come from the disk is read on a blocking thread.

use std::fs::File;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use rustix::io::{ReadWriteFlags, preadv2};
use tokio::task::{JoinHandle, spawn_blocking};

/// The size of a piece: all a worker holds of a file for one visitor.
const PIECE: u64 = 64 * 1024;

/// Part of a file, read as it is sent.
pub(crate) struct FileBody {
    file: Arc<File>,
    position: u64,
    left: u64,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl FileBody {
    pub(crate) fn new(file: File, part: Range<u64>) -> FileBody {
        FileBody::shared(Arc::new(file), part)
    }

    /// For a file that another holds too.
    pub(crate) fn shared(file: Arc<File>, part: Range<u64>) -> FileBody {
        FileBody {
            file,
            position: part.start,
            left: part.end.saturating_sub(part.start),
            reading: None,
        }
    }

    /// Bytes not yet handed out.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = match &mut self.reading {
            None => match self.read_cached() {
                Some(piece) => piece,
                None => {
                    let (file, position, length) = (self.file.clone(), self.position, self.piece());
                    let reading = spawn_blocking(move || read(&file, position, length));
                    self.reading = Some(reading);
                    return self.poll(cx);
                }
            },
            Some(reading) => {
                let read = std::task::ready!(Pin::new(reading).poll(cx));
                self.reading = None;
                match read.map_err(io::Error::other).and_then(|read| read) {
                    Ok(piece) => piece,
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
        };
        if piece.is_empty() {
            // Cut while it was sent; the promised length cannot be kept.
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        self.position += piece.len() as u64;
        self.left -= piece.len() as u64;
        Poll::Ready(Some(Ok(Bytes::from(piece))))
    }

    /// A piece when it is in memory; `None` also when the file system cannot say.
    fn read_cached(&self) -> Option<Vec<u8>> {
        let mut piece = vec![0; self.piece()];
        let into = &mut [IoSliceMut::new(&mut piece)];
        let read = preadv2(&*self.file, into, self.position, ReadWriteFlags::NOWAIT).ok()?;
        piece.truncate(read);
        Some(piece)
    }

    fn piece(&self) -> usize {
        // At most 64 KiB.
        usize::try_from(self.left.min(PIECE)).unwrap_or(usize::MAX)
    }
}

fn read(file: &File, position: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; length];
    let read = file.read_at(&mut piece, position)?;
    piece.truncate(read);
    Ok(piece)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_part_comes_in_pieces_and_a_cut_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();

        let mut body = FileBody::new(File::open(&path).unwrap(), 5..150_000);
        let mut read = Vec::new();
        while let Some(piece) = std::future::poll_fn(|cx| body.poll(cx)).await {
            let piece = piece.unwrap();
            assert!(piece.len() as u64 <= PIECE);
            read.extend_from_slice(&piece);
        }
        assert_eq!(read, content[5..150_000]);

        let mut body = FileBody::new(File::open(&path).unwrap(), 199_999..200_001);
        let mut next = async || std::future::poll_fn(|cx| body.poll(cx)).await.unwrap();
        assert_eq!(next().await.unwrap().len(), 1);
        assert!(next().await.is_err());
    }
}
