//! The nftables tables that are ours, known without a journal: by family, name, chains and rules.
//!
//! A name alone is no evidence: an administrator may well have a `vpn_killswitch` or a `vpn_fw_marks`. So each kind of table that we
//! make is described by its chains, as the texts that make them have them (`gateway/nft.rs`, `kill_switch/text.rs`, `routes`), and
//! a table is certainly ours where also its rules are: they name the interface, and one of our marks.

use super::{Change, CommandError, InterfaceName, TUNNEL_MARKS, installed, run};

/// A kind of table of ours.
#[derive(Debug)]
struct Kind {
    family: &'static str,
    /// What is behind `vpn_INTERFACE` in the name.
    suffix: &'static str,
    chains: &'static [Chain],
    /// What stands before the mark in its rules; no such table without a mark.
    before_mark: Option<&'static str>,
    /// Whether its rules name the interface.
    names_interface: bool,
}

/// A chain of a kind of table.
#[derive(Debug)]
struct Chain {
    name: &'static str,
    /// As nft shows type and hook.
    hook: &'static str,
    policy: &'static str,
    /// Whether it is in every table of the kind.
    is_always: bool,
}

const fn chain(name: &'static str, hook: &'static str) -> Chain {
    Chain { name, hook, policy: "accept", is_always: true }
}

const fn at_times(name: &'static str, hook: &'static str) -> Chain {
    Chain { is_always: false, ..chain(name, hook) }
}

const fn dropping(name: &'static str, hook: &'static str) -> Chain {
    Chain { policy: "drop", ..chain(name, hook) }
}

const KILL_SWITCH: &str = "_kill_switch";

const KINDS: [Kind; 6] = [
    Kind {
        family: "inet",
        suffix: KILL_SWITCH,
        chains: &[
            dropping("input", "type filter hook input"),
            dropping("forward", "type filter hook forward"),
            dropping("output", "type filter hook output"),
        ],
        before_mark: Some("ct mark "),
        names_interface: true,
    },
    Kind {
        family: "inet",
        suffix: "_marks",
        chains: &[
            at_times("guard", "type filter hook prerouting"),
            chain("restore", "type filter hook prerouting"),
            chain("save", "type filter hook output"),
        ],
        before_mark: Some("ct mark set "),
        names_interface: true,
    },
    Kind {
        family: "arp",
        suffix: "_marks",
        chains: &[chain("input", "type filter hook input")],
        before_mark: Some("meta mark set "),
        names_interface: false,
    },
    Kind {
        family: "inet",
        suffix: "_inbound",
        chains: &[
            chain("arriving", "type filter hook prerouting"),
            chain("answers", "type route hook output"),
        ],
        before_mark: Some("meta mark set "),
        names_interface: true,
    },
    Kind {
        family: "inet",
        suffix: "_loop",
        chains: &[chain("leaving", "type filter hook postrouting")],
        before_mark: Some("meta mark "),
        names_interface: true,
    },
    Kind {
        family: "inet",
        suffix: "",
        chains: &[
            at_times("forward", "type filter hook forward"),
            chain("segment_size", "type filter hook forward"),
            at_times("postrouting", "type nat hook postrouting"),
        ],
        before_mark: None,
        names_interface: true,
    },
];

/// A table with family, name and chains of ours.
#[derive(Debug)]
pub(super) struct OwnTable {
    pub(super) interface: InterfaceName,
    kind: &'static Kind,
    /// The marks in its rules that can be ours.
    marks: Vec<u32>,
    /// Whether its rules are ours, too. Otherwise it may be somebody else's, or was changed by somebody else.
    pub(super) is_certain: bool,
}

impl OwnTable {
    /// The mark of the sockets of the interface's node, where this table tells it.
    pub(super) fn mark(&self) -> Option<u32> {
        match self.kind.suffix {
            "_inbound" => None, // That of answers, which no socket of ours bears.
            // The loop guard names the marks of earlier nodes before its own.
            "_loop" => self.marks.iter().max().copied(),
            _ => self.marks.first().copied(),
        }
    }

    /// The change that made it.
    pub(super) fn change(&self) -> Change {
        let name = self.name();
        match self.kind.suffix {
            KILL_SWITCH => Change::KillSwitch { table: name },
            _ => Change::NftTable { family: self.family().to_owned(), name },
        }
    }

