//! Answers of apps, compressed on their way to the visitor: gzip, as the cheapest that every
//! browser reads. Static files are no matter of this; their variants are made beforehand.
//!
//! Here is decided whether, and what the head says then; `compress/gzip.rs` compresses,
//! `compress/body.rs` decides when. An answer that is not for it costs a few looks at its head.
//! An app has two ways to say no: to compress itself (`Content-Encoding`), or `Cache-Control:
//! no-transform` (RFC 9110, 7.7).
//!
//! What of an answer cannot be told from its head is decided for compressing: one of unknown
//! length may be short, but to wait for its first kilobyte would hold back one that streams.
//!
//! Gzip alone, level 2, by measurement (100 kB each of a shop's list, of JSON and of a book's
//! page; one core; result in percent of the plain size):
//!
//! | | time in µs | size | compressor |
//! |---|---|---|---|
//! | zlib-rs 1 | 80–180 | 16, 34, 34 | 371 KiB |
//! | zlib-rs 2 | 90–300 | 13, 25, 26 | 371 KiB |
//! | zlib-rs 3 | 200–500 | 12, 23, 24 | 371 KiB |
//! | miniz_oxide 1 | 100–360 | 15, 28, 32 | 441 KiB |
//! | zstd 1, window 128 KiB | 100 | 13, 23, 26 | 953 KiB |
//! | brotli 1 | 130–300 | 15, 25, 29 | 457 KiB |
//!
//! A second coding would have to win clearly. zstd saves a fifth of a millisecond on a page for
//! which Django needs ten or more; it would hold its compressor for each open answer, where gzip
//! needs one for each worker (`gzip.rs`), and has no place for what hides secrets from BREACH.

mod body;
mod gzip;

pub(crate) use body::CompressedBody;
pub(crate) use gzip::{Gzip, GzipError};

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, IF_NONE_MATCH, TRAILER, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::accept_encoding::{Coding, is_compressible, preferred};

/// Shorter bodies, in bytes, fit into a packet or two as they are.
const SHORTEST: u64 = 1024;

/// Fields with a digest of the body's bytes as the app sent them (RFC 9530, RFC 3230, RFC 1864).
/// An app that promises bytes gets them delivered: dropping its promise could be what an attacker
/// wants, and a digest of ours would need the whole body before the head.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// What a request's head says about the coding of the answer.
#[derive(Debug)]
pub(crate) struct Wish {
    gzip: bool,
    is_head: bool,
    /// The visitor's `If-None-Match`.
    known: Option<HeaderValue>,
}

impl Wish {
    /// Reads the head of a request.
    pub(crate) fn of(is_head: bool, fields: &HeaderMap) -> Wish {
        let gzip = preferred(fields).any(|coding| coding == Coding::Gzip);
        Wish {
            // The visitor may forbid it too (RFC 9111, 5.2.1.6).
            gzip: gzip && !lists(fields, CACHE_CONTROL, "no-transform"),
            is_head,
            known: fields.get(IF_NONE_MATCH).cloned(),
        }
    }

    /// Makes the head of an answer say what its body will be, and returns whether that is gzip.
    /// `length` is that of the app's body in bytes, when it is known before its end. A HEAD is
    /// answered with the head a GET would get.
    pub(crate) fn settle(
        &self,
        status: StatusCode,
        length: Option<u64>,
        fields: &mut HeaderMap,
    ) -> bool {
        if status == StatusCode::NOT_MODIFIED {
            self.settle_not_modified(fields);
            return false;
        }
        let length = if self.is_head {
            told_length(fields)
        } else {
            length
        };
        if length.is_some_and(|length| length < SHORTEST)
            || has_no_whole_body(status)
            || !has_compressible_type(fields)
            || is_as_the_app_wants_it(fields)
        {
            return false;
        }
        // Also for those who get it plain: a cache between must not give this one to others.
        add_to_vary(fields);
        if !self.gzip {
            return false;
        }
        fields.insert(
            CONTENT_ENCODING,
            HeaderValue::from_static(Coding::Gzip.token()),
        );
        fields.remove(CONTENT_LENGTH);
        // Positions in the app's body are none in ours.
        fields.remove(ACCEPT_RANGES);
        fields.remove(TRAILER);
        weaken_etag(fields);
        true
    }

