//! The gateway's nftables table as text.

use core::fmt::Write as _;

use ipnet::IpNet;

use super::{Egress, GatewayConfig};
use crate::journal::{Family, InterfaceName};

/// The name of the table in family `inet`: `vpn_vpn0` for `vpn0`.
pub fn table_name(interface: &InterfaceName) -> String {
    format!("vpn_{}", interface.to_identifier())
}

/// The batch for `nft -f -` that puts the table in place of any earlier one in one transaction.
///
/// There are no accept rules for the tunnel: in a table of ours they would change nothing, because a drop in any other
/// table is final (see the module's documentation for what is done about those).
pub fn nft_text(config: &GatewayConfig) -> String {
    let table = table_name(&config.interface);
    let tunnel = &config.interface;
    let mut text = format!("add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n");
    if !config.client_to_client {
        text.push_str("\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n");
        let _ = writeln!(text, "\t\tiifname \"{tunnel}\" oifname \"{tunnel}\" drop");
        text.push_str("\t}\n");
    }
    // Where path MTU discovery is broken. `rt mtu` is the smaller of both directions' and only ever lowers.
    text.push_str("\tchain segment_size {\n\t\ttype filter hook forward priority mangle; policy accept;\n");
    for direction in ["iifname", "oifname"] {
        let _ = writeln!(
            text,
            "\t\t{direction} \"{tunnel}\" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu"
        );
    }
    text.push_str("\t}\n");
    if config.nat {
        text.push_str(
            "\tchain postrouting {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n",
        );
        for (family, keyword) in [(Family::V4, "ip"), (Family::V6, "ip6")] {
            let pools = config.pools_of(family);
            if !pools.is_empty() {
                masquerade(&mut text, config, keyword, &pools);
            }
        }
        text.push_str("\t}\n");
    }
    text.push_str("}\n");
    text
}

fn masquerade(text: &mut String, config: &GatewayConfig, keyword: &str, pools: &[IpNet]) {
    let pools = pools.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let out = match &config.egress {
        Egress::Auto => format!("oifname != {{ \"lo\", \"{}\" }}", config.interface),
        Egress::Interface(name) => format!("oifname \"{name}\""),
    };
    let _ =
        writeln!(text, "\t\t{out} {keyword} saddr {{ {pools} }} {keyword} daddr != {{ {pools} }} masquerade");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> InterfaceName {
        InterfaceName::new(text).unwrap()
    }

    fn config() -> GatewayConfig {
        GatewayConfig {
            interface: name("vpn0"),
            nat: true,
            egress: Egress::Auto,
            pools: vec!["10.66.0.1/16".parse().unwrap(), "fd66::1/64".parse().unwrap()],
            client_to_client: true,
        }
    }

    #[test]
    fn the_table_masquerades_pools_outside_the_tunnel_and_clamps_segments() {
        let expected = "\
add table inet vpn_vpn0
delete table inet vpn_vpn0
table inet vpn_vpn0 {
\tchain segment_size {
\t\ttype filter hook forward priority mangle; policy accept;
\t\tiifname \"vpn0\" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
\t\toifname \"vpn0\" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
\t}
\tchain postrouting {
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\toifname != { \"lo\", \"vpn0\" } ip saddr { 10.66.0.0/16 } ip daddr != { 10.66.0.0/16 } masquerade
\t\toifname != { \"lo\", \"vpn0\" } ip6 saddr { fd66::/64 } ip6 daddr != { fd66::/64 } masquerade
\t}
}
";
        assert_eq!(nft_text(&config()), expected);
    }

    #[test]
    fn a_named_egress_is_the_only_one_that_is_masqueraded() {
        let text = nft_text(&GatewayConfig { egress: Egress::Interface(name("eth0.100")), ..config() });
        assert!(text.contains("\t\toifname \"eth0.100\" ip saddr { 10.66.0.0/16 }"));
        assert!(!text.contains("oifname !="));
    }

    #[test]
    fn without_nat_nothing_is_masqueraded_and_isolated_clients_are_dropped() {
        let text = nft_text(&GatewayConfig { nat: false, client_to_client: false, ..config() });
        assert!(!text.contains("masquerade"));
        assert!(text.contains("iifname \"vpn0\" oifname \"vpn0\" drop"));
    }

    #[test]
    fn overlapping_pools_become_one_because_sets_cannot_hold_both() {
        let pools = ["10.0.0.0/8", "10.66.0.0/16"].map(|pool| pool.parse().unwrap());
        let text = nft_text(&GatewayConfig { pools: pools.to_vec(), ..config() });
        assert!(text.contains("ip saddr { 10.0.0.0/8 }"));
    }
}
