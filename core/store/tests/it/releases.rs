//! Deployments and releases: the pointer moves with everything that belongs to it, illegal moves
//! are refused and change nothing, and old history is given up in order.

use zarpar_model::{
    DeploymentId, Phase, PhaseEvent, ReleaseNumber, ReleaseState, Timestamp, WorkPhase,
};
use zarpar_store::StoreError;

use crate::world::{World, app, candidate, env, live, name, push, submit, targets};

#[test]
fn a_newer_deployment_supersedes_the_queued_one_and_not_the_working_one() {
    let world = World::new();
    let store = world.open();
    store.create_app(app("tienda", &[]), env(&[])).unwrap();
    store.create_app(app("blog", &[]), env(&[])).unwrap();
    let working = submit(&store, "tienda");
    store
        .advance(
            working.id,
            PhaseEvent::Begin(WorkPhase::CheckingOut),
            Timestamp(11),
        )
        .unwrap();
    let other = submit(&store, "blog");
    let overtaken = submit(&store, "tienda");
    let (newest, superseded) = store
        .submit(&name("tienda"), push(), "ana".into(), Timestamp(12))
        .unwrap();
    let ids: Vec<DeploymentId> = superseded.iter().map(|d| d.id).collect();
    assert_eq!(ids, [overtaken.id]);
    assert_eq!(superseded[0].finished_at, Some(Timestamp(12)));
    store.check_invariants().unwrap();
    drop(store);

    let store = world.open();
    let unfinished: Vec<DeploymentId> = store.unfinished().unwrap().iter().map(|d| d.id).collect();
    assert_eq!(unfinished, [working.id, other.id, newest.id]);
    let stored = store.deployment(overtaken.id).unwrap().unwrap();
    assert_eq!(stored.phase, Phase::Superseded);
    let listed = store.deployments(&name("tienda"), 2).unwrap();
    assert_eq!(listed[0], newest);
    assert_eq!(listed.len(), 2);
    let missing = store.submit(&name("nadie"), push(), "ana".into(), Timestamp(1));
    assert!(matches!(missing, Err(StoreError::NoSuch { .. })));
}

#[test]
fn a_deployment_moves_only_as_its_phases_do() {
    let world = World::new();
    let store = world.open();
    store.create_app(app("tienda", &[]), env(&[])).unwrap();
    let id = submit(&store, "tienda").id;
    let begin = |step| PhaseEvent::Begin(step);
    store
        .advance(id, begin(WorkPhase::Building), Timestamp(20))
        .unwrap();
    let again = store.advance(id, begin(WorkPhase::Planning), Timestamp(21));
    assert!(matches!(again, Err(StoreError::Phase(_))), "{again:?}");
    store
        .advance(id, begin(WorkPhase::Probing), Timestamp(22))
        .unwrap();
    let alone = store.advance(id, PhaseEvent::GoLive, Timestamp(23));
    assert!(matches!(alone, Err(StoreError::Invariant(_))), "{alone:?}");
    let failed = store
        .advance(id, PhaseEvent::Fail("no answer".into()), Timestamp(24))
        .unwrap();
    assert_eq!(
        (failed.started_at, failed.finished_at),
        (Some(Timestamp(20)), Some(Timestamp(24)))
    );
    assert!(
        store
            .advance(id, PhaseEvent::Fail("x".into()), Timestamp(25))
            .is_err()
    );
    assert!(store.reserve_release(&name("tienda"), id).is_err());
    drop(store);
    let store = world.open();
    assert_eq!(store.deployment(id).unwrap(), Some(failed));
    let missing = store.advance(DeploymentId(99), PhaseEvent::Supersede, Timestamp(1));
    assert!(matches!(missing, Err(StoreError::NoSuch { .. })));
}

