//! Why an order came to nothing, sorted by what is to be done about it.

use std::error::Error as _;
use std::time::SystemTime;

use instant_acme::{Error, Identifier, Problem};

/// A failed attempt, in words for the person whose name it is.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// What is to be done about it.
    pub(crate) kind: FailureKind,
    /// What happened, with the authority's own detail.
    pub(crate) words: String,
    /// The authority's `Retry-After`.
    pub(crate) not_before: Option<SystemTime>,
    /// Whether the authority had taken the order.
    pub(crate) ordered: bool,
    /// The names it is about, as far as the authority said.
    pub(crate) hosts: Vec<String>,
}

/// What a failure asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The authority did not answer, or not in time, or with an error of its own: later again.
    Unreachable,
    /// Too many orders: later again, on no account sooner than the authority says.
    RateLimited,
    /// The authority does not know the account (it lost it, or the file is older than it).
    AccountGone,
    /// The authority looked and said no. The next try goes to staging and in the other way.
    Refused,
    /// Ours: a key, a file, the certificate store.
    Own,
}

impl Failure {
    /// A failure of our own.
    pub(crate) fn own(words: impl Into<String>) -> Failure {
        Failure {
            kind: FailureKind::Own,
            words: words.into(),
            not_before: None,
            ordered: false,
            hosts: Vec::new(),
        }
    }

    /// The authority said no.
    pub(crate) fn refused(words: impl Into<String>) -> Failure {
        Failure {
            kind: FailureKind::Refused,
            ..Failure::own(words)
        }
    }

    /// The authority did not answer in time.
    pub(crate) fn unreachable(words: impl Into<String>) -> Failure {
        Failure {
            kind: FailureKind::Unreachable,
            ..Failure::own(words)
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Api(problem) => {
                let kind = match short_type(&problem) {
                    "rateLimited" => FailureKind::RateLimited,
                    "accountDoesNotExist" => FailureKind::AccountGone,
                    "serverInternal" | "badNonce" => FailureKind::Unreachable,
                    _ => FailureKind::Refused,
                };
                let named = problem.subproblems.iter();
                let hosts = named.filter_map(|part| match &part.identifier {
                    Some(Identifier::Dns(host)) => Some(host.clone()),
                    _ => None,
                });
                Failure {
                    kind,
                    hosts: hosts.collect(),
                    ..Failure::own(in_words(&problem))
                }
            }
            Error::Crypto | Error::KeyRejected => Failure::own(error.to_string()),
            // No JSON where JSON was due is a proxy's error page.
            other => Failure::unreachable(format!(
                "the certificate authority cannot be reached: {}",
                chain(&other)
            )),
        }
    }
}

/// The problem's type without its common prefix.
pub(crate) fn short_type(problem: &Problem) -> &str {
    let full = problem.r#type.as_deref().unwrap_or_default();
    full.strip_prefix("urn:ietf:params:acme:error:")
        .unwrap_or(full)
}

/// The authority's words, with its subproblems.
pub(crate) fn in_words(problem: &Problem) -> String {
    let mut words = match problem.detail.as_deref() {
        Some(detail) => format!("the certificate authority says: {detail}"),
        None => "the certificate authority refuses".to_owned(),
    };
    for part in &problem.subproblems {
        words.push_str("; ");
        words.push_str(&part.to_string());
    }
    let kind = short_type(problem);
    if !kind.is_empty() {
        words.push_str(&format!(" ({kind})"));
    }
    words
}

fn chain(error: &Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !words.contains(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
        source = cause.source();
    }
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn problems_are_sorted_by_what_they_ask_for() {
        for (kind, expected) in [
            ("rateLimited", FailureKind::RateLimited),
            ("accountDoesNotExist", FailureKind::AccountGone),
            ("serverInternal", FailureKind::Unreachable),
            ("badNonce", FailureKind::Unreachable),
            ("unauthorized", FailureKind::Refused),
            ("caa", FailureKind::Refused),
        ] {
            let text = format!(
                r#"{{"type": "urn:ietf:params:acme:error:{kind}", "detail": "no", "status": 400}}"#
            );
            let problem: Problem = serde_json::from_str(&text).unwrap();
            let failure = Failure::from(Error::Api(problem));
            assert_eq!(failure.kind, expected);
            assert_eq!(
                failure.words,
                format!("the certificate authority says: no ({kind})")
            );
        }
    }

    #[test]
    fn the_names_a_refusal_is_about_are_known() {
        let text = r#"{"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "two",
            "subproblems": [{"type": "urn:ietf:params:acme:error:rejectedIdentifier",
                "detail": "forbidden", "identifier": {"type": "dns", "value": "b.example"}}]}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        let failure = Failure::from(Error::Api(problem));
        assert_eq!(failure.hosts, ["b.example"]);
        assert!(
            failure.words.contains("for \"b.example\": forbidden"),
            "{}",
            failure.words
        );
    }
}
