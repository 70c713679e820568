#![allow(clippy::unwrap_used)]
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use hmac::{Hmac, KeyInit, Mac};
use zarpar_model::{Source, Timestamp};

use super::*;

const SECRET: &str = "It's a Secret to Everybody";
const NOW: u64 = 1_790_000_000;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.to_ascii_lowercase().parse().unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    map
}

fn proven(provider: Provider, pairs: &[(&str, &str)], secret: &str, body: &[u8]) -> bool {
    let mut verifier = Verifier::new(provider, &headers(pairs), secret, NOW);
    for piece in body.chunks(7) {
        verifier.update(piece);
    }
    verifier.finish()
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// The vector of GitHub's documents, "Testing the webhook payload validation".
const VECTOR: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

#[test]
fn the_vector_of_githubs_documents_is_right_and_nothing_else_is() {
    let good = format!("sha256={VECTOR}");
    let check = |value: &str| {
        proven(
            Provider::Github,
            &[("X-Hub-Signature-256", value)],
            SECRET,
            b"Hello, World!",
        )
    };
    assert!(check(&good));
    for wrong in [
        "",
        "sha256=",
        &good[..70],
        &format!("{good}0"),
        &format!("SHA256={VECTOR}"),
        &format!("sha256={}", VECTOR.to_uppercase()),
        &format!("sha1={VECTOR}"),
        VECTOR,
        &format!("sha256={}g", &VECTOR[..63]),
        &format!("sha256={}8", &VECTOR[..63]),
        &format!(" {good} "),
    ] {
        assert!(!check(wrong), "{wrong}");
    }
    let twice = [
        ("X-Hub-Signature-256", good.as_str()),
        ("X-Hub-Signature-256", good.as_str()),
    ];
    for (pairs, secret, body) in [
        (&[][..], SECRET, "Hello, World!"),
        (
            &[("X-Hub-Signature", good.as_str())][..],
            SECRET,
            "Hello, World!",
        ),
        (&twice[..], SECRET, "Hello, World!"),
        (&twice[..1], SECRET, "Hello, World?"),
        (&twice[..1], "another", "Hello, World!"),
    ] {
        assert!(!proven(Provider::Github, pairs, secret, body.as_bytes()));
    }
    // No secret is no webhook, also when the signature is right for it.
    let empty = hmac(b"", b"x");
    let hex: String = empty.iter().map(|byte| format!("{byte:02x}")).collect();
    let signature = format!("sha256={hex}");
    let pairs = [("X-Hub-Signature-256", signature.as_str())];
    assert!(!proven(Provider::Github, &pairs, "", b"x"));
    assert!(!proven(
        Provider::Gitlab,
        &[("X-Gitlab-Token", "")],
        "",
        b"x"
    ));
    assert!(!proven(Provider::Gitlab, &[], "", b"x"));
}

#[test]
fn gitea_forgejo_and_bitbucket_have_headers_of_their_own() {
    let with_prefix = format!("sha256={VECTOR}");
    let wrong = "0".repeat(64);
    for (provider, pairs, right) in [
        (Provider::Gitea, vec![("X-Gitea-Signature", VECTOR)], true),
        (Provider::Gitea, vec![("X-Forgejo-Signature", VECTOR)], true),
        (
            Provider::Gitea,
            vec![("X-Hub-Signature-256", &*with_prefix)],
            true,
        ),
        (
            Provider::Gitea,
            vec![("X-Gitea-Signature", &*with_prefix)],
            false,
        ),
        (
            Provider::Gitea,
            vec![
                ("X-Gitea-Signature", &*wrong),
                ("X-Hub-Signature-256", &*with_prefix),
            ],
            false,
        ),
        (
            Provider::Bitbucket,
            vec![("X-Hub-Signature", &*with_prefix)],
            true,
        ),
        (
            Provider::Bitbucket,
            vec![("X-Hub-Signature", VECTOR)],
            false,
        ),
        (
            Provider::Bitbucket,
            vec![("X-Hub-Signature-256", &*with_prefix)],
            false,
        ),
        (Provider::Github, vec![("X-Gitea-Signature", VECTOR)], false),
    ] {
        let found = proven(provider, &pairs, SECRET, b"Hello, World!");
        assert_eq!(found, right, "{provider} {pairs:?}");
    }
}

/// A delivery of GitLab's with a signature of Standard Webhooks, made `age` seconds ago.
fn signed(key: &str, age: i64, body: &str) -> (String, String) {
    let time = NOW.checked_add_signed(-age).unwrap().to_string();
    let key = STANDARD
        .decode(key.strip_prefix("whsec_").unwrap())
        .unwrap();
    let digest = hmac(&key, format!("msg_1.{time}.{body}").as_bytes());
    (time, format!("v1,{}", STANDARD.encode(digest)))
}

#[test]
fn the_vector_of_standard_webhooks_is_right() {
    // From the specification's reference libraries.
    let time = "1614265330";
    let mut verifier = Verifier::new(
        Provider::Gitlab,
        &headers(&[
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", time),
            (
                "webhook-signature",
                "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
        ]),
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        1_614_265_330 + TOLERANCE_TESTED,
    );
    verifier.update(br#"{"test": 2432232314}"#);
    assert!(verifier.finish());
}

const TOLERANCE_TESTED: u64 = 300;

#[test]
fn a_signature_of_gitlab_decides_where_there_is_one() {
    let secret = new_webhook_secret(Provider::Gitlab).unwrap();
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap());
    assert_eq!(key.unwrap().len(), 32);
    let other = new_webhook_secret(Provider::Gitlab).unwrap();
    let body = r#"{"ref":"x"}"#;
    let check = |pairs: &[(&str, &str)]| proven(Provider::Gitlab, pairs, &secret, body.as_bytes());
    let token = ("X-Gitlab-Token", secret.as_str());
    assert!(check(&[token]));
    for wrong in [
        "",
        "x",
        &secret[..secret.len() - 1],
        &format!("{secret}x"),
        &other,
    ] {
        assert!(!check(&[("X-Gitlab-Token", wrong)]), "{wrong}");
    }
    assert!(!check(&[token, token]));
    let (time, good) = signed(&secret, 0, body);
    let (_, bad) = signed(&other, 0, body);
    let several = format!("{bad} v2,abc {good}");
    let with = |time: &str, signature: &str, token: bool| {
        let mut pairs = vec![
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", time),
            ("webhook-signature", signature),
        ];
        if token {
            pairs.push(("X-Gitlab-Token", &secret));
        }
        check(&pairs)
    };
    assert!(with(&time, &good, false) && with(&time, &good, true));
    assert!(with(&time, &several, false));
    // A right token does not rescue a wrong signature.
    for wrong in [
        &bad,
        "",
        "v1,",
        "v1,AAAA",
        &good[3..],
        &good.replace("v1", "v2"),
    ] {
        assert!(!with(&time, wrong, true), "{wrong}");
    }
    for age in [-301, 301] {
        let (time, signature) = signed(&secret, age, body);
        assert!(!with(&time, &signature, true), "{age}");
    }
    for age in [-299, 299] {
        let (time, signature) = signed(&secret, age, body);
        assert!(with(&time, &signature, false), "{age}");
    }
    assert!(!with(&format!("+{time}"), &good, false));
    assert!(!check(&[
        ("webhook-timestamp", &time),
        ("webhook-signature", &good),
        token
    ]));
}

fn source(provider: Provider) -> Source {
    Source {
        app: "tienda".parse().unwrap(),
        provider,
        url: "https://github.com/yo/tienda.git".parse().unwrap(),
        branch: "main".parse().unwrap(),
        poll_seconds: None,
        deploy_key_public: String::new(),
        host_keys: Vec::new(),
        forge_token: false,
        last_seen: None,
        created_at: Timestamp(1),
    }
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const NULL: &str = "0000000000000000000000000000000000000000";

fn verdict(provider: Provider, event: (&str, &str), body: &str) -> Result<Verdict, Malformed> {
    let event = read_event(provider, &headers(&[event]), body.as_bytes())?;
    Ok(judge(&event, &source(provider)))
}

fn github(reference: &str, after: &str, repository: &str) -> String {
    format!(
        r#"{{"ref":"{reference}","before":"{NULL}","after":"{after}","unknown":[1],"repository":{{"id":1,"full_name":"{repository}"}}}}"#
    )
}

#[test]
fn only_a_push_to_that_branch_of_that_repository_counts() {
    let event = ("X-GitHub-Event", "push");
    let look = |body: &str| verdict(Provider::Github, event, body).unwrap();
    let there = |reference: &str, after: &str, repository: &str| {
        look(&github(reference, after, repository))
    };
    let good = there("refs/heads/main", COMMIT, "Yo/Tienda");
    assert_eq!(good, Verdict::Look(COMMIT.parse().unwrap()));
    for (reference, after, repository, word) in [
        (
            "refs/heads/main",
            COMMIT,
            "fork/tienda",
            "repository `fork/tienda`",
        ),
        ("refs/heads/main", NULL, "yo/tienda", "was deleted"),
        (
            "refs/heads/other",
            COMMIT,
            "yo/tienda",
            "`refs/heads/other`",
        ),
        ("refs/tags/main", COMMIT, "yo/tienda", "`refs/tags/main`"),
        ("main", COMMIT, "yo/tienda", "`main`"),
    ] {
        let found = there(reference, after, repository);
        let Verdict::Ignore(reason) = found else {
            panic!("{reference} {after} {repository}: {found:?}")
        };
        assert!(reason.contains(word), "{reason}");
    }
    let ping = verdict(Provider::Github, ("X-GitHub-Event", "ping"), "{}");
    assert_eq!(ping.unwrap(), Verdict::Pong);
    let issues = verdict(Provider::Github, ("X-GitHub-Event", "issues"), "[");
    assert!(matches!(issues.unwrap(), Verdict::Ignore(_)));
}

#[test]
fn what_is_no_push_is_said_and_depth_costs_nothing() {
    let event = ("X-GitHub-Event", "push");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_inside = format!(r#"{{"x":{deep},"ref":"a"}}"#);
    let short = github("refs/heads/main", "abc", "yo/tienda");
    for body in [
        "",
        "{}",
        "[1,2]",
        "payload=%7B%7D",
        &deep,
        &deep_inside,
        &short,
    ] {
        assert!(verdict(Provider::Github, event, body).is_err());
    }
}

#[test]
fn every_forge_has_its_own_words() {
    let look = Verdict::Look(COMMIT.parse().unwrap());
    let gitlab = |event: &str, reference: &str, after: &str| {
        let body = format!(
            r#"{{"object_kind":"push","ref":"{reference}","after":"{after}","project":{{"path_with_namespace":"yo/tienda"}}}}"#
        );
        verdict(Provider::Gitlab, ("X-Gitlab-Event", event), &body).unwrap()
    };
    assert_eq!(gitlab("Push Hook", "refs/heads/main", COMMIT), look);
    for (event, reference, after) in [
        ("Tag Push Hook", "refs/tags/v1", COMMIT),
        ("Push Hook", "refs/heads/main", NULL),
        ("Issue Hook", "refs/heads/main", COMMIT),
    ] {
        assert!(matches!(
            gitlab(event, reference, after),
            Verdict::Ignore(_)
        ));
    }
    let body = github("refs/heads/main", COMMIT, "yo/tienda");
    for header in ["X-Gitea-Event", "X-Forgejo-Event"] {
        let found = verdict(Provider::Gitea, (header, "push"), &body);
        assert_eq!(found.unwrap(), look);
    }
    let bitbucket = |event: &str, changes: &str| {
        let body = format!(
            r#"{{"repository":{{"full_name":"yo/tienda"}},"push":{{"changes":[{changes}]}}}}"#
        );
        verdict(Provider::Bitbucket, ("X-Event-Key", event), &body).unwrap()
    };
    let moved = |kind: &str, name: &str| {
        format!(r#"{{"type":"{kind}","name":"{name}","target":{{"hash":"{COMMIT}"}}}}"#)
    };
    let tag = format!(r#"{{"old":null,"new":{}}}"#, moved("tag", "main"));
    let main = format!(r#"{{"old":null,"new":{}}}"#, moved("branch", "main"));
    let gone = format!(r#"{{"new":null,"old":{}}}"#, moved("branch", "main"));
    assert_eq!(bitbucket("repo:push", &format!("{tag},{main}")), look);
    for (event, changes) in [
        ("repo:push", tag.as_str()),
        ("repo:push", &gone),
        ("repo:push", ""),
        ("repo:fork", &main),
    ] {
        let found = bitbucket(event, changes);
        assert!(matches!(found, Verdict::Ignore(_)), "{event} {changes}");
    }
    assert_eq!(bitbucket("diagnostics:ping", ""), Verdict::Pong);
}

#[test]
fn a_delivery_has_the_forges_name_or_its_bytes() {
    let id = |provider, pairs: &[(&str, &str)]| {
        delivery_id(provider, &headers(pairs), b"body").to_string()
    };
    let uuid = "72d3162e-cc78-11e3-81ab-4c9367dc0958";
    assert_eq!(id(Provider::Github, &[("X-GitHub-Delivery", uuid)]), uuid);
    assert_eq!(id(Provider::Gitea, &[("X-Gitea-Delivery", uuid)]), uuid);
    assert_eq!(id(Provider::Bitbucket, &[("X-Request-UUID", uuid)]), uuid);
    let gitlab = [("Idempotency-Key", uuid), ("X-Gitlab-Event-UUID", "x")];
    assert_eq!(id(Provider::Gitlab, &gitlab), uuid);
    let bytes = id(Provider::Github, &[]);
    assert_eq!(
        bytes,
        id(Provider::Github, &[("X-GitHub-Delivery", "a/../b")])
    );
    assert!(bytes.starts_with("body-") && bytes.len() == 69, "{bytes}");
}
