//! Wire: an attacker's connection, which is written to and read from at the same time.
//!
//! In:  bytes that are sent over and over again.
//! Out: answers, thrown away.
//!
//! Every read and write gives up after a moment, so that an attack can end while the daemon does not serve it.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};

use super::Order;
use crate::frame;

const MOMENT: Duration = Duration::from_millis(100);

/// A connection that ends with a reset, so that its port is free at once.
#[derive(Debug)]
pub(super) struct Line {
    stream: TcpStream,
    /// What came, and has not been looked at.
    unread: Vec<u8>,
}

impl Line {
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::set(TcpStream::connect(address)?)
    }

    /// With a receive buffer of about so many bytes.
    pub(super) fn connect_narrow(address: SocketAddr, bytes: usize) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_recv_buffer_size(bytes)?;
        socket.connect(&address.into())?;
        Self::set(socket.into())
    }

    fn set(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(MOMENT))?;
        stream.set_write_timeout(Some(MOMENT))?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Sends all of it, unless the attack ends before.
    pub(super) fn send(&mut self, order: &Order<'_>, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() && order.goes_on() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_a_moment(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends it again and again for a moment, until no more is taken.
    pub(super) fn send_some(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        loop {
            match self.stream.write(rest) {
                Ok(count) if count < rest.len() => rest = &rest[count..],
                Ok(_) => rest = bytes,
                Err(error) if is_a_moment(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads until a text has come; answers with all up to its end.
    pub(super) fn read_to(&mut self, order: &Order<'_>, text: &str) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = find(&self.unread, text.as_bytes()) {
                let rest = self.unread.split_off(at + text.len());
                return Ok(std::mem::replace(&mut self.unread, rest));
            }
            self.read_more(order)?;
        }
    }

    /// Reads until anything has come.
    pub(super) fn read_any(&mut self, order: &Order<'_>) -> io::Result<()> {
        self.read_more(order)
    }

    /// Reads up to a frame that has this text.
    fn read_to_frame(&mut self, order: &Order<'_>, text: &str) -> io::Result<()> {
        loop {
            while let Some((_, begin, end)) = frame::first(&self.unread) {
                let is_it = find(&self.unread[begin..end], text.as_bytes()).is_some();
                self.unread.drain(..end);
                if is_it {
                    return Ok(());
                }
            }
            self.read_more(order)?;
        }
    }

    fn read_more(&mut self, order: &Order<'_>) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        while order.goes_on() {
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.unread.extend(&piece[..count]);
                    return Ok(());
                }
                Err(error) if is_a_moment(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(ErrorKind::Interrupted.into())
    }

    /// Shakes hands for a WebSocket and sends first messages; returns when the reply to the last of them has come.
    pub(super) fn upgrade(
        &mut self,
        order: &Order<'_>,
        path: &str,
        first: Option<(&str, &str)>,
    ) -> io::Result<()> {
        self.send(order, frame::handshake(path).as_bytes())?;
        self.read_to(order, "\r\n\r\n")?;
        if let Some((messages, awaited)) = first {
            let mut bytes = Vec::new();
            frame::append(frame::TEXT, messages.as_bytes(), &mut bytes);
            self.send(order, &bytes)?;
            self.read_to_frame(order, awaited)?;
        }
        Ok(())
    }

    /// Sends some requests at once, again and again when all of them are answered.
    pub(super) fn ask(
        mut self,
        order: &Order<'_>,
        requests: &[u8],
        count: usize,
        operations: u64,
    ) -> io::Result<()> {
        while order.goes_on() {
            self.ask_once(order, requests, count)?;
            order.did(operations);
        }
        Ok(())
    }

    /// Sends some requests at once, and reads as many answers.
    pub(super) fn ask_once(&mut self, order: &Order<'_>, requests: &[u8], count: usize) -> io::Result<()> {
        self.send(order, requests)?;
        for _ in 0..count {
            self.read_to(order, "HTTP/1.1 ")?;
            let status = self.read_to(order, " ")?;
            if !status.starts_with(b"2") {
                return Err(io::Error::other(format!("answered {}", status.escape_ascii())));
            }
        }
        Ok(())
    }

    /// Sends frames over and over again, which ask for so much, and reads what is answered at the same time. Ends when
    /// the daemon wants no more of it: what is sent after that would only be thrown away.
    pub(super) fn flood(mut self, order: &Order<'_>, piece: &[u8], operations: u64) -> io::Result<()> {
        let unread = std::mem::take(&mut self.unread);
        let answers = Self { stream: self.stream.try_clone()?, unread };
        let is_closed = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                answers.drain(order);
                is_closed.store(true, Ordering::Relaxed);
            });
            while order.goes_on() && !is_closed.load(Ordering::Relaxed) {
                if let Err(error) = self.send(order, piece) {
                    order.heard(&error.to_string());
                    break;
                }
                order.did(operations);
            }
            // The reader may wait for an answer that does not come.
            let _ = self.stream.shutdown(Shutdown::Both);
        });
        Ok(())
    }

    /// Reads frames and throws them away, up to one that is the last.
    fn drain(mut self, order: &Order<'_>) {
        crate::cpus::go_last();
        let mut bytes = std::mem::take(&mut self.unread);
        let mut kept = bytes.len();
        bytes.resize(kept + 256 * 1024, 0);
        while order.goes_on() {
            match self.stream.read(&mut bytes[kept..]) {
                Ok(0) => break,
                Ok(count) => {
                    let came = &bytes[..kept + count];
                    let (used, last) = whole_frames(came);
                    if let Some(last) = last {
                        order.heard(&last);
                        break;
                    }
                    let rest = used..came.len();
                    kept = rest.len();
                    bytes.copy_within(rest, 0);
                    if kept == bytes.len() {
                        bytes.resize(2 * kept, 0);
                    }
                }
                Err(error) if is_a_moment(&error) => {}
                Err(error) => return order.heard(&error.to_string()),
            }
        }
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Reads and throws away until the end.
    pub(super) fn read_all(mut self, order: &Order<'_>) {
        crate::cpus::go_last();
        while self.read_more(order).is_ok() {
            self.unread.clear();
        }
    }
}

/// How many bytes are whole frames, and what the last frame of all says, if it came.
fn whole_frames(bytes: &[u8]) -> (usize, Option<String>) {
    let mut used = 0;
    while let Some((opcode, begin, end)) = frame::first(&bytes[used..]) {
        if opcode == frame::CLOSE {
            let payload = &bytes[used + begin..used + end];
            let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
            return (used, Some(format!("closed with {code}")));
        }
        used += end;
    }
    (used, None)
}

/// Where a text begins.
fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    let first = text[0];
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|&byte| byte == first).map(|at| from + at) {
        if bytes[at..].starts_with(text) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

fn is_a_moment(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
