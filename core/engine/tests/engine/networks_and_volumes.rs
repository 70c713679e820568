//! Networks and volumes: made once, found again, removed once.

use std::collections::HashSet;

use futures_util::future::join_all;
use zarpar_engine::{Engine, EngineError};

use crate::lab::{Lab, text};

#[tokio::test]
async fn a_network_asked_for_many_times_at_once_is_one_network() {
    let lab = Lab::open().await;
    let labels = lab.labels();
    // A longer name that contains the other must not be taken for it.
    let longer = format!("{}-longer", lab.run);
    let other = lab.engine.ensure_network(&longer, &labels).await.unwrap();
    let asked = (0..8).map(|_| lab.engine.ensure_network(&lab.run, &labels));
    let ids: HashSet<String> = join_all(asked)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(ids.len(), 1);
    assert!(!ids.contains(&other));
    let listed = lab
        .engine
        .networks_with_labels(&[lab.label()])
        .await
        .unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");

    let mut spec = lab.spec(&["sleep", "600"]);
    spec.network = Some(lab.run.clone());
    spec.aliases = vec!["db".to_owned()];
    let server = lab
        .engine
        .create_container(None, spec.clone())
        .await
        .unwrap();
    lab.engine.start(&server).await.unwrap();
    let running = lab.engine.container(&server).await.unwrap().unwrap();
    let address = running.ip(&lab.run).unwrap();
    assert_eq!(running.ip("another"), None);

    spec.command = Some(["getent", "hosts", "db"].map(str::to_owned).into());
    spec.aliases.clear();
    let client = lab.engine.create_container(None, spec).await.unwrap();
    lab.engine.start(&client).await.unwrap();
    assert_eq!(lab.engine.wait(&client).await.unwrap(), 0);
    let answer = text(lab.engine.logs(&client, Default::default())).await;
    assert!(
        answer.starts_with(&address.to_string()),
        "{answer} {address}"
    );

    assert!(lab.engine.remove_network(&lab.run).await.is_err(), "in use");
    lab.engine.remove_container(&server).await.unwrap();
    lab.engine.remove_container(&client).await.unwrap();
    assert!(lab.engine.remove_network(&lab.run).await.unwrap());
    assert!(!lab.engine.remove_network(&lab.run).await.unwrap());
}

#[tokio::test]
async fn a_volume_asked_for_twice_is_one_volume() {
    let lab = Lab::open().await;
    let first = lab
        .engine
        .ensure_volume(&lab.run, &lab.labels())
        .await
        .unwrap();
    let second = lab
        .engine
        .ensure_volume(&lab.run, &lab.labels())
        .await
        .unwrap();
    assert_eq!(first, second);
    assert_eq!(first.labels, lab.labels());
    assert!(first.mountpoint.contains(&lab.run), "{first:?}");
    let listed = lab
        .engine
        .volumes_with_labels(&[lab.label()])
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);

    let mut spec = lab.spec(&["true"]);
    spec.volumes = vec![(first.name.clone(), "/data".to_owned())];
    let user = lab.engine.create_container(None, spec).await.unwrap();
    let used = lab.engine.remove_volume(&lab.run).await;
    assert!(
        matches!(used, Err(EngineError::Conflict { .. })),
        "{used:?}"
    );
    lab.engine.remove_container(&user).await.unwrap();
    assert!(lab.engine.remove_volume(&lab.run).await.unwrap());
    assert!(!lab.engine.remove_volume(&lab.run).await.unwrap());
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_told_with_its_address_and_a_hint() {
    let folder = std::env::temp_dir().join(format!("zarpar-engine-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let connect = async |path: &std::path::Path| {
        let host = format!("unix://{}", path.display());
        Engine::connect_to(Some(&host)).await.unwrap_err()
    };
    let absent = folder.join("absent.sock");
    let error = connect(&absent).await;
    assert!(
        matches!(error, EngineError::Unreachable { .. }),
        "{error:?}"
    );
    let message = error.to_string();
    assert!(message.contains(&format!(
        "no Docker Engine answers on `{}`",
        absent.display()
    )));
    assert!(
        message.contains("\nhint: install Docker Engine"),
        "{message}"
    );

    let refused = folder.join("refused.sock");
    drop(std::os::unix::net::UnixListener::bind(&refused).unwrap());
    let message = connect(&refused).await.to_string();
    assert!(message.contains("nobody listens"), "{message}");

    // Somebody listens and never answers.
    let silent = folder.join("silent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&silent).unwrap();
    let message = connect(&silent).await.to_string();
    assert!(message.contains("does not answer"), "{message}");
    std::fs::remove_dir_all(&folder).unwrap();
}
