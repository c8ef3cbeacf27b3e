//! `up`: in the foreground, or as a process of its own in the background.

use crate::profile;
use anyhow::{Context as _, anyhow, bail};
use clap::{Args, builder::BoolishValueParser};
use std::{
    env, fs,
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    path::{self, Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};
use vpn_core::{
    cli::{ExitStatus, GlobalArgs, NotConnected, NotPermitted, OffloadArgs},
    config::{Config, InterfaceName, Role},
    control::{ControlClient, ControlError, InterfaceStatus, PeerState, PeerStatus},
    journal::{make_own_folder, new_log},
    node::{self, KillSwitchLeft, NodeOptions},
};

/// How long a start may take: reading, making the interface, installing routes.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a process that is starting, or at a peer that is connecting.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How to connect.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// A file, or the name of a profile in /etc/vpn/clients
    #[arg(value_name = "FILE|PROFILE", env = "VPN_PROFILE")]
    profile: Option<PathBuf>,
    /// Stay in the foreground until stopped; SIGHUP reloads
    #[arg(long, env = "VPN_FOREGROUND", conflicts_with = "wait", value_parser = BoolishValueParser::new())]
    foreground: bool,
    /// Return only when a peer is connected; fail with status 3 when that takes longer
    #[arg(long, env = "VPN_WAIT", value_name = "TIME", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "30s", value_parser = parse_duration)]
    wait: Option<Duration>,
    #[command(flatten)]
    offload: OffloadArgs,
}

/// Connects.
pub(crate) fn up(global: &GlobalArgs, args: &UpArgs) -> anyhow::Result<()> {
    let file = profile::file(global, args.profile.as_deref())?;
    let load = || Config::load(&file, Role::Client, SystemTime::now());
    if args.foreground {
        let options = NodeOptions { offload: args.offload.offload, ..global.node_options() };
        return Ok(node::run(&load, Role::Client, &options)?);
    }
    // Read here as well: what is wrong with the file is better said by this process than by one without a terminal.
    let config = load()?;
    for warning in &config.warnings {
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    if let Some(session) = node::session_cut_by(&config) {
        let _ = writeln!(io::stderr(), "warning: {}", node::cut_warning(&session));
    }
    let name = config.interface.name.clone();
    let client = global.control(name.as_str());
    refuse_second(&client)?;
    let log = global.run_dir.join(format!("{name}.log"));
    let child = start(global, args.offload, &file, &log)?;
    if let Err(error) = wait_until_ready(&client, child, &log) {
        // Half started is not started: what a killed one had changed is undone. But it is not for us to lift a kill switch.
        if let Err(second) = node::cleanup(&global.node_options(), Some(&name), KillSwitchLeft::Keep) {
            let _ = writeln!(io::stderr(), "warning: something could not be undone: {second}");
        }
        let locked = node::locked_down(&global.node_options()).unwrap_or_default();
        return Err(if locked.contains(&name) { say_locked_down(error, &name) } else { error });
    }
    if let Ok(status) = client.status() {
        say_how_it_stands(&status.interface);
    }
    let Some(patience) = args.wait else { return Ok(()) };
    wait_until_connected(&client, patience, &log)
}

/// Says what passes beside the tunnel, on purpose or not.
fn say_how_it_stands(InterfaceStatus { inbound_reason, warnings, notes, .. }: &InterfaceStatus) {
    if let Some(reason) = inbound_reason {
        let _ = writeln!(io::stderr(), "connections from outside are answered beside the tunnel: {reason}");
    }
    for warning in warnings {
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    for note in notes {
        let _ = writeln!(io::stderr(), "note: {note}");
    }
}

fn refuse_second(client: &ControlClient) -> anyhow::Result<()> {
    match client.status() {
        Ok(status) => {
            bail!("already running: {} has interface {}", client.path().display(), status.interface.name)
        }
        Err(
            error @ (ControlError::NotPermitted(_)
            | ControlError::Denied(_)
            | ControlError::Unresponsive { .. }),
        ) => Err(error.into()),
        // Not running, or on its way out: the new one waits for that itself.
        Err(_) => Ok(()),
    }
}

/// Starts this program again with `--foreground`, in a process group of its own, so that a Ctrl-C meant for another
/// command does not reach it.
fn start(global: &GlobalArgs, offload: OffloadArgs, file: &Path, log: &Path) -> anyhow::Result<Child> {
    let cannot = || format!("the log {} cannot be made", log.display());
    make_own_folder(&global.run_dir, 0o755).with_context(cannot)?;
    let output = new_log(log).with_context(cannot)?;
    let mut command = Command::new(env::current_exe().context("this program cannot find itself")?);
    command.arg("up").arg("--foreground").arg("--").arg(fs::canonicalize(file)?);
    command.env_remove("VPN_WAIT").env_remove("VPN_PROFILE");
    // Given as arguments or relative, they would mean something else to it.
    command.env("VPN_RUN_DIR", fs::canonicalize(&global.run_dir)?);
    command.env("VPN_STATE_DIR", path::absolute(&global.state_dir)?);
    if let Some(session) = node::SshSession::current() {
        // Its ancestors will be others.
        command.env(node::SSH_VARIABLE, session.to_string());
    }
    command.env("VPN_COLOR", "never").env("VPN_VERBOSE", global.verbose.to_string());
    command.env("VPN_LOG_FORMAT", global.log_format.as_str());
    if let Some(offload) = offload.offload {
        command.env("VPN_OFFLOAD", offload.to_string());
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).process_group(0).current_dir("/");
    command.spawn().context("the client cannot be started")
}

/// Waits until the client answers on its control socket, or has ended.
fn wait_until_ready(client: &ControlClient, mut child: Child, log: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        if let Some(status) = child.try_wait().context("the client cannot be watched")? {
            let said = fs::read_to_string(log).unwrap_or_default();
            let said = said.trim_end();
            let said = said.trim_start_matches("error: ");
            return Err(match status.code() {
                // The file was read a moment ago, so this is about the system.
                Some(code) if code == ExitStatus::NotPermitted as i32 => NotPermitted(said.to_owned()).into(),
                _ => anyhow!("the client did not start ({status}):\n{said}"),
            });
        }
        match client.status() {
            Ok(_) => return Ok(()),
            // Also when a predecessor's socket breaks off.
            Err(_) if Instant::now() < deadline => thread::sleep(POLL_INTERVAL),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error)
                    .with_context(|| format!("the client did not start; see {}", log.display()));
            }
        }
    }
}

