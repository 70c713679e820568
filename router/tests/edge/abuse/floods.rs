//! More of HTTP/2 than anybody needs: the edge hangs up on each of these.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::raw::*;
use super::{Door, FLOOD, GET, MIB, POST, SHORT, again_and_again, all_hung_up, withstand};

/// Floods connections by `first`, which follows the preface, and what `next` says.
async fn floods(door: &Door, first: Vec<u8>, next: impl Fn() -> Vec<u8> + Clone + Send + 'static) {
    again_and_again(|| {
        let (door, next) = (door.clone(), next.clone());
        let first = [preface(&[]), first.clone()].concat();
        async move { flood(door.enter().await.unwrap(), first, next).await }
    })
    .await;
}

fn request(stream: u32, path: &str) -> Vec<u8> {
    let flags = END_HEADERS | END_STREAM;
    frame(HEADERS, flags, stream, &fields(GET, path))
}

/// Requests taken back at once, `pairs` in one write.
fn taken_back(pairs: usize) -> impl FnMut() -> Vec<u8> {
    let mut streams = streams();
    move || {
        let mut bytes = Vec::new();
        for stream in streams.by_ref().take(pairs) {
            bytes.extend(request(stream, "/wait"));
            bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        bytes
    }
}

#[test]
fn rapid_reset() {
    withstand(4 * MIB, None, async |doors| {
        again_and_again(|| {
            let door = doors.two.clone();
            async move { flood(door.enter().await.unwrap(), preface(&[]), taken_back(100)).await }
        })
        .await;
    });
}

/// Each request has time to reach the app before it is taken back: allowed, as a browser does so
/// too, and paid for by the visitor alone.
#[test]
fn reset_after_reset() {
    withstand(4 * MIB, None, async |doors| {
        let mut open = JoinSet::new();
        for _ in 0..4 {
            let door = doors.two.clone();
            open.spawn(async move {
                let mut next = taken_back(1);
                let paced = async {
                    let mut stream = door.enter().await.unwrap();
                    stream.write_all(&preface(&[])).await.unwrap();
                    // Until the time is over or the edge hangs up.
                    while stream.write_all(&next()).await.is_ok() && stream.flush().await.is_ok() {
                        sleep(Duration::from_millis(2)).await;
                    }
                };
                let _ = timeout(FLOOD, paced).await;
            });
        }
        open.join_all().await;
    });
}

#[test]
fn a_head_without_end() {
    withstand(4 * MIB, None, async |doors| {
        let first = frame(HEADERS, END_STREAM, 1, &fields(GET, "/"));
        // Fields the edge must keep, and empty frames, which add nothing to any size.
        let block = [&[0x00, 1][..], b"x", &[100], &[b'x'; 100]].concat();
        let full = frame(CONTINUATION, 0, 1, &block.repeat(20)).repeat(10);
        let empty = frame(CONTINUATION, 0, 1, &[]).repeat(100);
        tokio::join!(
            floods(&doors.two, first.clone(), move || full.clone()),
            floods(&doors.two, first.clone(), move || empty.clone()),
        );
    });
}

#[test]
fn empty_frames_of_a_body() {
    withstand(4 * MIB, None, async |doors| {
        let first = frame(HEADERS, END_HEADERS, 1, &fields(POST, "/"));
        let empty = frame(DATA, 0, 1, &[]).repeat(100);
        floods(&doors.two, first, move || empty.clone()).await;
    });
}

/// Each wants an answer, and none is read.
#[test]
fn questions_about_the_connection() {
    withstand(4 * MIB, None, async |doors| {
        let mut open = JoinSet::new();
        for number in 0..4 {
            let door = doors.two.narrow();
            let question = if number % 2 == 0 {
                frame(PING, 0, 0, &[7; 8])
            } else {
                frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])
            };
            open.spawn(async move {
                let mut stream = door.enter().await.unwrap();
                let mut bytes = preface(&[]);
                let many = question.repeat(50);
                let ask = async {
                    while stream.write_all(&bytes).await.is_ok() && stream.flush().await.is_ok() {
                        bytes.clone_from(&many);
                        sleep(BREATH).await;
                    }
                };
                let _ = timeout(FLOOD, ask).await;
            });
        }
        open.join_all().await;
    });
}

/// A thousand bytes that mean much: one field named again and again, and no answer taken.
#[test]
fn heads_that_unfold() {
    withstand(26 * MIB, SHORT, async |doors| {
        let long = (kept_field("x", &"x".repeat(4000)), 7);
        let many = (kept_field("x", ""), 900);
        let mut open = JoinSet::new();
        for (field, times) in [&long, &many] {
            let (door, bytes) = (doors.two.clone(), unfolding(field, *times));
            open.spawn(async move {
                let mut stream = door.enter().await.unwrap();
                let first = preface(&[(INITIAL_WINDOW_SIZE, 0)]);
                stream.write_all(&first).await.unwrap();
                for stream_bytes in bytes.take(100) {
                    stream.write_all(&stream_bytes).await.unwrap();
                }
                stream.flush().await.unwrap();
                hung_up(&mut stream).await;
            });
        }
        // More than a head may be: 16 MiB in 4 KiB.
        let more = again_and_again(|| {
            let (door, mut bytes) = (doors.two.clone(), unfolding(&long.0, 4000));
            let next = move || bytes.next().unwrap();
            async move { flood(door.enter().await.unwrap(), preface(&[]), next).await }
        });
        tokio::join!(all_hung_up(open), more);
    });
}

/// Requests that have `field`, which is kept in the first one, so many `times`.
fn unfolding(field: &[u8], times: usize) -> impl Iterator<Item = Vec<u8>> + Send + use<> {
    let field = field.to_vec();
    streams().map(move |stream| {
        let mut block = fields(GET, "/");
        if stream == 1 {
            block.extend(&field);
        }
        block.extend(vec![AGAIN; times - 1]);
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
    })
}
