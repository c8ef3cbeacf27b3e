//! Placeholder until the composition of a running node is written.

use crate::config::{Config, ConfigError, Role};
use std::path::PathBuf;

/// Where a node keeps what it shares with other programs.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Folder of the control socket.
    pub run_folder: PathBuf,
}

/// Why a node stopped or did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no node yet.
    #[error("running a node is not in this build")]
    NotBuilt,
}

/// Runs a node until it is told to stop; `load` is called again on a reload.
///
/// # Errors
/// [`NodeError`].
pub fn run(
    load: &dyn Fn() -> Result<Config, ConfigError>,
    _role: Role,
    _options: &NodeOptions,
) -> Result<(), NodeError> {
    load()?;
    Err(NodeError::NotBuilt)
}

/// Undoes what a node that crashed has left behind.
///
/// # Errors
/// [`NodeError`].
pub fn cleanup(_options: &NodeOptions) -> Result<(), NodeError> {
    Err(NodeError::NotBuilt)
}
