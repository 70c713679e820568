//! Answers that come in parts: none waits for the next, and an end that comes too early shows.

use std::io::{BufRead, Read, Write};
use std::sync::{Mutex, mpsc};

use flate2::write;
use http_body_util::BodyExt;
use serde_json::json;

use super::{GZIP, HTML, unpacked};
use crate::backend::{Backend, Next};
use crate::tls::{h2, request, secured, wait};
use crate::world::{Client, Edge, PATIENCE, route};

/// Sends each part as a chunk when it is told to, and ends after the last.
fn streaming(fields: &'static str) -> (Backend, mpsc::Sender<&'static str>) {
    let (parts, told) = mpsc::channel::<&str>();
    let told = Mutex::new(told);
    let app = Backend::start(move |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let told = told.lock().unwrap();
        loop {
            let Ok(part) = told.recv_timeout(PATIENCE) else {
                return Next::Close;
            };
            write!(stream, "{:x}\r\n{part}\r\n", part.len()).unwrap();
            if part.is_empty() {
                return Next::Keep;
            }
        }
    });
    (app, parts)
}

/// The next chunk of an answer; empty is the last.
fn chunk(client: &mut Client) -> Vec<u8> {
    let mut line = String::new();
    client.reader.read_line(&mut line).unwrap();
    let size = usize::from_str_radix(line.trim(), 16).unwrap();
    let mut chunk = vec![0; size + 2];
    client.reader.read_exact(&mut chunk).unwrap();
    chunk.truncate(size);
    chunk
}

#[test]
fn each_part_of_a_stream_arrives_before_the_app_sends_the_next() {
    let (app, parts) = streaming(HTML);
    let edge = Edge::with_targets(&[app.address]);
    let mut client = edge.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{GZIP}\r\n"));
    let mut reader = write::GzDecoder::new(Vec::new());
    let mut expected = String::new();
    for part in ["<p>first</p>", "<p>second</p>", "x", "<p>last</p>"] {
        parts.send(part).unwrap();
        if expected.is_empty() {
            let head = client.head();
            assert!(head.contains("content-encoding: gzip"), "{head}");
        }
        expected += part;
        reader.write_all(&chunk(&mut client)).unwrap();
        reader.flush().unwrap();
        assert_eq!(String::from_utf8_lossy(reader.get_ref()), expected);
    }
    parts.send("").unwrap();
    reader.write_all(&chunk(&mut client)).unwrap();
    assert_eq!(reader.finish().unwrap(), expected.as_bytes());
    assert_eq!(chunk(&mut client), b"");
}

#[test]
fn each_part_arrives_over_http_2_too() {
    let (app, parts) = streaming(HTML);
    let edge = Edge::with_targets(&[app.address]);
    let pair = secured(&edge);
    wait(async {
        let (mut sender, _driver) = h2(&edge, &pair.der).await;
        let mut asked = request("GET", "/", "");
        let accepted = "gzip".parse().unwrap();
        asked.headers_mut().insert("accept-encoding", accepted);
        let mut body = sender.send_request(asked).await.unwrap().into_body();
        let mut reader = write::GzDecoder::new(Vec::new());
        let mut expected = String::new();
        for part in ["<p>first</p>", "x", "<p>last</p>"] {
            parts.send(part).unwrap();
            expected += part;
            while reader.get_ref() != expected.as_bytes() {
                let frame = body.frame().await.unwrap().unwrap();
                reader.write_all(&frame.into_data().unwrap()).unwrap();
                reader.flush().unwrap();
            }
        }
        parts.send("").unwrap();
        let rest = body.collect().await.unwrap().to_bytes();
        reader.write_all(&rest).unwrap();
        assert_eq!(reader.finish().unwrap(), expected.as_bytes());
    });
}

#[test]
fn many_small_parts_that_are_there_go_on_together() {
    let app = Backend::start(|_, stream| {
        let mut answer = format!("HTTP/1.1 200 OK\r\n{HTML}Transfer-Encoding: chunked\r\n\r\n");
        for _ in 0..200 {
            answer += "14\r\n<tr><td>row</td></tr\r\n";
        }
        answer += "0\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        Next::Keep
    });
    let edge = Edge::with_targets(&[app.address]);
    let answer = edge.get_with("/", GZIP);
    assert_eq!(unpacked(&answer.body), "<tr><td>row</td></tr".repeat(200));
    // Alone, each would cost 5 bytes for its flush.
    assert!(answer.body.len() < 400, "{}", answer.body.len());
}

#[test]
fn an_answer_that_breaks_off_is_seen_to_break_off() {
    let app = Backend::start(|seen, stream| {
        let framing = if seen.line().contains("chunked") {
            "Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
        } else {
            "Content-Length: 5000\r\n\r\nfirst"
        };
        write!(stream, "HTTP/1.1 200 OK\r\n{HTML}{framing}").unwrap();
        Next::Close
    });
    let edge = Edge::with_targets(&[app.address]);
    for path in ["/chunked", "/length"] {
        let mut client = edge.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{GZIP}\r\n"));
        assert!(client.try_answer(false).is_none(), "{path}");
    }
    let pair = secured(&edge);
    wait(async {
        let (mut sender, _driver) = h2(&edge, &pair.der).await;
        let mut asked = request("GET", "/chunked", "");
        let accepted = "gzip".parse().unwrap();
        asked.headers_mut().insert("accept-encoding", accepted);
        let answer = sender.send_request(asked).await;
        let broken = match answer {
            Ok(answer) => answer.into_body().collect().await.is_err(),
            Err(_) => true,
        };
        assert!(broken);
    });
    assert_eq!(edge.drain(app.address, PATIENCE), 0, "the app is free");
}

#[test]
fn a_visitor_who_leaves_frees_the_app() {
    let (app, parts) = streaming(HTML);
    let edge = Edge::with_targets(&[app.address]);
    let mut client = edge.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{GZIP}\r\n"));
    parts.send("<p>first</p>").unwrap();
    client.head();
    client.close();
    drop(client);
    edge.apply(2, json!([route(&[])]));
    assert_eq!(edge.drain(app.address, PATIENCE), 0);
}
