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

/// The longest life of a token: longer ones are meant to have none.
const LONGEST_LIFE_DAYS: u64 = 3650;

/// A text that is no lifetime.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a time such as `12h`, `90d` or `8w`, at most `3650d`, found `{found}`")]
pub struct LifetimeError {
    found: String,
}

/// Reads how long something given out is good for. The unit must be there: somebody who writes
/// `90` means days, and a token that ends after 90 seconds is noticed in the middle of a push.
///
/// # Errors
/// [`LifetimeError`] when the text is not a whole number, not zero, with one of the units `m`,
/// `h`, `d`, `w`, or is longer than ten years.
pub fn parse_lifetime(text: &str) -> Result<Duration, LifetimeError> {
    let error = || LifetimeError {
        found: text.chars().take(40).collect(),
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| error())?;
    let unit_in_seconds = match &text[digits..] {
        "m" => 60,
        "h" => 3_600,
        "d" => 24 * 3_600,
        "w" => 7 * 24 * 3_600,
        _ => return Err(error()),
    };
    number
        .checked_mul(unit_in_seconds)
        .filter(|seconds| (1..=LONGEST_LIFE_DAYS * 24 * 3_600).contains(seconds))
        .map(Duration::from_secs)
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
    fn lifetimes_have_a_unit_and_an_end() {
        for (text, hours) in [
            ("60m", 1),
            ("12h", 12),
            ("90d", 2160),
            ("8w", 1344),
            ("3650d", 87_600),
        ] {
            let hours = Duration::from_secs(hours * 3600);
            assert_eq!(parse_lifetime(text).unwrap(), hours, "{text}");
        }
        for bad in [
            "",
            "90",
            "0d",
            "3651d",
            "-1d",
            "1.5d",
            "d",
            "90 d",
            "90D",
            "99999999999999999999d",
            "é",
        ] {
            assert!(parse_lifetime(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_as_people_read_them() {
        assert_eq!(show_span(Duration::from_millis(440)), "0.4 s");
        assert_eq!(show_span(Duration::from_secs(200)), "3 m 20 s");
    }
}
