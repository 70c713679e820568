//! How an error reads: its message, then its causes, hints last, no line twice.

use std::error::Error;

/// The message of an error with those of its causes, one a line. Lines that start with `hint:`
/// come last, so that the next command to try is what stays on the screen.
pub fn explain(error: &dyn Error) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut hints: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        for line in error.to_string().lines() {
            let place = if line.starts_with("hint:") {
                &mut hints
            } else {
                &mut lines
            };
            if !place.iter().any(|known| known == line) {
                place.push(line.to_owned());
            }
        }
        next = error.source();
    }
    lines.extend(hints);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the outside\nhint: try this")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_follow_and_hints_come_last() {
        let error = Outer(std::io::Error::other("the inside"));
        assert_eq!(explain(&error), "the outside\nthe inside\nhint: try this");
    }
}
