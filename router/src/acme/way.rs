//! The ways of showing control over a name, of which the second is tried when the first fails.

use instant_acme::ChallengeType;
use serde::{Deserialize, Serialize};

/// How control over a name is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Way {
    /// A file on port 80.
    Http01,
    /// A handshake on port 443.
    TlsAlpn01,
}

impl Way {
    /// The other way, for the next try.
    pub(crate) fn other(self) -> Way {
        match self {
            Way::Http01 => Way::TlsAlpn01,
            Way::TlsAlpn01 => Way::Http01,
        }
    }

    /// As the protocol calls it.
    pub(crate) fn kind(self) -> ChallengeType {
        match self {
            Way::Http01 => ChallengeType::Http01,
            Way::TlsAlpn01 => ChallengeType::TlsAlpn01,
        }
    }
}
