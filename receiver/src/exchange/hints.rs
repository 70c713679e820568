//! What to do, behind git's own words. `git receive-pack` tells why it takes no push in messages of
//! the side band (gitprotocol-pack(5)); the ones that people meet get a line of ours behind them.
//! Only whole packets are looked at, none is changed, and what is not made of packets passes as it
//! is, so the worst that can happen is that a hint is missing.

use bytes::Bytes;
use zarpar_model::show_size;

use super::packet;
use crate::git::GitLimits;

/// The band of messages.
const MESSAGES: u8 = 2;

/// Looks at what git writes to one client.
pub(super) struct Hints {
    /// The start of a packet whose end is not here, at most 65,520 bytes.
    pending: Vec<u8>,
    /// Whether all was made of packets up to here.
    packets: bool,
    hints: [(&'static str, String); 5],
}

impl Hints {
    pub(super) fn new(limits: &GitLimits) -> Hints {
        let damaged = "`git fsck` in your repository says whether something is damaged there; if nothing is, push again";
        Hints {
            pending: Vec::new(),
            packets: true,
            hints: [
                (
                    "pack exceeds maximum allowed size",
                    format!(
                        "a push may have {}; push older commits first, or allow more with `max_pack` under `[git]` of the server's configuration",
                        show_size(limits.max_pack)
                    ),
                ),
                (
                    "fsck error in packed object",
                    "the message above names the object and what is wrong with it; a commit with such a file or folder has to be made anew".to_owned(),
                ),
                (
                    "attempting to allocate",
                    format!(
                        "no single object may take more than {} of the server's memory: a commit, the list of a folder, or the difference of a file from another",
                        show_size(limits.allocation())
                    ),
                ),
                ("early EOF", damaged.to_owned()),
                ("did not receive expected object", damaged.to_owned()),
            ],
        }
    }

    /// What is passed on for a piece of output: what became whole with it.
    pub(super) fn pass(&mut self, piece: &[u8]) -> Bytes {
        if !self.packets {
            return Bytes::copy_from_slice(piece);
        }
        self.pending.extend_from_slice(piece);
        let mut passed = Vec::with_capacity(self.pending.len());
        let mut rest = self.pending.as_slice();
        while let Some(length) = rest.get(..4) {
            let Some(length) = length_of(length) else {
                self.packets = false;
                passed.extend_from_slice(rest);
                rest = &[];
                break;
            };
            let Some((whole, others)) = rest.split_at_checked(length) else {
                break;
            };
            passed.extend_from_slice(whole);
            if let Some(hint) = self.hint(whole) {
                let text = format!("{} !     hint: {hint}\n", char::from(MESSAGES));
                passed.extend_from_slice(packet(&text).as_bytes());
            }
            rest = others;
        }
        self.pending = rest.to_vec();
        passed.into()
    }

    /// What never became whole.
    pub(super) fn rest(self) -> Vec<u8> {
        self.pending
    }

    fn hint(&self, packet: &[u8]) -> Option<&str> {
        let text = packet.get(4..)?.strip_prefix(&[MESSAGES])?;
        // What hooks say has hints of its own.
        let text = std::str::from_utf8(text).ok()?;
        let fatal = text.lines().find(|line| line.starts_with("fatal: "))?;
        self.hints
            .iter()
            .find(|(words, _)| fatal.contains(words))
            .map(|(_, hint)| hint.as_str())
    }
}

/// The length of a packet with its four digits; the special ones of less than four are the digits
/// alone.
fn length_of(digits: &[u8]) -> Option<usize> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let length = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some(length.max(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(pieces: &[&[u8]]) -> String {
        let mut hints = Hints::new(&GitLimits::default());
        let mut all = Vec::new();
        for piece in pieces {
            all.extend_from_slice(&hints.pass(piece));
        }
        all.extend_from_slice(&hints.rest());
        String::from_utf8_lossy(&all).into_owned()
    }

    #[test]
    fn a_message_that_people_meet_has_a_hint_behind_it() {
        let fatal = packet("\u{2}fatal: pack exceeds maximum allowed size (1.00 GiB)\n");
        let report = packet("\u{1}0024unpack index-pack abnormal exit\n");
        let stream = format!("{fatal}{report}0000");
        let expected = "\u{2} !     hint: a push may have 1.0 GiB; ";
        let whole = passed(&[stream.as_bytes()]);
        assert!(whole.starts_with(&fatal) && whole.ends_with(&format!("{report}0000")));
        assert_eq!(whole.find(expected), Some(fatal.len() + 4), "{whole}");
        // The same in pieces of one byte.
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        assert_eq!(passed(&bytes), whole);
    }

    #[test]
    fn everything_else_passes_as_it_is() {
        let hook = packet("\u{2}        fatal: early EOF of a build\n");
        let advertised = packet("0123 fatal: early EOF\n");
        for stream in [
            format!("{hook}{advertised}0000"),
            "0005".to_owned(),
            "00".to_owned(),
            "zzzz\u{2}fatal: early EOF".to_owned(),
            "+123\u{2}fatal: early EOF".to_owned(),
            "0000000200010003".to_owned(),
        ] {
            assert_eq!(passed(&[stream.as_bytes()]), stream);
        }
        assert_eq!(passed(&[&[0xff; 9], b"more"]).len(), 9 * 3 + 4);
    }
}