    pub(super) fn family(&self) -> &'static str {
        self.kind.family
    }

    pub(super) fn name(&self) -> String {
        format!("vpn_{}{}", self.interface.to_identifier(), self.kind.suffix)
    }

    /// Looks at what `nft -n list table` says.
    fn judge(&mut self, text: &str) {
        let names_interface = !self.kind.names_interface || text.contains(&format!("\"{}\"", self.interface));
        self.marks = self.kind.before_mark.map(|before| marks_after(text, before)).unwrap_or_default();
        let has_mark = self.kind.before_mark.is_none() || !self.marks.is_empty();
        self.is_certain &= names_interface && has_mark;
    }
}

/// The tables that have family, name and chains of ours. None where nft is not installed: then we make none.
///
/// # Errors
/// [`CommandError`] where nft does not list them: only root is told, and some kernels have no nftables.
pub(super) fn own_tables() -> Result<Vec<OwnTable>, CommandError> {
    if !installed("nft") {
        return Ok(Vec::new());
    }
    let mut tables = read_chains(&run("nft", &["list", "chains"], None)?);
    for table in &mut tables {
        match run("nft", &["-n", "list", "table", table.family(), &table.name()], None) {
            Ok(text) => table.judge(&text),
            // Gone meanwhile, or not shown.
            Err(_) => table.is_certain = false,
        }
    }
    Ok(tables)
}

/// Reads `nft list chains`. Certain are, for the time being, the tables that have no other chains than ours.
fn read_chains(text: &str) -> Vec<OwnTable> {
    let mut found = Vec::new();
    let mut table = None;
    let mut chains: Vec<(&str, &str)> = Vec::new();
    for line in text.lines().map(str::trim).chain(["table end"]) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["table", ..] => {
                found.extend(table.take().and_then(|(family, name)| of_chains(family, name, &chains)));
                chains.clear();
                table = words.get(1).copied().zip(words.get(2).copied());
            }
            ["chain", name, ..] => chains.push((name, "")),
            ["type", ..] => {
                if let Some(chain) = chains.last_mut() {
                    chain.1 = line;
                }
            }
            _ => {}
        }
    }
    found
}

fn of_chains(family: &str, name: &str, chains: &[(&str, &str)]) -> Option<OwnTable> {
    let (kind, interface) = KINDS.iter().filter(|kind| kind.family == family).find_map(|kind| {
        let identifier = name.strip_prefix("vpn_")?.strip_suffix(kind.suffix)?;
        Some((kind, InterfaceName::of_identifier(identifier)?))
    })?;
    let is_of_kind = |chain: &Chain, (name, text): &(&str, &str)| {
        chain.name == *name
            && text.starts_with(&format!("{} priority", chain.hook))
            && text.contains(&format!("policy {}", chain.policy))
    };
    let has_all = kind
        .chains
        .iter()
        .filter(|chain| chain.is_always)
        .all(|chain| chains.iter().any(|shown| is_of_kind(chain, shown)));
    let has_no_other = chains.iter().all(|shown| kind.chains.iter().any(|chain| is_of_kind(chain, shown)));
    has_all.then(|| OwnTable { interface, kind, marks: Vec::new(), is_certain: has_no_other })
}

