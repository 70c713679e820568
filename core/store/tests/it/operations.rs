//! Apps, env, tokens and counters: what was written is there after opening again, and what was
//! refused changed nothing.

use zarpar_model::{ReleaseNumber, Role, Scope, SshKey, Timestamp, Token};
use zarpar_store::StoreError;

use crate::world::{World, app, changes, env, live, name, submit};

#[test]
fn apps_are_kept_and_listed_by_name() {
    let world = World::new();
    let store = world.open();
    let tienda = app("tienda", &["tienda.example", "www.tienda.example"]);
    store
        .create_app(tienda.clone(), env(&[("SECRET_KEY", "s3cret")]))
        .unwrap();
    store.create_app(app("a-1", &[]), env(&[])).unwrap();
    store.create_app(app("a", &[]), env(&[])).unwrap();
    drop(store);

    let store = world.open();
    assert!(store.restored().is_none());
    assert_eq!(store.app(&name("tienda")).unwrap(), Some(tienda));
    assert_eq!(store.app(&name("nadie")).unwrap(), None);
    let names: Vec<String> = store
        .apps()
        .unwrap()
        .iter()
        .map(|app| app.name.to_string())
        .collect();
    assert_eq!(names, ["a", "a-1", "tienda"]);
    assert_eq!(
        store.secrets(&name("tienda")).unwrap(),
        env(&[("SECRET_KEY", "s3cret")])
    );
    assert_eq!(store.secrets(&name("a")).unwrap(), env(&[]));
}

#[test]
fn names_and_domains_have_one_owner() {
    let world = World::new();
    let store = world.open();
    store
        .create_app(app("tienda", &["tienda.example"]), env(&[]))
        .unwrap();
    store.create_app(app("blog", &[]), env(&[])).unwrap();

    let twice = store.create_app(app("tienda", &[]), env(&[]));
    assert!(matches!(twice, Err(StoreError::Exists { .. })), "{twice:?}");
    let taken = store
        .create_app(app("otra", &["a.example", "tienda.example"]), env(&[]))
        .unwrap_err();
    assert!(matches!(taken, StoreError::DomainTaken { .. }));
    assert!(taken.to_string().contains("`tienda.example`"), "{taken}");
    assert!(taken.to_string().contains("hint: "), "{taken}");
    let taken = store.update_app(&name("blog"), |app| {
        app.domains.push("tienda.example".parse().unwrap());
        Ok::<_, StoreError>(())
    });
    assert!(matches!(taken, Err(StoreError::DomainTaken { .. })));
    assert!(
        store
            .app(&name("blog"))
            .unwrap()
            .unwrap()
            .domains
            .is_empty()
    );
    assert_eq!(store.apps().unwrap().len(), 2);

    // Its own domain is no conflict, and a freed one can be taken.
    store
        .update_app(&name("tienda"), |app| {
            app.domains.push("www.tienda.example".parse().unwrap());
            Ok::<_, StoreError>(())
        })
        .unwrap();
    store.remove_app(&name("tienda")).unwrap();
    store
        .create_app(app("otra", &["tienda.example"]), env(&[]))
        .unwrap();
    store.check_invariants().unwrap();
}

#[test]
fn an_update_that_fails_or_moves_what_is_not_its_own_changes_nothing() {
    let world = World::new();
    let store = world.open();
    let tienda = app("tienda", &[]);
    store.create_app(tienda.clone(), env(&[])).unwrap();
    let failed = store.update_app(&name("tienda"), |app| {
        app.postgres = true;
        Err::<(), _>(StoreError::Invariant("no".into()))
    });
    assert!(failed.is_err());
    for touch in [
        |app: &mut zarpar_model::App| app.active = Some(ReleaseNumber(1)),
        |app: &mut zarpar_model::App| app.next_release = ReleaseNumber(9),
        |app: &mut zarpar_model::App| app.name = "otra".parse().unwrap(),
    ] {
        let refused = store.update_app(&name("tienda"), |app| {
            touch(app);
            Ok::<_, StoreError>(())
        });
        assert!(matches!(refused, Err(StoreError::Invariant(_))));
    }
    assert_eq!(store.app(&name("tienda")).unwrap(), Some(tienda));
    let missing = store.update_app(&name("nadie"), |_| Ok::<_, StoreError>(()));
    assert!(matches!(missing, Err(StoreError::NoSuch { .. })));
}

