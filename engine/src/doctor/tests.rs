//! Machines that tests describe, judged: each failure, and a machine with nothing to mend.

use std::collections::BTreeMap;

use super::*;
use crate::{
    doctor::findings::{IoUring, Limit},
    memory::cgroup::Cgroup,
};

/// A machine that meets `profile` in everything.
fn machine(profile: Profile) -> Findings {
    Findings {
        kernel: "6.18.44-generic".into(),
        io_uring: IoUring::Works("everything".into()),
        nofile: Limit { soft: 1024, hard: 1_048_576 },
        memlock: Limit { soft: u64::MAX, hard: u64::MAX },
        memory_available_bytes: Some(64 << 30),
        memory_bytes: Some(64 << 30),
        cgroup: None,
        sysctls: profile.settings().into_iter().map(|setting| (setting.key, setting.value)).collect(),
    }
}

fn plan(connections: u64) -> Plan {
    Plan {
        connections,
        shards: 2,
        lanes_configured: 0,
        submission_entries: 1024,
        receive_buffers: 1024,
        receive_buffer_bytes: 4096,
        profile: Profile::for_connections(connections),
    }
}

/// Judges the machine after `change`, and returns the one check named `what`.
fn judged(what: &str, connections: u64, change: impl FnOnce(&mut Findings)) -> Check {
    let plan = plan(connections);
    let mut findings = machine(plan.profile);
    change(&mut findings);
    judge(&findings, &plan).into_iter().find(|check| check.what == what).unwrap()
}

fn assert_fails(check: &Check, found: &str, mend: &str) {
    assert_eq!(check.status, Status::Fail, "{check:?}");
    assert!(check.found.contains(found), "{check:?}");
    assert!(check.mend.as_deref().unwrap().contains(mend), "{check:?}");
}

fn assert_warns(check: &Check, found: &str, mend: &str) {
    assert_eq!(check.status, Status::Warn, "{check:?}");
    assert!(check.found.contains(found), "{check:?}");
    assert!(check.mend.as_deref().unwrap().contains(mend), "{check:?}");
}

#[test]
fn a_machine_that_meets_its_profile_has_nothing_to_mend() {
    for profile in Profile::ALL {
        let mut findings = machine(profile);
        findings.nofile.hard = 2_097_152;
        let checks = judge(&findings, &plan(profile.connections()));
        for check in &checks {
            assert_eq!((check.status, &check.mend), (Status::Ok, &None), "{check:?}");
        }
        assert!(can_serve(&checks));
    }
}

#[test]
fn a_kernel_below_the_floor_is_refused() {
    for kernel in ["5.15.0-91-generic", "6.0.19", "4.19.0"] {
        let check = judged("kernel", 10_000, |machine| machine.kernel = kernel.into());
        assert_fails(&check, kernel, "newer kernel");
    }
    assert_eq!(
        judged("kernel", 10_000, |machine| machine.kernel = "6.1.0-42-amd64".into()).status,
        Status::Ok
    );
    assert_warns(
        &judged("kernel", 10_000, |machine| machine.kernel = "strange".into()),
        "strange",
        "uname -r",
    );
}

#[test]
fn a_disabled_io_uring_is_refused_with_the_sysctl_that_allows_it() {
    for (value, whom) in [(1, "CAP_SYS_ADMIN"), (2, "everyone")] {
        let check = judged("io_uring", 10_000, |machine| machine.io_uring = IoUring::Disabled(value));
        assert_fails(&check, whom, "sysctl -w kernel.io_uring_disabled=0");
    }
}

#[test]
fn a_seccomp_filter_is_named_with_what_to_tell_container_and_systemd() {
    let check = judged("io_uring", 10_000, |machine| machine.io_uring = IoUring::Forbidden);
    assert_fails(&check, "seccomp", "--security-opt seccomp=");
    assert_fails(&check, "EPERM", "SystemCallFilter=@aio");
}

#[test]
fn a_kernel_without_io_uring_is_refused_with_its_answer() {
    let check = judged("io_uring", 10_000, |machine| machine.io_uring = IoUring::TooOld("ENOSYS".into()));
    assert_fails(&check, "ENOSYS", "CONFIG_IO_URING");
    let check = judged("io_uring", 10_000, |machine| machine.io_uring = IoUring::Failed("ENOMEM".into()));
    assert_fails(&check, "ENOMEM", "strace");
}

#[test]
fn a_small_descriptor_limit_is_met_with_more_rings() {
    let check =
        judged("RLIMIT_NOFILE", 100_000, |machine| machine.nofile = Limit { soft: 1024, hard: 20_000 });
    assert_eq!(check.status, Status::Ok, "{check:?}");
    assert!(check.found.contains("20000 gives 4 rings a shard"), "{check:?}");
}

#[test]
fn a_descriptor_limit_too_small_for_any_number_of_rings_is_refused() {
    let check = judged("RLIMIT_NOFILE", 100_000, |machine| machine.nofile = Limit { soft: 256, hard: 256 });
    assert_fails(&check, "more than 256 rings", "LimitNOFILE=63488");
    let check = judged("RLIMIT_NOFILE", 10_000, |machine| machine.nofile = Limit { soft: 0, hard: 0 });
    assert_fails(&check, "0 would need", "ulimit -Hn");
}

#[test]
fn a_limit_that_the_rings_themselves_exceed_is_refused() {
    // 6,506 slots, 40 in a ring: 163 rings a shard, and 2 × (163 × 2 + 16) + 64 descriptors of the process itself.
    let check = judged("RLIMIT_NOFILE", 10_000, |machine| machine.nofile = Limit { soft: 104, hard: 104 });
    assert_fails(&check, "163 rings", "LimitNOFILE=");
    assert!(check.needs.contains("748"), "{check:?}");
}

