//! What goes wrong with an order is told in words, waited out as the authority says, and never
//! repeated at once.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::super::history::{History, Record};
use super::super::schedule::BackOff;
use super::super::way::Way;
use super::super::*;
use super::pebble::Site;
use super::wire::{Turn, Wire};
use super::world::{Edge, Store, eventually};
use super::{LONG, SOON, quick, shop};

#[tokio::test]
async fn a_refusal_is_told_in_words_backs_off_over_restarts_and_is_tried_on_staging_first() {
    let site = Site::new();
    let staging = Site::new();
    let _pebble = site.start(LONG, 0).await;
    let _staging = staging.start(LONG, 0).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::default());
    let config = Config {
        back_off: BackOff {
            steps: vec![Duration::from_secs(3600)],
        },
        ..quick(&site, &folder)
    };
    let groups = [shop(&["a.example", "blocked.example"])];
    let mut words = None;
    for _ in 0..3 {
        let edge = Edge::start(&site, config.clone(), &groups, &store).await;
        eventually("words about it", SOON, async || {
            edge.status().is_some_and(|status| {
                status.last_error.is_some() && status.next_step.starts_with("tries again ")
            })
        })
        .await;
        let status = edge.status().unwrap();
        let next = status.next_step;
        assert!(
            next.starts_with("tries again at the staging authority "),
            "{next}"
        );
        let error = status.last_error.unwrap();
        assert!(error.starts_with("`blocked.example`: "), "{error}");
        assert!(error.contains("403"), "{error}");
        assert_eq!(*words.get_or_insert(error.clone()), error);
        edge.stop().await;
    }
    // One for both names, and one for the name that was not refused.
    assert_eq!(site.orders(), 2);
    assert_eq!(store.installs(), [["a.example"]]);
    let record = History::load(folder.path().to_owned()).of("shop");
    assert_eq!((record.failures, record.way), (1, Some(Way::TlsAlpn01)));
    let pause = record
        .next_attempt
        .unwrap()
        .duration_since(SystemTime::now());
    assert!(pause.unwrap() > Duration::from_secs(3000));

    // Another name in its place ends the back-off.
    let edge = Edge::start(&site, config, &groups, &store).await;
    edge.groups
        .send_replace(vec![shop(&["a.example", "b.example"])]);
    eventually("a certificate", SOON, async || store.installs().len() == 2).await;
    assert_eq!(store.installs()[1], ["a.example", "b.example"]);
    edge.stop().await;
}

#[tokio::test]
async fn after_a_refusal_staging_agrees_before_the_authority_is_asked_again() {
    let site = Site::new();
    let staging = Site::new();
    let _pebble = site.start(LONG, 0).await;
    // Staging looks for challenges where the authority does.
    let same_ports = Site {
        http_port: site.http_port,
        tls_port: site.tls_port,
        ..staging
    };
    let _staging = same_ports.start(LONG, 0).await;
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        staging: Some(same_ports.directory()),
        extra_roots: Some(format!("{}{}", site.root, same_ports.root)),
        ..quick(&site, &folder)
    };
    let mut history = History::load(folder.path().to_owned());
    history.change("shop", |record| {
        record.hosts = vec!["a.example".to_owned()];
        record.failures = 1;
        record.staging = true;
    });
    let store = Arc::new(Store::default());
    let edge = Edge::start(&site, config, &[shop(&["a.example"])], &store).await;
    eventually("a certificate", SOON, async || store.installs().len() == 1).await;
    assert_eq!((same_ports.orders(), site.orders()), (1, 1));
    edge.stop().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_stored_is_kept_and_not_ordered_again() {
    let site = Site::new();
    let _pebble = site.start(LONG, 0).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::default());
    store.refuse(true);
    let edge = Edge::start(
        &site,
        quick(&site, &folder),
        &[shop(&["a.example"])],
        &store,
    )
    .await;
    eventually("words about it", SOON, async || {
        let error = edge.status().and_then(|status| status.last_error);
        error.is_some_and(|words| words.ends_with("cannot be stored: the disk is full"))
    })
    .await;
    store.refuse(false);
    eventually("it is stored", SOON, async || store.installs().len() == 1).await;
    assert_eq!(site.orders(), 1);
    edge.stop().await;
}

#[tokio::test]
async fn too_many_orders_are_waited_out_as_long_as_the_authority_says() {
    let (words, record) = fails_with(Turn::TooMany(5000)).await;
    assert_eq!(
        words,
        "the certificate authority says: too many certificates (rateLimited)"
    );
    assert!(waits(&record) > Duration::from_secs(4900));
    // No order was taken, so none counts, and staging would tell nothing new.
    assert_eq!((record.orders.len(), record.staging), (0, false));
}

#[tokio::test]
async fn an_authority_at_work_on_itself_is_waited_out_too() {
    let (words, record) = fails_with(Turn::ErrorPage(5000)).await;
    assert!(words.contains("cannot be reached"), "{words}");
    assert!(waits(&record) > Duration::from_secs(4900));
}

#[tokio::test]
async fn an_authority_that_says_nothing_is_given_up() {
    let (words, record) = fails_with(Turn::Silence).await;
    assert!(words.contains("deadline has elapsed"), "{words}");
    assert!(waits(&record) > Duration::from_secs(40));
}

#[tokio::test]
async fn a_certificate_is_renewed_when_the_authority_asks_for_it() {
    let site = Site::new();
    let _pebble = site.start(LONG, 0).await;
    let wire = Wire::start(&site, Turn::RenewNow).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::default());
    let config = Config {
        directory: wire.directory.clone(),
        ..quick(&site, &folder)
    };
    let edge = Edge::start(&site, config, &[shop(&["a.example"])], &store).await;
    eventually("a renewal", SOON, async || store.installs().len() >= 2).await;
    edge.stop().await;
}

/// What one try comes to when the authority takes `turn`.
async fn fails_with(turn: Turn) -> (String, Record) {
    let site = Site::new();
    let _pebble = site.start(LONG, 0).await;
    let wire = Wire::start(&site, turn).await;
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        directory: wire.directory.clone(),
        call_within: Duration::from_secs(2),
        back_off: BackOff::default(),
        ..quick(&site, &folder)
    };
    let store = Arc::new(Store::default());
    let edge = Edge::start(&site, config, &[shop(&["a.example"])], &store).await;
    eventually("the next try", SOON, async || {
        let next = edge.status().map(|status| status.next_step);
        next.is_some_and(|words| words.starts_with("tries again "))
    })
    .await;
    let words = edge.status().unwrap().last_error.unwrap();
    edge.stop().await;
    (words, History::load(folder.path().to_owned()).of("shop"))
}

fn waits(record: &Record) -> Duration {
    let next = record.next_attempt.unwrap();
    next.duration_since(SystemTime::now()).unwrap()
}
