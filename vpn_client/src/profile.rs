//! Which configuration, and which running client, a command is about.

use std::path::{Path, PathBuf};
use vpn_core::{
    cli::{GlobalArgs, Usage, running_node},
    config::{Config, InterfaceName},
    control::ControlClient,
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
    running_node(&global.run_dir, "client")
}
