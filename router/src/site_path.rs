//! Whether a request's path is below a folder we serve ourselves. The path is decoded exactly
//! once, for this question alone; the app gets it byte for byte as it came.

use std::borrow::Cow;

/// A path decoded once.
pub(crate) struct SitePath<'a> {
    raw: &'a str,
    decoded: Option<Cow<'a, [u8]>>,
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Below<'a> {
    /// Not below the prefix: somebody else's.
    Elsewhere,
    /// Below it, but not decodable: 400.
    Malformed,
    /// Below it, and no file can have this name: 404.
    Unusable,
    /// The path below the prefix: relative, without empty, `.` or `..` parts.
    Path(&'a [u8]),
}

impl<'a> SitePath<'a> {
    pub(crate) fn new(raw: &'a str) -> SitePath<'a> {
        SitePath {
            raw,
            decoded: decode(raw),
        }
    }

    /// Relates the path to a prefix with slashes at both ends.
    pub(crate) fn below(&self, prefix: &str) -> Below<'_> {
        let Some(decoded) = &self.decoded else {
            return if self.raw.starts_with(prefix) {
                Below::Malformed
            } else {
                Below::Elsewhere
            };
        };
        let Some(rest) = decoded.strip_prefix(prefix.as_bytes()) else {
            return Below::Elsewhere;
        };
        let good = rest
            .split(|&byte| byte == b'/')
            .all(|part| !matches!(part, b"" | b"." | b".."))
            && !rest.contains(&0);
        if good {
            Below::Path(rest)
        } else {
            Below::Unusable
        }
    }
}

fn decode(raw: &str) -> Option<Cow<'_, [u8]>> {
    if !raw.contains('%') {
        return Some(Cow::Borrowed(raw.as_bytes()));
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            decoded.push(u8::try_from(high << 4 | low).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    Some(Cow::Owned(decoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_a_prefix() {
        for (raw, expected) in [
            ("/static/css/a.css", Below::Path(b"css/a.css".as_slice())),
            ("/static/con%20espacio.svg", Below::Path(b"con espacio.svg")),
            ("/%73tatic/a", Below::Path(b"a")),
            ("/static%2fa", Below::Path(b"a")),
            ("/static/%252e%252e/a", Below::Path(b"%2e%2e/a")),
            ("/static/a;b", Below::Path(b"a;b")),
            ("/static", Below::Elsewhere),
            ("/staticx/a", Below::Elsewhere),
            ("//static/a", Below::Elsewhere),
            ("/x/../static/a", Below::Elsewhere),
            ("/x%zz", Below::Elsewhere),
            ("/static/", Below::Unusable),
            ("/static/a/", Below::Unusable),
            ("/static//a", Below::Unusable),
            ("/static/../a", Below::Unusable),
            ("/static/%2e%2e/a", Below::Unusable),
            ("/static/%2e%2e%2fa", Below::Unusable),
            ("/static/./a", Below::Unusable),
            ("/static/a%00.css", Below::Unusable),
            ("/static/%zz", Below::Malformed),
            ("/static/a%4", Below::Malformed),
        ] {
            assert_eq!(SitePath::new(raw).below("/static/"), expected, "{raw}");
        }
    }
}
