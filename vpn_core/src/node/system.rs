//! What a node changes on its system, and how that is undone.

use super::{NodeError, NodeOptions};
use crate::{
    config::{self, Config, Role},
    engine::{OffloadSet, Queue},
    gateway::{Gateway, GatewayConfig},
    journal::{InterfaceName, Journal},
    local_tun::{Tun, TunConfig},
    routes::{
        DefaultRoute, InterfaceSetup, Lan, RouteError, RoutePlan, RouteRequest, Routes, RoutingMark,
        on_link_networks, plan, reserve_mark, tunnel_networks,
    },
    udp::{UdpConfig, UdpError, UdpSocket},
};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// The journal and what is in it.
#[derive(Debug)]
pub(super) struct System {
    journal: Journal,
    mark: RoutingMark,
    addresses: Vec<IpNet>,
    listen_port: Option<u16>,
    /// What the sockets are made from, and how many.
    sockets: (UdpConfig, usize),
    setup: InterfaceSetup,
    /// `None` where the routing table is left alone.
    routes: Option<Routes>,
    /// Of a client.
    lan: Option<config::Lan>,
    wanted: Wanted,
}

/// What the routes are for.
#[derive(Clone, Debug, Default)]
struct Wanted {
    allowed_ips: Vec<IpNet>,
    endpoints: Vec<IpAddr>,
}

impl System {
    /// Takes the journal, which undoes what a crash left behind, and makes device and sockets.
    pub(super) fn start(
        config: &Config,
        role: Role,
        options: &NodeOptions,
    ) -> Result<(Self, Vec<Queue>), NodeError> {
        let interface = &config.interface;
        let mut journal = Journal::open(&options.state_folder, &interface.name)?;
        let mark = reserve_mark(&mut journal)?;
        let offload = options.offload.unwrap_or(interface.offload);
        let any_port = SocketAddr::from(([0_u16; 8], 0));
        let udp = UdpConfig {
            fwmark: Some(mark.value()),
            ..offload.udp_config(interface.listen.unwrap_or(any_port))
        };
        let mut system = Self {
            journal,
            mark,
            addresses: interface.addresses.clone(),
            listen_port: interface.listen.map(|listen| listen.port()),
            sockets: (udp, interface.queues.get()),
            setup: InterfaceSetup {
                name: interface.name.clone(),
                mtu: interface.mtu,
                addresses: interface.addresses.clone(),
            },
            routes: None,
            lan: match role {
                Role::Client => Some(interface.lan),
                Role::Server => None,
            },
            wanted: Wanted::default(),
        };
        match system.make(config, offload) {
            Ok(queues) => Ok((system, queues)),
            Err(error) => {
                system.stop_after(&error);
                Err(error)
            }
        }
    }

    fn make(&mut self, config: &Config, offload: OffloadSet) -> Result<Vec<Queue>, NodeError> {
        let interface = &config.interface;
        let sockets = self.bind()?;
        let queues = sockets.len();
        let tun = Tun::create(&TunConfig { queues, ..offload.tun_config(interface.name.as_str()) })?;
        self.setup.apply()?;
        if interface.routes == config::Routes::Auto {
            self.routes = Some(Routes::apply(&RoutePlan::empty(&interface.name), &mut self.journal)?);
        }
        if let Some(gateway) = &config.gateway {
            self.start_gateway(config, gateway)?;
        }
        Ok(Queue::pairs(tun, sockets))
    }

    /// New sockets; on another port, where the configuration names none.
    pub(super) fn bind(&self) -> Result<Vec<UdpSocket>, UdpError> {
        let (config, count) = &self.sockets;
        UdpSocket::bind_group(config, *count)
    }

    /// What our sockets' datagrams are told by.
    pub(super) const fn mark(&self) -> RoutingMark {
        self.mark
    }

    /// Whether peers know our port from their configuration, so that it must not change.
    pub(super) const fn has_fixed_port(&self) -> bool {
        self.listen_port.is_some()
    }

