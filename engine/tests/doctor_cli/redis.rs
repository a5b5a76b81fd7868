//! Redis: what the doctor says of real servers, and that what it says mends them.
//!
//! In:  servers that lack something.
//! Out: a line that says so, with a command after which it does not say so any more.
//!
//! Where there is no `redis-server`, nothing is tested, which is said; where CI=true, that is a failure.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use holdfast_testkit::{
    Daemon, eventually,
    redis::{Certificate, Server},
    skip,
};
use serde_json::Value;

/// A channel with a history, and the settings that nodes want of Redis.
const HISTORY: &str = "[channel.without_namespace]\nhistory_size = 10\nhistory_ttl = \"60s\"\n";
const AS_WANTED: [&str; 7] = [
    "--client-output-buffer-limit",
    "pubsub 256mb 64mb 60",
    "--appendonly",
    "yes",
    "--maxmemory",
    "100mb",
    "--timeout",
];

/// A configuration, in a file that goes with the test.
struct Config(PathBuf);

impl Config {
    fn new(redis: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("holdfast-doctor-{}-{}.toml", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::write(&path, format!("{HISTORY}[engine]\ntype = \"redis\"\n[engine.redis]\n{redis}\n")).unwrap();
        Self(path)
    }

    fn of(server: &Server) -> Self {
        Self::new(&at(server))
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn at(server: &Server) -> String {
    format!("address = \"127.0.0.1:{}\"", server.port)
}

/// What the doctor says.
struct Report {
    checks: Vec<Value>,
    code: Option<i32>,
}

impl Report {
    fn of(config: &Config) -> Self {
        Self::with(config, |_| {})
    }

    fn with(config: &Config, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        holdfast_testkit::forget_configuration(&mut command);
        command.args(["doctor", "--profile", "10k", "--json", "--config"]).arg(&config.0);
        change(&mut command);
        let output = command.output().expect("the program runs");
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        let checks: Vec<Value> = report["checks"].as_array().unwrap().clone();
        assert!(checks.iter().all(|check| (check["status"] == "ok") == check["mend"].is_null()));
        Self { checks, code: output.status.code() }
    }

    /// The checks of a server: what they are about, and how they stand.
    fn all(&self, server: &str) -> Vec<(String, String)> {
        let of = |check: &Value| {
            let about = check["what"].as_str().unwrap().strip_prefix(server)?.trim().to_owned();
            Some((about, check["status"].as_str().unwrap().to_owned()))
        };
        self.checks.iter().filter_map(of).collect()
    }

    /// One check of a server.
    fn one(&self, server: &str, about: &str) -> &Value {
        let what = format!("{server} {about}");
        let found = self.checks.iter().find(|check| check["what"] == what.trim());
        found.unwrap_or_else(|| panic!("no {what}: {:#?}", self.all("")))
    }

    /// Asserts how a check stands, and what it says; returns the command that mends it.
    fn assert(&self, server: &str, about: &str, status: &str, found: &str) -> String {
        let check = self.one(server, about);
        assert_eq!(check["status"], status, "{check}");
        assert!(check["found"].as_str().unwrap().contains(found), "{found}: {check}");
        if status == "fail" {
            assert_eq!(self.code, Some(1));
        }
        check["mend"].as_str().unwrap_or_default().to_owned()
    }
}

fn redis(server: &Server) -> String {
    format!("redis 127.0.0.1:{}", server.port)
}

/// Runs the first command of `redis-cli` that a mend names, as an operator would.
fn mend(server: &Server, mend: &str) {
    let start = format!("`redis-cli -h 127.0.0.1 -p {} ", server.port);
    let command = mend.split(&start).nth(1).unwrap_or_else(|| panic!("no {start}: {mend}"));
    let command = command.split('`').next().unwrap();
    let mut words = Vec::new();
    for (at, part) in command.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part);
        } else {
            words.extend(part.split_whitespace());
        }
    }
    let words: Vec<&[u8]> = words.into_iter().map(str::as_bytes).collect();
    assert_eq!(server.client().ask(&words), "OK", "{command}");
}

#[test]
fn a_server_as_nodes_want_it_has_nothing_to_mend_and_is_left_as_it_is() {
    let Some(server) = Server::start(&[&AS_WANTED[..], &["0"]].concat()) else { return };
    let report = Report::of(&Config::of(&server));
    let about = [
        "connection",
        "version",
        "role",
        "ACL",
        "eviction",
        "persistence",
        "output buffer",
        "replicas",
        "timeout",
        "clock",
        "presence",
        "nodes",
    ];
    let all = report.all(&redis(&server));
    assert_eq!(all, about.map(|about| (about.to_owned(), "ok".to_owned())), "{:#?}", report.checks);
    assert_eq!(server.client().ask(&[b"DBSIZE"]), "0");
    assert!(!server.client().ask(&[b"INFO", b"commandstats"]).contains("cmdstat_xadd"), "nothing was done");
}

