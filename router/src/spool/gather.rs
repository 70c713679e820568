//! Reads a body to its end. What came with the head goes on as it is, without a copy; more is
//! gathered in memory, and what is more than that in a file.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use tokio::task::coop::consume_budget;

use super::piece::Piece;
use super::{Spool, SpoolError, SpoolFile, Whole};
use crate::pages::Page;
use crate::request_body::{Progress, RequestBody, RequestBodyError};

/// Why a body is not whole.
enum GatherError {
    Visitor(RequestBodyError),
    NoRoom(SpoolError),
}

/// The same body once its last byte is here.
pub(crate) async fn gather(
    mut body: RequestBody,
    spool: &Arc<Spool>,
    progress: &Rc<Progress>,
) -> Result<RequestBody, Page> {
    let gathered = match next(&mut body).await {
        Ok(None) => return Ok(RequestBody::empty()),
        Ok(Some(first)) if body.is_end_stream() => Ok(Whole::Memory(first)),
        // Apart, so that other requests do not carry its state.
        Ok(Some(first)) => Box::pin(rest(first, body, spool, progress)).await,
        Err(error) => Err(GatherError::Visitor(error)),
    };
    match gathered {
        Ok(whole) => Ok(RequestBody::whole(whole)),
        Err(GatherError::Visitor(error)) => Err(error.page()),
        Err(GatherError::NoRoom(error)) => {
            spool.complain(&error);
            Err(Page::NoRoom)
        }
    }
}

async fn rest(
    first: Bytes,
    mut body: RequestBody,
    spool: &Arc<Spool>,
    progress: &Rc<Progress>,
) -> Result<Whole, GatherError> {
    let mut piece = Piece::new(spool.in_memory, spool.memory.hold());
    let mut file = None;
    let mut frame = Some(first);
    while let Some(mut data) = frame {
        // Tiny frames can be there by the thousand; others have their turn between them.
        consume_budget().await;
        loop {
            piece.fill(&mut data);
            if data.is_empty() {
                break;
            }
            file = Some(spill(spool, file, &mut piece, &mut data).await?);
        }
        // Even when all of it was taken it keeps the buffer it was read into.
        drop(data);
        frame = if body.is_end_stream() {
            None
        } else {
            next(&mut body).await?
        };
    }
    let Some(file) = file else {
        return Ok(Whole::Memory(Bytes::from_owner(piece)));
    };
    let file = if piece.is_empty() {
        file
    } else {
        spool.append(Some(file), piece).await?.0
    };
    Ok(Whole::file(file, progress.clone()))
}

/// Makes room in a full piece. One that got no memory at all lets `data` through as it is.
async fn spill(
    spool: &Arc<Spool>,
    file: Option<SpoolFile>,
    piece: &mut Piece,
    data: &mut Bytes,
) -> Result<SpoolFile, SpoolError> {
    if piece.is_empty() {
        let (file, _) = spool.append(file, std::mem::take(data)).await?;
        return Ok(file);
    }
    let nothing = Piece::new(0, spool.memory.hold());
    let full = std::mem::replace(piece, nothing);
    let (file, mut emptied) = spool.append(file, full).await?;
    emptied.clear();
    *piece = emptied;
    Ok(file)
}

async fn next(body: &mut RequestBody) -> Result<Option<Bytes>, RequestBodyError> {
    let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
    // A body has no other frames: its trailers end in it.
    Ok(frame.transpose()?.and_then(|frame| frame.into_data().ok()))
}

impl From<RequestBodyError> for GatherError {
    fn from(error: RequestBodyError) -> GatherError {
        GatherError::Visitor(error)
    }
}

impl From<SpoolError> for GatherError {
    fn from(error: SpoolError) -> GatherError {
        GatherError::NoRoom(error)
    }
}
