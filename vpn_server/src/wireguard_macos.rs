//! `wireguard` on macOS, where it is not: it says so.

use clap::Args;
use std::ffi::OsString;
use vpn_core::cli::Usage;

/// What `--help` ends with.
pub(crate) const HELP: &str = "This command is Linux's only; on a Mac, wireguard-go does the same.";

/// Whatever `wg-quick` would give.
#[derive(Debug, Args)]
pub(crate) struct WireguardArgs {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    _rest: Vec<OsString>,
}

impl WireguardArgs {
    #[expect(clippy::unused_self, reason = "as on Linux")]
    pub(crate) fn log_level(&self) -> &'static str {
        "info"
    }
}

/// The command line as it is.
pub(crate) fn with_command(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    arguments.collect()
}

/// Refuses.
pub(crate) fn run(_args: &WireguardArgs) -> anyhow::Result<()> {
    Err(Usage(HELP.to_owned()).into())
}
