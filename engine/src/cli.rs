//! CLI: the command line of `holdfast`.
//!
//! In:  arguments, and `HOLDFAST_CONFIG`.
//! Out: a command to run, with its flags as they were written.
//!
//! No value is checked here that a file could hold as well: that is `config`'s work.

use crate::config::{CONFIG_VARIABLE, Flags};
use crate::doctor::Profile;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Holds a very large number of WebSocket connections on one Linux machine.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon until SIGTERM or SIGINT; prints one line "ready …" when it accepts connections.
    #[command(
        after_help = "Every other option: `holdfast config doc`, or `holdfast config default` as a file. \
                            The environment (HOLDFAST_…) wins over the file, and a flag over both."
    )]
    Serve(Serve),
    /// Check whether this machine can hold the planned connections; exit code 0 if so, 1 if not.
    #[command(
        after_help = "Each line says ok, warn or fail, what was found and what is needed; where something is \
                            to mend, the command follows."
    )]
    Doctor(Doctor),
    /// Check a configuration, or print the defaults or the reference page.
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// Flags of `holdfast serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Configuration, shared with the other commands.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Address and port for clients [default: 0.0.0.0:8000; port 0: any free one].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Address and port of the control plane (health, metrics) [default: 127.0.0.1:9000].
    #[arg(long, value_name = "ADDR")]
    pub control: Option<SocketAddr>,
    /// CPUs to run on, one shard each, like 0-3,6 [default: all that this process may use].
    #[arg(long, value_name = "LIST", conflicts_with = "shards")]
    pub cores: Option<String>,
    /// Number of shards, one core each [default: 0, one on every core].
    #[arg(long, value_name = "N")]
    pub shards: Option<u32>,
}

impl Serve {
    /// The part of the flags that is configuration.
    pub fn flags(&self) -> Flags {
        Flags { listen: self.listen, control: self.control, cores: self.cores.clone(), shards: self.shards }
    }
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// Configuration file: .toml, .yaml, .yml or .json [default: none, all defaults hold].
    #[arg(long = "config", value_name = "FILE", env = CONFIG_VARIABLE, hide_env_values = true)]
    pub path: Option<PathBuf>,
}

/// Flags of `holdfast doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
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
pub enum ConfigCommand {
    /// Print what is in force and where each value came from, or all errors; exit code 0 or 1.
    Check(ConfigFile),
    /// Print a commented configuration file (TOML) that holds every default.
    Default,
    /// Print the reference page (Markdown), as in docs/configuration.md.
    Doc,
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
