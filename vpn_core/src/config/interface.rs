//! The `[interface]` and `[gateway]` tables.

use super::{
    EndpointName, InterfaceName, Role,
    fault::Complaint,
    key::{Secret, take_secret},
    leaks::{Inbound, Lan, take_inbound, take_kill_switch, take_lan},
    mtu::{Mtu, read_mtu},
    offload::read_offload,
    queues::read_queues,
    suite::read_suites,
    table::{Source, Table, Value},
};
use crate::{
    asymmetric::{Identity, X25519PublicKey, X25519SecretKey},
    base::SecretBytes,
    engine::{OffloadSet, QueueCount},
    gateway::Egress,
    handshake::{PeerKey, Protocol},
    wire::hybrid::SuiteSet,
};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// How a WireGuard key is made: what to do where one is missing.
pub(super) const MAKE_WIREGUARD_KEY: &str = "umask 077; vpn-server genkey --wireguard > wireguard.key";
/// Name of the TUN device when none is configured.
pub(super) const DEFAULT_NAME: &str = "vpn0";

/// The node itself.
#[derive(Debug)]
pub struct InterfaceConfig {
    /// Name of the TUN device, and of the control socket.
    pub name: InterfaceName,
    /// Who this node is.
    pub identity: Identity,
    /// Address and UDP port to listen on; `None` lets the kernel choose (a node that only initiates).
    pub listen: Option<SocketAddr>,
    /// The node's addresses inside the tunnel with the prefixes of their networks.
    pub addresses: Vec<IpNet>,
    /// How long packets in the tunnel may be.
    pub mtu: Mtu,
    /// DNS servers: those that a client's system asks while it is up, or what a server hands to new clients.
    pub dns: Vec<IpAddr>,
    /// What strangers must know before a responder works for them.
    pub network_key: Option<SecretBytes<32>>,
    /// The X25519 key that WireGuard peers know this node by.
    pub wireguard_key: Option<SecretBytes<32>>,
    /// The suites that this node offers and accepts in hybrid sessions.
    pub suites: SuiteSet,
    /// What the kernel may do for many packets at once.
    pub offload: OffloadSet,
    /// Whether routes for allowed IPs are installed.
    pub routes: Routes,
    /// Whether the local network is reached beside a default route through the tunnel.
    pub lan: Lan,
    /// Whether nothing leaves but through the tunnel, while it is up and after a crash.
    pub kill_switch: bool,
    /// Whether answers to connections from outside leave beside the tunnel.
    pub inbound: Inbound,
    /// Queues of the TUN device, each with a thread and a UDP socket of its own.
    pub queues: QueueCount,
}

impl InterfaceConfig {
    /// The public key that WireGuard peers know this node by.
    pub fn wireguard_public_key(&self) -> Option<X25519PublicKey> {
        self.wireguard_key.as_ref().map(|key| X25519SecretKey::new(key).public_key())
    }

    /// The public key that peers of `protocol` know this node by; `None` where it has none of that kind.
    pub fn own_key(&self, protocol: Protocol) -> Option<PeerKey> {
        match protocol {
            Protocol::Hybrid => Some(self.identity.public_key().into()),
            Protocol::Wireguard => self.wireguard_public_key().map(PeerKey::from),
        }
    }
}

/// Who looks after the routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routes {
    /// Routes for the allowed IPs are installed and undone.
    Auto,
    /// The routing table is left alone.
    Off,
}

/// What a server does for its clients beyond the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Translate the clients' source addresses on the way out.
    pub nat: bool,
    /// Where the clients' traffic leaves.
    pub egress: Egress,
    /// Let clients reach each other.
    pub client_to_client: bool,
    /// Where clients reach this server: written into their files, not used otherwise.
    pub endpoint: Option<EndpointName>,
}

