//! Numbers of bytes as people write them in configuration files: `100m`, `256MiB`, `1g`, or a bare
//! number of bytes. Units count in steps of 1024, as Docker's and nginx's do.

/// A text that is no number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a size such as `100m`, `256MiB` or `1g`, found `{found}`")]
pub struct SizeError {
    found: String,
}

/// Reads a number of bytes.
///
/// # Errors
/// [`SizeError`] when the text is not a whole number with one of the units `k`, `m`, `g`, each
/// also as `kb`, `kib` and so on, in any case.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let error = || SizeError {
        found: text.chars().take(40).flat_map(char::escape_debug).collect(),
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| error())?;
    let unit: u64 = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(error()),
    };
    number.checked_mul(unit).ok_or_else(error)
}

/// Shows a number of bytes for people: `812 bytes`, `1.5 KiB`, `256.0 MiB`.
pub fn show_size(bytes: u64) -> String {
    let mut shown = bytes as f64;
    for unit in ["bytes", "KiB", "MiB"] {
        // 1023.96 would be shown as `1024.0`.
        if shown < 1023.95 {
            return if unit == "bytes" {
                format!("{bytes} bytes")
            } else {
                format!("{shown:.1} {unit}")
            };
        }
        shown /= 1024.0;
    }
    format!("{shown:.1} GiB")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("812", 812),
            ("100m", 100 << 20),
            ("256MiB", 256 << 20),
            ("1G", 1 << 30),
            ("3kb", 3072),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for bad in ["", "m", "-1m", "1.5g", "1 g", "1t", "99999999999g"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        for (bytes, shown) in [
            (812, "812 bytes"),
            (1536, "1.5 KiB"),
            (300_000_000, "286.1 MiB"),
            (1 << 30, "1.0 GiB"),
            ((1 << 20) - 1, "1.0 MiB"),
        ] {
            assert_eq!(show_size(bytes), shown);
        }
    }
}
