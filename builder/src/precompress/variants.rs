//! The compressed variants of static files: `<sha256>.zst`, `<sha256>.br` and `<sha256>.gz`
//! beside the blob. A variant has another name until it is on the disk, so what is there is whole
//! whatever happens, and it is of the content its name says. `<sha256>.none`, empty, says that
//! the variants which are not there would not be small enough. A crash leaves at most a
//! `.br-tmp`, which the next run writes anew and [`StaticStore::prune`] removes with its blob.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use brotli::enc::BrotliEncoderParams;
use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};
use zarpar_model::StaticEntry;

use crate::static_store::{StaticError, StaticStore, absent_is_fine};

/// Below this, an answer's head is larger than what could be saved.
const SMALLEST: u64 = 256;
/// Above this, a file is a download; one of this size takes a minute and 120 MB.
const LARGEST: u64 = 10 * 1024 * 1024;
/// Content after which what was made is put into place: a second or two of work.
const BATCH: u64 = 256 * 1024;

type Compress = fn(&[u8]) -> io::Result<Vec<u8>>;
const VARIANTS: [(&str, Compress); 3] = [("zst", zstd), ("br", brotli), ("gz", gzip)];

/// What a run made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Contents that were read.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// Variants that were kept.
    pub variants: usize,
    /// Size of the smallest form of each content (its variant or itself), in bytes.
    pub smallest: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} files of {} bytes, {} variants, {} bytes when the smallest of each is sent",
            self.files, self.bytes, self.variants, self.smallest
        )
    }
}

/// Makes the variants of a set that are missing, in the store at `root`: those of hashed names
/// first, since pages name them. Runs on this thread for as long as it takes; a second run at the
/// same store waits for the first.
///
/// # Errors
/// [`StaticError`]; what was made until then stays.
pub fn compress_static(root: &Path, set: &str) -> Result<Summary, StaticError> {
    let store = StaticStore::new(root.to_owned());
    let failed = |source| store.failed(source);
    let folder = File::open(root).map_err(failed)?;
    // A run that outlived its control plane may still be at it; both would write one `.br-tmp`.
    rustix::fs::flock(&folder, FlockOperation::LockExclusive)
        .map_err(|error| failed(error.into()))?;
    let index = store.index(set)?;
    let mut entries: Vec<(&str, &StaticEntry)> = index.iter().collect();
    entries.sort_by_key(|(_, entry)| !entry.immutable);
    let mut seen = HashSet::new();
    let mut summary = Summary::default();
    let mut batch = Batch::default();
    for (path, entry) in entries {
        if is_compressible(path)
            && (SMALLEST..=LARGEST).contains(&entry.size)
            && seen.insert(entry.sha256)
        {
            // No release has the set any more.
            if !store.has(set) {
                break;
            }
            compress(&store.blob(&entry.sha256), entry, &mut batch, &mut summary)
                .map_err(failed)?;
            if batch.bytes >= BATCH {
                batch.finish(&folder).map_err(failed)?;
            }
        }
    }
    batch.finish(&folder).map_err(failed)?;
    Ok(summary)
}

/// Variants under their names of now, and marks to be set once they have their own.
#[derive(Default)]
struct Batch {
    bytes: u64,
    variants: Vec<PathBuf>,
    marks: Vec<PathBuf>,
}

impl Batch {
    /// One sync for all, as when the blobs are written. What is gone meanwhile was removed with
    /// its blob.
    fn finish(&mut self, folder: &File) -> io::Result<()> {
        self.bytes = 0;
        if !self.variants.is_empty() {
            rustix::fs::syncfs(folder)?;
        }
        for path in self.variants.drain(..) {
            fs::rename(temporary(&path), path).or_else(absent_is_fine)?;
        }
        for path in self.marks.drain(..) {
            File::create(path).map(drop).or_else(absent_is_fine)?;
        }
        Ok(())
    }
}

fn compress(
    blob: &Path,
    entry: &StaticEntry,
    batch: &mut Batch,
    summary: &mut Summary,
) -> io::Result<()> {
    let mark = blob.with_extension("none");
    let missing: Vec<(PathBuf, Compress)> = VARIANTS
        .iter()
        .map(|(extension, compress)| (blob.with_extension(extension), *compress))
        .filter(|(path, _)| !path.exists())
        .collect();
    if missing.is_empty() || mark.exists() {
        return Ok(());
    }
    let content = match fs::read(blob) {
        Ok(content) => content,
        Err(error) => return absent_is_fine(error),
    };
    // A crash may have cut it short; the next release writes it anew.
    if Sha256::digest(&content)[..] != entry.sha256 {
        return Ok(());
    }
    let mut smallest = content.len();
    let mut is_any_left_out = false;
    for (path, compress) in missing {
        let variant = compress(&content)?;
        // A twentieth is the least that is worth a file.
        if variant.len() * 20 > content.len() * 19 {
            is_any_left_out = true;
            continue;
        }
        if let Err(error) = fs::write(temporary(&path), &variant) {
            // The app was destroyed, its folder is gone.
            return absent_is_fine(error);
        }
        smallest = smallest.min(variant.len());
        summary.variants += 1;
        batch.variants.push(path);
    }
    if is_any_left_out {
        batch.marks.push(mark);
    }
    batch.bytes += entry.size;
    summary.files += 1;
    summary.bytes += entry.size;
    summary.smallest += smallest as u64;
    Ok(())
}

/// `<sha256>.br` → `<sha256>.br-tmp`
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-tmp");
    name.into()
}

/// Whether files of this name are not compressed already. The edge looks for variants of the
/// media types that these extensions have (`router/src/content_type.rs`).
fn is_compressible(path: &str) -> bool {
    const EXTENSIONS: [&str; 38] = [
        "css",
        "js",
        "mjs",
        "cjs",
        "html",
        "htm",
        "shtml",
        "xhtml",
        "xht",
        "txt",
        "text",
        "log",
        "md",
        "markdown",
        "csv",
        "ics",
        "vtt",
        "vcf",
        "xml",
        "xsd",
        "xsl",
        "xslt",
        "rss",
        "atom",
        "rdf",
        "kml",
        "gpx",
        "json",
        "map",
        "jsonld",
        "geojson",
        "webmanifest",
        "wasm",
        "svg",
        "ico",
        "bmp",
        "ttf",
        "otf",
    ];
    let extension = Path::new(path).extension().and_then(|text| text.to_str());
    extension.is_some_and(|extension| {
        EXTENSIONS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(extension))
    })
}

/// Level 19 is the last one whose window (8 MiB) every browser must take (RFC 9659).
fn zstd(content: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(content, 19)
}

fn brotli(content: &[u8]) -> io::Result<Vec<u8>> {
    let params = BrotliEncoderParams {
        quality: 11,
        lgwin: 22,
        size_hint: content.len(),
        ..BrotliEncoderParams::default()
    };
    let mut variant = Vec::with_capacity(content.len() / 4);
    brotli::BrotliCompress(&mut &content[..], &mut variant, &params)?;
    Ok(variant)
}

fn gzip(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    encoder.finish()
}

#[cfg(test)]
mod tests;
