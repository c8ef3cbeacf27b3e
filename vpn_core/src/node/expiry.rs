//! Peers whose last day is over lose their access while the node runs.

use super::running::Running;
use crate::config::PeerConfig;
use std::{
    convert::Infallible,
    time::{Duration, SystemTime},
};

/// How often peers are checked for having expired, besides when the next one does: clocks are set, files reloaded.
const EXPIRY_CHECK: Duration = Duration::from_secs(60);

impl Running<'_> {
    /// Takes peers away when they expire.
    pub(super) async fn watch_expiry(&self) -> Infallible {
        loop {
            tokio::time::sleep(self.time_to_expiry()).await;
            if self.config.borrow().peers.iter().any(|peer| peer.expires.is_some()) {
                self.apply_peers();
                self.route();
            }
        }
    }

    /// How long until the next peer expires, as far as that can be said: the wall clock may be set.
    fn time_to_expiry(&self) -> Duration {
        let now = SystemTime::now();
        let config = self.config.borrow();
        let ends = config.peers.iter().filter_map(PeerConfig::expires_at);
        // Those that have expired already give no time.
        ends.filter_map(|end| end.duration_since(now).ok()).fold(EXPIRY_CHECK, Duration::min)
    }
}