    /// The app knows only its own strong tag. A visitor who has our weak one would find that none
    /// of its stored answers is meant (RFC 9111, 4.3.4).
    fn settle_not_modified(&self, fields: &mut HeaderMap) {
        let (Some(known), Some(etag)) = (&self.known, fields.get(ETAG)) else {
            return;
        };
        let Some(weak) = weak(etag) else {
            return;
        };
        let (known, sought) = (known.as_bytes(), weak.as_bytes());
        // Tags have no quotes inside, so this is one of the list.
        if known.windows(sought.len()).any(|part| part == sought) {
            fields.insert(ETAG, weak);
            add_to_vary(fields);
        }
    }
}

/// Statuses without a body, or with a part of one.
fn has_no_whole_body(status: StatusCode) -> bool {
    status.is_informational()
        || matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT
        )
}

/// The `Content-Length` of an answer to HEAD, which is that of a body it does not have.
fn told_length(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn has_compressible_type(fields: &HeaderMap) -> bool {
    let Some(value) = fields.get(CONTENT_TYPE) else {
        return false;
    };
    let essence = value.as_bytes().split(|&byte| byte == b';').next();
    let essence = essence.unwrap_or_default().trim_ascii();
    let mut lower = [0; 64];
    // Longer ones are those of office documents, which are archives.
    let Some(lower) = lower.get_mut(..essence.len()) else {
        return false;
    };
    lower.copy_from_slice(essence);
    lower.make_ascii_lowercase();
    // Each event is one small write, and some clients read no coding there.
    std::str::from_utf8(lower)
        .is_ok_and(|essence| essence != "text/event-stream" && is_compressible(essence))
}

/// Coded already, a part, under a digest, or not to be touched.
fn is_as_the_app_wants_it(fields: &HeaderMap) -> bool {
    fields.contains_key(CONTENT_ENCODING)
        || fields.contains_key(CONTENT_RANGE)
        || lists(fields, CACHE_CONTROL, "no-transform")
        || DIGESTS.iter().any(|name| fields.contains_key(name))
}

/// Whether a field, which is a list, has this element.
fn lists(fields: &HeaderMap, name: HeaderName, element: &str) -> bool {
    fields.get_all(name).iter().any(|value| {
        let mut elements = value.as_bytes().split(|&byte| byte == b',');
        elements.any(|found| found.trim_ascii().eq_ignore_ascii_case(element.as_bytes()))
    })
}

fn add_to_vary(fields: &mut HeaderMap) {
    if lists(fields, VARY, "*") || lists(fields, VARY, "accept-encoding") {
        return;
    }
    let ours = HeaderValue::from_static("Accept-Encoding");
    let mut own = fields.get_all(VARY).iter();
    match (own.next(), own.next()) {
        (Some(only), None) => {
            let joined = [only.as_bytes(), b", Accept-Encoding"].concat();
            if let Ok(joined) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
                fields.insert(VARY, joined);
            }
        }
        // Two lines are as good as one.
        _ => {
            fields.append(VARY, ours);
        }
    }
}

/// The bytes are others than those the strong tag names, the meaning is the same (RFC 9110,
/// 8.8.3.3). What is no tag at all could be compared as one, so it goes (as nginx does).
fn weaken_etag(fields: &mut HeaderMap) {
    let Some(etag) = fields.get(ETAG) else {
        return;
    };
    if let Some(weak) = weak(etag) {
        fields.insert(ETAG, weak);
    } else if !etag.as_bytes().starts_with(b"W/\"") {
        fields.remove(ETAG);
    }
}

/// The weak form of a strong tag.
fn weak(etag: &HeaderValue) -> Option<HeaderValue> {
    let strong = etag.as_bytes();
    if !strong.starts_with(b"\"") {
        return None;
    }
    HeaderValue::from_bytes(&[b"W/", strong].concat()).ok()
}

#[cfg(test)]
mod tests;