    fn start_gateway(&mut self, config: &Config, wanted: &config::GatewayConfig) -> Result<(), NodeError> {
        let settings = GatewayConfig {
            interface: config.interface.name.clone(),
            nat: wanted.nat,
            egress: wanted.egress.clone(),
            pools: config.interface.addresses.iter().map(IpNet::trunc).collect(),
            client_to_client: wanted.client_to_client,
        };
        // Undone with the rest of the journal; nothing else of it is needed.
        let _started = Gateway::start(&settings, &mut self.journal)?;
        Ok(())
    }

    /// Routes what the peers may use, around the addresses at which they are reached.
    pub(super) fn route(&mut self, allowed_ips: &[IpNet], endpoints: &[IpAddr]) -> Result<(), NodeError> {
        let wanted = Wanted { allowed_ips: allowed_ips.to_vec(), endpoints: endpoints.to_vec() };
        let before = std::mem::replace(&mut self.wanted, wanted);
        self.refresh_networks().inspect_err(|_| self.wanted = before)
    }

    /// Brings the routes up to date with the networks that this host is on. Does nothing where these are the same.
    pub(super) fn refresh_networks(&mut self) -> Result<(), NodeError> {
        let lan = self.local_networks()?;
        let Some(routes) = &mut self.routes else { return Ok(()) };
        let wanted = plan(&RouteRequest {
            interface: self.journal.interface(),
            addresses: &self.addresses,
            allowed_ips: &self.wanted.allowed_ips,
            endpoints: &self.wanted.endpoints,
            listen_port: self.listen_port,
            mark: self.mark,
            default_route: lan.as_ref().map_or(DefaultRoute::Ordinary, DefaultRoute::Full),
        })?;
        Ok(routes.replace(&wanted, &mut self.journal)?)
    }

    /// What a client reaches beside the tunnel.
    fn local_networks(&self) -> Result<Option<Lan>, NodeError> {
        Ok(match self.lan {
            None => None,
            Some(config::Lan::Deny) => Some(Lan::Deny),
            Some(config::Lan::Allow) => {
                let tunnel = tunnel_networks(&self.addresses, &self.wanted.allowed_ips);
                Some(Lan::allow(&on_link_networks(&self.setup.name)?, &tunnel))
            }
        })
    }

    /// Puts back what somebody else has removed of the rules and routes.
    pub(super) fn restore_routes(&self) -> Result<(), NodeError> {
        self.routes.as_ref().map_or(Ok(()), |routes| Ok(routes.restore()?))
    }

    /// Puts back the nftables tables.
    pub(super) fn restore_tables(&self) -> Result<(), NodeError> {
        if let Some(routes) = &self.routes {
            routes.restore_tables().map_err(RouteError::from)?;
        }
        Ok(())
    }

    /// The names of the nftables tables in force.
    pub(super) fn table_names(&self) -> Vec<String> {
        self.routes.iter().flat_map(Routes::table_names).collect()
    }

    /// The tunnel interface.
    pub(super) fn interface(&self) -> InterfaceName {
        self.setup.name.clone()
    }

    /// Puts back what the tunnel interface lost while it was down: IPv6 addresses and all routes.
    pub(super) fn restore(&self) -> Result<(), NodeError> {
        self.setup.apply()?;
        self.restore_routes()
    }

    /// Whether datagrams to `endpoint` would go into the tunnel by the routes in force.
    pub(super) fn would_loop(&self, endpoint: IpAddr) -> bool {
        self.routes.as_ref().is_some_and(|routes| routes.plan().would_loop(endpoint))
    }

    /// Undoes everything.
    pub(super) fn stop(mut self) -> Result<(), NodeError> {
        self.journal.undo_all()?;
        Ok(self.journal.close()?)
    }

    /// Undoes everything after `error`, which is what the user should read; a second one is only logged.
    pub(super) fn stop_after(self, error: &NodeError) {
        if let Err(second) = self.stop() {
            tracing::error!(%error, %second, "after the failure something could not be undone");
        }
    }
}
