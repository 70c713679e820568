//! Gzip (RFC 1952) in pieces that stand alone.
//!
//! Kept for each worker: one compressor and its scratch, from the first use on. Kept for each
//! answer: checksum, size, and whether it was begun. What can never happen: that an open answer
//! holds a compressor, or that a piece refers to bytes of another answer. Every piece begins with
//! an empty window and ends on a byte, so the pieces of many answers pass through the one
//! compressor in any order, and what is put together is one member with one deflate stream. The
//! price: a second piece cannot refer to the first either, which with pieces of 64 KiB makes 100 kB
//! 1 to 4 % larger, and to begin anew takes 10 µs. With a compressor for each, 200 slow visitors
//! would hold 72 MiB. A crash leaves nothing behind.
//!
//! BREACH: who can have something of theirs repeated beside a secret in a page, and see its
//! compressed length, can guess the secret. Django masks its CSRF token in every answer; for
//! everything else the file name in gzip's head is a filler of random length, as in Django's
//! `GZipMiddleware` ("Heal the BREACH", Palacios et al. 2022).

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use zlib_rs::crc32::crc32;
use zlib_rs::{Deflate, DeflateError, DeflateFlush, Status};

/// See the measurements in `compress.rs`.
const LEVEL: i32 = 2;
/// Binary logarithm of the window's bytes: 32 KiB, the most there is.
const WINDOW: u8 = 15;
/// Output of one call, in bytes.
const SCRATCH: usize = 16 * 1024;
/// The longest filler in bytes; Django's.
const LONGEST_FILLER: u64 = 100;
/// The first ten bytes: deflate, with a file name, no time, the fastest way, no system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 4, 255];

/// The compressor of a worker.
#[derive(Default)]
pub(crate) struct Gzip {
    tool: RefCell<Option<Tool>>,
}

struct Tool {
    deflate: Deflate,
    scratch: Box<[u8]>,
    random: u64,
    /// Bits of `random` that were not used yet.
    fresh: u32,
}

/// One answer's stream.
pub(crate) struct Member {
    gzip: Rc<Gzip>,
    crc: u32,
    /// Bytes so far, modulo 2³².
    size: u32,
    begun: bool,
}

/// The compressor refused; its state is made anew for the next piece.
#[derive(Debug, thiserror::Error)]
#[error("an answer cannot be compressed: {0:?}")]
pub(crate) struct GzipError(DeflateError);

impl Member {
    pub(crate) fn new(gzip: Rc<Gzip>) -> Member {
        Member {
            gzip,
            crc: 0,
            size: 0,
            begun: false,
        }
    }

    /// What makes `data` readable for the visitor, all of it.
    pub(crate) fn piece(&mut self, data: &[u8], is_last: bool) -> Result<Bytes, GzipError> {
        let mut tool = self.gzip.tool.borrow_mut();
        let tool = tool.get_or_insert_with(Tool::new);
        self.crc = crc32(self.crc, data);
        self.size = self.size.wrapping_add(data.len() as u32);
        let mut out = Vec::with_capacity(data.len() / 4 + 160);
        if !self.begun {
            self.begun = true;
            out.extend_from_slice(&HEAD);
            out.resize(HEAD.len() + tool.filler(), b'a');
            out.push(0);
        }
        tool.compress(data, is_last, &mut out)?;
        if is_last {
            out.extend_from_slice(&self.crc.to_le_bytes());
            out.extend_from_slice(&self.size.to_le_bytes());
        }
        Ok(out.into())
    }
}

impl Tool {
    fn new() -> Tool {
        Tool {
            // Without a head of its own; gzip's is ours.
            deflate: Deflate::new(LEVEL, false, WINDOW),
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            random: 0,
            fresh: 0,
        }
    }

    fn compress(
        &mut self,
        mut data: &[u8],
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), GzipError> {
        let flush = if is_last {
            DeflateFlush::Finish
        } else {
            DeflateFlush::SyncFlush
        };
        self.deflate.reset();
        loop {
            let (read, written) = (self.deflate.total_in(), self.deflate.total_out());
            let status = self
                .deflate
                .compress(data, &mut self.scratch, flush)
                .map_err(GzipError)?;
            // Both are at most the lengths of the slices.
            data = &data[(self.deflate.total_in() - read) as usize..];
            let written = (self.deflate.total_out() - written) as usize;
            out.extend_from_slice(&self.scratch[..written]);
            match status {
                Status::StreamEnd => return Ok(()),
                // Room was left, so nothing is held back.
                _ if written < SCRATCH && !is_last => return Ok(()),
                _ if written == 0 => return Err(GzipError(DeflateError::StreamError)),
                _ => {}
            }
        }
    }

