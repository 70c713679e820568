//! What one address may have of the edge's connections. All of 127.0.0.0/8 is this machine, so
//! there are as many visitors as a test wants.

use std::io::{BufReader, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpSocket;
use zarpar_control::{EdgeReply, EdgeRequest};
use zarpar_router::Limits;

use crate::backend::Backend;
use crate::tls::wait;
use crate::world::{Client, Edge, PATIENCE, route};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// A visitor with the address 127.0.0.`last`; `None` when the connection is reset at once.
fn visitor(to: SocketAddr, last: u8) -> Option<Client> {
    let connected = wait(async {
        let socket = TcpSocket::new_v4().unwrap();
        let from = IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        socket.connect(to).await?.into_std()
    });
    let stream = match connected {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
        connected => connected.unwrap(),
    };
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let reader = BufReader::new(stream.try_clone().unwrap());
    Some(Client { stream, reader })
}

/// Whether a request is answered. A refused connection may break while it is sent.
fn is_served(client: &mut Client) -> bool {
    let _ = client.stream.write_all(REQUEST.as_bytes());
    client.try_answer(false).is_some()
}

/// Comes and sends nothing; nothing may come back but the end.
fn expect_refusal(to: SocketAddr, last: u8) {
    if let Some(mut client) = visitor(to, last) {
        client.expect_end();
    }
}

/// Comes until there is a place, which is a moment after another one left.
fn await_place(edge: &Edge, last: u8) {
    let until = Instant::now() + PATIENCE;
    while !visitor(edge.address, last).is_some_and(|mut client| is_served(&mut client)) {
        assert!(Instant::now() < until, "no place came free");
    }
}

fn refused(edge: &Edge) -> u64 {
    metric(edge, "zarpar_edge_connections_refused_total")
}

fn metric(edge: &Edge, name: &str) -> u64 {
    let EdgeReply::Metrics { text } = edge.ask(&EdgeRequest::Metrics) else {
        panic!("no metrics");
    };
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let found = lines.find(|(family, _)| *family == name);
    found.expect(&text).1.parse().unwrap()
}

#[test]
fn one_address_has_so_many_connections_and_others_have_theirs() {
    let app = Backend::saying("hello");
    let edge = Edge::start_with(Limits {
        connections_per_address: 3,
        loopback_is_exempt: false,
        ..Limits::default()
    });
    edge.apply(1, json!([route(&[app.address])]));
    let mut held: Vec<Client> = (0..3)
        .map(|_| visitor(edge.address, 2).expect("a place"))
        .collect();
    for client in &mut held {
        assert!(is_served(client));
    }
    assert_eq!(refused(&edge), 0);
    // At either door, and before any handshake.
    expect_refusal(edge.address, 2);
    expect_refusal(edge.https, 2);
    if let Some(mut client) = visitor(edge.address, 2) {
        assert!(!is_served(&mut client));
    }
    assert_eq!(refused(&edge), 3);

    await_place(&edge, 3);
    assert_eq!(refused(&edge), 3, "another address has its own places");
    for client in &mut held {
        assert!(is_served(client), "what was open stays so");
    }
    held.pop().unwrap().close();
    await_place(&edge, 2);
}

#[test]
fn a_visitor_who_never_shakes_hands_has_a_place_until_he_is_cut() {
    let edge = Edge::start_with(Limits {
        connections_per_address: 1,
        loopback_is_exempt: false,
        handshake: Duration::from_millis(500),
        ..Limits::default()
    });
    edge.apply(1, json!([route(&[])]));
    let mut silent = visitor(edge.https, 2).expect("a place");
    let until = Instant::now() + PATIENCE;
    while metric(&edge, "zarpar_edge_connections") == 0 {
        assert!(Instant::now() < until, "the edge does not see it");
    }
    expect_refusal(edge.address, 2);
    assert_eq!(refused(&edge), 1);
    silent.expect_end();
    await_place(&edge, 2);
}

#[test]
fn visitors_on_the_same_machine_are_not_counted() {
    let app = Backend::saying("hello");
    let edge = Edge::with_targets(&[app.address]);
    let most = Limits::default().connections_per_address;
    let mut all: Vec<Client> = (0..=most).map(|_| edge.client()).collect();
    for client in &mut all {
        assert!(is_served(client));
    }
    assert_eq!(refused(&edge), 0);
}