/// The marks that can be ours behind `before`, one (`0x0000cb20`) or a set (`{ 0x0000cb20, 0x0000cbe8 }`).
fn marks_after(text: &str, before: &str) -> Vec<u32> {
    let number = |word: &str| {
        word.strip_prefix("0x").map_or_else(|| word.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())
    };
    let (ours, mask) = TUNNEL_MARKS;
    text.split(before)
        .skip(1)
        .flat_map(|rest| {
            let words = rest.split([' ', ',', '\n', '\t']).filter(|word| !matches!(*word, "" | "{"));
            words.map_while(number).collect::<Vec<u32>>()
        })
        .filter(|mark| mark & mask == ours)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(family: &str, name: &str, chains: &[(&str, &str)]) -> String {
        let chain = |(name, hook): &(&str, &str)| format!("\tchain {name} {{\n\t\ttype {hook};\n\t}}\n");
        format!("table {family} {name} {{\n{}}}\n", chains.iter().map(chain).collect::<String>())
    }

    const LEAVING: (&str, &str) = ("leaving", "filter hook postrouting priority mangle; policy accept");
    const KILL_SWITCH_CHAINS: [(&str, &str); 3] = [
        ("input", "filter hook input priority 0; policy drop"), // as nft 0.9.0 shows it
        ("forward", "filter hook forward priority filter; policy drop"),
        ("output", "filter hook output priority filter; policy drop"),
    ];

    fn names(text: &str) -> Vec<(String, bool)> {
        read_chains(text).iter().map(|table| (table.name(), table.is_certain)).collect()
    }

    #[test]
    fn tables_of_others_are_none_of_ours_whatever_they_are_called() {
        let out = ("o", "filter hook output priority filter; policy accept");
        let texts = [
            shown("inet", "vpn_killswitch", &[out]),
            shown("inet", "vpn_kill_switch", &KILL_SWITCH_CHAINS),
            shown("inet", "vpn_fw_marks", &[]),
            shown("inet", "vpn_ok_loop", &[("leaving", "filter hook output priority mangle; policy accept")]),
            shown("ip", "vpn_nat", &[("postrouting", "nat hook postrouting priority srcnat; policy accept")]),
            shown("ip", "vpn_vpn0_loop", &[LEAVING]),
            shown("inet", "vpn_vpn0_kill_switch", &KILL_SWITCH_CHAINS[..2]),
            shown("inet", "vpn_office", &[("forward", "filter hook forward priority filter; policy accept")]),
        ];
        assert_eq!(names(&texts.concat()), []);
    }

    #[test]
    fn a_table_with_chains_of_ours_is_found_and_one_more_chain_makes_it_doubtful() {
        let more = ("more", "filter hook output priority filter; policy accept");
        let texts = [
            shown("inet", "vpn_vpn0_kill_switch", &KILL_SWITCH_CHAINS),
            shown("inet", "vpn_a_2db_loop", &[LEAVING]),
            shown("inet", "vpn_x___loop", &[LEAVING, more]),
        ];
        let expected = [("vpn_vpn0_kill_switch", true), ("vpn_a_2db_loop", true), ("vpn_x___loop", false)]
            .map(|(name, is_certain)| (name.to_owned(), is_certain));
        assert_eq!(names(&texts.concat()), expected);
    }

    #[test]
    fn rules_of_others_under_chains_of_ours_are_no_evidence() {
        let judged = |rules: &str| {
            let mut table =
                read_chains(&shown("inet", "vpn_vpn0_kill_switch", &KILL_SWITCH_CHAINS)).remove(0);
            table.judge(rules);
            (table.is_certain, table.mark())
        };
        let ours = "iifname { \"lo\", \"vpn0\" } accept\n\t\tct mark 0x0000cb20 accept\n";
        assert_eq!(judged(ours), (true, Some(52_000)));
        assert_eq!(judged(&ours.replace("vpn0", "tun0")), (false, Some(52_000)));
        assert_eq!(judged(&ours.replace("0x0000cb20", "0x00000001")), (false, None));
        assert_eq!(judged(""), (false, None));
    }

    #[test]
    fn the_mark_of_a_node_is_the_last_of_its_loop_guard() {
        let mut table = read_chains(&shown("inet", "vpn_vpn0_loop", &[LEAVING])).remove(0);
        table.judge("oifname \"vpn0\" meta mark { 0x0000cb20, 0x0000cbe8 } drop");
        assert_eq!((table.is_certain, table.mark()), (true, Some(52_200)));
        assert_eq!(marks_after("ct mark set 52000\n\t}", "ct mark set "), [52_000]);
    }

    #[test]
    fn a_gateways_table_needs_no_chain_that_its_settings_leave_out() {
        let sizes = ("segment_size", "filter hook forward priority mangle; policy accept");
        let isolating = ("forward", "filter hook forward priority filter; policy accept");
        let translating = ("postrouting", "nat hook postrouting priority srcnat; policy accept");
        let rules = "iifname \"vpn0\" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu";
        for chains in [&[sizes][..], &[sizes, translating], &[isolating, sizes, translating]] {
            let mut table = read_chains(&shown("inet", "vpn_vpn0", chains)).remove(0);
            table.judge(rules);
            assert_eq!((table.is_certain, table.mark()), (true, None));
        }
        assert_eq!(names(&shown("inet", "vpn_vpn0", &[isolating, translating])), []);
    }
}
