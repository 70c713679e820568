//! Whatever happens to the state folder, what the export holds is there again, the damaged
//! folder is kept, and it is told. Without an export nothing is touched.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zarpar_model::{Scope, Timestamp, Token};
use zarpar_store::{Store, StoreError};

use crate::world::{World, app, changes, env, live, name, submit};

/// Everything that must come back, as text.
fn contents(store: &Store) -> String {
    let mut all = Vec::new();
    for app in store.apps().unwrap() {
        let name = &app.name;
        all.push(format!("{app:?}"));
        all.push(format!("{:?}", store.env(name).unwrap()));
        all.push(format!("{:?}", store.secrets(name).unwrap()));
        for release in store.releases(name).unwrap() {
            all.push(format!("{release:?}"));
            all.push(format!("{:?}", store.release_env(name, release.number)));
        }
    }
    all.push(format!("{:?}", store.tokens().unwrap()));
    all.join("\n")
}

fn filled() -> (World, String) {
    let world = World::new();
    let store = world.open();
    store
        .create_token(Token {
            name: name("ci"),
            sha256: "ab".repeat(32),
            scope: Scope::All,
            created_at: Timestamp(1),
            access: zarpar_model::Access::Push,
            expires_at: None,
        })
        .unwrap();
    for text in ["tienda", "blog", "foro"] {
        store
            .create_app(
                app(text, &[&format!("{text}.example")]),
                env(&[("S", text)]),
            )
            .unwrap();
        let large = text.repeat(2000);
        store
            .set_env(&name(text), &changes(&[("A", Some(&large))]))
            .unwrap();
        live(&store, text);
        live(&store, text);
    }
    let before = contents(&store);
    (world, before)
}

fn set_aside(world: &World) -> Vec<PathBuf> {
    fs::read_dir(world.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("state.damaged-"))
        .collect()
}

/// Opens and compares; the reason when it was restored.
fn check(world: &World, before: &str) -> Option<String> {
    let store = world.open();
    assert_eq!(contents(&store), before);
    let restored = store.restored()?;
    assert_eq!(
        restored.moved_to.iter().collect::<Vec<_>>(),
        set_aside(world).iter().collect::<Vec<_>>()
    );
    let reason = restored.reason.clone();
    drop(store);
    let again = world.open();
    assert!(again.restored().is_none(), "restored once");
    assert_eq!(contents(&again), before);
    Some(reason)
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = fs::File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn a_state_folder_that_is_gone_is_restored_and_numbers_go_on() {
    let (world, before) = filled();
    let (last, generation) = {
        let store = world.open();
        let generation = store.next_generation().unwrap();
        (submit(&store, "tienda").id, generation)
    };
    fs::remove_dir_all(world.path("state")).unwrap();
    // As a crash in the middle of an earlier restore would leave it.
    fs::create_dir(world.path("state.new")).unwrap();
    fs::write(world.path("state.new/db"), "half").unwrap();
    let reason = check(&world, &before).unwrap();
    assert!(reason.contains("missing"), "{reason}");
    assert!(set_aside(&world).is_empty());
    let store = world.open();
    assert_eq!(store.deployment(last).unwrap(), None);
    assert!(submit(&store, "tienda").id > last, "no id comes twice");
    assert!(store.next_generation().unwrap() > generation);
    store.check_invariants().unwrap();
}

#[test]
fn a_database_that_was_cut_short_is_restored() {
    let (world, before) = filled();
    for keep in [0, 1, 4096, 30_000] {
        let file = fs::File::options()
            .write(true)
            .open(world.path("state/db"))
            .unwrap();
        file.set_len(keep).unwrap();
        let reason = check(&world, &before);
        assert!(reason.is_some(), "kept {keep}");
        for path in set_aside(&world) {
            fs::remove_dir_all(path).unwrap();
        }
    }
}

#[test]
fn garbage_anywhere_never_loses_what_the_export_has() {
    let (world, before) = filled();
    let length = fs::metadata(world.path("state/db")).unwrap().len();
    let mut restored = 0;
    for step in 0..24 {
        let at = length * step / 24;
        let bytes = vec![0xa5; if step % 2 == 0 { 16 } else { 8192 }];
        overwrite(&world.path("state/db"), at, &bytes);
        restored += usize::from(check(&world, &before).is_some());
        for path in set_aside(&world) {
            fs::remove_dir_all(path).unwrap();
        }
    }
    assert!(restored > 0, "some of it must have hit");
}

#[test]
fn damage_beside_the_log_is_met() {
    let (world, before) = filled();
    fs::write(world.path("state/conf"), [0xff; 100]).unwrap();
    assert!(check(&world, &before).is_some());
    fs::remove_dir_all(&set_aside(&world)[0]).unwrap();
    for entry in fs::read_dir(world.path("state")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("snap.")
        {
            fs::write(path, "torn").unwrap();
        }
    }
    check(&world, &before);
}

#[test]
fn half_a_snapshot_of_a_killed_start_is_no_damage() {
    let (world, before) = filled();
    let half = world.path("state/snap.00000000FFFFFFFF.generating");
    fs::write(&half, "half").unwrap();
    assert_eq!(check(&world, &before), None);
    assert!(!half.exists());
}

#[test]
fn an_older_database_is_not_taken_for_the_newest() {
    let (world, _) = filled();
    let copy = world.path("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(world.path("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
        }
    }
    let before = {
        let store = world.open();
        live(&store, "tienda");
        contents(&store)
    };
    fs::remove_dir_all(world.path("state")).unwrap();
    fs::rename(&copy, world.path("state")).unwrap();
    let reason = check(&world, &before).unwrap();
    assert!(reason.contains("generation"), "{reason}");
}

