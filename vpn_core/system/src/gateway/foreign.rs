//! Other firewalls on this host that would drop what we forward.

/// A chain of somebody else's that drops forwarded packets by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DropChain {
    /// nftables family: `ip`, `ip6` or `inet`.
    pub family: String,
    pub table: String,
    pub chain: String,
}

impl DropChain {
    /// Whether iptables made it (Docker, ufw): there, rules may be inserted.
    pub(super) fn is_iptables(&self) -> bool {
        matches!(self.family.as_str(), "ip" | "ip6") && self.table == "filter" && self.chain == "FORWARD"
    }
}

/// What `nft list chains` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ForeignChains {
    /// Base chains on the forward hook with policy drop.
    pub dropping: Vec<DropChain>,
    /// firewalld drops by a last rule, not by policy.
    pub firewalld: bool,
}

/// Reads the output of `nft list chains`, passing over the table `own`.
pub(super) fn read_chains(text: &str, own: &str) -> ForeignChains {
    let mut found = ForeignChains::default();
    let (mut family, mut table, mut chain) = ("", "", "");
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["table", f, t, ..] => {
                (family, table) = (f, t);
                found.firewalld |= t == "firewalld";
            }
            ["chain", c, ..] => chain = c,
            ["type", "filter", "hook", "forward", ..] if line.contains("policy drop") && table != own => {
                let [family, table, chain] = [family, table, chain].map(str::to_owned);
                if matches!(family.as_str(), "ip" | "ip6" | "inet") {
                    found.dropping.push(DropChain { family, table, chain });
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_forward_chains_of_others_are_found() {
        let text = "\
table ip filter {
\tchain INPUT {
\t\ttype filter hook input priority filter; policy drop;
\t}
\tchain FORWARD {
\t\ttype filter hook forward priority filter; policy drop;
\t}
}
table inet vpn_vpn0 {
\tchain forward {
\t\ttype filter hook forward priority filter; policy drop;
\t}
}
table inet site {
\tchain fwd {
\t\ttype filter hook forward priority 0; policy drop;
\t}
}
";
        let found = read_chains(text, "vpn_vpn0");
        let names: Vec<_> = found.dropping.iter().map(|c| (c.table.as_str(), c.is_iptables())).collect();
        assert_eq!(names, [("filter", true), ("site", false)]);
        assert!(!found.firewalld);
    }
}