#[test]
fn a_node_alone_asks_no_redis() {
    let config = Config::new("address = \"127.0.0.1:1\"");
    let alone = fs::read_to_string(&config.0).unwrap().replace("\"redis\"", "\"memory\"");
    fs::write(&config.0, alone).unwrap();
    assert_eq!(Report::of(&config).all("redis"), []);
}

#[test]
fn where_nothing_listens_or_a_name_is_not_known_it_says_so() {
    let Some(mut server) = Server::start(&[]) else { return };
    let config = Config::of(&server);
    server.end();
    let mend = Report::of(&config).assert(&redis(&server), "connection", "fail", "Connection refused");
    assert!(mend.contains(&format!("redis-cli -h 127.0.0.1 -p {} PING", server.port)), "{mend}");
    let nowhere = Config::new("address = \"redis.invalid:6379\"");
    let mend = Report::of(&nowhere).assert("redis redis.invalid:6379", "connection", "fail", "not resolved");
    assert!(mend.contains("getent hosts redis.invalid"), "{mend}");
}

#[test]
fn a_wrong_password_and_a_missing_one_are_told_apart() {
    let Some(server) = Server::start(&["--requirepass", "right"]) else { return };
    let config = |more: &str| Config::new(&format!("{}\n{more}", at(&server)));
    let report = |more: &str| Report::of(&config(more));
    let name = redis(&server);
    let mend = report("").assert(&name, "connection", "fail", "NOAUTH");
    assert!(mend.starts_with("engine.redis.password"), "{mend}");
    let report_of_wrong = report("password = \"wrong\"");
    let mend = report_of_wrong.assert(&name, "connection", "fail", "WRONGPASS");
    assert!(mend.contains("engine.redis.user and engine.redis.password"), "{mend}");
    assert!(!format!("{:?}", report_of_wrong.checks).contains("wrong\""), "no password is shown");
    report("password = \"right\"").assert(&name, "ACL", "ok", "\"default\" may do all");
}

#[test]
fn what_a_user_may_not_do_is_named_and_the_command_that_is_shown_allows_it() {
    let Some(server) = Server::start(&[]) else { return };
    let mut operator = server.client();
    operator.ask(&[
        b"ACL",
        b"SETUSER",
        b"node",
        b"on",
        b">x",
        b"~other.*",
        b"&other.*",
        b"+@all",
        b"-xadd",
        b"-config",
    ]);
    let config = Config::new(&format!("{}\nuser = \"node\"\npassword = \"x\"", at(&server)));
    let (report, name) = (Report::of(&config), redis(&server));
    let rights = report.assert(&name, "ACL", "fail", "may not run XADD");
    report.assert(&name, "ACL", "fail", "key centrifugo.stream.");
    for rule in ["+xadd", "'~centrifugo.*'", "'&centrifugo.*'"] {
        assert!(rights.contains(rule), "{rights}");
    }
    // CONFIG is not for this user: that is said, and all else is looked at.
    let settings = report.assert(&name, "settings", "warn", "NOPERM");
    report.assert(&name, "eviction", "ok", "noeviction");
    report.assert(&name, "clock", "ok", "s ");
    assert_eq!(operator.ask(&[b"DBSIZE"]), "0");
    mend(&server, &rights);
    mend(&server, &settings);
    let report = Report::of(&config);
    report.assert(&name, "ACL", "ok", "\"node\" may do all");
    report.assert(&name, "output buffer", "warn", "32.0 MiB");
}

#[test]
fn the_rights_that_the_page_gives_are_enough() {
    let Some(server) = Server::start(&[]) else { return };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cluster/redis-away.md");
    let page = fs::read_to_string(page).unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix("user ")).expect("the page has the rights");
    let words = ["ACL", "SETUSER"].into_iter().chain(line.split_whitespace());
    let words: Vec<&[u8]> = words.map(str::as_bytes).collect();
    assert_eq!(server.client().ask(&words), "OK", "{line}");
    let config = format!("{}\nuser = \"holdfast\"\npassword = \"PASSWORD\"", at(&server));
    for more in ["", "presence_user_mapping = true"] {
        let report = Report::of(&Config::new(&format!("{config}\n{more}")));
        report.assert(&redis(&server), "ACL", "ok", "\"holdfast\" may do all");
        report.assert(&redis(&server), "version", "ok", "");
    }
    let Some(cluster) = Server::cluster() else { return };
    for node in &cluster {
        assert_eq!(node.client().ask(&words), "OK", "{line}");
    }
    let login = "user = \"holdfast\"\npassword = \"PASSWORD\"";
    let config = Config::new(&format!("cluster_address = \"127.0.0.1:{}\"\n{login}", cluster[0].port));
    let report = Report::of(&config);
    report.assert(&redis(&cluster[0]), "cluster", "ok", "cluster_state ok");
    for node in &cluster {
        report.assert(&redis(node), "ACL", "ok", "\"holdfast\" may do all");
    }
}

