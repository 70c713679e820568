//! What a forge is told about a commit.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::net::TcpListener;
use zarpar_control::Secret;
use zarpar_model::{CommitId, Provider};
use zarpar_receiver::{FetchRules, Forge as Target, ForgeError, Report, ReportState, report};

use crate::forge::{Asked, Forge, Interface, Manner};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "t0ken-of-a-forge";

struct World {
    forge: Forge,
    interface: Arc<Mutex<Interface>>,
}

impl World {
    async fn start(answers: &[(u16, &'static str)]) -> World {
        let interface = Arc::new(Mutex::new(Interface {
            answers: answers.iter().copied().collect(),
            ..Interface::default()
        }));
        let forge = Forge::start(Manner::Interface(interface.clone())).await;
        World { forge, interface }
    }

    async fn tell(
        &self,
        provider: Provider,
        state: ReportState,
        record: Option<u64>,
    ) -> Result<Option<u64>, ForgeError> {
        self.tell_with(provider, state, record, &self.forge.rules())
            .await
    }

    async fn tell_with(
        &self,
        provider: Provider,
        state: ReportState,
        record: Option<u64>,
        rules: &FetchRules,
    ) -> Result<Option<u64>, ForgeError> {
        let commit: CommitId = COMMIT.parse().unwrap();
        let target = Target {
            provider,
            repository: &self.forge.url().parse().unwrap(),
            token: &Secret::new(TOKEN.to_owned()),
        };
        let news = Report {
            commit: &commit,
            context: "zarpar/tienda".to_owned(),
            state,
            description: "v3 is live".to_owned(),
            log_url: Some("https://ship.test/log".to_owned()),
            environment_url: Some("https://tienda.test".to_owned()),
            record,
        };
        report(&target, &news, rules).await
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.interface.lock().unwrap().asked)
    }
}

fn lines(asked: &[Asked]) -> Vec<&str> {
    asked.iter().map(|asked| asked.line.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn github_hears_of_the_commit_and_of_the_deployment() {
    let world = World::start(&[]).await;
    let tell = async |state, record| world.tell(Provider::Github, state, record).await.unwrap();
    assert_eq!(tell(ReportState::Pending, None).await, Some(7));
    let asked = world.asked();
    assert_eq!(
        lines(&asked),
        [
            &format!("POST /api/v3/repos/yo/tienda/statuses/{COMMIT}"),
            "POST /api/v3/repos/yo/tienda/deployments",
            "POST /api/v3/repos/yo/tienda/deployments/7/statuses",
        ]
    );
    for asked in &asked {
        assert_eq!(asked.headers["authorization"], format!("Bearer {TOKEN}"));
        assert_eq!(asked.headers["accept"], "application/vnd.github+json");
        assert_eq!(asked.headers["user-agent"], "zarpar");
        assert_eq!(
            asked.headers["host"],
            format!("127.0.0.1:{}", world.forge.port)
        );
    }
    assert_eq!(
        asked[0].body,
        json!({
            "state": "pending",
            "context": "zarpar/tienda",
            "description": "v3 is live",
            "target_url": "https://ship.test/log",
        })
    );
    assert_eq!(asked[1].body["ref"], COMMIT);
    assert_eq!(asked[1].body["auto_merge"], false);
    assert_eq!(asked[1].body["required_contexts"], json!([]));
    assert_eq!(asked[2].body["state"], "in_progress");

    // One that gave way before it began has no record.
    assert_eq!(tell(ReportState::Error, None).await, None);
    assert_eq!(world.asked().len(), 1);

    assert_eq!(tell(ReportState::Success, Some(7)).await, Some(7));
    let asked = world.asked();
    assert_eq!(asked.len(), 2, "the record is begun once");
    assert_eq!(
        asked[1].body,
        json!({
            "state": "success",
            "description": "v3 is live",
            "log_url": "https://ship.test/log",
            "environment_url": "https://tienda.test",
            "auto_inactive": true,
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_hear_of_the_commit_in_their_words() {
    let world = World::start(&[]).await;
    let slug = "yo%2Ftienda";
    for (provider, path, header, value, words) in [
        (
            Provider::Gitlab,
            format!("/api/v4/projects/{slug}/statuses/{COMMIT}"),
            "private-token",
            TOKEN.to_owned(),
            ["running", "success", "failed", "canceled"],
        ),
        (
            Provider::Gitea,
            format!("/api/v1/repos/yo/tienda/statuses/{COMMIT}"),
            "authorization",
            format!("token {TOKEN}"),
            ["pending", "success", "failure", "error"],
        ),
        (
            Provider::Bitbucket,
            format!("/2.0/repositories/yo/tienda/commit/{COMMIT}/statuses/build"),
            "authorization",
            format!("Bearer {TOKEN}"),
            ["INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED"],
        ),
    ] {
        let states = [
            ReportState::Pending,
            ReportState::Success,
            ReportState::Failure,
            ReportState::Error,
        ];
        for (state, word) in states.into_iter().zip(words) {
            assert_eq!(world.tell(provider, state, None).await.unwrap(), None);
            let asked = world.asked();
            assert_eq!(lines(&asked), [format!("POST {path}")], "{provider}");
            assert_eq!(asked[0].headers[header], value, "{provider}");
            assert_eq!(asked[0].body["state"], word, "{provider}");
            assert_eq!(asked[0].body["description"], "v3 is live", "{provider}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_that_fails_is_told_again_and_one_that_refuses_is_not() {
    let world = World::start(&[(503, "{}"), (201, "{}")]).await;
    let told = world
        .tell(Provider::Gitea, ReportState::Success, None)
        .await;
    assert_eq!(told.unwrap(), None);
    assert_eq!(world.asked().len(), 2);

    let answer = r#"{"message":"Bad credentials: t0ken-of-a-forge"}"#;
    let world = World::start(&[(401, answer)]).await;
    let told = world
        .tell(Provider::Gitea, ReportState::Success, None)
        .await;
    let error = told.unwrap_err();
    assert_eq!(world.asked().len(), 1);
    let text = format!("{error} {error:?}");
    assert!(text.contains("Bad credentials"), "{text}");
    assert!(text.contains("hint: is the token still valid?"), "{text}");
    assert!(!text.contains(TOKEN), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_would_carry_the_token_away_and_is_not_followed() {
    let canary = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let forge = Forge::start(Manner::Redirect(format!(
        "https://{}",
        canary.local_addr().unwrap()
    )))
    .await;
    let world = World {
        forge,
        interface: Arc::default(),
    };
    let told = world
        .tell(Provider::Gitlab, ReportState::Success, None)
        .await;
    let error = told.unwrap_err();
    assert!(
        matches!(error, ForgeError::Refused { status, .. } if status == 302),
        "{error}"
    );
    let knocked = std::time::Duration::from_millis(200);
    assert!(
        tokio::time::timeout(knocked, canary.accept())
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_a_fetch_hold_here_too() {
    let world = World::start(&[]).await;
    let rules = FetchRules {
        allow: Vec::new(),
        ..world.forge.rules()
    };
    let told = world
        .tell_with(Provider::Github, ReportState::Success, None, &rules)
        .await;
    let error = told.unwrap_err();
    assert!(matches!(error, ForgeError::Address(_)), "{error}");
    assert!(world.asked().is_empty());
}
