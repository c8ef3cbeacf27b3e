//! Holding what is installed on a Mac: what somebody else removes of it is put back.

use super::running::Running;
use crate::journal::{RoutingEvent, RoutingSocket};
use nix::net::if_::if_nametoindex;
use std::{convert::Infallible, future::pending, io, time::Duration};
use tokio::time::sleep;

/// How often pf is looked at: it tells nobody that its rules were replaced.
const RULES_CHECK: Duration = Duration::from_secs(5);
/// Who removes several routes is not to be met in the middle of that.
const SETTLE: Duration = Duration::from_millis(200);

impl Running<'_> {
    /// Watches routes and rules.
    pub(super) async fn hold(&self) -> Infallible {
        let routes = async {
            if let Err(error) = self.hold_routes().await {
                tracing::warn!(%error, "routes that somebody removes will not be put back");
            }
        };
        tokio::join!(routes, self.hold_rules());
        pending().await
    }

    async fn hold_routes(&self) -> io::Result<()> {
        let tunnel = if_nametoindex(self.system.borrow().interface().as_str())?;
        let socket = RoutingSocket::open()?;
        loop {
            match socket.next().await? {
                RoutingEvent::Route { interface } if interface == tunnel => {}
                RoutingEvent::Lost => {}
                RoutingEvent::Route { .. } | RoutingEvent::Link { .. } | RoutingEvent::Address { .. } => {
                    continue;
                }
            }
            sleep(SETTLE).await;
            if let Err(error) = self.system.borrow().restore_routes() {
                tracing::debug!(%error, "routes could not be put back");
            }
        }
    }

    async fn hold_rules(&self) {
        loop {
            sleep(RULES_CHECK).await;
            match self.system.borrow_mut().restore_rules() {
                Ok(false) => {}
                Ok(true) => tracing::warn!("pf was reset by somebody: our rules are put back"),
                Err(error) => tracing::error!(%error, "pf was reset by somebody, and our rules are missing"),
            }
        }
    }
}
