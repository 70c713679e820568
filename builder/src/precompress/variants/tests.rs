#![allow(clippy::unwrap_used)]
use std::io::Read;

use bytes::Bytes;
use tempfile::TempDir;
use tokio_tar::{Builder, Header};

use super::*;

const CSS: &[u8] = include_bytes!("../../../../examples/django/sitio/static/sitio/estilo.css");
const JS: &[u8] = include_bytes!("../../../../examples/django/sitio/static/sitio/menu.js");

struct World {
    folder: TempDir,
}

impl World {
    fn new() -> World {
        World {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn store(&self) -> StaticStore {
        StaticStore::new(self.folder.path().to_owned())
    }

    /// Takes files in as a release does.
    async fn collect(&self, files: &[(&str, &[u8])]) -> String {
        let mut tar = Builder::new_non_terminated(Vec::new());
        for (path, content) in files {
            let mut header = Header::new_gnu();
            header.set_mode(0o644);
            header.set_mtime(1_700_000_000);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, format!("staticfiles/{path}"), *content)
                .await
                .unwrap();
        }
        tar.finish().await.unwrap();
        let archive = Bytes::from(tar.into_inner().await.unwrap());
        let stream = futures_util::stream::iter([Ok(archive)]);
        self.store().collect(stream, None).await.unwrap().unwrap()
    }

    fn compress(&self, set: &str) -> Summary {
        compress_static(self.folder.path(), set).unwrap()
    }

    fn blob(&self, content: &[u8]) -> PathBuf {
        self.store().blob(&Sha256::digest(content).into())
    }

    /// What stands beside a blob, by what follows its digest.
    fn beside(&self, content: &[u8]) -> Vec<String> {
        let blob = self.blob(content);
        let digest = blob.file_name().unwrap().to_str().unwrap().to_owned();
        let mut found: Vec<String> = fs::read_dir(blob.parent().unwrap())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| {
                name.strip_prefix(&digest)?
                    .strip_prefix('.')
                    .map(str::to_owned)
            })
            .collect();
        found.sort();
        found
    }
}

/// Bytes that nothing makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for block in 0u64.. {
        if bytes.len() >= length {
            break;
        }
        bytes.extend_from_slice(&Sha256::digest(block.to_le_bytes()));
    }
    bytes.truncate(length);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn each_variant_is_smaller_and_reads_back() {
    let world = World::new();
    let set = world
        .collect(&[
            ("sitio/estilo.css", CSS),
            ("sitio/estilo.0123456789ab.css", CSS),
            ("sitio/MENU.JS", JS),
        ])
        .await;
    let summary = world.compress(&set);
    assert_eq!((summary.files, summary.variants), (2, 6));
    assert_eq!(summary.bytes, (CSS.len() + JS.len()) as u64);
    let mut smallest = 0;
    for content in [CSS, JS] {
        assert_eq!(world.beside(content), ["br", "gz", "zst"]);
        let read = |extension| fs::read(world.blob(content).with_extension(extension)).unwrap();
        let (br, gz, zst) = (read("br"), read("gz"), read("zst"));
        let mut plain = Vec::new();
        brotli::BrotliDecompress(&mut &br[..], &mut plain).unwrap();
        assert!(plain == content);
        plain.clear();
        flate2::read::GzDecoder::new(&gz[..])
            .read_to_end(&mut plain)
            .unwrap();
        assert!(plain == content);
        assert!(zstd::bulk::decompress(&zst, content.len()).unwrap() == content);
        for variant in [&br, &gz, &zst] {
            assert!(variant.len() * 20 <= content.len() * 19);
        }
        smallest += br.len().min(gz.len()).min(zst.len()) as u64;
    }
    assert_eq!(summary.smallest, smallest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_makes_what_is_missing_alone() {
    let world = World::new();
    let random = noise(1000);
    // The head and tail of gzip take more than the zeros save; brotli has next to none.
    let mut nearly_random = noise(222);
    nearly_random.resize(256, 0);
    let set = world
        .collect(&[
            ("a.css", CSS),
            ("random.txt", &random),
            ("nearly.txt", &nearly_random),
        ])
        .await;
    assert_eq!(world.compress(&set).files, 3);
    assert_eq!(world.beside(&random), ["none"]);
    assert_eq!(world.beside(&nearly_random), ["br", "none", "zst"]);
    assert_eq!(world.compress(&set), Summary::default());

    let br = world.blob(CSS).with_extension("br");
    let before = fs::read(&br).unwrap();
    fs::remove_file(&br).unwrap();
    // As a run that was killed leaves it.
    fs::write(
        temporary(&br),
        b"half a variant, and longer than what it is to be".repeat(99),
    )
    .unwrap();
    let again = world.compress(&set);
    assert_eq!((again.files, again.variants), (1, 1));
    assert_eq!(world.beside(CSS), ["br", "gz", "zst"]);
    assert!(fs::read(&br).unwrap() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compressed_already_or_not_whole_is_left_alone() {
    let world = World::new();
    let small = &CSS[..255];
    let large = vec![b'a'; usize::try_from(LARGEST).unwrap() + 1];
    let set = world
        .collect(&[
            ("a.woff2", &CSS[1..]),
            ("a.png", &CSS[2..]),
            ("LICENSE", &CSS[3..]),
            ("small.css", small),
            ("large.css", &large),
            ("cut.css", JS),
        ])
        .await;
    fs::write(world.blob(JS), &JS[..JS.len() / 2]).unwrap();
    assert_eq!(world.compress(&set), Summary::default());
    for content in [&CSS[1..], &CSS[2..], &CSS[3..], small, &large, JS] {
        assert_eq!(world.beside(content), [""; 0]);
    }
    assert!(compress_static(world.folder.path(), &"0".repeat(64)).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_go_with_their_blob() {
    let world = World::new();
    let random = noise(1000);
    let old = world
        .collect(&[("a.css", CSS), ("b.js", JS), ("c.txt", &random)])
        .await;
    let new = world.collect(&[("a.css", CSS)]).await;
    world.compress(&old);
    for content in [CSS, JS] {
        fs::write(temporary(&world.blob(content).with_extension("br")), b"x").unwrap();
        fs::write(world.blob(content).with_extension("tmp"), b"x").unwrap();
    }

    world.store().prune(&HashSet::from([new.clone()])).unwrap();
    // A `.br-tmp` may be in the making.
    assert_eq!(world.beside(CSS), ["br", "br-tmp", "gz", "zst"]);
    assert!(world.blob(CSS).exists());
    for gone in [JS, &random] {
        assert!(!world.blob(gone).exists());
        assert_eq!(world.beside(gone), [""; 0]);
    }

    world.store().prune(&HashSet::new()).unwrap();
    assert!(!world.folder.path().exists());
}
