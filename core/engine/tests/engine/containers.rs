//! A container's life, what it writes, and commands inside it.

use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt;
use tokio::io::AsyncWriteExt;
use zarpar_engine::{EngineError, ExecSpec, LogOptions, OutputKind};

use crate::lab::{BASE, Lab, text, until};

#[tokio::test]
async fn the_engine_says_what_it_is() {
    let lab = Lab::open().await;
    let info = lab.engine.info().await.unwrap();
    assert!(
        info.version.contains('.') && info.api_version.starts_with("1."),
        "{info:?}"
    );
    assert!(info.cpus > 0 && info.memory_bytes > 1 << 20, "{info:?}");
}

#[tokio::test]
async fn a_container_lives_and_ends_and_its_exit_code_stays() {
    let lab = Lab::open().await;
    let spec = lab.spec(&["sh", "-c", "echo out; echo err >&2; exit 3"]);
    let id = lab
        .engine
        .create_container(Some(&lab.run), spec.clone())
        .await
        .unwrap();
    let twice = lab.engine.create_container(Some(&lab.run), spec).await;
    assert!(
        matches!(twice, Err(EngineError::Conflict { .. })),
        "{twice:?}"
    );

    let created = lab.engine.container(&id).await.unwrap().unwrap();
    assert_eq!(
        (created.status.as_str(), created.running),
        ("created", false)
    );
    assert_eq!((created.exit_code, created.started_at), (None, None));
    assert_eq!(created.name, lab.run);

    lab.engine.start(&id).await.unwrap();
    assert_eq!(lab.engine.wait(&id).await.unwrap(), 3);
    assert_eq!(lab.engine.wait(&id).await.unwrap(), 3, "also after the end");
    let ended = lab.engine.container(&lab.run).await.unwrap().unwrap();
    assert_eq!(
        (ended.status.as_str(), ended.exit_code),
        ("exited", Some(3))
    );
    assert!(ended.started_at.is_some() && ended.finished_at.is_some());
    assert!(!ended.oom_killed);

    let chunks: Vec<_> = lab
        .engine
        .logs(&id, LogOptions::default())
        .try_collect()
        .await
        .unwrap();
    let of = |kind| {
        let bytes = chunks.iter().filter(|chunk| chunk.stream == kind);
        bytes
            .flat_map(|chunk| chunk.bytes.to_vec())
            .collect::<Vec<u8>>()
    };
    assert_eq!(of(OutputKind::Stdout), b"out\n");
    assert_eq!(of(OutputKind::Stderr), b"err\n");

    lab.engine.stop(&id, Duration::ZERO).await.unwrap();
    assert!(lab.engine.remove_container(&id).await.unwrap());
    assert!(!lab.engine.remove_container(&id).await.unwrap());
    lab.engine.stop(&id, Duration::ZERO).await.unwrap();
    assert_eq!(lab.engine.container(&id).await.unwrap(), None);
    let gone = lab.engine.wait(&id).await;
    assert!(
        matches!(gone, Err(EngineError::NotFound { .. })),
        "{gone:?}"
    );
    let gone = lab.engine.logs(&id, LogOptions::default()).try_next().await;
    assert!(gone.unwrap_err().is_not_found());
}

#[tokio::test]
async fn logs_follow_until_the_end_and_tail_counts_lines() {
    let lab = Lab::open().await;
    let program = "trap 'echo bye; exit 0' TERM; echo one; echo two; while :; do sleep 0.1; done";
    let mut spec = lab.spec(&["sh", "-c", program]);
    spec.log_max_bytes = Some(1 << 20);
    let id = lab.engine.create_container(None, spec).await.unwrap();
    lab.engine.start(&id).await.unwrap();
    let mut follow = lab.engine.logs(
        &id,
        LogOptions {
            follow: true,
            ..Default::default()
        },
    );
    assert_eq!(follow.try_next().await.unwrap().unwrap().bytes, "one\n");
    assert_eq!(follow.try_next().await.unwrap().unwrap().bytes, "two\n");
    lab.engine.stop(&id, Duration::from_secs(20)).await.unwrap();
    assert_eq!(follow.try_next().await.unwrap().unwrap().bytes, "bye\n");
    assert!(follow.try_next().await.unwrap().is_none());

    let last = LogOptions {
        tail: Some(1),
        timestamps: true,
        ..Default::default()
    };
    let last = text(lab.engine.logs(&id, last)).await;
    assert!(
        last.ends_with("Z bye\n") && last.lines().count() == 1,
        "{last:?}"
    );
    let later = LogOptions {
        since: Some(SystemTime::now() + Duration::from_secs(60)),
        ..Default::default()
    };
    assert_eq!(text(lab.engine.logs(&id, later)).await, "");
    let ended = lab.engine.container(&id).await.unwrap().unwrap();
    assert_eq!(
        ended.exit_code,
        Some(0),
        "stopped by its signal, not killed"
    );
}

