//! Tar archives into and out of a container, streamed both ways.
//!
//! Both work on a container that was never started, and reach into the volumes
//! mounted in it: the way to fill or save a volume without running anything.
//! Nothing is held in memory beyond one chunk.

use std::io;
use std::pin::Pin;

use bollard::query_parameters::{DownloadFromContainerOptions, UploadToContainerOptions};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};

use crate::body::Failure;
use crate::label::checked;
use crate::{Engine, EngineError};

/// Bytes as they come.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, EngineError>> + Send>>;

impl Engine {
    /// Unpacks a tar archive (plain, or compressed with gzip, bzip2 or xz) into the folder
    /// `path`, which must exist. Entries keep the numeric owner, mode and time they name.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] when there is no such container or folder;
    /// [`EngineError::Body`] with `archive`'s own error.
    pub async fn upload_archive(
        &self,
        id: &str,
        path: &str,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), EngineError> {
        let what = format!("unpack an archive into `{path}` of container `{id}`");
        let id = checked(&what, id)?;
        let options = UploadToContainerOptions {
            path: path.to_owned(),
            // Despite its name it gives everything to the container's user.
            copy_uidgid: None,
            ..Default::default()
        };
        let failure = Failure::default();
        let body = bollard::body_try_stream(failure.watch(archive));
        let sent = self
            .docker
            .upload_to_container(id, Some(options), body)
            .await;
        match failure.take() {
            Some(source) => Err(EngineError::Body { what, source }),
            None => sent.map_err(|error| EngineError::new(&what, error)),
        }
    }

    /// A file or folder as a plain tar archive, its entries under the last part of `path`.
    /// The first item is [`EngineError::NotFound`] where there is no such container or path.
    #[must_use]
    pub fn download_archive(&self, id: &str, path: &str) -> ByteStream {
        let what = format!("archive `{path}` of container `{id}`");
        if let Err(error) = checked(&what, id) {
            return Box::pin(stream::once(async { Err(error) }));
        }
        let options = DownloadFromContainerOptions {
            path: path.to_owned(),
        };
        Box::pin(
            self.docker
                .download_from_container(id, Some(options))
                .map(move |chunk| chunk.map_err(|error| EngineError::new(&what, error))),
        )
    }
}
