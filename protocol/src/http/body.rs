//! The request body (RFC 9112 §6, §7.1).
//!
//! In:  a request head; then the bytes that follow it, cut anywhere.
//! Out: the body as a whole, or the refusal to answer with. What follows the body is left to the caller.
//!
//! A length is looked at before a byte of the body is: what is too long is refused at once, and costs no memory. Worst
//! case: `bytes_max`, and as much again while a chunked body grows.

use bytes::{Bytes, BytesMut};

use super::{Refusal, RequestHead, Version, is_token_byte};

/// The longest line that may give a chunk's length, and the longest trailer line, in bytes.
const LINE_BYTES_MAX: usize = 256;

/// All trailer lines together, in bytes.
const TRAILER_BYTES_MAX: usize = 4096;

/// A body that is coming.
#[derive(Debug)]
pub struct Body {
    bytes: BytesMut,
    bytes_max: usize,
    expects: Expects,
    /// The part of a line that has come.
    line: Vec<u8>,
    trailer_bytes: usize,
}

/// What comes next.
///
/// ```text
/// Data ── all of it ─────────────────────────────────────────────> End
/// ChunkSize ── not 0 ──> ChunkData ──> ChunkEnd ──> ChunkSize …
///     └─────── 0 ──────> Trailer ── an empty line ───────────────> End
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    /// So many more bytes.
    Data(usize),
    /// A line with a length.
    ChunkSize,
    /// So many more bytes of a chunk.
    ChunkData(usize),
    /// The end of a chunk's last line.
    ChunkEnd,
    /// Fields after the last chunk, up to an empty line. They are thrown away (RFC 9110 §6.5.1 allows that).
    Trailer,
    End,
}

impl Body {
    /// The body that a head announces; one without any announcement is empty (RFC 9112 §6.3 item 7).
    ///
    /// # Errors
    /// The announcement is malformed, ambiguous, or of more than `bytes_max`.
    pub fn announced(head: &RequestHead<'_>, bytes_max: usize) -> Result<Self, Refusal> {
        let expects = match (is_chunked(head)?, length(head)?) {
            // §6.1: a message with both may be an attempt at request smuggling.
            (true, Some(_)) => return Err(Refusal::LengthAmbiguous),
            (true, None) => Expects::ChunkSize,
            (false, None | Some(0)) => Expects::End,
            (false, Some(length)) => match usize::try_from(length) {
                Ok(length) if length <= bytes_max => Expects::Data(length),
                _ => return Err(Refusal::BodyTooLong { bytes_max }),
            },
        };
        Ok(Self { bytes: BytesMut::new(), bytes_max, expects, line: Vec::new(), trailer_bytes: 0 })
    }

    /// Checks that a head announces no body.
    ///
    /// # Errors
    /// It announces one, or does so in a malformed or ambiguous way.
    pub fn check_none(head: &RequestHead<'_>) -> Result<(), Refusal> {
        match Self::announced(head, 0) {
            Ok(body) if body.is_complete() => Ok(()),
            Ok(_) | Err(Refusal::BodyTooLong { .. }) => Err(Refusal::BodyForbidden),
            Err(refusal) => Err(refusal),
        }
    }

