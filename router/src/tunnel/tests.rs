//! Tunnels between two pipes, with a clock that jumps.
#![allow(clippy::unwrap_used)]

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::Instant;

use super::*;

const BYE: [u8; 4] = [0x88, 2, 0x03, 0xe9];
/// The visitor's answer to it, masked with zeros.
const ANSWERED: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

struct Ends {
    visitor: DuplexStream,
    app: DuplexStream,
    leave: Option<oneshot::Sender<()>>,
    joined: JoinHandle<()>,
}

impl Ends {
    fn leave(&mut self) {
        self.leave.take().unwrap().send(()).unwrap();
    }
}

/// A tunnel whose visitor takes `room` bytes before they read.
fn tunnel(room: usize) -> Ends {
    let (visitor, outside) = duplex(room);
    let (app, inside) = duplex(1024);
    let (leave, left) = oneshot::channel();
    let joined = spawn_local(join(outside, inside, None, async {
        // A test that drops its end does not want it to leave.
        if left.await.is_err() {
            std::future::pending().await
        }
    }));
    Ends {
        visitor,
        app,
        leave: Some(leave),
        joined,
    }
}

fn run(test: impl Future<Output = ()>) {
    let test = async {
        // The clock jumps there when nothing else is left to happen.
        let limit = Duration::from_secs(3600);
        tokio::time::timeout(limit, test).await.expect("an end")
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test);
}

async fn read<const LENGTH: usize>(from: &mut DuplexStream) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    from.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn expect_end(from: &mut DuplexStream) {
    assert_eq!(from.read(&mut [0]).await.unwrap(), 0);
}

fn unmasked(close: [u8; 8]) -> [u8; 4] {
    let [head, length, a, b, _, _, high, low] = close;
    [head, length & 0x7f, high ^ a, low ^ b]
}

#[test]
fn bytes_pass_and_a_side_that_ends_leaves_the_other_open() {
    run(async {
        let Ends {
            mut visitor,
            mut app,
            joined,
            ..
        } = tunnel(7);
        let big: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let (mut from_visitor, mut from_app) = (Vec::new(), Vec::new());
        let upload = async {
            visitor.write_all(&big).await.unwrap();
            visitor.shutdown().await.unwrap();
            visitor.read_to_end(&mut from_app).await.unwrap();
        };
        let download = async {
            app.read_to_end(&mut from_visitor).await.unwrap();
            app.write_all(&big).await.unwrap();
            app.shutdown().await.unwrap();
        };
        tokio::join!(upload, download);
        joined.await.unwrap();
        assert!(from_visitor == big && from_app == big);
    });
}

#[test]
fn the_visitor_is_told_and_their_answer_is_what_the_app_hears() {
    run(async {
        let mut ends = tunnel(1024);
        ends.leave();
        assert_eq!(read(&mut ends.visitor).await, BYE);
        // Said before the visitor knew; it must not be lost.
        let hello = [0x82, 0x81, 0, 0, 0, 0, b'x'];
        ends.visitor.write_all(&hello).await.unwrap();
        ends.visitor.write_all(&ANSWERED).await.unwrap();
        assert_eq!(read(&mut ends.app).await, hello);
        assert_eq!(read(&mut ends.app).await, ANSWERED);
        // The app said something, too, before it knew. There is no place for it after a Close.
        ends.app.write_all(&[0x81, 1, b'x']).await.unwrap();
        ends.app.write_all(&BYE).await.unwrap();
        expect_end(&mut ends.visitor).await;
        ends.joined.await.unwrap();
    });
}

#[test]
fn a_frame_that_was_begun_is_ended_first() {
    run(async {
        let mut ends = tunnel(1024);
        let frame: Vec<u8> = [0x02, 126, 0x01, 0x00]
            .into_iter()
            .chain([0x88; 256])
            .collect();
        let (begin, rest) = frame.split_at(3);
        ends.app.write_all(begin).await.unwrap();
        assert_eq!(read(&mut ends.visitor).await, [0x02, 126, 0x01]);
        ends.leave();
        for byte in rest {
            tokio::time::sleep(Duration::from_secs(1)).await;
            ends.app.write_all(&[*byte]).await.unwrap();
            assert_eq!(read(&mut ends.visitor).await, [*byte]);
        }
        // The rest of the message has no place any more.
        let _ = ends.app.write_all(&[0x80, 1, b'x']).await;
        assert_eq!(read(&mut ends.visitor).await, BYE);
        ends.visitor.write_all(&ANSWERED).await.unwrap();
        ends.app.write_all(&BYE).await.unwrap();
        expect_end(&mut ends.visitor).await;
        ends.joined.await.unwrap();
    });
}

