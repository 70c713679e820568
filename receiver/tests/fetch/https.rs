//! What a fetch brings, and what it refuses, over https.

use std::sync::atomic::Ordering;

use tokio::net::TcpListener;
use zarpar_control::Secret;
use zarpar_receiver::{Credentials, FetchError, FetchRules};

use crate::forge::{Forge, Manner, git};

#[tokio::test(flavor = "multi_thread")]
async fn the_tip_of_the_branch_comes_without_its_history() {
    let forge = Forge::start(Manner::Serve).await;
    let second = forge.commit("two");
    assert_eq!(forge.fetch().await.unwrap(), second);
    assert_eq!(
        forge.ask(&["rev-parse", "refs/zarpar/fetched/main"]),
        second.as_str()
    );
    assert_eq!(forge.ask(&["rev-list", "--count", second.as_str()]), "1");
    let show = format!("{second}:file");
    assert_eq!(forge.ask(&["show", &show]), "two");
    forge.ask(&["fsck", "--strict"]);
    // Again, and then what is new, of which the old part is not sent again.
    assert_eq!(forge.fetch().await.unwrap(), second);
    std::fs::write(forge.path("work/other"), "x").unwrap();
    let third = forge.commit_all("three");
    assert_eq!(forge.fetch().await.unwrap(), third);
    forge.ask(&["fsck", "--strict"]);
    assert_eq!(
        forge.ask(&["for-each-ref", "--format=%(refname)"]),
        "refs/zarpar/fetched/main"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_app_has_is_not_sent_again() {
    let forge = Forge::start(Manner::Serve).await;
    // Incompressible, so its size is what would be sent.
    let mut big = vec![0; 3 << 20];
    getrandom::fill(&mut big).unwrap();
    std::fs::write(forge.path("work/big"), &big).unwrap();
    forge.commit_all("big");
    forge.fetch().await.unwrap();
    let third = forge.commit("three");
    let rules = FetchRules {
        max_bytes: 64 * 1024,
        ..forge.rules()
    };
    let url = forge.url();
    let fetched = forge
        .fetch_from(&url, "main", Credentials::None, &rules)
        .await;
    assert_eq!(fetched.unwrap(), third);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_and_a_fetch_live_in_one_repository() {
    let forge = Forge::start(Manner::Serve).await;
    let second = forge.commit("two");
    forge.fetch().await.unwrap();
    // The whole history is pushed, past the commit that came without one.
    let third = forge.commit("three");
    let app = forge.app_repository().display().to_string();
    git(&forge.path("work"), &["push", "-q", &app, "HEAD:main"]);
    assert_eq!(forge.fetch().await.unwrap(), third);
    forge.ask(&["fsck", "--strict"]);
    git(
        forge.folder.path(),
        &["clone", "-q", &format!("file://{app}"), "clone"],
    );
    let head = git(&forge.path("clone"), &["log", "-1", "--format=%H %P"]);
    assert_eq!(
        String::from_utf8_lossy(&head.stdout).trim(),
        format!("{third} {second}")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_in_words() {
    let forge = Forge::start(Manner::Serve).await;
    let rules = forge.rules();
    let fetch = async |url: &str, branch: &str| {
        let fetched = forge
            .fetch_from(url, branch, Credentials::None, &rules)
            .await;
        fetched.unwrap_err()
    };
    let error = fetch(&forge.url(), "nowhere").await;
    assert!(matches!(error, FetchError::NoBranch { .. }), "{error}");
    let other = format!("https://127.0.0.1:{}/yo/other.git", forge.port);
    let error = fetch(&other, "main").await;
    assert!(matches!(error, FetchError::NotFound { .. }), "{error}");
    assert!(
        error.to_string().contains("hint: is the address right?"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_may_become_a_folder_of_branches() {
    let forge = Forge::start(Manner::Serve).await;
    let rules = forge.rules();
    let bare = forge.path("forge/yo/tienda.git");
    for branch in ["a", "a/b"] {
        git(&bare, &["branch", branch, "main"]);
        let url = forge.url();
        forge
            .fetch_from(&url, branch, Credentials::None, &rules)
            .await
            .unwrap();
        git(&bare, &["branch", "-D", branch]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_addresses_that_are_allowed_are_connected_to() {
    let forge = Forge::start(Manner::Serve).await;
    let url = forge.url();
    for (url, rules) in [
        (
            url.clone(),
            FetchRules {
                allow: Vec::new(),
                ..forge.rules()
            },
        ),
        (
            url.clone(),
            FetchRules {
                allow: vec!["10.0.0.0/8".parse().unwrap()],
                ..forge.rules()
            },
        ),
        (url.replace("127.0.0.1", "localhost"), forge.rules()),
        (
            url,
            FetchRules {
                ports: Vec::new(),
                ..forge.rules()
            },
        ),
    ]
    .into_iter()
    .filter(|(url, _)| !url.contains("localhost") || localhost_has_another_address())
    {
        let fetched = forge
            .fetch_from(&url, "main", Credentials::None, &rules)
            .await;
        let error = fetched.unwrap_err();
        assert!(
            matches!(error, FetchError::Address { .. } | FetchError::Port { .. }),
            "{error}"
        );
    }
    assert_eq!(forge.requests.load(Ordering::SeqCst), 0);
}

/// Where `localhost` is also `::1`, one forbidden answer of two forbids the host.
fn localhost_has_another_address() -> bool {
    use std::net::ToSocketAddrs;
    let mut answers = ("localhost", 443).to_socket_addrs().unwrap();
    answers.any(|answer| answer.is_ipv6())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let canary = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("https://{}", canary.local_addr().unwrap());
    let forge = Forge::start(Manner::Redirect(to)).await;
    let error = forge.fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::Redirect { .. }), "{error}");
    assert!(forge.requests.load(Ordering::SeqCst) > 0);
    let knocked = std::time::Duration::from_millis(200);
    assert!(
        tokio::time::timeout(knocked, canary.accept())
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_and_is_never_shown() {
    // "x-access-token:s3cret-of-a-forge"
    let header = "Basic eC1hY2Nlc3MtdG9rZW46czNjcmV0LW9mLWEtZm9yZ2U=";
    let forge = Forge::start(Manner::Private(header)).await;
    let (url, rules) = (forge.url(), forge.rules());
    let token = |text: &str| Credentials::Token(Secret::new(text.to_owned()));
    let fetch = async |credentials| forge.fetch_from(&url, "main", credentials, &rules).await;
    fetch(token("s3cret-of-a-forge")).await.unwrap();
    let error = fetch(token("an0ther")).await.unwrap_err();
    assert!(matches!(error, FetchError::Token { .. }), "{error}");
    let error = format!("{error} {error:?} {:?}", token("an0ther"));
    assert!(!error.contains("an0ther"), "{error}");
    let error = fetch(Credentials::None).await.unwrap_err();
    assert!(matches!(error, FetchError::NotFound { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_trusts_is_refused() {
    let forge = Forge::start(Manner::Serve).await;
    let rules = FetchRules {
        ca: None,
        ..forge.rules()
    };
    let url = forge.url();
    let fetched = forge
        .fetch_from(&url, "main", Credentials::None, &rules)
        .await;
    let error = fetched.unwrap_err();
    assert!(matches!(error, FetchError::Certificate { .. }), "{error}");
    assert!(error.to_string().contains("ca = \"FILE\""), "{error}");
    assert_eq!(forge.requests.load(Ordering::SeqCst), 0);
}
