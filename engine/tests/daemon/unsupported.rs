//! Unsupported: what clients ask for that no channel here has, and what makes no sense.
//!
//! In:  commands, in both formats.
//! Out: an error to that command alone, or the end of the session where no SDK would ever ask so. Never a success.

use holdfast_testkit::{
    Daemon,
    client::{Client, SECRET},
    peer::{Peer, frame, request},
};
use serde_json::{Value, json};

fn daemon() -> Daemon {
    Daemon::start(&format!(
        "[client]\nallow_anonymous_connect_without_token = true\n\
         [client.token]\nhmac_secret_key = '{SECRET}'\n\
         [channel.without_namespace]\nhistory_size = 10\nhistory_ttl = '1m'\npresence = true\n\
         allow_subscribe_for_client = true\nallow_subscribe_for_anonymous = true\n\
         allow_publish_for_client = true\nallow_publish_for_anonymous = true\n\
         allow_history_for_subscriber = true\nallow_history_for_anonymous = true\n\
         allow_presence_for_subscriber = true\nallow_presence_for_anonymous = true\n\
         allowed_delta_types = ['fossil']"
    ))
}

#[test]
fn what_no_channel_has_is_refused_to_that_command_alone() {
    let daemon = daemon();
    let mut client = Client::connect(&daemon, "ann");
    client.subscribe("news");
    for (command, request, code) in [
        ("subscribe", json!({ "channel": "a", "type": 1 }), 103),
        ("subscribe", json!({ "channel": "a", "type": 2, "limit": 10, "phase": 1 }), 103),
        ("subscribe", json!({ "channel": "a", "type": 3, "delta": "other" }), 103),
        ("subscribe", json!({ "channel": "a", "type": 4 }), 108),
        ("subscribe", json!({ "channel": "nope:a", "type": 4 }), 108),
        ("subscribe", json!({ "channel": "nope:a", "type": 1 }), 102),
        ("subscribe", json!({ "channel": "a", "tf": { "key": "k", "cmp": "eq", "val": "v" } }), 107),
        ("publish", json!({ "channel": "a", "data": 1, "type": 1, "key": "k" }), 103),
        ("publish", json!({ "channel": "a", "data": 1, "type": 1 }), 103),
        ("publish", json!({ "channel": "a", "data": 1, "key": "k" }), 103),
        ("publish", json!({ "channel": "a", "type": 1, "key": "k", "removed": true }), 103),
        ("sub_refresh", json!({ "channel": "a", "type": 1, "track": [{ "items": [{ "key": "k" }] }] }), 103),
        ("sub_refresh", json!({ "channel": "news", "type": 1, "track": [{ "signature": "s" }] }), 103),
        ("sub_refresh", json!({ "channel": "news", "type": 2, "untrack": ["k"], "token": "t" }), 103),
        ("sub_refresh", json!({ "channel": "a", "token": "t" }), 103),
        ("sub_refresh", json!({ "channel": "news" }), 107),
        ("ping", json!({}), 108),
        ("rpc", json!({ "method": "m" }), 108),
    ] {
        assert_eq!(client.error(command, &request), code, "{command} {request}");
    }
    let history = client.command("history", &json!({ "channel": "news", "limit": -1 }));
    assert_eq!(history["publications"], json!([]), "nothing was published");
    assert!(client.subscribe("a").get("type").is_none(), "and no subscription was made");
    // Numbers that are not defined ask for nothing special.
    client.command("subscribe", &json!({ "channel": "b", "type": 7 }));
    client.command("subscribe", &json!({ "channel": "c", "type": -1 }));
    daemon.stop();
}

