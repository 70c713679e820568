//! A process that is killed while it writes: whatever was acknowledged is there, nothing is half
//! done. The test binary runs itself again as the process that is killed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use zarpar_model::{DeploymentId, Phase, PhaseEvent, ReleaseNumber, Timestamp, WorkPhase};
use zarpar_store::Store;

use crate::world::{World, app, changes, env, live, name, open_in, submit};

const DATA: &str = "ZARPAR_TEST_KILLED_DATA";

/// Not a test by itself: the process that is killed.
#[test]
fn writer() {
    let Some(data) = std::env::var_os(DATA).map(PathBuf::from) else {
        return;
    };
    let store = open_in(&data, Duration::from_secs(10)).unwrap();
    let mut acknowledged = fs::File::options()
        .append(true)
        .create(true)
        .open(data.join("acknowledged"))
        .unwrap();
    let mut say = |text: String| {
        acknowledged
            .write_all(format!("{text}\n").as_bytes())
            .unwrap()
    };
    loop {
        let release = live(&store, "tienda");
        say(format!("live {} {}", release.deployment, release.number));
        let begun = submit(&store, "tienda");
        let step = PhaseEvent::Begin(WorkPhase::Building);
        store.advance(begun.id, step, Timestamp(50)).unwrap();
        say(format!("begun {}", begun.id));
        store
            .set_env(
                &name("tienda"),
                &changes(&[("LAST", Some(&begun.id.to_string()))]),
            )
            .unwrap();
        say(format!("env {}", begun.id));
        let failed = PhaseEvent::Fail("x".repeat(9000));
        store.advance(begun.id, failed, Timestamp(51)).unwrap();
        say(format!("failed {}", begun.id));
        say(format!("generation {}", store.next_generation().unwrap()));
    }
}

#[test]
fn every_acknowledged_write_survives_a_kill() {
    let world = World::new();
    let store = world.open();
    store.create_app(app("tienda", &[]), env(&[])).unwrap();
    drop(store);
    let log = world.path("acknowledged");
    for round in 1..=8 {
        let mut child = run_writer(&world);
        // Each round ends at another point of the work.
        let enough = lines(&log).len() + 10 + round;
        let deadline = Instant::now() + Duration::from_secs(60);
        while lines(&log).len() < enough {
            assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        // Not waited for: the next open meets a process that is still ending.
        let store = world.open();
        child.wait().unwrap();
        assert!(store.restored().is_none());
        check_acknowledged(&store, &lines(&log));
    }
}

#[test]
fn a_start_that_is_killed_does_not_hinder_the_next() {
    let world = World::new();
    let store = world.open();
    store.create_app(app("tienda", &[]), env(&[])).unwrap();
    let release = live(&store, "tienda");
    drop(store);
    // A start takes some 10 to 50 ms here; the kills are spread over that and a little more.
    for milliseconds in (0..60).step_by(4) {
        let mut child = run_writer(&world);
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let store = world.open();
    assert!(store.restored().is_none(), "{:?}", store.restored());
    let kept = store.release(&name("tienda"), release.number).unwrap();
    assert_eq!(kept.unwrap().image, release.image);
}

fn run_writer(world: &World) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killing::writer", "--nocapture"])
        .env(DATA, world.folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn lines(log: &Path) -> Vec<String> {
    fs::read_to_string(log)
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn check_acknowledged(store: &Store, acknowledged: &[String]) {
    let tienda = name("tienda");
    let mut highest = 0;
    for line in acknowledged {
        let words: Vec<&str> = line.split(' ').collect();
        let number = words[1].parse().unwrap();
        // What is older than the 200 that are kept is gone rightly.
        let deployment = store.deployment(DeploymentId(number)).unwrap();
        match words[0] {
            "live" => {
                let release: ReleaseNumber = words[2].parse().unwrap();
                assert!(store.release(&tienda, release).unwrap().is_some(), "{line}");
                assert!(store.app(&tienda).unwrap().unwrap().active >= Some(release));
                assert!(deployment.is_none_or(|d| d.phase == Phase::Live), "{line}");
            }
            "begun" => assert!(deployment.is_none_or(|d| d.started_at.is_some()), "{line}"),
            "env" => {
                let env = store.env(&tienda).unwrap();
                let last: u64 = env[&"LAST".parse().unwrap()].parse().unwrap();
                assert!(last >= number, "{line}, found {last}");
            }
            "failed" => assert!(
                deployment.is_none_or(|d| matches!(d.phase, Phase::Failed { .. })),
                "{line}"
            ),
            "generation" => {
                assert!(number > highest, "{line} after {highest}");
                highest = number;
            }
            _ => panic!("{line}"),
        }
    }
    let newest = store.deployments(&tienda, 1).unwrap();
    assert!(!newest.is_empty());
    assert!(store.next_generation().unwrap() > highest);
}
