//! `Accept-Encoding` (RFC 9110, 12.5.3): which codings a client wants, and in which order; of files
//! whose variants are made beforehand, and of answers compressed on their way (gzip). Reads without a single allocation, and what it cannot
//! read counts as not said.

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// A coding that a variant may have, smallest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Coding {
    Brotli,
    Zstd,
    Gzip,
}

impl Coding {
    /// In this order when a client wants them alike: brotli 11 is the smallest, and all are
    /// made before anybody asks.
    const ALL: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

    /// Its name in `Content-Encoding`.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    /// What follows the content's name on the disk (the builder's `precompress/variants.rs`).
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Coding::Brotli => ".br",
            Coding::Zstd => ".zst",
            Coding::Gzip => ".gz",
        }
    }
}

/// The codings to look for, best first. After them comes the file as it is, also when the client
/// does not want that: it is what there is.
pub(crate) fn preferred(headers: &HeaderMap) -> impl Iterator<Item = Coding> + use<> {
    let weights = Weights::read(headers);
    let plain = weights.identity.or(weights.any).unwrap_or(0);
    let mut ranked = Coding::ALL.map(|coding| (weights.of(coding), coding));
    // Stable: alike stay in our order.
    ranked.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    ranked
        .into_iter()
        .filter(move |(weight, _)| *weight > 0 && *weight >= plain)
        .map(|(_, coding)| coding)
}

/// Whether something of a media type gets smaller; what is compressed already does not.
pub(crate) fn is_compressible(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or(content_type);
    essence.starts_with("text/")
        || essence.ends_with("json")
        || essence.ends_with("javascript")
        || essence.ends_with("xml")
        || matches!(
            essence,
            "application/wasm" | "image/x-icon" | "image/bmp" | "font/ttf" | "font/otf"
        )
}

/// Weights in thousandths; what was not named has none.
#[derive(Debug, Default, Clone, Copy)]
struct Weights {
    brotli: Option<u16>,
    zstd: Option<u16>,
    gzip: Option<u16>,
    identity: Option<u16>,
    /// `*`: whatever is not named.
    any: Option<u16>,
}

impl Weights {
    fn read(headers: &HeaderMap) -> Weights {
        let mut weights = Weights::default();
        for value in headers.get_all(ACCEPT_ENCODING) {
            for element in value.as_bytes().split(|&byte| byte == b',') {
                weights.take(element);
            }
        }
        weights
    }

    /// Reads `br`, `gzip;q=0.5`, `*;q=0`.
    fn take(&mut self, element: &[u8]) {
        let mut parts = element.splitn(2, |&byte| byte == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let weight = match parts.next() {
            None => 1000,
            Some(parameter) => match weight(parameter.trim_ascii()) {
                Some(weight) => weight,
                None => return,
            },
        };
        let slot = if name.eq_ignore_ascii_case(b"br") {
            &mut self.brotli
        } else if name.eq_ignore_ascii_case(b"zstd") {
            &mut self.zstd
        } else if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
            &mut self.gzip
        } else if name.eq_ignore_ascii_case(b"identity") {
            &mut self.identity
        } else if name == b"*" {
            &mut self.any
        } else {
            return;
        };
        *slot = Some(weight);
    }

    fn of(&self, coding: Coding) -> u16 {
        let named = match coding {
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
            Coding::Gzip => self.gzip,
        };
        named.or(self.any).unwrap_or(0)
    }
}

