//! What the ordering of certificates is told at start. The numbers are the design's; they can be
//! changed so that a test need not wait for them.

use std::path::PathBuf;
use std::time::Duration;

use super::dns::DnsLook;
use super::schedule::BackOff;
use super::way::Way;

/// Settings of the ordering task.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where accounts and history are kept, `<data>/acme`.
    pub(crate) folder: PathBuf,
    /// The authority.
    pub(crate) directory: String,
    /// Where the next try goes after the authority refused; none: to the authority itself.
    pub(crate) staging: Option<String>,
    /// Roots to trust beside the system's when speaking to the authority, PEM.
    pub(crate) extra_roots: Option<String>,
    /// Whom the authority may write to, such as `mailto:me@example.org`.
    pub(crate) contact: Option<String>,
    /// The certificate profile, when the authority offers it.
    pub(crate) profile: Option<String>,
    /// How control over a name is shown at the first try.
    pub(crate) first_way: Way,
    /// How names are looked at before an order.
    pub(crate) dns: DnsLook,
    /// The pauses after failures.
    pub(crate) back_off: BackOff,
    /// The longest pause between two looks at all groups.
    pub(crate) look_every: Duration,
    /// The first pause after a name was found to point elsewhere; it grows to `look_every`.
    pub(crate) dns_again: Duration,
    /// How often the authority is asked when to renew (ARI).
    pub(crate) suggestion_every: Duration,
    /// Orders at the authority for one group in a day, unless a person asks.
    pub(crate) orders_a_day: usize,
    /// How long one call may take.
    pub(crate) call_within: Duration,
    /// How long one order may take.
    pub(crate) order_within: Duration,
}

impl Config {
    /// Let's Encrypt, with the numbers of its integration guide.
    pub(crate) fn new(folder: PathBuf) -> Config {
        Config {
            folder,
            directory: instant_acme::LetsEncrypt::Production.url().to_owned(),
            staging: Some(instant_acme::LetsEncrypt::Staging.url().to_owned()),
            extra_roots: None,
            contact: None,
            profile: Some("tlsserver".to_owned()),
            first_way: Way::Http01,
            dns: DnsLook::default(),
            back_off: BackOff::default(),
            look_every: Duration::from_secs(600),
            dns_again: Duration::from_secs(60),
            suggestion_every: Duration::from_secs(12 * 3600),
            orders_a_day: 3,
            call_within: Duration::from_secs(30),
            order_within: Duration::from_secs(300),
        }
    }
}
