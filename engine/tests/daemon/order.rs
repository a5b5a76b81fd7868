//! Order: commands about one channel that come in one frame are done one after the other.
//!
//! In:  frames in which a client comes to a channel and leaves it again, with the channel's home on any core.
//! Out: for each command what it alone would be answered, and in the end what the last one says.

use std::time::Duration;

use holdfast_testkit::{
    Daemon,
    app::{App, Reply},
    client::{Client, SECRET},
    peer::text,
};
use serde_json::{Value, json};

fn config(more: &str) -> String {
    format!(
        "[engine]\nshards = 2\n[client.token]\nhmac_secret_key = '{SECRET}'\n\
         [channel.without_namespace]\npresence = true\nallow_presence_for_subscriber = true\n\
         history_size = 10\nhistory_ttl = '1m'\nforce_recovery = true\n\
         allow_subscribe_for_client = true\nallow_publish_for_client = true\n{more}"
    )
}

const COME: char = 's';
const LEAVE: char = 'u';

/// Sends these in one frame, and then something that only a subscriber may do. Returns the errors in order, 0 for none.
fn change(client: &mut Client, channel: &str, changes: &str) -> Vec<u64> {
    let about = json!({ "channel": channel });
    let names = changes.chars().map(|change| match change {
        COME => "subscribe",
        LEAVE => "unsubscribe",
        other => panic!("no such change: {other}"),
    });
    let commands: Vec<(&str, Value)> =
        names.chain(["presence_stats"]).map(|name| (name, about.clone())).collect();
    let first = client.send(&commands);
    let mut replies: Vec<Value> = commands.iter().map(|_| client.message()).collect();
    replies.sort_by_key(|reply| reply["id"].as_u64());
    assert!(replies.iter().zip(u64::from(first)..).all(|(reply, id)| reply["id"] == id), "{replies:?}");
    replies.iter().map(|reply| reply["error"]["code"].as_u64().unwrap_or(0)).collect()
}

#[test]
fn a_change_of_mind_in_one_frame_is_done_in_its_order() {
    let daemon = Daemon::start(&config(""));
    let mut client = Client::connect(&daemon, "ann");
    for at in 0..10 {
        for (changes, errors) in [
            ("su", &[0, 0, 103][..]),
            ("us", &[0, 0, 0]),
            ("uu", &[0, 0, 103]),
            ("susus", &[0, 0, 0, 0, 0, 0]),
            ("ssuus", &[0, 105, 0, 0, 0, 0]),
            ("sususu", &[0, 0, 0, 0, 0, 0, 103]),
        ] {
            let channel = format!("{changes}{at}");
            assert_eq!(change(&mut client, &channel, changes), errors, "{channel}");
            let about = json!({ "channel": channel });
            if changes.ends_with(COME) {
                let members = client.command("presence_stats", &about);
                assert_eq!(members["num_clients"], 1, "{channel}");
                client.command("publish", &json!({ "channel": channel, "data": at }));
                assert_eq!(client.push()["pub"]["data"], at, "{channel} is heard, once");
                client.command("unsubscribe", &about);
            }
        }
    }
    daemon.stop();
}

#[test]
fn garbage_behind_a_command_that_waits_ends_the_session_when_that_is_answered() {
    let daemon = Daemon::start(&config(""));
    for at in 0..10 {
        let mut client = Client::connect(&daemon, "ann");
        let lines = [
            json!({ "id": 2, "subscribe": { "channel": format!("c{at}") } }).to_string(),
            json!({ "id": 3, "unsubscribe": { "channel": format!("c{at}") } }).to_string(),
            "nonsense".to_owned(),
            json!({ "id": 4, "publish": { "channel": "c", "data": 1 } }).to_string(),
        ];
        client.peer().send(&text(&lines.join("\n")));
        client.peer().send(&text(&lines[3]));
        let ids: Vec<_> = (0..2).map(|_| client.message()["id"].clone()).collect();
        assert_eq!(ids, [2, 3]);
        assert_eq!(client.expect_close().0, 3501);
    }
    daemon.stop();
}

#[test]
fn a_subscription_that_the_backend_decides_about_is_made_before_it_ends() {
    let app = App::start();
    let proxy = format!("[channel.proxy.subscribe]\nendpoint = '{}'\n", app.url("/subscribe"));
    let asked = "[[channel.namespaces]]\nname = 'asked'\nsubscribe_proxy_enabled = true\n\
                 presence = true\nallow_presence_for_subscriber = true\n";
    let daemon = Daemon::start(&config(&format!("{proxy}{asked}")));
    let mut client = Client::connect(&daemon, "ann");
    app.answer("/subscribe", &json!({ "result": {} }));
    assert_eq!(change(&mut client, "asked:1", "su"), [0, 0, 103]);
    assert_eq!(
        change(&mut client, "asked:2", "susus"),
        [0, 0, 0, 0, 0, 103],
        "the last is being asked about"
    );
    app.answer("/subscribe", &json!({ "error": { "code": 1000, "message": "no" } }));
    assert_eq!(change(&mut client, "asked:3", "sus"), [1000, 0, 1000, 103]);
    let failure = Reply { status: 500, body: "{}".to_owned(), after: Duration::ZERO };
    app.answer_with("/subscribe", failure);
    assert_eq!(change(&mut client, "asked:4", "su"), [100, 0, 103], "the failure is ours");
    daemon.stop();
}
