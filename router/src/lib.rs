//! The edge: listens, serves static and uploaded files, and passes everything else to the apps.
//!
//! It knows one immutable route table and nothing of git, Docker or the store. It keeps the last
//! table on disk and serves from that file alone, so it outlives the control plane. A swap is
//! one new table; the answer to `Apply` means it is durable and in force, the answer to
//! `WaitDrained` means that no request holds the targets any more.
#![warn(missing_docs)]

mod accept_encoding;
mod access_log;
mod acme;
mod address_cap;
mod bind;
mod certificate;
mod certificates;
mod compress;
mod conditional;
mod config;
mod console;
mod content_type;
mod control;
mod departure;
mod descriptors;
mod edge;
mod entrance;
mod error;
mod extended_connect;
mod file_body;
mod file_reply;
mod h2;
mod handover;
mod headers;
mod hold;
mod host;
mod hot_files;
mod live;
mod media;
mod metrics;
mod ordering;
mod pages;
mod persist;
mod pool;
mod predecessors;
mod proxy;
mod redirect;
mod reply;
mod request_body;
mod request_id;
mod rotation;
mod safety;
mod seen;
mod send;
mod service;
mod site_path;
mod spool;
mod stall;
mod static_files;
mod static_set;
mod takeover;
mod target;
mod tls;
mod trailers;
mod tunnel;
mod upgrade;
mod visitor;
mod visitor_io;
mod websocket;
mod worker;

pub use access_log::{AccessLog, LineFormat};
pub use bind::bind;
pub use config::{AcmeSettings, EdgeConfig, Limits, TableSource};
pub use console::NAME as CONSOLE;
pub use edge::{Listeners, run};
pub use entrance::Entrance;
pub use error::EdgeError;
pub use takeover::{Succession, TakenOver, take_over};