#[tokio::test]
async fn labels_select_by_key_by_value_and_all_together() {
    let lab = Lab::open().await;
    let mut spec = lab.spec(&["true"]);
    spec.labels
        .insert("zarpar.process".to_owned(), "web".to_owned());
    let web = lab
        .engine
        .create_container(None, spec.clone())
        .await
        .unwrap();
    spec.labels
        .insert("zarpar.process".to_owned(), "worker".to_owned());
    lab.engine.create_container(None, spec).await.unwrap();

    let mine = lab
        .engine
        .containers_with_labels(&[lab.label()])
        .await
        .unwrap();
    assert_eq!(mine.len(), 2);
    let both = [lab.label(), ("zarpar.process", "web")];
    let found = lab.engine.containers_with_labels(&both).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].id, found[0].state.as_str()), (&web, "created"));
    assert_eq!(found[0].labels["zarpar.process"], "web");
    let keys = lab
        .engine
        .containers_with_labels(&["zarpar.process"])
        .await
        .unwrap();
    assert!(keys.len() >= 2);
}

#[tokio::test]
async fn exec_gives_output_input_and_exit_code() {
    let lab = Lab::open().await;
    let mut spec = lab.spec(&["sleep", "600"]);
    spec.init = true;
    spec.memory_bytes = Some(256 << 20);
    spec.pids_limit = Some(100);
    let id = lab.engine.create_container(None, spec).await.unwrap();
    let early = lab.engine.exec_output(&id, &["true"], 10).await;
    assert!(
        matches!(early, Err(EngineError::Conflict { .. })),
        "{early:?}"
    );
    lab.engine.start(&id).await.unwrap();

    let command = ["sh", "-c", "echo 12345; echo 67890 >&2; exit 4"];
    let (code, output) = lab.engine.exec_output(&id, &command, 100).await.unwrap();
    assert_eq!(code, 4);
    assert_eq!(output.len(), 12, "{output:?}");
    let (_, cut) = lab.engine.exec_output(&id, &command, 7).await.unwrap();
    assert_eq!(cut.len(), 7);
    let (code, _) = lab
        .engine
        .exec_output(&id, &["/no/such/program"], 1000)
        .await
        .unwrap();
    assert!(code == 126 || code == 127, "{code}");

    let mut exec = lab
        .engine
        .exec(
            &id,
            ExecSpec {
                command: ["sh", "-c", "cat; echo $WHO; id -u; pwd"]
                    .map(str::to_owned)
                    .into(),
                env: vec![("WHO".to_owned(), "zarpar user".to_owned())],
                user: Some("1234".to_owned()),
                working_dir: Some("/tmp".to_owned()),
                stdin: true,
                tty: false,
            },
        )
        .await
        .unwrap();
    exec.input.write_all(b"typed\n").await.unwrap();
    exec.input.shutdown().await.unwrap();
    assert_eq!(text(exec.output).await, "typed\nzarpar user\n1234\n/tmp\n");
    assert_eq!(lab.engine.exec_exit_code(&exec.id).await.unwrap(), 0);
}

#[tokio::test]
async fn attach_carries_both_ways_and_a_terminal_has_a_size() {
    let lab = Lab::open().await;
    let mut spec = lab.spec(&["sh", "-c", "cat; echo end >&2; exit 5"]);
    spec.open_stdin = true;
    let id = lab.engine.create_container(None, spec).await.unwrap();
    let mut attached = lab.engine.attach(&id, true).await.unwrap();
    lab.engine.start(&id).await.unwrap();
    attached.input.write_all(b"hello\n").await.unwrap();
    let first = attached.output.try_next().await.unwrap().unwrap();
    assert_eq!(
        (first.stream, &first.bytes[..]),
        (OutputKind::Stdout, &b"hello\n"[..])
    );
    attached.input.shutdown().await.unwrap();
    let last = attached.output.try_next().await.unwrap().unwrap();
    assert_eq!(
        (last.stream, &last.bytes[..]),
        (OutputKind::Stderr, &b"end\n"[..])
    );
    assert!(attached.output.try_next().await.unwrap().is_none());
    assert_eq!(lab.engine.wait(&id).await.unwrap(), 5);

    let mut spec = lab.spec(&["sh", "-c", "read line; stty size"]);
    (spec.open_stdin, spec.tty) = (true, true);
    let id = lab.engine.create_container(None, spec).await.unwrap();
    let mut attached = lab.engine.attach(&id, true).await.unwrap();
    lab.engine.start(&id).await.unwrap();
    lab.engine.resize_tty(&id, 101, 37).await.unwrap();
    attached.input.write_all(b"go\n").await.unwrap();
    let output = text(attached.output).await;
    assert!(output.contains("37 101"), "{output:?}");
}

#[tokio::test]
async fn a_killed_container_and_an_unknown_image_are_told_apart() {
    let lab = Lab::open().await;
    let id = lab
        .engine
        .create_container(None, lab.spec(&["sleep", "600"]))
        .await
        .unwrap();
    lab.engine.start(&id).await.unwrap();
    lab.engine.start(&id).await.unwrap();
    until("it runs", || async {
        lab.engine.container(&id).await.unwrap().unwrap().running
    })
    .await;
    lab.engine.kill(&id, None).await.unwrap();
    assert_eq!(lab.engine.wait(&id).await.unwrap(), 137);

    let mut spec = lab.spec(&["true"]);
    spec.image = format!("{}-absent:1", lab.run);
    let error = lab.engine.create_container(None, spec).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().contains("-absent:1`"), "{error}");

    let mut spec = lab.spec(&[]);
    spec.command = Some(vec!["/no/such/program".to_owned()]);
    let id = lab.engine.create_container(None, spec).await.unwrap();
    let error = lab.engine.start(&id).await.unwrap_err().to_string();
    assert!(error.contains("/no/such/program"), "{error}");

    assert!(lab.engine.image(BASE).await.unwrap().is_some());
}