#[test]
fn a_row_that_the_database_lost_without_a_word_is_missed() {
    let (world, before) = filled();
    for (table, key) in [
        ("apps", "blog"),
        ("env", "foro/env"),
        ("releases", "tienda/00000000000000000002"),
        ("tokens", "ci"),
    ] {
        lose(&world.path("state"), table, key);
        let reason = check(&world, &before).unwrap();
        assert!(reason.contains(key), "{reason}");
        for path in set_aside(&world) {
            fs::remove_dir_all(path).unwrap();
        }
    }
}

/// Takes one chunk of a row out of the database, behind the store's back.
fn lose(state: &Path, table: &str, key: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let database = loop {
        match sled::Config::new().path(state).open() {
            Ok(database) => break database,
            // The store that was dropped is still closing its file.
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    let tree = database.open_tree(table).unwrap();
    let (chunk, _) = tree
        .scan_prefix(format!("{key}\0"))
        .next_back()
        .unwrap()
        .unwrap();
    tree.remove(chunk).unwrap();
    database.flush().unwrap();
}

#[test]
fn without_an_export_damage_is_said_and_nothing_is_touched() {
    let (world, _) = filled();
    fs::remove_file(world.path("state.export.jsonl")).unwrap();
    overwrite(&world.path("state/conf"), 0, &[0xff; 100]);
    let found = fs::read(world.path("state/db")).unwrap();
    let error = world.try_open(Duration::from_secs(5)).err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("hint: "), "{error}");
    assert_eq!(fs::read(world.path("state/db")).unwrap(), found);
}

#[test]
fn a_damaged_export_of_a_sound_state_is_written_again() {
    let (world, before) = filled();
    let export = world.path("state.export.jsonl");
    let whole = fs::read(&export).unwrap();
    for damaged in [&b"garbage"[..], &b""[..], &whole[..whole.len() / 2]] {
        fs::write(&export, damaged).unwrap();
        assert_eq!(check(&world, &before), None);
        assert_eq!(fs::read(&export).unwrap(), whole);
    }
    fs::remove_file(&export).unwrap();
    assert_eq!(check(&world, &before), None);
    assert_eq!(fs::read(&export).unwrap(), whole);
    // Both damaged: nothing is guessed, nothing is moved.
    fs::write(&export, &whole[..whole.len() - 20]).unwrap();
    fs::remove_dir_all(world.path("state")).unwrap();
    let error = world.try_open(Duration::from_secs(5)).err().unwrap();
    assert!(matches!(error, StoreError::ExportDamaged { .. }), "{error}");
    assert!(!world.path("state").exists());
}

#[test]
fn a_state_of_a_newer_zarpar_is_refused() {
    let (world, _) = filled();
    let export = world.path("state.export.jsonl");
    let text = fs::read_to_string(&export).unwrap();
    let newer = text.replace("\"zarpar_export\":1", "\"zarpar_export\":2");
    assert_ne!(newer, text);
    fs::write(&export, newer).unwrap();
    let error = world.try_open(Duration::from_secs(5)).err().unwrap();
    assert!(
        matches!(error, StoreError::Newer { found: 2, .. }),
        "{error}"
    );
}