#[test]
fn updates_of_many_threads_are_all_there() {
    let world = World::new();
    let store = world.open();
    store.create_app(app("tienda", &[]), env(&[])).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = store.clone();
            scope.spawn(move || {
                for step in 0..5 {
                    let domain = format!("d{thread}-{step}.example").parse().unwrap();
                    store
                        .update_app(&name("tienda"), |app| {
                            app.domains.push(domain);
                            Ok::<_, StoreError>(())
                        })
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(store.apps().unwrap()[0].domains.len(), 20);
}

#[test]
fn env_is_set_unset_and_kept() {
    let world = World::new();
    let store = world.open();
    let tienda = name("tienda");
    store.create_app(app("tienda", &[]), env(&[])).unwrap();
    store
        .set_env(
            &tienda,
            &changes(&[("A", Some("1")), ("B", Some("two\nlines"))]),
        )
        .unwrap();
    store
        .set_env(&tienda, &changes(&[("A", None), ("C", Some(""))]))
        .unwrap();
    store
        .set_secrets(&tienda, &changes(&[("DB_PASSWORD", Some("p"))]))
        .unwrap();
    drop(store);

    let store = world.open();
    let expected = env(&[("B", "two\nlines"), ("C", "")]);
    assert_eq!(store.env(&tienda).unwrap(), expected);
    assert_eq!(
        store.secrets(&tienda).unwrap(),
        env(&[("DB_PASSWORD", "p")])
    );
    let nul = store.set_env(&tienda, &changes(&[("D", Some("a\0b"))]));
    assert!(matches!(nul, Err(StoreError::EnvValue { .. })));
    assert_eq!(store.env(&tienda).unwrap(), expected);
    assert!(matches!(
        store.env(&name("nadie")),
        Err(StoreError::NoSuch { .. })
    ));
}

#[test]
fn a_large_env_is_whole_and_never_in_a_file_that_sled_does_not_sync() {
    let world = World::new();
    let store = world.open();
    let names = ["a", "b", "c", "d"];
    let large = "x".repeat(255 << 10);
    for (round, text) in names.iter().cycle().take(12).enumerate() {
        if round < names.len() {
            store.create_app(app(text, &[]), env(&[])).unwrap();
        }
        // Longer and shorter in turn, so that old chunks must go.
        let value = if round % 3 == 1 { "short" } else { &large };
        store
            .set_env(&name(text), &changes(&[("LARGE", Some(value))]))
            .unwrap();
        assert_eq!(store.env(&name(text)).unwrap(), env(&[("LARGE", value)]));
    }
    let too_large = store
        .set_env(
            &name("a"),
            &changes(&[("MORE", Some(&"y".repeat(2 << 10)))]),
        )
        .unwrap_err();
    assert!(matches!(too_large, StoreError::EnvTooLarge { .. }));
    assert!(too_large.to_string().contains("262144"), "{too_large}");
    drop(store);
    let blobs = std::fs::read_dir(world.path("state/blobs"))
        .unwrap()
        .count();
    assert_eq!(blobs, 0);
    let store = world.open();
    assert_eq!(store.env(&name("d")).unwrap(), env(&[("LARGE", &large)]));
}

#[test]
fn a_removed_app_leaves_nothing_and_takes_nothing_else() {
    let world = World::new();
    let store = world.open();
    for text in ["tienda", "tienda-2"] {
        store
            .create_app(app(text, &[]), env(&[("SECRET_KEY", text)]))
            .unwrap();
        store
            .set_env(&name(text), &changes(&[("A", Some(text))]))
            .unwrap();
        live(&store, text);
    }
    let last = submit(&store, "tienda");
    store.remove_app(&name("tienda")).unwrap();
    store.check_invariants().unwrap();
    assert_eq!(store.app(&name("tienda")).unwrap(), None);
    assert_eq!(store.deployment(last.id).unwrap(), None);
    assert!(store.releases(&name("tienda")).unwrap().is_empty());
    assert!(store.deployments(&name("tienda"), 10).unwrap().is_empty());
    assert!(store.unfinished().unwrap().is_empty());
    assert!(
        store
            .release_env(&name("tienda"), ReleaseNumber(1))
            .is_err()
    );
    assert!(store.remove_app(&name("tienda")).is_err());

    assert_eq!(
        store.env(&name("tienda-2")).unwrap(),
        env(&[("A", "tienda-2")])
    );
    assert_eq!(store.releases(&name("tienda-2")).unwrap().len(), 1);
    store.create_app(app("tienda", &[]), env(&[])).unwrap();
    assert_eq!(store.env(&name("tienda")).unwrap(), env(&[]));
    assert!(submit(&store, "tienda").id > last.id, "an id is used once");
    store.check_invariants().unwrap();
}

#[test]
fn tokens_are_found_by_hash_until_they_are_revoked() {
    let world = World::new();
    let store = world.open();
    let token = Token {
        name: name("ci"),
        sha256: "ab".repeat(32),
        scope: Scope::Apps(vec![name("tienda")]),
        created_at: Timestamp(1),
        access: zarpar_model::Access::Push,
        expires_at: None,
    };
    store.create_token(token.clone()).unwrap();
    assert!(matches!(
        store.create_token(token.clone()),
        Err(StoreError::Exists { .. })
    ));
    drop(store);
    let store = world.open();
    assert_eq!(
        store.token_by_sha256(&token.sha256).unwrap(),
        Some(token.clone())
    );
    assert_eq!(store.token_by_sha256(&"cd".repeat(32)).unwrap(), None);
    assert_eq!(store.tokens().unwrap(), std::slice::from_ref(&token));
    assert!(store.revoke_token(&name("ci")).unwrap());
    assert!(!store.revoke_token(&name("ci")).unwrap());
    assert_eq!(store.token_by_sha256(&token.sha256).unwrap(), None);
}

#[test]
fn generations_only_rise() {
    let world = World::new();
    let mut last = 0;
    for _ in 0..3 {
        let store = world.open();
        for _ in 0..1100 {
            let generation = store.next_generation().unwrap();
            assert!(generation > last, "{generation} after {last}");
            last = generation;
        }
    }
}

#[test]
fn a_key_is_here_once() {
    let world = World::new();
    let store = world.open();
    let public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0cOaEDZmKS0gojFpWWm1N8TvueNWCyu0BR7P0AEPag";
    let key = |text: &str, comment: &str| SshKey {
        name: name(text),
        key: format!("{public} {comment}").parse().unwrap(),
        role: Role::Deploy,
        scope: Scope::Apps(vec![name("tienda")]),
        created_at: Timestamp(1),
    };
    store.create_key(&key("ana", "ana@laptop")).unwrap();
    assert!(matches!(
        store.create_key(&key("ana", "")),
        Err(StoreError::Exists { .. })
    ));
    assert!(matches!(
        store.create_key(&key("eva", "another-comment")),
        Err(StoreError::KeyKnown { name }) if name.as_str() == "ana"
    ));
    drop(store);
    let store = world.open();
    assert_eq!(
        store.key(&name("ana")).unwrap(),
        Some(key("ana", "ana@laptop"))
    );
    assert!(store.remove_key(&name("ana")).unwrap());
    assert!(!store.remove_key(&name("ana")).unwrap());
    assert_eq!(store.keys().unwrap(), []);
}
