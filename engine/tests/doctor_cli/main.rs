//! `holdfast doctor` on the machine at hand, the profiles against its kernel, and real servers of Redis.

mod redis;

use holdfast::{Better, Profile, Setting, sysctl};
use serde_json::Value;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;

/// A profile's settings for this machine's memory, as the doctor and the script both take them.
fn settings(profile: Profile) -> Vec<Setting> {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    let kib: u64 = total.split_whitespace().next().unwrap().parse().unwrap();
    profile.settings().into_iter().map(|setting| setting.for_memory(kib * 1024)).collect()
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    holdfast_testkit::forget_configuration(&mut command);
    command.args(arguments).env_remove("APPLY").output().expect("the program runs")
}

fn doctor(arguments: &[&str]) -> Output {
    run(env!("CARGO_BIN_EXE_holdfast"), &[&["doctor"], arguments].concat())
}

#[test]
fn every_line_has_a_status_and_every_other_than_ok_a_command() {
    let output = doctor(&["--profile", "100k"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines().peekable();
    for what in ["kernel: Linux ", "io_uring: ", "RLIMIT_NOFILE: ", "RLIMIT_MEMLOCK: ", "memory: "] {
        assert!(text.contains(what), "{what:?} is not in: {text}");
    }
    while let Some(line) = lines.next() {
        if line.starts_with("warn ") || line.starts_with("fail ") {
            assert!(
                lines.peek().is_some_and(|next| next.starts_with("      fix: ")),
                "no command after {line:?}"
            );
        }
    }
    assert!(!text.contains('\x1b'), "colors without a terminal");
    assert_eq!(output.status.code(), Some(i32::from(!text.contains("\ncan serve 100000 connections"))));
}

#[test]
fn json_says_the_same_as_the_exit_code() {
    for profile in ["10k", "100k", "1m"] {
        let output = doctor(&["--profile", profile, "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["profile"], profile);
        assert_eq!(output.status.success(), report["can_serve"].as_bool().unwrap());
        let checks = report["checks"].as_array().unwrap();
        assert_eq!(output.status.success(), checks.iter().all(|check| check["status"] != "fail"));
        assert!(checks.iter().all(|check| (check["status"] == "ok") == check["mend"].is_null()));
    }
}

#[test]
fn more_connections_than_any_machine_has_memory_for_cannot_be_served() {
    let output = doctor(&["--connections", "16000000", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let memory = report["checks"].as_array().unwrap().iter().find(|check| check["what"] == "memory").unwrap();
    // 16,000,000 × 4,670 bytes are 70 GiB: a machine with more may well say ok.
    assert_eq!(report["connections"], 16_000_000);
    assert!(memory["needs"].as_str().unwrap().contains("69.6 GiB"), "{memory}");
    assert_eq!(output.status.success(), report["can_serve"].as_bool().unwrap());
}

#[test]
fn apply_shows_a_table_and_touches_nothing_unless_told() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sysctl/apply");
    for profile in Profile::ALL {
        let before: Vec<_> = profile.settings().iter().map(|setting| sysctl(&setting.key)).collect();
        let output = run(script.to_str().unwrap(), &[profile.name()]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        for setting in settings(profile) {
            let row =
                text.lines().find(|line| line.split(' ').next() == Some(&setting.key)).unwrap_or_default();
            let Some(running) = sysctl(&setting.key) else {
                assert!(row.contains("not on this kernel"), "{row}");
                continue;
            };
            // The script and the doctor agree on what to set.
            let expected = match setting.better.is_met(&running, &setting.value) {
                true => "none: ".to_owned(),
                false => format!("set {}", setting.better.merge(&running, &setting.value)),
            };
            assert!(row.contains(&expected), "{expected:?} is not in {row:?}");
        }
        let after: Vec<_> = profile.settings().iter().map(|setting| sysctl(&setting.key)).collect();
        assert_eq!(before, after);
    }
    let printed = Command::new(&script).arg("1m").env("PRINT", "1").env_remove("APPLY").output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    for setting in settings(Profile::Million) {
        let Some(running) = sysctl(&setting.key) else { continue };
        let line = format!("{} = {}", setting.key, setting.better.merge(&running, &setting.value));
        assert!(
            printed.lines().any(|printed| printed.trim_start_matches('-') == line),
            "{line:?} is not in {printed}"
        );
    }
    assert_eq!(run(script.to_str().unwrap(), &["5k"]).status.code(), Some(2));
}

/// Held while kernel settings are written: the kernel frees the name when its holder ends, however it ends.
fn lock_kernel_settings() -> UnixListener {
    let name = SocketAddr::from_abstract_name("holdfast-test-sysctl").unwrap();
    for _ in 0..600 {
        match UnixListener::bind_addr(&name) {
            Ok(lock) => return lock,
            Err(_) => sleep(Duration::from_millis(100)),
        }
    }
    panic!("another test has held the kernel settings for a minute");
}

/// Puts the old value back, also when the test fails in between.
struct Restore {
    file: PathBuf,
    value: String,
}

impl Drop for Restore {
    fn drop(&mut self) {
        let _ = fs::write(&self.file, &self.value);
    }
}

/// Writes the profile's value, or the running one where that is better: never makes the machine worse,
/// since others may be using it. The old value is back before this returns.
fn try_value(setting: &Setting) {
    let file = Path::new("/proc/sys").join(setting.key.replace('.', "/"));
    let running = sysctl(&setting.key).expect("the key exists");
    let value = match setting.better {
        Better::Lower => setting.value.clone(),
        better => better.merge(&running, &setting.value),
    };
    let restore = Restore { file, value: running.clone() };
    fs::write(&restore.file, &value).unwrap_or_else(|e| panic!("{} = {value}: {e}", setting.key));
    let accepted = sysctl(&setting.key);
    drop(restore);
    assert_eq!(accepted.as_deref(), Some(value.as_str()), "{}", setting.key);
    assert_eq!(sysctl(&setting.key).as_deref(), Some(running.as_str()), "{} is not restored", setting.key);
}

#[test]
fn the_running_kernel_knows_every_key_and_takes_every_value() {
    let _lock = lock_kernel_settings();
    for profile in Profile::ALL {
        for setting in settings(profile) {
            let file = Path::new("/proc/sys").join(setting.key.replace('.', "/"));
            if !file.exists() {
                // A network namespace shows only part of net.*, so only the machine's own can be asked for all.
                let own_namespace = !Path::new("/proc/sys/net/core/netdev_max_backlog").exists();
                assert!(setting.optional || own_namespace, "{} does not exist here", setting.key);
                continue;
            }
            // Not root, or a container whose /proc/sys is read-only: presence is all that can be checked.
            if fs::OpenOptions::new().write(true).open(&file).is_ok() {
                try_value(&setting);
            }
        }
    }
}
