//! Layer 5: the kill switch of a client: while it is in force nothing leaves this host but what takes the tunnel.
//!
//! Routing alone sends everything into the tunnel that asks for a route. It does not hold what is bound to another
//! interface, nor the moment in which routes come and go. The kill switch is a firewall table of its own whose chains drop
//! everything but loopback, the tunnel, our own marked datagrams, what a host needs to stay on its link (DHCP, neighbour
//! discovery), and the local network where that is wished. It is put in force before anything else and lifted after
//! everything else, stays while the tunnel reconnects, and is in the kernel: a client that crashes leaves it in force.
//!
//! That is called lockdown here, and ends with the next orderly stop, with `vpn-client down` and `vpn-client cleanup`, and
//! when the machine starts again. The next start takes the table over and replaces it in one transaction.
//!
//! On macOS the table is an anchor of pf: the rules of `pf`, put in force by `macos`.

#[cfg(target_os = "macos")]
mod macos;
mod pf;
mod text;

use crate::journal::{Change, CommandError, Journal, JournalError, require, run};

#[cfg(target_os = "macos")]
pub use macos::MacKillSwitch;
pub use pf::{PfRequest, pf_anchor, pf_text};
pub use text::{KillSwitchRequest, KillSwitchRules, rules};

/// Why the kill switch could not be put in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KillSwitchError {
    /// The journal could not be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// nft is missing or failed.
    #[error("the kill switch cannot be put in force: {0}")]
    Command(#[from] CommandError),
}

/// The kill switch in force.
#[derive(Debug)]
pub struct KillSwitch {
    rules: KillSwitchRules,
}

impl KillSwitch {
    /// Puts it in force, or takes over the one that an earlier run has left and the journal still lists.
    ///
    /// # Errors
    /// [`KillSwitchError`]; one that was in force before still is.
    pub fn engage(rules: KillSwitchRules, journal: &mut Journal) -> Result<Self, KillSwitchError> {
        require("nft")?;
        if !journal.outstanding().any(|(_, change)| change.is_kill_switch()) {
            journal.record(Change::KillSwitch { table: rules.table.clone() })?;
        }
        load(&rules)?;
        Ok(Self { rules })
    }

    /// Goes over to other rules for the same interface, in one transaction. Does nothing where they are the same.
    ///
    /// # Errors
    /// [`KillSwitchError::Command`]; what was in force stays in force.
    pub fn update(&mut self, rules: KillSwitchRules) -> Result<(), KillSwitchError> {
        if rules != self.rules {
            load(&rules)?;
            self.rules = rules;
        }
        Ok(())
    }

    /// Puts it back after somebody has removed it.
    ///
    /// # Errors
    /// [`KillSwitchError::Command`].
    pub fn restore(&self) -> Result<(), KillSwitchError> {
        Ok(load(&self.rules)?)
    }

    /// The table's name.
    pub fn table(&self) -> &str {
        &self.rules.table
    }
}

fn load(rules: &KillSwitchRules) -> Result<(), CommandError> {
    run("nft", &["-f", "-"], Some(&rules.text)).map(drop)
}
