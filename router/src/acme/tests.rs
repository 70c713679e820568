//! Orders at a real authority (Pebble): that they succeed when it is unkind, that they stop when
//! nothing is due, and that a failure is told in words and not repeated at once.
#![allow(clippy::unwrap_used)]

mod faults;
mod pebble;
mod wire;
mod world;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::dns::DnsLook;
use super::schedule::BackOff;
use super::way::Way;
use super::*;
use pebble::Site;
use world::{Edge, Store, eventually};

const LONG: Duration = Duration::from_secs(90 * 24 * 3600);
const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn several_names_in_one_certificate_though_half_the_nonces_are_refused() {
    let site = Site::new();
    let _pebble = site.start(LONG, 50).await;
    for way in [Way::Http01, Way::TlsAlpn01] {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            first_way: way,
            // One try must do.
            back_off: BackOff::default(),
            ..quick(&site, &folder)
        };
        let store = Arc::new(Store::default());
        let edge = Edge::start(&site, config, &[shop(&["a.example", "b.example"])], &store).await;
        eventually("a certificate", SOON, async || !store.installs().is_empty()).await;
        assert_eq!(store.installs(), [["a.example", "b.example"]]);
        eventually("the next step", SOON, async || {
            edge.status().unwrap().next_step.starts_with("renews ")
        })
        .await;
        let status = edge.status().unwrap();
        assert!(status.issuer.unwrap().starts_with("Pebble Intermediate CA"));
        assert_eq!((status.last_error, status.alarm), (None, None));
        let left = status.not_after.unwrap().duration_since(SystemTime::now());
        assert!(left.unwrap() > LONG - SOON);
        assert!(
            edge.acme.challenges().is_empty(),
            "no answer outlives its order"
        );
        edge.stop().await;
    }
    assert_eq!(site.orders(), 2);
    // An account, an order, two names, two challenges, a request and a certificate, twice: with
    // no nonce refused it would be 16, which chance gives once in 65536.
    assert!(site.requests() > 16);
}

#[tokio::test]
async fn a_name_added_later_gets_a_certificate_and_twenty_restarts_order_nothing() {
    let site = Site::new();
    let _pebble = site.start(LONG, 0).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::default());
    let edge = Edge::start(
        &site,
        quick(&site, &folder),
        &[shop(&["a.example"])],
        &store,
    )
    .await;
    eventually("a certificate", SOON, async || store.installs().len() == 1).await;
    edge.groups
        .send_replace(vec![shop(&["a.example", "b.example"])]);
    eventually("another name's", SOON, async || store.installs().len() == 2).await;
    edge.stop().await;
    let first = store.pem("a.example");
    assert_eq!(first, store.pem("b.example"));
    for _ in 0..20 {
        let groups = [shop(&["a.example", "b.example"])];
        let edge = Edge::start(&site, quick(&site, &folder), &groups, &store).await;
        eventually("the group was looked at", SOON, async || {
            edge.status()
                .is_some_and(|status| status.next_step.starts_with("renews "))
        })
        .await;
        edge.stop().await;
    }
    assert_eq!(site.orders(), 2);
    assert_eq!(store.pem("a.example"), first);
    // A person may ask for one all the same.
    let groups = [shop(&["a.example", "b.example"])];
    let edge = Edge::start(&site, quick(&site, &folder), &groups, &store).await;
    edge.acme.renew("shop");
    eventually("one more", SOON, async || store.installs().len() == 3).await;
    assert_eq!(site.orders(), 3);
    edge.stop().await;
}

#[tokio::test]
async fn an_authority_that_is_down_is_waited_for_and_one_that_forgot_us_gets_a_new_account() {
    let site = Site::new();
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::default());
    let edge = Edge::start(
        &site,
        quick(&site, &folder),
        &[shop(&["a.example"])],
        &store,
    )
    .await;
    eventually("words about it", SOON, async || {
        edge.status()
            .is_some_and(|status| status.last_error.is_some())
    })
    .await;
    let status = edge.status().unwrap();
    let words = status.last_error.unwrap();
    assert!(words.contains("cannot be reached"), "{words}");
    assert!(
        status.next_step.starts_with("tries again "),
        "{}",
        status.next_step
    );
    let pebble = site.start(LONG, 0).await;
    eventually("a certificate", SOON, async || store.installs().len() == 1).await;
    eventually("no error", SOON, async || {
        edge.status().unwrap().last_error.is_none()
    })
    .await;
    // Pebble keeps nothing: after a restart it knows no account.
    drop(pebble);
    let _pebble = site.start(LONG, 0).await;
    edge.acme.renew("shop");
    eventually("a second one", SOON, async || store.installs().len() == 2).await;
    edge.stop().await;
}

