//! API: calls of the server API that may find nobody there.
//!
//! In:  a control address, a method, a request.
//! Out: its result; an error of the API; or the end of the connection, with which nobody knows what became of it.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
};

use holdfast_fairness::API_KEY;
use holdfast_testkit::PATIENCE;
use serde_json::Value;

/// A kept connection.
#[derive(Debug)]
pub(crate) struct Api(BufReader<TcpStream>);

impl Api {
    pub(crate) fn connect(control: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&control, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// What is answered: a result, or the code of an error.
    pub(crate) fn call(&mut self, method: &str, request: &Value) -> io::Result<Result<Value, u64>> {
        let body = request.to_string();
        let (status, answer) = self.exchange(&format!("POST /api/{method}"), &body)?;
        if status != 200 {
            return Err(io::Error::other(format!("{method}: status {status}")));
        }
        let mut answer: Value = serde_json::from_str(&answer).map_err(io::Error::other)?;
        if let Some(code) = answer["error"]["code"].as_u64() {
            return Ok(Err(code));
        }
        // A batch has replies in place of a result.
        Ok(Ok(if answer.get("result").is_some() { answer["result"].take() } else { answer }))
    }

    /// Status and body of what is answered to `GET path`.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<(u16, String)> {
        self.exchange(&format!("GET {path}"), "")
    }

    fn exchange(&mut self, request: &str, body: &str) -> io::Result<(u16, String)> {
        let length = body.len();
        let text = format!(
            "{request} HTTP/1.1\r\nHost: test\r\nX-API-Key: {API_KEY}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.0.get_mut().write_all(text.as_bytes())?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body).map_err(io::Error::other)?))
    }
}

/// True exactly when nothing came for as long as a test waits: nobody answers, and that is never right.
pub(crate) fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
