//! Plan: the flags, checked against each other.
//!
//! In:  raw flags of `cli`.
//! Out: a plan that can be carried out, or the sentence that says why it cannot.
//!
//! After this file nothing asks whether a number makes sense.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast_protocol::client::Format;
use holdfast_protocol::websocket::MessageKind;
use rustls::ClientConfig;

use crate::cli::{
    BroadcastArgs, ChurnArgs, Command, CommonArgs, EchoArgs, FailoverArgs, HoldArgs, Protocol, StormArgs,
};
use crate::dialect::Dialect;
use crate::message::{PUBLISHERS_MAX, SIZE_MIN};
use crate::scenario::{PublishApi, Scenario};
use crate::source::Sources;
use crate::target::Target;
use crate::trust::client_config;
use crate::units::nanos;

/// The largest message: what a default server refuses anyhow, and a pool of buffers can still hold.
pub const SIZE_MAX: usize = 16 << 20;
const THREADS_MAX: u32 = 256;
const BURST_MAX: u32 = 65_536;
/// Broadcast keeps four bytes for each connection and publisher: this many are 1 GiB.
const STREAMS_MAX: u64 = 1 << 28;

/// What is to be done with the server.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which scenario, with what only it needs.
    pub scenario: Scenario,
    /// The server.
    pub target: Target,
    /// Whom to believe, for a target of `wss://`.
    pub tls: Option<Arc<ClientConfig>>,
    /// True exactly when permessage-deflate is offered, and has to be agreed to.
    pub compression: bool,
    /// Connections to hold open; in `churn` the most that are open at a time.
    pub connections: u32,
    /// New connections a second.
    pub ramp_per_s: f64,
    /// How long the measured part lasts (`storm`: may last at most).
    pub duration_ns: u64,
    /// Bytes in a message.
    pub size: usize,
    /// How messages travel.
    pub dialect: Dialect,
    /// Shown when a session is opened; empty for none.
    pub token: String,
    /// Channels that connections are dealt to in turn; 1 where the dialect has none.
    pub channels: u32,
    /// Comes before a channel's number in its name.
    pub channel_prefix: String,
    /// Publishes through the server API, instead of by clients.
    pub publish_api: Option<PublishApi>,
    /// What happened when, for the plots.
    pub marks: Option<PathBuf>,
    /// Worker threads.
    pub threads: u32,
    /// Cores to pin them to in turn; empty: not pinned.
    pub cores: Vec<usize>,
    /// Where connections come from.
    pub sources: Sources,
    /// For the contents of messages.
    pub seed: u64,
    /// How long a handshake may take.
    pub connect_timeout_ns: u64,
    /// How long messages may be late after the last was sent.
    pub drain_timeout_ns: u64,
    /// The server's processes; may be none.
    pub server_pids: Vec<u32>,
    /// What to write.
    pub outputs: Outputs,
}

/// Where the results go.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// Results as JSON.
    pub json: Option<PathBuf>,
    /// Latency percentiles as text.
    pub hgrm: Option<PathBuf>,
    /// The report as a page.
    pub html: Option<PathBuf>,
    /// True exactly when neither progress nor table is wanted.
    pub quiet: bool,
}

impl Plan {
    /// Checks the flags against each other, and looks up the target's host.
    ///
    /// # Errors
    /// A sentence that names the flag and what it may be.
    pub fn new(command: Command) -> Result<Self, String> {
        match command {
            Command::Hold(HoldArgs { common, duration }) => {
                Self::common(common, Scenario::Hold, duration, SIZE_MIN)
            }
            Command::Echo(args) => Self::echo(args),
            Command::Broadcast(args) => Self::broadcast(args),
            Command::Churn(args) => Self::churn(args),
            Command::Storm(args) => Self::storm(args),
            Command::Failover(args) => Self::failover(args),
        }
    }

    fn echo(args: EchoArgs) -> Result<Self, String> {
        let connections = args.common.connections;
        let busy = args.busy.unwrap_or(connections);
        if busy == 0 || busy > connections {
            return Err(format!("--busy is {busy}: it is from 1 to --connections ({connections})"));
        }
        let rate_per_s = (!args.closed_loop).then_some(args.rate);
        Self::common(args.common, Scenario::Echo { busy, rate_per_s }, args.duration, args.size)
    }

