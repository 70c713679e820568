//! What the authority says about renewing (ARI, RFC 9773).
//!
//! It is asked twice a day for each certificate that was ordered here. Its answer moves the
//! renewal; no answer leaves it where the certificate's own life puts it.

use std::time::{Duration, SystemTime};

use super::super::Group;
use super::super::history::Suggestion;
use super::super::schedule::{chance, inside};
use super::Rounds;

impl Rounds {
    /// Asks the authority when it would like the certificate renewed, if it is time to ask.
    /// False when it cannot be reached.
    pub(super) async fn ask_for_suggestion(&mut self, group: &Group) -> bool {
        let now = SystemTime::now();
        let record = self.history.of(&group.name);
        let (leaf, known) = match (&record.leaf, &record.suggestion) {
            (None, _) => return true,
            (_, Some(known)) if known.ask_again > now => return true,
            (Some(leaf), known) => (leaf, known.as_ref().and_then(|one| one.renew_at)),
        };
        let directory = self.config.directory.clone();
        let mut pause = self.config.suggestion_every;
        let (renew_at, reached) = match (leaf.identifier(), self.accounts.at(&directory).await) {
            (_, Err(_)) => (known, false),
            (None, Ok(_)) => (None, true),
            (Some(id), Ok(account)) => match account.renewal_info(&id).await {
                Ok((info, again)) => {
                    let window = info.suggested_window;
                    let (start, end) = (window.start.into(), window.end.into());
                    pause = again.max(Duration::from_secs(60)).min(pause);
                    // The same moment at each answer, or a random one would never come.
                    let kept = known.filter(|at| (start..=end).contains(at));
                    (
                        Some(kept.unwrap_or_else(|| inside(start, end, chance()))),
                        true,
                    )
                }
                Err(instant_acme::Error::Unsupported(_)) => (None, true),
                Err(error) => {
                    tracing::debug!(%error, app = group.name, "no renewal information");
                    (known, true)
                }
            },
        };
        self.history.change(&group.name, |record| {
            record.suggestion = Some(Suggestion {
                renew_at,
                ask_again: now + pause,
            });
        });
        reached
    }
}
