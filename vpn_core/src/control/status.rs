//! What a node tells about itself. Fields are only ever added: scripts read this.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// A node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The node itself.
    pub interface: InterfaceStatus,
    /// Its peers, in the order of the configuration.
    pub peers: Vec<PeerStatus>,
    /// Packets that were refused, by reason.
    pub drops: DropCounts,
    /// `server` or `client`: which program this is.
    #[serde(default)]
    pub role: String,
}

/// The node itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Name of the network interface.
    pub name: String,
    /// The node's identity.
    pub public_key: String,
    /// The key that WireGuard peers know the node by, where it has one.
    #[serde(default)]
    pub wireguard_public_key: Option<String>,
    /// The UDP port in use.
    pub listen_port: u16,
    /// MTU of the tunnel, in bytes.
    pub mtu: u16,
    /// Addresses with their prefix lengths.
    pub addresses: Vec<String>,
    /// What the kernel does for many packets at once; nodes before this field do not tell.
    #[serde(default)]
    pub offload: Option<OffloadStatus>,
    /// Whether the kill switch is in force.
    #[serde(default)]
    pub kill_switch: bool,
    /// The name servers that the system asks while this client is up.
    #[serde(default)]
    pub dns: Vec<String>,
    /// Through whom they were set: `systemd-resolved`, `resolvconf`, `file`, or two of them.
    #[serde(default)]
    pub dns_backend: Option<String>,
    /// `allow` or `refuse`: whether answers to connections from outside leave beside the tunnel. Absent where nothing takes the
    /// tunnel that they could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<String>,
    /// Why they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound_reason: Option<String>,
    /// What is wrong on this host, as far as the node can see it: traffic that does not take the tunnel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What is mostly meant to be so, and may matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The offloads that are in force at this moment: wished for, and not refused by the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the form of the JSON: one switch each")]
pub struct OffloadStatus {
    /// `checksum`: the TUN device takes and gives packets whose checksums are left out.
    pub tun_checksum: bool,
    /// `tso`: the TUN device takes and gives TCP unsegmented, in both directions.
    pub tun_tcp: bool,
    /// `uso`: the same of UDP.
    pub tun_udp: bool,
    /// `gso`: the UDP socket sends runs of datagrams.
    pub udp_gso: bool,
    /// `gro`: the UDP socket receives runs of datagrams.
    pub udp_gro: bool,
}

/// One peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its name.
    pub name: String,
    /// Its public key, of the kind that its handshake uses.
    pub public_key: String,
    /// Whether it is connected.
    pub state: PeerState,
    /// Why it is not up, or why traffic may not pass though it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it was last heard from, or is configured to be.
    pub endpoint: Option<String>,
    /// `hybrid` or `wireguard`.
    pub handshake: String,
    /// Whether the handshake by itself makes session keys that withstand a quantum computer.
    pub post_quantum: bool,
    /// Whether a preshared key is mixed into them as well.
    #[serde(default)]
    pub psk: bool,
    /// The transport cipher of the current session.
    pub suite: Option<String>,
    /// Seconds since the last handshake completed.
    pub last_handshake_seconds: Option<u64>,
    /// Sessions that replaced an earlier one.
    pub rekeys: u64,
    /// Bytes received from the peer, inside transport packets.
    pub rx_bytes: u64,
    /// Bytes sent to it.
    pub tx_bytes: u64,
    /// The longest packet that it is sent, in bytes: what its path takes, up to the interface's MTU. Nodes before this field
    /// do not tell, and nothing is told of a peer that is not served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The networks that it may send from.
    pub allowed_ips: Vec<String>,
}

/// Whether a peer is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// A session is confirmed.
    Up,
    /// A handshake is on its way.
    Connecting,
    /// Configured; never seen, or its session ran out, or its last day is over.
    #[default]
    Idle,
    /// Switched off in the configuration.
    Disabled,
}

/// Packets and datagrams that were refused since the start, by the name of the reason.
pub type DropCounts = BTreeMap<String, u64>;

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Up => "up",
            Self::Connecting => "connecting",
            Self::Idle => "idle",
            Self::Disabled => "disabled",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_json_is_read_and_written_field_by_field() {
        let documented = r#"{"interface": {"name": "vpn0", "public_key": "k",
            "wireguard_public_key": "w", "listen_port": 51820, "mtu": 1420,
            "addresses": ["10.66.0.1/16"],
            "offload": {"tun_checksum": true, "tun_tcp": true, "tun_udp": true, "udp_gso": true, "udp_gro": true},
            "kill_switch": true,
            "dns": ["10.66.0.1"], "dns_backend": "file"},
            "peers": [{"name": "alice", "public_key": "p", "state": "up", "endpoint": "198.51.100.7:40000",
            "handshake": "hybrid", "post_quantum": true, "psk": true, "suite": "chacha20-poly1305",
            "last_handshake_seconds": 12, "rekeys": 3, "rx_bytes": 123, "tx_bytes": 456,
            "allowed_ips": ["10.66.0.2/32"]}],
            "drops": {"replay": 0, "bad_mac": 0, "unknown_peer": 0, "source_not_allowed": 0}}"#;
        let status: Status = serde_json::from_str(documented).expect("the documented form");
        let mut written = serde_json::to_value(&status).expect("serializable");
        written.as_object_mut().expect("an object").remove("role");
        let documented: serde_json::Value = serde_json::from_str(documented).expect("JSON");
        assert_eq!(written, documented);
    }
}