    /// Takes what belongs to the body off the front of `input`.
    ///
    /// # Errors
    /// The chunks are malformed, or there is more than `bytes_max`.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<(), Refusal> {
        while self.expects != Expects::End && !input.is_empty() {
            match self.expects {
                Expects::Data(left) => {
                    let left = self.take(left, input);
                    self.expects = if left == 0 { Expects::End } else { Expects::Data(left) };
                }
                Expects::ChunkData(left) => {
                    let left = self.take(left, input);
                    self.expects = if left == 0 { Expects::ChunkEnd } else { Expects::ChunkData(left) };
                }
                Expects::ChunkSize | Expects::ChunkEnd | Expects::Trailer => {
                    if self.take_line(input)? {
                        let line = std::mem::take(&mut self.line);
                        self.expects = self.after_line(&line)?;
                    }
                }
                Expects::End => {}
            }
        }
        Ok(())
    }

    /// True exactly when all of it has come.
    pub fn is_complete(&self) -> bool {
        self.expects == Expects::End
    }

    /// True exactly when nothing of it has come yet.
    pub fn is_untouched(&self) -> bool {
        self.bytes.is_empty() && self.line.is_empty()
    }

    /// Memory for what has come.
    pub fn buffered_bytes(&self) -> usize {
        self.bytes.capacity() + self.line.capacity()
    }

    /// Takes the whole of it out.
    pub fn take_bytes(&mut self) -> Bytes {
        self.bytes.split().freeze()
    }

    fn take(&mut self, left: usize, input: &mut &[u8]) -> usize {
        let (ours, rest) = input.split_at(left.min(input.len()));
        self.bytes.extend_from_slice(ours);
        *input = rest;
        left - ours.len()
    }

    /// True exactly when the line is complete; it is kept without its end.
    fn take_line(&mut self, input: &mut &[u8]) -> Result<bool, Refusal> {
        let end = input.iter().position(|&byte| byte == b'\n');
        let (part, rest) = input.split_at(end.map_or(input.len(), |at| at + 1));
        *input = rest;
        if self.line.len() + part.len() > LINE_BYTES_MAX {
            return Err(Refusal::ChunkMalformed);
        }
        self.line.extend_from_slice(part);
        if end.is_none() {
            return Ok(false);
        }
        // §7.1: lines end with CR LF; a bare LF is one of the ways in which servers come to disagree.
        if !self.line.ends_with(b"\r\n") {
            return Err(Refusal::ChunkMalformed);
        }
        self.line.truncate(self.line.len() - 2);
        Ok(true)
    }

    fn after_line(&mut self, line: &[u8]) -> Result<Expects, Refusal> {
        match self.expects {
            Expects::ChunkEnd if line.is_empty() => Ok(Expects::ChunkSize),
            Expects::ChunkSize => match chunk_size(line)? {
                0 => Ok(Expects::Trailer),
                size if size > (self.bytes_max - self.bytes.len()) as u64 => {
                    Err(Refusal::BodyTooLong { bytes_max: self.bytes_max })
                }
                size => Ok(Expects::ChunkData(usize::try_from(size).expect("at most bytes_max"))),
            },
            Expects::Trailer if line.is_empty() => Ok(Expects::End),
            Expects::Trailer => {
                self.trailer_bytes += line.len();
                if self.trailer_bytes > TRAILER_BYTES_MAX || !is_field(line) {
                    return Err(Refusal::ChunkMalformed);
                }
                Ok(Expects::Trailer)
            }
            _ => Err(Refusal::ChunkMalformed),
        }
    }
}

/// RFC 9110 §8.6: digits, once. That allows a list of equal ones, and to refuse it: some on the way read only one of them.
fn length(head: &RequestHead<'_>) -> Result<Option<u64>, Refusal> {
    let mut lengths = head.headers("Content-Length");
    let text = match (lengths.next(), lengths.next()) {
        (None, _) => return Ok(None),
        (Some(text), None) if text.iter().all(u8::is_ascii_digit) => text,
        _ => return Err(Refusal::ContentLengthMalformed),
    };
    let number = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or(Refusal::ContentLengthMalformed)
}

/// RFC 9112 §6.1: where chunked is not the last coding, nobody can tell where the body ends; nor is there any coding in
/// HTTP/1.0.
fn is_chunked(head: &RequestHead<'_>) -> Result<bool, Refusal> {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let mut lines = head.headers("Transfer-Encoding");
    match (lines.next(), lines.next()) {
        (None, _) => Ok(false),
        (Some(only), None) if is_chunked(only) && head.version >= Version::Http11 => Ok(true),
        _ => {
            let codings: Vec<_> = head.header_list("Transfer-Encoding").collect();
            let place = codings.iter().position(|coding| is_chunked(coding));
            let is_known_how_it_ends = place.is_some_and(|place| place > 0 && place + 1 == codings.len());
            Err(if is_known_how_it_ends && head.version >= Version::Http11 {
                Refusal::TransferEncodingUnknown
            } else {
                Refusal::TransferEncodingMalformed
            })
        }
    }
}

