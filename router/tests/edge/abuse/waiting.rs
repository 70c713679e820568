//! Visitors who keep the edge waiting.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::raw::*;
use super::{FLOOD, GET, MIB, POST, SHORT, again_and_again, all_hung_up, withstand};

const PAUSE: Duration = Duration::from_millis(250);

/// Sends one byte after the other until the edge hangs up; panics when it lets all of them in.
async fn drip<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) {
    for byte in bytes {
        if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        let mut scrap = [0; 1024];
        if let Ok(read) = timeout(PAUSE, stream.read(&mut scrap)).await
            && read.is_ok_and(|read| read == 0)
        {
            return;
        }
    }
    panic!("all was taken");
}

#[test]
fn slow_heads() {
    withstand(10 * MIB, SHORT, async |doors| {
        let head = format!("GET / HTTP/1.1\r\nHost: a.test\r\nX: {}", "x".repeat(100));
        let mut open = JoinSet::new();
        for _ in 0..200 {
            let (http, head) = (doors.http, head.clone());
            open.spawn(async move {
                let mut stream = TcpStream::connect(http).await.unwrap();
                drip(&mut stream, head.as_bytes()).await;
            });
        }
        for _ in 0..50 {
            let (door, head) = (doors.one.clone(), head.clone());
            open.spawn(async move {
                let mut stream = door.enter().await.unwrap();
                drip(&mut stream, head.as_bytes()).await;
            });
        }
        all_hung_up(open).await;
    });
}

#[test]
fn slow_bodies() {
    withstand(13 * MIB, SHORT, async |doors| {
        let mut open = JoinSet::new();
        for _ in 0..50 {
            let door = doors.one.clone();
            open.spawn(async move {
                let mut stream = door.enter().await.unwrap();
                let head = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\nx";
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                hung_up(&mut stream).await;
            });
        }
        // With HTTP/2 each of many bodies stops alone, and the connection stays.
        for _ in 0..4 {
            let door = doors.two.clone();
            open.spawn(async move {
                let mut stream = door.enter().await.unwrap();
                let mut bytes = preface(&[]);
                for stream in streams().take(50) {
                    bytes.extend(frame(HEADERS, END_HEADERS, stream, &fields(POST, "/")));
                    bytes.extend(frame(DATA, 0, stream, b"x"));
                }
                stream.write_all(&bytes).await.unwrap();
                stream.flush().await.unwrap();
                let mut ended = 0;
                while ended < 50 {
                    let (kind, flags) = next_frame(&mut stream).await.unwrap();
                    let last = flags & END_STREAM != 0 && [DATA, HEADERS].contains(&kind);
                    ended += usize::from(last);
                }
            });
        }
        all_hung_up(open).await;
    });
}

#[test]
fn slow_readers() {
    withstand(28 * MIB, SHORT, async |doors| {
        let mut open = JoinSet::new();
        for _ in 0..10 {
            let door = doors.one.narrow();
            open.spawn(async move {
                let mut stream = door.enter().await.unwrap();
                let head = "GET /big HTTP/1.1\r\nHost: a.test\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                // Nothing is read until the edge had enough; less comes then than was promised.
                sleep(SHORT.unwrap() * 2).await;
                let mut all = Vec::new();
                let _ = stream.read_to_end(&mut all).await;
                assert!(all.len() < 16 << 20, "all was sent");
            });
        }
        for number in 0..4 {
            // One after the other, or it is their beginning that is measured.
            sleep(PAUSE).await;
            let door = doors.two.narrow();
            open.spawn(async move {
                let stream = door.enter().await.unwrap();
                let mut bytes = preface(&[(INITIAL_WINDOW_SIZE, 1)]);
                for stream in streams().take(40) {
                    let block = fields(GET, "/big");
                    bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
                }
                // Some open the window, a byte at a time.
                let byte = frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes());
                let (mut reader, mut writer) = tokio::io::split(stream);
                let write = async {
                    writer.write_all(&bytes).await.unwrap();
                    writer.flush().await.unwrap();
                    while number % 2 == 0 && writer.write_all(&byte).await.is_ok() {
                        let _ = writer.flush().await;
                        sleep(PAUSE).await;
                    }
                };
                tokio::join!(write, hung_up(&mut reader));
            });
        }
        all_hung_up(open).await;
    });
}

