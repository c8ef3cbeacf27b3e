//! Which configuration, and which running client, a command is about.

use std::{
    fs,
    path::{Path, PathBuf},
};
use vpn_core::{
    cli::{GlobalArgs, NotConnected, Usage},
    config::{Config, InterfaceName},
    control::{ControlClient, ControlError},
};

const PROFILES: &str = "/etc/vpn/clients";

/// The configuration file that `profile`, or else `-c`, means. A name without a slash or `.toml` is a profile.
pub(crate) fn file(global: &GlobalArgs, profile: Option<&Path>) -> anyhow::Result<PathBuf> {
    match (profile, &global.config) {
        (Some(profile), _) => {
            let is_file = profile.components().count() > 1
                || profile.extension().is_some_and(|extension| extension == "toml")
                || profile.as_os_str().as_encoded_bytes().starts_with(b".");
            let named = || Path::new(PROFILES).join(format!("{}.toml", profile.display()));
            Ok(if is_file { profile.to_owned() } else { named() })
        }
        (None, Some(file)) => Ok(file.clone()),
        (None, None) => Err(Usage(format!("name a file, or a profile in {PROFILES}")).into()),
    }
}

/// The interface of `profile` or of `-c`; none where neither is given.
pub(crate) fn interface(
    global: &GlobalArgs,
    profile: Option<&Path>,
) -> anyhow::Result<Option<InterfaceName>> {
    if profile.is_none() && global.config.is_none() {
        return Ok(None);
    }
    Ok(Some(Config::interface_name(&file(global, profile)?)?))
}

/// The running client of `profile` or of `-c`; without either, the only client that runs.
pub(crate) fn running(global: &GlobalArgs, profile: Option<&Path>) -> anyhow::Result<ControlClient> {
    if let Some(name) = interface(global, profile)? {
        return Ok(global.control(name.as_str()));
    }
    let mut denied = None;
    let mut clients = Vec::new();
    for socket in sockets(&global.run_dir) {
        let client = ControlClient::new(socket);
        match client.status() {
            Ok(status) if status.role == "client" => clients.push(client),
            Err(error @ ControlError::NotPermitted(_)) => denied = Some(error),
            // A server, or a socket that nobody serves.
            Ok(_) | Err(_) => {}
        }
    }
    match (clients.len(), denied) {
        (0, Some(error)) => Err(error.into()),
        (0, None) => Err(NotConnected("not running: there is no client".to_owned()).into()),
        (1, _) => Ok(clients.remove(0)),
        (count, _) => Err(Usage(format!("{count} clients are running; say which, by -c FILE")).into()),
    }
}

/// The control sockets in the run folder, in the order of their names.
fn sockets(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut sockets: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "sock")).collect();
    sockets.sort();
    sockets
}
