//! The table in force: sharing, generations, drain.
#![allow(clippy::unwrap_used)]

use super::*;
use std::fs;
use zarpar_model::{StaticEntry, StaticIndex};

fn table(generation: u64, targets: &[&str]) -> RouteTable {
    let targets = targets
        .iter()
        .map(|address| format!("\"{address}\""))
        .collect::<Vec<_>>()
        .join(",");
    serde_json::from_str(&format!(
        r#"{{"generation": {generation}, "routes": [{{"app": "a", "release": "v1", "hosts": ["a.test"], "targets": [{targets}]}}]}}"#
    ))
    .unwrap()
}

fn target_of(live: &Live, number: usize) -> Arc<Target> {
    live.pointer.load().hosts["a.test"].targets[number].clone()
}

#[tokio::test]
async fn the_same_address_keeps_its_target_and_count() {
    let folder = tempfile::tempdir().unwrap();
    let live = Live::start(folder.path().join("table.json"), None).unwrap();
    live.apply(&table(1, &["10.0.0.1:80"])).unwrap();
    let first = target_of(&live, 0);
    let _claim = first.begin(Standing::In).unwrap();
    live.apply(&table(2, &["10.0.0.2:80", "10.0.0.1:80"]))
        .unwrap();
    assert!(Arc::ptr_eq(&first, &target_of(&live, 1)));
    assert_eq!(target_of(&live, 1).requests(), 1);
}

#[tokio::test]
async fn an_address_that_returns_while_draining_is_another_target() {
    let folder = tempfile::tempdir().unwrap();
    let live = Live::start(folder.path().join("table.json"), None).unwrap();
    live.apply(&table(1, &["10.0.0.1:80"])).unwrap();
    let claim = target_of(&live, 0).begin(Standing::In).unwrap();
    live.apply(&table(2, &[])).unwrap();
    live.apply(&table(3, &["10.0.0.1:80"])).unwrap();
    assert!(target_of(&live, 0).begin(Standing::In).is_some());
    let address = claim.address();
    let left = live.wait_drained(&[address], Duration::ZERO).await;
    assert_eq!(left[0].requests, 1);
    drop(claim);
    let left = live.wait_drained(&[address], Duration::from_secs(5)).await;
    assert!(left.is_empty());
}

#[tokio::test]
async fn an_unknown_target_holds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let live = Live::start(folder.path().join("table.json"), None).unwrap();
    let unknown = ["10.9.9.9:1".parse().unwrap()];
    let wait = live.wait_drained(&unknown, Duration::from_secs(3600));
    assert!(wait.await.is_empty());
}

#[test]
fn an_older_generation_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("table.json");
    let live = Live::start(file.clone(), None).unwrap();
    live.apply(&table(5, &["10.0.0.5:80"])).unwrap();
    let error = live.apply(&table(4, &["10.0.0.4:80"])).unwrap_err();
    assert!(error.to_string().contains("generation 4"));
    assert_eq!(live.apply(&table(5, &["10.0.0.5:80"])).unwrap(), 5);
    // What was refused must not be on disk either.
    let again = Live::start(file, None).unwrap();
    assert_eq!(again.generation(), 5);
    assert_eq!(
        target_of(&again, 0).address(),
        "10.0.0.5:80".parse().unwrap()
    );
}

#[test]
fn a_table_that_cannot_be_saved_is_not_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs::write(&blocked, b"").unwrap();
    let live = Live::start(blocked.join("table.json"), None).unwrap();
    assert!(matches!(
        live.apply(&table(1, &[])),
        Err(ApplyError::Save { .. })
    ));
    assert_eq!(live.generation(), 0);
}

#[test]
fn static_sets_are_shared_and_the_newest_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("static");
    fs::create_dir_all(root.join("sets")).unwrap();
    let mut index = StaticIndex::default();
    let entry = StaticEntry {
        sha256: [1; 32],
        size: 1,
        mtime: 0,
        immutable: false,
    };
    index.insert("a.css", entry).unwrap();
    let id = index.set_id();
    fs::write(root.join("sets").join(&id), index.to_text()).unwrap();

    let live = Live::start(folder.path().join("table.json"), None).unwrap();
    let mut with_sets = table(1, &[]);
    with_sets.routes[0].static_files = Some(StaticRoute {
        url: "/static/".into(),
        root: root.clone(),
        sets: vec![id.clone(), "00".into()],
    });
    live.apply(&with_sets).unwrap();
    let known = |live: &Live| {
        let register = live.register();
        register.sets[&(root.clone(), id.clone())].clone()
    };
    let before = known(&live).upgrade().unwrap();
    with_sets.generation = 2;
    live.apply(&with_sets).unwrap();
    assert!(Arc::ptr_eq(&before, &known(&live).upgrade().unwrap()));

    with_sets.generation = 3;
    if let Some(files) = &mut with_sets.routes[0].static_files {
        files.sets.reverse();
    }
    assert!(matches!(
        live.apply(&with_sets),
        Err(ApplyError::StaticSet(_))
    ));
    assert_eq!(live.generation(), 2);
}

#[test]
fn the_least_loaded_target_is_picked_in_turn() {
    let folder = tempfile::tempdir().unwrap();
    let live = Live::start(folder.path().join("table.json"), None).unwrap();
    live.apply(&table(1, &["10.0.0.1:80", "10.0.0.2:80"]))
        .unwrap();
    let table = live.pointer.load();
    let route = &table.hosts["a.test"];
    let first = route.pick(None).unwrap().target.address();
    let second = route.pick(None).unwrap().target.address();
    assert_ne!(first, second);
    let busy = route.targets[0].clone();
    let _claim = busy.begin(Standing::In).unwrap();
    for _ in 0..4 {
        assert_ne!(route.pick(None).unwrap().target.address(), busy.address());
    }
    let free = route.targets[1].address();
    assert_eq!(
        route.pick(Some(free)).unwrap().target.address(),
        busy.address()
    );
}

#[test]
fn a_target_that_is_out_is_passed_over_and_tried_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let live = Live::start(folder.path().join("table.json"), None).unwrap();
    live.apply(&table(1, &["10.0.0.1:80", "10.0.0.2:80"]))
        .unwrap();
    let table = live.pointer.load();
    let route = &table.hosts["a.test"];
    let [dead, alive] = [0, 1].map(|number| &route.targets[number]);
    dead.rotation().unreachable(Standing::In, rotation::now());
    let choices: Vec<_> = (0..6)
        .map(|_| route.pick(Some(dead.address())).unwrap())
        .collect();
    assert!(
        choices
            .iter()
            .all(|choice| Arc::ptr_eq(choice.target, alive))
    );
    alive.rotation().unreachable(Standing::In, rotation::now());
    let last = route.pick(Some(dead.address())).unwrap();
    assert_eq!(last.standing, Standing::LastResort);
    assert!(Arc::ptr_eq(last.target, alive));
}