/// §7.1: hexadecimal digits, then perhaps extensions, which are not looked at (§7.1.1) but for characters that no line has.
fn chunk_size(line: &[u8]) -> Result<u64, Refusal> {
    if !is_text(line) {
        return Err(Refusal::ChunkMalformed);
    }
    let digits = memchr::memchr(b';', line).map_or(line, |at| line[..at].trim_ascii_end());
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Refusal::ChunkMalformed);
    }
    let digits = str::from_utf8(digits).map_err(|_| Refusal::ChunkMalformed)?;
    u64::from_str_radix(digits, 16).map_err(|_| Refusal::ChunkMalformed)
}

/// RFC 9112 §5: a name, a colon right behind it, and a value.
fn is_field(line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else { return false };
    let (name, value) = line.split_at(colon);
    !name.is_empty() && name.iter().all(|&byte| is_token_byte(byte)) && is_text(value)
}

/// RFC 9110 §5.5: above all without CR, LF and NUL.
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == b'\t' || !byte.is_ascii_control())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeadLimits;

    /// The body of a request and what follows it; `cut` bytes come at a time.
    fn read(fields: &str, stream: &[u8], cut: usize) -> Result<(Option<Vec<u8>>, Vec<u8>), Refusal> {
        read_in("HTTP/1.1", fields, stream, cut)
    }

    fn read_in(
        version: &str,
        fields: &str,
        stream: &[u8],
        cut: usize,
    ) -> Result<(Option<Vec<u8>>, Vec<u8>), Refusal> {
        let text = format!("POST / {version}\r\nHost: a\r\n{fields}\r\n");
        let (head, _) = RequestHead::parse(text.as_bytes(), &HeadLimits::default())?.unwrap();
        let mut body = Body::announced(&head, 20)?;
        let mut rest = Vec::new();
        for mut piece in stream.chunks(cut) {
            body.read(&mut piece)?;
            rest.extend_from_slice(piece);
        }
        Ok((body.is_complete().then(|| body.take_bytes().to_vec()), rest))
    }

    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

    #[test]
    fn a_body_ends_where_its_length_says() {
        for cut in 1..8 {
            let (body, rest) = read("Content-Length: 5\r\n", b"hellonext", cut).unwrap();
            assert_eq!((body.as_deref(), &*rest), (Some(&b"hello"[..]), &b"next"[..]));
        }
        assert_eq!(read("Content-Length: 5\r\n", b"hell", 9).unwrap().0, None);
    }

    #[test]
    fn a_request_without_a_length_has_no_body() {
        assert_eq!(read("", b"next", 9).unwrap(), (Some(Vec::new()), b"next".to_vec()));
    }

    #[test]
    fn chunks_are_joined_however_they_are_cut() {
        let stream = b"4;ext=1\r\nwiki\r\n5\r\npedia\r\n0\r\nTrailer: x\r\n\r\nnext";
        for cut in 1..stream.len() {
            let (body, rest) = read(CHUNKED, stream, cut).unwrap();
            assert_eq!((body.as_deref(), &*rest), (Some(&b"wikipedia"[..]), &b"next"[..]), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_comes() {
        let refused = Refusal::BodyTooLong { bytes_max: 20 };
        assert_eq!(read("Content-Length: 21\r\n", b"", 9).unwrap_err(), refused);
        assert_eq!(read("Content-Length: 99999999999999999999\r\n", b"", 9).unwrap_err(), {
            Refusal::ContentLengthMalformed
        });
        assert_eq!(read(CHUNKED, b"15\r\n", 9).unwrap_err(), refused);
        assert_eq!(read(CHUNKED, b"a\r\n0123456789\r\nb\r\n", 9).unwrap_err(), refused);
        assert_eq!(read(CHUNKED, b"ffffffffffffffff\r\n", 9).unwrap_err(), refused);
    }

    #[test]
    fn what_servers_could_disagree_about_is_refused() {
        for both in [format!("Content-Length: 3\r\n{CHUNKED}"), format!("{CHUNKED}Content-Length: 0\r\n")] {
            assert_eq!(read(&both, b"", 9).unwrap_err(), Refusal::LengthAmbiguous);
        }
        for lengths in [
            "3\r\nContent-Length: 4",
            "3\r\nContent-Length: 3",
            "3, 4",
            "3, 3",
            "3,",
            "+3",
            "-0",
            "",
            "0x3",
            "3 ",
        ] {
            let fields = format!("Content-Length: {lengths}\r\n");
            let expected = if lengths == "3 " { Ok(()) } else { Err(Refusal::ContentLengthMalformed) };
            assert_eq!(read(&fields, b"", 9).map(drop), expected, "{lengths}");
        }
        for codings in ["gzip, chunked", "gzip\r\nTransfer-Encoding: chunked", "identity, chunked"] {
            let fields = format!("Transfer-Encoding: {codings}\r\n");
            assert_eq!(read(&fields, b"", 9).unwrap_err(), Refusal::TransferEncodingUnknown, "{codings}");
        }
        for codings in [
            "gzip",
            "identity",
            "chunked, identity",
            "chunked, chunked",
            "chunked\r\nTransfer-Encoding: chunked",
            "chunked\r\nTransfer-Encoding: identity",
            "chunked,",
            ",chunked",
            "\"chunked\"",
            "chunked;q=1",
            "xchunked",
            "",
        ] {
            let fields = format!("Transfer-Encoding: {codings}\r\n");
            let refused = read(&fields, b"", 9).unwrap_err();
            assert_eq!(refused, Refusal::TransferEncodingMalformed, "{codings}");
        }
        let refused = read_in("HTTP/1.0", CHUNKED, b"", 9).unwrap_err();
        assert_eq!(refused, Refusal::TransferEncodingMalformed);
    }

    #[test]
    fn chunks_that_servers_could_cut_otherwise_are_refused() {
        let long = [b"1;".as_slice(), &[b'x'; 300]].concat();
        for stream in [
            &b"g\r\n"[..],
            b"\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b"1_0\r\n",
            b" 1\r\n",
            b"1 \r\n",
            b"1 2\r\n",
            b"\x0b1\r\n",
            b"00000000000000001\r\n",
            b"10000000000000001\r\n",
            b"1\nx\r\n",
            b"1\r\nxy\r\n",
            b"1\r\nx\n",
            b"1;a\nx\r\n",
            b"1;a\rb\r\n",
            b"1;\r\r\n",
            b"1\r;a\r\n",
            b"1;a=\"\r\"\r\n",
            b"1;a\0\r\n",
            b"0\r\nA: b\n",
            b"0\r\nA: b\rc\r\n",
            b"0\r\nA : b\r\n",
            b"0\r\n A: b\r\n",
            b"0\r\nA\r\n",
            b"0\r\n: b\r\n",
            b"0\r\nA: b\0\r\n",
            b"0\r\n\n",
            b"0\n\n",
            &long,
        ] {
            for cut in 1..=stream.len().min(20) {
                let refused = read(CHUNKED, stream, cut).map(drop);
                assert_eq!(
                    refused,
                    Err(Refusal::ChunkMalformed),
                    "{}, {cut} at a time",
                    stream.escape_ascii()
                );
            }
        }
        for stream in
            [&b"1 ;a\r\nx\r\n0\r\n\r\n"[..], b"01;a=\"b;\xe9\"\t\r\nx\r\n000;z\r\nA-b: \r\nC:d\xff\r\n\r\n"]
        {
            assert_eq!(read(CHUNKED, stream, 9).unwrap().0.as_deref(), Some(&b"x"[..]));
        }
    }

    #[test]
    fn who_may_send_no_body_may_say_so() {
        let check = |fields: &str| {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            let (head, _) = RequestHead::parse(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
            Body::check_none(&head)
        };
        assert_eq!((check(""), check("Content-Length: 0\r\n")), (Ok(()), Ok(())));
        for fields in ["Content-Length: 1\r\n", "Content-Length: 18446744073709551615\r\n", CHUNKED] {
            assert_eq!(check(fields), Err(Refusal::BodyForbidden), "{fields}");
        }
        let twice = "Content-Length: 0\r\nContent-Length: 0\r\n";
        assert_eq!(check(twice), Err(Refusal::ContentLengthMalformed));
    }
}
