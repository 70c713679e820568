//! Archives into and out of containers that never ran, and into their volumes.

use std::io;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::io::AsyncReadExt;
use tokio_tar::Archive;
use tokio_util::io::StreamReader;
use zarpar_engine::{Engine, EngineError};

use crate::lab::{Lab, pieces, tar};

/// The files of an archive: path, owner, content.
async fn files(engine: &Engine, id: &str, path: &str) -> Vec<(String, u64, String)> {
    let bytes = engine.download_archive(id, path).map_err(io::Error::other);
    let mut archive = Archive::new(StreamReader::new(bytes));
    let mut entries = archive.entries().unwrap();
    let mut files = Vec::new();
    while let Some(entry) = entries.next().await {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let owner = entry.header().uid().unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).await.unwrap();
            files.push((name, owner, content));
        }
    }
    files.sort();
    files
}

#[tokio::test]
async fn files_keep_their_owner_in_a_container_that_never_ran_and_in_its_volume() {
    let lab = Lab::open().await;
    let volume = lab
        .engine
        .ensure_volume(&lab.run, &lab.labels())
        .await
        .unwrap();
    let mut spec = lab.spec(&["stat", "-c", "%u:%g %a", "/data/b"]);
    spec.volumes = vec![(volume.name.clone(), "/data".to_owned())];
    // The container's own user must not become the owner.
    spec.user = Some("1000:1000".to_owned());
    let id = lab
        .engine
        .create_container(None, spec.clone())
        .await
        .unwrap();

    let archive = tar(&[("a", 0, "root's"), ("b", 4242, "somebody's")]).await;
    lab.engine
        .upload_archive(&id, "/srv", pieces(archive.clone()))
        .await
        .unwrap();
    lab.engine
        .upload_archive(&id, "/data", pieces(archive))
        .await
        .unwrap();

    let owned = |folder: &str| {
        vec![
            (format!("{folder}/a"), 0, "root's".to_owned()),
            (format!("{folder}/b"), 4242, "somebody's".to_owned()),
        ]
    };
    assert_eq!(files(&lab.engine, &id, "/srv").await, owned("srv"));

    // In another container with the same volume, and as seen from inside.
    let other = lab.engine.create_container(None, spec).await.unwrap();
    assert_eq!(files(&lab.engine, &other, "/data").await, owned("data"));
    lab.engine.start(&other).await.unwrap();
    assert_eq!(lab.engine.wait(&other).await.unwrap(), 0);
    let log = lab.engine.logs(&other, Default::default());
    assert_eq!(crate::lab::text(log).await, "4242:4242 640\n");
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_a_broken_body_keeps_its_words() {
    let lab = Lab::open().await;
    let id = lab
        .engine
        .create_container(None, lab.spec(&["true"]))
        .await
        .unwrap();
    let mut absent = lab.engine.download_archive(&id, "/no/such/path");
    assert!(absent.try_next().await.unwrap_err().is_not_found());
    let mut absent = lab.engine.download_archive("zarpar-no-such-container", "/");
    assert!(absent.try_next().await.unwrap_err().is_not_found());

    let archive = tar(&[("a", 0, "x")]).await;
    let nowhere = lab
        .engine
        .upload_archive(&id, "/no/such/path", pieces(archive.clone()))
        .await;
    assert!(nowhere.unwrap_err().is_not_found());

    let broken = stream::iter([
        Ok(Bytes::from(archive[..512].to_vec())),
        Err(io::Error::other("the file vanished")),
    ]);
    let error = lab
        .engine
        .upload_archive(&id, "/srv", broken)
        .await
        .unwrap_err();
    let EngineError::Body { source, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(source.to_string(), "the file vanished");
}
