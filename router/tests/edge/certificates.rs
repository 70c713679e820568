//! Certificates that come and go while visitors are there.

use rustls::version::TLS13;
use serde_json::json;
use zarpar_control::{CertificateView, EdgeReply, EdgeRequest};
use zarpar_router::Limits;

use crate::backend::Backend;
use crate::tls::{add, config, connect, pair, secured, wait};
use crate::world::{Edge, route};

fn refusal(reply: EdgeReply) -> String {
    match reply {
        EdgeReply::Refused { text } => text,
        other => panic!("{other:?}"),
    }
}

fn list(edge: &Edge) -> Vec<CertificateView> {
    match edge.ask(&EdgeRequest::Certificates) {
        EdgeReply::Certificates { certificates } => certificates,
        other => panic!("{other:?}"),
    }
}

#[test]
fn http_leads_to_https_once_there_is_a_certificate() {
    let app = Backend::saying("hello");
    let edge = Edge::start();
    edge.apply(
        1,
        json!([{"app": "a", "release": "v1", "hosts": ["a.test", "b.test"], "targets": [app.address]}]),
    );
    assert_eq!(edge.get("/").status(), 200);
    secured(&edge);
    let port = edge.https.port();
    let answer = edge.get("/path?x=1");
    assert_eq!(answer.status(), 301);
    let location = format!("https://a.test:{port}/path?x=1");
    assert_eq!(answer.field("location"), Some(location.as_str()));
    assert_eq!(answer.field("strict-transport-security"), None);
    let post = edge.ask_http("POST /form HTTP/1.1\r\nHost: A.test:80\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(post.status(), 308);
    let location = format!("https://a.test:{port}/form");
    assert_eq!(post.field("location"), Some(location.as_str()));
    // A host without one stays where it is.
    let other = edge.ask_http("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n");
    assert_eq!(other.status(), 200);
}

#[test]
fn certificates_are_changed_without_a_restart_and_kept_over_one() {
    let mut edge = Edge::start();
    edge.apply(1, json!([route(&[])]));
    let first = secured(&edge);
    let (open, second) = wait(async {
        let open = connect(&edge, "a.test", &config(&first.der, &["h2"], &[&TLS13]))
            .await
            .unwrap();
        (open, secured(&edge))
    });
    wait(async {
        let new = config(&second.der, &["h2"], &[&TLS13]);
        connect(&edge, "a.test", &new).await.unwrap();
        let old = config(&first.der, &["h2"], &[&TLS13]);
        assert!(connect(&edge, "a.test", &old).await.is_err());
    });
    drop(open);
    let listed = list(&edge);
    assert_eq!(listed.len(), 1, "the first is replaced: {listed:?}");
    assert_eq!(listed[0].names, ["a.test"]);
    // The key is for nobody else's eyes.
    use std::os::unix::fs::PermissionsExt;
    let file = edge
        .folder
        .path()
        .join("certificates/a.test/certificate.pem");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // A damaged neighbour is left alone and does not disturb.
    let damaged = edge.folder.path().join("certificates/b.test");
    std::fs::create_dir(&damaged).unwrap();
    std::fs::write(
        damaged.join("certificate.pem"),
        "-----BEGIN CERTIFICATE-----\n!",
    )
    .unwrap();
    edge.begin_stop();
    edge.stopped().unwrap();
    let folder = std::mem::replace(&mut edge.folder, tempfile::tempdir().unwrap());
    let edge = Edge::start_in(folder, Limits::default());
    wait(async {
        let new = config(&second.der, &["h2"], &[&TLS13]);
        connect(&edge, "a.test", &new).await.unwrap();
    });
    let gone = edge.ask(&EdgeRequest::CertificateRemove {
        name: "a.test".to_owned(),
    });
    assert!(matches!(gone, EdgeReply::Certificates { .. }), "{gone:?}");
    assert_eq!(list(&edge), []);
    let again = refusal(edge.ask(&EdgeRequest::CertificateRemove {
        name: "a.test".to_owned(),
    }));
    assert!(
        again.contains("there is no certificate `a.test`"),
        "{again}"
    );
}

#[test]
fn what_cannot_be_served_is_refused_and_changes_nothing() {
    let edge = Edge::start();
    edge.apply(1, json!([route(&[])]));
    let good = secured(&edge);
    let other = pair(&["a.test"], |_| {});
    let stranger = pair(&["b.test"], |_| {});
    let old = pair(&["a.test"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    });
    for (pem, says) in [
        (
            format!("{}{}", other.key, good.pem),
            "does not belong to the certificate for `a.test`",
        ),
        (
            format!("{}{}", stranger.key, stranger.pem),
            "for `b.test` and for no host of the app (`a.test`)",
        ),
        (format!("{}{}", old.key, old.pem), "ran out at 2020-02-01"),
        (good.key.clone(), "expected a certificate"),
        (good.pem.clone(), "expected a private key"),
        ("nonsense".to_owned(), "expected a certificate"),
        (
            format!(
                "{}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                good.key
            ),
            "cannot be read",
        ),
    ] {
        let text = refusal(add(&edge, &["a.test"], pem));
        assert!(text.contains(says), "`{says}` is missing in: {text}");
    }
    wait(async {
        let config = config(&good.der, &["h2"], &[&TLS13]);
        connect(&edge, "a.test", &config).await.unwrap();
    });
    assert_eq!(list(&edge).len(), 1);
}
