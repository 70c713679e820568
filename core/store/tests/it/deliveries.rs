//! Sources and deliveries: recorded once, looked at again after a failure alone, bounded, sealed
//! where they are secret, and gone with their app.

use zarpar_model::{Delivery, DeliveryState, DeploymentId, Provider, Source, Timestamp};
use zarpar_store::{NewDelivery, Recorded, SourceSecrets, Store};

use crate::world::{World, app, env, name};

const DAY: u64 = 24 * 3600 * 1000;

fn follow(store: &Store, app: &str) {
    let source = Source {
        app: name(app),
        provider: Provider::Github,
        url: "https://github.com/yo/tienda.git".parse().unwrap(),
        branch: "main".parse().unwrap(),
        poll_seconds: None,
        deploy_key_public: "ssh-ed25519 AAAA".to_owned(),
        host_keys: Vec::new(),
        forge_token: false,
        last_seen: None,
        created_at: Timestamp(1),
    };
    store.put_source(&source, &secrets()).unwrap();
}

fn secrets() -> SourceSecrets {
    SourceSecrets {
        webhook: "a-secret-of-a-webhook".to_owned(),
        deploy_key: "a-private-deploy-key".to_owned(),
        forge_token: Some("a-token-of-a-forge".to_owned()),
    }
}

fn delivery(app: &str, id: &str, at: u64) -> NewDelivery {
    NewDelivery {
        app: name(app),
        id: id.parse().unwrap(),
        event: "push".to_owned(),
        commit: None,
        received_at: Timestamp(at),
        state: DeliveryState::Waiting,
    }
}

fn world() -> (World, Store) {
    let world = World::new();
    let store = world.open();
    store.create_app(app("tienda", &[]), env(&[])).unwrap();
    follow(&store, "tienda");
    (world, store)
}

fn record(store: &Store, new: NewDelivery) -> Recorded {
    let mut all = store.record_deliveries(vec![new]).unwrap();
    store.check_invariants().unwrap();
    all.remove(0)
}

#[test]
fn an_id_is_taken_again_after_a_failure_alone() {
    let (_world, store) = world();
    let settle = |state| {
        let newest = store.deliveries(&name("tienda"), 1).unwrap()[0].number;
        store
            .settle_deliveries(&name("tienda"), &[(newest, state)])
            .unwrap();
    };
    assert_eq!(record(&store, delivery("tienda", "a", 1)), Recorded::New(1));
    let again = |store: &Store| record(store, delivery("tienda", "a", 2));
    assert!(matches!(
        again(&store),
        Recorded::Already(Delivery { number: 1, .. })
    ));
    let deployment = DeploymentId(7);
    settle(DeliveryState::Deploying { deployment });
    assert!(matches!(again(&store), Recorded::Already(_)));
    settle(DeliveryState::Failed {
        reason: "no".to_owned(),
        deployment: Some(deployment),
    });
    assert_eq!(again(&store), Recorded::New(2));
    settle(DeliveryState::Live {
        release: None,
        deployment: Some(deployment),
    });
    assert!(matches!(
        again(&store),
        Recorded::Already(Delivery { number: 2, .. })
    ));
    assert_eq!(store.deliveries(&name("tienda"), 10).unwrap().len(), 2);
    assert!(store.unsettled_deliveries().unwrap().is_empty());
}

#[test]
fn a_batch_knows_its_own_repeats_and_apps_that_follow_nothing() {
    let (_world, store) = world();
    store.create_app(app("otra", &[]), env(&[])).unwrap();
    let all = ["a", "b", "a"].map(|id| delivery("tienda", id, 1));
    let mut all = Vec::from(all);
    all.push(delivery("otra", "a", 1));
    let recorded = store.record_deliveries(all).unwrap();
    assert!(matches!(
        &recorded[..],
        [Recorded::New(1), Recorded::New(2), Recorded::Already(first), Recorded::Gone] if first.number == 1
    ));
    store.check_invariants().unwrap();
    assert_eq!(store.unsettled_deliveries().unwrap().len(), 2);
}

