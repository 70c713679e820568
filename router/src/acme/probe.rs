//! A question to ourselves over the network: does a request for this name come out here?
//!
//! It asks as HTTP-01 does, for a random token that only this process knows for the time of the
//! question. A wrong "no" is possible (a router that does not loop back), a wrong "yes" is not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::HOST;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::challenges::{Challenges, HTTP_PREFIX};

/// Whether a request for `host` sent to `address` is answered by this process.
pub(crate) async fn arrives_here(
    address: SocketAddr,
    host: &str,
    within: Duration,
    challenges: &Arc<Challenges>,
) -> bool {
    let Some(token) = random_token() else {
        return false;
    };
    let Some(content) = random_token() else {
        return false;
    };
    let _offer = challenges.offer_http(host, &token, &content);
    let asked = tokio::time::timeout(within, ask(address, host, &token)).await;
    matches!(asked, Ok(Ok(answer)) if answer == content.as_bytes())
}

async fn ask(
    address: SocketAddr,
    host: &str,
    token: &str,
) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(format!("{HTTP_PREFIX}{token}"))
        .header(HOST, host)
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let body = sender.send_request(request).await?.into_body();
        let body = Limited::new(body, 1024).collect().await?;
        // Dropped here, so that the connection below ends too.
        drop(sender);
        Ok(body.to_bytes())
    };
    tokio::join!(answer, connection).0
}

fn random_token() -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
