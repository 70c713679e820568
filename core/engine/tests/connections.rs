//! A build leaves no connection behind. Alone in its process: it counts sockets.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;
use tokio_tar::{Builder, Header};
use zarpar_engine::{BuildRequest, Engine};

#[tokio::test]
async fn builds_leave_no_connection_behind() {
    let engine = Engine::connect().await.unwrap();
    let dockerfile = format!(
        "FROM scratch\nLABEL zarpar.test=connections-{}\n",
        std::process::id()
    );
    let mut header = Header::new_gnu();
    header.set_size(dockerfile.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let mut archive = Builder::new(Vec::new());
    archive
        .append_data(&mut header, "Dockerfile", dockerfile.as_bytes())
        .await
        .unwrap();
    let context = Bytes::from(archive.into_inner().await.unwrap());

    let before = sockets();
    let mut image = String::new();
    for _ in 0..3 {
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        let body = stream::iter([Ok(context.clone())]);
        image = engine
            .build(BuildRequest::default(), body, sender)
            .await
            .unwrap();
    }
    engine.remove_image(&image, true).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while sockets() > before && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(sockets(), before);
}

fn sockets() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}