#[test]
fn deliveries_are_forgotten_after_seven_days_and_beyond_ten_thousand() {
    let (_world, store) = world();
    let batch = |from: u64, to: u64, at: u64| {
        let all = (from..to).map(|n| delivery("tienda", &format!("id-{n}"), at));
        store.record_deliveries(all.collect()).unwrap();
    };
    batch(0, 3, 1);
    batch(3, 4, 7 * DAY);
    assert_eq!(store.deliveries(&name("tienda"), 99).unwrap().len(), 4);
    batch(4, 5, 7 * DAY + 2);
    assert_eq!(store.deliveries(&name("tienda"), 99).unwrap().len(), 2);
    // Its id is forgotten too, so it is a new delivery.
    let again = record(&store, delivery("tienda", "id-0", 7 * DAY + 3));
    assert_eq!(again, Recorded::New(6));
    for start in (0..11_000).step_by(500) {
        batch(100 + start, 600 + start, 7 * DAY + 4);
    }
    let kept = store.deliveries(&name("tienda"), 99_999).unwrap();
    assert!((10_000..10_500).contains(&kept.len()), "{}", kept.len());
    store.check_invariants().unwrap();
}

#[test]
fn secrets_are_sealed_and_everything_goes_with_the_app() {
    let (world, store) = world();
    record(&store, delivery("tienda", "a", 1));
    drop(store);
    let store = world.open();
    assert_eq!(
        store.source_secrets(&name("tienda")).unwrap(),
        Some(secrets())
    );
    assert!(store.source(&name("tienda")).unwrap().unwrap().forge_token);
    let shown = format!("{:?}", secrets());
    assert!(!shown.contains("a-"), "{shown}");
    for file in ["state/db", "state.export.jsonl"] {
        let bytes = std::fs::read(world.path(file)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("github.com/yo/tienda"), "{file}");
        for secret in ["a-secret-of", "a-private-deploy", "a-token-of"] {
            assert!(!text.contains(secret), "{file}");
        }
    }
    store.remove_app(&name("tienda")).unwrap();
    store.check_invariants().unwrap();
    store.create_app(app("tienda", &[]), env(&[])).unwrap();
    assert_eq!(store.source(&name("tienda")).unwrap(), None);
    assert_eq!(store.source_secrets(&name("tienda")).unwrap(), None);
    follow(&store, "tienda");
    assert_eq!(record(&store, delivery("tienda", "a", 1)), Recorded::New(1));
    assert!(store.remove_source(&name("tienda")).unwrap());
    assert!(!store.remove_source(&name("tienda")).unwrap());
    assert_eq!(record(&store, delivery("tienda", "b", 1)), Recorded::Gone);
}

#[test]
fn a_source_is_in_the_export() {
    let (world, store) = world();
    drop(store);
    std::fs::remove_dir_all(world.path("state")).unwrap();
    let store = world.open();
    assert!(store.restored().is_some());
    assert_eq!(
        store.source_secrets(&name("tienda")).unwrap(),
        Some(secrets())
    );
    assert!(store.source(&name("tienda")).unwrap().is_some());
}

#[test]
fn the_head_that_was_seen_is_kept_with_what_is_followed_alone() {
    let world = World::new();
    let store = world.open();
    store.create_app(app("tienda", &[]), env(&[])).unwrap();
    follow(&store, "tienda");
    let head = "a".repeat(40).parse().unwrap();
    let before = store.source(&name("tienda")).unwrap().unwrap();
    store.note_seen(&before, &head).unwrap();
    let seen = || store.source(&name("tienda")).unwrap().unwrap().last_seen;
    assert_eq!(seen(), Some(head.clone()));
    // A look that began before another branch was chosen says nothing about that one.
    let mut other = before.clone();
    other.branch = "next".parse().unwrap();
    store.put_source(&other, &secrets()).unwrap();
    store.note_seen(&before, &head).unwrap();
    assert_eq!(seen(), None);
    store.remove_source(&name("tienda")).unwrap();
    store.note_seen(&other, &head).unwrap();
    assert_eq!(store.source(&name("tienda")).unwrap(), None);
}
