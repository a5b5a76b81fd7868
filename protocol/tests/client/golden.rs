//! Messages whose bytes were written down by hand, from the table of names and numbers: both directions.

use data_encoding::HEXLOWER_PERMISSIVE;
use holdfast_protocol::client::command::{PublishRequest, SubscribeRequest};
use holdfast_protocol::client::push::{DisconnectPush, UnsubscribePush};
use holdfast_protocol::client::reply::{
    ConnectResult, Done, HistoryResult, PresenceResult, PresenceStatsResult,
};
use holdfast_protocol::client::{
    ClientError, ClientInfo, ErrorCode, Format, FromClient, FromServer, Map, Payload, Publication, PushBody,
    Reply, ReplyResult, Request,
};

use crate::support::{command, push, read_commands, read_replies, reply, write_commands, write_replies};

fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER_PERMISSIVE.decode(hex.replace(' ', "").as_bytes()).unwrap()
}

fn both_ways_from_client(message: &FromClient<'_>, json: &str, hex: &str) {
    let protobuf = bytes(hex);
    for (format, frame) in [(Format::Json, json.as_bytes()), (Format::Protobuf, &protobuf[..])] {
        assert_eq!(write_commands(format, std::slice::from_ref(message)), frame, "{json}");
        assert_eq!(read_commands(format, frame), Ok(vec![message.clone()]), "{json}");
    }
}

fn both_ways_from_server(message: &FromServer<'_>, json: &str, hex: &str) {
    let protobuf = bytes(hex);
    for (format, frame) in [(Format::Json, json.as_bytes()), (Format::Protobuf, &protobuf[..])] {
        assert_eq!(write_replies(format, std::slice::from_ref(message)), frame, "{json}");
        assert_eq!(read_replies(format, frame), Ok(vec![message.clone()]), "{json}");
    }
}

#[test]
fn commands_have_these_bytes() {
    let data = Payload::new(b"{}");
    both_ways_from_client(
        &command(
            5,
            Request::Publish(PublishRequest { channel: "ab".into(), data, ..PublishRequest::default() }),
        ),
        r#"{"id":5,"publish":{"channel":"ab","data":{}}}"#,
        "0c 0805 3a08 0a02 6162 1202 7b7d",
    );
    let subscribe = SubscribeRequest {
        channel: "a".into(),
        offset: 300,
        recover: true,
        flag: -1,
        ..SubscribeRequest::default()
    };
    both_ways_from_client(
        &command(300, Request::Subscribe(subscribe)),
        r#"{"id":300,"subscribe":{"channel":"a","recover":true,"offset":300,"flag":-1}}"#,
        "18 08ac02 2a13 0a0161 1801 38ac02 70ffffffffffffffffff01",
    );
    let subscribe = SubscribeRequest { channel: "a".into(), kind: 4, ..SubscribeRequest::default() };
    both_ways_from_client(
        &command(1, Request::Subscribe(subscribe)),
        r#"{"id":1,"subscribe":{"channel":"a","type":4}}"#,
        "09 0801 2a05 0a0161 7804",
    );
    both_ways_from_client(&FromClient::Pong, "{}", "00");
}

/// SDKs hand these fields to applications as they are: one that is left out is `undefined` in JavaScript.
#[test]
fn json_always_has_what_clients_rely_on() {
    let nobody = ClientInfo::default();
    let presence = PresenceResult { presence: Map::from_iter([("c", nobody.clone())]) };
    let publication = Publication { info: Some(nobody), ..Publication::default() };
    for (result, json, hex) in [
        (
            ReplyResult::Presence(PresenceResult::default()),
            r#"{"id":1,"presence":{"presence":{}}}"#,
            "04 0801 4a00",
        ),
        (
            ReplyResult::Presence(presence),
            r#"{"id":1,"presence":{"presence":{"c":{"user":"","client":""}}}}"#,
            "0b 0801 4a07 0a05 0a0163 1200",
        ),
        (
            ReplyResult::PresenceStats(PresenceStatsResult::default()),
            r#"{"id":1,"presence_stats":{"num_clients":0,"num_users":0}}"#,
            "04 0801 5200",
        ),
        (
            ReplyResult::History(HistoryResult::default()),
            r#"{"id":1,"history":{"publications":[],"epoch":"","offset":0}}"#,
            "04 0801 5a00",
        ),
        (
            ReplyResult::History(HistoryResult {
                publications: vec![publication],
                ..HistoryResult::default()
            }),
            r#"{"id":1,"history":{"publications":[{"info":{"user":"","client":""}}],"epoch":"","offset":0}}"#,
            "08 0801 5a04 0a02 2a00",
        ),
    ] {
        both_ways_from_server(&reply(1, result), json, hex);
    }
}

#[test]
fn replies_have_these_bytes() {
    let error = ClientError::from(ErrorCode::INTERNAL);
    both_ways_from_server(
        &FromServer::Reply(Reply { id: 1, result: Err(error) }),
        r#"{"id":1,"error":{"code":100,"message":"internal server error","temporary":true}}"#,
        "1f 0801 121b 0864 1215 696e7465726e616c20736572766572206572726f72 1801",
    );
    both_ways_from_server(
        &reply(2, ReplyResult::Publish(Done {})),
        r#"{"id":2,"publish":{}}"#,
        "04 0802 4200",
    );
    let stats = PresenceStatsResult { num_clients: 3, num_users: 2 };
    both_ways_from_server(
        &reply(3, ReplyResult::PresenceStats(stats)),
        r#"{"id":3,"presence_stats":{"num_clients":3,"num_users":2}}"#,
        "08 0803 5204 0803 1002",
    );
    let connect = ConnectResult { client: "c".into(), ping: 25, pong: true, ..ConnectResult::default() };
    both_ways_from_server(
        &reply(1, ReplyResult::Connect(connect)),
        r#"{"id":1,"connect":{"client":"c","ping":25,"pong":true}}"#,
        "0b 0801 2a07 0a0163 3819 4001",
    );
    both_ways_from_server(&FromServer::Ping, "{}", "00");
}

#[test]
fn pushes_have_these_bytes() {
    let publication = Publication {
        data: Payload::new(b"1"),
        info: Some(ClientInfo { user: "u".into(), ..ClientInfo::default() }),
        offset: 7,
        tags: Map::from_iter([("k", "v".into())]),
        ..Publication::default()
    };
    both_ways_from_server(
        &push("a", PushBody::Publication(publication)),
        r#"{"push":{"channel":"a","pub":{"data":1,"info":{"user":"u","client":""},"offset":7,"tags":{"k":"v"}}}}"#,
        "19 2217 120161 2212 220131 2a03 0a0175 3007 3a06 0a016b 120176",
    );
    let unsubscribe = UnsubscribePush { code: 2000, reason: "r".into() };
    both_ways_from_server(
        &push("a", PushBody::Unsubscribe(unsubscribe)),
        r#"{"push":{"channel":"a","unsubscribe":{"code":2000,"reason":"r"}}}"#,
        "0d 220b 120161 3a06 10d00f 1a0172",
    );
    let disconnect = DisconnectPush { code: 3001, reason: "r".into(), reconnect: true };
    both_ways_from_server(
        &push("", PushBody::Disconnect(disconnect)),
        r#"{"push":{"disconnect":{"code":3001,"reason":"r","reconnect":true}}}"#,
        "0c 220a 5a08 08b917 120172 1801",
    );
}
