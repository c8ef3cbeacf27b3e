//! Rules of ours in the packet filter of macOS, and the reference that keeps it switched on.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use super::{
    Change, CommandError, Journal, JournalError, MacChange,
    mac::{has_apple_anchor, pf_token},
    run,
};

/// The program, from the base system and from nowhere else.
const PFCTL: &str = "/sbin/pfctl";

/// Runs pf's program, and gives its standard output.
///
/// # Errors
/// As for [`run`].
pub fn pfctl(arguments: &[&str], rules: Option<&str>) -> Result<String, CommandError> {
    run(PFCTL, arguments, rules)
}

/// The token that `process` holds, if it does.
pub(super) fn reference_of(process: u32) -> Result<Option<u64>, CommandError> {
    Ok(pf_token(&pfctl(&["-s", "References"], None)?, process))
}

/// The rules of an anchor of ours.
#[derive(Debug)]
pub struct PfRules {
    anchor: String,
    text: String,
    lockdown: bool,
}

impl PfRules {
    /// Loads `text` into `anchor`, which lies below `com.apple`, and switches pf on; `kinds` are the kinds of anchor that the
    /// main ruleset must have for the rules to be looked at: `anchor`, `nat-anchor`, `scrub-anchor`. In `lockdown` they stay
    /// in force after a crash, and those that a crash has left are taken over.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn load(
        anchor: String,
        text: String,
        kinds: &[&'static str],
        lockdown: bool,
        journal: &mut Journal,
    ) -> Result<Self, JournalError> {
        let main = pfctl(&["-s", "rules"], None)? + &pfctl(&["-s", "nat"], None)?;
        if let Some(kind) = kinds.iter().find(|kind| !has_apple_anchor(&main, kind)) {
            return Err(JournalError::NoPfAnchor { kind });
        }
        let change = Change::Mac(MacChange::PfAnchor { anchor: anchor.clone(), lockdown });
        if !journal.outstanding().any(|(_, made)| *made == change) {
            journal.record(change)?;
        }
        let rules = Self { anchor, text, lockdown };
        rules.put()?;
        journal.enable_pf(lockdown)?;
        Ok(rules)
    }

    /// Goes over to other rules, in one transaction. Does nothing where they are the same.
    ///
    /// # Errors
    /// [`JournalError::Command`]; what was in force stays in force.
    pub fn replace(&mut self, text: String) -> Result<(), JournalError> {
        if text != self.text {
            let before = std::mem::replace(&mut self.text, text);
            self.put().inspect_err(|_| self.text = before)?;
        }
        Ok(())
    }

    /// Puts them back where somebody has removed them, and switches pf on again; whether that was so.
    ///
    /// # Errors
    /// [`JournalError::Command`].
    pub fn restore(&self, journal: &mut Journal) -> Result<bool, JournalError> {
        let present = pfctl(&["-a", &self.anchor, "-s", "rules"], None)?
            + &pfctl(&["-a", &self.anchor, "-s", "nat"], None)?;
        let is_missing = present.trim().is_empty();
        if is_missing {
            self.put()?;
        }
        Ok(journal.enable_pf(self.lockdown)? | is_missing)
    }

    fn put(&self) -> Result<(), JournalError> {
        pfctl(&["-q", "-a", &self.anchor, "-f", "-"], Some(&self.text))?;
        Ok(())
    }
}

impl Journal {
    /// Switches pf on, until the entry is undone; whether we had not done that. Others that want it on keep it on.
    fn enable_pf(&mut self, lockdown: bool) -> Result<bool, JournalError> {
        for (_, change) in self.outstanding() {
            if let Change::Mac(MacChange::PfReference { process, .. }) = change
                && reference_of(*process)?.is_some()
            {
                return Ok(false);
            }
        }
        let failed = |source| CommandError::Start { program: PFCTL.to_owned(), source };
        // It waits for a line, so that its number is in the journal before it holds a token.
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("read go && exec {PFCTL} -q -E")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let process = child.id();
        let recorded = self.record(Change::Mac(MacChange::PfReference { process, lockdown }));
        // Where it could not be recorded the end of its input ends it without having done anything.
        let line: &[u8] = if recorded.is_ok() { b"go\n" } else { b"" };
        let told = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(line));
        let ended = child.wait().map_err(failed)?;
        let id = recorded?;
        told.map_err(failed)?;
        if reference_of(process)?.is_some() {
            return Ok(true);
        }
        self.undo(&[id])?;
        let stderr = format!("pf could not be switched on ({ended})");
        Err(CommandError::Failed { command: format!("{PFCTL} -E"), stderr }.into())
    }
}
