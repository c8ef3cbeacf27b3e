//! What must hold across peers: unique names and keys, keys of the right kind, no stranger with our key, no shared
//! addresses.

use super::{
    InterfaceConfig, PeerConfig,
    fault::{Complaint, Fault},
    interface::MAKE_WIREGUARD_KEY,
    overlap::{Claim, overlaps},
    peer::ReadPeer,
};
use crate::handshake::Protocol;
use std::{collections::HashMap, net::IpAddr, time::SystemTime};

/// Checks `peers` against each other and against the node itself, as far as its own table could be read.
pub(super) fn check_peers(
    interface: Option<&InterfaceConfig>,
    peers: &[ReadPeer],
    now: SystemTime,
    faults: &mut Vec<Fault>,
    warnings: &mut Vec<Fault>,
) {
    check_names(peers, faults);
    check_keys(peers, faults);
    check_allowed_ips(peers, faults);
    for read in peers {
        let peer = &read.peer;
        if let Some(interface) = interface {
            check_against_own(interface, read, faults);
            check_endpoints(interface, read, faults);
        }
        if peer.has_expired(now) {
            let message = format!("peer {} has expired and is not admitted", peer.name);
            let complaint = Complaint::new(message, "set a later date, or remove the peer");
            warnings.push(complaint.at(&peer.file, read.expires_at));
        }
    }
}

fn check_names(peers: &[ReadPeer], faults: &mut Vec<Fault>) {
    let mut names = HashMap::new();
    for ReadPeer { peer, name_at, .. } in peers {
        if let Some(first) = names.insert(&peer.name, peer) {
            let message = format!("peer name {:?} is already used at {}", peer.name.as_str(), place(first));
            let complaint = Complaint::new(message, "give each peer a name of its own");
            faults.push(complaint.at(&peer.file, Some(*name_at)));
        }
    }
}

/// By their bytes: one key under both handshakes is a slip of whoever copied it.
fn check_keys(peers: &[ReadPeer], faults: &mut Vec<Fault>) {
    let mut keys = HashMap::new();
    for ReadPeer { peer, public_key_at, .. } in peers {
        let Some(first) = keys.insert(peer.public_key.as_bytes(), peer) else { continue };
        let taken = format!("this public key is already that of peer {} at {}", first.name, place(first));
        let (message, remedy) = if first.public_key == peer.public_key {
            (taken, "each peer has a key of its own; remove one of the two")
        } else {
            let message = format!("{taken}, which speaks the other handshake");
            (
                message,
                "a hybrid and a WireGuard key are never the same; correct the one that was copied wrongly",
            )
        };
        faults.push(Complaint::new(message, remedy).at(&peer.file, Some(*public_key_at)));
    }
}

/// What a peer may not share with the node itself, and the key that the node needs to talk to it.
fn check_against_own(interface: &InterfaceConfig, read: &ReadPeer, faults: &mut Vec<Fault>) {
    let peer = &read.peer;
    let protocol = peer.public_key.protocol();
    let is_own = |own| interface.own_key(own).is_some_and(|key| key.as_bytes() == peer.public_key.as_bytes());
    if [Protocol::Hybrid, Protocol::Wireguard].into_iter().any(is_own) {
        let remedy = "put the other node's public key here";
        let complaint = Complaint::new("this is the public key of this node itself", remedy);
        faults.push(complaint.at(&peer.file, Some(read.public_key_at)));
    }
    if protocol == Protocol::Wireguard && interface.wireguard_key.is_none() {
        let message = format!("peer {} speaks WireGuard, for which [interface] has no key", peer.name);
        let remedy =
            format!("add wireguard_key_file = \"wireguard.key\" to [interface], and: {MAKE_WIREGUARD_KEY}");
        faults.push(Complaint::new(message, remedy).at(&peer.file, Some(read.handshake_at)));
    }
    for (network, at) in peer.allowed_ips.iter().zip(&read.allowed_ips_at) {
        let own = |address: &ipnet::IpNet| {
            network.prefix_len() == network.max_prefix_len() && address.addr() == network.addr()
        };
        if interface.addresses.iter().any(own) {
            let message = format!("{} is this node's own address", network.addr());
            faults.push(Complaint::new(message, "give the peer another").at(&peer.file, Some(*at)));
        }
    }
}

/// Our datagrams to an address in the tunnel interface's own networks would go into the tunnel, and be sealed again.
fn check_endpoints(interface: &InterfaceConfig, read: &ReadPeer, faults: &mut Vec<Fault>) {
    for (endpoint, at) in read.peer.endpoints.iter().zip(&read.endpoints_at) {
        let Ok(address) = endpoint.host.parse::<IpAddr>().map(|address| address.to_canonical()) else {
            continue; // A name: what it stands for is known when it is looked up.
        };
        if let Some(own) = interface.addresses.iter().find(|own| own.contains(&address)) {
            let message =
                format!("the endpoint {address} lies inside the tunnel, in its own network {}", own.trunc());
            let remedy = "write the address at which the peer is reached from outside the tunnel";
            faults.push(Complaint::new(message, remedy).at(&read.peer.file, Some(*at)));
        }
    }
}

fn check_allowed_ips(peers: &[ReadPeer], faults: &mut Vec<Fault>) {
    let claims = peers.iter().enumerate().flat_map(|(peer, read)| {
        let networks = read.peer.allowed_ips.iter().enumerate();
        networks.map(move |(number, network)| Claim { network: *network, peer, number })
    });
    for (later, earlier) in overlaps(claims.collect()) {
        let (read, other) = (&peers[later.peer], &peers[earlier.peer].peer);
        let relation = if later.network == earlier.network { "is already" } else { "overlaps" };
        let message = format!(
            "{} {relation} {} of peer {} at {}",
            later.network,
            earlier.network,
            other.name,
            place(other)
        );
        let remedy = "each address belongs to one peer; change one of the two";
        faults.push(
            Complaint::new(message, remedy).at(&read.peer.file, Some(read.allowed_ips_at[later.number])),
        );
    }
}

fn place(peer: &PeerConfig) -> String {
    format!("{}:{}", peer.file.display(), peer.at.line)
}
