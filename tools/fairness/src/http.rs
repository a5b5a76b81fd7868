//! HTTP: requests over a kept connection, and answers that end or go on.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use crate::link::Wire;

/// A request with a body. `fields` are whole header lines.
pub(crate) fn post(path: &str, fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: fairness\r\nContent-Type: application/json\r\n{fields}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    text.into_bytes()
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Http(BufReader<Box<dyn Wire>>);

impl Http {
    pub(crate) fn over(wire: Box<dyn Wire>) -> Self {
        Self(BufReader::new(wire))
    }

    /// Sends a request and reads its answer, which has a length.
    pub(crate) fn ask(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        let length = self.begin(request)?;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok(body)
    }

    /// Sends a request and reads the head of its answer; what follows, if anything, has so many bytes.
    pub(crate) fn begin(&mut self, request: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write_all(request)?;
        let status = self.line()?;
        if !status.starts_with("HTTP/1.1 2") {
            return Err(io::Error::other(status.trim_end().to_owned()));
        }
        let mut length = 0;
        loop {
            let line = self.line()?;
            if line == "\r\n" {
                return Ok(length);
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
    }

    /// The next line.
    pub(crate) fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(line),
        }
    }
}
