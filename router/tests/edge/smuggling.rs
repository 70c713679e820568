//! Requests made to be read in two ways: whatever the edge makes of them, an app sees exactly
//! one well-formed request, and the connection they came on carries no second one.

use crate::backend::Backend;
use crate::world::Edge;

#[test]
fn two_framings_never_reach_the_app() {
    let inner = "GET /inner HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
    ] {
        let app = Backend::saying("ok");
        let edge = Edge::with_targets(&[app.address]);
        let mut client = edge.client();
        client.send(format!(
            "POST /outer HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n\r\n0\r\n\r\n{inner}"
        ));
        client.try_answer(false);
        client.expect_end();
        for seen in app.seen() {
            assert_eq!(seen.line(), "POST /outer HTTP/1.1");
            assert!(
                seen.field("content-length").is_empty()
                    || seen.field("transfer-encoding").is_empty()
            );
        }
    }
}

#[test]
fn framings_that_mean_nothing_are_refused() {
    let app = Backend::saying("ok");
    let edge = Edge::with_targets(&[app.address]);
    for fields in [
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding : chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: +5",
        "Content-Length: 5, 6",
        "Content-Length: -1",
        "X: a\r\n folded",
        "X\0Y: a",
        "X: a\0b",
    ] {
        let answer = edge.ask_http(&format!(
            "POST / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n\r\n0\r\n\r\n"
        ));
        assert_eq!(answer.status(), 400, "{fields}");
    }
    let answer = edge
        .ask_http("POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(answer.status(), 400);
    assert!(app.seen().is_empty());
}
