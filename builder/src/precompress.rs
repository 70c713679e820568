//! Compressing what a release serves, after it went live: in a child process of our own binary,
//! so that neither its memory nor its time is the control plane's, one at a time. A deployment
//! never waits for it and never fails by it; until a variant is there the edge sends the file as
//! it is. A crash leaves variants unmade, and the next release makes them.

mod variants;

use std::path::Path;
use std::process::{Output, Stdio};

use zarpar_model::AppName;

use crate::Builder;

pub use variants::{Summary, compress_static};

/// The subcommand of our binary that calls [`compress_static`].
const SUBCOMMAND: &str = "compress-static";

impl Builder {
    /// Compresses a set in a task of its own, which ends with the control plane.
    pub(crate) fn compress_later(&self, app: &AppName, set: &str) {
        let (store, set) = (self.static_store(app), set.to_owned());
        let (app, turn) = (app.clone(), self.compressing.clone());
        self.retiring.spawn(async move {
            let _turn = turn.lock().await;
            // Releases may have come and gone while this one waited.
            if !store.has(&set) {
                return;
            }
            match run(store.root(), &set).await {
                Ok(output) if output.status.success() => {
                    let made = String::from_utf8_lossy(&output.stdout);
                    if !made.is_empty() {
                        tracing::info!(%app, made = made.trim_end(), "static files are compressed");
                    }
                }
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    tracing::warn!(%app, status = %output.status, said = said.trim_end(), "static files stay uncompressed until the next release");
                }
                Err(error) => {
                    tracing::warn!(%app, %error, "static files stay uncompressed until the next release");
                }
            }
        });
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "starts ourselves, with an empty environment"
)]
async fn run(root: &Path, set: &str) -> std::io::Result<Output> {
    // The program we are, also when its file has been replaced by a newer one.
    tokio::process::Command::new("/proc/self/exe")
        .arg0("zarpar")
        .arg(SUBCOMMAND)
        .arg("--")
        .arg(root)
        .arg(set)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
}
