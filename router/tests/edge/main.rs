//! The edge from outside: real sockets on port 0, real little apps, bytes as a stranger would
//! send them.
#![allow(clippy::unwrap_used, unreachable_pub)]

/// Visitors who mean harm.
mod abuse;
/// The share of one address.
mod address_cap;
/// Apps that answer what a test tells them to.
mod backend;
/// Certificates that come and go.
mod certificates;
/// Answers that are compressed on their way.
mod compress;
/// The control plane's own host.
mod console;
/// Passing requests and answers on.
mod forward;
/// An edge that follows another one.
mod handover;
/// Several targets of which some die.
mod health;
/// Requests that wait while their app is changed.
mod hold;
/// Start, restart, damaged tables, shutdown, limits.
mod lifecycle;
/// Uploaded files.
mod media;
/// The same requests to nginx.
mod nginx;
/// Apps that fail, and what is tried again.
mod retry;
/// What is counted and written down.
mod seen;
/// Requests made to be read in two ways.
mod smuggling;
/// Slow uploads.
mod spool;
/// Static files.
mod static_files;
/// What comes piece by piece, by TLS.
mod streams;
/// New tables under load, and drains.
mod swap;
/// TLS, certificates, HTTP/2.
mod tls;
/// TLS as a scanner sees it.
mod tls_scan;
/// WebSocket tunnels.
/// Fields after an answer's body.
mod trailers;
/// Changing to another protocol.
mod upgrade;
/// WebSockets by a real client and a real server.
mod websocket;
/// WebSockets on streams of HTTP/2.
mod websocket_h2;
/// An edge, its control socket and a client of raw bytes.
mod world;