/// Reads `q=0.5` in thousandths: one digit, 0 or 1, and at most three after the point.
fn weight(parameter: &[u8]) -> Option<u16> {
    let (name, value) = parameter.split_at_checked(2)?;
    if !name.eq_ignore_ascii_case(b"q=") {
        return None;
    }
    let (whole, rest) = value.split_first()?;
    let digits = match rest {
        [] => rest,
        [b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return None,
    };
    let mut thousandths = 0;
    for place in 0..3 {
        let digit = digits.get(place).unwrap_or(&b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        thousandths = thousandths * 10 + u16::from(digit - b'0');
    }
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Coding::{Brotli, Gzip, Zstd};
    use super::*;
    use crate::content_type;

    fn wanted(values: &[&str]) -> Vec<Coding> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT_ENCODING, value.parse().unwrap());
        }
        preferred(&headers).collect()
    }

    #[test]
    fn the_client_decides_and_the_smallest_of_what_it_likes_as_much_wins() {
        for (value, expected) in [
            ("gzip, deflate, br, zstd", &[Brotli, Zstd, Gzip][..]),
            ("gzip, deflate", &[Gzip]),
            ("GZip", &[Gzip]),
            ("x-gzip", &[Gzip]),
            ("gzip;q=1.0, br;q=0.9", &[Gzip, Brotli]),
            (
                "gzip; q=0.8 , br ;q=0.801,zstd;Q=0.8",
                &[Brotli, Zstd, Gzip],
            ),
            ("br;q=0, gzip", &[Gzip]),
            ("br;q=0.000, gzip;q=0.001", &[Gzip]),
            ("gzip;q=1., br;q=0.", &[Gzip]),
            // What is not named.
            ("*", &[Brotli, Zstd, Gzip]),
            ("*;q=0.5, gzip", &[Gzip, Brotli, Zstd]),
            ("identity, *;q=0.5, gzip", &[Gzip]),
            ("*;q=0.5, gzip, identity;q=0", &[Gzip, Brotli, Zstd]),
            ("br, *;q=0", &[Brotli]),
            ("zstd;q=0, *", &[Brotli, Gzip]),
            ("*;q=0", &[]),
            // The file as it is may be what it wants most.
            ("identity", &[]),
            ("identity;q=0.5, gzip;q=0.4, br;q=0.6", &[Brotli]),
            ("identity, br", &[Brotli]),
            ("identity;q=0", &[]),
            ("identity;q=0, gzip;q=0.1", &[Gzip]),
        ] {
            assert_eq!(wanted(&[value]), expected, "{value}");
        }
        assert_eq!(wanted(&[]), []);
        assert_eq!(wanted(&["gzip;q=0.5", "br;q=0.4"]), [Gzip, Brotli]);
    }

    #[test]
    fn what_cannot_be_read_is_not_said() {
        for value in [
            "",
            " , ,",
            "deflate, compress, dcb",
            "br2",
            "b r",
            "br;q",
            "br;q=",
            "br;q=x",
            "br;q=2",
            "br;q=1.001",
            "br;q=0.1234",
            "br;q=.5",
            "br;q=-1",
            "br;q=0.5;x=1",
            "br;level=11",
            "br;",
            ";q=1",
            "\"br\"",
        ] {
            assert_eq!(wanted(&[value]), [], "{value}");
            assert_eq!(wanted(&[value, "gzip"]), [Gzip], "{value}");
        }
        let mut headers = HeaderMap::new();
        let bytes = http::HeaderValue::from_bytes(b"\xff\xfe;q=\xff, gzip").unwrap();
        headers.insert(ACCEPT_ENCODING, bytes);
        assert_eq!(preferred(&headers).collect::<Vec<_>>(), [Gzip]);
    }

    #[test]
    fn what_may_have_variants() {
        for (name, expected) in [
            ("a.css", true),
            ("a.mjs", true),
            ("a.js.map", true),
            ("a.webmanifest", true),
            ("a.SVG", true),
            ("a.rss", true),
            ("a.wasm", true),
            ("a.ico", true),
            ("a.ttf", true),
            ("a.woff", false),
            ("a.woff2", false),
            ("a.png", false),
            ("a.docx", false),
            ("a.mp4", false),
            ("a.gz", false),
            ("LICENSE", false),
        ] {
            let content_type = content_type::of(name.as_bytes());
            assert_eq!(is_compressible(content_type), expected, "{name}");
        }
    }
}
