//! A disk that is full: new work is refused in words, work at hand can still end, reads go on, a
//! start works, and with room again everything does. It runs on a small file system of its own,
//! in a mount namespace that only the process of the test sees.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use zarpar_model::{Phase, PhaseEvent, Timestamp};
use zarpar_store::{OpenOptions, StoreError};

use crate::world::{app, candidate, changes, env, live, name, push, submit, targets};

const DATA: &str = "ZARPAR_TEST_FULL_DATA";

#[test]
fn a_full_disk_stops_new_work_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    if !Command::new("unshare")
        .args(["-Urm", "true"])
        .status()
        .is_ok_and(|s| s.success())
    {
        // The kernel gives this process no namespace, so there is no disk that can be filled.
        return;
    }
    let status = Command::new("unshare")
        .args(["-Urm", "sh", "-c"])
        .arg("mount -t tmpfs -o size=64m tmpfs \"$1\" && exec \"$2\" --exact full_disk::filler --nocapture")
        .arg("sh")
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .env(DATA, folder.path())
        .status()
        .unwrap();
    assert!(status.success());
}

/// Not a test by itself: what happens on the small file system.
#[test]
fn filler() {
    let Some(data) = std::env::var_os(DATA).map(PathBuf::from) else {
        return;
    };
    let options = OpenOptions {
        lock_patience: Duration::from_secs(10),
        ballast: 32 << 20,
    };
    let try_open = || options.open(&data.join("state"), &data.join("key"));
    let open = || try_open().unwrap();
    let tienda = name("tienda");
    let store = open();
    store.create_app(app("tienda", &[]), env(&[])).unwrap();
    live(&store, "tienda");
    let ready = candidate(&store, "tienda");
    let queued = submit(&store, "tienda");
    assert_eq!(fs::metadata(data.join("ballast")).unwrap().len(), 32 << 20);

    // A start on a full disk works, with the room of the ballast.
    drop(store);
    fill_up(&data.join("fill"));
    let store = open();
    assert!(store.restored().is_none());
    let refused = store
        .submit(&tienda, push(), "ana".into(), Timestamp(60))
        .unwrap_err();
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    assert!(refused.to_string().contains("hint: "), "{refused}");
    let set = store.set_env(&tienda, &changes(&[("A", Some("1"))]));
    assert!(matches!(set, Err(StoreError::DiskFull { .. })), "{set:?}");
    assert!(!data.join("ballast").exists());

    // What is at work ends.
    store
        .activate(
            &tienda,
            ready.number,
            ready.deployment,
            targets("b"),
            Timestamp(61),
        )
        .unwrap();
    let failed = PhaseEvent::Fail("the disk is full".into());
    store.advance(queued.id, failed, Timestamp(62)).unwrap();
    assert_eq!(store.fault(), None);
    store.check_invariants().unwrap();

    // Others took that room too: one failed write is the last one, reads go on.
    fill_up(&data.join("fill-2"));
    while store
        .set_targets(&tienda, ready.number, targets("c"))
        .is_ok()
    {}
    assert!(store.fault().is_some());
    let poisoned = store.set_targets(&tienda, ready.number, targets("d"));
    let poisoned = poisoned.unwrap_err();
    assert!(
        matches!(poisoned, StoreError::Poisoned { .. }),
        "{poisoned}"
    );
    assert!(poisoned.to_string().contains("hint: "), "{poisoned}");
    let active = store.app(&tienda).unwrap().unwrap().active;
    assert_eq!(active, Some(ready.number));
    drop(store);
    let error = try_open().err().unwrap();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");

    // With room again everything works and everything is there.
    fs::remove_file(data.join("fill")).unwrap();
    fs::remove_file(data.join("fill-2")).unwrap();
    let store = open();
    store.check_invariants().unwrap();
    assert!(store.restored().is_none(), "{:?}", store.restored());
    assert!(data.join("ballast").exists());
    let app = store.app(&tienda).unwrap().unwrap();
    assert_eq!(app.active, Some(ready.number));
    let phase = store.deployment(queued.id).unwrap().unwrap().phase;
    assert!(matches!(phase, Phase::Failed { .. }));
    submit(&store, "tienda");
    store.check_invariants().unwrap();
}

/// Takes all blocks there are.
fn fill_up(path: &std::path::Path) {
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    let free = rustix::fs::fstatvfs(&file).unwrap();
    let bytes = free.f_bavail * free.f_frsize;
    if bytes > 0 {
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(&file, flags, 0, bytes).unwrap();
    }
}
