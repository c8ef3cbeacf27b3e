//! The gateway's rules for pf of macOS as text.

use core::fmt::Write as _;

use ipnet::IpNet;

use super::GatewayConfig;
use crate::{
    journal::{Family, InterfaceName},
    wire::ip::{IPV4_HEADER_SIZE, IPV6_HEADER_SIZE},
};

/// Size of a TCP header without options, in bytes.
const TCP_HEADER_SIZE: usize = 20;

/// The path of the anchor that holds the rules: below the one that the main ruleset of every Mac looks into.
pub(super) fn pf_anchor(interface: &InterfaceName) -> String {
    format!("com.apple/vpn_{}", interface.to_identifier())
}

/// The rules for `pfctl -a ANCHOR -f -`, which puts them in place of any earlier ones in one transaction. `egress` is the
/// interface where translated packets leave, `None` while there is none; `mtu` is the tunnel's, in bytes.
///
/// IPv4 only is translated: of an interface's IPv6 addresses pf would as soon take the link-local one.
pub(super) fn pf_text(config: &GatewayConfig, egress: Option<&str>, mtu: u16) -> String {
    let tunnel = &config.interface;
    let mut text = String::new();
    for (family, header) in [("inet", IPV4_HEADER_SIZE), ("inet6", IPV6_HEADER_SIZE)] {
        let segment = usize::from(mtu).saturating_sub(header + TCP_HEADER_SIZE);
        let _ = writeln!(text, "scrub on {tunnel} {family} proto tcp all max-mss {segment}");
    }
    let pools = config.pools_of(Family::V4);
    if let (true, false, Some(egress)) = (config.nat, pools.is_empty(), egress) {
        let pools = pools.iter().map(IpNet::to_string).collect::<Vec<_>>().join(" ");
        // A list after `!` would be one rule for each of its members, of which one always matches; a table is one.
        text.insert_str(0, &format!("table <pools> const {{ {pools} }}\n"));
        let _ = writeln!(text, "nat on {egress} inet from <pools> to ! <pools> -> ({egress})");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Egress;

    fn config() -> GatewayConfig {
        GatewayConfig {
            interface: InterfaceName::new("utun66").unwrap(),
            nat: true,
            egress: Egress::Auto,
            pools: vec!["10.66.0.1/16".parse().unwrap(), "fd66::1/64".parse().unwrap()],
            client_to_client: true,
        }
    }

    #[test]
    fn ipv4_is_translated_outside_the_pools_and_segments_fit_the_tunnel() {
        let expected = "\
table <pools> const { 10.66.0.0/16 }
scrub on utun66 inet proto tcp all max-mss 1380
scrub on utun66 inet6 proto tcp all max-mss 1360
nat on en0 inet from <pools> to ! <pools> -> (en0)
";
        assert_eq!(pf_text(&config(), Some("en0"), 1420), expected);
        assert_eq!(pf_anchor(&config().interface), "com.apple/vpn_utun66");
    }

    #[test]
    fn nothing_is_translated_without_a_wish_a_pool_or_a_way_out() {
        let without_pool = GatewayConfig { pools: vec!["fd66::1/64".parse().unwrap()], ..config() };
        for text in [
            pf_text(&GatewayConfig { nat: false, ..config() }, Some("en0"), 1420),
            pf_text(&config(), None, 1420),
            pf_text(&without_pool, Some("en0"), 1420),
        ] {
            assert!(!text.contains("nat") && !text.contains("table") && text.contains("max-mss"), "{text}");
        }
    }
}