#[test]
fn going_live_moves_everything_at_once() {
    let world = World::new();
    let store = world.open();
    let tienda = name("tienda");
    store.create_app(app("tienda", &[]), env(&[])).unwrap();
    let first = live(&store, "tienda");
    assert_eq!(first.state, ReleaseState::Active);
    let second = candidate(&store, "tienda");
    assert_eq!(second.number, ReleaseNumber(2));
    let previous = store
        .activate(
            &tienda,
            second.number,
            second.deployment,
            targets("b"),
            Timestamp(31),
        )
        .unwrap();
    assert_eq!(previous, Some(first.number));
    drop(store);

    let store = world.open();
    let active = store.app(&tienda).unwrap().unwrap().active;
    assert_eq!(active, Some(second.number));
    let states: Vec<ReleaseState> = store
        .releases(&tienda)
        .unwrap()
        .iter()
        .map(|release| release.state)
        .collect();
    assert_eq!(states, [ReleaseState::Active, ReleaseState::Draining]);
    let deployment = store.deployment(second.deployment).unwrap().unwrap();
    assert_eq!(deployment.phase, Phase::Live);
    assert_eq!(deployment.release, Some(second.number));
    assert_eq!(
        store.release_env(&tienda, first.number).unwrap(),
        env(&[("NUMBER", "v1")])
    );

    let refused = store.remove_release(&tienda, second.number);
    assert!(matches!(refused, Err(StoreError::ReleaseActive { .. })));
    store.retire(&tienda, first.number).unwrap();
    store.retire(&tienda, first.number).unwrap();
    assert!(
        store
            .set_targets(&tienda, first.number, targets("z"))
            .is_err()
    );
    store
        .set_targets(&tienda, second.number, targets("c"))
        .unwrap();
    store.check_invariants().unwrap();
    let kept = store.release(&tienda, first.number).unwrap().unwrap();
    assert!(kept.targets.is_empty());
    store.remove_release(&tienda, first.number).unwrap();
    assert!(store.release_env(&tienda, first.number).is_err());
    store.check_invariants().unwrap();
    // The number of a removed release does not come back.
    assert_eq!(candidate(&store, "tienda").number, ReleaseNumber(3));
}

#[test]
fn what_cannot_go_live_changes_nothing() {
    let world = World::new();
    let store = world.open();
    let tienda = name("tienda");
    store.create_app(app("tienda", &[]), env(&[])).unwrap();
    let first = live(&store, "tienda");
    let second = candidate(&store, "tienda");
    let at = Timestamp(40);
    let go = |number, deployment| store.activate(&tienda, number, deployment, targets("x"), at);
    assert!(matches!(
        go(first.number, first.deployment),
        Err(StoreError::Release(_))
    ));
    assert!(matches!(
        go(second.number, first.deployment),
        Err(StoreError::Invariant(_))
    ));
    assert!(matches!(
        go(ReleaseNumber(9), second.deployment),
        Err(StoreError::NoSuch { .. })
    ));
    store
        .advance(second.deployment, PhaseEvent::Fail("x".into()), at)
        .unwrap();
    assert!(matches!(
        go(second.number, second.deployment),
        Err(StoreError::Phase(_))
    ));
    assert_eq!(
        store.app(&tienda).unwrap().unwrap().active,
        Some(first.number)
    );
    assert_eq!(store.release(&tienda, second.number).unwrap(), Some(second));
    store.check_invariants().unwrap();
}

#[test]
fn a_release_is_recorded_under_the_number_of_its_deployment_and_then_fixed() {
    let world = World::new();
    let store = world.open();
    let tienda = name("tienda");
    store.create_app(app("tienda", &[]), env(&[])).unwrap();
    let mut release = candidate(&store, "tienda");
    let same = store.reserve_release(&tienda, release.deployment).unwrap();
    assert_eq!(same, release.number, "asked again, the same number");
    release.image = "sha256:01".into();
    store.put_candidate(&release, &env(&[])).unwrap();

    let mut other = release.clone();
    other.number = ReleaseNumber(7);
    assert!(store.put_candidate(&other, &env(&[])).is_err());
    store
        .activate(
            &tienda,
            release.number,
            release.deployment,
            targets("a"),
            Timestamp(30),
        )
        .unwrap();
    assert!(store.put_candidate(&release, &env(&[])).is_err());
    store.retire(&tienda, release.number).unwrap();
    assert_eq!(store.app(&tienda).unwrap().unwrap().active, None);
    store.check_invariants().unwrap();
    live(&store, "tienda");
}

#[test]
fn the_last_200_ended_deployments_are_kept() {
    let world = World::new();
    let store = world.open();
    store.create_app(app("tienda", &[]), env(&[])).unwrap();
    for _ in 0..205 {
        submit(&store, "tienda");
    }
    let all = store.deployments(&name("tienda"), 1000).unwrap();
    assert_eq!(all.len(), 201, "200 superseded and one queued");
    assert_eq!(all[200].id, DeploymentId(5));
    assert_eq!(store.deployment(DeploymentId(4)).unwrap(), None);
    store.check_invariants().unwrap();
}
