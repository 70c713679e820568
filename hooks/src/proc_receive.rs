//! Git's side of `proc-receive` (githooks(5)): git hands the commands of a push to the hook and
//! moves nothing itself; the hook says of each what became of it. That is how the control plane
//! alone moves the branch: git would compare it with what the pusher saw minutes ago, after the
//! commit is live already.

use std::io::{self, Read, Write};

/// The longest pkt-line, with its length (gitprotocol-common(5)).
const LINE: usize = 65_520;
/// Lines of one section; a push has one command.
const LINES: usize = 16;

/// One command of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) old: String,
    pub(crate) new: String,
    pub(crate) reference: String,
}

/// Agrees on the version and reads the commands.
pub(crate) fn commands(from: &mut impl Read, to: &mut impl Write) -> io::Result<Vec<Command>> {
    let hello = section(from)?;
    let version = hello.first().map(String::as_str).unwrap_or_default();
    if version.split('\0').next() != Some("version=1") {
        return Err(unexpected("the version", version));
    }
    write_line(to, "version=1")?;
    flush(to)?;
    section(from)?
        .into_iter()
        .map(|line| {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            match (words.next(), words.next(), words.next()) {
                (Some(old), Some(new), Some(reference)) => Ok(Command {
                    old,
                    new,
                    reference,
                }),
                _ => Err(unexpected("a command", &line)),
            }
        })
        .collect()
}

/// Says what became of a command, and that it was the last: moved, or why not.
pub(crate) fn report(
    to: &mut impl Write,
    reference: &str,
    refused: Option<&str>,
) -> io::Result<()> {
    match refused {
        None => write_line(to, &format!("ok {reference}"))?,
        Some(reason) => write_line(to, &format!("ng {reference} {reason}"))?,
    }
    flush(to)
}

fn section(from: &mut impl Read) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    while let Some(line) = read_line(from)? {
        if lines.len() == LINES {
            return Err(unexpected("the end of the commands", &line));
        }
        lines.push(line);
    }
    Ok(lines)
}

/// `None` for a flush.
fn read_line(from: &mut impl Read) -> io::Result<Option<String>> {
    let mut digits = [0; 4];
    from.read_exact(&mut digits)?;
    let text = String::from_utf8_lossy(&digits);
    let length = usize::from_str_radix(&text, 16).map_err(|_| unexpected("a length", &text))?;
    match length {
        0 => Ok(None),
        4..=LINE => {
            let mut line = vec![0; length - 4];
            from.read_exact(&mut line)?;
            let line = String::from_utf8_lossy(&line);
            Ok(Some(line.strip_suffix('\n').unwrap_or(&line).to_owned()))
        }
        _ => Err(unexpected("a length", &text)),
    }
}

fn write_line(to: &mut impl Write, line: &str) -> io::Result<()> {
    write!(to, "{:04x}{line}", line.len() + 4)
}

fn flush(to: &mut impl Write) -> io::Result<()> {
    to.write_all(b"0000")?;
    to.flush()
}

fn unexpected(what: &str, found: &str) -> io::Error {
    io::Error::other(format!("expected {what}, found `{}`", found.escape_debug()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_push_is_read_and_answered() {
        let (old, new) = ("0".repeat(40), "a".repeat(40));
        let mut from = b"001dversion=1\0push-options a\n0000".to_vec();
        let line = format!("{old} {new} refs/heads/main");
        from.extend(format!("{:04x}{line}0000", line.len() + 4).bytes());
        let mut to = Vec::new();
        let read = commands(&mut from.as_slice(), &mut to).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!((&read[0].old, &read[0].new), (&old, &new));
        report(&mut to, &read[0].reference, Some("superseded")).unwrap();
        assert_eq!(
            String::from_utf8(to).unwrap(),
            "000dversion=100000021ng refs/heads/main superseded0000"
        );
    }

    #[test]
    fn what_git_never_says_is_an_error() {
        for wrong in ["0003", "zzzz", "fff1", "000aversion", "000dversion=20000"] {
            let read = commands(&mut wrong.as_bytes(), &mut Vec::new());
            assert!(read.is_err(), "{wrong}");
        }
        let many = format!("000dversion=10000{}0000", "0008aaaa".repeat(20));
        assert!(commands(&mut many.as_bytes(), &mut Vec::new()).is_err());
    }
}
