//! `compress-static`: what `serve` starts to compress the static files of a release. It works on
//! a folder alone, so it may be killed at any instant and run by hand at any time.

use std::path::Path;
use std::process::ExitCode;

use super::output;
use crate::report::fail;

/// Visitors, builds and databases come first.
const NICE: i32 = 10;

pub(crate) fn compress_static(root: &Path, set: &str) -> ExitCode {
    // Everybody may lower their own priority; without that the work is the same.
    let _ = rustix::process::setpriority_process(None, NICE);
    match zarpar_builder::compress_static(root, set) {
        Ok(summary) => {
            if summary.files > 0 {
                output::line(&summary.to_string());
            }
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error, 1),
    }
}