/// Says that nothing leaves this host, where a client that was killed could not.
fn say_locked_down(error: anyhow::Error, interface: &InterfaceName) -> anyhow::Error {
    if format!("{error:#}").contains("kill switch") {
        return error;
    }
    error.context(format!(
        "the kill switch of {interface} stays in force, so nothing leaves this host (`vpn-client up` connects again, \
         `vpn-client down` lifts it)"
    ))
}

fn wait_until_connected(client: &ControlClient, patience: Duration, log: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let peers = client.status()?.peers;
        if peers.iter().any(|peer| peer.state == PeerState::Up) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(NotConnected(not_connected(&peers, patience, log)).into());
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// What to look at, for each peer: the one who asked may never have seen it work.
fn not_connected(peers: &[PeerStatus], patience: Duration, log: &Path) -> String {
    let peers = peers.iter().map(|PeerStatus { name, endpoint, public_key, reason, .. }| {
        let endpoint = endpoint.as_deref().unwrap_or("(unknown)");
        let reason = reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
        format!(
            "  no session with {name} at {endpoint}{reason}: check that it runs, that this UDP port is open on the way, that \
             `public_key` = {public_key} is its own, and that it knows this client\n"
        )
    });
    let peers: String = peers.collect();
    let log = log.display();
    format!(
        "not connected after {patience:?}\n{peers}the client goes on trying, and its log is {log}; `vpn-client down` \
         stops it"
    )
}

/// Reads whole seconds: `30`, `30s` or `2m`.
fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    let wrong = "write seconds or minutes, as in 30s or 2m";
    let (number, unit) = match text.strip_suffix('m') {
        Some(number) => (number, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    number.parse::<u16>().map(|number| Duration::from_secs(u64::from(number) * unit)).map_err(|_| wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_switch_that_stays_is_told_once_and_the_exit_status_is_that_of_the_failure() {
        let interface = "vpn0".parse().unwrap();
        let killed = say_locked_down(NotPermitted("killed".to_owned()).into(), &interface);
        assert!(format!("{killed:#}").contains("`vpn-client down` lifts it"), "{killed:#}");
        assert!(killed.is::<NotPermitted>());
        let said = anyhow!("no route\nthe kill switch of vpn0 stays in force");
        assert_eq!(
            say_locked_down(said, &interface).to_string(),
            "no route\nthe kill switch of vpn0 stays in force"
        );
    }

    #[test]
    fn durations_are_seconds_or_minutes() {
        assert_eq!(parse_duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "s", "1h", "-1", "1.5s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