/// The app is done and the connection is idle, but for the last bytes of an answer.
#[test]
fn the_end_of_an_answer_is_not_taken() {
    withstand(16 * MIB, SHORT, async |doors| {
        let mut open = JoinSet::new();
        for _ in 0..4 {
            let door = doors.two.clone();
            open.spawn(async move {
                let mut stream = door.enter().await.unwrap();
                let mut bytes = preface(&[(INITIAL_WINDOW_SIZE, 1)]);
                for stream in streams().take(100) {
                    let block = fields(GET, "/");
                    bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
                }
                stream.write_all(&bytes).await.unwrap();
                stream.flush().await.unwrap();
                hung_up(&mut stream).await;
            });
        }
        all_hung_up(open).await;
    });
}

#[test]
fn a_thousand_idle_connections() {
    withstand(38 * MIB, None, async |doors| {
        let mut opening = JoinSet::new();
        let mut open = Vec::new();
        for number in 0..1000 {
            let door = if number % 2 == 0 {
                &doors.one
            } else {
                &doors.two
            };
            let door = door.clone();
            opening.spawn(async move {
                let mut stream = door.enter().await.unwrap();
                if number % 2 != 0 {
                    stream.write_all(&preface(&[])).await.unwrap();
                    stream.flush().await.unwrap();
                }
                stream
            });
            if opening.len() >= 2 {
                open.push(opening.join_next().await.unwrap().unwrap());
            }
        }
        open.extend(opening.join_all().await);
        // All at the same time, and the normal client comes through.
        sleep(Duration::from_secs(1)).await;
        assert_eq!(open.len(), 1000);
    });
}

#[test]
fn handshakes_left_half_way() {
    withstand(6 * MIB, SHORT, async |doors| {
        let mut open = JoinSet::new();
        for number in 0..200 {
            let (address, hello) = (doors.https, doors.two.hello());
            open.spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                // In the middle of the first flight, or after the edge's own.
                let end = if number % 2 == 0 {
                    hello.len() / 2
                } else {
                    hello.len()
                };
                stream.write_all(&hello[..end]).await.unwrap();
                hung_up(&mut stream).await;
            });
        }
        all_hung_up(open).await;
    });
}

#[test]
fn other_protocols_where_tls_is_spoken() {
    withstand(4 * MIB, None, async |doors| {
        let address = doors.https;
        again_and_again(move || async move {
            for bytes in [
                &b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"[..],
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                // A record longer than any may be.
                &[22, 3, 1, 255, 255, 1, 2, 3],
            ] {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(bytes).await.unwrap();
                hung_up(&mut stream).await;
            }
        })
        .await;
    });
}

/// Each has sent a megabyte of a body and sends on, a byte at a time; all of it waits on disk.
#[test]
fn slow_uploads() {
    withstand(64 * MIB, None, async |doors| {
        let mut opening = JoinSet::new();
        let mut open = JoinSet::new();
        for _ in 0..200 {
            let door = doors.one.clone();
            opening.spawn(async move {
                let mut stream = door.enter().await.unwrap();
                let head = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2000000\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(&vec![b'x'; 1_000_000]).await.unwrap();
                stream
            });
            if opening.len() >= 2 {
                open.spawn(trickle(opening.join_next().await.unwrap().unwrap()));
            }
        }
        let ended = timeout(FLOOD, open.join_next()).await;
        assert!(ended.is_err(), "the edge hung up on a slow upload");
    });
}

async fn trickle<S: AsyncWrite + Unpin>(mut stream: S) {
    while stream.write_all(b"x").await.is_ok() && stream.flush().await.is_ok() {
        sleep(PAUSE).await;
    }
}
