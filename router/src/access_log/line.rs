//! A line of the access log. Whatever a visitor sends, it stays one line, in which no control
//! character reaches the terminal of who reads it, and no field is longer than its limit.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use zarpar_model::Timestamp;

use super::LineFormat;

/// The longest field in bytes; what is beyond is left out.
const MAX_FIELD: usize = 2048;

/// What is known when an answer has ended.
pub(crate) struct Line<'a> {
    /// When it ended.
    pub(crate) time: SystemTime,
    pub(crate) app: &'a str,
    pub(crate) host: &'a [u8],
    pub(crate) client: &'a [u8],
    pub(crate) method: &'a str,
    /// Path and query.
    pub(crate) path: &'a [u8],
    pub(crate) protocol: &'a str,
    pub(crate) status: u16,
    /// Of the answer's body.
    pub(crate) bytes: u64,
    /// Since the request's head.
    pub(crate) took: Duration,
    pub(crate) user_agent: Option<&'a [u8]>,
    pub(crate) referer: Option<&'a [u8]>,
    /// In JSON alone.
    pub(crate) request_id: Option<&'a [u8]>,
}

#[derive(Serialize)]
struct Json<'a> {
    time: &'a str,
    app: &'a str,
    host: Cow<'a, str>,
    client: Cow<'a, str>,
    method: &'a str,
    path: Cow<'a, str>,
    status: u16,
    bytes: u64,
    duration_ms: f64,
    protocol: &'a str,
    user_agent: Option<Cow<'a, str>>,
    referer: Option<Cow<'a, str>>,
    request_id: Option<Cow<'a, str>>,
}

impl Line<'_> {
    /// The line with its end.
    pub(crate) fn text(&self, format: LineFormat) -> String {
        let mut text = match format {
            LineFormat::Json => self.json(),
            LineFormat::Combined => self.combined(),
        };
        text.push('\n');
        text
    }

    fn json(&self) -> String {
        let line = Json {
            time: &rfc3339(self.time),
            app: self.app,
            host: readable(self.host),
            client: readable(self.client),
            method: cut_text(self.method),
            path: readable(self.path),
            status: self.status,
            bytes: self.bytes,
            // To the microsecond.
            duration_ms: (self.took.as_secs_f64() * 1e6).round() / 1e3,
            protocol: self.protocol,
            user_agent: self.user_agent.map(readable),
            referer: self.referer.map(readable),
            request_id: self.request_id.map(readable),
        };
        // Strings and numbers always have a JSON form.
        serde_json::to_string(&line).unwrap_or_default()
    }

    fn combined(&self) -> String {
        let mut text = String::with_capacity(256);
        push_quotable(&mut text, self.client);
        let _ = write!(text, " - - [{}] \"", common(self.time));
        push_quotable(&mut text, self.method.as_bytes());
        text.push(' ');
        push_quotable(&mut text, self.path);
        let _ = write!(
            text,
            " {}\" {} {} \"",
            self.protocol, self.status, self.bytes
        );
        push_quotable(&mut text, self.referer.unwrap_or(b"-"));
        text.push_str("\" \"");
        push_quotable(&mut text, self.user_agent.unwrap_or(b"-"));
        text.push('"');
        text
    }
}

/// `2026-01-02T03:04:05.678Z`.
fn rfc3339(time: SystemTime) -> String {
    let time = Timestamp::from(time);
    let seconds = time.to_string();
    let seconds = seconds.strip_suffix('Z').unwrap_or(&seconds);
    format!("{seconds}.{:03}Z", time.0 % 1000)
}

/// `02/Jan/2026:03:04:05 +0000`.
fn common(time: SystemTime) -> String {
    // Tue, 14 Nov 2023 22:13:20 GMT
    let date = httpdate::fmt_http_date(time);
    let mut words = date.split(' ').skip(1);
    let mut word = || words.next().unwrap_or("-");
    let (day, month, year, clock) = (word(), word(), word(), word());
    format!("{day}/{month}/{year}:{clock} +0000")
}

fn cut(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(MAX_FIELD)]
}

/// A method is ASCII by its own rules.
fn cut_text(text: &str) -> &str {
    text.get(..MAX_FIELD).unwrap_or(text)
}

/// For JSON, which escapes the rest: text, without the control characters that JSON lets pass.
fn readable(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(cut(bytes));
    if !text.contains(char::is_control) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if character.is_control() {
            let _ = write!(escaped, "\\x{:02x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// For a field in quotation marks: visible ASCII, everything else as Apache and Nginx write it.
fn push_quotable(text: &mut String, bytes: &[u8]) {
    for &byte in cut(bytes) {
        match byte {
            b'"' | b'\\' => {
                let _ = write!(text, "\\x{byte:02X}");
            }
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn line<'a>(path: &'a [u8], user_agent: &'a [u8]) -> Line<'a> {
        Line {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_007),
            app: "shop",
            host: b"a.test",
            client: b"2001:db8::1",
            method: "GET",
            path,
            protocol: "HTTP/2.0",
            status: 200,
            bytes: 12,
            took: Duration::from_micros(1_234),
            user_agent: Some(user_agent),
            referer: None,
            request_id: Some(b"id1"),
        }
    }

    #[test]
    fn both_formats_are_what_tools_read() {
        let line = line(b"/a?b=c", b"curl/8");
        assert_eq!(
            line.text(LineFormat::Json),
            "{\"time\":\"2026-09-21T14:13:20.007Z\",\"app\":\"shop\",\"host\":\"a.test\",\
             \"client\":\"2001:db8::1\",\"method\":\"GET\",\"path\":\"/a?b=c\",\"status\":200,\
             \"bytes\":12,\"duration_ms\":1.234,\"protocol\":\"HTTP/2.0\",\
             \"user_agent\":\"curl/8\",\"referer\":null,\"request_id\":\"id1\"}\n"
        );
        assert_eq!(
            line.text(LineFormat::Combined),
            "2001:db8::1 - - [21/Sep/2026:14:13:20 +0000] \"GET /a?b=c HTTP/2.0\" 200 12 \"-\" \"curl/8\"\n"
        );
    }

    #[test]
    fn what_a_visitor_sends_stays_one_harmless_line() {
        let long = [b'a'; 5000];
        for agent in [
            &b"a\" 200 \"\\"[..],
            b"\x1b[2J\x07\t",
            b"\xff\xfe",
            "\u{9b}31m \u{85}".as_bytes(),
            &long,
        ] {
            let line = line(b"/", agent);
            for format in [LineFormat::Json, LineFormat::Combined] {
                let text = line.text(format);
                let text = text.strip_suffix('\n').unwrap();
                assert!(!text.contains(char::is_control), "{text:?}");
                assert!(text.len() < MAX_FIELD + 300);
            }
            let _: serde_json::Value = serde_json::from_str(&line.text(LineFormat::Json)).unwrap();
            let combined = line.text(LineFormat::Combined);
            assert_eq!(combined.matches('"').count(), 6, "{combined}");
        }
    }
}
