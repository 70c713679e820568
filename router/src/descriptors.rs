//! Descriptors over a unix socket, each batch with a line that says what they are (`SCM_RIGHTS`,
//! unix(7)). The kernel makes copies of them in the receiving process.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as Blocking;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The most that go with a line (the kernel takes 253).
pub(crate) const MOST: usize = 32;
/// The longest line they go with, in bytes.
const LINE: usize = 4096;

/// Sends the descriptors with the first bytes of `line` and returns how many bytes that were.
pub(crate) async fn send(
    stream: &UnixStream,
    line: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    stream
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(io::Error::other("too many descriptors for one line"));
            }
            let flags = SendFlags::NOSIGNAL;
            Ok(sendmsg(stream, &[IoSlice::new(line)], &mut control, flags)?)
        })
        .await
}

/// Receives one line and what came with it. `None` when the peer closed before the line ended.
pub(crate) fn receive(stream: &Blocking) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut line = Vec::new();
    let mut descriptors = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        // One at a time at the end of the line, or the next line's bytes would be lost.
        let mut byte = [0; 1];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(
            stream,
            &mut [IoSliceMut::new(&mut byte)],
            &mut control,
            flags,
        )?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                descriptors.extend(some);
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        line.extend_from_slice(&byte);
        if line.len() > LINE {
            return Err(io::Error::other("a line longer than expected"));
        }
    }
    Ok(Some((line, descriptors)))
}
