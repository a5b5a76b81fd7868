//! Server: a daemon on a CPU of its own, from start to stop.
//!
//! In:  the daemon's binary, whether clients speak TLS to it.
//! Out: its addresses, the CPU time it took, how long its stop took.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};

use crate::{cpus::Cpus, http::Http, link::Target, token::SECRET};

/// What calls of the server API carry.
pub const API_KEY: &str = "fairness";
/// `shutdown.timeout`.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);
/// A daemon that takes longer to stop does not stop.
const STOP_MAX: Duration = Duration::from_secs(60);

/// A running daemon.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    target: Target,
    files: Vec<PathBuf>,
}

impl Server {
    /// Starts a daemon whose files are in `folder`.
    pub(crate) fn start(binary: &Path, folder: &Path, cpus: &Cpus, is_tls: bool) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = |ending: &str| folder.join(format!("fairness-{}.{ending}", std::process::id()));
        let [config_path, log_path, cert_path, key_path] = ["toml", "log", "cert.pem", "key.pem"].map(path);
        let mut config = config();
        let mut tls = None;
        if is_tls {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
            fs::write(&cert_path, made.cert.pem())?;
            fs::write(&key_path, made.signing_key.serialize_pem())?;
            config += &format!(
                "[http_server.tls]\nenabled = true\ncert_pem = '{}'\nkey_pem = '{}'\n",
                cert_path.display(),
                key_path.display()
            );
            tls = Some(believing(made.cert.der())?);
        }
        fs::write(&config_path, config)?;
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
        command.args(["--cores", &cpus.daemon.to_string(), "--config"]).arg(&config_path);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log_path)?);
        let mut child = cpus
            .at_the_daemons(|| command.spawn())?
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output is piped")?).read_line(&mut line)?;
        let Some((clients, control)) = ready(&line) else {
            child.kill()?;
            child.wait()?;
            bail!("the daemon is not ready: {line:?}\n{}", fs::read_to_string(&log_path)?);
        };
        let target = Target { clients, control, tls };
        Ok(Self { child, target, files: vec![config_path, log_path, cert_path, key_path] })
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The CPU time that all its threads have taken (proc_pid_stat(5), fields 14 and 15).
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = text.rsplit_once(')').context("a name stands in brackets")?;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>())
            .sum::<Result<_, _>>()?;
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// How many clients it has closed because they did not read what they were sent.
    pub(crate) fn closed_as_slow(&self) -> anyhow::Result<u64> {
        let mut http = Http::over(self.target.connect_to_control()?);
        let metrics = String::from_utf8(http.ask(b"GET /metrics HTTP/1.1\r\nHost: fairness\r\n\r\n")?)?;
        let is_meant =
            |line: &&str| line.starts_with("holdfast_closes_total{") && line.contains("reason=\"slow\"");
        let counts = metrics.lines().filter(is_meant).map(|line| line.rsplit(' ').next().unwrap_or_default());
        Ok(counts.map(str::parse::<u64>).sum::<Result<_, _>>()?)
    }

    /// Asks it to stop; answers with how long that took, if it came to an end.
    pub(crate) fn stop(&mut self) -> anyhow::Result<Option<Duration>> {
        let began = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        while began.elapsed() < STOP_MAX {
            if let Some(status) = self.child.try_wait()? {
                let took = began.elapsed();
                if !status.success() {
                    bail!("the daemon ended with {status}\n{}", fs::read_to_string(&self.files[1])?);
                }
                return Ok(Some(took));
            }
            sleep(Duration::from_millis(1));
        }
        Ok(None)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is mostly gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.files.iter().for_each(|file| {
            let _ = fs::remove_file(file);
        });
    }
}

/// The daemon's defaults, with every path open.
fn config() -> String {
    format!(
        "[client]\ntoken.hmac_secret_key = '{SECRET}'\n\
         [http_api]\nkey = '{API_KEY}'\n\
         [echo]\nenabled = true\n[broadcast]\nenabled = true\n[sse]\nenabled = true\n[http_stream]\nenabled = true\n[poll]\nenabled = true\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true\nallow_publish_for_client = true\n\
         [[channel.namespaces]]\nname = 'kept'\nallow_subscribe_for_client = true\n\
         allow_publish_for_client = true\nallow_history_for_client = true\nallow_presence_for_client = true\n\
         presence = true\nhistory_size = 100\nhistory_ttl = '10m'\nforce_recovery = true\n\
         [shutdown]\ntimeout = '{}ms'\n",
        SHUTDOWN_TIMEOUT.as_millis()
    )
}

/// The addresses in `ready listen=ADDR control=ADDR shards=N`.
fn ready(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = line.strip_prefix("ready ")?.split_whitespace();
    let mut value = |key: &str| words.next()?.strip_prefix(key)?.parse().ok();
    Some((value("listen=")?, value("control=")?))
}

fn believing(certificate: &CertificateDer<'static>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
