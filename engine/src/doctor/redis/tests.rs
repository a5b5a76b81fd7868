//! Servers that tests describe, judged: what no real server at hand is.

use holdfast_redis::{
    command::PresenceExpiry,
    look::{Info, Lack, OutputLimit, Role},
    receive::{cause::Cause, connection::Address},
};

use super::{
    gather::{Demands, Facts, Settings, Wanted},
    judge::{judge, judge_cause},
    place::Place,
};
use crate::{
    broker::Deployment,
    config::tests::from_file,
    doctor::check::{Check, Status},
};

fn deployment(options: &str) -> Deployment {
    let content = format!("[engine]\ntype = \"redis\"\n[engine.redis]\n{options}");
    Deployment::all(&from_file("toml", &content).unwrap()).unwrap().remove(0)
}

/// A server with nothing to mend.
fn facts(info: &str) -> Facts {
    let info = format!("cluster_enabled:0\nmaxmemory:0\nmaxmemory_policy:noeviction\naof_enabled:1\n{info}");
    Facts {
        info: Ok(Info::of(&info)),
        role: Ok(Role::Primary { replicas: 0 }),
        settings: Ok(Settings {
            output: Some(OutputLimit { hard_bytes: 0, soft_bytes: 0, soft_s: 0 }),
            save: Some(String::new()),
            appendfsync: Some("everysec".into()),
            replicas_min: Some(0),
            timeout_s: Some(0),
        }),
        skew_ms: Ok(0),
        lacks: Ok(Vec::new()),
        has_field_expiry: Ok(true),
        nodes: Ok(1),
    }
}

/// Judges it after `change`, with these options of `engine.redis`, and returns the check of that property.
fn judged(about: &str, options: &str, change: impl FnOnce(&mut Facts)) -> Check {
    let deployment = deployment(options);
    let mut facts = facts("redis_version:7.4.1");
    change(&mut facts);
    let place = place(&deployment);
    let demands = Demands { keeps_history: true, limits_connections: false };
    let wanted = Wanted { deployment: &deployment, demands, is_of_cluster: false };
    let mut checks = judge(&place, &facts, wanted).into_iter();
    checks.find(|check| check.what.ends_with(&format!(" {about}"))).unwrap_or_else(|| panic!("no {about}"))
}

fn place(deployment: &Deployment) -> Place {
    Place::of("redis", &deployment.link.connection, &deployment.link.connection.address.clone())
}

#[test]
fn versions_are_compared_with_what_is_used() {
    let version = |options: &str, info: &'static str| {
        judged("version", options, |of| of.info = facts(info).info).status
    };
    let sharded = "cluster_address = \"a:1\"\nsharded_pub_sub_partitions = 16";
    for (options, info, status) in [
        ("", "redis_version:6.0.16", Status::Fail),
        ("", "redis_version:6.2.0", Status::Ok),
        ("", "redis_version:10.0.0", Status::Ok),
        ("", "redis_version:7.2.4\nvalkey_version:9.1.2", Status::Ok),
        ("", "redis_version:7.2.4\nvalkey_version:7.1.0", Status::Fail),
        (sharded, "redis_version:6.2.14", Status::Fail),
        (sharded, "redis_version:7.0.0", Status::Ok),
        ("", "redis_version:new", Status::Warn),
        ("", "", Status::Warn),
    ] {
        assert_eq!(version(options, info), status, "{options} {info}");
    }
    let unknown = judged("version", "", |of| of.info = Err("NOPERM no".into()));
    assert!(unknown.status == Status::Warn && unknown.found.contains("NOPERM no"), "{unknown:?}");
}

#[test]
fn an_output_buffer_without_a_limit_cuts_off_nobody() {
    let limit = |hard_mib: u64, soft_mib: u64, soft_s| {
        let limit = OutputLimit { hard_bytes: hard_mib << 20, soft_bytes: soft_mib << 20, soft_s };
        judged("output buffer", "", |of| {
            of.settings = Ok(Settings { output: Some(limit), ..Settings::default() });
        })
        .status
    };
    for wide in [(0, 0, 0), (256, 64, 60), (512, 0, 0), (0, 128, 90), (256, 1, 0)] {
        assert_eq!(limit(wide.0, wide.1, wide.2), Status::Ok, "{wide:?}");
    }
    for small in [(32, 8, 60), (255, 64, 60), (256, 63, 60), (256, 64, 10)] {
        assert_eq!(limit(small.0, small.1, small.2), Status::Warn, "{small:?}");
    }
}

#[test]
fn a_clock_may_differ_by_a_second() {
    for (skew_ms, status, found) in [
        (1_000, Status::Ok, "1.000 s ahead of"),
        (-999, Status::Ok, "0.999 s behind"),
        (1_001, Status::Warn, "1.001 s ahead of"),
        (-90_000, Status::Warn, "90.000 s behind"),
    ] {
        let check = judged("clock", "", |of| of.skew_ms = Ok(skew_ms));
        assert!(check.status == status && check.found.starts_with(found), "{check:?}");
    }
}

