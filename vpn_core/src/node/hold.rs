//! Holding what is installed: what somebody else removes of it is put back.

use super::running::Running;
use crate::routes::{watch_routing, watch_tables};
use std::{convert::Infallible, time::Duration};
use tokio::time::sleep;

/// How long after a watch has ended, because too much happened at once or the system refuses, the next one begins.
const WATCH_AGAIN: Duration = Duration::from_secs(5);

impl Running<'_> {
    /// Watches rules, routes and firewall. Network managers and firewalls clear what they do not know when they start
    /// again, and what is left then is a tunnel that says "up" and carries nothing, or not everything.
    pub(super) async fn hold(&self) -> Infallible {
        tokio::select! {
            never = self.hold_routes() => never,
            never = self.hold_tables() => never,
        }
    }

    async fn hold_routes(&self) -> Infallible {
        loop {
            match watch_routing(|| self.put_routes_back()).await {
                Ok(never) => match never {},
                Err(error) => {
                    tracing::warn!(%error, "rules and routes that somebody removes are put back late");
                }
            }
            sleep(WATCH_AGAIN).await;
            self.put_routes_back();
        }
    }

    fn put_routes_back(&self) {
        let mut system = self.system.borrow_mut();
        if let Err(error) = system.refresh_networks().and_then(|()| system.restore_routes()) {
            // While the interface is down it can have no routes; it gets them when it is up again.
            tracing::debug!(%error, "rules and routes could not be put back");
        }
    }

    async fn hold_tables(&self) -> Infallible {
        let is_ours = |table: &str| self.system.borrow().table_names().iter().any(|name| name == table);
        let removed = || {
            tracing::warn!("the firewall was cleared by somebody: putting our tables back");
            self.put_tables_back();
        };
        loop {
            match watch_tables(is_ours, removed).await {
                Ok(never) => match never {},
                Err(error) => {
                    tracing::warn!(%error, "firewall tables that somebody removes are put back late");
                }
            }
            sleep(WATCH_AGAIN).await;
            self.put_tables_back();
        }
    }

    fn put_tables_back(&self) {
        if let Err(error) = self.system.borrow().restore_tables() {
            tracing::error!(%error, "our firewall tables are missing");
        }
    }
}
