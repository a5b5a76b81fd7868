//! Judge: whether a server is what nodes need.
//!
//! In:  the facts about it.
//! Out: checks: what is, what it means, and what mends it.
//!
//! No I/O: a server that a test describes is judged like a real one. docs/cluster/redis-away.md has the reasons.

use holdfast_redis::{
    look::{Info, Lack, OutputLimit, Role},
    receive::cause::Cause,
};

use super::{
    gather::{Facts, Settings, Wanted},
    place::Place,
};
use crate::{config::units::about_size, doctor::check::Check};

/// At least these versions: ZMSCORE and PUBLISH by ACL; SSUBSCRIBE where it is used.
const REDIS_MIN: (u32, u32) = (6, 2);
const REDIS_MIN_SHARDED: (u32, u32) = (7, 0);
const VALKEY_MIN: (u32, u32) = (7, 2);

/// What may wait for a node that pauses. The default, 32 and 8 MiB, is reached within 2 s at 100,000 messages a second.
const OUTPUT: OutputLimit = OutputLimit { hard_bytes: 256 << 20, soft_bytes: 64 << 20, soft_s: 60 };
const OUTPUT_WORDS: &str = "pubsub 256mb 64mb 60";

/// A node sends something every 5 s.
const TIMEOUT_LEAST_S: u64 = 10;

/// Clocks may differ by so much.
const SKEW_MOST_MS: i64 = 1_000;

/// How a server begins when it forbids something to this user.
const FORBIDDEN: &str = "NOPERM";

/// Names that are shown of what is lacking.
const SHOWN_MAX: usize = 4;

/// Judges a server that did not let us in.
pub(super) fn judge_cause(place: &Place, cause: &Cause) -> Check {
    let (host, port) = (&place.address().host, place.address().port);
    let of = if place.what == "sentinel" { "sentinel_" } else { "" };
    let mend = match cause {
        Cause::Resolve(_) => {
            format!("`getent hosts {host}`; the name in the configuration, or the DNS of this machine")
        }
        Cause::Connect(_) => format!(
            "start it, or let this machine reach it: {}; `bind` in redis.conf; a firewall",
            place.cli("PING")
        ),
        Cause::Tls(_) => format!(
            "engine.redis.tls.server_ca_pem with the authority of its certificate, engine.redis.tls.server_name with its \
             name; a server without TLS needs redis:// and engine.redis.tls.enabled = false; \
             `openssl s_client -connect {host}:{port}` shows what it sends"
        ),
        Cause::Authentication(words) if words.starts_with("NOAUTH") => {
            format!("engine.redis.{of}password, and engine.redis.{of}user where it is not `default`")
        }
        Cause::Authentication(words) if words.starts_with(FORBIDDEN) => {
            place.cli(&format!("ACL SETUSER {} +@connection", place.user()))
        }
        Cause::Authentication(_) => format!(
            "the right engine.redis.{of}user and engine.redis.{of}password; or a new password for the user: {}",
            place.cli(&format!("ACL SETUSER {} on '>PASSWORD'", place.user()))
        ),
        Cause::NotReady(_) => "wait until it has read its data, and try again".to_owned(),
        Cause::Deadline(_) => {
            format!(
                "{}: where that hangs as well, look for a firewall, or a server that hangs",
                place.cli("PING")
            )
        }
        _ => format!(
            "{}; where it speaks TLS: rediss://{}; otherwise its log",
            place.cli("PING"),
            place.address()
        ),
    };
    let cause = cause.to_string();
    place.check("connection", cause, "a server that lets this node in").fail(&mend)
}

/// Judges a server that let us in.
pub(super) fn judge(place: &Place, facts: &Facts, wanted: Wanted<'_>) -> Vec<Check> {
    let mut checks = vec![connection(place), version(place, facts, wanted)];
    checks.extend(kind(place, facts, wanted));
    checks.push(role(place, facts));
    checks.push(rights(place, facts, wanted));
    if let Ok(info) = &facts.info {
        checks.extend(eviction(place, info));
        checks.extend(persistence(place, info, facts.settings.as_ref().ok(), wanted));
    }
    match &facts.settings {
        Ok(settings) => {
            checks.extend(settings.output.map(|limit| output(place, limit)));
            checks.extend(replicas(place, facts, settings));
            checks.extend(settings.timeout_s.map(|timeout_s| timeout(place, timeout_s)));
        }
        Err(words) => checks.push(
            place
                .check(
                    "settings",
                    format!("not readable: {words}"),
                    format!("client-output-buffer-limit {OUTPUT_WORDS}; timeout 0; with replicas min-replicas-to-write 1"),
                )
                .warn(&format!(
                    "look at them where the server is managed; or let this user read them: {}",
                    place.cli(&format!("ACL SETUSER {} '+config|get'", place.user()))
                )),
        ),
    }
    checks.extend(facts.skew_ms.as_ref().ok().map(|skew_ms| clock(place, *skew_ms)));
    checks.push(presence(place, facts, wanted));
    checks.extend(nodes(place, facts, wanted));
    checks
}

