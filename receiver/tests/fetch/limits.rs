//! A forge that sends too much, too slowly, or things that are no code.

use std::time::{Duration, Instant};

use zarpar_control::Secret;
use zarpar_receiver::{Credentials, FetchError, FetchRules};

use crate::forge::{Forge, Manner, git};

async fn fetch(forge: &Forge, rules: &FetchRules) -> FetchError {
    let url = forge.url();
    let fetched = forge
        .fetch_from(&url, "main", Credentials::None, rules)
        .await;
    fetched.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_cut_and_leaves_nothing() {
    let forge = Forge::start(Manner::Serve).await;
    let mut big = vec![0; 4 << 20];
    getrandom::fill(&mut big).unwrap();
    std::fs::write(forge.path("work/big"), &big).unwrap();
    forge.commit_all("big");
    let rules = FetchRules {
        max_bytes: 1 << 20,
        ..forge.rules()
    };
    let error = fetch(&forge, &rules).await;
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains("`max_size`"), "{error}");
    assert_eq!(forge.ask(&["for-each-ref"]), "");
    assert!(forge.ask(&["count-objects"]).starts_with("0 objects"));
    // The next one works.
    std::fs::remove_file(forge.path("work/big")).unwrap();
    forge.commit_all("small");
    forge.fetch().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_forge_is_left_after_the_time_limit() {
    let forge = Forge::start(Manner::Silent).await;
    let rules = FetchRules {
        timeout: Duration::from_secs(2),
        ..forge.rules()
    };
    let start = Instant::now();
    let error = fetch(&forge, &rules).await;
    assert!(matches!(error, FetchError::Slow { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(6));
    nobody_speaks_with(&forge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_an_end_takes_neither_the_memory_nor_the_disk() {
    let forge = Forge::start(Manner::Endless).await;
    let error = fetch(&forge, &forge.rules()).await;
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
    nobody_speaks_with(&forge).await;
}

/// The processes of the fetch are gone, with their connections.
async fn nobody_speaks_with(forge: &Forge) {
    let own = forge.url();
    let deadline = Instant::now() + Duration::from_secs(5);
    while lines_of_processes().any(|line| line.contains(&own)) {
        assert!(Instant::now() < deadline, "a process is left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_objects_are_refused() {
    let forge = Forge::start(Manner::Serve).await;
    let bare = forge.path("forge/yo/tienda.git");
    // A tree with a file `.git`, which no git makes by itself.
    let blob = git(&bare, &["rev-parse", "main:file"]).stdout;
    let blob = String::from_utf8(blob).unwrap();
    let raw: Vec<u8> = (0..20)
        .map(|at| u8::from_str_radix(&blob[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let tree = [b"100644 .git\0".as_slice(), &raw].concat();
    std::fs::write(bare.join("hostile"), tree).unwrap();
    let tree = git(
        &bare,
        &["hash-object", "-t", "tree", "-w", "--literally", "hostile"],
    );
    let tree = String::from_utf8(tree.stdout).unwrap();
    let commit = git(&bare, &["commit-tree", "-m", "hostile", tree.trim()]);
    let commit = String::from_utf8(commit.stdout).unwrap();
    git(&bare, &["update-ref", "refs/heads/main", commit.trim()]);
    let error = fetch(&forge, &forge.rules()).await;
    assert!(matches!(error, FetchError::Hostile { .. }), "{error}");
    assert_eq!(forge.ask(&["for-each-ref"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_pack_of_a_large_file_is_refused() {
    let forge = Forge::start(Manner::Serve).await;
    let zeros = std::fs::File::create(forge.path("work/zeros")).unwrap();
    zeros.set_len(32 << 20).unwrap();
    forge.commit_all("zeros");
    let error = fetch(&forge, &forge.rules()).await;
    assert!(matches!(error, FetchError::Tree(_)), "{error}");
    let words = "the file `zeros` is too large: it has 32.0 MiB, and 16.0 MiB are allowed";
    assert!(error.to_string().starts_with(words), "{error}");
    assert_eq!(forge.ask(&["for-each-ref"]), "");
    assert!(forge.ask(&["count-objects"]).starts_with("0 objects"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_nobody_waits_for_any_more_ends_and_shows_no_secret() {
    let forge = Forge::start(Manner::Silent).await;
    let secret = "s3cret-of-a-forge";
    let encoded = "czNjcmV0LW9mLWEtZm9yZ2"; // a part of the secret's base64 in the header
    let token = Credentials::Token(Secret::new(secret.to_owned()));
    let (url, rules) = (forge.url(), forge.rules());
    let fetching = forge.fetch_from(&url, "main", token, &rules);
    let looking = async {
        while !lines_of_processes()
            .any(|line| line.contains("git-remote-https") && line.contains(&url))
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(lines_of_processes().all(|line| !line.contains(secret) && !line.contains(encoded)));
    };
    tokio::select! {
        fetched = fetching => panic!("{fetched:?}"),
        () = looking => {}
    }
    nobody_speaks_with(&forge).await;
    forge.nothing_is_left();
}

fn lines_of_processes() -> impl Iterator<Item = String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).into_owned())
}
