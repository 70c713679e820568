//! What open answers cost: an edge in a process of its own, so that its memory can be told from
//! ours.

use std::io::Write;
use std::sync::{Arc, Barrier};

use http_body_util::BodyExt;

use super::{HTML, page, unpacked};
use crate::abuse::process::EdgeProcess;
use crate::backend::{Backend, Next};
use crate::tls::{h2_to, request, wait};

/// The most memory in KiB of an edge with 200 open answers of 5 kB so far, each read that far.
fn peak_of_many(accepted: &'static str) -> u64 {
    const CONNECTIONS: usize = 4;
    const STREAMS: usize = 50;
    // The apps and we: nobody ends before all are open.
    let all_open = Arc::new(Barrier::new(CONNECTIONS * STREAMS + 1));
    let gate = all_open.clone();
    let app = Backend::start(move |_, stream| {
        let page = page(5000);
        let length = page.len() + 4;
        let head = format!("HTTP/1.1 200 OK\r\n{HTML}Content-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(page.as_bytes()).unwrap();
        gate.wait();
        stream.write_all(b"done").unwrap();
        Next::Keep
    });
    let edge = EdgeProcess::start(app.address, None);
    wait(async {
        let mut open = Vec::new();
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let (mut sender, driver) = h2_to(edge.https, &edge.certificate).await;
            for _ in 0..STREAMS {
                let mut asked = request("GET", "/", "");
                let accepted = accepted.parse().unwrap();
                asked.headers_mut().insert("accept-encoding", accepted);
                sender.ready().await.unwrap();
                let answer = sender.send_request(asked).await.unwrap();
                let mut body = answer.into_body();
                let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
                open.push((body, first.to_vec()));
            }
            connections.push((sender, driver));
        }
        let peak = edge.peak();
        all_open.wait();
        for (body, mut read) in open {
            read.extend_from_slice(&body.collect().await.unwrap().to_bytes());
            let whole = match accepted {
                "gzip" => unpacked(&read),
                _ => String::from_utf8(read).unwrap(),
            };
            assert!(whole == page(5000) + "done");
        }
        peak
    })
}

#[test]
#[expect(clippy::print_stderr, reason = "the figures are what one wants to see")]
fn open_answers_hold_no_compressor() {
    let (plain, compressed) = (peak_of_many("identity"), peak_of_many("gzip"));
    eprintln!("200 open answers: plain {plain} KiB, compressed {compressed} KiB");
    // Two workers have one compressor each. One for each answer would be 72 MiB.
    assert!(compressed < plain + 8 * 1024);
}
