//! Each limit on a paused clock.
#![allow(clippy::unwrap_used)]

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

fn connection() -> (DuplexStream, VisitorIo<DuplexStream>, Arc<Activity>) {
    let (visitor, ours) = duplex(64);
    let activity = Arc::<Activity>::default();
    let io = VisitorIo::new(ours, activity.clone(), &Limits::default());
    (visitor, io, activity)
}

async fn seconds_until_cut(io: &mut VisitorIo<DuplexStream>) -> u64 {
    let began = Instant::now();
    let error = io.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    began.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_head_has_ten_seconds_and_bytes_do_not_prolong_them() {
    let (mut visitor, mut io, _activity) = connection();
    visitor.write_all(b"G").await.unwrap();
    io.read_u8().await.unwrap();
    tokio::time::advance(Duration::from_secs(6)).await;
    visitor.write_all(b"E").await.unwrap();
    io.read_u8().await.unwrap();
    assert_eq!(seconds_until_cut(&mut io).await, 4);
}

#[tokio::test(start_paused = true)]
async fn between_requests_there_are_seventy_five() {
    let (mut visitor, mut io, activity) = connection();
    visitor.write_all(b"G").await.unwrap();
    io.read_u8().await.unwrap();
    let busy = activity.begin();
    // An answer may take as long as it likes.
    let waited = tokio::time::timeout(Duration::from_secs(600), io.read_u8()).await;
    assert!(waited.is_err());
    drop(busy);
    let wait = tokio::time::timeout(Duration::from_secs(70), io.read_u8()).await;
    assert!(wait.is_err());
    visitor.write_all(b"G").await.unwrap();
    io.read_u8().await.unwrap();
    assert_eq!(seconds_until_cut(&mut io).await, 10);
    drop(activity.begin());
    assert_eq!(seconds_until_cut(&mut io).await, 75);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_may_be_silent() {
    let (_visitor, mut io, activity) = connection();
    let busy = activity.begin();
    activity.becomes_tunnel();
    drop(busy);
    let waited = tokio::time::timeout(Duration::from_secs(3600), io.read_u8()).await;
    assert!(waited.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_visitor_who_takes_nothing_is_cut() {
    let (_visitor, mut io, _activity) = connection();
    let began = Instant::now();
    let error = io.write_all(&[0; 65]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_an_unread_request_lingers() {
    let (mut visitor, mut io, activity) = connection();
    activity.set_unread(true);
    let began = Instant::now();
    let (sent, ended) = tokio::join!(
        // More than fits between the two: it arrives only if somebody reads it.
        tokio::time::timeout(LINGER / 2, visitor.write_all(&[0; 1000])),
        io.shutdown(),
    );
    sent.unwrap().unwrap();
    ended.unwrap();
    assert_eq!(began.elapsed(), LINGER);

    let (visitor, mut io, activity) = connection();
    activity.set_unread(true);
    drop(visitor);
    io.shutdown().await.unwrap();
    let (_visitor, mut io, _activity) = connection();
    io.shutdown().await.unwrap();
    assert_eq!(began.elapsed(), LINGER);
}