#[test]
fn the_same_holds_in_protobuf() {
    let daemon = daemon();
    let mut peer = Peer::connect(&daemon);
    let head = request("/connection/websocket");
    let protocol = "Host: test\r\nSec-WebSocket-Protocol: centrifuge-protobuf\r\n";
    peer.send(head.replace("Host: test\r\n", protocol).as_bytes());
    assert!(peer.response().0.starts_with("HTTP/1.1 101 "));
    let mut ask = |command: &[u8]| {
        let len = u8::try_from(command.len()).expect("it is short");
        peer.send(&frame(0x82, &[&[len], command].concat()));
        peer.frame().payload
    };
    assert_eq!(ask(b"\x08\x01\x22\x00")[1..3], [0x08, 1], "it is connected");
    for (command, id, code) in [
        (&b"\x08\x02\x2a\x05\x0a\x01a\x78\x01"[..], 2, 103),
        (b"\x08\x03\x2a\x05\x0a\x01a\x78\x04", 3, 108),
        (b"\x08\x04\x3a\x08\x0a\x01a\x12\x01x\x18\x01", 4, 103),
        (b"\x08\x05\x3a\x09\x0a\x01a\x12\x01x\x22\x01k", 5, 103),
        (b"\x08\x06\x7a\x05\x0a\x01a\x18\x01", 6, 103),
        (b"\x08\x07\x5a\x00", 7, 108),
    ] {
        let reply = ask(command);
        assert_eq!((&reply[1..4], &reply[5..7]), (&[8, id, 0x12][..], &[8, code][..]), "{reply:?}");
    }
    assert_eq!(ask(b"\x08\x08\x2a\x03\x0a\x01a")[1..4], [8, 8, 0x32], "it is subscribed all the same");
    daemon.stop();
}

#[test]
fn what_makes_no_sense_ends_the_session() {
    let daemon = daemon();
    let empty = json!({ "channel": "" });
    for (command, request, code) in [
        ("subscribe", json!({ "channel": "a", "delta": "xdelta" }), 3501),
        ("subscribe", empty.clone(), 3501),
        ("subscribe", json!({ "type": 4 }), 3501),
        ("unsubscribe", empty.clone(), 3501),
        ("publish", json!({ "data": 1 }), 3501),
        ("publish", json!({}), 3501),
        ("presence", empty.clone(), 3501),
        ("presence_stats", json!({}), 3501),
        ("history", empty.clone(), 3501),
        ("sub_refresh", json!({ "token": "t" }), 3501),
        ("sub_refresh", json!({ "type": 1 }), 3501),
        ("refresh", json!({}), 3501),
        ("send", json!({ "data": 1 }), 3508),
        ("nothing", json!({}), 3501),
    ] {
        let mut client = Client::connect(&daemon, "ann");
        client.send(&[(command, request.clone())]);
        assert_eq!(client.expect_close().0, code, "{command} {request}");
    }
    daemon.stop();
}

#[test]
fn json_always_has_what_applications_read() {
    let daemon = daemon();
    let (mut client, _) = Client::connect_with(&daemon, &json!({}));
    let asked = json!({ "channel": "news" });
    client.subscribe("news");
    for (command, channel, expected) in [
        ("presence_stats", "news", json!({ "num_clients": 1, "num_users": 1 })),
        ("history", "news", json!({ "publications": [], "offset": 0 })),
        ("presence", "news", json!({ "presence": { &client.id: { "user": "", "client": client.id } } })),
    ] {
        let mut result = client.command(command, &json!({ "channel": channel }));
        if command == "history" {
            let epoch = result.as_object_mut().expect("it is an object").remove("epoch");
            assert!(epoch.is_some_and(|epoch| epoch.is_string()));
        }
        assert_eq!(result, expected, "{command}");
    }
    client.command("publish", &json!({ "channel": "news", "data": 1 }));
    let published = client.command("history", &json!({ "channel": "news", "limit": 1 }));
    assert_eq!(published["publications"][0]["info"], json!({ "user": "", "client": client.id }));
    client.command("unsubscribe", &asked);
    daemon.stop();
}

#[test]
fn who_recovers_is_told_that_its_position_is_watched() {
    let daemon = daemon();
    let mut client = Client::connect(&daemon, "ann");
    let told = |result: &Value| (result["recoverable"].clone(), result["positioned"].clone());
    let recoverable = client.command("subscribe", &json!({ "channel": "a", "recoverable": true }));
    assert_eq!(told(&recoverable), (json!(true), json!(true)));
    let positioned = client.command("subscribe", &json!({ "channel": "b", "positioned": true }));
    assert_eq!(told(&positioned), (Value::Null, json!(true)));
    assert_eq!(told(&client.subscribe("c")), (Value::Null, Value::Null));
    daemon.stop();
}
