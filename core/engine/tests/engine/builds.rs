//! Builds: what is told, what is made, and the three ways to end without an image.

use std::io;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use zarpar_engine::{BuildError, BuildLine, BuildLineKind, BuildRequest};

use crate::lab::{BASE, Lab, pieces, tar, until};

impl Lab {
    fn request(&self) -> BuildRequest {
        BuildRequest {
            labels: self.labels(),
            ..Default::default()
        }
    }

    async fn build(
        &self,
        request: BuildRequest,
        dockerfile: &str,
    ) -> (Result<String, BuildError>, Vec<BuildLine>) {
        let name = match request.dockerfile.as_str() {
            "" => "Dockerfile",
            name => name,
        };
        let context = tar(&[(name, 0, dockerfile), ("greeting", 0, "hello\n")]).await;
        // A channel of one: the build waits for its reader at every line.
        let (sender, mut receiver) = mpsc::channel(1);
        let reader = async {
            let mut lines = Vec::new();
            while let Some(line) = receiver.recv().await {
                lines.push(line);
            }
            lines
        };
        tokio::join!(self.engine.build(request, pieces(context), sender), reader)
    }
}

fn has(lines: &[BuildLine], kind: BuildLineKind, text: &str) -> bool {
    lines
        .iter()
        .any(|line| line.kind == kind && line.text.contains(text))
}

#[tokio::test]
async fn a_streamed_context_becomes_an_image() {
    let lab = Lab::open().await;
    let dockerfile = format!(
        "FROM {BASE}\nARG NONCE\nENV MODE=test\nWORKDIR /srv\nCOPY greeting .\n\
         RUN cat greeting && echo $NONCE >&2\n\
         EXPOSE 8000 53/udp\nUSER 1000\nENTRYPOINT [\"cat\"]\nCMD [\"greeting\"]\n"
    );
    let mut request = lab.request();
    request.dockerfile = "deploy/Dockerfile.web".to_owned();
    request.args = [("NONCE".to_owned(), lab.run.clone())].into();
    request.tag = Some(format!("{}:latest", lab.run));

    let (built, lines) = lab.build(request.clone(), &dockerfile).await;
    let id = built.unwrap();
    assert!(id.starts_with("sha256:"), "{id}");
    assert!(
        has(&lines, BuildLineKind::Step, "RUN cat greeting"),
        "{lines:#?}"
    );
    assert!(has(&lines, BuildLineKind::Output, "hello"), "{lines:#?}");
    assert!(has(&lines, BuildLineKind::Output, &lab.run), "{lines:#?}");
    assert!(
        has(&lines, BuildLineKind::Done, "RUN cat greeting"),
        "{lines:#?}"
    );

    let image = lab.engine.image(&id).await.unwrap().unwrap();
    assert_eq!(image.entrypoint, ["cat"]);
    assert_eq!(image.cmd, ["greeting"]);
    assert_eq!(image.exposed_ports, [8000]);
    assert_eq!(
        (image.user.as_str(), image.working_dir.as_str()),
        ("1000", "/srv")
    );
    assert!(image.env.contains(&("MODE".to_owned(), "test".to_owned())));
    // The base image may have labels of its own.
    for (key, value) in lab.labels() {
        assert_eq!(image.labels.get(&key), Some(&value));
    }
    assert!(image.size_bytes > 0 && image.created.is_some());

    let (again, lines) = lab.build(request, &dockerfile).await;
    assert_eq!(again.unwrap(), id);
    assert!(
        has(&lines, BuildLineKind::Cached, "RUN cat greeting"),
        "{lines:#?}"
    );
    assert!(
        !has(&lines, BuildLineKind::Step, "RUN cat greeting"),
        "{lines:#?}"
    );

    let listed = lab.engine.images_with_labels(&[lab.label()]).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].tags, [format!("{}:latest", lab.run)]);
    lab.engine.tag_image(&id, &lab.run, "second").await.unwrap();
    assert!(lab.engine.remove_image(&id, true).await.unwrap());
    assert!(!lab.engine.remove_image(&id, true).await.unwrap());
    assert_eq!(lab.engine.image(&id).await.unwrap(), None);
}

