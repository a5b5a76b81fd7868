//! CLI: the command line of `holdfast`.
//!
//! In:  arguments, `HOLDFAST_CONFIG` and `HOLDFAST_UNKNOWN_KEYS`.
//! Out: a command to run, with its flags as they were written.
//!
//! No value is checked here that a file could hold as well: that is `config`'s work.

pub(crate) mod run;
pub(crate) mod token;

use crate::{
    config::{CONFIG_VARIABLE, Flags, UNKNOWN_KEYS_VARIABLE, UnknownKeys, units::parse_duration_ms},
    doctor::Profile,
};
use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Holds a very large number of WebSocket connections on one Linux machine.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, max_term_width = 110)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon until SIGTERM or SIGINT. It prints one line "ready …" when it accepts connections.
    #[command(
        after_help = "`holdfast config doc` explains every other option, and `holdfast config default` prints them as a file. \
                            The environment (HOLDFAST_…) overrides the file, and a flag overrides both."
    )]
    Serve(Serve),
    /// Check whether this machine can hold the planned connections; the exit code is 0 if it can, and 1 if not.
    #[command(
        after_help = "Each line says ok, warn or fail, what was found and what is needed. If something has \
                            to change, a command that changes it follows."
    )]
    Doctor(Doctor),
    /// Check a configuration, or print the defaults or the reference.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the reference page of all metrics.
    #[command(subcommand)]
    Metrics(MetricsCommand),
    /// Make a token for tests, or show why a token is refused.
    #[command(subcommand)]
    Token(TokenCommand),
}

/// Flags of `holdfast serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Configuration, shared with the other commands.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Address and port for clients; port 0 takes a free port [default: 0.0.0.0:8000].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Address and port of the control plane: server API, health, metrics [default: 127.0.0.1:9000].
    #[arg(long, value_name = "ADDR")]
    pub control: Option<SocketAddr>,
    /// CPUs to run on, with one shard each, like 0-3,6 [default: all that this process may use].
    #[arg(long, value_name = "LIST", conflicts_with = "shards")]
    pub cores: Option<String>,
    /// Number of shards, each on its own core [default: 0, one on every core].
    #[arg(long, value_name = "N")]
    pub shards: Option<u32>,
}

impl Serve {
    /// The part of the flags that is configuration.
    pub(crate) fn flags(&self) -> Flags {
        Flags {
            listen: self.listen,
            control: self.control,
            cores: self.cores.clone(),
            shards: self.shards,
            unknown_keys: self.file.unknown_keys,
        }
    }
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// Configuration file: .toml, .yaml, .yml or .json [default: none; every option has its default].
    #[arg(long = "config", value_name = "FILE", env = CONFIG_VARIABLE, hide_env_values = true)]
    pub path: Option<PathBuf>,
    /// What to do with unknown keys in the file and unknown HOLDFAST_… variables.
    #[arg(long, value_enum, value_name = "WHAT", env = UNKNOWN_KEYS_VARIABLE, hide_env_values = true, default_value = "refuse")]
    pub unknown_keys: UnknownKeys,
}

impl ConfigFile {
    /// The part of the flags that is configuration, where there are no others.
    pub(crate) fn flags(&self) -> Flags {
        Flags { unknown_keys: self.unknown_keys, ..Flags::default() }
    }
}

/// Flags of `holdfast doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Kernel settings to compare with [default: the smallest that fits the planned connections].
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// Planned connections [default: the profile's, else client.connection_limit, else 100,000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=16_000_000))]
    pub connections: Option<u64>,
    /// Configuration, shared with the other commands.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
}

/// Subcommands of `holdfast config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every option with its value and its source (exit code 0), or all errors (exit code 1).
    Check(ConfigFile),
    /// Print a commented configuration file (TOML) that holds every default.
    Default,
    /// Print the reference of all options (Markdown), as in docs/configuration.md and docs/configuration/.
    Doc {
        /// Write one page for each section below this folder instead [default: print all pages].
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
}

/// Subcommands of `holdfast metrics`.
#[derive(Debug, Subcommand)]
pub(crate) enum MetricsCommand {
    /// Print the reference page (Markdown), as in docs/metrics.md.
    Doc,
}

/// Subcommands of `holdfast token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Print a connection token, signed with client.token.hmac_secret_key (HS256).
    #[command(
        after_help = "The token gets the audience and the issuer of the configuration. A token that the daemon \
                            would refuse is not printed. Example: holdfast token gen --config \
                            holdfast.toml --user 42 --ttl 10m --channels news,user:42"
    )]
    Gen(TokenGen),
    /// Print a subscription token, signed with the same secret, or with client.subscription_token.hmac_secret_key where
    /// that section is enabled.
    #[command(
        after_help = "Example: holdfast token sub --config holdfast.toml --user 42 --channel '$private' --ttl 10m"
    )]
    Sub(TokenSub),
    /// Verify a token as the daemon does. Print its claims (exit code 0), or why it is refused (exit code 1).
    #[command(
        after_help = "A token that names a channel is checked as a subscription token, and any other as a connection \
                            token. If the configuration names a JWKS endpoint, the command fetches its keys."
    )]
    Check(TokenCheck),
}

/// Claims that both kinds of tokens have.
#[derive(Debug, Args)]
pub(crate) struct TokenClaims {
    /// Configuration, shared with the other commands.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Id of the user; empty for an anonymous user.
    #[arg(long, value_name = "ID")]
    pub user: String,
    /// How long the token is valid, like 10m or 7d; 0 means for ever.
    #[arg(long = "ttl", value_name = "DURATION", default_value = "1h", value_parser = parse_duration_ms)]
    pub ttl_ms: u64,
    /// Data about the client that other clients see, as JSON.
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    pub info: Option<Value>,
    /// Audience (aud) [default: the configured one].
    #[arg(long, value_name = "TEXT")]
    pub audience: Option<String>,
    /// Issuer (iss) [default: the configured one].
    #[arg(long, value_name = "TEXT")]
    pub issuer: Option<String>,
}

/// Flags of `holdfast token gen`.
#[derive(Debug, Args)]
pub(crate) struct TokenGen {
    /// Claims that both kinds of tokens have.
    #[command(flatten)]
    pub claims: TokenClaims,
    /// Channels that the server subscribes the client to, separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub channels: Vec<String>,
    /// Data about the client that only backends see, as JSON.
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    pub meta: Option<Value>,
}

/// Flags of `holdfast token sub`.
#[derive(Debug, Args)]
pub(crate) struct TokenSub {
    /// Claims that both kinds of tokens have.
    #[command(flatten)]
    pub claims: TokenClaims,
    /// The channel.
    #[arg(long, value_name = "NAME")]
    pub channel: String,
    /// Client id of the only connection that may use the token [default: all connections of the user].
    #[arg(long, value_name = "ID")]
    pub client: Option<String>,
}

/// Flags of `holdfast token check`.
#[derive(Debug, Args)]
pub(crate) struct TokenCheck {
    /// Configuration, shared with the other commands.
    #[command(flatten)]
    pub file: ConfigFile,
    /// The token.
    pub token: String,
}

fn parse_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn cores_and_shards_exclude_each_other() {
        assert!(Cli::try_parse_from(["holdfast", "serve", "--cores", "0", "--shards", "1"]).is_err());
    }
}
