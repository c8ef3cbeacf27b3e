//! `vpn-server`: a gateway for many clients and site links. Only the command line is here.

mod address;
mod client;
mod init;
mod qr;
#[cfg_attr(target_os = "macos", path = "wireguard_macos.rs")]
mod wireguard;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode, time::SystemTime};
use vpn_core::{
    cli::{self, GlobalArgs, NotConnected, OffloadArgs, SharedCommand, StatusArgs},
    config::{Config, Role},
    control::ControlClient,
    node::{self, NodeOptions},
};

const DEFAULT_CONFIG: &str = "/etc/vpn/server.toml";

/// Gateway for many clients and site links of the post-quantum hybrid VPN
#[derive(Parser)]
#[command(name = "vpn-server", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "Examples:
  vpn-server init --endpoint vpn.example.org:51820
  vpn-server client add alice --out alice.toml
  vpn-server client add phone --wireguard --qr
  vpn-server run
  vpn-server status --watch

Exit status: 0 done, 1 failed, 2 usage, 3 not running, 4 not permitted.")]
struct Arguments {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make an identity and a configuration; never overwrites
    #[command(after_help = "Examples:
  vpn-server init --endpoint vpn.example.org:51820
  vpn-server init --dir ./lab --pool 10.9.0.0/24 --endpoint 192.0.2.1:51820")]
    Init(init::InitArgs),
    /// Run in the foreground until stopped; SIGHUP reloads
    #[command(after_help = "Examples:\n  vpn-server run\n  vpn-server run -c ./lab/server.toml -v\n  \
        vpn-server run --offload off    # in place of `offload` in [interface], to look for a fault")]
    Run(OffloadArgs),
    /// Say what is wrong with the configuration, with file and line
    #[command(after_help = "Examples:\n  vpn-server check\n  vpn-server check --json -c ./lab/server.toml")]
    Check,
    /// Have the running server read its configuration again
    #[command(after_help = "Example:\n  vpn-server check && vpn-server reload")]
    Reload,
    /// Show the running server and its peers
    #[command(
        after_help = "Examples:\n  vpn-server status\n  vpn-server status --json | jq '.peers[].state'"
    )]
    Status(StatusArgs),
    /// Add, list, change and remove clients
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// Be a WireGuard interface that `wg` and `wg-quick` configure
    #[command(after_help = wireguard::HELP)]
    Wireguard(wireguard::WireguardArgs),
    #[command(flatten)]
    Shared(SharedCommand),
}

fn main() -> ExitCode {
    let Arguments { global, command } = cli::parse(wireguard::with_command(std::env::args_os()));
    cli::run(|| {
        if let Command::Wireguard(args) = &command {
            global.start_logging_at(args.log_level());
        } else {
            global.start_logging();
        }
        run(&global, command)
    })
}

fn run(global: &GlobalArgs, command: Command) -> anyhow::Result<()> {
    let file = global.config_or(DEFAULT_CONFIG);
    let load = move || Config::load(&file, Role::Server, SystemTime::now());
    match command {
        Command::Init(args) => init::init(&args),
        Command::Run(OffloadArgs { offload }) => {
            let options = NodeOptions { offload, ..global.node_options() };
            Ok(node::run(&load, Role::Server, &options)?)
        }
        Command::Check => cli::check(global, load()),
        Command::Reload => {
            let notes = running(global)?.reload()?;
            cli::print(notes.iter().fold("reloaded\n".to_owned(), |text, note| text + note + "\n"))?;
            Ok(())
        }
        Command::Status(args) => cli::show_status(global, &running(global)?, args).map(drop),
        Command::Client(command) => client::run(global, &global.config_or(DEFAULT_CONFIG), command),
        Command::Wireguard(args) => wireguard::run(&args),
        Command::Shared(command) => command.run(cli::command::<Arguments>()),
    }
}

/// The server that the configuration file names, running or not. Where the usual file is not there, and to those who may not read
/// theirs but perhaps ask for the status, it is the only one that runs.
fn running(global: &GlobalArgs) -> anyhow::Result<ControlClient> {
    let file: PathBuf = global.config_or(DEFAULT_CONFIG);
    match Config::interface_name(&file) {
        Ok(name) => Ok(global.control(name.as_str())),
        Err(error) => {
            let is_missing = global.config.is_none() && matches!(file.try_exists(), Ok(false));
            if !error.is_not_permitted() && !is_missing {
                return Err(error).context("which interface is not known");
            }
            match cli::running_node(&global.run_dir, "server") {
                Err(none) if none.is::<NotConnected>() && is_missing => Err(none),
                Err(none) if none.is::<NotConnected>() => Err(error).context("which interface is not known"),
                found => found,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        cli::command::<Arguments>().debug_assert();
    }
}
