//! Bytes of a body gathered in memory. They are copied: a frame of one byte can keep the whole
//! buffer it was read into, so frames kept as they are would take memory that nobody counted.

use bytes::{Buf, Bytes};

use super::budget::Held;

/// The first allocation; forms and API calls are about that large.
const FIRST: usize = 4 * 1024;

/// A buffer that grows as far as the body's bound and everybody's budget let it.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Vec<u8>,
    /// What was allocated and is held of the budget.
    room: usize,
    most: usize,
    held: Held,
}

impl Piece {
    pub(super) fn new(most: usize, held: Held) -> Piece {
        Piece {
            bytes: Vec::new(),
            room: 0,
            most,
            held,
        }
    }

    /// Takes from `data` what there is room for.
    pub(super) fn fill(&mut self, data: &mut Bytes) {
        let length = self.bytes.len();
        let wanted = (length + data.len()).min(self.most);
        if wanted > self.room {
            let room = wanted.next_power_of_two().max(FIRST).min(self.most);
            if self.held.more((room - self.room) as u64) {
                self.bytes.reserve_exact(room - length);
                self.room = room;
            }
        }
        let fits = data.len().min(self.room - length);
        self.bytes.extend_from_slice(&data[..fits]);
        data.advance(fits);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