#[test]
fn settings_that_lose_something_are_warned_of_and_the_commands_that_are_shown_mend_them() {
    let lru = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--timeout", "3"];
    let Some(server) = Server::start(&lru) else { return };
    let (config, name) = (Config::of(&server), redis(&server));
    let report = Report::of(&config);
    for (about, found) in [
        ("eviction", "allkeys-lru at 100.0 MiB"),
        ("output buffer", "32.0 MiB, or 8.0 MiB for 60 s"),
        ("persistence", "loses all histories"),
        ("timeout", "3 s"),
    ] {
        mend(&server, &report.assert(&name, about, "warn", found));
    }
    let report = Report::of(&config);
    for about in ["eviction", "output buffer", "persistence", "timeout"] {
        report.assert(&name, about, "ok", "");
    }
    server.client().ask(&[b"CONFIG", b"SET", b"appendonly", b"no", b"save", b"3600 1"]);
    Report::of(&config).assert(&name, "persistence", "warn", "snapshots");
}

#[test]
fn a_replica_is_refused_and_a_primary_with_one_is_told_what_it_may_lose() {
    let Some(primary) = Server::start(&[]) else { return };
    let of = format!("127.0.0.1 {}", primary.port);
    let Some(replica) = Server::start(&["--replicaof", &of]) else { return };
    let report = Report::of(&Config::of(&replica));
    let mend_of_replica = report.assert(&redis(&replica), "role", "fail", "takes no writes");
    assert!(mend_of_replica.contains(&format!("127.0.0.1:{}", primary.port)), "{mend_of_replica}");
    let (config, name) = (Config::of(&primary), redis(&primary));
    eventually("the replica is there", || {
        Report::of(&config).one(&name, "role")["found"] == "primary, 1 replicas connected"
    });
    mend(&primary, &Report::of(&config).assert(&name, "replicas", "warn", "min-replicas-to-write 0"));
    Report::of(&config).assert(&name, "replicas", "ok", "min-replicas-to-write 1");
    drop(replica);
    eventually("it is missed", || Report::of(&config).one(&name, "replicas")["status"] == "fail");
    mend(&primary, &Report::of(&config).assert(&name, "replicas", "fail", "every write is refused"));
    Report::of(&config).assert(&name, "replicas", "ok", "");
}

#[test]
fn each_of_several_servers_is_looked_at_and_one_that_is_away_hides_no_other() {
    let (Some(one), Some(mut other)) = (Server::start(&[]), Server::start(&[])) else { return };
    let config =
        Config::new(&format!("address = [\"127.0.0.1:{}\", \"127.0.0.1:{}\"]", other.port, one.port));
    let report = Report::of(&config);
    report.assert(&redis(&one), "role", "ok", "primary");
    report.assert(&redis(&other), "role", "ok", "primary");
    other.end();
    let report = Report::of(&config);
    report.assert(&redis(&other), "connection", "fail", "refused");
    report.assert(&redis(&one), "role", "ok", "primary");
}

#[test]
fn sentinels_lead_to_the_primary_and_each_is_asked() {
    let Some(primary) = Server::start(&[]) else { return };
    let start = || Server::start_sentinel("main", &primary);
    let (Some(a), Some(b), Some(mut c)) = (start(), start(), start()) else { return };
    let port_of_c = c.port;
    let config = |name: &str| {
        let all = [a.port, b.port, port_of_c].map(|port| format!("127.0.0.1:{port}")).join(",");
        Config::new(&format!("sentinel_address = \"{all}\"\nsentinel_master_name = \"{name}\""))
    };
    let (right, wrong) = (config("main"), config("other"));
    let report = Report::of(&right);
    let address = format!("127.0.0.1:{} is the primary", primary.port);
    for sentinel in [&a, &b, &c] {
        report.assert(&format!("sentinel 127.0.0.1:{}", sentinel.port), "answer", "ok", &address);
    }
    report.assert("sentinels", "", "ok", "3 of 3 name");
    report.assert(&redis(&primary), "role", "ok", "primary");
    let report = Report::of(&wrong);
    let named = format!("sentinel 127.0.0.1:{}", a.port);
    report.assert(&named, "answer", "fail", "it watches no primary named other");
    c.end();
    let report = Report::of(&right);
    report.assert(&format!("sentinel 127.0.0.1:{}", c.port), "connection", "warn", "refused");
    report.assert("sentinels", "", "ok", "2 of 3 name");
    report.assert(&redis(&primary), "ACL", "ok", "");
    let one =
        Config::new(&format!("sentinel_address = \"127.0.0.1:{}\"\nsentinel_master_name = \"main\"", a.port));
    Report::of(&one).assert("sentinels", "", "warn", "1 of 1 name");
    // A list of them would be several primaries.
    let list = Config::new(&format!(
        "sentinel_address = [\"127.0.0.1:{}\", \"127.0.0.1:{}\"]\nsentinel_master_name = \"main\"",
        a.port, b.port
    ));
    let mend =
        Report::of(&list).assert("redis deployments", "", "warn", &format!("127.0.0.1:{}", primary.port));
    assert!(mend.contains("in one text with commas"), "{mend}");
}

