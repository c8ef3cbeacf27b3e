//! What a node changes on its system, and how that is undone.

use super::{
    NodeError, NodeOptions, lockdown,
    outside::{Outside, UnansweredServices},
    remains::open_journal,
};
use crate::{
    config::{self, Config, Role},
    control::InterfaceStatus,
    engine::{Engine, OffloadSet, Queue},
    gateway::{Gateway, GatewayConfig},
    journal::{Change, InterfaceName, Journal},
    kill_switch::{self, KillSwitch, KillSwitchRequest, KillSwitchRules},
    local_tun::{Tun, TunConfig},
    network::PathFinder,
    routes::{
        DefaultRoute, Exempt, InterfaceSetup, Lan, LoopGuard, Past, RouteError, RouteMtu, RoutePlan,
        RouteRequest, Routes, RoutingMark, on_link_networks, plan, reserve_mark, route_mtu,
        set_interface_mtu, takes_default_route, traffic_past, tunnel_networks,
    },
    udp::{UdpConfig, UdpError, UdpSocket},
};
use ipnet::IpNet;
use std::{
    cell::Cell,
    io,
    net::{IpAddr, SocketAddr},
};

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
    name_servers: Vec<IpAddr>,
    /// Whether it was said that this host is on more networks than are reached beside the tunnel.
    is_lan_cut_off: Cell<bool>,
    outside: Outside,
    /// What takes traffic past the tunnel, and what is not answered because of it, as it was last seen and told.
    past: Past,
    unanswered: UnansweredServices,
    /// The private networks of the link, where they are reached beside the tunnel.
    reached_beside: Vec<IpNet>,
    kill_switch: Option<KillSwitch>,
    loop_guard: Option<LoopGuard>,
    /// Whether the kill switch outlives a failure: one that an earlier run has left, and that of a node that has run.
    is_locked_down: bool,
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
        // One that is in force stays so until this start's takes its place.
        let keep = if interface.kill_switch { Change::is_kill_switch } else { |_: &Change| false };
        let (mut journal, _) = open_journal(&options.state_folder, &interface.name, keep)?;
        let is_locked_down = journal.outstanding().next().is_some();
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
                mtu: interface.mtu.initial(),
                addresses: interface.addresses.clone(),
            },
            routes: None,
            lan: match role {
                Role::Client => Some(interface.lan),
                Role::Server => None,
            },
            wanted: Wanted::default(),
            name_servers: interface.dns.clone(),
            is_lan_cut_off: Cell::new(false),
            outside: Outside::new(interface),
            past: Past::default(),
            unanswered: UnansweredServices::default(),
            reached_beside: Vec::new(),
            kill_switch: None,
            loop_guard: None,
            is_locked_down,
        };
        match system.make(config, offload) {
            Ok(queues) => Ok((system, queues)),
            Err(error) => Err(system.stop_after(error)),
        }
    }

    fn make(&mut self, config: &Config, offload: OffloadSet) -> Result<Vec<Queue>, NodeError> {
        let interface = &config.interface;
        // Before everything else that is changed, and so undone after it.
        if interface.kill_switch {
            self.engage_kill_switch()?;
        }
        let sockets = self.bind()?;
        let queues = sockets.len();
        let tun = Tun::create(&TunConfig { queues, ..offload.tun_config(interface.name.as_str()) })?;
        self.loop_guard = LoopGuard::engage(&interface.name, self.mark, &mut self.journal)?;
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

    /// What tells which way our sockets' datagrams take.
    pub(super) fn path_finder(&self) -> io::Result<PathFinder> {
        PathFinder::new(self.mark.value())
    }

    /// Whether peers know our port from their configuration, so that it must not change.
    pub(super) const fn has_fixed_port(&self) -> bool {
        self.listen_port.is_some()
    }

    /// Nothing needs to follow a change of network: marked datagrams take the routes that there are.
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "as on macOS, where sockets are bound to an interface"
    )]
    pub(super) fn follow_network(&mut self, _engine: &Engine) -> Result<(), NodeError> {
        Ok(())
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

    /// These name servers are to be asked through the tunnel. Takes effect with the next [`Self::route`].
    pub(super) fn set_name_servers(&mut self, servers: &[IpAddr]) {
        self.name_servers = servers.to_vec();
    }

    /// Whether connections from outside are answered. Takes effect with the next [`Self::route`].
    pub(super) fn set_inbound(&mut self, wish: config::Inbound) {
        self.outside.set_wish(wish);
    }

    /// What of the system belongs into the status.
    pub(super) fn report(&self, status: &mut InterfaceStatus) {
        let answers = self.routes.as_ref().is_some_and(Routes::answers_outside);
        self.outside.report(answers, status);
        status.warnings.extend(self.past.warnings.iter().map(|told| told.text.clone()));
        status.notes.extend(self.past.notes.iter().map(|told| told.text.clone()));
    }

    /// Routes what the peers may use, around the addresses at which they are reached.
    pub(super) fn route(&mut self, allowed_ips: &[IpNet], endpoints: &[IpAddr]) -> Result<(), NodeError> {
        let wanted = Wanted { allowed_ips: allowed_ips.to_vec(), endpoints: endpoints.to_vec() };
        let before = std::mem::replace(&mut self.wanted, wanted);
        self.refresh_networks().inspect_err(|_| self.wanted = before)
    }

    /// Brings the routes up to date with the networks that this host is on. Does nothing where these are the same.
    pub(super) fn refresh_networks(&mut self) -> Result<(), NodeError> {
        let tunnel = self.tunnel_networks();
        let lan = self.local_networks(&tunnel)?;
        self.reached_beside = lan.iter().flat_map(|lan| lan.private().iter().copied()).collect();
        let is_captured = self.kill_switch.is_some() || takes_default_route(&self.wanted.allowed_ips);
        self.outside.update(self.routes.is_some() && is_captured, lan.as_ref());
        let rules = self.kill_switch_rules(&tunnel, lan.as_ref());
        if let Some(kill_switch) = &mut self.kill_switch {
            kill_switch.update(rules)?;
        }
        if self.routes.is_none() {
            return Ok(());
        }
        let wanted = plan(&self.request(lan.as_ref().map_or(DefaultRoute::Ordinary, DefaultRoute::Full)))?;
        let Some(routes) = &mut self.routes else { return Ok(()) };
        Ok(routes.replace(&wanted, &mut self.journal)?)
    }

    fn request<'a>(&'a self, default_route: DefaultRoute<'a>) -> RouteRequest<'a> {
        RouteRequest {
            interface: self.journal.interface(),
            addresses: &self.addresses,
            allowed_ips: &self.wanted.allowed_ips,
            name_servers: &self.name_servers,
            endpoints: &self.wanted.endpoints,
            listen_port: self.listen_port,
            mark: self.mark,
            default_route,
            inbound: self.outside.allowed(),
        }
    }

    fn engage_kill_switch(&mut self) -> Result<(), NodeError> {
        let tunnel = self.tunnel_networks();
        let lan = self.local_networks(&tunnel)?;
        let rules = self.kill_switch_rules(&tunnel, lan.as_ref());
        self.kill_switch = Some(KillSwitch::engage(rules, &mut self.journal)?);
        Ok(())
    }

    fn kill_switch_rules(&self, tunnel: &[IpNet], lan: Option<&Lan>) -> KillSwitchRules {
        kill_switch::rules(&KillSwitchRequest {
            interface: &self.setup.name,
            mark: self.mark,
            addresses: &self.addresses,
            tunnel,
            listen_port: self.listen_port,
            lan: lan.unwrap_or(&Lan::Deny),
            inbound: self.outside.allowed().is_some(),
        })
    }

    /// The node runs: from now on only an orderly stop lifts its kill switch.
    pub(super) fn started(&mut self) {
        self.is_locked_down = self.kill_switch.is_some();
    }

    /// What a client reaches beside the tunnel.
    fn local_networks(&self, tunnel: &[IpNet]) -> Result<Option<Lan>, NodeError> {
        let lan = match self.lan {
            None => return Ok(None),
            Some(config::Lan::Deny) => Lan::Deny,
            Some(config::Lan::Allow) => Lan::allow(&on_link_networks(&self.setup.name)?, tunnel),
        };
        if lan.is_cut_off() && !self.is_lan_cut_off.replace(true) {
            tracing::warn!(
                "this host is on very many private networks: not all of them are reached beside the tunnel"
            );
        }
        Ok(Some(lan))
    }

    fn tunnel_networks(&self) -> Vec<IpNet> {
        tunnel_networks(&self.addresses, &self.wanted.allowed_ips, &self.name_servers)
    }

    /// Puts back what somebody else has removed of the rules and routes.
    pub(super) fn restore_routes(&self) -> Result<(), NodeError> {
        self.routes.as_ref().map_or(Ok(()), |routes| Ok(routes.restore()?))
    }

    /// Puts back the nftables tables: the kill switch first, and each of them whether or not that goes well with the others.
    pub(super) fn restore_tables(&self) -> Result<(), NodeError> {
        let kill_switch = self.kill_switch.as_ref().map_or(Ok(()), KillSwitch::restore);
        let loop_guard = self.loop_guard.as_ref().map_or(Ok(()), LoopGuard::restore);
        let marks = self.routes.as_ref().map_or(Ok(()), Routes::restore_tables);
        kill_switch?;
        Ok(loop_guard.and(marks).map_err(RouteError::from)?)
    }

    /// Looks for what takes traffic past the tunnel, and what is not answered because of it. Tells of what is new, and of warnings that
    /// are over.
    pub(super) fn look_past(&mut self) {
        let Some(routes) = &self.routes else { return };
        let exempt = Exempt {
            networks: self.reached_beside.clone(),
            // A gateway's and a site's own networks are reached there.
            longer_routes: self.lan.is_none(),
        };
        let mut past = match traffic_past(routes.plan(), &self.wanted.allowed_ips, &exempt) {
            Ok(past) => past,
            Err(error) => {
                tracing::debug!(%error, "which way traffic takes is not known");
                return;
            }
        };
        if routes.answers_outside() && takes_default_route(&self.wanted.allowed_ips) {
            let mut finder = self.path_finder().ok();
            past.notes.extend(self.unanswered.note(|to| finder.as_mut()?.path_to(to)?.source));
        }
        for gone in self.past.warnings.iter().filter(|told| !told.is_in(&past.warnings)) {
            tracing::info!("over: {}", gone.text);
        }
        for new in past.warnings.iter().filter(|told| !told.is_in(&self.past.warnings)) {
            tracing::warn!("{}", new.text);
        }
        for new in past.notes.iter().filter(|told| !told.is_in(&self.past.notes)) {
            tracing::info!("{}", new.text);
        }
        self.past = past;
    }

    /// The names of the nftables tables in force.
    pub(super) fn table_names(&self) -> Vec<String> {
        let kill_switch = self.kill_switch.iter().map(|kill_switch| kill_switch.table().to_owned());
        let loop_guard = self.loop_guard.iter().map(|guard| guard.table().to_owned());
        self.routes.iter().flat_map(Routes::table_names).chain(kill_switch).chain(loop_guard).collect()
    }

    /// What the route to `endpoint` takes; `None` where there is none.
    pub(super) fn route_mtu(&self, endpoint: IpAddr) -> Option<RouteMtu> {
        let answer = route_mtu(endpoint, self.mark);
        answer.inspect_err(|error| tracing::debug!(%endpoint, %error, "no route")).ok()
    }

    /// Gives the tunnel interface another MTU. It goes with the interface, and so needs no journal.
    pub(super) fn set_mtu(&mut self, mtu: u16) -> Result<(), RouteError> {
        set_interface_mtu(&self.setup.name, mtu)?;
        self.setup.mtu = mtu;
        Ok(())
    }

    /// Somebody has given the tunnel interface another MTU, which is to stay.
    pub(super) fn note_mtu(&mut self, mtu: u16) {
        self.setup.mtu = mtu;
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

    /// The networks in which no peer is reached: by the routes in force, or, where somebody else makes them, by those that we would
    /// make without a full tunnel's rules.
    pub(super) fn inner_networks(&self) -> Vec<IpNet> {
        let connected = || self.addresses.iter().map(IpNet::trunc).collect();
        match &self.routes {
            Some(routes) => routes.plan().inner_networks().collect(),
            None => plan(&self.request(DefaultRoute::Ordinary))
                .map_or_else(|_| connected(), |plan| plan.inner_networks().collect()),
        }
    }

    /// The list of what was changed.
    pub(super) fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// The mark of our own sockets.
    pub(super) fn socket_mark(&self) -> u32 {
        self.mark.value()
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
