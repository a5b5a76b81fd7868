//! Disk: nobody takes what the daemon logs.
//!
//! In:  a full disk, a pipe that nobody reads or whose reader has gone; more log lines than any of them holds.
//! Out: clients that notice nothing, lines that are counted, an orderly end with the right exit code.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
};

use holdfast_testkit::{
    Daemon, Launch,
    client::{Client, SECRET},
    eventually,
    peer::{CLOSE, Peer, text},
    skip,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{base::Base, chamber::Chamber};

/// Refused tokens are logged at `debug`: a line for each.
fn config() -> String {
    format!(
        "[log]\nlevel = 'debug'\n[client.token]\nhmac_secret_key = '{SECRET}'\n[http_api]\ninsecure = true\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true"
    )
}

fn start(log: Stdio) -> Daemon {
    Daemon::launch(&config(), Launch { log: Some(log), ..Launch::default() })
}

/// Comes with a token that is none, and is sent away. The daemon has a line to log.
fn come_with_a_wrong_token(daemon: &Daemon) {
    let mut peer = Peer::open(daemon, "/connection/websocket");
    peer.send(&text(&json!({ "id": 1, "connect": { "token": "none" } }).to_string()));
    let last = std::iter::from_fn(|| peer.frame_or_end()).find(|frame| frame.opcode == CLOSE);
    assert_eq!(last.map(|frame| frame.close_code()), Some(3500));
}

fn lines_lost(daemon: &Daemon) -> u64 {
    daemon.metric("holdfast_log_lines_lost_total", &[])
}

/// Clients that were there before, and publications for them.
struct Neighbors<'d> {
    daemon: &'d Daemon,
    clients: Vec<Client>,
    echo: Peer,
    published: u64,
}

impl<'d> Neighbors<'d> {
    fn gather(daemon: &'d Daemon) -> Self {
        let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(daemon, "neighbor")).collect();
        for client in &mut clients {
            client.subscribe("news");
        }
        Self { daemon, clients, echo: Peer::open(daemon, "/echo"), published: 0 }
    }

    fn expect_served(&mut self) {
        self.published += 1;
        let publish = json!({ "channel": "news", "data": self.published });
        let (_, answer) = self.daemon.request("POST", "/api/publish", "", &publish.to_string());
        assert!(answer.contains("result"), "{answer}");
        for client in &mut self.clients {
            assert_eq!(client.push()["pub"]["data"], Value::from(self.published));
        }
        self.echo.expect_echo("as if nothing had happened");
    }
}

/// Has the daemon log until lines are lost, and on. Its neighbors are served all the while.
fn log_until_lines_are_lost(daemon: &Daemon) {
    /// More than a pipe, a small disk and the daemon's own queue hold.
    const LINES_MAX: u32 = 20_000;
    let mut neighbors = Neighbors::gather(daemon);
    let before = lines_lost(daemon);
    let mut lines = 0;
    while lines_lost(daemon) < before + 100 {
        (0..100).for_each(|_| come_with_a_wrong_token(daemon));
        neighbors.expect_served();
        lines += 100;
        assert!(lines < LINES_MAX, "all lines were taken");
    }
}

/// A disk of 256 KiB, and its file for logs.
fn small_disk() -> Result<(Chamber, PathBuf), String> {
    let chamber = Chamber::make(&["--mount"], "mount -t tmpfs -o size=256k none /mnt")?;
    let disk = chamber.path(Path::new("/mnt"));
    Ok((chamber, disk))
}

