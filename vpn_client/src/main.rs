//! `vpn-client`: connects this host to a server. Only the command line is here.

mod doctor;
mod down;
mod profile;
mod up;

use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode, time::SystemTime};
use vpn_core::{
    cli::{self, GlobalArgs, NotConnected, SharedCommand, StatusArgs},
    config::{Config, Role},
    control::PeerState,
    node::{self, Cleaned, KillSwitchLeft},
};

/// Client of the post-quantum hybrid VPN
#[derive(Parser)]
#[command(name = "vpn-client", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "Examples:
  vpn-client up alice --wait
  vpn-client up ./alice.toml --foreground
  vpn-client status
  vpn-client down

Exit status: 0 done, 1 failed, 2 usage, 3 not running or not connected, 4 not permitted.")]
struct Arguments {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Connect
    #[command(after_help = "Examples:
  vpn-client up alice                    /etc/vpn/clients/alice.toml, in the background
  vpn-client up ./alice.toml --wait=10s  return when connected, or fail with status 3
  vpn-client up alice --foreground       for a service manager")]
    Up(up::UpArgs),
    /// Disconnect, or undo what a client that crashed has left behind; not running is no error
    #[command(after_help = "Examples:\n  vpn-client down\n  vpn-client down alice")]
    Down(ProfileArgs),
    /// Show the running client and its peers; status 3 when none of them is connected
    #[command(
        after_help = "Examples:\n  vpn-client status\n  vpn-client status --json | jq '.peers[0].state'"
    )]
    Status(StatusArgs),
    /// Say what is wrong with a configuration, with file and line
    #[command(after_help = "Example:\n  vpn-client check ./alice.toml")]
    Check(ProfileArgs),
    /// Undo what a client that crashed has left behind
    #[command(after_help = "Example:\n  vpn-client cleanup")]
    Cleanup,
    /// Say what this host has for a tunnel and what it lacks; changes nothing
    #[command(after_help = "Example:\n  sudo vpn-client doctor")]
    Doctor,
    #[command(flatten)]
    Shared(SharedCommand),
}

/// Which configuration.
#[derive(Debug, clap::Args)]
struct ProfileArgs {
    /// A file, or the name of a profile in /etc/vpn/clients
    #[arg(value_name = "FILE|PROFILE", env = "VPN_PROFILE")]
    profile: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Arguments { global, command } = cli::parse(std::env::args_os());
    cli::run(|| {
        // What `doctor` finds is its output.
        global.start_logging_at(if matches!(command, Command::Doctor) { "error" } else { "info" });
        run(&global, command)
    })
}

fn run(global: &GlobalArgs, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(args) => up::up(global, &args),
        Command::Down(ProfileArgs { profile }) => down::down(global, profile.as_deref()),
        Command::Status(args) => status(global, args),
        Command::Check(ProfileArgs { profile }) => {
            let file = profile::file(global, profile.as_deref())?;
            cli::check(global, Config::load(&file, Role::Client, SystemTime::now()))
        }
        Command::Cleanup => cleanup(global),
        Command::Doctor => doctor::doctor(global),
        Command::Shared(command) => command.run(cli::command::<Arguments>()),
    }
}

/// Shows the client, and ends with the status of its connection.
fn status(global: &GlobalArgs, args: StatusArgs) -> anyhow::Result<()> {
    let status = profile::running(global, None)
        .and_then(|client| cli::show_status(global, &client, args))
        .map_err(|error| down::with_remains(global, error))?;
    if status.peers.iter().any(|peer| peer.state == PeerState::Up) {
        return Ok(());
    }
    Err(NotConnected("not connected: no peer is up".to_owned()).into())
}

fn cleanup(global: &GlobalArgs) -> anyhow::Result<()> {
    let cleaned = node::cleanup(&global.node_options(), None, KillSwitchLeft::Lift)?;
    let Cleaned { undone, running, nameless, .. } = &cleaned;
    let mut text = undone.iter().fold(String::new(), |text, name| text + name.as_str() + ": undone\n");
    for name in running {
        text = text + name.as_str() + ": in use by a node that runs, left alone\n";
    }
    for what in nameless {
        text = text + what + ", of no interface that is known: removed\n";
    }
    for what in cleaned.to_look_at() {
        text = text + &what + "\n";
    }
    if cleaned.is_nothing() {
        text.push_str("nothing was left behind\n");
    }
    Ok(cli::print(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        cli::command::<Arguments>().debug_assert();
    }
}
