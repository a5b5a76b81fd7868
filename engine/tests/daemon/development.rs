//! Development: switches that let everybody in, and the user's own channel.
//!
//! In:  daemons with these switches; clients without tokens, or with tokens that nobody here signed.
//! Out: what they may do.

use holdfast_testkit::{
    Daemon,
    client::{Client, SECRET, token},
};
use serde_json::json;

#[test]
fn an_insecure_daemon_lets_anonymous_clients_do_everything() {
    let daemon = Daemon::start(
        "[client]\ninsecure = true\n\
         [channel.without_namespace]\npresence = true\nhistory_size = 10\nhistory_ttl = '1m'\n",
    );
    let (mut client, _) = Client::connect_with(&daemon, &json!({}));
    for channel in ["news", "$private", "#42"] {
        client.subscribe(channel);
        client.command("publish", &json!({ "channel": channel, "data": {} }));
        client.push();
        client.command("history", &json!({ "channel": channel, "limit": 1 }));
        client.command("presence", &json!({ "channel": channel }));
    }
    assert_eq!(client.error("subscribe", &json!({ "channel": "unknown:channel" })), 102);
    daemon.stop();
}

#[test]
fn a_daemon_that_skips_signatures_still_checks_the_rest_of_a_token() {
    let daemon = Daemon::start(
        "[client]\ninsecure_skip_token_signature_verify = true\n\
         [client.token]\nhmac_secret_key = 'another secret than that of the tests'\naudience = 'us'\n",
    );
    let connect = |claims| json!({ "token": token(&claims) });
    let (_, result) = Client::connect_with(&daemon, &connect(json!({ "sub": "ann", "aud": "us" })));
    assert!(result["client"].is_string());
    let mut late = Client::open(&daemon, "");
    assert_eq!(late.error("connect", &connect(json!({ "sub": "ann", "aud": "us", "exp": 1 }))), 109);
    let mut foreign = Client::open(&daemon, "");
    foreign.send(&[("connect", connect(json!({ "sub": "ann", "aud": "others" })))]);
    assert_eq!(foreign.expect_close().0, 3500);
    daemon.stop();
}

#[test]
fn a_user_hears_the_users_own_channel_over_one_connection() {
    let daemon = Daemon::start(&format!(
        "[client.token]\nhmac_secret_key = '{}'\n\
         [client]\nallow_anonymous_connect_without_token = true\n\
         [client.subscribe_to_user_personal_channel]\nenabled = true\npersonal_channel_namespace = 'personal'\n\
         single_connection = true\n[[channel.namespaces]]\nname = 'personal'\n",
        SECRET
    ));
    let request = json!({ "token": token(&json!({ "sub": "ann" })) });
    let (first, result) = Client::connect_with(&daemon, &request);
    assert!(result["subs"]["personal:#ann"].is_object(), "{result}");
    let (_second, result) = Client::connect_with(&daemon, &request);
    assert!(result["subs"]["personal:#ann"].is_object(), "{result}");
    assert_eq!(first.expect_close().0, 3504, "one connection of a user is enough");
    let (_nobody, result) = Client::connect_with(&daemon, &json!({}));
    assert!(result.get("subs").is_none(), "{result}");
    daemon.stop();
}
