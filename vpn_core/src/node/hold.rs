//! Holding what is installed: what somebody else removes of it is put back.

use super::running::Running;
use crate::routes::{watch_routing, watch_tables};
use std::{cell::Cell, convert::Infallible, time::Duration};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

/// How long after a watch has ended, because too much happened at once or the system refuses, the next one begins.
const WATCH_AGAIN: Duration = Duration::from_secs(5);
/// How often rules and routes are put back without being told of a change: what failed before may succeed now.
const UNASKED_LOOK: Duration = Duration::from_secs(20);
/// After a look for what passes the tunnel, so many times as long as it took is none: with very many routes it takes a twentieth of the time.
const REST_PER_LOOK: u32 = 20;
/// The least of that rest: rules and routes mostly change several at once.
const SHORTEST_REST: Duration = Duration::from_millis(100);

/// What those that hold rules and routes tell each other.
#[derive(Default)]
struct Held {
    /// Whether the last attempt to follow this host's networks failed.
    is_failing: Cell<bool>,
    /// Something may have changed that leads past the tunnel.
    changed: Notify,
}

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
        let held = Held::default();
        tokio::select! {
            never = self.follow_routing(&held) => never,
            never = self.look_at_routing(&held) => never,
            never = self.look_past(&held.changed) => never,
        }
    }

    async fn follow_routing(&self, held: &Held) -> Infallible {
        loop {
            match watch_routing(|| self.put_routes_back(held)).await {
                Ok(never) => match never {},
                Err(error) => {
                    tracing::warn!(%error, "rules and routes that somebody removes are put back late");
                }
            }
            sleep(WATCH_AGAIN).await;
            self.put_routes_back(held);
        }
    }

    async fn look_at_routing(&self, held: &Held) -> Infallible {
        loop {
            sleep(UNASKED_LOOK).await;
            self.put_routes_back(held);
        }
    }

    /// Looks for what passes the tunnel, once for all changes since the last look.
    async fn look_past(&self, changed: &Notify) -> Infallible {
        loop {
            changed.notified().await;
            let begin = Instant::now();
            self.system.borrow_mut().look_past();
            sleep(rest_after(begin.elapsed())).await;
        }
    }

    /// What is missing is put back even where the new networks of this host cannot be taken into account.
    fn put_routes_back(&self, held: &Held) {
        let mut system = self.system.borrow_mut();
        match system.refresh_networks() {
            Ok(()) => held.is_failing.set(false),
            Err(error) if held.is_failing.replace(true) => {
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
        held.changed.notify_one();
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

fn rest_after(look: Duration) -> Duration {
    (look * REST_PER_LOOK).clamp(SHORTEST_REST, UNASKED_LOOK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_takes_long_is_followed_by_a_long_rest() {
        assert_eq!(rest_after(Duration::from_millis(1)), SHORTEST_REST);
        assert_eq!(rest_after(Duration::from_millis(150)), Duration::from_secs(3));
        assert_eq!(rest_after(Duration::from_secs(5)), UNASKED_LOOK);
    }
}