#[test]
fn configured_rings_that_cannot_hold_the_connections_are_refused() {
    let mut findings = machine(Profile::HundredThousand);
    findings.nofile = Limit { soft: 20_000, hard: 20_000 };
    let judged = |lanes_configured| {
        let plan = Plan { lanes_configured, ..plan(100_000) };
        judge(&findings, &plan).into_iter().find(|check| check.what == "RLIMIT_NOFILE").unwrap()
    };
    assert_fails(&judged(2), "2 rings", "engine.lanes = 0 (or at least 4)");
    assert_warns(&judged(3), "3 rings", "engine.lanes = 0 (or at least 4)");
    assert_eq!(judged(4).status, Status::Ok);
}

#[test]
fn too_little_locked_memory_is_a_warning_with_the_number_to_set() {
    let check =
        judged("RLIMIT_MEMLOCK", 100_000, |machine| machine.memlock = Limit { soft: 65_536, hard: 65_536 });
    assert_warns(&check, "64.0 KiB", "LimitMEMLOCK=1448K");
}

#[test]
fn too_little_memory_is_refused_and_tight_memory_is_a_warning() {
    let with = |bytes| judged("memory", 100_000, |machine| machine.memory_available_bytes = bytes);
    let check = with(Some(300 << 20));
    assert_fails(&check, "300.0 MiB available", "--connections 52000");
    assert!(check.needs.contains("4.4 KB of the kernel and 270 B of the daemon"), "{check:?}");
    assert!(check.needs.contains("load tool"), "{check:?}");
    assert_warns(&with(Some(500 << 20)), "500.0 MiB", "--connections");
    assert_eq!(with(Some(1 << 30)).status, Status::Ok);
    assert_warns(&with(None), "unknown", "free -h");
}

#[test]
fn a_control_group_that_is_too_small_is_refused() {
    let with = |limit_bytes| {
        let used_bytes = 64 << 20;
        judged("cgroup memory limit", 100_000, |machine| {
            machine.cgroup = Some(Cgroup { limit_bytes, used_bytes });
        })
    };
    assert_fails(&with(256 << 20), "192.0 MiB of 256.0 MiB left", "MemoryMax=631M");
    assert_eq!(with(1 << 30).status, Status::Ok);
}

#[test]
fn a_kernel_setting_below_the_profile_is_a_warning_that_never_lowers_its_other_numbers() {
    let set = |key: &str, value: &str| {
        let change = |machine: &mut Findings| drop(machine.sysctls.insert(key.into(), value.into()));
        judged(key, 100_000, change)
    };
    assert_warns(&set("net.core.somaxconn", "128"), "128", "sysctl -w net.core.somaxconn=\"16384\"");
    assert_warns(&set("net.ipv4.tcp_fin_timeout", "60"), "60", "sysctl -w net.ipv4.tcp_fin_timeout=\"20\"");
    assert_eq!(set("net.core.somaxconn", "65535").status, Status::Ok);
    let check = set("net.ipv4.tcp_mem", "500000 1000 2000");
    assert_warns(&check, "500000 1000 2000", "sysctl -w net.ipv4.tcp_mem=\"500000 200000 400000\"");
}

#[test]
fn a_machine_is_never_told_to_give_sockets_more_than_half_of_its_memory() {
    let check = judged("net.ipv4.tcp_mem", 1_000_000, |machine| {
        machine.memory_bytes = Some(8 << 30);
        machine.sysctls.insert("net.ipv4.tcp_mem".into(), "95966 127955 191932".into());
    });
    assert_warns(&check, "95966 127955 191932", "sysctl -w net.ipv4.tcp_mem=\"262144 524288 1048576\"");
}

#[test]
fn a_machine_that_may_open_fewer_files_than_connections_cannot_serve() {
    let change = |machine: &mut Findings| drop(machine.sysctls.insert("fs.file-max".into(), "50000".into()));
    assert_fails(&judged("fs.file-max", 100_000, change), "50000", "sysctl -w fs.file-max=\"500000\"");
}

#[test]
fn a_key_that_this_kernel_does_not_have_is_ok() {
    let check =
        judged("net.netfilter.nf_conntrack_max", 100_000, |machine| machine.sysctls = BTreeMap::new());
    assert_eq!((check.status, check.found.as_str()), (Status::Ok, "not loaded"));
}

#[test]
fn the_report_has_a_line_and_a_command_for_each_check_and_colors_only_when_asked() {
    let plan = plan(100_000);
    let mut findings = machine(plan.profile);
    findings.sysctls.insert("net.core.somaxconn".into(), "128".into());
    findings.io_uring = IoUring::Disabled(2);
    let checks = judge(&findings, &plan);
    let plain = text(&checks, &plan, false);
    assert!(plain.contains("ok    kernel: Linux 6.18.44-generic (needs Linux 6.1 or newer)\n"), "{plain}");
    assert!(
        plain.contains("warn  net.core.somaxconn: 128 (needs >= 16384)\n      fix: sysctl -w"),
        "{plain}"
    );
    assert!(plain.contains("cannot serve 100000 connections on 2 shards"), "{plain}");
    assert!(plain.contains("make sysctl PROFILE=100k APPLY=1"), "{plain}");
    assert!(!plain.contains('\x1b') && text(&checks, &plan, true).contains("\x1b[31mfail"));

    let report: serde_json::Value = serde_json::from_str(&json(&checks, &plan)).unwrap();
    assert_eq!((&report["can_serve"], &report["profile"]), (&false.into(), &"100k".into()));
    assert_eq!(report["checks"].as_array().unwrap().len(), checks.len());
}
