//! Messages, byte for byte.

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::*;

fn bytes(body: Body<'_>) -> Vec<u8> {
    let message = Message { uid: "n1".into(), body: Some(body) };
    let mut out = BytesMut::new();
    message.encode(&mut out);
    assert_eq!(Message::decode(&out), Ok(message));
    out.to_vec()
}

/// Field numbers are those of Centrifugo's control.proto.
#[test]
fn messages_have_centrifugos_bytes() {
    let node = Node {
        uid: "n1".into(),
        name: "h".into(),
        version: "1".into(),
        num_clients: 1,
        num_users: 2,
        num_channels: 3,
        uptime: 300,
        metrics: Some(Metrics { interval: 0.0, items: vec![("m".into(), 1.5)] }),
        data: b"d",
        num_subs: 4,
    };
    assert_eq!(
        bytes(Body::Node(node)),
        b"\x0a\x02n1\x22\x28\x0a\x02n1\x12\x01h\x1a\x011\x20\x01\x28\x02\x30\x03\x38\xac\x02\
          \x42\x0e\x12\x0c\x0a\x01m\x11\0\0\0\0\0\0\xf8\x3f\x4a\x01d\x50\x04"
    );
    assert_eq!(bytes(Body::Shutdown), b"\x0a\x02n1\x3a\x00");
    assert_eq!(
        bytes(Body::SurveyRequest(SurveyRequest { id: 7, op: "channels".into(), data: b"q" })),
        b"\x0a\x02n1\x42\x0f\x08\x07\x12\x08channels\x1a\x01q"
    );
    assert_eq!(
        bytes(Body::SurveyResponse(SurveyResponse { id: 7, code: 100, data: b"a" })),
        b"\x0a\x02n1\x4a\x07\x08\x07\x10\x64\x1a\x01a"
    );
    assert_eq!(
        bytes(Body::Notification(Notification { op: "o".into(), data: b"d" })),
        b"\x0a\x02n1\x5a\x06\x0a\x01o\x12\x01d"
    );
}

#[test]
fn messages_about_connections_have_centrifugos_bytes() {
    let unsubscribe = Unsubscribe {
        channel: "c".into(),
        user: "u".into(),
        client: "k".into(),
        session: "s".into(),
        code: 2000,
        reason: "r".into(),
        label_filter: b"\x0a\x00",
        all_users: true,
    };
    assert_eq!(
        bytes(Body::Unsubscribe(unsubscribe)),
        b"\x0a\x02n1\x2a\x18\x0a\x01c\x12\x01u\x1a\x01k\x22\x01s\x28\xd0\x0f\x32\x01r\x3a\x02\x0a\x00\x40\x01"
    );
    let disconnect = Disconnect {
        user: "u".into(),
        whitelist: vec!["a".into(), "".into()],
        code: 3000,
        reason: "r".into(),
        reconnect: true,
        client: "k".into(),
        session: "s".into(),
        label_filter: b"",
        all_users: false,
    };
    assert_eq!(
        bytes(Body::Disconnect(disconnect)),
        b"\x0a\x02n1\x32\x16\x0a\x01u\x12\x01a\x12\x00\x18\xb8\x17\x22\x01r\x28\x01\x32\x01k\x3a\x01s"
    );
    let subscribe = Subscribe {
        user: "u".into(),
        channel: "c".into(),
        emit_presence: true,
        emit_join_leave: true,
        expire_at: 5,
        position: true,
        recover: true,
        channel_info: b"i",
        client: "k".into(),
        data: b"d",
        recover_since: Some(Since { offset: 9, epoch: "e".into() }),
        session: "s".into(),
        push_join_leave: true,
        source: 3,
        label_filter: b"",
        all_users: true,
    };
    assert_eq!(
        bytes(Body::Subscribe(subscribe)),
        b"\x0a\x02n1\x52\x2a\x0a\x01u\x12\x01c\x18\x01\x20\x01\x28\x05\x30\x01\x38\x01\x42\x01i\x4a\x01k\
          \x52\x01d\x5a\x05\x08\x09\x12\x01e\x62\x01s\x68\x01\x70\x03\x80\x01\x01"
    );
    let refresh = Refresh {
        user: "u".into(),
        client: "k".into(),
        expired: true,
        expire_at: -1,
        info: b"i",
        session: "s".into(),
        label_filter: b"",
        all_users: false,
    };
    assert_eq!(
        bytes(Body::Refresh(refresh)),
        b"\x0a\x02n1\x62\x19\x0a\x01u\x12\x01k\x18\x01\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x2a\x01i\x32\x01s"
    );
}

#[test]
fn newer_kinds_and_fields_are_walked_over() {
    let message = Message::decode(b"\x0a\x01n\x6a\x01x\x70\x07").unwrap();
    assert_eq!((&*message.uid, message.body), ("n", None));
    let message = Message::decode(b"\x5a\x06\x0a\x01o\x98\x06\x07").unwrap();
    assert_eq!(message.body, Some(Body::Notification(Notification { op: "o".into(), data: b"" })));
    assert_eq!(Message::decode(b""), Ok(Message::default()));
    assert_eq!(Message::decode(b"\x38\x01"), Err(WireError::WireTypeWrong));
}

#[test]
fn no_bytes_make_it_panic() {
    let seed = rand::rng().random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let subscribe = Subscribe { channel: "channel".into(), ..Subscribe::default() };
    let valid = bytes(Body::Subscribe(Subscribe {
        recover_since: Some(Since { offset: 300, epoch: "epoch".into() }),
        ..subscribe
    }));
    for _ in 0..100_000 {
        let mut bytes = valid.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..3) {
                0 => bytes[at] = random.random(),
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, random.random()),
            }
        }
        let Ok(message) = Message::decode(&bytes) else { continue };
        let mut again = BytesMut::new();
        message.encode(&mut again);
        assert_eq!(Message::decode(&again), Ok(message));
    }
}
