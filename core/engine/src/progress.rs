//! BuildKit's progress, turned into lines for the person who pushed.
//!
//! BuildKit reports a graph: vertices that start, complete, or are cached, each
//! reported several times, and pieces of their output. Here every vertex becomes
//! at most one `Step` and one `Done`, or one `Cached`, and pieces become whole
//! lines. At most [`LONGEST_LINE`] bytes are kept per open line.

use std::collections::{HashMap, HashSet};

use bollard::moby::buildkit::v1::{StatusResponse, Vertex};

/// A line longer than this is told in parts.
const LONGEST_LINE: usize = 16 * 1024;

/// One line of a build's progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildLine {
    /// What it is about.
    pub kind: BuildLineKind,
    /// Without a line end.
    pub text: String,
}

/// What a [`BuildLine`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildLineKind {
    /// A step started; the text is its name, such as `[2/3] RUN pip install …`.
    Step,
    /// A step wrote a line.
    Output,
    /// A step ended well; its name and seconds.
    Done,
    /// A step was not needed; its name.
    Cached,
    /// Something the author of the Dockerfile should know.
    Warning,
}

/// What was told so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    started: HashSet<String>,
    ended: HashSet<String>,
    /// Vertex and stream to the line that has no end yet.
    open_lines: HashMap<(String, i64), Vec<u8>>,
    /// Name of the step that failed, where one did.
    pub(crate) failed: Option<String>,
}

impl Progress {
    /// The lines that this report adds.
    pub(crate) fn lines(&mut self, report: StatusResponse) -> Vec<BuildLine> {
        let mut lines = Vec::new();
        let (over, begun): (Vec<_>, Vec<_>) = report
            .vertexes
            .into_iter()
            .partition(|vertex| vertex.completed.is_some());
        // One report may carry a step's start, its output and its end, in three lists.
        for vertex in begun.iter().chain(&over) {
            self.begin(vertex, &mut lines);
        }
        for log in report.logs {
            self.write(log.vertex, log.stream, &log.msg, &mut lines);
        }
        for vertex in over {
            self.end(&vertex, &mut lines);
        }
        for warning in report.warnings {
            let text = String::from_utf8_lossy(&warning.short).into_owned();
            lines.push(line(BuildLineKind::Warning, text));
        }
        lines
    }

    /// Lines that never got their end.
    pub(crate) fn rest(&mut self) -> Vec<BuildLine> {
        let mut lines = Vec::new();
        for (_, text) in self.open_lines.drain() {
            push_output(&text, &mut lines);
        }
        lines
    }

    fn begin(&mut self, vertex: &Vertex, lines: &mut Vec<BuildLine>) {
        let new = vertex.started.is_some() && !self.started.contains(&vertex.digest);
        if new && !vertex.cached {
            self.started.insert(vertex.digest.clone());
            if !is_internal(&vertex.name) {
                lines.push(line(BuildLineKind::Step, vertex.name.clone()));
            }
        }
    }

    fn end(&mut self, vertex: &Vertex, lines: &mut Vec<BuildLine>) {
        self.close_lines(&vertex.digest, lines);
        if !self.ended.insert(vertex.digest.clone()) {
            return;
        }
        if !vertex.error.is_empty() {
            // Steps that ran beside the one that failed are cancelled after it.
            if !vertex.error.contains("context canceled") {
                self.failed.get_or_insert_with(|| vertex.name.clone());
            }
        } else if is_internal(&vertex.name) {
        } else if self.started.contains(&vertex.digest) {
            let text = format!("{} ({:.1} s)", vertex.name, seconds(vertex));
            lines.push(line(BuildLineKind::Done, text));
        } else if vertex.cached {
            lines.push(line(BuildLineKind::Cached, vertex.name.clone()));
        }
    }

    fn write(&mut self, vertex: String, stream: i64, bytes: &[u8], lines: &mut Vec<BuildLine>) {
        let open = self.open_lines.entry((vertex, stream)).or_default();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            open.extend_from_slice(part);
            if open.ends_with(b"\n") || open.len() >= LONGEST_LINE {
                push_output(open, lines);
                open.clear();
            }
        }
    }

    fn close_lines(&mut self, vertex: &str, lines: &mut Vec<BuildLine>) {
        for stream in [1, 2] {
            if let Some(text) = self.open_lines.remove(&(vertex.to_owned(), stream)) {
                push_output(&text, lines);
            }
        }
    }
}

/// A progress bar redraws its line after a carriage return; the last drawing counts.
fn push_output(text: &[u8], lines: &mut Vec<BuildLine>) {
    let text = String::from_utf8_lossy(text);
    let text = text.trim_end_matches(['\n', '\r']);
    let text = text.rsplit('\r').next().unwrap_or(text);
    if !text.is_empty() {
        lines.push(line(BuildLineKind::Output, text.to_owned()));
    }
}

fn line(kind: BuildLineKind, text: String) -> BuildLine {
    BuildLine { kind, text }
}

/// BuildKit's own errands, and the copy of the context it makes for itself.
fn is_internal(name: &str) -> bool {
    name.starts_with("[internal]") || name == "copy /context /"
}

fn seconds(vertex: &Vertex) -> f64 {
    match (&vertex.started, &vertex.completed) {
        (Some(from), Some(to)) => {
            let whole = u32::try_from(to.seconds - from.seconds).unwrap_or(0);
            (f64::from(whole) + f64::from(to.nanos - from.nanos) / 1e9).max(0.0)
        }
        _ => 0.0,
    }
}
