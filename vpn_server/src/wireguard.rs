//! `wireguard`: a userspace WireGuard interface, started as wireguard-go is.

use clap::{Args, builder::FalseyValueParser};
use std::{
    ffi::OsString,
    num::ParseIntError,
    os::fd::RawFd,
    path::{Path, PathBuf},
    time::Duration,
};
use vpn_core::{
    cli::{OffloadArgs, Usage},
    engine::QueueCount,
    journal::InterfaceName,
    session,
    uapi::{self, DaemonOptions, DetachError, Detached, UAPI_FOLDER},
};

/// Under this name the program is `vpn-server wireguard`: wg-quick takes one word for its implementation.
const SHORT_NAME: &str = "vpn-wireguard";

/// Age at which the initiator of a session makes a new one, in seconds; a test may only shorten it.
const REKEY_AFTER_SECONDS: u64 = session::REKEY_AFTER_TIME.as_secs();

/// What `--help` ends with.
pub(crate) const HELP: &str = "\
The interface is made without addresses and not set up; keys, peers and port come over the socket
/var/run/wireguard/IFNAME.sock, from `wg` or `wg-quick`. It ends, and takes both along, when the socket is removed, when the
interface is deleted, and on SIGINT and SIGTERM. It returns when the interface is ready and goes on in the background,
silent unless LOG_LEVEL is set.

A link to this program that is called vpn-wireguard behaves as `vpn-server wireguard`.

Environment, as of wireguard-go:
  LOG_LEVEL                   verbose, error or silent
  WG_PROCESS_FOREGROUND=1     as --foreground
  WG_TUN_FD=N                 take the TUN device with this file descriptor in place of making one
Of our own:
  VPN_OFFLOAD=LIST            as --offload; auto is the default
For tests:
  VPN_TEST_REKEY_AFTER=N      renew sessions after so many seconds (1 to 120)

Examples:
  vpn-server wireguard wg0 && wg setconf wg0 wg0.conf && ip link set wg0 up
  vpn-server wireguard --foreground wg0
  ln -s \"$(command -v vpn-server)\" /usr/local/bin/vpn-wireguard
  WG_QUICK_USERSPACE_IMPLEMENTATION=vpn-wireguard wg-quick up wg0";

/// Arguments of `wireguard`.
#[derive(Debug, Args)]
pub(crate) struct WireguardArgs {
    /// Name of the interface to make
    #[arg(value_name = "IFNAME")]
    interface: InterfaceName,
    /// Stay in the foreground and log to the standard error
    #[arg(short, long, env = "WG_PROCESS_FOREGROUND", value_parser = FalseyValueParser::new())]
    foreground: bool,
    #[command(flatten)]
    offload: OffloadArgs,
    /// File descriptor of a TUN device to use
    #[arg(long, env = "WG_TUN_FD", value_name = "N", hide = true, value_parser = parse_descriptor)]
    tun_fd: Option<TunDescriptor>,
    /// Queues of the interface, each with a thread: "auto", which is one a processor, or a number
    #[arg(long, env = "VPN_QUEUES", value_name = "N", default_value = "auto")]
    queues: QueueCount,
    /// How much to log
    #[arg(long, env = "LOG_LEVEL", value_name = "LEVEL", hide = true)]
    level: Option<String>,
    /// Folder of the socket
    #[arg(long, env = "VPN_UAPI_DIR", value_name = "DIR", default_value = UAPI_FOLDER, hide = true)]
    socket_dir: PathBuf,
    /// Renew sessions after so many seconds
    #[arg(long, env = "VPN_TEST_REKEY_AFTER", value_name = "SECONDS", hide = true, default_value_t = REKEY_AFTER_SECONDS)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=REKEY_AFTER_SECONDS))]
    rekey_after: u64,
}

/// What `WG_TUN_FD` says; empty, it says nothing, as to wireguard-go.
#[derive(Clone, Copy, Debug)]
struct TunDescriptor(Option<RawFd>);

impl WireguardArgs {
    /// What `LOG_LEVEL` asks for, in the words of wireguard-go.
    pub(crate) fn log_level(&self) -> &'static str {
        match self.level.as_deref() {
            Some("verbose" | "debug") => "debug",
            Some("error") => "error",
            Some("silent") => "off",
            Some(_) | None => "info",
        }
    }

    /// In the background there is a log only where somebody asked for it.
    fn logs_in_background(&self) -> bool {
        self.level.as_deref().is_some_and(|level| !level.is_empty() && level != "silent")
    }
}

fn parse_descriptor(text: &str) -> Result<TunDescriptor, ParseIntError> {
    if text.is_empty() {
        Ok(TunDescriptor(None))
    } else {
        text.parse().map(|number| TunDescriptor(Some(number)))
    }
}

/// The command line, with the command where the program's name stands for it.
pub(crate) fn with_command(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    if name.is_some_and(|name| name == SHORT_NAME) {
        arguments.insert(1, "wireguard".into());
    }
    arguments
}

/// Runs the daemon, or starts it and returns when it is ready.
pub(crate) fn run(args: &WireguardArgs) -> anyhow::Result<()> {
    if std::env::var_os("WG_UAPI_FD").is_some() {
        let why = "WG_UAPI_FD is not supported: the socket is made here; unset it";
        return Err(Usage(why.to_owned()).into());
    }
    let detached = Detached::begin(args.logs_in_background())?;
    if detached.is_none() && !args.foreground {
        return match uapi::detach() {
            // It has said why.
            Err(DetachError::Ended(status)) if status.code().is_some() => {
                std::process::exit(status.code().unwrap_or(1))
            }
            outcome => Ok(outcome?),
        };
    }
    let options = DaemonOptions {
        interface: args.interface.clone(),
        tun: args.tun_fd.and_then(|descriptor| descriptor.0),
        queues: args.queues,
        folder: args.socket_dir.clone(),
        rekey_after: Duration::from_secs(args.rekey_after),
        offload: args.offload.offload.unwrap_or_default(),
    };
    Ok(uapi::run(&options, || {
        if let Some(detached) = detached {
            detached.ready();
        }
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        with_command(text.split(' ').map(OsString::from))
    }

    #[test]
    fn the_short_name_stands_for_the_command_and_no_other_name_does() {
        assert_eq!(
            words("/usr/bin/vpn-wireguard -f wg0"),
            ["/usr/bin/vpn-wireguard", "wireguard", "-f", "wg0"]
        );
        assert_eq!(words("vpn-wireguard"), ["vpn-wireguard", "wireguard"]);
        assert_eq!(words("vpn-server status"), ["vpn-server", "status"]);
    }
}