fn connection(place: &Place) -> Check {
    let tls = if place.connection.tls.is_some() { "with TLS" } else { "without TLS" };
    let login = match place.connection.credentials {
        Some(_) => format!("logged in as {:?}", place.user()),
        None => "no password asked".to_owned(),
    };
    place.check("connection", format!("{login}, {tls}"), "a server that lets this node in")
}

fn version(place: &Place, facts: &Facts, wanted: Wanted<'_>) -> Check {
    let redis = if wanted.deployment.layout.is_sharded() { REDIS_MIN_SHARDED } else { REDIS_MIN };
    let show = |(major, minor): (u32, u32)| format!("{major}.{minor}");
    let needs = format!("Redis {} or newer, or Valkey {} or newer", show(redis), show(VALKEY_MIN));
    let unknown = |words: &str| {
        let check = place.check("version", format!("unknown: {words}"), needs.clone());
        check.warn(&format!(
            "{}; or let this user ask: {}",
            place.cli("INFO server"),
            place.cli(&format!("ACL SETUSER {} +info", place.user()))
        ))
    };
    let info = match &facts.info {
        Ok(info) => info,
        Err(words) => return unknown(words),
    };
    let Some((name, version)) = info.version() else { return unknown("INFO does not say it") };
    let mut numbers = version.split('.').map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return unknown(version);
    };
    let least = if name == "Valkey" { VALKEY_MIN } else { redis };
    let check = place.check("version", format!("{name} {version}"), needs);
    if (major, minor) >= least {
        return check;
    }
    check.fail(&format!(
        "update the server to {name} {} or newer: `apt install redis-server` on Debian 12 or newer",
        show(least)
    ))
}

/// A node of a cluster that is configured as a server of its own, or the other way round.
fn kind(place: &Place, facts: &Facts, wanted: Wanted<'_>) -> Option<Check> {
    let is_cluster = facts.info.as_ref().ok()?.text("cluster_enabled")? == "1";
    let needs = |kind: &str| format!("{kind}, as it is configured");
    match (is_cluster, wanted.is_of_cluster) {
        (true, false) => Some(
            place
                .check("kind", "a node of a cluster: it refuses the channels of other slots".into(), needs("a server of its own"))
                .fail(&format!("engine.redis.cluster_address = \"{}\" instead of address", place.address())),
        ),
        (false, true) => Some(
            place
                .check("kind", "a server of its own".into(), needs("a node of a cluster"))
                .fail(&format!("engine.redis.address = \"{}\" instead of cluster_address; or cluster-enabled yes in redis.conf", place.address())),
        ),
        _ => None,
    }
}

fn role(place: &Place, facts: &Facts) -> Check {
    let check = |found: String| place.check("role", found, "a primary");
    match &facts.role {
        Ok(Role::Primary { replicas }) => check(format!("primary, {replicas} replicas connected")),
        Ok(Role::Replica { of }) => {
            check(format!("replica of {of}: it takes no writes, so that nothing can be published")).fail(&format!(
                "the primary's address, {of}, in engine.redis.address (or sentinels, which follow it); or {}",
                place.cli("REPLICAOF NO ONE")
            ))
        }
        Ok(Role::Other(role)) => check(format!("{role}: it keeps no data")).fail(
            "engine.redis.sentinel_address for sentinels, engine.redis.address for the server that keeps the data",
        ),
        Err(words) => check(format!("unknown: {words}; a node takes it for no primary"))
            .fail(&place.cli(&format!("ACL SETUSER {} +role", place.user()))),
    }
}

