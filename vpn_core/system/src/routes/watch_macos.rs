//! Following what others do to the tunnel interface on macOS: setting it down and up, changing its MTU, taking it away.

use super::{Link, RouteError, macos::link_of};
use crate::journal::{InterfaceName, RoutingEvent, RoutingSocket};

/// Calls `changed` with the state of `interface`, now and whenever that is another one. Somebody else changes it. `None`: it
/// is gone.
///
/// Ends only with an error. Must be called inside a tokio runtime.
///
/// # Errors
/// When there is no such interface, or the system gives no routing socket, or closes it.
pub async fn watch_link(
    interface: &InterfaceName,
    mut changed: impl FnMut(Option<Link>),
) -> Result<std::convert::Infallible, RouteError> {
    let failed = |source| RouteError::Kernel { action: "watch network interfaces".into(), source };
    // Listening comes before asking, so that nothing is missed in between.
    let socket = RoutingSocket::open().map_err(failed)?;
    let mut known = link_of(interface);
    if known.is_none() {
        return Err(RouteError::NoInterface { interface: interface.to_string() });
    }
    changed(known);
    loop {
        match socket.next().await.map_err(failed)? {
            RoutingEvent::Link { .. } | RoutingEvent::Lost => {}
            RoutingEvent::Address { .. } | RoutingEvent::Route { .. } => continue,
        }
        let now = link_of(interface);
        if now != known {
            known = now;
            changed(now);
        }
    }
}
