//! The control plane's own host.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use serde_json::json;
use zarpar_control::{EdgeReply, EdgeRequest};

use crate::backend::Backend;
use crate::tls::{h2, request, secured, wait};
use crate::world::{Edge, route};

/// An edge whose host `a.test` is the console's, and the console.
fn start() -> (Edge, Backend) {
    let console = Backend::saying("git");
    let edge = Edge::start();
    let table = json!({"generation": 1, "routes": [],
        "console": {"host": "a.test", "target": console.address, "key": "the key"}});
    let table = serde_json::from_value(table).unwrap();
    let applied = edge.ask(&EdgeRequest::Apply { table });
    assert_eq!(applied, EdgeReply::Applied { generation: 1 });
    (edge, console)
}

#[test]
fn only_what_strangers_may_ask_for_is_passed_on() {
    let (edge, console) = start();
    // A token would be read by everybody on the way.
    let refused = edge.get("/git/tienda.git/info/refs");
    assert_eq!(refused.status(), 503);
    assert!(
        refused.text().contains("hint: `zarpar certificates list`"),
        "{}",
        refused.text()
    );
    let pair = secured(&edge);
    assert_eq!(edge.get("/git/tienda.git/info/refs").status(), 301);
    assert_eq!(console.seen().len(), 0);
    wait(async {
        let (mut visitor, _driver) = h2(&edge, &pair.der).await;
        for path in [
            "/",
            "/metrics",
            "/git",
            "/healthz/",
            "/Healthz",
            "//healthz",
            "/hooks",
            "/gitx/",
        ] {
            let answer = visitor
                .send_request(request("GET", path, ""))
                .await
                .unwrap();
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        }
        for path in [
            "/git/tienda.git/info/refs?service=x",
            "/hooks/tienda",
            "/healthz",
            "/git/../metrics",
        ] {
            let mut request = request("GET", path, "");
            for (name, value) in [
                ("x-zarpar-edge", "a guess"),
                ("x-forwarded-for", "1.1.1.1"),
                ("authorization", "Basic eDp5"),
                ("git-protocol", "version=2"),
            ] {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
            let answer = visitor.send_request(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            let seen = console.seen().pop().unwrap();
            // Byte for byte, so that the console decides what it means.
            assert_eq!(seen.line(), format!("GET {path} HTTP/1.1"));
            assert_eq!(seen.field("x-zarpar-edge"), ["the key"]);
            assert_eq!(seen.field("x-forwarded-for"), ["127.0.0.1"]);
            assert_eq!(seen.field("authorization"), ["Basic eDp5"]);
            assert_eq!(seen.field("git-protocol"), ["version=2"]);
        }
        // More than an app would get.
        let body = Bytes::from(vec![0; 40 * 1024 * 1024]);
        let push = Request::post("https://a.test/git/tienda.git/git-receive-pack")
            .body(Full::from(body.clone()));
        let answer = visitor.send_request(push.unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(
            answer.into_body().collect().await.unwrap().to_bytes(),
            "git"
        );
        assert_eq!(console.seen().pop().unwrap().body.len(), body.len());
    });
    let metrics = match edge.ask(&EdgeRequest::Metrics) {
        EdgeReply::Metrics { text } => text,
        other => panic!("{other:?}"),
    };
    assert!(metrics.contains("app=\"(console)\""), "{metrics}");
}

#[test]
fn an_app_s_key_is_none_and_the_table_survives() {
    let app = Backend::saying("app");
    let edge = Edge::with_targets(&[app.address]);
    assert_eq!(edge.get("/").status(), 200);
    assert_eq!(app.seen()[0].field("x-zarpar-edge"), [""; 0]);
    let mut taken = json!({"generation": 2, "routes": [route(&[app.address])],
        "console": {"host": "a.test", "target": "127.0.0.1:1", "key": "k"}});
    let ask = |table: &serde_json::Value| {
        let table = serde_json::from_value(table.clone()).unwrap();
        edge.ask(&EdgeRequest::Apply { table })
    };
    match ask(&taken) {
        EdgeReply::Refused { text } => assert!(text.contains("is that of the console"), "{text}"),
        other => panic!("{other:?}"),
    }
    taken["console"]["host"] = json!("ship.test");
    assert_eq!(ask(&taken), EdgeReply::Applied { generation: 2 });
    assert_eq!(edge.get("/").status(), 200);
}
