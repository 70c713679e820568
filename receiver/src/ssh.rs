//! The SSH road's end on the server: one service of git, all of its dialogue on one connection.
//! Who came, and whether they may, is known by now. Permits and tasks are those of smart HTTP,
//! so both roads together have one bound.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use zarpar_control::{GitPiece, GitProtocol, GitService, write_piece};
use zarpar_model::AppName;

use crate::exchange::{Outputs, PIECES, exchange};
use crate::git::{Dialogue, GitError, Service};
use crate::receives::Served;
use crate::smart_http::ReceiverState;

/// A push or fetch that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Visit<'v> {
    /// The app, which exists.
    pub app: &'v AppName,
    /// Which of the two.
    pub service: GitService,
    /// The version of the protocol that the client wishes for.
    pub protocol: Option<GitProtocol>,
    /// Who asks, as it will stand in deployments.
    pub by: &'v str,
}

/// Why git was not started.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// As many as may be are at work.
    #[error("too many pushes and fetches at once\nhint: try again in some seconds")]
    Busy,
    /// git does not start.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// A service that has been started.
pub struct Session {
    served: Served,
    permit: OwnedSemaphorePermit,
}

impl ReceiverState {
    /// Starts a service.
    ///
    /// # Errors
    /// [`VisitError`].
    pub fn visit(&self, visit: Visit<'_>) -> Result<Session, VisitError> {
        let permit = self.permit().ok_or(VisitError::Busy)?;
        let service = match visit.service {
            GitService::ReceivePack => Service::ReceivePack,
            GitService::UploadPack => Service::UploadPack,
        };
        let hook_env = [
            (zarpar_hooks::ENV_APP, visit.app.as_str()),
            (zarpar_hooks::ENV_BY, visit.by),
        ];
        let served = self.repositories().git().serve(
            service,
            &self.repositories().path(visit.app),
            Dialogue::Whole,
            visit.protocol.map(GitProtocol::variable),
            &hook_env,
        )?;
        Ok(Session { served, permit })
    }
}

impl Session {
    /// Carries `input` to git and git's outputs and exit code to `output` as pieces. When the
    /// client is gone, it goes on without it until git has ended.
    ///
    /// # Errors
    /// When git's end cannot be learnt. That the client is gone is none.
    pub async fn run(
        self,
        input: impl AsyncRead + Unpin,
        output: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let (out, mut outs) = mpsc::channel::<Bytes>(PIECES);
        let (err, mut errs) = mpsc::channel::<Bytes>(PIECES);
        let passing = async {
            let mut present = true;
            loop {
                let (piece, is_out) = tokio::select! {
                    Some(piece) = outs.recv() => (piece, true),
                    Some(piece) = errs.recv() => (piece, false),
                    else => return present,
                };
                let piece = if is_out {
                    GitPiece::Out(&piece)
                } else {
                    GitPiece::Err(&piece)
                };
                // Nobody takes it any more: git must not wait for them.
                present = present && write_piece(output, piece).await.is_ok();
            }
        };
        let outputs = Outputs {
            out,
            err: Some(err),
        };
        // A client that takes nothing more holds its own connection, and no place among those
        // that git has room for.
        let serving = async {
            let ended = exchange(self.served, input, u64::MAX, outputs).await;
            drop(self.permit);
            ended
        };
        let (ended, present) = tokio::join!(serving, passing);
        let status = ended?;
        if present {
            // A signal has no code; 128 is what git itself says when it dies.
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            let _ = write_piece(output, GitPiece::Exit(code.unwrap_or(128))).await;
            let _ = output.flush().await;
        }
        Ok(())
    }
}