#[test]
fn a_cluster_is_looked_at_as_a_whole_and_each_of_its_primaries() {
    let Some([a, b]) = Server::cluster() else { return };
    let config = Config::new(&format!("cluster_address = \"127.0.0.1:{}\"", b.port));
    let report = Report::of(&config);
    report.assert(&redis(&b), "cluster", "ok", "cluster_state ok, 16384 slots covered");
    for node in [&a, &b] {
        report.assert(&redis(node), "role", "ok", "primary");
        report.assert(&redis(node), "ACL", "ok", "may do all");
    }
    let single = Report::of(&Config::of(&a));
    let mend = single.assert(&redis(&a), "kind", "fail", "a node of a cluster");
    assert!(mend.contains("cluster_address"), "{mend}");
    a.client().ask(&[b"CLUSTER", b"DELSLOTS", b"7"]);
    b.client().ask(&[b"CLUSTER", b"DELSLOTS", b"7"]);
    eventually("the cluster fails", || Report::of(&config).one(&redis(&b), "cluster")["status"] == "fail");
    Report::of(&config).assert(&redis(&b), "cluster", "fail", "16383 slots covered");
    let Some(alone) = Server::start(&[]) else { return };
    let no_cluster = Config::new(&format!("cluster_address = \"127.0.0.1:{}\"", alone.port));
    Report::of(&no_cluster).assert(&redis(&alone), "kind", "fail", "a server of its own");
}

#[test]
fn tls_is_spoken_as_nodes_do_and_a_certificate_of_somebody_else_is_refused() {
    let (right, other) = (Certificate::of("redis.test"), Certificate::of("redis.test"));
    let Some(server) = Server::start_tls(&right) else { return };
    let config = |certificate: &Certificate, name: &str| {
        Config::new(&format!(
            "address = \"rediss://127.0.0.1:{}\"\ntls.server_name = \"{name}\"\ntls.server_ca_pem = '''{}'''",
            server.port,
            certificate.pem()
        ))
    };
    let name = redis(&server);
    Report::of(&config(&right, "redis.test")).assert(&name, "connection", "ok", "with TLS");
    for wrong in [config(&other, "redis.test"), config(&right, "other.test")] {
        let mend = Report::of(&wrong).assert(&name, "connection", "fail", "TLS handshake failed");
        assert!(mend.contains("engine.redis.tls.server_ca_pem"), "{mend}");
    }
    let mend = Report::of(&Config::of(&server)).assert(&name, "connection", "fail", "");
    assert!(mend.contains("rediss://"), "{mend}");
}

#[test]
fn nodes_that_listen_are_counted() {
    let Some(server) = Server::start(&[]) else { return };
    let (config, name) = (Config::of(&server), redis(&server));
    Report::of(&config).assert(&name, "nodes", "ok", "0 listen to centrifugo.control");
    let _node = Daemon::start(&format!("[engine]\ntype = \"redis\"\n[engine.redis]\n{}", at(&server)));
    eventually("it listens", || {
        Report::of(&config).one(&name, "nodes")["found"] == "1 listen to centrifugo.control"
    });
}

/// The library that sets another time for one process, where it is installed.
fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path().join("faketime"));
    let library = folders.map(|folder| folder.join("libfaketimeMT.so.1")).find(|path| path.exists());
    if library.is_none() {
        skip("a clock that is wrong", "libfaketime is not installed");
    }
    library
}

#[test]
fn clocks_that_differ_are_warned_of() {
    let (Some(library), Some(server)) = (faketime(), Server::start(&[])) else { return };
    let (config, name) = (Config::of(&server), redis(&server));
    for (shift, found) in [("-300s", "s ahead of this machine's"), ("+300s", "s behind this machine's")] {
        let report = Report::with(&config, |command| {
            command
                .env("LD_PRELOAD", &library)
                .env("FAKETIME", shift)
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        });
        let mend = report.assert(&name, "clock", "warn", found);
        assert!(mend.contains("timedatectl set-ntp true"), "{mend}");
        assert_eq!(report.one(&name, "role")["status"], "ok");
    }
    Report::of(&config).assert(&name, "clock", "ok", "");
}
