//! What a node changes on a Mac, and how that is undone.

use super::{NodeError, NodeOptions, lockdown, remains::open_journal};
use crate::{
    config::{self, Config, Role},
    control::InterfaceStatus,
    engine::{Engine, OffloadSet, Queue},
    gateway::{Gateway, GatewayConfig},
    journal::{Change, InterfaceName, Journal},
    kill_switch::{KillSwitchError, MacKillSwitch, PfRequest},
    local_tun::{Tun, TunConfig},
    network::{PathFinder, uplink, uplink_name},
    routes::{
        InterfaceSetup, Lan, MacRoutes, RouteError, RouteMtu, on_link_networks, shape_interface,
        tunnel_networks,
    },
    udp::{UdpConfig, UdpError, UdpSocket},
};
use ipnet::IpNet;
use std::{
    cell::RefCell,
    io,
    net::{IpAddr, SocketAddr},
};

/// The journal and what is in it.
#[derive(Debug)]
pub(super) struct System {
    journal: Journal,
    listen_port: Option<u16>,
    /// What the sockets are made from, and how many. Its scope is the interface that our datagrams leave through.
    sockets: (UdpConfig, usize),
    setup: InterfaceSetup,
    /// `None` where the routing table is left alone.
    routes: Option<MacRoutes>,
    gateway: Option<Gateway>,
    /// Of a client.
    lan: Option<config::Lan>,
    allowed_ips: Vec<IpNet>,
    endpoints: Vec<IpAddr>,
    name_servers: Vec<IpAddr>,
    /// Changes with the port of a new socket, too.
    kill_switch: RefCell<Option<Engaged>>,
    /// Whether the kill switch outlives a failure: one that an earlier run has left, and that of a node that has run.
    is_locked_down: bool,
}

#[derive(Debug)]
struct Engaged {
    rules: MacKillSwitch,
    /// The port of our socket, by which its datagrams are known.
    port: u16,
}

impl System {
    /// Takes the journal, which undoes what a crash left behind, and makes device and socket.
    pub(super) fn start(
        config: &Config,
        role: Role,
        options: &NodeOptions,
    ) -> Result<(Self, Vec<Queue>), NodeError> {
        let interface = &config.interface;
        if role == Role::Client && interface.lan == config::Lan::Deny && !interface.kill_switch {
            let what =
                "on a Mac nothing but the kill switch holds lan = \"deny\": set kill_switch = true as well";
            return Err(NodeError::System { what, source: io::ErrorKind::Unsupported.into() });
        }
        if interface.inbound == config::Inbound::Allow {
            let what = "inbound = \"allow\" is not available on a Mac: remove the line";
            return Err(NodeError::System { what, source: io::ErrorKind::Unsupported.into() });
        }
        // One that is in force stays so until this start's takes its place.
        let keep = if interface.kill_switch { Change::is_kill_switch } else { |_: &Change| false };
        let (journal, _) = open_journal(&options.state_folder, &interface.name, keep)?;
        let is_locked_down = journal.outstanding().next().is_some();
        let offload = options.offload.unwrap_or(interface.offload);
        let any_port = SocketAddr::from(([0_u16; 8], 0));
        let mut system = Self {
            journal,
            listen_port: interface.listen.map(|listen| listen.port()),
            sockets: (offload.udp_config(interface.listen.unwrap_or(any_port)), interface.queues.get()),
            setup: InterfaceSetup {
                name: interface.name.clone(),
                mtu: interface.mtu.initial(),
                addresses: interface.addresses.clone(),
            },
            routes: None,
            gateway: None,
            lan: match role {
                Role::Client => Some(interface.lan),
                Role::Server => None,
            },
            allowed_ips: Vec::new(),
            endpoints: Vec::new(),
            name_servers: interface.dns.clone(),
            kill_switch: RefCell::new(None),
            is_locked_down,
        };
        match system.make(config, offload) {
            Ok(queues) => Ok((system, queues)),
            Err(error) => Err(system.stop_after(error)),
        }
    }

    fn make(&mut self, config: &Config, offload: OffloadSet) -> Result<Vec<Queue>, NodeError> {
        let interface = &config.interface;
        self.sockets.0.scope = Some(uplink().map_err(uplink_unknown)?);
        let sockets = self.bind()?;
        // Before everything that is changed, and so undone after it.
        if interface.kill_switch {
            self.engage_kill_switch(port_of(&sockets))?;
        }
        let queues = sockets.len();
        let tun = Tun::create(&TunConfig { queues, ..offload.tun_config(interface.name.as_str()) })?;
        self.setup.apply()?;
        if interface.routes == config::Routes::Auto {
            self.routes = Some(MacRoutes::new(&interface.name, &interface.addresses));
        }
        if let Some(gateway) = &config.gateway {
            self.start_gateway(config, gateway)?;
        }
        Ok(Queue::pairs(tun, sockets))
    }

