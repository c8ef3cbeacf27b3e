//! A fence around the tunnel: no datagram of ours enters it, whatever the routes say.
//!
//! An endpoint inside this tunnel's own networks is refused (protocol.md 9.3), but other ways lead into it: an overlay such as
//! VXLAN that runs on the tunnel, a second tunnel of this host, routes that somebody has made. Datagrams that took one of them would be
//! sealed again and again. Our sockets mark what they send, and overlays keep the mark: so what carries it never leaves through the
//! tunnel's interface.
//!
//! One tunnel may travel inside another, but not each inside the other. The marks tell: an instance that started later may
//! travel inside an earlier one, never the reverse.

use core::fmt::Write as _;

use tracing::{debug, warn};

use super::RoutingMark;
use crate::journal::{Change, CommandError, InterfaceName, Journal, JournalError, installed, run};

/// The table that is in force.
#[derive(Debug)]
pub struct LoopGuard {
    table: String,
    text: String,
}

impl LoopGuard {
    /// Puts the table in place, journalled. `None` on a host whose nftables cannot be used, which is then without the fence.
    ///
    /// # Errors
    /// [`JournalError`] where the journal cannot be written.
    pub fn engage(
        interface: &InterfaceName,
        mark: RoutingMark,
        journal: &mut Journal,
    ) -> Result<Option<Self>, JournalError> {
        // Asked first: where nftables does not work at all, what is journalled could not be undone either.
        if !installed("nft") || run("nft", &["list", "tables", "inet"], None).is_err() {
            debug!("without nftables there is no fence around the tunnel");
            return Ok(None);
        }
        let table = format!("vpn_{}_loop", interface.to_identifier());
        let guard = Self { text: text(interface, mark, &table), table };
        let entry = journal.record(Change::NftTable { family: "inet".into(), name: guard.table.clone() })?;
        if let Err(error) = guard.restore() {
            warn!(%error, "there is no fence around the tunnel");
            journal.undo(&[entry])?;
            return Ok(None);
        }
        Ok(Some(guard))
    }

    /// The table's name, in family `inet`.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Puts the table in place again.
    ///
    /// # Errors
    /// [`CommandError`] of `nft`.
    pub fn restore(&self) -> Result<(), CommandError> {
        run("nft", &["-f", "-"], Some(&self.text)).map(drop)
    }
}

/// The batch. At the last hook, where the way of a packet is settled; what this host forwards has no such mark.
fn text(interface: &InterfaceName, mark: RoutingMark, table: &str) -> String {
    let marks: Vec<String> = mark.not_later().map(|mark| mark.value().to_string()).collect();
    let mut text = format!("add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n");
    text.push_str("\tchain leaving {\n\t\ttype filter hook postrouting priority mangle; policy accept;\n");
    let _ = writeln!(text, "\t\toifname \"{interface}\" meta mark {{ {} }} drop", marks.join(", "));
    text.push_str("\t}\n}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_and_earlier_instances_send_does_not_enter_the_tunnel() {
        let (first, interface) = (RoutingMark::FIRST, InterfaceName::new("vpn0").expect("a name"));
        let expected = "\
add table inet t
delete table inet t
table inet t {
\tchain leaving {
\t\ttype filter hook postrouting priority mangle; policy accept;
\t\toifname \"vpn0\" meta mark { 52000 } drop
\t}
}
";
        assert_eq!(text(&interface, first, "t"), expected);
        let second = first.others().next().expect("another");
        assert!(text(&interface, second, "t").contains("meta mark { 52000, 52200 } drop"));
    }
}
