//! A test's own corner of the engine: names, labels, and their removal on drop.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use tokio_tar::{Builder, EntryType, Header};
use zarpar_engine::{ContainerSpec, Engine, LogStream};

pub(crate) const BASE: &str = "python:3.13-slim";
const LABEL: &str = "zarpar.test";

pub(crate) struct Lab {
    pub(crate) engine: Engine,
    pub(crate) run: String,
}

impl Lab {
    pub(crate) async fn open() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let run = format!(
            "zt-{}-{}-{}",
            std::process::id(),
            now.as_micros(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let engine = Engine::connect().await.unwrap();
        Self { engine, run }
    }

    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(LABEL.to_owned(), self.run.clone())])
    }

    pub(crate) fn label(&self) -> (&str, &str) {
        (LABEL, &self.run)
    }

    /// A container of the base image that runs this command.
    pub(crate) fn spec(&self, command: &[&str]) -> ContainerSpec {
        ContainerSpec {
            image: BASE.to_owned(),
            command: Some(command.iter().map(|part| (*part).to_owned()).collect()),
            labels: self.labels(),
            ..Default::default()
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let run = self.run.clone();
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(remove_all(&run));
        })
        .join();
        assert!(
            cleaned.is_ok() || std::thread::panicking(),
            "the test's objects could not be removed"
        );
    }
}

async fn remove_all(run: &str) {
    let engine = Engine::connect().await.unwrap();
    let label = [(LABEL, run)];
    for container in engine.containers_with_labels(&label).await.unwrap() {
        engine.remove_container(&container.id).await.unwrap();
    }
    for network in engine.networks_with_labels(&label).await.unwrap() {
        engine.remove_network(&network.id).await.unwrap();
    }
    for volume in engine.volumes_with_labels(&label).await.unwrap() {
        engine.remove_volume(&volume.name).await.unwrap();
    }
    for image in engine.images_with_labels(&label).await.unwrap() {
        engine.remove_image(&image.id, true).await.unwrap();
    }
}

/// A tar archive of these files (path, owner, content).
pub(crate) async fn tar(files: &[(&str, u64, &str)]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (path, owner, content) in files {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(0o640);
        header.set_uid(*owner);
        header.set_gid(*owner);
        header.set_cksum();
        archive
            .append_data(&mut header, path, content.as_bytes())
            .await
            .unwrap();
    }
    archive.into_inner().await.unwrap()
}

/// The bytes in small pieces, as a body of unknown length.
pub(crate) fn pieces(
    bytes: Vec<u8>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static + use<> {
    let pieces: Vec<_> = bytes.chunks(700).map(Bytes::copy_from_slice).collect();
    stream::iter(pieces.into_iter().map(Ok))
}

/// Everything a program wrote, both outputs.
pub(crate) async fn text(output: LogStream) -> String {
    let chunks: Vec<_> = output.try_collect().await.unwrap();
    let bytes: Vec<u8> = chunks
        .iter()
        .flat_map(|chunk| chunk.bytes.clone())
        .collect();
    String::from_utf8(bytes).unwrap()
}

/// Asks again and again until it is so, for at most a minute.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let asked = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asked)
        .await
        .unwrap_or_else(|_| panic!("not within a minute: {what}"));
}
