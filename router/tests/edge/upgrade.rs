//! Changing to another protocol.

use std::io::{BufReader, Read, Write};
use std::time::Duration;

use serde_json::json;

use crate::backend::{fields, raw, read_head, write_whole};
use crate::world::{Edge, PATIENCE, route};

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\n\
     Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";

#[test]
fn a_tunnel_carries_bytes_both_ways_and_holds_its_target() {
    let app = raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let head = read_head(&mut reader).unwrap();
        assert_eq!(fields(&head, "upgrade"), ["websocket"]);
        assert_eq!(fields(&head, "connection"), ["upgrade"]);
        // The first bytes of the new protocol come with the head.
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: y\r\n\r\nhello")
            .unwrap();
        let mut buffer = [0; 64];
        while let Ok(read @ 1..) = reader.read(&mut buffer) {
            stream.write_all(&buffer[..read]).unwrap();
        }
    });
    let edge = Edge::with_targets(&[app]);
    let mut client = edge.client();
    // The visitor's first bytes come early, too.
    client.send(format!("{HANDSHAKE}early"));
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_eq!(fields(&head, "upgrade"), ["websocket"]);
    assert_eq!(fields(&head, "sec-websocket-accept"), ["y"]);
    let mut bytes = [0; 10];
    client.reader.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"helloearly");
    client.send("echo");
    let mut bytes = [0; 4];
    client.reader.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"echo");

    edge.apply(2, json!([route(&[])]));
    assert_eq!(edge.drain(app, Duration::from_millis(50)), 1);
    client.close();
    assert_eq!(edge.drain(app, PATIENCE), 0);
}

#[test]
fn an_app_that_declines_answers_as_usual() {
    let app = raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while read_head(&mut reader).is_some() {
            write_whole(&mut stream, "no");
        }
    });
    let edge = Edge::with_targets(&[app]);
    let mut client = edge.client();
    client.send(HANDSHAKE);
    assert_eq!(client.answer().text(), "no");
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.answer().text(), "no");
}
