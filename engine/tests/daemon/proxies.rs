//! Proxies: HAProxy and nginx as they come, in front of the daemon.
//!
//! In:  WebSockets through them, in every way in which they tell whom they speak for.
//! Out: limits that hold for the client behind them; messages both ways; health checks that are no offense.
//!
//! Each is tested where it is installed; else the test says so.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use holdfast_testkit::{Daemon, eventually, peer::Peer, skip};

use crate::addresses::ask;

/// What the daemon takes its proxies for: addresses that no client has.
const CONFIG: &str = "[http_server.proxy_protocol]\ntrusted = ['127.0.0.2']\n\
                      [http_server.forwarded]\ntrusted = ['127.0.0.3']\n\
                      [limits.address]\nconnections = 2\n";

/// Proxies that were started, so that each has its own folder.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// A proxy, with a folder of its own.
pub(super) struct Proxy {
    child: Child,
    folder: PathBuf,
}

impl Proxy {
    /// Starts `program` with this configuration, in which `FOLDER` stands for its folder; `None` where it is not
    /// installed.
    pub(super) fn start(program: &str, arguments: &[&str], configuration: &str) -> Option<Self> {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "{program}-{}-{}",
            std::process::id(),
            STARTED.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir_all(&folder).expect("a folder can be made");
        let text = configuration.replace("FOLDER", folder.to_str().expect("its path is text"));
        fs::write(folder.join("configuration"), text).expect("it can be written");
        let log = fs::File::create(folder.join("log")).expect("it can be made");
        let child = Command::new(program)
            .args(arguments)
            .arg(folder.join("configuration"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        match child {
            Ok(child) => Some(Self { child, folder }),
            Err(_) => {
                skip(&format!("{program} in front of the daemon"), "it is not installed");
                let _ = fs::remove_dir_all(folder);
                None
            }
        }
    }

    /// Waits until it listens.
    pub(super) fn await_listening(&mut self, address: SocketAddr) -> TcpStream {
        let mut first = None;
        eventually("the proxy listens", || {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                panic!("the proxy ended: {status}\n{log}");
            }
            first = TcpStream::connect(address).ok();
            first.is_some()
        });
        first.expect("it is there")
    }

    /// The first connection through it, which is served.
    fn first_connection(&mut self, address: SocketAddr) -> Peer {
        let (status, peer) = ask(Peer::over(self.await_listening(address)), b"", "");
        assert_eq!(status, 101);
        peer
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// An address on which nobody listens, and from which no other test connects.
pub(super) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.77.0.1:0").expect("there are free ports");
    listener.local_addr().expect("it has an address")
}

/// Two connections of one client pass, in both directions; the third is one too many.
fn two_pass_and_the_third_does_not(daemon: &Daemon, mut proxy: Proxy, address: SocketAddr) {
    let another = || ask(Peer::over(TcpStream::connect(address).expect("it listens")), b"", "");
    let mut first = proxy.first_connection(address);
    let (status, mut second) = another();
    assert_eq!(status, 101);
    first.expect_echo("through a proxy");
    second.expect_echo("through a proxy");
    assert_eq!(another().0, 429);
    drop((first, second));
    daemon.await_empty();
    let refused = |reason| daemon.metric("holdfast_refusals_total", &[("reason", reason)]);
    assert_eq!((refused("proxy_header"), refused("request")), (0, 0));
}

#[test]
fn behind_haproxy_limits_hold_for_clients_in_both_versions_of_its_header() {
    let daemon = Daemon::start(CONFIG);
    for option in ["send-proxy", "send-proxy-v2", "send-proxy-v2 check inter 100ms"] {
        let address = free_address();
        let configuration = format!(
            "defaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n\
             listen all\n bind {address}\n source 127.0.0.2\n server one {} {option}\n",
            daemon.address()
        );
        let Some(proxy) = Proxy::start("haproxy", &["-db", "-f"], &configuration) else { break };
        two_pass_and_the_third_does_not(&daemon, proxy, address);
    }
    daemon.stop();
}

#[test]
fn behind_nginx_limits_hold_for_the_client_in_x_forwarded_for() {
    let daemon = Daemon::start(CONFIG);
    let address = free_address();
    let configuration = format!(
        "daemon off; master_process off; pid FOLDER/pid; error_log FOLDER/errors;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log off; client_body_temp_path FOLDER/a; proxy_temp_path FOLDER/b;\n\
         fastcgi_temp_path FOLDER/c; uwsgi_temp_path FOLDER/d; scgi_temp_path FOLDER/e;\n\
         server {{ listen {address}; location / {{ proxy_pass http://{}; proxy_bind 127.0.0.3;\n\
         proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;\n\
         proxy_set_header Connection upgrade; proxy_set_header Host $host;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }} }}",
        daemon.address()
    );
    if let Some(proxy) = Proxy::start("nginx", &["-c"], &configuration) {
        two_pass_and_the_third_does_not(&daemon, proxy, address);
    }
    daemon.stop();
}