    /// New sockets; on another port, where the configuration names none.
    pub(super) fn bind(&self) -> Result<Vec<UdpSocket>, UdpError> {
        let (config, count) = &self.sockets;
        let sockets = UdpSocket::bind_group(config, *count)?;
        if let Some(engaged) = &mut *self.kill_switch.borrow_mut() {
            engaged.port = port_of(&sockets);
            if let Err(error) = self.update_kill_switch(engaged) {
                tracing::error!(%error, "the kill switch does not know the new port of our own datagrams");
            }
        }
        Ok(sockets)
    }

    fn engage_kill_switch(&mut self, port: u16) -> Result<(), NodeError> {
        let (tunnel, lan) = (self.tunnel_networks(), self.local_networks()?);
        let request = PfRequest {
            interface: &self.setup.name,
            port,
            addresses: &self.setup.addresses,
            tunnel: &tunnel,
            lan: &lan,
        };
        let rules = MacKillSwitch::engage(&request, &mut self.journal).map_err(KillSwitchError::from)?;
        self.kill_switch = RefCell::new(Some(Engaged { rules, port }));
        Ok(())
    }

    fn update_kill_switch(&self, engaged: &mut Engaged) -> Result<(), NodeError> {
        let (tunnel, lan) = (self.tunnel_networks(), self.local_networks()?);
        let request = PfRequest {
            interface: &self.setup.name,
            port: engaged.port,
            addresses: &self.setup.addresses,
            tunnel: &tunnel,
            lan: &lan,
        };
        Ok(engaged.rules.update(&request).map_err(KillSwitchError::from)?)
    }

    /// Nothing here looks for what takes traffic past the tunnel.
    #[expect(clippy::unused_self, reason = "as on Linux")]
    pub(super) const fn look_past(&mut self) {}

    /// Connections from outside are not answered beside a tunnel.
    #[expect(clippy::unused_self, reason = "as on Linux")]
    pub(super) const fn set_inbound(&mut self, _wish: config::Inbound) {}

    /// What of the system belongs into the status: nothing more.
    #[expect(clippy::unused_self, reason = "as on Linux")]
    pub(super) const fn report(&self, _status: &mut InterfaceStatus) {}

    /// The node runs: from now on only an orderly stop lifts its kill switch.
    pub(super) fn started(&mut self) {
        self.is_locked_down = self.kill_switch.get_mut().is_some();
    }

    /// What a client reaches beside the tunnel.
    fn local_networks(&self) -> Result<Vec<IpNet>, NodeError> {
        let lan = match self.lan {
            None | Some(config::Lan::Deny) => Lan::Deny,
            Some(config::Lan::Allow) => {
                Lan::allow(&on_link_networks(&self.setup.name)?, &self.tunnel_networks())
            }
        };
        Ok(lan.networks())
    }

    fn tunnel_networks(&self) -> Vec<IpNet> {
        tunnel_networks(&self.setup.addresses, &self.allowed_ips, &self.name_servers)
    }

