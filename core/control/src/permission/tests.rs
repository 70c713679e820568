#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use zarpar_model::DeploymentId;

use super::*;
use crate::{GitService, Secret};

const PUBLIC: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0cOaEDZmKS0gojFpWWm1N8TvueNWCyu0BR7P0AEPag";

fn name(text: &str) -> AppName {
    text.parse().unwrap()
}

/// One request of each kind, about `app`. A new kind does not compile in [`Request::word`]; the
/// test below counts that it is here too.
fn every_request(app: &AppName) -> Vec<Request> {
    let app = || app.clone();
    let commit = || "a".repeat(40).parse().unwrap();
    let by = || "somebody".to_owned();
    let key = PUBLIC.parse().unwrap();
    vec![
        Request::CheckPush {
            app: app(),
            updates: Vec::new(),
            incoming: crate::Incoming::default(),
        },
        Request::Push {
            app: app(),
            commit: commit(),
            by: by(),
            old: None,
        },
        Request::AppCreate {
            name: app(),
            domains: Vec::new(),
            postgres: false,
            branch: "main".parse().unwrap(),
        },
        Request::AppList,
        Request::AppInfo { name: app() },
        Request::AppDestroy { name: app() },
        Request::TokenCreate {
            name: name("ci"),
            apps: vec![app()],
            access: zarpar_model::Access::Push,
            lifetime: None,
        },
        Request::TokenList,
        Request::TokenRevoke { name: name("ci") },
        Request::DomainAdd {
            app: app(),
            hosts: Vec::new(),
        },
        Request::DomainRemove {
            app: app(),
            hosts: Vec::new(),
        },
        Request::DomainList { app: app() },
        Request::Maintenance {
            app: app(),
            on: true,
        },
        Request::CertificateAdd {
            app: app(),
            pem: Secret::new(String::new()),
        },
        Request::CertificateRemove {
            name: "tienda.example".to_owned(),
        },
        Request::CertificateRenew { app: app() },
        Request::CertificateList,
        Request::ConsoleCertificateAdd {
            host: "ship.example.org".parse().unwrap(),
            pem: Secret::new(String::new()),
        },
        Request::ConsoleCertificateRenew {
            host: "ship.example.org".parse().unwrap(),
        },
        Request::EnvChange {
            app: app(),
            changes: BTreeMap::new(),
            restart: true,
        },
        Request::EnvList { app: app() },
        Request::Deploy {
            app: app(),
            revision: None,
            image: None,
            by: by(),
        },
        Request::DeploymentList { app: app() },
        Request::DeploymentFollow {
            app: Some(app()),
            id: DeploymentId(1),
        },
        Request::DeploymentCancel {
            app: Some(app()),
            id: DeploymentId(1),
            by: by(),
        },
        Request::ReleaseList { app: app() },
        Request::Rollback {
            app: app(),
            to: None,
            by: by(),
        },
        Request::Logs {
            app: app(),
            follow: true,
            lines: 1,
            process: None,
        },
        Request::Run {
            app: app(),
            command: Vec::new(),
            tty: false,
        },
        Request::ProcessList { app: app() },
        Request::ProcessScale {
            app: app(),
            counts: BTreeMap::new(),
        },
        Request::KeyAdd {
            name: name("eva"),
            key,
            role: Role::Admin,
            apps: vec![app()],
        },
        Request::KeyList,
        Request::KeyRemove { name: name("eva") },
        Request::AsKey {
            key: name("eva"),
            request: Box::new(Request::AppList),
        },
        Request::Git {
            app: app(),
            service: GitService::UploadPack,
            protocol: None,
        },
        Request::WebhookEnable {
            app: app(),
            provider: Some(zarpar_model::Provider::Github),
            repository: "https://github.com/yo/tienda".parse().ok(),
            branch: None,
            poll_seconds: None,
            forge_token: None,
            rotate: false,
        },
        Request::WebhookShow { app: app() },
        Request::WebhookDisable { app: app() },
        Request::WhoAmI,
    ]
}

