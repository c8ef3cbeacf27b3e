//! `client`: the peers that connect to this server.

mod add;
mod change;
mod files;
mod handover;
mod list;
mod remove;
mod rotate;
mod wireguard_key;

pub(crate) use files::key_file_text;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};
use vpn_core::{
    cli::GlobalArgs,
    config::{Config, PEERS_FOLDER, PeerConfig, PeerName, Role, remove_leftovers},
    control::ControlError,
};

/// What to do with clients.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Make a client: its file to hand over, and its entry in peers.d
    #[command(after_help = "Examples:
  vpn-server client add alice
  vpn-server client add bob --out - --expires 90d | ssh bob 'umask 077; cat > vpn.toml'
  vpn-server client add carol --public-key 'base64, 44 characters'
  vpn-server client add phone --wireguard --qr")]
    Add(add::AddArgs),
    /// List all peers
    #[command(after_help = "Examples:\n  vpn-server client list\n  vpn-server client list --json")]
    List,
    /// Show one peer
    #[command(after_help = "Example:\n  vpn-server client show alice")]
    Show(NameArgs),
    /// Admit a client again
    #[command(after_help = "Example:\n  vpn-server client enable alice")]
    Enable(NameArgs),
    /// Refuse a client until it is enabled again; its key and addresses stay
    #[command(after_help = "Example:\n  vpn-server client disable alice")]
    Disable(NameArgs),
    /// Give a client another name; its session goes on
    #[command(after_help = "Example:\n  vpn-server client rename alice alice-laptop")]
    Rename(change::RenameArgs),
    /// Give a client new keys and write its new file; the old one is of no use from then on
    #[command(after_help = "Examples:
  vpn-server client rotate alice --out alice-new.toml
  vpn-server client rotate phone --qr
  vpn-server client rotate carol --public-key 'base64, 44 characters'")]
    Rotate(rotate::RotateArgs),
    /// Remove a client and its preshared key
    #[command(after_help = "Example:\n  vpn-server client remove alice")]
    Remove(NameArgs),
}

/// Which client.
#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The client's name
    name: PeerName,
}

/// Runs one of the commands on the configuration `file`.
pub(crate) fn run(global: &GlobalArgs, file: &Path, command: ClientCommand) -> anyhow::Result<()> {
    match command {
        ClientCommand::Add(args) => add::add(global, file, &args),
        ClientCommand::List => list::list(global, &load(file)?),
        ClientCommand::Show(NameArgs { name }) => list::show(global, &load(file)?, &name),
        ClientCommand::Enable(NameArgs { name }) => change::set_enabled(global, file, &name, true),
        ClientCommand::Disable(NameArgs { name }) => change::set_enabled(global, file, &name, false),
        ClientCommand::Rename(args) => change::rename(global, file, &args),
        ClientCommand::Rotate(args) => rotate::rotate(global, file, &args),
        ClientCommand::Remove(NameArgs { name }) => remove::remove(global, file, &name),
    }
}

fn load(file: &Path) -> anyhow::Result<Config> {
    Config::load(file, Role::Server, SystemTime::now()).context("the configuration must be valid first")
}

fn find<'a>(config: &'a Config, name: &PeerName) -> anyhow::Result<&'a PeerConfig> {
    config.peer(name.as_str()).with_context(|| format!("there is no peer {name}"))
}

fn peers_folder(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(PEERS_FOLDER)
}

/// Keeps other commands from changing the peers until it is dropped. The lock is on the folder itself, so that there
/// is no lock file to leave behind.
fn lock_peers(file: &Path) -> anyhow::Result<File> {
    let folder = peers_folder(file);
    let opened = File::open(&folder)
        .with_context(|| format!("{} cannot be opened; `vpn-server init` makes it", folder.display()))?;
    opened.lock().with_context(|| format!("{} cannot be locked", folder.display()))?;
    Ok(opened)
}

/// Begins a change: takes the lock, reads the configuration, and tidies up behind commands that were killed.
fn begin(file: &Path) -> anyhow::Result<(File, Config)> {
    let lock = lock_peers(file)?;
    let config = load(file)?;
    let removed = remove_leftovers(&config).context("what an interrupted command left cannot be removed")?;
    for path in removed {
        let _ = writeln!(io::stderr(), "removed {}, which an interrupted command left", path.display());
    }
    Ok((lock, config))
}

/// Tells a running server about the change, and the user what it said.
fn apply(global: &GlobalArgs, config: &Config) -> anyhow::Result<()> {
    let told = match global.control(config.interface.name.as_str()).reload() {
        Ok(_) => "the running server has reloaded",
        Err(ControlError::NotRunning(_)) => "the server is not running; it will read this when it starts",
        Err(error) => {
            return Err(error).context("the files are changed, but the running server did not reload");
        }
    };
    let _ = writeln!(io::stderr(), "{told}");
    Ok(())
}
