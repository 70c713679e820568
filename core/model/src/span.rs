//! Spans of time as people write them in `zarpar.toml` and on the command line: `500ms`, `30s`,
//! `2m`, `1h`, or a bare number of seconds.

use std::time::Duration;

/// A text that is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a time such as `500ms`, `30s` or `2m`, found `{found}`")]
pub struct SpanError {
    found: String,
}

/// Reads a span of time; at most 24 hours, because nothing zarpar waits for lasts longer and an
/// overflowing sum would be a bug far away from the typo.
///
/// # Errors
/// [`SpanError`] when the text is not a whole number with one of the units `ms`, `s`, `m`, `h`.
pub fn parse_span(text: &str) -> Result<Duration, SpanError> {
    let error = || SpanError {
        found: text.chars().take(40).collect(),
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| error())?;
    let unit_in_ms = match &text[digits..] {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(error()),
    };
    number
        .checked_mul(unit_in_ms)
        .filter(|ms| *ms <= 24 * 3_600_000)
        .map(Duration::from_millis)
        .ok_or_else(error)
}

/// Shows a span for people: `0.4 s`, `12.3 s`, `3 m 20 s`.
pub fn show_span(span: Duration) -> String {
    let seconds = span.as_secs();
    if seconds < 60 {
        format!("{:.1} s", span.as_secs_f64())
    } else {
        format!("{} m {:02} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn spans_as_people_write_them() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("30", 30_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                parse_span(text).unwrap(),
                Duration::from_millis(ms),
                "{text}"
            );
        }
        for bad in [
            "",
            "s",
            "-1s",
            "1.5s",
            "25h",
            "99999999999999999999s",
            "1 s",
            "1d",
        ] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_as_people_read_them() {
        assert_eq!(show_span(Duration::from_millis(440)), "0.4 s");
        assert_eq!(show_span(Duration::from_secs(200)), "3 m 20 s");
    }
}
