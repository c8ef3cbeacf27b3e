//! `check`: what is wrong with a configuration, or what it amounts to.

use super::{GlobalArgs, print};
use crate::config::{Config, ConfigError};
use serde_json::json;
use std::{
    io::{self, Write as _},
    time::SystemTime,
};

/// A configuration was checked and found wanting; the faults are printed already.
#[derive(Debug, thiserror::Error)]
#[error("{0} found in the configuration")]
struct Wanting(String);

/// Prints the outcome of loading a configuration. Warnings go to the standard error.
///
/// # Errors
/// When there are faults.
pub fn check(global: &GlobalArgs, loaded: Result<Config, ConfigError>) -> anyhow::Result<()> {
    let config = match loaded {
        Ok(config) => config,
        // Not a finding about the configuration: it is not known.
        Err(error) if error.is_not_permitted() => return Err(error.into()),
        Err(error) => {
            if global.json {
                print(json!({"ok": false, "faults": error.faults()}).to_string() + "\n")?;
            } else {
                // The faults are what was asked for, so they are output and not diagnostics.
                print(format!("{error}\n"))?;
            }
            let count = error.faults().len();
            return Err(Wanting(format!("{count} fault{}", if count == 1 { "" } else { "s" })).into());
        }
    };
    if global.json {
        let outcome = json!({"ok": true, "peers": config.peers.len(), "warnings": config.warnings});
        print(outcome.to_string() + "\n")?;
        return Ok(());
    }
    for warning in &config.warnings {
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    print(summary(&config))?;
    Ok(())
}

fn summary(config: &Config) -> String {
    let admitted = config.peers.iter().filter(|peer| peer.is_admitted(SystemTime::now())).count();
    let interface = &config.interface;
    let addresses: Vec<String> = interface.addresses.iter().map(ToString::to_string).collect();
    format!(
        "ok: {} ({}), public key {}, peers: {}, of which admitted: {admitted}\n",
        interface.name,
        addresses.join(", "),
        interface.identity.public_key(),
        config.peers.len(),
    )
}
