//! TLS: two ends that talk through buffers, and what becomes of them when the bytes are bad.
#![forbid(unsafe_code)]

use std::sync::Arc;

use bytes::BytesMut;
use holdfast_protocol::tls::{ClientSide, Progress, ServerSide, Side, TlsError, TlsStream};
use proptest::prelude::*;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::ring::default_provider,
    pki_types::{PrivateKeyDer, ServerName},
    version::{TLS12, TLS13},
};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

fn configs(version: &'static SupportedProtocolVersion) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["edge.test".into()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let provider = Arc::new(default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// Both ends, and what is on its way to each.
struct Pair {
    server: TlsStream<ServerSide>,
    client: TlsStream<ClientSide>,
    to_server: BytesMut,
    to_client: BytesMut,
}

impl Pair {
    fn new(version: &'static SupportedProtocolVersion) -> Self {
        let (server, client) = configs(version);
        let name = ServerName::try_from("edge.test").unwrap();
        let mut pair = Self {
            server: TlsStream::accept(server).unwrap(),
            client: TlsStream::connect(client, name).unwrap(),
            to_server: BytesMut::new(),
            to_client: BytesMut::new(),
        };
        pair.client.receive(&mut [], &mut BytesMut::new(), &mut pair.to_server).unwrap();
        pair
    }

    /// Carries bytes, `cut` at a time, until there are none left; answers with what each end was told.
    fn carry(&mut self, cut: usize) -> (BytesMut, BytesMut) {
        let (mut at_server, mut at_client) = (BytesMut::new(), BytesMut::new());
        while !self.to_server.is_empty() || !self.to_client.is_empty() {
            let to_server = std::mem::take(&mut self.to_server);
            deliver(&mut self.server, to_server, cut, &mut at_server, &mut self.to_client);
            let to_client = std::mem::take(&mut self.to_client);
            deliver(&mut self.client, to_client, cut, &mut at_client, &mut self.to_server);
        }
        (at_server, at_client)
    }
}

fn deliver<S: Side>(
    end: &mut TlsStream<S>,
    mut bytes: BytesMut,
    cut: usize,
    plain: &mut BytesMut,
    out: &mut BytesMut,
) {
    for piece in bytes.chunks_mut(cut) {
        end.receive(piece, plain, out).unwrap();
    }
}

#[test]
fn both_ends_agree_and_understand_each_other_however_the_bytes_are_cut() {
    for version in VERSIONS {
        for cut in [1, 7, 2048, usize::MAX] {
            let mut pair = Pair::new(version);
            pair.carry(cut);
            assert_eq!((pair.server.progress(), pair.client.progress()), (Progress::Open, Progress::Open));
            let long = vec![b'x'; 40_000];
            pair.client.encrypt(b"hello", &mut pair.to_server).unwrap();
            pair.client.encrypt(&long, &mut pair.to_server).unwrap();
            pair.server.encrypt(b"welcome", &mut pair.to_client).unwrap();
            let (at_server, at_client) = pair.carry(cut);
            assert_eq!(at_server, [&b"hello"[..], &long].concat());
            assert_eq!(&at_client[..], b"welcome");
        }
    }
}

#[test]
fn what_comes_along_with_the_end_of_the_handshake_is_read_at_once() {
    for version in VERSIONS {
        let mut pair = Pair::new(version);
        let (mut at_server, mut at_client) = (BytesMut::new(), BytesMut::new());
        while pair.client.progress() == Progress::Handshaking {
            let to_server = std::mem::take(&mut pair.to_server);
            deliver(&mut pair.server, to_server, usize::MAX, &mut at_server, &mut pair.to_client);
            let to_client = std::mem::take(&mut pair.to_client);
            deliver(&mut pair.client, to_client, usize::MAX, &mut at_client, &mut pair.to_server);
        }
        // In TLS 1.3 the client's last message of the handshake is still on its way.
        pair.client.encrypt(b"a request", &mut pair.to_server).unwrap();
        pair.client.encrypt(b", in two records", &mut pair.to_server).unwrap();
        let to_server = std::mem::take(&mut pair.to_server);
        deliver(&mut pair.server, to_server, usize::MAX, &mut at_server, &mut pair.to_client);
        assert_eq!(&at_server[..], b"a request, in two records");
    }
}

#[test]
fn an_end_that_says_goodbye_is_heard() {
    for version in VERSIONS {
        let mut pair = Pair::new(version);
        pair.carry(usize::MAX);
        pair.server.encrypt(b"last words", &mut pair.to_client).unwrap();
        pair.server.close(&mut pair.to_client).unwrap();
        assert_eq!(&pair.carry(3).1[..], b"last words");
        assert_eq!(pair.client.progress(), Progress::PeerClosed);
    }
}

#[test]
fn nothing_can_be_sent_before_the_keys_are_agreed_upon() {
    let mut pair = Pair::new(&TLS13);
    let mut out = BytesMut::new();
    assert_eq!(pair.server.encrypt(b"too early", &mut out), Err(TlsError::NotOpen));
    assert!(out.is_empty(), "no plaintext has gone out");
}

#[test]
fn who_does_not_speak_tls_is_told_by_an_alert() {
    let mut pair = Pair::new(&TLS13);
    let mut out = BytesMut::new();
    let mut request = *b"GET / HTTP/1.1\r\n\r\n";
    let refused = pair.server.receive(&mut request, &mut BytesMut::new(), &mut out);
    assert!(matches!(refused, Err(TlsError::Peer(_))), "{refused:?}");
    assert_eq!(out.first(), Some(&21), "a record of alerts");
}

#[test]
fn the_type_of_a_record_is_known_however_it_is_cut() {
    let mut pair = Pair::new(&TLS13);
    let (mut plain, mut out) = (BytesMut::new(), BytesMut::new());
    let mut hello = std::mem::take(&mut pair.to_server);
    let (begun, rest) = hello.split_at_mut(100);
    assert_eq!(pair.server.next_record_type(begun), Some(22));
    pair.server.receive(begun, &mut plain, &mut out).unwrap();
    assert_eq!(pair.server.next_record_type(b"GET /"), Some(22), "it goes on");
    pair.server.receive(rest, &mut plain, &mut out).unwrap();
    assert_eq!(pair.server.next_record_type(b"GET /"), Some(b'G'));
}

#[test]
fn a_changed_record_ends_the_connection() {
    for version in VERSIONS {
        let mut pair = Pair::new(version);
        pair.carry(usize::MAX);
        let mut records = BytesMut::new();
        pair.client.encrypt(b"hello", &mut records).unwrap();
        *records.last_mut().unwrap() ^= 1;
        let mut plain = BytesMut::new();
        let mut out = BytesMut::new();
        assert!(pair.server.receive(&mut records, &mut plain, &mut out).is_err());
        assert!(plain.is_empty());
    }
}

/// A record of the handshake before any keys: type, version, and a length.
fn record(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[22, 3, 3], &length[..], content].concat()
}

