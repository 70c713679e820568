//! A git service over the control socket: after [`crate::Frame::Open`] the connection carries
//! git's bytes. The client's are git's standard input as they are, to the end of its half. The
//! server's come in pieces, `[kind: u8][length: u32, big-endian][bytes]`, because there are two
//! outputs and an exit code.

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest piece in bytes.
pub const MAX_PIECE: usize = 64 * 1024;

/// The two services of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GitService {
    /// A push.
    ReceivePack,
    /// A fetch or clone.
    UploadPack,
}

/// The version of git's protocol that a client wishes for (gitprotocol-v2(5)); the text that
/// git's own variable has reaches no process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GitProtocol {
    /// The first one.
    V0,
    /// The first one, and it says so.
    V1,
    /// Fetches ask for what they want to know.
    V2,
}

impl GitProtocol {
    /// Reads the value of `GIT_PROTOCOL`; anything else than the three versions counts as none.
    pub fn from_variable(text: &str) -> Option<GitProtocol> {
        match text {
            "version=0" => Some(GitProtocol::V0),
            "version=1" => Some(GitProtocol::V1),
            "version=2" => Some(GitProtocol::V2),
            _ => None,
        }
    }

    /// The value of `GIT_PROTOCOL`.
    pub fn variable(self) -> &'static str {
        match self {
            GitProtocol::V0 => "version=0",
            GitProtocol::V1 => "version=1",
            GitProtocol::V2 => "version=2",
        }
    }
}

/// One piece of what git says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GitPiece<'b> {
    /// For standard output.
    Out(&'b [u8]),
    /// For standard error.
    Err(&'b [u8]),
    /// The end, with the exit code.
    Exit(u8),
}

/// Writes a piece of at most [`MAX_PIECE`] bytes.
///
/// # Errors
/// When the peer is gone, or the piece is too long.
pub async fn write_piece(
    writer: &mut (impl AsyncWrite + Unpin),
    piece: GitPiece<'_>,
) -> io::Result<()> {
    let code;
    let (kind, bytes) = match piece {
        GitPiece::Out(bytes) => (1, bytes),
        GitPiece::Err(bytes) => (2, bytes),
        GitPiece::Exit(exit) => {
            code = u32::from(exit).to_be_bytes();
            (3, &code[..])
        }
    };
    if bytes.len() > MAX_PIECE {
        return Err(io::Error::other("a piece of git's output is too long"));
    }
    let [a, b, c, d] = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    writer.write_all(&[kind, a, b, c, d]).await?;
    writer.write_all(bytes).await
}

/// Reads the next piece into `buffer`.
///
/// # Errors
/// When the peer went away before the exit code, or sent what is no piece.
pub async fn read_piece<'b>(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &'b mut Vec<u8>,
) -> io::Result<GitPiece<'b>> {
    let mut head = [0; 5];
    reader.read_exact(&mut head).await?;
    let [kind, length @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "not a piece of git's output");
    if length > MAX_PIECE {
        return Err(wrong());
    }
    buffer.resize(length, 0);
    reader.read_exact(buffer).await?;
    match (kind, &buffer[..]) {
        (1, bytes) => Ok(GitPiece::Out(bytes)),
        (2, bytes) => Ok(GitPiece::Err(bytes)),
        (3, [0, 0, 0, code]) => Ok(GitPiece::Exit(*code)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn pieces_come_out_as_they_went_in() {
        let mut wire = Vec::new();
        let long = vec![7; MAX_PIECE];
        for piece in [
            GitPiece::Out(&long),
            GitPiece::Err(b"e"),
            GitPiece::Out(b""),
            GitPiece::Exit(128),
        ] {
            write_piece(&mut wire, piece).await.unwrap();
        }
        let mut reader = &wire[..];
        let mut buffer = Vec::new();
        assert_eq!(
            read_piece(&mut reader, &mut buffer).await.unwrap(),
            GitPiece::Out(&long)
        );
        assert_eq!(
            read_piece(&mut reader, &mut buffer).await.unwrap(),
            GitPiece::Err(b"e")
        );
        assert_eq!(
            read_piece(&mut reader, &mut buffer).await.unwrap(),
            GitPiece::Out(b"")
        );
        assert_eq!(
            read_piece(&mut reader, &mut buffer).await.unwrap(),
            GitPiece::Exit(128)
        );
        assert!(read_piece(&mut reader, &mut buffer).await.is_err());
    }

    #[tokio::test]
    async fn what_is_no_piece_is_refused() {
        for wire in [
            &[9, 0, 0, 0, 0][..],
            &[1, 255, 255, 255, 255],
            &[3, 0, 0, 0, 1, 0],
            &[1, 0, 0, 0, 5, 0],
        ] {
            let mut reader = wire;
            assert!(
                read_piece(&mut reader, &mut Vec::new()).await.is_err(),
                "{wire:?}"
            );
        }
        let long = vec![0; MAX_PIECE + 1];
        assert!(
            write_piece(&mut Vec::new(), GitPiece::Out(&long))
                .await
                .is_err()
        );
    }

    #[test]
    fn only_the_three_versions_are_known() {
        for version in [GitProtocol::V0, GitProtocol::V1, GitProtocol::V2] {
            assert_eq!(
                GitProtocol::from_variable(version.variable()),
                Some(version)
            );
        }
        for other in ["", "version=3", "version=2:x", "version=2\nA=b"] {
            assert_eq!(GitProtocol::from_variable(other), None);
        }
    }
}
