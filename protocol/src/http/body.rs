//! The request body (RFC 9112 §6, §7.1).
//!
//! In:  a request head; then the bytes that follow it, cut anywhere.
//! Out: the body as a whole, or the refusal to answer with. What follows the body is left to the caller.
//!
//! A length is looked at before a byte of the body is: what is too long is refused at once, and costs no memory. Worst
//! case: `bytes_max`, and as much again while a chunked body grows.

use bytes::{Bytes, BytesMut};

use super::{Refusal, RequestHead};

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
        let expects = match (head.header("Transfer-Encoding"), length(head)?) {
            (None, None | Some(0)) => Expects::End,
            (None, Some(length)) => match usize::try_from(length) {
                Ok(length) if length <= bytes_max => Expects::Data(length),
                _ => return Err(Refusal::BodyTooLong { bytes_max }),
            },
            // §6.1: a message with both may be an attempt at request smuggling.
            (Some(_), Some(_)) => return Err(Refusal::LengthAmbiguous),
            (Some(_), None) => {
                let mut codings = head.header_list("Transfer-Encoding");
                match (codings.next(), codings.next()) {
                    (Some(only), None) if only.eq_ignore_ascii_case(b"chunked") => Expects::ChunkSize,
                    _ => return Err(Refusal::TransferEncodingUnknown),
                }
            }
        };
        Ok(Self { bytes: BytesMut::new(), bytes_max, expects, line: Vec::new(), trailer_bytes: 0 })
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
                if self.trailer_bytes > TRAILER_BYTES_MAX {
                    return Err(Refusal::ChunkMalformed);
                }
                Ok(Expects::Trailer)
            }
            _ => Err(Refusal::ChunkMalformed),
        }
    }
}

/// RFC 9110 §8.6: digits; where it is repeated, each time the same.
fn length(head: &RequestHead<'_>) -> Result<Option<u64>, Refusal> {
    let mut length = None;
    for text in head.header_list("Content-Length") {
        let is_number = text.iter().all(u8::is_ascii_digit);
        let number = str::from_utf8(text).ok().filter(|_| is_number).and_then(|text| text.parse().ok());
        match (number, length) {
            (Some(number), None) => length = Some(number),
            (Some(number), Some(before)) if number == before => {}
            _ => return Err(Refusal::ContentLengthMalformed),
        }
    }
    match length {
        None if head.header("Content-Length").is_some() => Err(Refusal::ContentLengthMalformed),
        length => Ok(length),
    }
}

/// §7.1: hexadecimal digits, then perhaps extensions, which are not looked at (§7.1.1).
fn chunk_size(line: &[u8]) -> Result<u64, Refusal> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Refusal::ChunkMalformed);
    }
    let digits = str::from_utf8(digits).map_err(|_| Refusal::ChunkMalformed)?;
    u64::from_str_radix(digits, 16).map_err(|_| Refusal::ChunkMalformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeadLimits;

    /// The body of a request and what follows it; `cut` bytes come at a time.
    fn read(fields: &str, stream: &[u8], cut: usize) -> Result<(Option<Vec<u8>>, Vec<u8>), Refusal> {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
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
        let both = format!("Content-Length: 3\r\n{CHUNKED}");
        assert_eq!(read(&both, b"", 9).unwrap_err(), Refusal::LengthAmbiguous);
        for lengths in ["3\r\nContent-Length: 4", "3, 4", "+3", "", "0x3"] {
            let fields = format!("Content-Length: {lengths}\r\n");
            assert_eq!(read(&fields, b"", 9).unwrap_err(), Refusal::ContentLengthMalformed, "{lengths}");
        }
        for coding in ["gzip", "gzip, chunked", "chunked, chunked"] {
            let fields = format!("Transfer-Encoding: {coding}\r\n");
            assert_eq!(read(&fields, b"", 9).unwrap_err(), Refusal::TransferEncodingUnknown, "{coding}");
        }
        for stream in [&b"g\r\n"[..], b"\r\n", b"-1\r\n", b"0x1\r\n", b"1\nx\r\n", b"1\r\nxy\r\n"] {
            assert_eq!(read(CHUNKED, stream, 9).unwrap_err(), Refusal::ChunkMalformed, "{stream:?}");
        }
        let long = [b"1;".as_slice(), &[b'x'; 300]].concat();
        assert_eq!(read(CHUNKED, &long, 9).unwrap_err(), Refusal::ChunkMalformed);
    }

    #[test]
    fn the_same_length_twice_is_one_length() {
        let (body, _) = read("Content-Length: 2\r\nContent-Length: 2\r\n", b"ab", 9).unwrap();
        assert_eq!(body.unwrap(), b"ab");
    }
}
