//! Bad input: everything that a client of the protocol can get wrong, while another one looks on.
//!
//! In:  wrong commands, wrong bytes, wrong tokens, wrong keys.
//! Out: the code of the protocol's list and a reason; and a bystander who notices nothing.

use data_encoding::BASE64URL_NOPAD;
use holdfast_testkit::{
    Daemon,
    client::{Client, SECRET, token},
    peer::{CLOSE, Frame, Peer, binary, text},
};
use serde_json::{Value, json};

const FAR_S: u64 = 4_000_000_000;

fn start() -> Daemon {
    Daemon::start(&format!(
        "[client]\nchannel_limit = 2\n[client.token]\nhmac_secret_key = '{SECRET}'\naudience = 'phones'\n\
         [websocket]\nmessage_size_limit = '8KiB'\n[http_api]\nkey = 'right'\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true\nallow_publish_for_subscriber = true\n\
         allow_user_limited_channels = true"
    ))
}

fn claims(more: &Value) -> Value {
    let mut claims = json!({ "sub": "ann", "aud": "phones", "exp": FAR_S });
    let members = more.as_object().expect("an object").clone();
    claims.as_object_mut().expect("an object").extend(members);
    claims
}

fn connect() -> Value {
    json!({ "token": token(&claims(&json!({}))) })
}

/// Somebody who hears a channel and must go on hearing it.
struct Bystander {
    client: Client,
    heard: u32,
}

impl Bystander {
    fn new(daemon: &Daemon) -> Self {
        let mut client = Client::connect_with(daemon, &connect()).0;
        client.subscribe("street");
        Self { client, heard: 0 }
    }

    fn notices_nothing(&mut self) {
        self.heard += 1;
        self.client.command("publish", &json!({ "channel": "street", "data": self.heard }));
        assert_eq!(self.client.push()["pub"]["data"], self.heard);
    }
}

/// How a session ends that says this and nothing else.
fn ends_with(daemon: &Daemon, path: &str, bytes: &[u8]) -> (u16, String) {
    let mut peer = Peer::open(daemon, path);
    peer.send(bytes);
    let Frame { opcode, payload } = peer.frame();
    assert_eq!(opcode, CLOSE, "{:?}", String::from_utf8_lossy(&payload));
    let code = u16::from_be_bytes([payload[0], payload[1]]);
    (code, String::from_utf8(payload[2..].to_vec()).expect("a reason is text"))
}

#[test]
fn frames_that_break_the_protocol_end_their_session_with_its_code() {
    let daemon = start();
    let mut bystander = Bystander::new(&daemon);
    let (json_path, protobuf_path) = ("/connection/websocket", "/connection/websocket?cf_protocol=protobuf");
    let cases = [
        (json_path, text(r#"{"id":1,"subscribe":{"channel":"street"}}"#), 3501),
        (json_path, text(r#"{"id":0,"connect":{}}"#), 3501),
        (json_path, text(r#"{"id":1,"nonsense":{}}"#), 3501),
        (json_path, text(r#"{"id":1,"connect":"#), 3501),
        (json_path, text("not JSON"), 3501),
        (json_path, text("[]"), 3501),
        (json_path, text(""), 3501),
        (json_path, text("{}"), 3501),
        (json_path, text(&format!(r#"{{"id":1,"connect":{}{}}}"#, "[".repeat(3000), "]".repeat(3000))), 3501),
        // A length of eleven bytes; a length beyond the frame; a field that ends early.
        (protobuf_path, binary(&[0xff; 11]), 3501),
        (protobuf_path, binary(&[0x7f, 0x08]), 3501),
        (protobuf_path, binary(&[0x02, 0x08, 0x80]), 3501),
        (json_path, text(&"x".repeat(8193)), 1009),
    ];
    for (path, bytes, expected) in cases {
        let (code, reason) = ends_with(&daemon, path, &bytes);
        assert_eq!(code, expected, "{:?}: {reason}", String::from_utf8_lossy(&bytes));
        assert!(reason.len() > 5, "it says why: {reason:?}");
        bystander.notices_nothing();
    }
    daemon.stop();
}

#[test]
fn commands_that_cannot_be_done_are_answered_and_the_session_goes_on() {
    let daemon = start();
    let mut bystander = Bystander::new(&daemon);
    let mut client = Client::connect_with(&daemon, &connect()).0;
    let street = json!({ "channel": "street" });
    let cases = [
        ("subscribe", json!({ "channel": "nowhere:1" }), 102),
        ("subscribe", json!({ "channel": "$private" }), 103),
        ("subscribe", json!({ "channel": "club#bob" }), 103),
        ("subscribe", json!({ "channel": "x".repeat(256) }), 107),
        ("publish", json!({ "channel": "street", "data": {} }), 103),
        ("publish", json!({ "channel": "street" }), 107),
        ("presence", street.clone(), 108),
        ("history", street.clone(), 108),
        ("rpc", json!({ "method": "any", "data": {} }), 108),
    ];
    for (command, request, expected) in cases {
        assert_eq!(client.error(command, &request), expected, "{command} {request}");
    }
    client.subscribe("a");
    client.subscribe("b");
    assert_eq!(client.error("subscribe", &json!({ "channel": "a" })), 105);
    assert_eq!(client.error("subscribe", &json!({ "channel": "c" })), 106);
    bystander.notices_nothing();
    daemon.stop();
}

#[test]
fn tokens_that_are_not_good_are_refused_each_for_its_reason() {
    let daemon = start();
    let mut bystander = Bystander::new(&daemon);
    let good = token(&claims(&json!({})));
    let (signed, signature) = good.rsplit_once('.').expect("a token has parts");
    let payload = signed.split('.').nth(1).expect("a token has parts");
    let header = |json: &str| BASE64URL_NOPAD.encode(json.as_bytes());
    let refused = [
        ("a changed signature", format!("{signed}.{}A", &signature[..signature.len() - 1])),
        ("no signature", format!("{signed}.")),
        ("the algorithm none", format!("{}.{payload}.", header(r#"{"alg":"none"}"#))),
        ("the algorithm None", format!("{}.{payload}.{signature}", header(r#"{"alg":"None"}"#))),
        ("an algorithm without a key", format!("{}.{payload}.{signature}", header(r#"{"alg":"RS256"}"#))),
        ("another audience", token(&claims(&json!({ "aud": "others" })))),
        ("no token at all", "...".to_owned()),
    ];
    for (what, token) in refused {
        let mut client = Client::open(&daemon, "");
        client.send(&[("connect", json!({ "token": token }))]);
        assert_eq!(client.expect_close().0, 3500, "{what}");
    }
    // These were good, or will be: the client may come with another one.
    for time in [json!({ "exp": 1 }), json!({ "nbf": FAR_S })] {
        let mut client = Client::open(&daemon, "");
        assert_eq!(client.error("connect", &json!({ "token": token(&claims(&time)) })), 109, "{time}");
    }
    bystander.notices_nothing();
    daemon.stop();
}

#[test]
fn the_server_api_does_nothing_for_who_has_no_key() {
    let daemon = start();
    let mut bystander = Bystander::new(&daemon);
    let publish = r#"{"channel":"street","data":"forged"}"#;
    for fields in ["", "X-API-Key: wrong\r\n", "X-API-Key: righ\r\n", "Authorization: apikey\r\n"] {
        let (head, _) = daemon.request("POST", "/api/publish", fields, publish);
        assert!(head.starts_with("HTTP/1.1 401 "), "{fields}: {head}");
    }
    bystander.notices_nothing();
    daemon.stop();
}
