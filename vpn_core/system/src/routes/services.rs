//! UDP services on all addresses, whose answers a full tunnel takes. Pure.
//!
//! The kernel chooses the source of such an answer by the route, before any firewall table sees it: it is the tunnel's address, and the
//! answer no longer belongs to what came in (`inbound.rs`). TCP answers from the address of the connection.

use std::{collections::BTreeSet, net::IpAddr, ops::RangeInclusive};

use super::inbound::address;

/// Ports that nobody outside the link asks at: DHCP (67, 68, 546, 547), SSDP, mDNS and LLMNR.
const OF_THE_LINK: [u16; 7] = [67, 68, 546, 547, 1900, 5353, 5355];
/// Ports of the kernel's own tunnels, which ask and answer nobody: VXLAN, the earlier one of Linux (as flannel's), and Geneve.
const OF_THE_KERNEL: [u16; 3] = [4789, 8472, 6081];
/// The place of the socket's number in a line of `/proc/net/udp`.
const INODE: usize = 9;

/// A UDP socket on all addresses without a remote end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UdpService {
    /// Where it is asked.
    pub port: u16,
    /// The number by which `/proc/PID/fd` names it.
    pub inode: u64,
}

/// The UDP services on all addresses, by port: from the tables that Linux shows in `/proc/net/udp` and `/proc/net/udp6`. Without ports of
/// the `ephemeral` range, which clients have, and those at which a socket is bound to one of `ways_out` besides: these are the
/// addresses of this host that others ask at, beside the tunnel.
pub fn services_on_all_addresses(
    udp: &[&str],
    ephemeral: &RangeInclusive<u16>,
    ways_out: &[IpAddr],
) -> Vec<UdpService> {
    let mut services: BTreeSet<UdpService> = BTreeSet::new();
    let mut bound: BTreeSet<u16> = BTreeSet::new();
    for line in udp.iter().flat_map(|text| text.lines().skip(1)) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, ..] = words[..] else { continue };
        let (Some(local), Some(remote)) = (address(local), address(remote)) else { continue };
        let Some(Ok(inode)) = words.get(INODE).map(|word| word.parse()) else { continue };
        let port = local.port();
        let is_service = remote.port() == 0 && !ephemeral.contains(&port);
        if !is_service || OF_THE_LINK.contains(&port) || OF_THE_KERNEL.contains(&port) {
            continue;
        }
        if local.ip().is_unspecified() {
            services.insert(UdpService { port, inode });
        } else if ways_out.contains(&local.ip()) {
            bound.insert(port);
        }
    }
    services.into_iter().filter(|service| !bound.contains(&service.port)).collect()
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    const UDP: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref
    1: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 101 2 0 0
    2: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 102 2 0 0
    2: 017AA8C0:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 108 2 0 0
    3: 00000000:007B 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 103 2 0 0
    4: 020200C0:007B 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 104 2 0 0
    5: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 105 2 0 0
    6: 00000000:9C40 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 106 2 0 0
    7: 00000000:01BB 08080808:01BB 01 00000000:00000000 00:00000000 00000000     0        0 107 2 0 0
    7: 00000000:2118 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 109 2 0 0
    8: 00000000:0045 00000000:0000 07
";
    const UDP6: &str = "  sl  local_address                         remote_address                        st
    1: 00000000000000000000000000000000:01F4 00000000000000000000000000000000:0000 07 0:0 0:0 0 0 0 201 2 0 0
";

    #[test]
    fn a_service_is_on_all_addresses_and_no_client_nor_one_with_sockets_of_its_own() {
        let service = |port, inode| UdpService { port, inode };
        let found = |tables: &[&str], ways_out: &[&str]| {
            let ways_out: Vec<IpAddr> = ways_out.iter().map(|text| text.parse().unwrap()).collect();
            services_on_all_addresses(tables, &(32768..=60999), &ways_out)
        };
        assert_eq!(found(&[UDP, UDP6], &["192.0.2.2"]), [service(53, 101), service(500, 201)]);
        // Of 192.168.122.1 others know nothing, whatever is bound there.
        let without = [service(53, 101), service(123, 103), service(500, 201)];
        assert_eq!(found(&[UDP, UDP6], &["192.0.2.3", "2001:db8::1"]), without);
        assert_eq!(found(&["", "x\ny z"], &[]), []);
    }
}