impl GatewayConfig {
    /// Whether a gateway that runs by one of the two would do nothing else by the other.
    pub fn runs_like(&self, other: &Self) -> bool {
        let Self { nat, egress, client_to_client, endpoint: _ } = self;
        (nat, egress, client_to_client) == (&other.nat, &other.egress, &other.client_to_client)
    }
}

pub(super) fn read_interface<'t>(
    source: &mut Source<'t>,
    mut table: Table<'t>,
    role: Role,
) -> Option<InterfaceConfig> {
    let name = match table.take("name") {
        Some(value) => source.parsed(&value),
        None => DEFAULT_NAME.parse().ok(),
    };
    let identity = read_identity(source, &mut table);
    let listen = table.take("listen").and_then(|value| read_listen(source, &value));
    let addresses_value = table.require(source, "addresses", "[\"10.66.0.1/16\"]");
    let addresses = addresses_value.map(|value| read_addresses(source, &value)).unwrap_or_default();
    let mtu = read_mtu(source, table.take("mtu"), &addresses);
    let dns = table.take("dns").map(|value| read_dns(source, &value)).unwrap_or_default();
    let network_key = take_secret(source, &mut table, "network_key", "network_key_file");
    let wireguard_key = take_secret(source, &mut table, "wireguard_key", "wireguard_key_file");
    let suites = read_suites(source, table.take("suite"));
    refuse_one_key_for_both(source, identity.as_ref(), wireguard_key.as_ref().ok().and_then(Option::as_ref));
    let offload = read_offload(source, table.take("offload"));
    let routes = table.take("routes").map_or(Some(Routes::Auto), |value| read_routes(source, &value));
    let queues = read_queues(source, table.take("queues"), role);
    let lan = take_lan(source, &mut table, role);
    let kill_switch = take_kill_switch(source, &mut table, role);
    let inbound = take_inbound(source, &mut table, routes);
    table.finish(source);
    Some(InterfaceConfig {
        name: name?,
        identity: Identity::from_seed(&identity?.key),
        listen,
        addresses,
        mtu: mtu?,
        dns,
        network_key: network_key.ok()?.map(|secret| secret.key),
        wireguard_key: wireguard_key.ok()?.map(|secret| secret.key),
        suites: suites?,
        offload: offload?,
        routes: routes?,
        lan: lan?,
        kill_switch: kill_switch?,
        inbound: inbound?,
        queues: queues?,
    })
}

pub(super) fn read_gateway<'t>(
    source: &mut Source<'t>,
    mut table: Table<'t>,
    role: Role,
) -> Option<GatewayConfig> {
    match role {
        Role::Server => {}
        Role::Client => {
            let message = "[gateway] is for vpn-server, this is a client's file";
            source
                .fault(table.span(), Complaint::new(message, "remove the table, or run it with vpn-server"));
        }
    }
    let boolean = |source: &mut Source<'t>, value: Option<Value<'t>>| {
        value.map_or(Some(true), |value| source.boolean(&value))
    };
    let nat = boolean(source, table.take("nat"));
    let client_to_client = boolean(source, table.take("client_to_client"));
    let egress = table.take("egress").map_or(Some(Egress::Auto), |value| match source.string(&value)? {
        "auto" => Some(Egress::Auto),
        _ => source.parsed(&value).map(Egress::Interface),
    });
    let endpoint = table.take("endpoint").and_then(|value| source.parsed(&value));
    table.finish(source);
    Some(GatewayConfig { nat: nat?, egress: egress?, client_to_client: client_to_client?, endpoint })
}

fn read_identity<'t>(source: &mut Source<'t>, table: &mut Table<'t>) -> Option<Secret> {
    match take_secret(source, table, "identity", "identity_file") {
        Ok(Some(secret)) => Some(secret),
        Ok(None) => {
            let remedy = "add identity_file = \"identity.key\" and make that file with `genkey`";
            source.fault(table.span(), Complaint::new("[interface] has no `identity_file`", remedy));
            None
        }
        Err(()) => None,
    }
}

