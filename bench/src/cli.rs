//! Cli: the flags as they are typed, one definition for parsing and help.
//!
//! In:  the command line.
//! Out: raw flags, each well-formed alone. Whether they fit together is `plan`'s question.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::source::SourceBlock;
use crate::units::{parse_count, parse_duration, parse_rate_per_s, parse_share, parse_size_bytes};

const EXIT_CODES: &str = "\
Exit codes: 0 = every check passed; 1 = the server failed a check (a message lost, repeated, reordered or corrupt, \
a connection refused or lost); 2 = wrong usage, or no connection at all could be made.";

/// Loads a WebSocket server and checks every message that comes back.
///
/// One process holds 100,000 connections and more. Latencies count from the moment at which a message was due, so a
/// server that stalls cannot hide it.
#[derive(Debug, Parser)]
#[command(name = "holdfast-bench", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do with the server.
    #[command(subcommand)]
    pub command: Command,
}

/// The scenarios.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Connect, keep the connections open and answer pings: how many can it hold, with how much memory?
    Hold(HoldArgs),
    /// Send messages to a server that sends each one back: how fast does it answer?
    Echo(EchoArgs),
    /// Publish to a server that sends each message to all: how fast do all receive it?
    Broadcast(BroadcastArgs),
    /// Connect, echo once and close, repeatedly: how many new connections a second can it take?
    Churn(ChurnArgs),
    /// Drop all connections and reconnect them at once: how long until all are back?
    Storm(StormArgs),
    /// Keep subscribers and a publisher going while servers fail: what is lost, what comes twice, how long is the pause?
    Failover(FailoverArgs),
}

/// Flags of `hold`.
#[derive(Debug, Args)]
pub struct HoldArgs {
    /// What all scenarios take.
    #[command(flatten)]
    pub common: CommonArgs,
    /// How long to hold the connections once all are open.
    #[arg(long, value_parser = parse_duration, default_value = "30s")]
    pub duration: Duration,
}

/// Flags of `echo`.
#[derive(Debug, Args)]
pub struct EchoArgs {
    /// What all scenarios take.
    #[command(flatten)]
    pub common: CommonArgs,
    /// How long to send.
    #[arg(long, value_parser = parse_duration, default_value = "10s")]
    pub duration: Duration,
    /// Bytes in a message.
    #[arg(long, value_name = "BYTES", value_parser = parse_size_bytes, default_value = "64")]
    pub size: usize,
    /// Messages a second over all connections, sent at even intervals whether or not answers arrive.
    #[arg(long, value_name = "N/s", value_parser = parse_rate_per_s, default_value = "1k/s")]
    pub rate: f64,
    /// Send a connection's next message as soon as its answer arrives, instead of at a rate. A stall then stops
    /// sending too: good for throughput, misleading for latency.
    #[arg(long, conflicts_with = "rate")]
    pub closed_loop: bool,
    /// How many of the connections send [default: all].
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub busy: Option<u32>,
}

/// Flags of `broadcast`.
#[derive(Debug, Args)]
pub struct BroadcastArgs {
    /// What all scenarios take.
    #[command(flatten)]
    pub common: CommonArgs,
    /// How long to publish.
    #[arg(long, value_parser = parse_duration, default_value = "10s")]
    pub duration: Duration,
    /// Bytes in a message.
    #[arg(long, value_name = "BYTES", value_parser = parse_size_bytes, default_value = "128")]
    pub size: usize,
    /// Messages published a second, by all publishers together.
    #[arg(long, value_name = "N/s", value_parser = parse_rate_per_s, default_value = "10/s")]
    pub rate: f64,
    /// Messages that a publisher sends at once (in one write); the rate stays the same.
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "1")]
    pub burst: u32,
    /// How many of the connections publish, in turn.
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "1")]
    pub publishers: u32,
    /// Centrifuge: publish through the server's HTTP API instead, such as http://host:port/api: one request at a time,
    /// over one connection. Messages that are due at the same time go in one batch.
    #[arg(long, value_name = "URL", conflicts_with = "publishers")]
    pub publish_api: Option<String>,
    /// The API key.
    #[arg(long, value_name = "KEY", env = "HOLDFAST_BENCH_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Send each message to all channels, with one call of the API (`broadcast`).
    #[arg(long, requires = "publish_api")]
    pub every_channel: bool,
    /// The server does not send a message back to its publisher.
    #[arg(long)]
    pub sender_excluded: bool,
    /// How many of the connections, publishers not included, stop reading once they are open. Their missing messages
    /// are not counted as lost, and the server may close them.
    #[arg(long, value_name = "N%", value_parser = parse_share, default_value = "0%")]
    pub stalled: f64,
}

/// Flags of `churn`.
#[derive(Debug, Args)]
pub struct ChurnArgs {
    /// What all scenarios take.
    #[command(flatten)]
    pub common: CommonArgs,
    /// How long new connections arrive.
    #[arg(long, value_parser = parse_duration, default_value = "10s", conflicts_with = "total")]
    pub duration: Duration,
    /// Total number of connections to make, instead of a duration.
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub total: Option<u32>,
    /// New connections a second; at most `--connections` are open at a time.
    #[arg(long, value_name = "N/s", value_parser = parse_rate_per_s, default_value = "1k/s")]
    pub rate: f64,
    /// Close right after the handshake, instead of waiting for the echo of a message.
    #[arg(long)]
    pub no_echo: bool,
    /// Bytes in the message.
    #[arg(long, value_name = "BYTES", value_parser = parse_size_bytes, default_value = "64")]
    pub size: usize,
}

