//! Making and undoing changes to a Mac by the programs of its base system. What is already gone is not an error.

use super::{
    Change, CommandError, JournalError, MacChange, MacRoute,
    mac::{remove_key_script, route_is_missing, scutil_succeeded},
    pf::{pfctl, reference_of},
    run,
};

const ROUTE: &str = "/sbin/route";
const SCUTIL: &str = "/usr/sbin/scutil";

/// Undoes everything but sysctls, which need to know about the other journals.
pub(super) fn undo(change: &Change) -> Result<(), JournalError> {
    match change {
        Change::Mac(MacChange::Route(route)) => remove_route(route),
        Change::Mac(MacChange::StoreKey { key }) => Ok(scutil(&remove_key_script(key))?),
        Change::Mac(MacChange::PfAnchor { anchor, .. }) => {
            pfctl(&["-q", "-a", anchor, "-F", "all"], None)?;
            Ok(())
        }
        Change::Mac(MacChange::PfReference { process, .. }) => {
            if let Some(token) = reference_of(*process)? {
                pfctl(&["-q", "-X", &token.to_string()], None)?;
            }
            Ok(())
        }
        // Sysctls are not undone here, and all else is Linux's. A journal is bound to the boot in which it was written: none
        // of these can be in it.
        Change::Sysctl { .. }
        | Change::Mark { .. }
        | Change::NftTable { .. }
        | Change::KillSwitch { .. }
        | Change::RefusingTable(_)
        | Change::NameServers(_)
        | Change::IptablesRule { .. }
        | Change::IptablesChain { .. }
        | Change::PolicyRule(_)
        | Change::Route(_) => Ok(()),
    }
}

/// Adds a route that is in the journal.
///
/// # Errors
/// [`CommandError::Failed`]; `File exists` where the destination is routed already.
pub fn add_route(route: &MacRoute) -> Result<(), CommandError> {
    let arguments = route.add();
    run(ROUTE, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), None).map(drop)
}

fn remove_route(route: &MacRoute) -> Result<(), JournalError> {
    let arguments = route.delete();
    match run(ROUTE, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), None) {
        Ok(_) => Ok(()),
        // With the interface its routes go, too.
        Err(CommandError::Failed { stderr, .. })
            if route_is_missing(&stderr) || stderr.contains("bad address") =>
        {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Has `scutil` carry out a script.
///
/// # Errors
/// [`CommandError::Failed`] with what it answered.
pub fn scutil(script: &str) -> Result<(), CommandError> {
    let output = run(SCUTIL, &[], Some(script))?;
    if scutil_succeeded(&output) {
        return Ok(());
    }
    Err(CommandError::Failed { command: SCUTIL.to_owned(), stderr: output.trim().to_owned() })
}
