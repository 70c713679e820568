//! The answer that hands out a file, static or uploaded: validators, conditions, ranges.

use std::fs::File;
use std::ops::Range;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    LAST_MODIFIED, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::accept_encoding::Coding;
use crate::conditional::{Verdict, Version, http_date, judge};
use crate::file_body::FileBody;
use crate::pages::Page;
use crate::reply::{Content, ReplyBody};

/// A file and what is told about it.
pub(crate) struct ServedFile {
    pub(crate) source: Source,
    /// Bytes.
    pub(crate) size: u64,
    /// Unix seconds.
    pub(crate) modified: u64,
    /// A strong entity tag, with its quotes.
    pub(crate) etag: String,
    pub(crate) content_type: &'static str,
    pub(crate) cache_control: &'static str,
}

/// Where a file's bytes are.
pub(crate) enum Source {
    Disk(File),
    Memory(Bytes),
}

impl Source {
    fn content(self, part: Range<u64>) -> Content {
        match self {
            Source::Disk(file) => Content::File(FileBody::new(file, part)),
            Source::Memory(bytes) => {
                // Within the size, which is that of something in memory.
                let at = |position| usize::try_from(position).unwrap_or(usize::MAX);
                let end = at(part.end).min(bytes.len());
                Content::Bytes(bytes.slice(at(part.start).min(end)..end))
            }
        }
    }
}

/// Whether a method reads.
pub(crate) fn is_read(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

/// Answers a GET or HEAD with a file as it is.
pub(crate) fn serve(
    method: &Method,
    request: &HeaderMap,
    served: ServedFile,
) -> Response<ReplyBody> {
    serve_coded(method, request, served, None)
}

/// Answers a GET or HEAD. Size and tag are those of the variant when it has a coding; then there
/// are no ranges of it, and the request must not ask for one.
pub(crate) fn serve_coded(
    method: &Method,
    request: &HeaderMap,
    served: ServedFile,
    coding: Option<Coding>,
) -> Response<ReplyBody> {
    let version = Version {
        etag: &served.etag,
        modified: served.modified,
        size: served.size,
    };
    let (status, part) = match judge(method, request, &version) {
        Verdict::Whole => (StatusCode::OK, Some(0..served.size)),
        Verdict::Part(part) => (StatusCode::PARTIAL_CONTENT, Some(part)),
        Verdict::NotModified => (StatusCode::NOT_MODIFIED, None),
        Verdict::PreconditionFailed => return Page::PreconditionFailed.reply(),
        Verdict::Unsatisfiable => return Page::Unsatisfiable(served.size).reply(),
    };
    let content_range = part
        .as_ref()
        .filter(|_| status == StatusCode::PARTIAL_CONTENT)
        .map(|part| format!("bytes {}-{}/{}", part.start, part.end - 1, served.size));
    // A HEAD keeps the body for its length; it is dropped before a byte of it is read.
    let content = match part {
        Some(part) => served.source.content(part),
        None => Content::Empty,
    };
    let mut response = Response::new(ReplyBody::new(content));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static(served.cache_control),
    );
    insert_text(headers, ETAG, served.etag);
    insert_text(headers, LAST_MODIFIED, http_date(served.modified));
    if status != StatusCode::NOT_MODIFIED {
        match coding {
            Some(coding) => {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.token()))
            }
            None => headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(served.content_type));
    }
    if let Some(range) = content_range {
        insert_text(headers, CONTENT_RANGE, range);
    }
    response
}

fn insert_text(headers: &mut HeaderMap, name: http::HeaderName, text: String) {
    // Tags, dates and numbers are visible ASCII, so this does not fail.
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}
