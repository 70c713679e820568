//! WebSocket's frames (RFC 6455, 5.2) as far as a proxy reads them: where one ends and whether a
//! Close went by. Nothing is kept of what they carry. Between any two frames a Close may be put,
//! also amid a message in fragments (5.4).

/// The status of a server that goes down or is replaced: browsers' libraries come back after it
/// (RFC 6455, 7.4.1).
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();
const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 8;
/// The last frame of its message, a Close; what it carries is a status alone.
const CLOSE_HEAD: u8 = 0x80 | CLOSE;
const MASKED: u8 = 0x80;
const MASK_KEY: u64 = 4;

/// How far one direction's frames were followed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Frames {
    next: Next,
    close: bool,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, Default)]
enum Next {
    /// A new frame.
    #[default]
    Opcode,
    Length,
    /// The bytes of a longer length, of which some came.
    LongLength {
        missing: u8,
        so_far: u64,
        masked: bool,
    },
    /// The mask key and what the frame carries: so many bytes, at least one.
    Payload(u64),
}

impl Frames {
    /// Follows bytes that went by.
    pub(crate) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.follow_to_end(bytes)..];
        }
    }

    /// How many of `bytes`, which come next, belong to the frame that was begun; `None` when it
    /// goes on after them.
    pub(crate) fn left_in(mut self, bytes: &[u8]) -> Option<usize> {
        if self.is_between() {
            return Some(0);
        }
        let length = self.follow_to_end(bytes);
        self.is_between().then_some(length)
    }

    /// Whether a frame ended and no other began.
    pub(crate) fn is_between(&self) -> bool {
        matches!(self.next, Next::Opcode)
    }

    /// Whether a Close began to go by.
    pub(crate) fn is_closing(&self) -> bool {
        self.close
    }

    /// Whether a Close went by to its end.
    pub(crate) fn is_closed(&self) -> bool {
        self.close && self.is_between()
    }

    /// Follows `bytes` to the end of one frame, if it is among them; returns how many that were.
    fn follow_to_end(&mut self, bytes: &[u8]) -> usize {
        let mut followed = 0;
        while let Some(&byte) = bytes.get(followed) {
            self.next = match self.next {
                Next::Opcode => {
                    self.close |= byte & OPCODE == CLOSE;
                    Next::Length
                }
                Next::Length => {
                    let masked = byte & MASKED != 0;
                    let long = |missing| Next::LongLength {
                        missing,
                        so_far: 0,
                        masked,
                    };
                    match byte & !MASKED {
                        126 => long(2),
                        127 => long(8),
                        length => Next::after_length(length.into(), masked),
                    }
                }
                Next::LongLength {
                    missing,
                    so_far,
                    masked,
                } => {
                    let so_far = so_far << 8 | u64::from(byte);
                    match missing - 1 {
                        0 => Next::after_length(so_far, masked),
                        missing => Next::LongLength {
                            missing,
                            so_far,
                            masked,
                        },
                    }
                }
                Next::Payload(left) => {
                    let here = left.min((bytes.len() - followed) as u64);
                    // The byte itself is counted below.
                    followed += here as usize - 1;
                    match left - here {
                        0 => Next::Opcode,
                        left => Next::Payload(left),
                    }
                }
            };
            followed += 1;
            if self.is_between() {
                break;
            }
        }
        followed
    }
}

impl Next {
    fn after_length(length: u64, masked: bool) -> Next {
        let key = if masked { MASK_KEY } else { 0 };
        match length.saturating_add(key) {
            0 => Next::Opcode,
            left => Next::Payload(left),
        }
    }
}

/// A Close as a server sends it.
pub(crate) fn close_for_visitor() -> Vec<u8> {
    let [high, low] = GOING_AWAY;
    vec![CLOSE_HEAD, 2, high, low]
}

/// A Close as a client sends it: masked by a key that nobody can guess (RFC 6455, 5.3).
pub(crate) fn close_for_app() -> Result<Vec<u8>, getrandom::Error> {
    let [high, low] = GOING_AWAY;
    let key @ [first, second, ..] = getrandom::u32()?.to_be_bytes();
    let mut frame = vec![CLOSE_HEAD, MASKED | 2];
    frame.extend(key);
    frame.extend([high ^ first, low ^ second]);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A frame with `length` bytes that look like the heads of Closes.
    fn frame(opcode: u8, length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { MASKED } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(mask | length as u8),
            126..65_536 => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(std::iter::repeat_n(
            CLOSE_HEAD,
            length + if masked { 4 } else { 0 },
        ));
        frame
    }

    #[test]
    fn ends_of_frames_are_found_however_the_bytes_are_cut() {
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536];
        let mut stream = Vec::new();
        let mut ends = vec![0];
        for masked in [false, true] {
            for length in lengths {
                stream.extend(frame(2, length, masked));
                ends.push(stream.len());
            }
        }
        for step in [1, 2, 3, 7, 4096, stream.len()] {
            let mut frames = Frames::default();
            let mut followed = 0;
            for piece in stream.chunks(step) {
                let end = *ends.iter().find(|end| **end >= followed).unwrap();
                let expected = (end <= followed + piece.len()).then(|| end - followed);
                assert_eq!(frames.left_in(piece), expected, "{step} {followed}");
                frames.follow(piece);
                followed += piece.len();
                assert_eq!(frames.is_between(), ends.contains(&followed));
            }
            assert!(!frames.is_closing(), "what is carried is not read");
        }
    }

    #[test]
    fn a_close_is_seen_when_it_begins_and_when_it_ended() {
        for close in [close_for_visitor(), close_for_app().unwrap()] {
            let mut frames = Frames::default();
            frames.follow(&frame(1, 5, false));
            assert!(!frames.is_closing());
            let (last, others) = close.split_last().unwrap();
            frames.follow(others);
            assert!(frames.is_closing() && !frames.is_closed());
            frames.follow(&[*last]);
            assert!(frames.is_closed());
        }
    }

    #[test]
    fn lengths_beyond_all_bounds_are_followed_and_not_believed() {
        let mut frames = Frames::default();
        frames.follow(&[0x82, MASKED | 127]);
        frames.follow(&[0xff; 8]);
        frames.follow(&[0; 4096]);
        assert_eq!(frames.left_in(&[0; 4096]), None);
    }
}