/// Nothing is known to go wrong with one secret in both roles, and nothing is proved either: the claims for the hybrid
/// handshake are for a key of its own.
fn refuse_one_key_for_both(source: &mut Source<'_>, identity: Option<&Secret>, wireguard: Option<&Secret>) {
    let Some((identity, wireguard)) = identity.zip(wireguard) else { return };
    if identity.key.ct_eq(&wireguard.key) {
        let message = "the WireGuard key is the identity as well";
        let remedy = format!("make a key of its own: {MAKE_WIREGUARD_KEY}");
        source.fault(&wireguard.span, Complaint::new(message, remedy));
    }
}

fn read_listen<'t>(source: &mut Source<'t>, value: &Value<'t>) -> Option<SocketAddr> {
    let text = source.string(value)?;
    let listen = text.parse::<SocketAddr>().map_err(|_| {
        Complaint::new(
            format!("{text:?} is not an address with a port"),
            "write \"[::]:51820\" for all addresses",
        )
    });
    source.accept(&value.span, listen)
}

fn read_addresses<'t>(source: &mut Source<'t>, value: &Value<'t>) -> Vec<IpNet> {
    let mut addresses: Vec<IpNet> = Vec::new();
    for item in source.strings(value) {
        let Some(text) = source.string(&item) else { continue };
        let address = parse_own_address(text).and_then(|address| {
            if addresses.iter().any(|other| other.addr() == address.addr()) {
                return Err(Complaint::new(format!("{} is given twice", address.addr()), "remove one"));
            }
            Ok(address)
        });
        addresses.extend(source.accept(&item.span, address));
    }
    addresses
}

fn parse_own_address(text: &str) -> Result<IpNet, Complaint> {
    let address: IpNet = text.parse().map_err(|_| {
        let remedy = "write an address of this node and its network's length, such as \"10.66.0.1/16\"";
        Complaint::new(format!("{text:?} is not an address with a prefix length"), remedy)
    })?;
    let has_hosts = address.max_prefix_len() - address.prefix_len() >= 2;
    if has_hosts && address.addr() == address.network() {
        let first = address.hosts().find(|host| *host != address.network());
        let remedy =
            first.map_or_else(String::new, |first| format!("use \"{first}/{}\"", address.prefix_len()));
        return Err(Complaint::new(format!("{text:?} names the network, not this node in it"), remedy));
    }
    if address.addr().is_multicast() || address.addr().is_unspecified() {
        return Err(Complaint::new(format!("{text:?} cannot be a node's address"), "use a unicast address"));
    }
    Ok(address)
}

fn read_dns<'t>(source: &mut Source<'t>, value: &Value<'t>) -> Vec<IpAddr> {
    let mut servers = Vec::new();
    for item in source.strings(value) {
        let Some(text) = source.string(&item) else { continue };
        let server = text.parse::<IpAddr>().map_err(|_| {
            Complaint::new(format!("{text:?} is not an IP address"), "write one such as \"10.66.0.1\"")
        });
        servers.extend(source.accept(&item.span, server));
    }
    servers
}

fn read_routes<'t>(source: &mut Source<'t>, value: &Value<'t>) -> Option<Routes> {
    match source.string(value)? {
        "auto" => Some(Routes::Auto),
        "off" => Some(Routes::Off),
        other => {
            source.fault(
                &value.span,
                Complaint::new(format!("routes = {other:?}"), "write \"auto\" or \"off\""),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_runs_alike_wherever_new_clients_are_told_to_find_it() {
        let gateway =
            GatewayConfig { nat: true, egress: Egress::Auto, client_to_client: true, endpoint: None };
        let endpoint = "vpn.example.org:51820".parse().ok();
        assert!(gateway.runs_like(&GatewayConfig { endpoint, ..gateway.clone() }));
        assert!(!gateway.runs_like(&GatewayConfig { nat: false, ..gateway.clone() }));
        assert!(!gateway.runs_like(&GatewayConfig { client_to_client: false, ..gateway.clone() }));
    }
}