/// Flags of `storm`.
#[derive(Debug, Args)]
pub struct StormArgs {
    /// What all scenarios take.
    #[command(flatten)]
    pub common: CommonArgs,
    /// How long the clients may take to come back.
    #[arg(long, value_parser = parse_duration, default_value = "60s")]
    pub duration: Duration,
    /// Centrifuge: messages to publish in each channel while all clients are away; each client must recover them.
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "0")]
    pub recover: u32,
    /// Bytes in a message.
    #[arg(long, value_name = "BYTES", value_parser = parse_size_bytes, default_value = "128")]
    pub size: usize,
}

/// Flags of `failover`.
#[derive(Debug, Args)]
pub struct FailoverArgs {
    /// What all scenarios take.
    #[command(flatten)]
    pub common: CommonArgs,
    /// How long to publish.
    #[arg(long, value_parser = parse_duration, default_value = "60s")]
    pub duration: Duration,
    /// Bytes in a message.
    #[arg(long, value_name = "BYTES", value_parser = parse_size_bytes, default_value = "128")]
    pub size: usize,
    /// Messages published a second, to the channels in turn.
    #[arg(long, value_name = "N/s", value_parser = parse_rate_per_s, default_value = "100/s")]
    pub rate: f64,
    /// The servers' HTTP APIs, such as http://host:port/api: a message goes to the first that takes it, and is repeated
    /// with its idempotency key until one has.
    #[arg(long, value_name = "URL", required = true, value_delimiter = ',')]
    pub publish_api: Vec<String>,
    /// The API key.
    #[arg(long, value_name = "KEY", env = "HOLDFAST_BENCH_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Marks for the plots, read at the end: lines of a time in seconds since 1970, a space, and what happened then.
    #[arg(long, value_name = "FILE")]
    pub marks: Option<PathBuf>,
}

/// Flags of all scenarios.
#[derive(Debug, Args)]
pub struct CommonArgs {
    /// The server, as ws://host:port/path (port 80 if left out), or wss:// (443).
    #[arg(long, value_name = "URL")]
    pub target: String,
    /// wss: certificate authorities to trust, in PEM, instead of the system's.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,
    /// wss: accept any certificate.
    #[arg(long)]
    pub insecure: bool,
    /// How many connections to hold open.
    #[arg(long, short = 'n', value_name = "N", value_parser = parse_count)]
    pub connections: u32,
    /// New connections a second while they are being opened.
    #[arg(long, value_name = "N/s", value_parser = parse_rate_per_s, default_value = "10k/s")]
    pub ramp: f64,
    /// The protocol that the server speaks over WebSocket.
    #[arg(long, value_name = "NAME", default_value = "raw")]
    pub protocol: Protocol,
    /// Send text frames instead of binary ones. (Centrifuge frames are of the kind that their format has.)
    #[arg(long)]
    pub text: bool,
    /// Offer permessage-deflate (RFC 7692) without context takeover; the run fails if the server does not agree to it.
    /// The server may compress its messages; the load tool does not compress its own.
    #[arg(long)]
    pub compression: bool,
    /// Centrifuge: the connection token (a JWT) of all connections [default: none].
    #[arg(long, value_name = "JWT")]
    pub token: Option<String>,
    /// Centrifuge: number of channels; each connection subscribes to one of them, in turn [default: 1]. In echo and churn
    /// every connection has its own channel.
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub channels: Option<u32>,
    /// Centrifuge: prefix of the channel names PREFIX:0, PREFIX:1, and so on.
    #[arg(long, value_name = "PREFIX", default_value = "bench")]
    pub channel_prefix: String,
    /// Threads that drive connections [default: one for each core].
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub threads: Option<u32>,
    /// Cores to pin the threads to, in turn, such as 0,2-3 [default: not pinned].
    #[arg(long, value_name = "LIST")]
    pub cores: Option<String>,
    /// Addresses or blocks (CIDR) to connect from, used in turn; may be given several times [default: spread over
    /// 127.0.0.0/8 when the target is on it, else the system chooses].
    #[arg(long, value_name = "ADDR", num_args = 1, value_delimiter = ',')]
    pub source: Vec<SourceBlock>,
    /// Seed for the order of source addresses and the contents of messages, which are then the same in every run.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How long a connection may take to complete its WebSocket handshake.
    #[arg(long, value_name = "D", value_parser = parse_duration, default_value = "10s")]
    pub connect_timeout: Duration,
    /// How long to wait for outstanding messages after the last one was sent.
    #[arg(long, value_name = "D", value_parser = parse_duration, default_value = "5s")]
    pub drain_timeout: Duration,
    /// Process ids of the server, on this machine: reports its CPU time and memory.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub server_pid: Vec<u32>,
    /// Write the results as JSON ("-" for standard output, instead of the table).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the latency percentiles in HdrHistogram's text format (values in milliseconds).
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
    /// Write the report as one self-contained page.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print neither progress nor the table; write only files and set the exit code.
    #[arg(long, short)]
    pub quiet: bool,
    /// Connect to this address instead of that of the URL's host name.
    #[arg(long, value_name = "ADDR")]
    pub connect_to: Option<IpAddr>,
}

/// What a server speaks above WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// No further protocol: a message is a message.
    Raw,
    /// The Centrifuge client protocol in JSON.
    CentrifugeJson,
    /// The Centrifuge client protocol in Protobuf.
    CentrifugeProtobuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_flags_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_closed_loop_has_no_rate() {
        let line = "holdfast-bench echo --target ws://h/ -n 1 --closed-loop --rate 5/s";
        assert!(Cli::try_parse_from(line.split(' ')).is_err());
    }
}