#[test]
fn a_full_disk_for_the_log_harms_nobody_and_what_was_lost_is_told_when_there_is_room_again() {
    let (_chamber, disk) = match small_disk() {
        Ok(made) => made,
        Err(why) => return skip("a full disk for the log", &why),
    };
    let (log, other) = (disk.join("log"), disk.join("other"));
    fs::write(&other, [0; 128 << 10]).expect("half of the disk is free");
    let file = OpenOptions::new().create(true).append(true).open(&log).expect("the log can be made");
    let daemon = start(file.into());
    Neighbors::gather(&daemon).expect_served();
    let base = Base::of(&daemon);

    log_until_lines_are_lost(&daemon);
    assert!(fs::write(disk.join("more"), [0; 8192]).is_err(), "the disk is full");
    base.expect_back(&daemon);

    let lost = lines_lost(&daemon);
    fs::remove_file(other).expect("there can be room again");
    come_with_a_wrong_token(&daemon);
    let told = format!("lines={lost}");
    eventually("it is told how many lines are missing", || {
        fs::read_to_string(&log).expect("lines are text").lines().any(|line| line.ends_with(&told))
    });
    log_until_lines_are_lost(&daemon);
    File::options().write(true).open(&log).and_then(|log| log.set_len(0)).expect("a log can be rotated");
    daemon.stop();
    let text = fs::read_to_string(&log).expect("lines are text");
    assert!(text.contains("draining") && text.ends_with('\n'), "the last lines are there: {text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn standard_error_that_takes_nothing_harms_nobody() {
    let daemon = start(full().into());
    log_until_lines_are_lost(&daemon);
    daemon.stop();
}

#[test]
fn a_log_pipe_that_nobody_reads_or_whose_reader_has_gone_harms_nobody() {
    for is_read in [true, false] {
        let (reader, writer) = io::pipe().expect("a descriptor is free");
        let reader = is_read.then_some(reader);
        let daemon = start(writer.into());
        log_until_lines_are_lost(&daemon);
        daemon.stop();
        drop(reader);
    }
}

#[test]
fn who_cannot_say_why_still_ends_with_the_right_code() {
    let taken = Daemon::start("");
    let (reader, mut stuck) = io::pipe().expect("a descriptor is free");
    fill(&mut stuck);
    for log in
        [Stdio::from(stuck), File::options().write(true).open("/dev/full").expect("Linux has it").into()]
    {
        let mut serve = Launch::default().command();
        serve.args(["serve", "--shards", "1", "--listen", "127.0.0.1:0"]);
        serve.args(["--control", &taken.control().to_string()]).stdout(Stdio::null()).stderr(log);
        let ended = await_end(serve.spawn().expect("it can be started"));
        assert_eq!(ended.code(), Some(1));
    }
    drop(reader);
    taken.stop();
}

#[test]
fn clients_are_served_where_nobody_can_be_told_that_they_are() {
    // Addresses of this test's own, since nothing can be read of them.
    let (listen, control) = ("127.77.0.1:8000", "127.77.0.1:9000");
    let control: SocketAddr = control.parse().expect("it is one");
    let mut child = Launch::default()
        .command()
        .args(["serve", "--shards", "1", "--listen", listen, "--control", &control.to_string()])
        .stdout(full())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let mut log = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut line = String::new();
    while !line.contains("standard output") {
        line.clear();
        assert!(log.read_line(&mut line).expect("it is text") > 0, "it ended");
    }
    let mut peer =
        Peer::connect_to(listen.parse().expect("it is one")).expect("it listens").upgraded("/echo");
    peer.expect_echo("hello");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    drop(peer);
    assert_eq!(child.wait().expect("it is our child").code(), Some(0));
}

/// Waits for a process's end.
fn await_end(mut child: Child) -> ExitStatus {
    let mut status = None;
    eventually("it ends", || {
        status = child.try_wait().expect("it is our child");
        status.is_some()
    });
    status.expect("it has ended")
}

/// Where each write fails, as on a full disk.
pub(crate) fn full() -> File {
    File::options().write(true).open("/dev/full").expect("Linux has it")
}

/// Fills a pipe to its brim.
pub(crate) fn fill(pipe: &mut io::PipeWriter) {
    use std::io::Write as _;
    // Pipes hold whole pages (pipe(7)); the last one is left out, as this must not wait.
    let room = rustix::pipe::fcntl_getpipe_size(&*pipe).expect("it is a pipe");
    pipe.write_all(&vec![b'x'; room]).expect("so much fits");
}