    /// A random length from 0 to the longest. The system is asked once for four answers; a
    /// generator that an attacker could foretell from the lengths seen would be none.
    fn filler(&mut self) -> usize {
        if self.fresh == 0 {
            self.fresh = u64::BITS;
            // Without randomness, what changes most.
            self.random = getrandom::u64().unwrap_or_else(|_| {
                let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
                now.map_or(0, |since| u64::from(since.subsec_nanos()) * 0x9e37_79b9)
            });
        }
        self.fresh -= 16;
        let sixteen = self.random & 0xffff;
        self.random >>= 16;
        ((sixteen * (LONGEST_FILLER + 1)) >> 16) as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;
    use std::io::Read;

    use super::*;

    /// Reads one member that ends where the bytes end.
    fn unpacked(bytes: &[u8]) -> Vec<u8> {
        let mut reader = flate2::bufread::GzDecoder::new(bytes);
        let mut whole = Vec::new();
        reader.read_to_end(&mut whole).unwrap();
        assert!(reader.into_inner().is_empty(), "bytes after the end");
        whole
    }

    /// Text like that of a page, and some that does not get smaller.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 7_u32;
        (0..length)
            .map(|at| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (state >> 24) as u8;
                if at % 50_000 < 30_000 {
                    b"<li class=\"card\">"[at % 17].wrapping_add(noise / 200)
                } else {
                    noise
                }
            })
            .collect()
    }

    #[test]
    fn pieces_of_many_answers_in_turn_are_one_member_each() {
        let gzip = Rc::new(Gzip::default());
        let whole = sample(300_000);
        let sizes = [1999, 4096, 65_536, 100_000, 131_072, 300_000];
        let mut members: Vec<_> = sizes
            .iter()
            .map(|&size| (Member::new(gzip.clone()), whole.chunks(size), Vec::new()))
            .collect();
        // One answer after another hands in a piece, until all are at their end.
        let mut open = members.len();
        while open > 0 {
            for (member, chunks, sent) in &mut members {
                if let Some(chunk) = chunks.next() {
                    let is_last = chunks.len() == 0;
                    open -= usize::from(is_last);
                    sent.extend_from_slice(&member.piece(chunk, is_last).unwrap());
                }
            }
        }
        for (_, _, sent) in members {
            assert!(unpacked(&sent) == whole);
        }
    }

    #[test]
    fn a_piece_can_be_read_when_it_is_there() {
        use std::io::Write;
        let gzip = Rc::new(Gzip::default());
        let mut member = Member::new(gzip);
        let mut reader = flate2::write::GzDecoder::new(Vec::new());
        let mut expected = Vec::new();
        for chunk in sample(120_000).chunks(40_000) {
            reader
                .write_all(&member.piece(chunk, false).unwrap())
                .unwrap();
            reader.flush().unwrap();
            expected.extend_from_slice(chunk);
            assert!(*reader.get_ref() == expected);
        }
        reader.write_all(&member.piece(b"", true).unwrap()).unwrap();
        assert!(reader.finish().unwrap() == expected);
    }

    #[test]
    fn an_empty_answer_is_one_too() {
        let mut member = Member::new(Rc::default());
        assert_eq!(unpacked(&member.piece(b"", true).unwrap()), b"");
    }

    #[test]
    fn the_filler_has_every_length_up_to_the_longest() {
        let mut tool = Tool::new();
        let seen: HashSet<usize> = (0..20_000).map(|_| tool.filler()).collect();
        // Each is missed with a probability of 10⁻⁸⁶.
        assert_eq!(seen, (0..=100).collect());
        let gzip = Rc::new(Gzip::default());
        let lengths: HashSet<usize> = (0..1000)
            .map(|_| {
                Member::new(gzip.clone())
                    .piece(b"page", true)
                    .unwrap()
                    .len()
            })
            .collect();
        assert!(lengths.len() > 90, "{}", lengths.len());
    }
}
