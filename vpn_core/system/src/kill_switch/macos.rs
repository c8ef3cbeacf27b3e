//! Putting the kill switch of macOS in force.

use super::pf::{PfRequest, pf_anchor, pf_text};
use crate::journal::{Journal, JournalError, PfRules, pfctl};

/// The kill switch in force.
#[derive(Debug)]
pub struct MacKillSwitch(PfRules);

impl MacKillSwitch {
    /// Puts it in force, or takes over the one that an earlier run has left and the journal still lists.
    ///
    /// # Errors
    /// [`JournalError`]; one that was in force before still is.
    pub fn engage(request: &PfRequest<'_>, journal: &mut Journal) -> Result<Self, JournalError> {
        let rules =
            PfRules::load(pf_anchor(request.interface), pf_text(request), &["anchor"], true, journal)?;
        // What passed before is remembered as states, and would go on to pass.
        pfctl(&["-q", "-F", "states"], None)?;
        Ok(Self(rules))
    }

    /// Goes over to another request for the same interface, in one transaction. Does nothing where it is the same.
    ///
    /// # Errors
    /// [`JournalError::Command`]; what was in force stays in force.
    pub fn update(&mut self, request: &PfRequest<'_>) -> Result<(), JournalError> {
        self.0.replace(pf_text(request))
    }

    /// Puts it back where somebody has removed it; whether that was so.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn restore(&self, journal: &mut Journal) -> Result<bool, JournalError> {
        self.0.restore(journal)
    }
}
