//! Undoing one change. What is already gone is not an error.

use super::{
    Change, CommandError, Family, IPTABLES_WAIT, JournalError, NameServersChange, netlink::Netlink,
    resolv_conf, resolved, run,
};

/// Undoes everything but sysctls, which need to know about the other journals.
pub(super) fn undo(change: &Change) -> Result<(), JournalError> {
    match change {
        Change::Sysctl { .. } | Change::Mark { .. } | Change::Mac(_) => Ok(()),
        Change::NftTable { family, name } => remove_table(family, name),
        Change::KillSwitch { table } => remove_table("inet", table),
        Change::IptablesRule { family, table, chain, rule } => {
            let rule: Vec<&str> = rule.iter().map(String::as_str).collect();
            // More than one copy only after a crash of iptables itself; each pass removes one.
            while iptables_has(*family, table, &[&["-C", chain], &rule[..]].concat())? {
                iptables(*family, table, &[&["-D", chain], &rule[..]].concat())?;
            }
            Ok(())
        }
        Change::IptablesChain { family, table, chain } => {
            if iptables_has(*family, table, &["-n", "-L", chain])? {
                iptables(*family, table, &["-F", chain])?;
                iptables(*family, table, &["-X", chain])?;
            }
            Ok(())
        }
        Change::PolicyRule(rule) => {
            Netlink::open().and_then(|mut netlink| netlink.remove_rule(rule)).map_err(JournalError::Netlink)
        }
        Change::Route(route) => {
            Netlink::open().and_then(|mut netlink| netlink.remove_route(route)).map_err(JournalError::Netlink)
        }
        Change::RefusingTable(table) => Netlink::open()
            .and_then(|mut netlink| netlink.remove_refusal(*table))
            .map_err(JournalError::Netlink),
        Change::NameServers(change) => undo_name_servers(change),
    }
}

fn undo_name_servers(change: &NameServersChange) -> Result<(), JournalError> {
    match change {
        NameServersChange::Resolved { interface } => resolved::revert_link(interface),
        NameServersChange::Openresolv { record } => {
            // -f: that it has no such record is no error. -u: after a reboot it has none, but the file from before it.
            run("resolvconf", &["-f", "-d", record], None)?;
            run("resolvconf", &["-u"], None)?;
            Ok(())
        }
        NameServersChange::File { path, interface, kept } => resolv_conf::restore(path, interface, kept),
    }
}

/// `add` first, so that `delete` finds a table; one batch, so nobody sees the empty one.
fn remove_table(family: &str, name: &str) -> Result<(), JournalError> {
    let text = format!("add table {family} {name}\ndelete table {family} {name}\n");
    run("nft", &["-f", "-"], Some(&text))?;
    Ok(())
}

fn iptables(family: Family, table: &str, arguments: &[&str]) -> Result<String, CommandError> {
    run(family.iptables(), &[&["-w", IPTABLES_WAIT, "-t", table], arguments].concat(), None)
}

/// Asks iptables a question that it answers with its exit status.
fn iptables_has(family: Family, table: &str, question: &[&str]) -> Result<bool, CommandError> {
    match iptables(family, table, question) {
        Ok(_) => Ok(true),
        Err(CommandError::Failed { stderr, .. }) if !stderr.contains("not permitted") => Ok(false),
        Err(error) => Err(error),
    }
}
