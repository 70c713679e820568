//! Secrets are never on disk in the clear, a lost or wrong key is said and never replaced, and a
//! second process is refused in words within a bounded time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use zarpar_store::StoreError;

use crate::world::{World, app, changes, env, live, name};

const SECRET: &str = "correct-horse-battery-staple";

fn holds(path: &Path, needle: &str) -> bool {
    if path.is_dir() {
        return fs::read_dir(path)
            .unwrap()
            .any(|entry| holds(&entry.unwrap().path(), needle));
    }
    let bytes = fs::read(path).unwrap();
    bytes.windows(needle.len()).any(|w| w == needle.as_bytes())
}

fn world_with_secrets() -> World {
    let world = World::new();
    let store = world.open();
    store
        .create_app(
            app("tienda", &["tienda.example"]),
            env(&[("SECRET_KEY", SECRET)]),
        )
        .unwrap();
    store
        .set_env(
            &name("tienda"),
            &changes(&[("EMAIL_PASSWORD", Some(SECRET))]),
        )
        .unwrap();
    let release = live(&store, "tienda");
    assert_eq!(release.number.0, 1);
    world
}

#[test]
fn no_file_holds_a_value_in_the_clear() {
    let world = world_with_secrets();
    assert!(
        holds(world.folder.path(), "tienda.example"),
        "the search works"
    );
    assert!(!holds(world.folder.path(), SECRET));
    assert!(!holds(world.folder.path(), "EMAIL_PASSWORD"));
    let export = fs::metadata(world.path("state.export.jsonl")).unwrap();
    assert_eq!(export.permissions().mode() & 0o777, 0o600);
    let state = fs::metadata(world.path("state")).unwrap();
    assert_eq!(state.permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_key_is_made_once_for_its_owner_alone() {
    let world = World::new();
    drop(world.open());
    let about = fs::metadata(world.path("key")).unwrap();
    assert_eq!(
        (about.len(), about.permissions().mode() & 0o777),
        (32, 0o600)
    );
    let key = fs::read(world.path("key")).unwrap();
    drop(world.open());
    assert_eq!(fs::read(world.path("key")).unwrap(), key);
    // Nothing is sealed yet, so a lost key costs nothing.
    fs::remove_file(world.path("key")).unwrap();
    drop(world.open());
    assert_ne!(fs::read(world.path("key")).unwrap(), key);
    assert!(world.open().restored().is_none());
}

#[test]
fn a_lost_key_is_never_replaced_over_sealed_values() {
    let world = world_with_secrets();
    let key = fs::read(world.path("key")).unwrap();
    fs::remove_file(world.path("key")).unwrap();
    let error = world.try_open(Duration::ZERO).err().unwrap();
    assert!(matches!(error, StoreError::KeyMissing { .. }), "{error}");
    assert!(error.to_string().contains("hint: restore the key file"));
    assert!(!world.path("key").exists());

    fs::write(world.path("key"), [1; 32]).unwrap();
    fs::set_permissions(world.path("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let error = world.try_open(Duration::from_secs(5)).err().unwrap();
    assert!(matches!(error, StoreError::WrongKey { .. }), "{error}");

    fs::write(world.path("key"), [1; 31]).unwrap();
    let error = world.try_open(Duration::from_secs(5)).err().unwrap();
    assert!(
        matches!(error, StoreError::KeyLength { found: 31, .. }),
        "{error}"
    );

    fs::write(world.path("key"), key).unwrap();
    let store = world.open();
    assert_eq!(
        store.env(&name("tienda")).unwrap(),
        env(&[("EMAIL_PASSWORD", SECRET)])
    );
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let world = world_with_secrets();
    for mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(world.path("key"), fs::Permissions::from_mode(mode)).unwrap();
        let error = world.try_open(Duration::from_secs(5)).err().unwrap();
        assert!(matches!(error, StoreError::KeyExposed { .. }), "{error}");
        assert!(error.to_string().contains("`chmod 600 "), "{error}");
    }
    fs::set_permissions(world.path("key"), fs::Permissions::from_mode(0o400)).unwrap();
    drop(world.open());
}

#[test]
fn a_second_one_is_refused_in_words_and_in_time() {
    let world = World::new();
    let store = world.open();
    let begun = Instant::now();
    let patience = Duration::from_millis(300);
    let error = world.try_open(patience).err().unwrap();
    assert!(begun.elapsed() >= patience && begun.elapsed() < patience * 10);
    let words = error.to_string();
    let process = format!("(process {})", std::process::id());
    assert!(
        words.contains(&process) && words.contains("hint: "),
        "{words}"
    );

    // Who waits gets it as soon as it is free.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| world.try_open(Duration::from_secs(10)));
        drop(store);
        assert!(waiting.join().unwrap().is_ok());
    });
}
