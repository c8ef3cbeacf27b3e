//! The same rules for iptables and ip6tables, where nft is missing.

use core::fmt::Write as _;

use super::{Egress, GatewayConfig};
#[cfg(any(test, target_os = "linux"))]
use crate::journal::Change;
use crate::journal::Family;

/// Our chain in a table, and the built-in chain that jumps to it.
pub(super) struct Chain {
    pub(super) table: &'static str,
    pub(super) suffix: &'static str,
    pub(super) hook: &'static str,
}

const FORWARD: Chain = Chain { table: "filter", suffix: "FWD", hook: "FORWARD" };
const SEGMENT_SIZE: Chain = Chain { table: "mangle", suffix: "MSS", hook: "FORWARD" };
const MASQUERADE: Chain = Chain { table: "nat", suffix: "NAT", hook: "POSTROUTING" };
/// All that there can be.
#[cfg(target_os = "linux")]
pub(super) const OUR_CHAINS: [Chain; 3] = [FORWARD, SEGMENT_SIZE, MASQUERADE];

impl Chain {
    /// At most 23 characters; iptables takes 28.
    fn name(&self, config: &GatewayConfig) -> String {
        format!("VPN-{}-{}", config.interface, self.suffix)
    }

    fn rules(&self, config: &GatewayConfig, family: Family) -> Vec<String> {
        let tunnel = &config.interface;
        match self.suffix {
            "FWD" => forward_rules(config),
            "MSS" => ["-i", "-o"]
                .map(|direction| {
                    format!(
                        "{direction} {tunnel} -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"
                    )
                })
                .to_vec(),
            _ => masquerade_rules(config, family),
        }
    }
}

fn chains(config: &GatewayConfig) -> Vec<&'static Chain> {
    if config.nat { vec![&FORWARD, &SEGMENT_SIZE, &MASQUERADE] } else { vec![&FORWARD, &SEGMENT_SIZE] }
}

/// The text for `iptables-restore --noflush` (or ip6tables-restore): each table is one transaction. Undo an earlier
/// one first: the jumps are inserted again each time.
pub fn iptables_text(config: &GatewayConfig, family: Family) -> String {
    let mut text = String::new();
    for chain in chains(config) {
        let name = chain.name(config);
        let _ = writeln!(text, "*{}\n:{name} - [0:0]", chain.table);
        for rule in chain.rules(config, family) {
            let _ = writeln!(text, "-A {name} {rule}");
        }
        let _ = writeln!(text, "-I {} 1 -j {name}\nCOMMIT", chain.hook);
    }
    text
}

/// What [`iptables_text`] changes. Chains come before the jumps to them, which are so undone first.
#[cfg(any(test, target_os = "linux"))]
pub(super) fn changes(config: &GatewayConfig, family: Family) -> Vec<Change> {
    chains(config)
        .into_iter()
        .flat_map(|chain| {
            let table = chain.table.to_owned();
            let name = chain.name(config);
            let rule = vec!["-j".to_owned(), name.clone()];
            [
                Change::IptablesChain { family, table: table.clone(), chain: name },
                Change::IptablesRule { family, table, chain: chain.hook.to_owned(), rule },
            ]
        })
        .collect()
}

/// The accept rules' arguments, the first to be matched first. Behind NAT only answers may enter the tunnel.
pub(super) fn accept_rules(config: &GatewayConfig) -> Vec<Vec<String>> {
    let tunnel = config.interface.as_str();
    let inward: &[&str] = if config.nat {
        &["-o", tunnel, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"]
    } else {
        &["-o", tunnel, "-j", "ACCEPT"]
    };
    [&["-i", tunnel, "-j", "ACCEPT"][..], inward]
        .iter()
        .map(|rule| rule.iter().map(ToString::to_string).collect())
        .collect()
}

fn forward_rules(config: &GatewayConfig) -> Vec<String> {
    let tunnel = &config.interface;
    let isolate = (!config.client_to_client).then(|| format!("-i {tunnel} -o {tunnel} -j DROP"));
    isolate.into_iter().chain(accept_rules(config).into_iter().map(|rule| rule.join(" "))).collect()
}

fn masquerade_rules(config: &GatewayConfig, family: Family) -> Vec<String> {
    let pools = config.pools_of(family);
    let out = match &config.egress {
        Egress::Auto => String::new(),
        Egress::Interface(name) => format!("-o {name} "),
    };
    // iptables has no sets: traffic that stays inside is passed over first.
    let mut rules = match &config.egress {
        Egress::Auto => vec![format!("-o {} -j RETURN", config.interface), "-o lo -j RETURN".to_owned()],
        Egress::Interface(_) => Vec::new(),
    };
    for from in &pools {
        rules.extend(pools.iter().map(|to| format!("-s {from} -d {to} -j RETURN")));
    }
    rules.extend(pools.iter().map(|from| format!("{out}-s {from} -j MASQUERADE")));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::InterfaceName;

    fn config() -> GatewayConfig {
        GatewayConfig {
            interface: InterfaceName::new("vpn0").unwrap(),
            nat: true,
            egress: Egress::Auto,
            pools: vec!["10.66.0.0/16".parse().unwrap(), "fd66::/64".parse().unwrap()],
            client_to_client: false,
        }
    }

    #[test]
    fn each_table_gets_one_chain_and_one_jump() {
        let expected = "\
*filter
:VPN-vpn0-FWD - [0:0]
-A VPN-vpn0-FWD -i vpn0 -o vpn0 -j DROP
-A VPN-vpn0-FWD -i vpn0 -j ACCEPT
-A VPN-vpn0-FWD -o vpn0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-I FORWARD 1 -j VPN-vpn0-FWD
COMMIT
*mangle
:VPN-vpn0-MSS - [0:0]
-A VPN-vpn0-MSS -i vpn0 -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-A VPN-vpn0-MSS -o vpn0 -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-I FORWARD 1 -j VPN-vpn0-MSS
COMMIT
*nat
:VPN-vpn0-NAT - [0:0]
-A VPN-vpn0-NAT -o vpn0 -j RETURN
-A VPN-vpn0-NAT -o lo -j RETURN
-A VPN-vpn0-NAT -s 10.66.0.0/16 -d 10.66.0.0/16 -j RETURN
-A VPN-vpn0-NAT -s 10.66.0.0/16 -j MASQUERADE
-I POSTROUTING 1 -j VPN-vpn0-NAT
COMMIT
";
        assert_eq!(iptables_text(&config(), Family::V4), expected);
    }

    #[test]
    fn every_chain_is_journalled_before_the_jump_to_it() {
        let changes = changes(&config(), Family::V6);
        assert_eq!(changes.len(), 6);
        for pair in changes.chunks(2) {
            let [Change::IptablesChain { chain, .. }, Change::IptablesRule { rule, .. }] = pair else {
                panic!("a chain and its jump, not {pair:?}");
            };
            assert_eq!(rule[1], *chain);
        }
    }
}
