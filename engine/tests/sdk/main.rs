//! SDKs: Centrifuge's own clients for JavaScript, Python and Rust drive a real daemon; in a browser, so does its chat page.
//! That for JavaScript also drives two daemons that act as one through Redis, of which it kills one.
//!
//! In:  the scripts in the folders beside this file, with the packages that their lock files name.
//! Out: their verdict.
//!
//! The source tree stays as it is: packages are installed under target/sdk, once for each state of the lock files. Where
//! the tools for that are missing, or the packages cannot be had, it is said and nothing is tested; where CI=true, that
//! is a failure.
#![forbid(unsafe_code)]

mod rust;

use std::{
    env,
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use holdfast_testkit::{Daemon, redis::Server, skip};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

const CONFIG: &str = include_str!("daemon.toml");
const CONFIG_PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/daemon.toml");

/// Our own client for HTTP long-polling, which is tested beside the SDKs.
const POLL_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/poll-client/poll-client.js");

/// When a run of scripts, or the installation of their packages, is given up.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn the_javascript_sdk_finds_all_as_it_expects() {
    let workshop = Workshop::new("javascript");
    let installed = workshop.run("node", &["--version"], &[]).and_then(|()| workshop.install_packages());
    let redis = Server::start(&[]);
    let nodes: Vec<Daemon> = redis.iter().flat_map(|redis| [node(redis), node(redis)]).collect();
    let told = nodes.iter().map(|node| json!({"url": websocket(node), "pid": node.pid()}));
    let told = Value::from_iter(told).to_string();
    workshop.judge_with(installed, || ("node".into(), workshop.tests()), &[("SDK_NODES", &told)]);
}

#[test]
fn a_browser_finds_all_as_it_expects() {
    let workshop = Workshop::new("browser");
    let installed = workshop.run("node", &["--version"], &[]).and_then(|()| workshop.install_packages());
    // Its file find.mjs knows which browsers will do.
    let ready = installed.and_then(|()| workshop.run("node", &["find.mjs"], &[]));
    workshop.judge(ready, || ("node".into(), workshop.tests()));
}

#[test]
fn the_python_sdk_finds_all_as_it_expects() {
    let workshop = Workshop::new("python");
    let python = workshop.path.join("venv/bin/python");
    let installed = workshop.install("requirements.txt", || {
        workshop.run("python3", &["-m", "venv", "--clear", "venv"], &[])?;
        let pip = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", "requirements.txt"];
        workshop.run(&python, &pip, &[])
    });
    let arguments = ["-m", "unittest", "discover", "--verbose"].map(str::to_owned).to_vec();
    workshop.judge(installed, || (python.clone(), arguments));
}

/// One of two daemons that act as one.
fn node(redis: &Server) -> Daemon {
    let address = format!("127.0.0.1:{}", redis.port);
    Daemon::start(&format!("{CONFIG}\n[engine]\ntype = \"redis\"\n[engine.redis]\naddress = \"{address}\"\n"))
}

fn websocket(daemon: &Daemon) -> String {
    format!("ws://{}/connection/websocket", daemon.address())
}

/// Where the scripts for one SDK are run: a copy of their folder, with their packages.
struct Workshop {
    name: &'static str,
    path: PathBuf,
}

impl Workshop {
    /// Copies the scripts.
    fn new(name: &'static str) -> Self {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target folder");
        let workshop = Self { name, path: target.join("sdk").join(name) };
        fs::create_dir_all(&workshop.path).expect("the target folder can be written");
        for folder in [workshop.source(), Path::new(CONFIG_PATH).with_file_name("common")] {
            for name in files(&folder) {
                // A lock file arrives when its packages are there.
                if !matches!(&*name, "package-lock.json" | "requirements.txt") {
                    fs::copy(folder.join(&name), workshop.path.join(&name)).expect("it can be copied");
                }
            }
        }
        workshop
    }

