//! Fields after an answer's body.

use std::io::{BufRead, Write};

use http_body_util::BodyExt;

use crate::backend::{Backend, Next, fields};
use crate::tls::{h2, request, secured, wait};
use crate::world::Edge;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
    Trailer: Server-Timing, Set-Cookie\r\n\r\n5\r\nhello\r\n0\r\n\
    Server-Timing: db;dur=5\r\nSet-Cookie: a=b\r\nContent-Length: 9\r\nX-Frame-Options: x\r\n\r\n";

fn app() -> Backend {
    Backend::start(|_, stream| {
        stream.write_all(ANSWER).unwrap();
        Next::Keep
    })
}

#[test]
fn a_visitor_of_http_1_gets_them_when_they_ask() {
    let app = app();
    let edge = Edge::with_targets(&[app.address]);
    let mut client = edge.client();
    for (te, last) in [
        ("TE: trailers\r\n", &["server-timing: db;dur=5", ""][..]),
        ("", &[""]),
    ] {
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: TE\r\n{te}\r\n"
        ));
        let head = client.head();
        assert_eq!(fields(&head, "trailer"), ["Server-Timing, Set-Cookie"]);
        for expected in ["5", "hello", "0"].iter().chain(last) {
            let mut line = String::new();
            client.reader.read_line(&mut line).unwrap();
            assert_eq!(line.to_lowercase(), format!("{expected}\r\n"));
        }
    }
    let seen = app.seen();
    assert_eq!(seen[0].field("te"), ["trailers"]);
    assert!(seen[1].field("te").is_empty());
    // An answer with trailers, too, leaves the connection to the app as good as before.
    assert_eq!(seen[1].number, 1);
}

#[test]
fn a_visitor_of_http_2_gets_them_and_none_that_belongs_in_the_head() {
    let app = app();
    let edge = Edge::with_targets(&[app.address]);
    let pair = secured(&edge);
    wait(async {
        let (mut sender, _driver) = h2(&edge, &pair.der).await;
        for number in 0..2 {
            let mut request = request("GET", "/", "");
            request
                .headers_mut()
                .insert("te", "trailers".parse().unwrap());
            let answer = sender.send_request(request).await.unwrap();
            let whole = answer.into_body().collect().await.unwrap();
            let trailers = whole.trailers().unwrap();
            assert_eq!(trailers.len(), 1, "{trailers:?}");
            assert_eq!(trailers["server-timing"], "db;dur=5");
            assert_eq!(whole.to_bytes(), "hello");
            assert_eq!(app.seen()[number].field("te"), ["trailers"]);
            assert_eq!(app.seen()[number].number, number);
        }
    });
}
