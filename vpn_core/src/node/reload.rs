//! A configuration file that is read again while the node runs.

use super::{
    names::Captured,
    peers::Addresses,
    running::{Running, access, admitted, allowed_ips, endpoint_names, known_endpoints},
};
use crate::{asymmetric::X25519SecretKey, base::SecretBytes, config::Config, control::give_socket};

impl Running<'_> {
    /// Applies the file, all of it or nothing. Gives what there is to say about it.
    pub(super) async fn reload_once(&self) -> Result<Vec<String>, String> {
        let fresh = (self.load)().map_err(|error| error.to_string())?;
        restart_needed(&self.config.borrow(), &fresh)?;
        let mut addresses = Addresses::default();
        let captured = Captured::by(&self.config.borrow());
        addresses.resolve(endpoint_names(&fresh), &self.names, &captured).await;
        self.addresses.borrow_mut().merge(addresses);
        let mut notes: Vec<String> = fresh.warnings.iter().map(ToString::to_string).collect();
        self.system.borrow_mut().set_name_servers(&fresh.interface.dns);
        self.system.borrow_mut().set_inbound(fresh.interface.inbound);
        let (old, new) = (self.config.borrow().peers.len(), fresh.peers.len());
        let peers = admitted(&fresh, &self.addresses.borrow());
        let endpoints = known_endpoints(&self.addresses.borrow());
        let applied = {
            let mut system = self.system.borrow_mut();
            system
                .route(&allowed_ips(&peers), &endpoints)
                .and_then(|()| self.names.apply(&fresh, self.role, &mut system))
        };
        if let Err(error) = applied {
            // The old configuration stays in force, so its routes must, too: the new ones may let out what it holds.
            self.route();
            return Err(error.to_string());
        }
        notes.extend(self.open_socket_to(&fresh));
        let before = self.config.replace(fresh);
        self.take_first_wireguard_key(&before);
        self.update_inner_networks();
        self.apply_peers();
        notes.push(format!("{new} peers, before {old}"));
        Ok(notes)
    }

    /// Gives the control socket to the group of the new configuration, where that is another; says so, or that it failed.
    fn open_socket_to(&self, fresh: &Config) -> Option<String> {
        let (old, new) = (access(&self.config.borrow()).socket_group(), access(fresh).socket_group());
        if old == new {
            return None;
        }
        Some(match give_socket(&self.socket, new) {
            Ok(()) => "the control socket has another group".to_owned(),
            Err(error) => format!("the control socket keeps its group until a restart: {error}"),
        })
    }

    /// Gives the device the WireGuard key of the configuration where `old` had none. No session can be lost by that.
    fn take_first_wireguard_key(&self, old: &Config) {
        let config = self.config.borrow();
        let key = config.interface.wireguard_key.as_ref().map(X25519SecretKey::new);
        if let (None, Some(key)) = (&old.interface.wireguard_key, key) {
            self.engine.borrow().with_device(move |device, now| device.set_wireguard_key(Some(key), now));
        }
    }
}

/// What a reload cannot change; naming it is better than applying half of a file.
fn restart_needed(old: &Config, new: &Config) -> Result<(), String> {
    let (a, b) = (&old.interface, &new.interface);
    let same_secret = |x: &Option<SecretBytes<32>>, y: &Option<SecretBytes<32>>| match (x, y) {
        (None, None) => true,
        (Some(x), Some(y)) => x.ct_eq(y),
        (Some(_), None) | (None, Some(_)) => false,
    };
    // A first WireGuard key is taken as it comes, by `take_first_wireguard_key`.
    let same_wireguard_key = a.wireguard_key.is_none() || same_secret(&a.wireguard_key, &b.wireguard_key);
    let same_gateway = match (&old.gateway, &new.gateway) {
        (None, None) => true,
        (Some(old), Some(new)) => old.runs_like(new),
        (Some(_), None) | (None, Some(_)) => false,
    };
    let changed = [
        ("name", a.name != b.name),
        ("identity", a.identity.public_key() != b.identity.public_key()),
        ("listen", a.listen != b.listen),
        ("addresses", a.addresses != b.addresses),
        ("mtu", a.mtu != b.mtu),
        ("suite", a.suites != b.suites),
        ("queues", a.queues != b.queues),
        ("offload", a.offload != b.offload),
        ("routes", a.routes != b.routes),
        ("lan", a.lan != b.lan),
        ("kill_switch", a.kill_switch != b.kill_switch),
        ("network_key", !same_secret(&a.network_key, &b.network_key)),
        ("wireguard_key", !same_wireguard_key),
        ("[gateway]", !same_gateway),
    ];
    let changed: Vec<&str> =
        changed.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(format!("{} changed, which needs a restart; nothing was applied", changed.join(", ")))
}
