//! Request bodies, by length and chunked.
//!
//! In:  one byte for cuts; a request.
//! Out: a panic where the cuts make a difference, or the body is longer than allowed.

use holdfast_protocol::http::{Body, HeadLimits, RequestHead};

/// Pieces of requests with bodies.
pub const WORDS: &[&[u8]] = &[
    b"POST / HTTP/1.1\r\nHost: a\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"a;ext=1\r\n",
    b"\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"0\r\nA: b\r\n\r\n",
    b"\r;",
    b"\n",
];

const BYTES_MAX: usize = 200;

/// Reads one body whole and cut.
pub fn run(data: &[u8]) {
    let (cut, data) = super::choice(data);
    let Ok(Some((head, used))) = RequestHead::parse(data, &HeadLimits::default()) else { return };
    let body = &data[used..];
    assert_eq!(read(&head, [body]), read(&head, body.chunks(usize::from(cut % 7) + 1)));
}

/// The body if it is complete, and what is left of the input; or that it was refused.
fn read<'d>(
    head: &RequestHead<'_>,
    pieces: impl IntoIterator<Item = &'d [u8]>,
) -> Result<(Option<Vec<u8>>, Vec<u8>), ()> {
    let mut body = Body::announced(head, BYTES_MAX).map_err(drop)?;
    let mut left = Vec::new();
    for mut piece in pieces {
        body.read(&mut piece).map_err(drop)?;
        assert!(piece.is_empty() || body.is_complete());
        left.extend_from_slice(piece);
    }
    let bytes = body.is_complete().then(|| body.take_bytes().to_vec());
    assert!(bytes.as_ref().is_none_or(|bytes| bytes.len() <= BYTES_MAX));
    Ok((bytes, left))
}