    fn source(&self) -> PathBuf {
        Path::new(CONFIG_PATH).with_file_name(self.name)
    }

    /// What node is to run.
    fn tests(&self) -> Vec<String> {
        // Not "." or a glob: how those are read differs between the versions of node.
        let mut arguments = vec!["--test".to_owned(), "--test-reporter=spec".to_owned()];
        arguments.extend(files(&self.source()).into_iter().filter(|name| name.ends_with(".test.mjs")));
        arguments
    }

    /// Installs node's packages.
    fn install_packages(&self) -> Result<(), String> {
        self.install("package-lock.json", || {
            self.run("npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund"], &[])
        })
    }

    /// Installs what `lock_file` names, unless that was done.
    fn install(&self, lock_file: &str, install: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        let (wanted, here, done) =
            (self.source().join(lock_file), self.path.join(lock_file), self.path.join("installed"));
        let wanted = fs::read(wanted).expect("the lock file is there");
        if fs::read(&done).is_ok_and(|done| done == wanted) {
            return Ok(());
        }
        fs::write(here, &wanted).expect("the target folder can be written");
        install()?;
        fs::write(done, wanted).expect("the target folder can be written");
        Ok(())
    }

    /// Runs the scripts against a daemon of their own, if what they need is installed.
    fn judge(&self, installed: Result<(), String>, scripts: impl FnOnce() -> (PathBuf, Vec<String>)) {
        self.judge_with(installed, scripts, &[]);
    }

    /// The same, with further variables.
    fn judge_with(
        &self,
        installed: Result<(), String>,
        scripts: impl FnOnce() -> (PathBuf, Vec<String>),
        further: &[(&str, &str)],
    ) {
        if let Err(missing) = installed {
            return skip(&format!("the {} SDK", self.name), &missing);
        }
        let (program, arguments) = scripts();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let daemon = Daemon::start(CONFIG);
        let url = websocket(&daemon);
        let api = format!("http://{}/api", daemon.control());
        let mut variables = vec![
            ("SDK_URL", url.as_str()),
            ("SDK_API", api.as_str()),
            ("SDK_CONFIG", CONFIG_PATH),
            ("SDK_HOLDFAST", env!("CARGO_BIN_EXE_holdfast")),
            ("SDK_POLL_CLIENT", POLL_CLIENT),
        ];
        variables.extend(further);
        let verdict = self.run(program, &arguments, &variables);
        assert!(verdict.is_ok(), "{}", verdict.unwrap_err());
        daemon.await_empty();
    }

    /// Runs a program to its end. Fails with what it said.
    fn run(
        &self,
        program: impl AsRef<Path>,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<(), String> {
        let program = program.as_ref();
        let log = self.path.join("log");
        let output = File::create(&log).expect("the log can be made");
        let errors = output.try_clone().expect("a file can be shared");
        let mut command = Command::new(program);
        // A group of its own: daemons that the scripts start end with them, whatever happens.
        command.args(arguments).envs(variables.iter().copied()).current_dir(&self.path).process_group(0);
        let mut child = command.stdout(output).stderr(errors).spawn().map_err(|error| {
            format!("{} cannot be started ({error}): run tools/setup-sdk", program.display())
        })?;
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("it is our child") {
                break Some(status);
            }
            if began.elapsed() > PATIENCE {
                let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
                let _ = child.wait();
                break None;
            }
            sleep(Duration::from_millis(20));
        };
        if status.is_some_and(|status| status.success()) {
            return Ok(());
        }
        let said = fs::read_to_string(&log).unwrap_or_default();
        let end = status.map_or("took too long".into(), |status| format!("failed ({status})"));
        Err(format!("{} {} {end}:\n{said}", program.display(), arguments.join(" ")))
    }
}

/// The names of the files in a folder of the source tree.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the scripts are there");
    let files = entries.map(|entry| entry.expect("it can be read")).filter(|entry| entry.path().is_file());
    let mut names: Vec<_> = files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
