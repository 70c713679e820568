//! A body that is here to its last byte, on its way to the app.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::SpoolFile;
use crate::file_body::FileBody;
use crate::request_body::Progress;

/// The body.
pub(crate) enum Whole {
    Memory(Bytes),
    File(FromFile),
}

/// A body that is read from its file as the app takes it.
pub(crate) struct FromFile {
    reading: FileBody,
    progress: Rc<Progress>,
    /// Held until the end; dropped after `reading`, so that its close is the last one.
    _file: SpoolFile,
}

impl Whole {
    pub(super) fn file(file: SpoolFile, progress: Rc<Progress>) -> Whole {
        let Some((open, _)) = &file.open else {
            return Whole::Memory(Bytes::new());
        };
        Whole::File(FromFile {
            reading: FileBody::shared(open.clone(), 0..file.length),
            progress,
            _file: file,
        })
    }

    /// Bytes not yet handed out.
    pub(crate) fn left(&self) -> u64 {
        match self {
            Whole::Memory(bytes) => bytes.len() as u64,
            Whole::File(file) => file.reading.left(),
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match self {
            Whole::Memory(bytes) if bytes.is_empty() => Poll::Ready(None),
            Whole::Memory(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Whole::File(file) => {
                let piece = file.reading.poll(cx);
                if piece.is_ready() {
                    // The app took the piece before: its time begins anew.
                    file.progress.moved();
                }
                piece
            }
        }
    }
}