#[tokio::test]
async fn short_lives_are_renewed_in_time_twice() {
    let site = Site::new();
    let _pebble = site.start(Duration::from_secs(8), 0).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::default());
    let edge = Edge::start(
        &site,
        quick(&site, &folder),
        &[shop(&["a.example"])],
        &store,
    )
    .await;
    eventually("the first", SOON, async || store.installs().len() == 1).await;
    let mut served = store.pem("a.example");
    for renewal in 1..=2 {
        let count = renewal + 1;
        eventually("a renewal", SOON, async || store.installs().len() == count).await;
        assert_eq!(store.late(), 0, "renewal {renewal} came late");
        assert_ne!(store.pem("a.example"), served);
        served = store.pem("a.example");
    }
    assert_eq!(site.orders(), 3);
    edge.stop().await;
}

#[tokio::test]
async fn an_expired_certificate_stays_and_an_alarm_shows() {
    let site = Site::new();
    let pebble = site.start(Duration::from_secs(4), 0).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::default());
    let edge = Edge::start(
        &site,
        quick(&site, &folder),
        &[shop(&["a.example"])],
        &store,
    )
    .await;
    eventually("a certificate", SOON, async || store.installs().len() == 1).await;
    drop(pebble);
    eventually("the alarm", SOON, async || {
        let alarm = edge.status().unwrap().alarm.unwrap_or_default();
        alarm.contains("is served all the same")
    })
    .await;
    assert!(store.pem("a.example").is_some());
    edge.stop().await;
}

#[tokio::test]
async fn no_order_before_the_name_points_here() {
    let site = Site::new();
    let _pebble = site.start(LONG, 0).await;
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        dns: DnsLook {
            private_names: true,
            http_port: site.http_port,
            ..DnsLook::default()
        },
        ..quick(&site, &folder)
    };
    let store = Arc::new(Store::default());
    let groups = [shop(&["nothing.invalid"])];
    let edge = Edge::start(&site, config, &groups, &store).await;
    eventually("words about it", SOON, async || {
        let error = edge.status().and_then(|status| status.last_error);
        error.is_some_and(|words| words.starts_with("`nothing.invalid` has no address yet"))
    })
    .await;
    edge.groups
        .send_replace(vec![shop(&["nothing.invalid", "localhost"])]);
    eventually("the other one", SOON, async || {
        store.installs() == [["localhost"]]
    })
    .await;
    eventually("both are told", SOON, async || {
        let status = edge.status().unwrap();
        status.not_after.is_some() && status.last_error.is_some()
    })
    .await;
    assert_eq!(site.orders(), 1);
    edge.stop().await;
}

#[tokio::test]
async fn a_question_to_ourselves_is_recognised_and_one_to_another_is_not() {
    let (ours, other) = (Site::new(), Site::new());
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let store = Arc::new(Store::default());
    let edge = Edge::start(&ours, quick(&ours, &folders[0]), &[], &store).await;
    let another = Edge::start(&other, quick(&other, &folders[1]), &[], &store).await;
    for (port, expected) in [(ours.http_port, true), (other.http_port, false)] {
        let address = ([127, 0, 0, 1], port).into();
        let challenges = edge.acme.challenges();
        let found = probe::arrives_here(address, "a.example", SOON, challenges).await;
        assert_eq!(found, expected, "port {port}");
    }
    edge.stop().await;
    another.stop().await;
}

/// One app with `hosts`.
fn shop(hosts: &[&str]) -> Group {
    Group {
        name: "shop".to_owned(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
    }
}

/// Settings under which nothing takes longer than a moment.
fn quick(site: &Site, folder: &tempfile::TempDir) -> Config {
    Config {
        directory: site.directory(),
        staging: Some(site.directory()),
        extra_roots: Some(site.root.clone()),
        dns: DnsLook {
            enabled: false,
            ..DnsLook::default()
        },
        back_off: BackOff {
            steps: vec![Duration::from_millis(300)],
        },
        look_every: Duration::from_millis(500),
        dns_again: Duration::from_millis(200),
        orders_a_day: 100,
        ..Config::new(folder.path().to_owned())
    }
}