    fn broadcast(args: BroadcastArgs) -> Result<Self, String> {
        let BroadcastArgs { publishers, burst, sender_excluded, stalled, .. } = args;
        let connections = args.common.connections;
        if publishers == 0 || publishers > connections {
            return Err(format!(
                "--publishers is {publishers}: it is from 1 to --connections ({connections})"
            ));
        }
        let channels = args.common.channels.unwrap_or(1).max(1);
        if u64::from(publishers.div_ceil(channels)) * u64::from(connections) > STREAMS_MAX {
            return Err(format!(
                "{publishers} publishers to {connections} connections are too many streams to check \
                 (at most {STREAMS_MAX}): use fewer --publishers"
            ));
        }
        if burst == 0 || burst > BURST_MAX {
            return Err(format!("--burst is {burst}: it is from 1 to {BURST_MAX}"));
        }
        if sender_excluded && connections < 2 {
            return Err(
                "with --sender-excluded, --connections is at least 2: nobody would receive".to_owned()
            );
        }
        if sender_excluded && args.common.protocol != Protocol::Raw {
            return Err(
                "--sender-excluded is for --protocol raw: a Centrifuge channel has no such thing".to_owned()
            );
        }
        if args.publish_api.is_some() && args.common.protocol == Protocol::Raw {
            return Err("--publish-api needs a --protocol that has channels".to_owned());
        }
        let api = args.publish_api.map(|url| PublishApi::new(&[url], args.api_key, args.every_channel));
        let publish_api = api.transpose()?;
        let scenario =
            Scenario::Broadcast { publishers, rate_per_s: args.rate, burst, sender_excluded, stalled };
        let plan = Self::common(args.common, scenario, args.duration, args.size)?;
        Ok(Self { publish_api, ..plan })
    }

    fn churn(args: ChurnArgs) -> Result<Self, String> {
        if args.total == Some(0) {
            return Err("--total is at least 1".to_owned());
        }
        let scenario = Scenario::Churn { rate_per_s: args.rate, total: args.total, echo: !args.no_echo };
        Self::common(args.common, scenario, args.duration, args.size)
    }

    fn storm(args: StormArgs) -> Result<Self, String> {
        let StormArgs { common, duration, recover, size } = args;
        if recover > 0 && common.protocol == Protocol::Raw {
            return Err("--recover needs a --protocol that has channels with a history".to_owned());
        }
        Self::common(common, Scenario::Storm { recover }, duration, size)
    }

    fn failover(args: FailoverArgs) -> Result<Self, String> {
        let FailoverArgs { common, duration, size, rate, publish_api, api_key, marks } = args;
        if common.protocol == Protocol::Raw {
            return Err("failover needs a --protocol that has channels with a history".to_owned());
        }
        let publish_api = Some(PublishApi::new(&publish_api, api_key, false)?);
        let plan = Self::common(common, Scenario::Failover { rate_per_s: rate }, duration, size)?;
        Ok(Self { publish_api, marks, ..plan })
    }

    fn common(args: CommonArgs, scenario: Scenario, duration: Duration, size: usize) -> Result<Self, String> {
        if args.connections == 0 || args.connections > PUBLISHERS_MAX {
            return Err(format!("--connections is {}: it is from 1 to {PUBLISHERS_MAX}", args.connections));
        }
        if size < SIZE_MIN {
            return Err(format!(
                "--size is {size}: it is at least {SIZE_MIN}, since every message carries its publisher, sequence \
                 number, intended start and a checksum"
            ));
        }
        if size > SIZE_MAX {
            return Err(format!("--size is {size}: it is at most {SIZE_MAX}"));
        }
        if duration.is_zero() {
            return Err("--duration is above zero".to_owned());
        }
        let channels = channels(&args, &scenario)?;
        let dialect = dialect(&args);
        let cores = args.cores.as_deref().map_or_else(|| Ok(Vec::new()), parse_cores)?;
        let threads = args.threads.unwrap_or_else(|| default_threads(&cores));
        if threads == 0 || threads > THREADS_MAX {
            return Err(format!("--threads is {threads}: it is from 1 to {THREADS_MAX}"));
        }
        let target = Target::resolve(&args.target, args.connect_to)?;
        let tls = match &target.tls_name {
            Some(_) => Some(client_config(args.ca.as_deref(), args.insecure)?),
            None if args.insecure || args.ca.is_some() => {
                return Err("--ca and --insecure need a target of wss://".to_owned());
            }
            None => None,
        };
        let sources = Sources::new(args.source, target.address.ip(), args.seed)?;
        let outputs = Outputs { json: args.json, hgrm: args.hgrm, html: args.html, quiet: args.quiet };
        Ok(Self {
            scenario,
            tls,
            compression: args.compression,
            target,
            connections: args.connections,
            ramp_per_s: args.ramp,
            duration_ns: nanos(duration),
            size,
            dialect,
            token: args.token.unwrap_or_default(),
            channels,
            channel_prefix: args.channel_prefix,
            publish_api: None,
            marks: None,
            // A thread without a connection would only cost.
            threads: threads.min(args.connections),
            cores,
            sources,
            seed: args.seed,
            connect_timeout_ns: nanos(args.connect_timeout),
            drain_timeout_ns: nanos(args.drain_timeout),
            server_pids: args.server_pid,
            outputs,
        })
    }

