//! Whether connections from outside to this host's own addresses are answered there, while all else takes the tunnel.

use super::session::SshSession;
use crate::{
    config::{self, InterfaceConfig},
    control::InterfaceStatus,
    journal::InterfaceName,
    routes::{Inbound, Lan, public_address},
};
use std::{fs, net::IpAddr};

const SSH_PORT: u16 = 22;

/// The wish, what speaks for it, and what was connected before.
#[derive(Debug)]
pub(super) struct Outside {
    interface: InterfaceName,
    wish: config::Inbound,
    kill_switch: bool,
    /// Whether there is a tunnel that would take the answers.
    is_captured: bool,
    /// Where SSH sessions came from when this node started.
    sessions: Vec<IpAddr>,
    before: Inbound,
    /// Why they are answered; `None` where they are not.
    reason: Option<String>,
}

impl Outside {
    pub(super) fn new(config: &InterfaceConfig) -> Self {
        let mut outside = Self {
            interface: config.name.clone(),
            wish: config.inbound,
            kill_switch: config.kill_switch,
            is_captured: config.kill_switch,
            sessions: Vec::new(),
            before: Inbound::default(),
            reason: None,
        };
        outside.look();
        outside
    }

    /// Another wish, after a reload.
    pub(super) fn set_wish(&mut self, wish: config::Inbound) {
        if wish != self.wish {
            self.wish = wish;
            self.look();
        }
    }

    /// Looks at who is connected, where that matters.
    fn look(&mut self) {
        if self.is_refused() {
            return;
        }
        let read = |name: &str| fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
        let tables = ["tcp", "tcp6", "udp", "udp6"].map(read);
        self.before = Inbound::read(&[&tables[0], &tables[1]], &[&tables[2], &tables[3]]);
        let by_port = self.before.accepted.iter().filter(|each| each.local.port() == SSH_PORT);
        let own = SshSession::current().map(|session| session.remote);
        self.sessions =
            own.into_iter().chain(by_port.map(|each| each.remote)).map(|remote| remote.ip()).collect();
        self.sessions.retain(|remote| !remote.is_loopback());
    }

    const fn is_refused(&self) -> bool {
        match self.wish {
            config::Inbound::Allow => false,
            config::Inbound::Auto => self.kill_switch,
            config::Inbound::Refuse => true,
        }
    }

    /// Decides anew: `is_captured` says whether there is a tunnel that would take the answers, `lan` what is reached anyway.
    pub(super) fn update(&mut self, is_captured: bool, lan: Option<&Lan>) {
        self.is_captured = is_captured;
        let reason = if is_captured { self.speaks_for_it(lan) } else { None };
        if reason == self.reason {
            return;
        }
        let interface = &self.interface;
        match &reason {
            Some(reason) => {
                tracing::info!(%interface, reason, "connections from outside are answered beside the tunnel");
            }
            None => {
                tracing::info!(%interface, "connections from outside are not answered beside the tunnel any more");
            }
        }
        self.reason = reason;
    }

    fn speaks_for_it(&self, lan: Option<&Lan>) -> Option<String> {
        if self.is_refused() {
            return None;
        }
        if self.wish == config::Inbound::Allow {
            return Some("inbound = \"allow\"".to_owned());
        }
        let is_near = |remote: &IpAddr| {
            lan.is_some_and(|lan| lan.private().iter().any(|network| network.contains(remote)))
        };
        if let Some(remote) = self.sessions.iter().find(|remote| !is_near(remote)) {
            return Some(format!("an SSH session from {remote} when the tunnel came up"));
        }
        let address = public_address(&self.interface).inspect_err(|error| {
            tracing::debug!(%error, "whether this host has a public address is not known");
        });
        address.ok().flatten().map(|address| format!("this host has the public address {address}"))
    }

    /// What was connected before, where answers leave beside the tunnel.
    pub(super) fn allowed(&self) -> Option<&Inbound> {
        self.reason.as_ref().map(|_| &self.before)
    }

    /// `in_force`: the system does as it was told.
    pub(super) fn report(&self, in_force: bool, status: &mut InterfaceStatus) {
        if self.is_captured {
            let word = if in_force { "allow" } else { "refuse" };
            status.inbound = Some(word.to_owned());
            status.inbound_reason = self.reason.clone().filter(|_| in_force);
        }
    }
}
