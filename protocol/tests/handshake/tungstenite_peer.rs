//! tungstenite shakes hands with us, as client and as server.

use std::io::{self, Cursor, Read, Write};

use bytes::BytesMut;
use holdfast_protocol::http::{HeadLimits, RequestHead};
use holdfast_protocol::websocket::handshake_client::{Accepted, ClientRequest, check_response};
use holdfast_protocol::websocket::handshake_server::upgrade;
use tungstenite::HandshakeError;

/// A stream in memory: gives out `incoming`, then would block; keeps what is written.
#[derive(Debug, Default)]
struct Memory {
    incoming: Cursor<Vec<u8>>,
    written: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.incoming.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            bytes => Ok(bytes),
        }
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn tungstenite_as_client_accepts_our_upgrade() {
    let started = tungstenite::client("ws://server.example.com/chat", Memory::default());
    let Err(HandshakeError::Interrupted(mut waiting)) = started else { panic!("{started:?}") };
    let stream = waiting.get_mut().get_mut();
    let (head, _) = RequestHead::parse(&stream.written, &HeadLimits::default()).unwrap().unwrap();
    assert_eq!(head.path, "/chat");
    stream.incoming = Cursor::new(upgrade(&head, &[]).unwrap().response().to_vec());
    let (_, response) = waiting.handshake().expect("tungstenite accepts");
    assert_eq!(response.status().as_u16(), 101);
}

#[test]
fn tungstenite_as_server_accepts_our_request() {
    let key = [7; 16];
    let mut request = BytesMut::new();
    ClientRequest { host: "a", path_and_query: "/", subprotocols: &[], origin: None, headers: &[], key }
        .write(&mut request);
    let stream = Memory { incoming: Cursor::new(request.to_vec()), written: Vec::new() };
    let accepted = tungstenite::accept(stream).expect("tungstenite accepts");
    let answer = &accepted.get_ref().written;
    let checked = check_response(answer, &key, &[]).unwrap();
    assert_eq!(checked, Some((Accepted { subprotocol: None, deflate: None }, answer.len())));
}
