//! Holding what is installed: what somebody else removes of it is put back.

use super::running::Running;
use crate::routes::{watch_routing, watch_tables};
use std::{cell::Cell, convert::Infallible, time::Duration};
use tokio::{sync::Notify, time::sleep};

/// How long after a watch has ended, because too much happened at once or the system refuses, the next one begins.
const WATCH_AGAIN: Duration = Duration::from_secs(5);
/// How often rules and routes are put back without being told of a change: what failed before may succeed now.
const UNASKED_LOOK: Duration = Duration::from_secs(20);

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
        let failing = Cell::new(false);
        tokio::select! {
            never = self.follow_routing(&failing) => never,
            never = self.look_at_routing(&failing) => never,
        }
    }

    async fn follow_routing(&self, failing: &Cell<bool>) -> Infallible {
        loop {
            match watch_routing(|| self.put_routes_back(failing)).await {
                Ok(never) => match never {},
                Err(error) => {
                    tracing::warn!(%error, "rules and routes that somebody removes are put back late");
                }
            }
            sleep(WATCH_AGAIN).await;
            self.put_routes_back(failing);
        }
    }

    async fn look_at_routing(&self, failing: &Cell<bool>) -> Infallible {
        loop {
            sleep(UNASKED_LOOK).await;
            self.put_routes_back(failing);
        }
    }

    /// What is missing is put back even where the new networks of this host cannot be taken into account.
    fn put_routes_back(&self, failing: &Cell<bool>) {
        let mut system = self.system.borrow_mut();
        match system.refresh_networks() {
            Ok(()) => failing.set(false),
            Err(error) if failing.replace(true) => {
                tracing::debug!(%error, "rules and routes still do not follow this host's networks");
            }
            Err(error) => {
                tracing::error!(%error, "rules and routes do not follow this host's networks: trying again");
            }
        }
        if let Err(error) = system.restore_routes() {
            // While the interface is down it can have no routes; it gets them when it is up again.
            tracing::debug!(%error, "rules and routes could not be put back");
        }
        system.look_past();
    }

    async fn hold_tables(&self) -> Infallible {
        let missing = Notify::new();
        tokio::select! {
            never = self.follow_tables(&missing) => never,
            never = self.retry_tables(&missing) => never,
        }
    }

    async fn follow_tables(&self, missing: &Notify) -> Infallible {
        let is_ours = |table: &str| self.system.borrow().table_names().iter().any(|name| name == table);
        let put_back = || {
            if !self.put_tables_back() {
                missing.notify_one();
            }
        };
        let removed = || {
            tracing::warn!("the firewall was cleared by somebody: putting our tables back");
            put_back();
        };
        loop {
            match watch_tables(is_ours, removed).await {
                Ok(never) => match never {},
                Err(error) => {
                    tracing::warn!(%error, "firewall tables that somebody removes are put back late");
                }
            }
            sleep(WATCH_AGAIN).await;
            put_back();
        }
    }

    /// No event tells that what could not be put back now can be.
    async fn retry_tables(&self, missing: &Notify) -> Infallible {
        loop {
            missing.notified().await;
            while !self.put_tables_back() {
                sleep(WATCH_AGAIN).await;
            }
        }
    }

    fn put_tables_back(&self) -> bool {
        let outcome = self.system.borrow().restore_tables();
        if let Err(error) = &outcome {
            tracing::error!(%error, "our firewall tables are missing: trying again");
        }
        outcome.is_ok()
    }
}