/// What the user may not do.
fn rights(place: &Place, facts: &Facts, wanted: Wanted<'_>) -> Check {
    let (user, prefix) = (place.user(), wanted.deployment.layout.prefix());
    let needs = format!("the rights of docs/cluster/redis-away.md for {prefix}.*");
    let lacks = match &facts.lacks {
        Ok(lacks) => lacks,
        Err(words) => {
            return place
                .check("ACL", format!("not tried: {words}"), needs)
                .warn(&format!("compare by hand: {}", place.cli(&format!("ACL GETUSER {user}"))));
        }
    };
    if lacks.is_empty() {
        return place.check("ACL", format!("{user:?} may do all that a node does"), needs);
    }
    let (mut commands, mut names, mut unknown, mut rules) = (vec![], vec![], vec![], vec![]);
    for lack in lacks {
        let rule = match lack {
            Lack::Command(command) => {
                commands.push(command.to_uppercase());
                format!("+{command}")
            }
            Lack::Key(name) => {
                names.push(format!("key {name}"));
                format!("~{prefix}.*")
            }
            Lack::Channel(name) => {
                names.push(format!("pub/sub channel {name}"));
                format!("&{prefix}.*")
            }
            Lack::Unknown(command) => {
                unknown.push(command.to_uppercase());
                continue;
            }
        };
        let rule = if rule.contains('*') { format!("'{rule}'") } else { rule };
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    let mut found = Vec::new();
    for (kind, of) in
        [("may not run", &commands), ("may not use", &names), ("the server does not know", &unknown)]
    {
        if !of.is_empty() {
            let more = of.len().saturating_sub(SHOWN_MAX);
            let shown = of.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            found.push(format!("{kind} {shown}{more}"));
        }
    }
    let mut mends = Vec::new();
    if !rules.is_empty() {
        let command = format!("ACL SETUSER {user} {}", rules.join(" "));
        mends.push(format!("{}, and the same in users.acl or redis.conf", place.cli(&command)));
    }
    if !unknown.is_empty() {
        mends.push("update the server; take back its `rename-command`".to_owned());
    }
    place
        .check("ACL", format!("{user:?} {}: what needs it fails with error 100", found.join("; ")), needs)
        .fail(&mends.join("; "))
}

fn output(place: &Place, limit: OutputLimit) -> Check {
    let show = |bytes: u64| if bytes == 0 { "no limit".to_owned() } else { about_size(bytes) };
    let (hard, soft) = (show(limit.hard_bytes), show(limit.soft_bytes));
    let is_small = |bytes: u64, least: u64| bytes != 0 && bytes < least;
    let is_cut_off = is_small(limit.hard_bytes, OUTPUT.hard_bytes)
        || limit.soft_s > 0 && is_small(limit.soft_bytes, OUTPUT.soft_bytes)
        || limit.soft_s > 0 && limit.soft_bytes != 0 && limit.soft_s < OUTPUT.soft_s;
    let found = format!("{hard}, or {soft} for {} s", limit.soft_s);
    let needs = format!("client-output-buffer-limit {OUTPUT_WORDS}");
    if !is_cut_off {
        return place.check("output buffer", found, needs);
    }
    let found =
        format!("{found}: a node that pauses for a moment is cut off, and what waits for it is dropped");
    let check = place.check("output buffer", found, needs);
    check.warn(&place.set("client-output-buffer-limit", OUTPUT_WORDS))
}

fn eviction(place: &Place, info: &Info) -> Option<Check> {
    let (max, policy) = (info.number("maxmemory")?, info.text("maxmemory_policy")?);
    let needs = "maxmemory-policy noeviction";
    if max == 0 || policy == "noeviction" {
        let limit = if max == 0 { "no limit of memory".to_owned() } else { about_size(max) };
        return Some(place.check("eviction", format!("{policy}, {limit}"), needs));
    }
    let found = format!(
        "{policy} at {}: it may drop half of a channel, whose subscribers with a position then get code 2500",
        about_size(max)
    );
    Some(place.check("eviction", found, needs).warn(&place.set("maxmemory-policy", "noeviction")))
}

/// What a restart of Redis loses.
fn persistence(place: &Place, info: &Info, settings: Option<&Settings>, wanted: Wanted<'_>) -> Option<Check> {
    let has_file = info.number("aof_enabled")? == 1;
    let save = settings.and_then(|settings| settings.save.as_deref());
    let sync = settings.and_then(|settings| settings.appendfsync.as_deref());
    let needs = "appendonly yes, if histories are to survive a restart";
    let check = |found: &str| place.check("persistence", found.to_owned(), needs);
    let with_file = || place.set("appendonly", "yes");
    Some(match (has_file, sync, save) {
        (true, Some("always"), _) => check("an append-only file, synced always: a restart loses nothing"),
        (true, Some("no"), _) => {
            check("an append-only file that is synced by the kernel: a crash of the machine loses up to 30 s")
                .warn(&place.set("appendfsync", "everysec"))
        }
        (true, ..) => check("an append-only file: a crash of the machine loses about a second"),
        (false, ..) if !wanted.demands.keeps_history => {
            check("no append-only file; no namespace keeps a history, so that a restart loses presence only")
        }
        (false, _, Some("")) => {
            check("none: a restart of Redis loses all histories, and subscribers with a position get code 2500")
                .warn(&with_file())
        }
        (false, ..) => check(
            "snapshots at most: a restart of Redis goes back to the last one, channels get new epochs, and subscribers \
             with a position get code 2500",
        )
        .warn(&with_file()),
    })
}

fn replicas(place: &Place, facts: &Facts, settings: &Settings) -> Option<Check> {
    let (Ok(Role::Primary { replicas }), Some(least)) = (&facts.role, settings.replicas_min) else {
        return None;
    };
    let replicas = *replicas as u64;
    let needs = "min-replicas-to-write 1 where there are replicas";
    let check = |found: String| place.check("replicas", found, needs);
    Some(if least > replicas {
        check(format!("{replicas} connected, min-replicas-to-write {least}: every write is refused")).fail(
            &format!(
                "connect the missing replicas; or {}",
                place.set("min-replicas-to-write", &replicas.to_string())
            ),
        )
    } else if replicas > 0 && least == 0 {
        check(format!(
            "{replicas} connected, min-replicas-to-write 0: a primary that is cut off takes writes that are lost later"
        ))
        .warn(&place.set("min-replicas-to-write", "1"))
    } else {
        check(format!("{replicas} connected, min-replicas-to-write {least}"))
    })
}

fn timeout(place: &Place, timeout_s: u64) -> Check {
    let needs = format!("timeout 0, or {TIMEOUT_LEAST_S} and more");
    let found = if timeout_s == 0 { "none".to_owned() } else { format!("{timeout_s} s") };
    if timeout_s == 0 || timeout_s >= TIMEOUT_LEAST_S {
        return place.check("timeout", found, needs);
    }
    let found = format!("{found}: connections of nodes that are idle for a moment are cut off");
    place.check("timeout", found, needs).warn(&place.set("timeout", "0"))
}

fn clock(place: &Place, skew_ms: i64) -> Check {
    let direction = if skew_ms < 0 { "behind" } else { "ahead of" };
    let seconds = skew_ms.unsigned_abs();
    let found = format!("{}.{:03} s {direction} this machine's", seconds / 1_000, seconds % 1_000);
    let needs = "at most 1 s of difference";
    if seconds <= SKEW_MOST_MS.unsigned_abs() {
        return place.check("clock", found, needs);
    }
    let found =
        format!("{found}: tokens expire, and times of publications are, by another clock than presence");
    place.check("clock", found, needs).warn("`timedatectl set-ntp true` on both machines; `chronyc tracking`")
}

/// By what presence ends.
fn presence(place: &Place, facts: &Facts, wanted: Wanted<'_>) -> Check {
    use holdfast_redis::command::PresenceExpiry;
    let needs = "HEXPIRE (Redis 7.4, Valkey 9) where presence is to cost less";
    let check = |found: &str| place.check("presence", found.to_owned(), needs);
    match (wanted.deployment.commands.presence.expiry, facts.has_field_expiry == Ok(true)) {
        (PresenceExpiry::SortedSet, _) => check("ends by sorted sets, as it is configured"),
        (_, true) => check("ends by fields that expire by themselves"),
        (PresenceExpiry::Auto, false) => check("ends by sorted sets: HEXPIRE is not there"),
        (PresenceExpiry::Field, false) => {
            check("HEXPIRE is not there, though it is configured: nobody is ever present")
                .fail("remove engine.redis.presence_hash_field_ttl, or set it to false")
        }
    }
}

/// Who else is there. For information.
fn nodes(place: &Place, facts: &Facts, wanted: Wanted<'_>) -> Option<Check> {
    let nodes = *facts.nodes.as_ref().ok()?;
    let control = wanted.deployment.layout.control();
    Some(place.check(
        "nodes",
        format!("{nodes} listen to {control}"),
        "the same engine.redis.prefix on all nodes",
    ))
}
