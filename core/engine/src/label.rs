//! Labels to find objects by, and names that may stand in a request's path.
//!
//! bollard puts names into the path of the request as they are, so a name with
//! a slash or a question mark would be another request. Names are checked here,
//! before they are sent, and refused, never repaired.

use std::collections::{BTreeMap, HashMap};

use crate::EngineError;

/// One condition on an object's labels; several are all required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label<'a> {
    /// The label exists, whatever its value.
    Has(&'a str),
    /// The label has exactly this value.
    Is(&'a str, &'a str),
}

impl<'a> From<&'a str> for Label<'a> {
    fn from(key: &'a str) -> Self {
        Self::Has(key)
    }
}

impl<'a> From<(&'a str, &'a str)> for Label<'a> {
    fn from((key, value): (&'a str, &'a str)) -> Self {
        Self::Is(key, value)
    }
}

/// The engine's `filters` parameter for these labels.
pub(crate) fn filters<'a, L: Into<Label<'a>> + Copy>(
    labels: &[L],
) -> Option<HashMap<String, Vec<String>>> {
    let labels = labels
        .iter()
        .map(|label| match (*label).into() {
            Label::Has(key) => key.to_owned(),
            Label::Is(key, value) => format!("{key}={value}"),
        })
        .collect();
    Some(HashMap::from([("label".to_owned(), labels)]))
}

/// Labels as the engine's API takes them.
pub(crate) fn to_map(labels: &BTreeMap<String, String>) -> Option<HashMap<String, String>> {
    Some(labels.clone().into_iter().collect())
}

/// Labels as the engine's API gives them.
pub(crate) fn from_map(labels: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    labels.unwrap_or_default().into_iter().collect()
}

/// A name or id of a container, network, volume or exec.
pub(crate) fn checked<'a>(what: &str, name: &'a str) -> Result<&'a str, EngineError> {
    check(what, name, |c| matches!(c, '_' | '.' | '-'))
}

/// An image: id, or repository with tag or digest.
pub(crate) fn checked_image<'a>(what: &str, image: &'a str) -> Result<&'a str, EngineError> {
    check(what, image, |c| {
        matches!(c, '_' | '.' | '-' | '/' | ':' | '@')
    })
}

fn check<'a>(
    what: &str,
    literal: &'a str,
    extra: impl Fn(char) -> bool,
) -> Result<&'a str, EngineError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || extra(c);
    let starts_well = literal.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts_well && literal.chars().all(allowed) && !literal.contains("..") {
        return Ok(literal);
    }
    Err(EngineError::Literal {
        what: what.to_owned(),
        literal: literal.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_cannot_become_another_request() {
        for wrong in [
            "",
            "..",
            "a/b",
            "a?force=1",
            "a#b",
            "a b",
            ".hidden",
            "a%2fb",
        ] {
            assert!(checked("try", wrong).is_err(), "{wrong}");
        }
        for wrong in ["a/../b", "/etc", "a?b", ":tag"] {
            assert!(checked_image("try", wrong).is_err(), "{wrong}");
        }
        assert!(checked("try", "zarpar-shop_web.1").is_ok());
        assert!(checked_image("try", "registry:5000/a/b:1.0@sha256:00ff").is_ok());
    }

    #[test]
    fn labels_become_key_or_key_and_value() {
        let found = filters(&[Label::Has("a"), Label::Is("b", "c")]).unwrap();
        assert_eq!(found["label"], ["a", "b=c"]);
    }
}