/// What deploy, operate and admin may say, each of them first with a scope over all apps, then
/// limited to the request's app. Written by hand, so that the table above is said twice.
fn expected(word: Word) -> [[bool; 2]; 3] {
    let all_may = [[true, true]; 3];
    let from_operate = [[false, false], [true, true], [true, true]];
    let admin_of_app = [[false, false], [false, false], [true, true]];
    let admin_of_all = [[false, false], [false, false], [true, false]];
    let nobody = [[false, false]; 3];
    match format!("{word:?}").as_str() {
        "Git" | "Deploy" | "DeploymentCancel" | "Rollback" | "DeploymentList"
        | "DeploymentFollow" | "ReleaseList" | "Logs" | "ProcessList" | "AppInfo" | "AppList"
        | "DomainList" | "WebhookShow" | "WhoAmI" => all_may,
        "EnvChange" | "EnvList" | "Run" | "ProcessScale" | "Maintenance" | "DomainAdd"
        | "DomainRemove" | "CertificateRenew" | "WebhookEnable" | "WebhookDisable" => from_operate,
        "AppDestroy" | "CertificateAdd" => admin_of_app,
        "AppCreate"
        | "TokenCreate"
        | "TokenList"
        | "TokenRevoke"
        | "KeyAdd"
        | "KeyList"
        | "KeyRemove"
        | "CertificateList"
        | "CertificateRemove"
        | "ConsoleCertificateAdd"
        | "ConsoleCertificateRenew" => admin_of_all,
        "CheckPush" | "Push" | "AsKey" => nobody,
        other => panic!("`{other}` is not in the test's table"),
    }
}

#[test]
fn every_word_by_every_role() {
    let (tienda, blog) = (name("tienda"), name("blog"));
    let requests = every_request(&tienda);
    let words: std::collections::BTreeSet<Word> = requests.iter().map(Request::word).collect();
    assert_eq!(words.len(), requests.len(), "one request of each kind");
    // `WhoAmI` is the last of `Word`, so this is how many there are.
    assert_eq!(
        words.len(),
        Word::WhoAmI as usize + 1,
        "every kind has its request"
    );

    let all = Scope::All;
    let only = |app: &AppName| Scope::Apps(vec![app.clone()]);
    for request in &requests {
        let word = request.word();
        for (role, expected) in Role::ALL.into_iter().zip(expected(word)) {
            let allowed = |scope| permit(role, &scope, request, None);
            assert_eq!(allowed(all.clone()).is_ok(), expected[0], "{word:?} {role}");
            assert_eq!(
                allowed(only(&tienda)).is_ok(),
                expected[1],
                "{word:?} {role} of its app"
            );
            // Another app's key: what is about one app is refused, in the same words for every role.
            let own = word.rule().is_some_and(|(_, reach)| reach == Reach::Own);
            assert_eq!(
                allowed(only(&blog)).is_ok(),
                own,
                "{word:?} {role} of another app"
            );
            assert_eq!(
                allowed(Scope::Apps(Vec::new())).is_ok(),
                own,
                "{word:?} {role} of no app"
            );
            if word.rule().is_some_and(|(_, reach)| reach == Reach::App) {
                assert_eq!(allowed(only(&blog)), Err(Denied::App), "{word:?} {role}");
            }
        }
    }
}

#[test]
fn a_deployment_of_another_app_is_none_of_the_keys() {
    let (tienda, blog) = (name("tienda"), name("blog"));
    let request = Request::DeploymentFollow {
        app: Some(tienda.clone()),
        id: DeploymentId(1),
    };
    let scope = Scope::Apps(vec![tienda.clone()]);
    assert_eq!(permit(Role::Admin, &scope, &request, Some(&tienda)), Ok(()));
    assert_eq!(
        permit(Role::Admin, &scope, &request, Some(&blog)),
        Err(Denied::App)
    );
}

#[test]
fn who_asks_is_written_over_what_the_client_says() {
    for mut request in every_request(&name("tienda")) {
        request.set_by("ssh:eva");
        let text = serde_json::to_string(&request).unwrap();
        assert!(!text.contains("somebody"), "{text}");
    }
}