#[test]
fn what_the_visitor_did_not_take_yet_is_cut_at_the_end_of_a_frame_alone() {
    run(async {
        let mut ends = tunnel(4);
        let frame = [0x82, 3, 1, 2, 3];
        // Read by the tunnel, and more than the visitor's pipe holds.
        ends.app.write_all(&frame.repeat(20)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        ends.leave();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut said = Vec::new();
        while !said.ends_with(&BYE) {
            said.push(ends.visitor.read_u8().await.unwrap());
        }
        let whole = &said[..said.len() - BYE.len()];
        assert_eq!(whole.len(), frame.len());
        assert_eq!(whole, frame.repeat(whole.len() / frame.len()));
    });
}

#[test]
fn a_visitor_who_does_not_answer_is_closed_for_the_app() {
    run(async {
        let mut ends = tunnel(1024);
        let began = Instant::now();
        ends.leave();
        assert_eq!(read(&mut ends.visitor).await, BYE);
        assert_eq!(unmasked(read(&mut ends.app).await), BYE);
        assert_eq!(began.elapsed(), ANSWER);
        ends.app.write_all(&BYE).await.unwrap();
        ends.joined.await.unwrap();
        assert_eq!(began.elapsed(), ANSWER);
        expect_end(&mut ends.visitor).await;
    });
}

#[test]
fn nobody_is_waited_for_without_end() {
    run(async {
        let mut ends = tunnel(1024);
        let began = Instant::now();
        // Amid a frame, so that there is no place for a Close to the app.
        ends.visitor.write_all(&[0x82, 0xff]).await.unwrap();
        assert_eq!(read(&mut ends.app).await, [0x82, 0xff]);
        ends.leave();
        ends.joined.await.unwrap();
        assert_eq!(began.elapsed(), 2 * ANSWER);
        expect_end(&mut ends.app).await;
    });
}

#[test]
fn a_visitor_who_leaves_without_an_answer_is_closed_for_the_app_at_once() {
    run(async {
        let mut ends = tunnel(1024);
        let began = Instant::now();
        ends.leave();
        assert_eq!(read(&mut ends.visitor).await, BYE);
        drop(ends.visitor);
        assert_eq!(unmasked(read(&mut ends.app).await), BYE);
        ends.app.write_all(&BYE).await.unwrap();
        ends.joined.await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
    });
}

#[test]
fn an_app_that_leaves_does_not_take_the_answer_with_it() {
    run(async {
        let mut ends = tunnel(1024);
        ends.leave();
        assert_eq!(read(&mut ends.visitor).await, BYE);
        drop(ends.app);
        ends.visitor
            .write_all(&[0x82, 0x81, 0, 0, 0, 0, b'x'])
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!ends.joined.is_finished());
        ends.visitor.write_all(&ANSWERED).await.unwrap();
        expect_end(&mut ends.visitor).await;
        ends.joined.await.unwrap();
    });
}

#[test]
fn whoever_closes_by_themselves_gets_no_second_close() {
    run(async {
        // The app's.
        let mut ends = tunnel(1024);
        let bye = [0x88, 2, 0x03, 0xe8];
        ends.app.write_all(&bye).await.unwrap();
        assert_eq!(read(&mut ends.visitor).await, bye);
        ends.leave();
        ends.visitor.write_all(&ANSWERED).await.unwrap();
        assert_eq!(read(&mut ends.app).await, ANSWERED);
        drop(ends.app);
        expect_end(&mut ends.visitor).await;
        drop(ends.visitor);
        ends.joined.await.unwrap();
        // The visitor's.
        let mut ends = tunnel(1024);
        ends.visitor.write_all(&ANSWERED).await.unwrap();
        assert_eq!(read(&mut ends.app).await, ANSWERED);
        ends.leave();
        tokio::time::sleep(Duration::from_secs(1)).await;
        ends.app.write_all(&bye).await.unwrap();
        assert_eq!(read(&mut ends.visitor).await, bye);
        drop(ends.app);
        expect_end(&mut ends.visitor).await;
    });
}
