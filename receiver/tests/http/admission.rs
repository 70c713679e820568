//! Tokens: what opens, what does not, and what is said about it.

use std::time::Instant;

use serde_json::json;

use crate::world::{World, basic};

const PLACES: [&str; 4] = [
    "GET /git/tienda.git/info/refs?service=git-upload-pack",
    "GET /git/tienda.git/info/refs?service=git-receive-pack",
    "POST /git/tienda.git/git-upload-pack",
    "POST /git/tienda.git/git-receive-pack",
];

#[test]
fn nothing_opens_without_a_right_token() {
    let world = World::start();
    let token = world.pusher();
    let long = basic("x", &"y".repeat(5000));
    let bearer = format!("Bearer {token}");
    let headers = [
        None,
        Some(basic("x", "zarpar_wrong")),
        Some(basic("zarpar_wrong", "")),
        Some(basic(&token[..token.len() - 1], "")),
        Some(basic("", "")),
        Some("Basic ~~~".to_owned()),
        Some(bearer),
        Some(long),
    ];
    for (number, header) in headers.iter().enumerate() {
        for place in PLACES {
            // In a URL it opens nothing.
            let joint = if place.contains('?') { '&' } else { '?' };
            let line = format!("{place}{joint}token={token}");
            let from = format!("198.51.100.{number}");
            let mut fields = vec![("X-From", from.as_str())];
            if let Some(header) = header {
                fields.push(("Authorization", header));
            }
            let answer = world.ask(&line, &fields, b"0000");
            let told = (answer.status, answer.header("www-authenticate"));
            assert_eq!(
                told,
                (401, Some("Basic realm=\"zarpar\"")),
                "{line} {header:?}"
            );
            assert!(answer.text().contains("hint: `zarpar tokens create"));
            assert!(!answer.text().contains("zarpar_"), "{}", answer.text());
        }
    }
    for header in [basic(&token, ""), basic("", &token), basic("ana", &token)] {
        let answer = world.ask(PLACES[1], &[("Authorization", &header)], b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[test]
fn git_shows_the_words_and_asks_for_no_password() {
    let world = World::start();
    let token = world.pusher();
    world.project("site", 10);
    for wrong in ["zarpar_wrong", "ana:zarpar_wrong"] {
        let pushed = world.git("site", &["push", &world.remote(wrong), "main"]);
        let shown = String::from_utf8_lossy(&pushed.stderr).into_owned();
        assert!(!pushed.status.success());
        assert!(
            shown.contains("remote: expected a token of this server"),
            "{shown}"
        );
        assert!(!shown.contains("terminal prompts disabled"), "{shown}");
    }
    let pushed = world.git("site", &["push", &world.remote(&token), "main"]);
    assert!(pushed.status.success(), "{pushed:?}");
    world.revoke("pusher");
    let pushed = world.git("site", &["push", &world.remote(&token), "main"]);
    assert!(!pushed.status.success(), "a revoked token opens nothing");
}

#[test]
fn a_token_ends_and_one_for_reading_does_not_push() {
    let world = World::start();
    let ended = world.token("ended", json!({"expires_at": 5}));
    let reader = world.token(
        "reader",
        json!({"access": "read", "expires_at": 4102444800000_u64}),
    );
    for place in PLACES {
        let fields = [("Authorization", basic("x", &ended))];
        let answer = world.ask(place, &[(fields[0].0, &fields[0].1)], b"");
        assert_eq!(answer.status, 401);
        let said = answer.text();
        assert!(
            said.contains(
                "the token `ended` expired at 1970-01-01T00:00:00Z\nhint: `zarpar tokens create"
            ),
            "{said}"
        );
    }
    for (place, status) in PLACES.into_iter().zip([200, 403, 415, 403]) {
        let answer = world.ask(place, &[("Authorization", &basic(&reader, ""))], b"");
        assert_eq!(answer.status, status, "{place}: {}", answer.text());
    }
    world.project("site", 10);
    let pushed = world.git("site", &["push", &world.remote(&reader), "main"]);
    let shown = String::from_utf8_lossy(&pushed.stderr).into_owned();
    assert!(
        shown.contains("remote: the token `reader` may clone and fetch, not push"),
        "{shown}"
    );
    let cloned = world.git(".", &["clone", "-q", &world.remote(&reader), "copy"]);
    assert!(cloned.status.success(), "{cloned:?}");
}

#[test]
fn a_stranger_learns_of_no_app() {
    let world = World::start();
    let token = basic(&world.pusher(), "");
    for place in PLACES {
        let there = place.replace("tienda", "blog");
        let answers = [
            there.clone(),
            place.replace("tienda", "nothere"),
            place.replace("tienda.git", ".."),
        ]
        .map(|line| world.ask(&line, &[("Authorization", &token)], b""));
        for answer in &answers {
            assert_eq!(answer.status, 404, "{there}");
            assert_eq!(answer.body, answers[0].body);
        }
    }
}

#[test]
fn who_tries_many_tokens_is_told_to_wait() {
    let world = World::start();
    let token = basic(&world.pusher(), "");
    let try_from = |from: &str, credentials: &str| {
        let fields = [("X-From", from), ("Authorization", credentials)];
        world.ask(PLACES[0], &fields, b"")
    };
    let wrong = basic("x", "zarpar_wrong");
    // Requests without a token are how git begins, and count for nothing.
    for _ in 0..20 {
        assert_eq!(
            world
                .ask(PLACES[0], &[("X-From", "203.0.113.9")], b"")
                .status,
            401
        );
    }
    for (from, neighbour) in [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::ffff:1"),
    ] {
        for _ in 0..10 {
            assert_eq!(try_from(from, &wrong).status, 401, "{from}");
        }
        let began = Instant::now();
        for credentials in [&wrong, &token] {
            let answer = try_from(neighbour, credentials);
            assert_eq!(answer.status, 429, "{from}");
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!(
                (290 - began.elapsed().as_secs()..=300).contains(&wait),
                "{wait}"
            );
            assert!(
                answer.text().contains("hint: try again in"),
                "{}",
                answer.text()
            );
        }
    }
    for other in ["203.0.113.10", "2001:db8:0:1::1"] {
        assert_eq!(try_from(other, &token).status, 200);
    }
    // Everybody behind `ssh -L` has this address: wrong ones wait, right ones open.
    for _ in 0..10 {
        assert_eq!(try_from("127.0.0.1", &wrong).status, 401);
    }
    assert_eq!(try_from("127.0.0.1", &wrong).status, 429);
    assert_eq!(try_from("127.0.0.1", &token).status, 200);
}