    /// How many of `total` things fall to thread `thread` when they are dealt in turn.
    pub fn share(&self, total: u32, thread: u32) -> u32 {
        total / self.threads + u32::from(thread < total % self.threads)
    }

    /// How many streams a broadcast has: one publisher in one channel each, so that every publisher has one and every
    /// channel is spoken to. Without channels they are the publishers. A failover has one a channel.
    pub fn streams(&self) -> u32 {
        match self.scenario {
            Scenario::Broadcast { publishers, .. } => publishers.max(self.channel_groups()),
            Scenario::Failover { .. } => self.channels,
            _ => 0,
        }
    }

    /// How many groups of connections hear different messages: the channels, unless each message goes to all of them.
    pub fn channel_groups(&self) -> u32 {
        match &self.publish_api {
            Some(PublishApi { every_channel: true, .. }) => 1,
            _ => self.channels,
        }
    }

    /// The channel of the connection with this number among all.
    pub fn channel(&self, id: u32) -> u32 {
        id % self.channels
    }
}

fn dialect(args: &CommonArgs) -> Dialect {
    match args.protocol {
        Protocol::Raw => Dialect::Raw(if args.text { MessageKind::Text } else { MessageKind::Binary }),
        Protocol::CentrifugeJson => Dialect::Centrifuge(Format::Json),
        Protocol::CentrifugeProtobuf => Dialect::Centrifuge(Format::Protobuf),
    }
}

fn channels(args: &CommonArgs, scenario: &Scenario) -> Result<u32, String> {
    let is_raw = args.protocol == Protocol::Raw;
    if is_raw && (args.channels.is_some() || args.token.is_some()) {
        return Err("--channels and --token need a --protocol that has channels".to_owned());
    }
    let connections = args.connections;
    let has_one_each = matches!(scenario, Scenario::Echo { .. } | Scenario::Churn { .. });
    match args.channels {
        None if has_one_each && !is_raw => Ok(connections),
        None => Ok(1),
        Some(_) if has_one_each => {
            Err("--channels is not for echo and churn: every connection has a channel of its own".to_owned())
        }
        Some(channels) if channels == 0 || channels > connections => {
            Err(format!("--channels is {channels}: it is from 1 to --connections ({connections})"))
        }
        Some(channels) => Ok(channels),
    }
}

fn default_threads(cores: &[usize]) -> u32 {
    let available = if cores.is_empty() {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    } else {
        cores.len()
    };
    u32::try_from(available).unwrap_or(THREADS_MAX).min(THREADS_MAX)
}

