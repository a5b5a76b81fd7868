//! Judge: whether this machine can carry out the plan.
//!
//! In:  the facts about the machine, and the plan.
//! Out: checks, each with the command that mends it if it is not ok.
//!
//! No I/O: a machine that a test describes is judged like a real one.

use super::{
    check::{Check, Status},
    findings::{Findings, IoUring},
    plan::{KERNEL_BYTES_PER_CONNECTION, LANES_MAX, Plan, USER_BYTES_PER_CONNECTION},
    profile::Setting,
};
use crate::{
    config::units::about_size,
    shard::plan::{DESCRIPTORS_RESERVED, lanes_for},
};
use holdfast_ring::KERNEL_FLOOR;

/// Everything that `holdfast doctor` shows, the essential part first.
pub(crate) fn judge(findings: &Findings, plan: &Plan) -> Vec<Check> {
    let mut checks = judge_essentials(findings, plan);
    checks.push(memlock(findings, plan));
    checks.push(memory(findings, plan));
    checks.extend(cgroup(findings, plan));
    let memory_bytes = findings.memory_bytes.unwrap_or(u64::MAX);
    let settings = plan.profile.settings().into_iter().map(|setting| setting.for_memory(memory_bytes));
    checks.extend(settings.map(|setting| sysctl(findings, plan, &setting)));
    checks
}

/// What `holdfast serve` cannot start without.
pub(super) fn judge_essentials(findings: &Findings, plan: &Plan) -> Vec<Check> {
    vec![kernel(findings), io_uring(findings), descriptors(findings, plan)]
}

fn kernel(findings: &Findings) -> Check {
    let (major, minor) = KERNEL_FLOOR;
    let needs = format!("Linux {major}.{minor} or newer");
    let mut numbers = findings.kernel.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let release = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    };
    let check = Check::new("kernel", format!("Linux {}", findings.kernel), needs);
    match release {
        Some(release) if release >= KERNEL_FLOOR => check,
        Some(_) => check.fail(
            "install a newer kernel and restart: `apt install linux-image-amd64` on Debian 13 or newer, \
             `apt install linux-generic-hwe-24.04` on Ubuntu 24.04",
        ),
        None => check.warn("check by hand: `uname -r`"),
    }
}

fn io_uring(findings: &Findings) -> Check {
    let check = |found: &str, needs: &str| Check::new("io_uring", found.to_owned(), needs.to_owned());
    match &findings.io_uring {
        IoUring::Works(features) => check(features, "deferred task work, multishot, direct descriptors"),
        IoUring::Disabled(value) => check(
            &format!("turned off for {} (kernel.io_uring_disabled = {value})", match value {
                1 => "processes without CAP_SYS_ADMIN outside kernel.io_uring_group",
                _ => "everyone",
            }),
            "kernel.io_uring_disabled = 0",
        )
        .fail("sysctl -w kernel.io_uring_disabled=0"),
        IoUring::Forbidden => check(
            "forbidden to this process: a seccomp filter refuses io_uring_setup (EPERM)",
            "a filter that allows io_uring_setup, io_uring_enter and io_uring_register",
        )
        .fail(
            "in a container: run it with `--security-opt seccomp=PROFILE`, a profile that allows these three calls \
             (Kubernetes: securityContext.seccompProfile); under systemd: `SystemCallFilter=@aio` in the unit",
        ),
        IoUring::TooOld(answer) => check(&format!("missing or too old ({answer})"), "the io_uring of Linux 6.1").fail(
            "start a kernel 6.1 or newer that was built with CONFIG_IO_URING=y: `grep IO_URING /boot/config-$(uname -r)`",
        ),
        IoUring::Failed(answer) => {
            check(&format!("cannot be used: {answer}"), "a ring").fail("strace -f -e trace=io_uring_setup holdfast doctor")
        }
    }
}

/// RLIMIT_NOFILE, which `serve` raises to its hard limit, and the rings that follow from it.
fn descriptors(findings: &Findings, plan: &Plan) -> Check {
    let nofile = findings.nofile.hard;
    let wanted = plan.nofile_for_one_lane().next_multiple_of(1024).max(1024);
    let mend = format!(
        "`ulimit -Hn {wanted}` as root before the start, or LimitNOFILE={wanted} in the unit \
         (sysctl/limits.conf and sysctl/holdfast.service have it)"
    );
    let limit_found = |text: &str| format!("{} {text}", show_limit(nofile, u64::to_string));
    let Some(lanes) = plan.lanes(nofile) else {
        let found =
            limit_found(&format!("would need more than {LANES_MAX} rings a shard for {}", connections(plan)));
        return Check::new("RLIMIT_NOFILE", found, format!(">= {wanted}")).fail(&mend);
    };
    let table = nofile.saturating_sub(DESCRIPTORS_RESERVED);
    let slots = lanes.saturating_mul(table);
    let rings = if lanes == 1 { "1 ring".to_owned() } else { format!("{lanes} rings") };
    let found = limit_found(&format!("gives {rings} a shard, {} shards, {}", plan.shards, connections(plan)));
    let check = Check::new("RLIMIT_NOFILE", found, format!(">= {wanted} for one ring a shard"));
    let own = plan.process_descriptors(lanes);
    if own > nofile {
        return Check { needs: format!(">= {own} for the rings themselves"), ..check }.fail(&mend);
    }
    let more_lanes = |check: Check| {
        let lanes = lanes_for(plan.slots_per_shard(), nofile).unwrap_or(LANES_MAX);
        let advice = format!("engine.lanes = 0 (or at least {lanes}) in the configuration; or {mend}");
        (check, advice)
    };
    if slots < plan.connections.div_ceil(plan.shards) {
        let (check, advice) = more_lanes(check);
        return check.fail(&advice);
    }
    if slots < plan.slots_per_shard() {
        let (check, advice) = more_lanes(check);
        return check.warn(&advice);
    }
    check
}

