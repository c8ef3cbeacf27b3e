//! Holding what is installed: what somebody else removes of it is put back.

use super::running::Running;
use crate::routes::{watch_routing, watch_tables};
use std::{convert::Infallible, future::pending};

impl Running<'_> {
    /// Watches rules, routes and firewall. Network managers and firewalls clear what they do not know when they start
    /// again, and what is left then is a tunnel that says "up" and carries nothing, or not everything.
    pub(super) async fn hold(&self) -> Infallible {
        tokio::join!(self.hold_routes(), self.hold_tables());
        pending().await
    }

    async fn hold_routes(&self) {
        let changed = || {
            let mut system = self.system.borrow_mut();
            if let Err(error) = system.refresh_networks().and_then(|()| system.restore_routes()) {
                // While the interface is down it can have no routes; it gets them when it is up again.
                tracing::debug!(%error, "rules and routes could not be put back");
            }
        };
        match watch_routing(changed).await {
            Ok(never) => match never {},
            Err(error) => {
                tracing::warn!(%error, "rules and routes that somebody removes will not be put back")
            }
        }
    }

    async fn hold_tables(&self) {
        let is_ours = |table: &str| self.system.borrow().table_names().iter().any(|name| name == table);
        let removed = || match self.system.borrow().restore_tables() {
            Ok(()) => tracing::warn!("the firewall was cleared by somebody: our tables are put back"),
            Err(error) => {
                tracing::error!(%error, "the firewall was cleared by somebody, and our tables are missing")
            }
        };
        match watch_tables(is_ours, removed).await {
            Ok(never) => match never {},
            Err(error) => {
                tracing::warn!(%error, "firewall tables that somebody removes will not be put back")
            }
        }
    }
}