#[test]
fn a_hello_in_many_records_is_kept_up_to_a_limit() {
    let mut pair = Pair::new(&TLS13);
    let (mut plain, mut out) = (BytesMut::new(), BytesMut::new());
    // RFC 8446 §4: a ClientHello of 16 MiB, so it says.
    let mut result = pair.server.receive(&mut record(&[1, 0xff, 0xff, 0xff]), &mut plain, &mut out);
    for _ in 0..100 {
        if result.is_ok() {
            assert_eq!(pair.server.encrypt(b"x", &mut out), Err(TlsError::NotOpen));
            result = pair.server.receive(&mut record(&[0; 16_000]), &mut plain, &mut out);
        }
    }
    assert!(result.is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_an_end_panic_or_keep_more_than_its_limit(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..8),
        head in prop::sample::select(vec![&b""[..], b"\x16\x03\x01\x40\x00", b"\x16\x03\x03\x00\x80\x01\x00\xff\xff"]),
    ) {
        let mut pair = Pair::new(&TLS13);
        let (mut plain, mut out) = (BytesMut::new(), BytesMut::new());
        let mut first = head.to_vec();
        let mut result = pair.server.receive(&mut first, &mut plain, &mut out);
        for mut piece in pieces {
            if result.is_ok() {
                result = pair.server.receive(&mut piece, &mut plain, &mut out);
            }
        }
        prop_assert!(plain.is_empty());
    }
}
