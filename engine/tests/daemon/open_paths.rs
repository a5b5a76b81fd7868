//! Open paths: `/echo` and `/broadcast`, which ask for no token.
//!
//! In:  what is configured of who connects; the switches; pages of several origins.
//! Out: both paths where nothing is configured or they are switched on, else 404; pages from allowed origins only.

use std::fs;

use holdfast_testkit::{
    Daemon, Launch,
    client::SECRET,
    peer::{Peer, request},
};

/// The unset switch, so that the tests' own does not hold.
const UNSET: &str = "[echo]\n[broadcast]\n";

fn status(daemon: &Daemon, path: &str, fields: &str) -> String {
    let mut peer = Peer::connect(daemon);
    peer.send(request(path).replacen("\r\n\r\n", &format!("\r\n{fields}\r\n"), 1).as_bytes());
    peer.response().0[9..12].to_owned()
}

fn statuses(config: &str) -> [String; 2] {
    let daemon = Daemon::start_on_one_core(config);
    let statuses = ["/echo", "/broadcast"].map(|path| status(&daemon, path, ""));
    daemon.stop();
    statuses
}

#[test]
fn they_are_served_until_something_is_configured_of_who_connects() {
    assert_eq!(statuses(UNSET), ["101", "101"]);
    assert_eq!(statuses(&format!("{UNSET}[client]\nping_interval = '20s'")), ["101", "101"]);
    for config in [
        format!("[client.token]\nhmac_secret_key = '{SECRET}'"),
        "[client.token]\njwks_public_endpoint = 'http://127.0.0.1:1/'".to_owned(),
        format!("[client.subscription_token]\nenabled = true\nhmac_secret_key = '{SECRET}'"),
        "[client]\nallow_anonymous_connect_without_token = true".to_owned(),
        "[[channel.namespaces]]\nname = 'chat'".to_owned(),
        "[channel.without_namespace]\nallow_subscribe_for_client = true".to_owned(),
        "[client.proxy.connect]\nenabled = true\nendpoint = 'http://127.0.0.1:1/'".to_owned(),
        "[rpc.proxy]\nendpoint = 'http://127.0.0.1:1/'\n[rpc.without_namespace]\nproxy_enabled = true"
            .to_owned(),
    ] {
        assert_eq!(statuses(&format!("{UNSET}{config}")), ["404", "404"], "{config}");
    }
}

#[test]
fn a_switch_has_the_last_word() {
    let token = format!("[client.token]\nhmac_secret_key = '{SECRET}'");
    assert_eq!(statuses(&format!("[echo]\nenabled = true\n{token}")), ["101", "404"]);
    assert_eq!(statuses(&format!("[broadcast]\nenabled = true\n{token}")), ["404", "101"]);
    assert_eq!(statuses("[echo]\nenabled = false\n[broadcast]\nenabled = false"), ["404", "404"]);
}

#[test]
fn pages_use_them_only_from_allowed_origins() {
    let daemon = Daemon::start(&format!("{UNSET}[client]\nallowed_origins = ['https://*.example.com']"));
    for path in ["/echo", "/broadcast"] {
        for (fields, expected) in [
            ("", "101"),
            ("Origin: https://a.example.com\r\n", "101"),
            ("Origin: https://evil.example\r\n", "403"),
            ("Origin: null\r\n", "403"),
            ("Origin: \r\n", "403"),
            ("Origin: https://a.example.com\r\nOrigin: https://evil.example\r\n", "400"),
            ("Origin: https://a.example.com\r\nOrigin: https://a.example.com\r\n", "400"),
        ] {
            assert_eq!(status(&daemon, path, fields), expected, "{path} {fields}");
        }
    }
    daemon.stop();
}

#[test]
fn the_log_names_those_that_are_served_and_warns_of_origins_that_anybody_can_have() {
    let log =
        std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("paths-{}", std::process::id()));
    let said = |config: &str| {
        let file = fs::File::create(&log).expect("it can be made");
        let launch = Launch { shards: 1, log: Some(file.into()), ..Launch::default() };
        Daemon::launch(config, launch).stop();
        fs::read_to_string(&log).expect("it can be read")
    };
    let line = "test paths are served without a token";
    let open =
        said(&format!("{UNSET}[client]\nallowed_origins = ['https://app.*', 'https://*.example.com']"));
    assert!(open.contains(line) && open.contains("echo=true broadcast=true"), "{open}");
    assert!(open.contains("https://app.*") && open.contains("anybody can register"), "{open}");
    assert!(!open.contains("\"https://*.example.com\\\" also"), "{open}");
    let closed = said("[echo]\nenabled = false\n[broadcast]\nenabled = false");
    assert!(!closed.contains(line), "{closed}");
    fs::remove_file(log).expect("it is there");
}
