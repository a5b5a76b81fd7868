//! Line: one event in one line, of a bounded length.
//!
//! In:  the output of the subscriber for an event, which may contain texts of peers.
//! Out: the same, shortened if it is long. In the text format all lines but the first are indented, so that no peer's text
//! looks like a line of the log.

use serde_json::Value;

use crate::config::LogFormat;

/// The longest line. Only texts of peers make a line longer.
pub(super) const BYTES_MAX: usize = 16 * 1024;

/// The length to which the texts of a longer JSON line are cut.
const TEXT_BYTES_MAX: usize = 1024;

/// The indent of all lines of an event but the first.
const INDENT: &str = "    ";

/// The line for the output of an event.
pub(super) fn line(written: &[u8], format: LogFormat) -> Vec<u8> {
    match format {
        LogFormat::Text => text(written),
        LogFormat::Json => json(written),
    }
}

fn text(written: &[u8]) -> Vec<u8> {
    let body = written.strip_suffix(b"\n").unwrap_or(written);
    let is_long = body.len() > BYTES_MAX;
    let body = if is_long { cut(body, BYTES_MAX) } else { body };
    let mut line = Vec::with_capacity(body.len() + 8);
    for (number, part) in body.split(|&byte| byte == b'\n').enumerate() {
        if number > 0 {
            line.push(b'\n');
            line.extend_from_slice(INDENT.as_bytes());
        }
        line.extend(part.iter().map(|&byte| if byte == b'\r' { b' ' } else { byte }));
    }
    if is_long {
        line.extend_from_slice("…".as_bytes());
    }
    line.push(b'\n');
    line
}

/// The beginning of a text, cut between two characters.
fn cut(text: &[u8], bytes_max: usize) -> &[u8] {
    let is_boundary = |at: &usize| text.get(*at).is_none_or(|byte| byte & 0xC0 != 0x80);
    &text[..(0..=bytes_max).rev().find(is_boundary).unwrap_or(0)]
}

fn json(written: &[u8]) -> Vec<u8> {
    if written.len() <= BYTES_MAX {
        return written.to_vec();
    }
    let Ok(mut value) = serde_json::from_slice(written) else { return written.to_vec() };
    shorten(&mut value);
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > TEXT_BYTES_MAX => {
            text.truncate(cut(text.as_bytes(), TEXT_BYTES_MAX).len());
            text.push('…');
        }
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_looks_like_a_line_of_its_own() {
        let line = line(b"WARN it said: no\nERROR all is lost\r\n", LogFormat::Text);
        assert_eq!(line, b"WARN it said: no\n    ERROR all is lost \n");
    }

    #[test]
    fn a_long_line_is_cut_between_two_characters() {
        let long = format!("a{}\n", "ü".repeat(BYTES_MAX));
        let line = String::from_utf8(line(long.as_bytes(), LogFormat::Text)).unwrap();
        assert!(line.len() <= BYTES_MAX + 4 && line.ends_with("ü…\n"), "{} bytes", line.len());
    }

    #[test]
    fn a_long_line_of_json_stays_json() {
        let written = serde_json::json!({ "level": "WARN", "fields": { "error": "ü".repeat(BYTES_MAX), "event": "rpc" } });
        let line = line(format!("{written}\n").as_bytes(), LogFormat::Json);
        assert!(line.len() < 2 * TEXT_BYTES_MAX && line.ends_with(b"}\n"));
        let read: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((&read["level"], &read["fields"]["event"]), (&"WARN".into(), &"rpc".into()));
        assert!(read["fields"]["error"].as_str().unwrap().ends_with("ü…"));
    }
}
