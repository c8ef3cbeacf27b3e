//! Arguments that every command has.

use crate::{
    control::{ControlClient, Palette, RUN_FOLDER, socket_path},
    engine::OffloadSet,
    node::{NodeOptions, STATE_FOLDER},
};
use clap::{ArgAction, Args, ValueEnum, builder::BoolishValueParser};
use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};
use tracing_subscriber::EnvFilter;

/// Accepted before and after every subcommand.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Configuration file
    #[arg(short, long, global = true, env = "VPN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON, where a command has something to print
    #[arg(long, global = true, env = "VPN_JSON", value_parser = BoolishValueParser::new())]
    pub json: bool,
    /// Log more: -v for debug, -vv for trace
    #[arg(short, long, global = true, env = "VPN_VERBOSE", action = ArgAction::Count)]
    pub verbose: u8,
    /// How to write the log, which goes to the standard error
    #[arg(long, global = true, env = "VPN_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// When to use colours
    #[arg(long, global = true, env = "VPN_COLOR", value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Folder of the control sockets
    #[arg(long, global = true, env = "VPN_RUN_DIR", value_name = "DIR", default_value = RUN_FOLDER, hide = true)]
    pub run_dir: PathBuf,
    /// Folder of the journals of system changes
    #[arg(long, global = true, env = "VPN_STATE_DIR", value_name = "DIR", default_value = STATE_FOLDER, hide = true)]
    pub state_dir: PathBuf,
}

/// For commands that move packets.
#[derive(Clone, Copy, Debug, Args)]
pub struct OffloadArgs {
    /// Offloads of the kernel to use: auto, off, or some of checksum, tso, uso, gso and gro with commas between them
    #[arg(long, env = "VPN_OFFLOAD", value_name = "LIST")]
    pub offload: Option<OffloadSet>,
}

/// Forms of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl GlobalArgs {
    /// Sends the log to the standard error. `RUST_LOG` overrides `-v`.
    pub fn start_logging(&self) {
        self.start_logging_at("info");
    }

    /// The same where something else says how much is logged without `-v`: `level` is a filter like that in `RUST_LOG`.
    pub fn start_logging_at(&self, level: &str) {
        let level = match self.verbose {
            0 => level,
            1 => "debug",
            _ => "trace",
        };
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
        let ansi = self.color.wanted(io::stderr().is_terminal());
        // A second call finds logging set up already, which is what it wants.
        let _ = match self.log_format {
            LogFormat::Text => builder.with_ansi(ansi).with_target(self.verbose > 0).try_init(),
            LogFormat::Json => builder.json().try_init(),
        };
    }

    /// Colours for the standard output.
    pub fn palette(&self) -> Palette {
        if self.color.wanted(io::stdout().is_terminal()) { Palette::Ansi } else { Palette::Plain }
    }

    /// The configuration file, or `default`.
    pub fn config_or(&self, default: &str) -> PathBuf {
        self.config.clone().unwrap_or_else(|| Path::new(default).to_owned())
    }

    /// Where a node that these arguments start keeps its files.
    pub fn node_options(&self) -> NodeOptions {
        NodeOptions { run_folder: self.run_dir.clone(), state_folder: self.state_dir.clone(), offload: None }
    }

    /// The control socket of the node with this interface.
    pub fn control(&self, interface: &str) -> ControlClient {
        ControlClient::new(socket_path(&self.run_dir, interface))
    }
}

impl LogFormat {
    /// As on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl Color {
    fn wanted(self, terminal: bool) -> bool {
        match self {
            Self::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            Self::Always => true,
            Self::Never => false,
        }
    }
}
