//! Which hosts the names of a certificate stand for.

/// Whether one of `names` is `host`; a wildcard such as `*.example.org` stands for exactly one
/// label (RFC 9525, 6.3).
pub fn names_cover(names: &[String], host: &str) -> bool {
    let above = host.split_once('.').map(|(_, above)| above);
    names.iter().any(|name| {
        name == host
            || name
                .strip_prefix("*.")
                .is_some_and(|wild| above == Some(wild))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_one_label() {
        let names = ["a.example".to_owned(), "*.b.example".to_owned()];
        for host in ["a.example", "www.b.example"] {
            assert!(names_cover(&names, host), "{host}");
        }
        for host in ["www.a.example", "b.example", "x.www.b.example", ""] {
            assert!(!names_cover(&names, host), "{host}");
        }
    }
}
