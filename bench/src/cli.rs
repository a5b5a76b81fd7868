//! Cli: the flags as they are typed, one definition for parsing and help.
//!
//! In:  the command line.
//! Out: raw flags, each well-formed alone. Whether they fit together is `plan`'s question.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::source::SourceBlock;
use crate::units::{parse_count, parse_duration, parse_rate_per_s, parse_size_bytes};

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
    /// Connect, keep the connections open, answer pings: how many can it hold, and at what memory?
    Hold(HoldArgs),
    /// Send messages to a server that sends each one back: how fast does it answer?
    Echo(EchoArgs),
    /// Publish to a server that sends each message to all: how fast do all have it?
    Broadcast(BroadcastArgs),
    /// Connect, echo once, close, again and again: how many arrivals a second can it take?
    Churn(ChurnArgs),
    /// Drop all connections and reconnect all at once: how long until everybody is back?
    Storm(StormArgs),
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
    /// Messages a second over all connections, due at even distances whether or not answers came.
    #[arg(long, value_name = "N/s", value_parser = parse_rate_per_s, default_value = "1k/s")]
    pub rate: f64,
    /// Send a connection's next message when its answer came, as fast as that goes, instead of at a rate. A stall
    /// then stops the sending too: good for throughput, misleading for latency.
    #[arg(long, conflicts_with = "rate")]
    pub closed_loop: bool,
    /// How many of the connections talk [default: all].
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
    /// Centrifuge: publish through the server's HTTP API instead, as http://host:port/api; one request at a time, over
    /// one connection. What is due at once goes out as one batch.
    #[arg(long, value_name = "URL", conflicts_with = "publishers")]
    pub publish_api: Option<String>,
    /// The key that the API asks for.
    #[arg(long, value_name = "KEY", env = "HOLDFAST_BENCH_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Each message goes to all channels, in one call of the API (`broadcast`).
    #[arg(long, requires = "publish_api")]
    pub every_channel: bool,
    /// The server does not send a message back to its publisher.
    #[arg(long)]
    pub sender_excluded: bool,
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
    /// How many connections to make in all, instead of a duration.
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub total: Option<u32>,
    /// New connections a second; at most `--connections` are open at a time.
    #[arg(long, value_name = "N/s", value_parser = parse_rate_per_s, default_value = "1k/s")]
    pub rate: f64,
    /// Close at once after the handshake, without sending a message and waiting for its echo.
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
    /// Centrifuge: messages published to each channel while all are away, which each client is to recover.
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "0")]
    pub recover: u32,
    /// Bytes in a message.
    #[arg(long, value_name = "BYTES", value_parser = parse_size_bytes, default_value = "128")]
    pub size: usize,
}

/// Flags of all scenarios.
#[derive(Debug, Args)]
pub struct CommonArgs {
    /// The server, as ws://host:port/path (port 80 if left out), or wss:// (443).
    #[arg(long, value_name = "URL")]
    pub target: String,
    /// wss: certificate authorities to believe, in PEM, instead of the system's.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,
    /// wss: believe any certificate.
    #[arg(long)]
    pub insecure: bool,
    /// How many connections to hold open.
    #[arg(long, short = 'n', value_name = "N", value_parser = parse_count)]
    pub connections: u32,
    /// New connections a second while they are being opened.
    #[arg(long, value_name = "N/s", value_parser = parse_rate_per_s, default_value = "10k/s")]
    pub ramp: f64,
    /// What the server speaks above WebSocket.
    #[arg(long, value_name = "NAME", default_value = "raw")]
    pub protocol: Protocol,
    /// Send text frames instead of binary ones. (Centrifuge frames are of the kind that their format has.)
    #[arg(long)]
    pub text: bool,
    /// Offer permessage-deflate (RFC 7692), each message by itself; a server that does not agree to it fails. What comes
    /// may be compressed; what is sent is not.
    #[arg(long)]
    pub compression: bool,
    /// Centrifuge: the connection token (a JWT) that all connections show [default: none].
    #[arg(long, value_name = "JWT")]
    pub token: Option<String>,
    /// Centrifuge: channels that the connections subscribe to, one each, in turn [default: 1]. In echo and churn every
    /// connection has a channel of its own.
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub channels: Option<u32>,
    /// Centrifuge: channels are named PREFIX:0, PREFIX:1, and so on.
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
    /// Makes the order of source addresses and the contents of messages the same from run to run.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How long a connection may take until its WebSocket handshake is done.
    #[arg(long, value_name = "D", value_parser = parse_duration, default_value = "10s")]
    pub connect_timeout: Duration,
    /// How long to wait for messages that are still on their way when sending has ended.
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
    /// No progress and no table: only files and the exit code.
    #[arg(long, short)]
    pub quiet: bool,
    /// Connect to this address instead of the one that the URL's host name has.
    #[arg(long, value_name = "ADDR")]
    pub connect_to: Option<IpAddr>,
}

/// What a server speaks above WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Nothing: a message is a message.
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