#[tokio::test]
async fn an_untagged_image_is_found_by_its_label_and_a_reader_may_leave() {
    let lab = Lab::open().await;
    let dockerfile = format!("FROM {BASE}\nRUN echo {}\n", lab.run);
    let context = tar(&[("Dockerfile", 0, &dockerfile)]).await;
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let built = lab.engine.build(lab.request(), pieces(context), sender);
    let id = built.await.unwrap();
    let listed = lab
        .engine
        .images_with_labels(&["zarpar.test"])
        .await
        .unwrap();
    let mine: Vec<_> = listed.iter().filter(|image| image.id == id).collect();
    assert_eq!(mine.len(), 1);
    assert!(mine[0].tags.is_empty(), "{:?}", mine[0].tags);
}

#[tokio::test]
async fn a_failing_step_is_named_with_its_output_and_exit_code() {
    let lab = Lab::open().await;
    let dockerfile = format!("FROM {BASE}\nRUN echo {} && exit 3\n", lab.run);
    let (built, lines) = lab.build(lab.request(), &dockerfile).await;
    let Err(BuildError::Step { step, message }) = built else {
        panic!("{built:?}")
    };
    assert!(message.contains("exit code: 3"), "{message}");
    assert!(!message.contains("failed to solve"), "{message}");
    assert!(step.unwrap().contains("RUN echo"));
    assert!(has(&lines, BuildLineKind::Output, &lab.run), "{lines:#?}");
    assert!(
        lab.engine
            .images_with_labels(&[lab.label()])
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_dockerfile_that_is_not_there_or_wrong_is_the_builds_own_failure() {
    let lab = Lab::open().await;
    let (built, _) = lab.build(lab.request(), "FRUM nothing\n").await;
    let Err(BuildError::Step { message, .. }) = built else {
        panic!("{built:?}")
    };
    assert!(message.contains("FRUM"), "{message}");
}

#[tokio::test]
async fn an_error_of_the_context_keeps_its_own_words() {
    let lab = Lab::open().await;
    let half = tar(&[("Dockerfile", 0, "FROM scratch\n")]).await;
    let broken = stream::iter([
        Ok(Bytes::from(half[..600].to_vec())),
        Err(io::Error::other("object 5f3a is missing")),
    ]);
    let (sender, _receiver) = mpsc::channel(100);
    let built = lab.engine.build(lab.request(), broken, sender).await;
    let Err(BuildError::Context(error)) = built else {
        panic!("{built:?}")
    };
    assert_eq!(error.to_string(), "object 5f3a is missing");
}

#[tokio::test]
async fn dropping_the_future_cancels_the_build() {
    let lab = Lab::open().await;
    let dockerfile = format!(
        "FROM {BASE}\nRUN echo begun && sleep 600 && echo {}\n",
        lab.run
    );
    let context = tar(&[("Dockerfile", 0, &dockerfile)]).await;
    let (sender, mut lines) = mpsc::channel(1);
    let engine = lab.engine.clone();
    let request = lab.request();
    let build = tokio::spawn(async move { engine.build(request, pieces(context), sender).await });
    while let Some(line) = lines.recv().await {
        if line.kind == BuildLineKind::Output && line.text == "begun" {
            break;
        }
    }
    assert!(!build.is_finished(), "it ended before it was dropped");
    let runs = || async { on_this_machine(&lab.run) };
    until("the step runs", runs).await;
    build.abort();
    assert!(build.await.unwrap_err().is_cancelled());
    until("the step is gone", || async { !on_this_machine(&lab.run) }).await;
}

#[tokio::test]
async fn dropping_the_future_while_the_context_still_comes_drops_the_context() {
    let lab = Lab::open().await;
    let (sender, _lines) = mpsc::channel(100);
    let (asked, mut was_asked) = mpsc::channel::<()>(1);
    // Gives one piece and then never another; closes `asked` when it is dropped.
    let context =
        stream::once(async { Ok(Bytes::from_static(&[0; 512])) }).chain(stream::once(async move {
            let _ = asked.send(()).await;
            std::future::pending::<io::Result<Bytes>>().await
        }));
    let engine = lab.engine.clone();
    let request = lab.request();
    let build = tokio::spawn(async move { engine.build(request, context, sender).await });
    was_asked.recv().await.unwrap();
    build.abort();
    let dropped = tokio::time::timeout(std::time::Duration::from_secs(20), was_asked.recv());
    assert_eq!(dropped.await.unwrap(), None);
}

/// Whether a process with this text in its command line exists.
fn on_this_machine(text: &str) -> bool {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(text))
}