fn memlock(findings: &Findings, plan: &Plan) -> Check {
    let needed = plan.locked_bytes(plan.lanes(findings.nofile.hard).unwrap_or(LANES_MAX));
    let hard = findings.memlock.hard;
    let check = Check::new(
        "RLIMIT_MEMLOCK",
        show_limit(hard, |bytes| about_size(*bytes)),
        format!(">= {}, counted from Linux 6.14 on, without CAP_IPC_LOCK", about_size(needed)),
    );
    if hard >= needed {
        return check;
    }
    let kib = needed.div_ceil(1024);
    check.warn(&format!("`ulimit -Hl {kib}` as root before the start, or LimitMEMLOCK={kib}K in the unit"))
}

fn memory(findings: &Findings, plan: &Plan) -> Check {
    let needed = plan.memory_bytes();
    let needs = format!(
        "{} for {}: {:.1} KB of the kernel and {USER_BYTES_PER_CONNECTION} B of the daemon each; a load tool on the \
         same machine takes the same again",
        about_size(needed),
        connections(plan),
        f64::from(u32::try_from(KERNEL_BYTES_PER_CONNECTION).unwrap_or(u32::MAX)) / 1000.0,
    );
    match findings.memory_available_bytes {
        None => Check::new("memory", "unknown".into(), needs).warn("check by hand: `free -h`"),
        Some(free) => {
            enough(Check::new("memory", format!("{} available", about_size(free)), needs), free, plan)
                .or_mend(&format!(
                    "add memory, or plan fewer connections: `holdfast doctor --connections {}`",
                    fitting(free, plan)
                ))
        }
    }
}

fn cgroup(findings: &Findings, plan: &Plan) -> Option<Check> {
    let group = findings.cgroup?;
    let free = group.free_bytes();
    let found = format!("{} of {} left", about_size(free), about_size(group.limit_bytes));
    let check = Check::new("cgroup memory limit", found, about_size(plan.memory_bytes()));
    let mib = (group.used_bytes + plan.memory_bytes() * 5 / 4).div_ceil(1 << 20);
    let mend = format!("MemoryMax={mib}M in the unit, or `--memory {mib}m` for a container");
    Some(enough(check, free, plan).or_mend(&mend))
}

/// Fails if the plan does not fit into `free`, warns if it takes more than four fifths of that.
fn enough(check: Check, free: u64, plan: &Plan) -> Check {
    let status = match plan.memory_bytes() {
        needed if needed > free => Status::Fail,
        needed if needed > free / 5 * 4 => Status::Warn,
        _ => Status::Ok,
    };
    Check { status, ..check }
}

/// The connections for which four fifths of the memory suffice, rounded down to thousands if there are that many.
fn fitting(free: u64, plan: &Plan) -> u64 {
    let fixed =
        plan.memory_bytes() - plan.connections * (KERNEL_BYTES_PER_CONNECTION + USER_BYTES_PER_CONNECTION);
    let fit =
        (free / 5 * 4).saturating_sub(fixed) / (KERNEL_BYTES_PER_CONNECTION + USER_BYTES_PER_CONNECTION);
    if fit >= 1000 { fit / 1000 * 1000 } else { fit.max(1) }
}

fn sysctl(findings: &Findings, plan: &Plan, setting: &Setting) -> Check {
    let needs = format!("{} {}", setting.better.sign(), setting.value);
    let Some(running) = findings.sysctls.get(&setting.key) else {
        let absent =
            if setting.optional { "not loaded" } else { "not shown here (a container's host has it)" };
        return Check::new(&setting.key, absent.into(), needs);
    };
    let check = Check::new(&setting.key, running.clone(), needs);
    if setting.better.is_met(running, &setting.value) {
        return check;
    }
    let mend = format!("sysctl -w {}=\"{}\"", setting.key, setting.better.merge(running, &setting.value));
    // Every connection is an open file of the machine, in a process's table or in a ring's.
    let is_fatal =
        setting.key == "fs.file-max" && running.parse::<u64>().is_ok_and(|max| max < plan.connections);
    if is_fatal { check.fail(&mend) } else { check.warn(&mend) }
}

fn connections(plan: &Plan) -> String {
    format!("{} connections", plan.connections)
}

fn show_limit(limit: u64, show: impl Fn(&u64) -> String) -> String {
    if limit == u64::MAX { "unlimited".into() } else { show(&limit) }
}
