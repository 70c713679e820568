//! The contract on zarpar's two unix sockets: what a client may ask of the control plane, what
//! the control plane may ask of the edge, and how both answer. One JSON value a line, at most
//! [`MAX_LINE`] bytes, so that a broken peer can never make the other one grow.
#![warn(missing_docs)]

mod client;
mod edge;
mod frame;
mod git_pipe;
mod lines;
mod permission;
mod reply;
mod request;
mod secret;
mod webhook;

pub use client::{Client, ClientError};
pub use edge::{EdgeClient, EdgeReply, EdgeRequest, EdgeStatus, Handed, TargetLoad};
pub use frame::{Bytes64, ClientFrame, Frame, OutputStream};
pub use git_pipe::{GitPiece, GitProtocol, GitService, MAX_PIECE, read_piece, write_piece};
pub use lines::{LineError, LineReader, LineWriter, MAX_LINE};
pub use permission::{Denied, Reach, Word, permit};
pub use reply::{
    AppView, CertificateView, DeploymentView, DomainView, KeyAdded, KeyView, ProcessView,
    ReleaseView, TokenCreated, TokenView,
};
pub use request::{Incoming, RefUpdate, Request};
pub use secret::Secret;
pub use webhook::{DeliveryView, WebhookEnabled, WebhookView};