/// Reads `"0,2-3"`.
fn parse_cores(list: &str) -> Result<Vec<usize>, String> {
    let wrong = || format!("--cores is {list:?}: it is a list such as \"0,2-3\"");
    let mut cores = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| wrong())?;
        let last: usize = last.trim().parse().map_err(|_| wrong())?;
        // 1,024 is the size of the kernel's usual CPU set.
        if first > last || last >= 1024 {
            return Err(wrong());
        }
        cores.extend(first..=last);
    }
    Ok(cores)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn plan(line: &str) -> Result<Plan, String> {
        let words = std::iter::once("holdfast-bench").chain(line.split_whitespace());
        Plan::new(Cli::try_parse_from(words).map_err(|error| error.to_string())?.command)
    }

    #[test]
    fn a_plain_line_becomes_a_plan_with_the_documented_defaults() {
        let plan =
            plan("echo --target ws://127.0.0.1:1/echo --connections 1k --threads 2").expect("a good line");
        assert_eq!(plan.scenario, Scenario::Echo { busy: 1000, rate_per_s: Some(1000.0) });
        assert_eq!((plan.connections, plan.size, plan.duration_ns), (1000, 64, 10_000_000_000));
    }

    #[test]
    fn a_closed_loop_has_no_rate() {
        let plan = plan("echo --target ws://127.0.0.1:1/ -n 10 --busy 4 --closed-loop").expect("a good line");
        assert_eq!(plan.scenario, Scenario::Echo { busy: 4, rate_per_s: None });
    }

    #[test]
    fn every_refusal_names_the_flag_and_says_what_is_allowed() {
        for (line, reason) in [
            ("echo -n 10 --size 27", "at least 28, since every message carries"),
            ("echo -n 10 --size 1GiB", "at most"),
            ("echo -n 10 --busy 11", "--busy is 11: it is from 1 to --connections (10)"),
            ("hold -n 0", "--connections is 0"),
            ("echo -n 10 --threads 0", "--threads is 0"),
            ("echo -n 10 --cores 3-1", "--cores is \"3-1\""),
            ("broadcast -n 10 --publishers 0", "--publishers is 0"),
            ("broadcast -n 1M --publishers 1k", "too many streams"),
            ("broadcast -n 1 --sender-excluded", "nobody would receive"),
            ("broadcast -n 10 --burst 0", "--burst is 0"),
            ("churn -n 10 --total 0", "--total is at least 1"),
            ("hold -n 10 --duration 0s", "--duration is above zero"),
            ("hold -n 10 --channels 2", "need a --protocol that has channels"),
            ("storm -n 10 --recover 2", "--recover needs a --protocol"),
            ("hold -n 10 --protocol centrifuge-json --channels 11", "--channels is 11"),
            ("echo -n 10 --protocol centrifuge-json --channels 2", "a channel of its own"),
            ("broadcast -n 10 --protocol centrifuge-json --sender-excluded", "is for --protocol raw"),
            ("broadcast -n 10 --publish-api http://h/api", "needs a --protocol"),
            ("broadcast -n 10 --protocol centrifuge-json --publish-api https://h/api", "TLS"),
            ("broadcast -n 10 --protocol centrifuge-json --publish-api h:1/api", "it looks like http://"),
            ("broadcast -n 10 --protocol centrifuge-json --publish-api http:///api", "names no host"),
            (
                "broadcast -n 10 --protocol centrifuge-json --publish-api http://h/api --publishers 2",
                "cannot be used",
            ),
            ("hold -n 10 --source ::1", "different families"),
        ] {
            let refusal = plan(&format!("{line} --target ws://127.0.0.1:1/")).expect_err(line);
            assert!(refusal.contains(reason), "{line}: {refusal}");
        }
    }

    #[test]
    fn connections_take_channels_in_turn_and_have_their_own_to_talk_to_themselves() {
        let line = "--protocol centrifuge-protobuf --target ws://127.0.0.1:1/ -n 10";
        let hold = plan(&format!("hold {line} --channels 4")).expect("a good line");
        assert_eq!((hold.channel(3), hold.channel(4)), (3, 0));
        assert_eq!(plan(&format!("echo {line}")).expect("a good line").channels, 10);
        assert_eq!(plan(&format!("broadcast {line}")).expect("a good line").channels, 1);
    }

    #[test]
    fn shares_of_all_threads_make_up_the_total() {
        let plan = plan("hold -n 10 --threads 4 --target ws://127.0.0.1:1/").expect("a good line");
        let shares: Vec<_> = (0..4).map(|thread| plan.share(10, thread)).collect();
        assert_eq!(shares, [3, 3, 2, 2]);
    }

    #[test]
    fn cores_are_a_list_of_numbers_and_ranges() {
        assert_eq!(parse_cores("0,2-3"), Ok(vec![0, 2, 3]));
    }
}