#[test]
fn presence_that_is_configured_as_the_server_cannot_have_it_fails() {
    let presence = |options: &str, has: bool| judged("presence", options, |of| of.has_field_expiry = Ok(has));
    assert_eq!(presence("presence_hash_field_ttl = true", false).status, Status::Fail);
    for (options, has) in
        [("presence_hash_field_ttl = true", true), ("presence_hash_field_ttl = false", false), ("", false)]
    {
        assert_eq!(presence(options, has).status, Status::Ok, "{options}");
    }
    let commands = deployment("presence_hash_field_ttl = true").commands;
    assert_eq!(commands.presence.expiry, PresenceExpiry::Field);
}

#[test]
fn many_missing_rights_are_counted_and_each_rule_is_shown_once() {
    let lacks = (0..9).map(|n| Lack::Key(format!("centrifugo.{n}")));
    let lacks = lacks.chain([Lack::Command("time".into()), Lack::Unknown("zmscore".into())]);
    let check = judged("ACL", "user = \"node\"\npassword = \"p\"", |of| of.lacks = Ok(lacks.collect()));
    assert_eq!(check.status, Status::Fail);
    assert!(check.found.contains("may not run TIME; may not use key centrifugo.0"), "{check:?}");
    assert!(check.found.contains("and 5 more; the server does not know ZMSCORE"), "{check:?}");
    let mend = check.mend.unwrap();
    assert!(mend.contains("ACL SETUSER node '~centrifugo.*' +time`"), "{mend}");
    assert!(mend.contains("update the server"), "{mend}");
    let untried = judged("ACL", "", |of| of.lacks = Err("ERR no MULTI here".into()));
    assert!(untried.status == Status::Warn && untried.found.contains("no MULTI here"), "{untried:?}");
}

#[test]
fn what_a_restart_loses_is_said_of_each_setting() {
    let of = |aof: &'static str, sync: &str, save: &str| {
        judged("persistence", "", |of| {
            of.info = Ok(Info::of(aof));
            let (save, sync) = (Some(save.to_owned()), Some(sync.to_owned()));
            of.settings = Ok(Settings { save, appendfsync: sync, ..Settings::default() });
        })
    };
    for (aof, sync, save, status, found) in [
        ("aof_enabled:1", "always", "", Status::Ok, "loses nothing"),
        ("aof_enabled:1", "everysec", "", Status::Ok, "about a second"),
        ("aof_enabled:1", "no", "", Status::Warn, "up to 30 s"),
        ("aof_enabled:0", "everysec", "", Status::Warn, "loses all histories"),
        ("aof_enabled:0", "everysec", "3600 1", Status::Warn, "snapshots"),
    ] {
        let check = of(aof, sync, save);
        assert!(check.status == status && check.found.contains(found), "{check:?}");
    }
}

#[test]
fn a_closed_door_is_explained_by_what_closed_it() {
    let place = place(&deployment("address = \"redis.test:1\""));
    for (cause, mend) in [
        (Cause::Authentication("NOPERM no".into()), "ACL SETUSER default +@connection"),
        (Cause::NotReady("LOADING".into()), "wait"),
        (Cause::Deadline("PING"), "firewall"),
        (Cause::Closed, "rediss://redis.test:1"),
    ] {
        let check = judge_cause(&place, &cause);
        assert!(check.status == Status::Fail && check.found == cause.to_string(), "{check:?}");
        assert!(check.mend.as_deref().unwrap().contains(mend), "{check:?}");
    }
    let sentinel = Place { what: "sentinel", ..place };
    let check = judge_cause(&sentinel, &Cause::Authentication("NOAUTH".into()));
    assert!(check.mend.unwrap().starts_with("engine.redis.sentinel_password"));
}

#[test]
fn a_server_that_says_little_is_judged_by_what_it_says() {
    let no = || Err("ERR unknown command".to_owned());
    let of = Address { host: "a.test".into(), port: 1 };
    let check = judged("role", "", |facts| {
        *facts = Facts {
            info: Err("ERR unknown command".into()),
            role: Ok(Role::Replica { of }),
            settings: Err("ERR unknown command".into()),
            skew_ms: no(),
            lacks: Err("ERR unknown command".into()),
            has_field_expiry: Ok(false),
            nodes: Err("ERR unknown command".into()),
        };
    });
    assert!(check.status == Status::Fail && check.found.starts_with("replica of a.test:1"), "{check:?}");
    let other = judged("role", "", |facts| facts.role = Ok(Role::Other("sentinel".into())));
    assert!(other.mend.unwrap().contains("engine.redis.sentinel_address"));
}