    /// What tells which way our sockets' datagrams take.
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "as on Linux, where it needs a socket and a mark"
    )]
    pub(super) fn path_finder(&self) -> io::Result<PathFinder> {
        Ok(PathFinder::default())
    }

    /// Whether peers know our port from their configuration, so that it must not change.
    pub(super) const fn has_fixed_port(&self) -> bool {
        self.listen_port.is_some()
    }

    /// What the route to `endpoint` takes: not asked for here. Probes find out.
    #[expect(clippy::unused_self, reason = "as on Linux, where it needs a mark")]
    pub(super) const fn route_mtu(&self, _endpoint: IpAddr) -> Option<RouteMtu> {
        None
    }

    /// Gives the tunnel interface another MTU. It goes with the interface, and so needs no journal.
    pub(super) fn set_mtu(&mut self, mtu: u16) -> Result<(), RouteError> {
        shape_interface(&self.setup.name, mtu)?;
        self.setup.mtu = mtu;
        Ok(())
    }

    /// Somebody has given the tunnel interface another MTU, which is to stay.
    pub(super) const fn note_mtu(&mut self, mtu: u16) {
        self.setup.mtu = mtu;
    }

    fn uplink_name(&self) -> Option<String> {
        self.sockets.0.scope.and_then(uplink_name)
    }

    fn start_gateway(&mut self, config: &Config, wanted: &config::GatewayConfig) -> Result<(), NodeError> {
        let settings = GatewayConfig {
            interface: config.interface.name.clone(),
            nat: wanted.nat,
            egress: wanted.egress.clone(),
            pools: config.interface.addresses.iter().map(IpNet::trunc).collect(),
            client_to_client: wanted.client_to_client,
        };
        let uplink = self.uplink_name();
        self.gateway = Some(Gateway::start(&settings, uplink.as_deref(), self.setup.mtu, &mut self.journal)?);
        Ok(())
    }

    /// These name servers are to be asked through the tunnel. Takes effect with the next [`Self::route`].
    pub(super) fn set_name_servers(&mut self, servers: &[IpAddr]) {
        self.name_servers = servers.to_vec();
    }

    /// Routes what the peers may use. Where they are reached does not matter for that: our sockets are scoped.
    pub(super) fn route(&mut self, allowed_ips: &[IpNet], endpoints: &[IpAddr]) -> Result<(), NodeError> {
        self.endpoints = endpoints.to_vec();
        let before = std::mem::replace(&mut self.allowed_ips, allowed_ips.to_vec());
        self.refresh_networks().inspect_err(|_| self.allowed_ips = before)
    }

    /// Brings kill switch and routes up to date with the networks that this host is on.
    fn refresh_networks(&mut self) -> Result<(), NodeError> {
        if let Some(engaged) = &mut *self.kill_switch.borrow_mut() {
            self.update_kill_switch(engaged)?;
        }
        if let Some(routes) = &mut self.routes {
            routes.replace(&self.allowed_ips, &mut self.journal)?;
        }
        Ok(())
    }

    /// Puts back what somebody else has removed of the routes.
    pub(super) fn restore_routes(&self) -> Result<(), NodeError> {
        self.routes.as_ref().map_or(Ok(()), |routes| Ok(routes.restore()?))
    }

    /// Puts back what somebody else has removed of the rules of pf, or switched it off; whether that was so.
    pub(super) fn restore_rules(&mut self) -> Result<bool, NodeError> {
        let mut restored = false;
        if let Some(engaged) = self.kill_switch.get_mut() {
            restored |= engaged.rules.restore(&mut self.journal).map_err(KillSwitchError::from)?;
        }
        if let Some(gateway) = &mut self.gateway {
            restored |= gateway.restore(&mut self.journal)?;
        }
        Ok(restored)
    }

    /// Follows the default route to another interface, socket and gateway; and what else depends on the network.
    pub(super) fn follow_network(&mut self, engine: &Engine) -> Result<(), NodeError> {
        let now = uplink().map_err(uplink_unknown)?;
        if self.sockets.0.scope != Some(now) {
            engine.set_scope(now).map_err(|source| NodeError::System {
                what: "the socket cannot follow the default route",
                source,
            })?;
            self.sockets.0.scope = Some(now);
            let uplink = self.uplink_name();
            tracing::info!(uplink, "the default route leads elsewhere now");
            if let Some(gateway) = &mut self.gateway {
                gateway.refresh(uplink.as_deref())?;
            }
        }
        self.refresh_networks()
    }

    /// The tunnel interface.
    pub(super) fn interface(&self) -> InterfaceName {
        self.setup.name.clone()
    }

    /// Puts back what the tunnel interface lost while it was down.
    pub(super) fn restore(&self) -> Result<(), NodeError> {
        self.setup.apply()?;
        self.restore_routes()
    }

    /// The networks in which no peer is reached, as on Linux: all that is in the tunnel, but for what covers an endpoint.
    pub(super) fn inner_networks(&self) -> Vec<IpNet> {
        let mut networks = self.tunnel_networks();
        networks.retain(|network| !self.endpoints.iter().any(|endpoint| network.contains(endpoint)));
        networks
    }

    /// The list of what was changed.
    pub(super) fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// The mark of our own sockets: there are none here.
    #[expect(clippy::unused_self, reason = "as on Linux")]
    pub(super) const fn socket_mark(&self) -> u32 {
        0
    }

    /// Undoes everything.
    pub(super) fn stop(self) -> Result<(), NodeError> {
        lockdown::undo_all(self.journal)
    }

    /// Undoes everything after `error`, see [`lockdown::undo_after`].
    pub(super) fn stop_after(self, error: NodeError) -> NodeError {
        lockdown::undo_after(error, self.journal, self.is_locked_down)
    }
}

fn port_of(sockets: &[UdpSocket]) -> u16 {
    sockets.first().map_or(0, |socket| socket.local_addr().port())
}

fn uplink_unknown(source: io::Error) -> NodeError {
    NodeError::System { what: "where the default route leads cannot be seen", source }
}
