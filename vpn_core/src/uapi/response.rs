//! Answers: from state to the lines that a client reads.

use super::UapiError;
use crate::{asymmetric::X25519PublicKey, base::SecretBytes};
use core::fmt::{self, Write as _};
use ipnet::IpNet;
use std::time::Duration;
use zeroize::Zeroizing;

/// Room for a device or a peer without its allowed IPs, in bytes; the lines of a peer have at most 480.
const ENTRY_SIZE: usize = 512;
/// Room for an allowed IP, in bytes; the longest line has 55.
const ALLOWED_IP_SIZE: usize = 64;

/// What `get` tells about the device.
#[derive(Debug)]
pub struct DeviceState {
    /// The private key, if there is one.
    pub private_key: Option<SecretBytes<32>>,
    /// The UDP port.
    pub listen_port: u16,
    /// The mark of outgoing datagrams, 0 for none.
    pub fwmark: u32,
    /// In the order in which they are told.
    pub peers: Vec<PeerState>,
}

/// What `get` tells about a peer.
#[derive(Debug)]
pub struct PeerState {
    /// Its static key.
    pub public_key: X25519PublicKey,
    /// All zeros for none.
    pub preshared_key: SecretBytes<32>,
    /// Where it was last heard, or is said to be; a zone by its interface's name.
    pub endpoint: Option<String>,
    /// When its last handshake was completed, since 1970.
    pub last_handshake: Option<Duration>,
    /// Bytes sent to it.
    pub tx_bytes: u64,
    /// Bytes received from it.
    pub rx_bytes: u64,
    /// In seconds, 0 for none.
    pub persistent_keepalive: u16,
    /// Its allowed IPs.
    pub allowed_ips: Vec<IpNet>,
}

/// The answer to one operation: the state, after a successful `get`; `errno=`; an empty line.
pub fn answer(outcome: &Result<Option<DeviceState>, UapiError>) -> Zeroizing<String> {
    let (state, errno) = match outcome {
        Ok(state) => (state.as_ref(), 0),
        Err(error) => (None, error.errno()),
    };
    // Large enough from the start: growing would leave copies of the keys behind.
    let peers = state.map_or(&[][..], |state| &state.peers);
    let allowed_ips: usize = peers.iter().map(|peer| peer.allowed_ips.len()).sum();
    let size = ENTRY_SIZE * (1 + peers.len()) + ALLOWED_IP_SIZE * allowed_ips;
    let mut text = Zeroizing::new(String::with_capacity(size));
    if let Some(state) = state {
        write_device(&mut text, state).expect("writing into a string cannot fail");
    }
    write!(text, "errno={errno}\n\n").expect("writing into a string cannot fail");
    debug_assert!(text.len() <= size, "{} bytes of {size}", text.len());
    text
}

fn write_device(out: &mut String, device: &DeviceState) -> fmt::Result {
    if let Some(key) = &device.private_key {
        write_key(out, "private_key", key.expose())?;
    }
    if device.listen_port != 0 {
        writeln!(out, "listen_port={}", device.listen_port)?;
    }
    if device.fwmark != 0 {
        writeln!(out, "fwmark={}", device.fwmark)?;
    }
    device.peers.iter().try_for_each(|peer| write_peer(out, peer))
}

fn write_peer(out: &mut String, peer: &PeerState) -> fmt::Result {
    write_key(out, "public_key", &peer.public_key.0)?;
    write_key(out, "preshared_key", peer.preshared_key.expose())?;
    writeln!(out, "protocol_version=1")?;
    if let Some(endpoint) = &peer.endpoint {
        writeln!(out, "endpoint={endpoint}")?;
    }
    let handshake = peer.last_handshake.unwrap_or_default(); // `wg` takes 0 for never.
    writeln!(out, "last_handshake_time_sec={}", handshake.as_secs())?;
    writeln!(out, "last_handshake_time_nsec={}", handshake.subsec_nanos())?;
    writeln!(out, "tx_bytes={}", peer.tx_bytes)?;
    writeln!(out, "rx_bytes={}", peer.rx_bytes)?;
    writeln!(out, "persistent_keepalive_interval={}", peer.persistent_keepalive)?;
    peer.allowed_ips.iter().try_for_each(|prefix| writeln!(out, "allowed_ip={prefix}"))
}

fn write_key(out: &mut String, name: &str, key: &[u8; 32]) -> fmt::Result {
    write!(out, "{name}=")?;
    key.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_state_is_told_in_the_words_of_the_protocol() {
        let peer = PeerState {
            public_key: X25519PublicKey([0xb0; 32]),
            preshared_key: SecretBytes::new([0x0c; 32]),
            endpoint: Some("[2001:db8::1]:51820".to_owned()),
            last_handshake: Some(Duration::new(1_700_000_000, 5)),
            tx_bytes: 1,
            rx_bytes: 2,
            persistent_keepalive: 25,
            allowed_ips: vec!["10.0.0.0/8".parse().unwrap(), "::/0".parse().unwrap()],
        };
        let private_key = Some(SecretBytes::new([0xa1; 32]));
        let state = DeviceState { private_key, listen_port: 51820, fwmark: 7, peers: vec![peer] };
        let wanted = format!(
            "private_key={}\nlisten_port=51820\nfwmark=7\npublic_key={}\npreshared_key={}\nprotocol_version=1\n\
             endpoint=[2001:db8::1]:51820\nlast_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\n\
             tx_bytes=1\nrx_bytes=2\npersistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nallowed_ip=::/0\n\
             errno=0\n\n",
            "a1".repeat(32),
            "b0".repeat(32),
            "0c".repeat(32)
        );
        assert_eq!(*answer(&Ok(Some(state))), wanted);
    }

    #[test]
    fn an_empty_device_and_a_failure_are_told_too() {
        let state = DeviceState { private_key: None, listen_port: 0, fwmark: 0, peers: Vec::new() };
        assert_eq!(*answer(&Ok(Some(state))), "errno=0\n\n");
        assert_eq!(*answer(&Ok(None)), "errno=0\n\n");
        assert_eq!(*answer(&Err(UapiError::PortInUse { port: 1 })), "errno=-98\n\n");
    }

    #[test]
    fn the_longest_peer_fits_the_room_set_aside_for_it() {
        let longest = PeerState {
            public_key: X25519PublicKey([0; 32]),
            preshared_key: SecretBytes::ZERO,
            endpoint: Some("[fe80:1111:2222:3333:4444:5555:6666:7777%fifteen-letters]:65535".to_owned()),
            last_handshake: Some(Duration::MAX),
            tx_bytes: u64::MAX,
            rx_bytes: u64::MAX,
            persistent_keepalive: u16::MAX,
            allowed_ips: vec!["2001:db8:1111:2222:3333:4444:5555:6666/128".parse().unwrap()],
        };
        let mut text = String::new();
        write_peer(&mut text, &longest).unwrap();
        assert!(text.len() <= ENTRY_SIZE + ALLOWED_IP_SIZE, "{}", text.len());
    }
}
