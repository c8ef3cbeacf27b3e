//! Why a peer is not up, or traffic with one that is up may not pass: in words.

use crate::{
    config::PeerConfig,
    device::PeerStatus,
    network::Obstacle,
    tunnel::{Doubt, NoAnswer, PeerState, Unanswered},
};
use nix::net::if_::if_indextoname;
use std::time::{Instant, SystemTime};

/// Says what keeps traffic with `peer` from passing; `None` where nothing is known to. `live` is the peer as the device sees it,
/// `obstacle` what this host knows of the way there.
pub(super) fn reason(
    peer: &PeerConfig,
    live: Option<&PeerStatus>,
    obstacle: Option<Obstacle>,
    now: Instant,
    clock: SystemTime,
) -> Option<String> {
    if !peer.enabled {
        return Some("disabled in the configuration".to_owned());
    }
    if let Some(last_day) = peer.expires.filter(|_| peer.has_expired(clock)) {
        return Some(format!("expired: its last day was {last_day}"));
    }
    let live = live?;
    let Some(endpoint) = live.endpoint else {
        let names: Vec<String> = peer.endpoints.iter().map(ToString::to_string).collect();
        return Some(if names.is_empty() {
            "waits for the peer to connect: it has no `endpoint`".to_owned()
        } else {
            format!("its name does not resolve: {}", names.join(", "))
        });
    };
    if let Some(obstacle) = obstacle {
        // Nothing else is known while nothing leaves this host.
        return Some(match obstacle {
            Obstacle::NoRoute => {
                format!("no network: this host has no route to {}", endpoint.ip().to_canonical())
            }
            Obstacle::NoCarrier { interface } => {
                let name = if_indextoname(interface).ok().and_then(|name| name.into_string().ok());
                // Of one that is gone nix answers the empty name.
                let name =
                    name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("interface {interface}"));
                format!("no network: {name} has no carrier (its cable is out, or no wireless network joined)")
            }
        });
    }
    let mut reasons: Vec<String> = live.doubts.iter().map(|doubt| in_words(*doubt, now)).collect();
    match (live.state, live.unanswered) {
        (PeerState::Up, _) | (PeerState::Connecting, None) => {}
        (PeerState::Connecting, Some(Unanswered { cause, since, .. })) => reasons.push(match cause {
            NoAnswer::Silence => format!("no answer from {endpoint} {}", so_far(since, now)),
            NoAnswer::NotAccepted => "the peer answers, but does not accept our key".to_owned(),
            NoAnswer::Forbidden => format!(
                "this host does not let datagrams to {endpoint} out: a firewall, a route that prohibits, or another tunnel that \
                 they would take and that started after this one (start that one first)"
            ),
        }),
        (PeerState::Idle, _) => reasons.push("no session: the next packet makes one".to_owned()),
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn in_words(doubt: Doubt, now: Instant) -> String {
    match doubt {
        Doubt::KeyInTwoPlaces { places: [one, other] } => {
            format!(
                "its key is used from two places in turn, {one} and {other}: each machine needs a key of its own"
            )
        }
        Doubt::SessionsCutShort => {
            "handshakes are answered, but nothing comes back soon after: is our key used from a second \
                                    place as well?"
                .to_owned()
        }
        Doubt::NothingBack { since } => format!("nothing has come back {}", so_far(since, now)),
        Doubt::ShortOnly { up_to: Some(bytes) } => {
            format!(
                "the path takes packets of up to {bytes} bytes only: longer ones pass in pieces, or not at all"
            )
        }
        Doubt::ShortOnly { up_to: None } => {
            "the path takes short packets only, and loses long ones".to_owned()
        }
    }
}

/// How long something has lasted, in whole seconds; "yet" in the first one.
fn so_far(since: Instant, now: Instant) -> String {
    match now.saturating_duration_since(since).as_secs() {
        0 => "yet".to_owned(),
        seconds => format!("for {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        asymmetric::Identity,
        base::{PeerId, SecretBytes},
        config::Position,
        symmetric::Suite,
    };
    use std::time::Duration;

    fn peer() -> PeerConfig {
        PeerConfig {
            name: "gw".parse().expect("a name"),
            public_key: Identity::from_seed(&SecretBytes::new([1; 32])).public_key().into(),
            preshared_key: None,
            preshared_key_file: None,
            allowed_ips: Vec::new(),
            endpoints: vec!["gw.example.org:51820".parse().expect("an endpoint")],
            persistent_keepalive: None,
            enabled: true,
            expires: None,
            file: "client.toml".into(),
            at: Position { line: 1, column: 1 },
        }
    }

    fn live(state: PeerState) -> PeerStatus {
        PeerStatus {
            id: PeerId(0),
            key: peer().public_key,
            state,
            doubts: Vec::new(),
            endpoint: Some(([198, 51, 100, 2], 51820).into()),
            suite: Suite::ChaCha20Poly1305,
            last_handshake: None,
            handshakes: 0,
            unanswered: None,
            rx_bytes: 0,
            tx_bytes: 0,
            mtu: 1420,
            has_preshared_key: false,
            allowed_ips: Vec::new(),
        }
    }

    /// What is said of a peer 7 s after `since`.
    fn said(
        peer: &PeerConfig,
        live: &PeerStatus,
        obstacle: Option<Obstacle>,
        since: Instant,
    ) -> Option<String> {
        reason(peer, Some(live), obstacle, since + Duration::from_secs(7), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_peer_that_is_up_without_doubt_has_no_reason_and_all_doubts_are_named() {
        let since = Instant::now();
        let mut up = live(PeerState::Up);
        assert_eq!(said(&peer(), &up, None, since), None);
        up.doubts = vec![Doubt::NothingBack { since }, Doubt::ShortOnly { up_to: Some(1216) }];
        let both = "nothing has come back for 7 s; the path takes packets of up to 1216 bytes only: longer ones pass in pieces, or not \
                    at all";
        assert_eq!(said(&peer(), &up, None, since).as_deref(), Some(both));
        let places = [([192, 0, 2, 2], 1).into(), ([192, 0, 2, 3], 2).into()];
        up.doubts = vec![Doubt::KeyInTwoPlaces { places }];
        let places = "its key is used from two places in turn, 192.0.2.2:1 and 192.0.2.3:2: each machine needs a key of its own";
        assert_eq!(said(&peer(), &up, None, since).as_deref(), Some(places));
    }

    #[test]
    fn in_the_first_second_no_time_is_told() {
        let now = Instant::now();
        let unanswered = Some(Unanswered { since: now, inits: 1, cause: NoAnswer::Silence });
        let doubts = vec![Doubt::NothingBack { since: now }];
        let live = PeerStatus { doubts, unanswered, ..live(PeerState::Connecting) };
        let at = |milliseconds| {
            let now = now + Duration::from_millis(milliseconds);
            reason(&peer(), Some(&live), None, now, SystemTime::UNIX_EPOCH).expect("a reason")
        };
        assert_eq!(at(999), "nothing has come back yet; no answer from 198.51.100.2:51820 yet");
        assert_eq!(at(1000), "nothing has come back for 1 s; no answer from 198.51.100.2:51820 for 1 s");
    }

    #[test]
    fn without_a_network_nothing_else_is_said() {
        let since = Instant::now();
        let mut up = live(PeerState::Up);
        up.doubts = vec![Doubt::NothingBack { since }];
        let no_route = said(&peer(), &up, Some(Obstacle::NoRoute), since);
        assert_eq!(no_route.as_deref(), Some("no network: this host has no route to 198.51.100.2"));
        let unplugged = said(&peer(), &up, Some(Obstacle::NoCarrier { interface: u32::MAX }), since);
        assert!(
            unplugged.is_some_and(|text| text.starts_with("no network: interface 4294967295 has no carrier"))
        );
    }

    #[test]
    fn a_peer_that_is_not_up_has_a_reason() {
        let since = Instant::now();
        let with_row = |cause| {
            let unanswered = Some(Unanswered { since, inits: 2, cause });
            said(&peer(), &PeerStatus { unanswered, ..live(PeerState::Connecting) }, None, since)
        };
        let silence = with_row(NoAnswer::Silence);
        assert_eq!(silence.as_deref(), Some("no answer from 198.51.100.2:51820 for 7 s"));
        let not_accepted = with_row(NoAnswer::NotAccepted);
        assert_eq!(not_accepted.as_deref(), Some("the peer answers, but does not accept our key"));
        let forbidden = with_row(NoAnswer::Forbidden);
        assert!(
            forbidden
                .is_some_and(|text| text.starts_with("this host does not let datagrams to 198.51.100.2"))
        );
        let unknown = PeerStatus { endpoint: None, ..live(PeerState::Idle) };
        let unresolved = said(&peer(), &unknown, None, since);
        assert_eq!(unresolved.as_deref(), Some("its name does not resolve: gw.example.org:51820"));
        let caller = PeerConfig { endpoints: Vec::new(), ..peer() };
        assert!(
            said(&caller, &unknown, None, since).is_some_and(|text| text.starts_with("waits for the peer"))
        );
        let disabled = PeerConfig { enabled: false, ..peer() };
        assert_eq!(said(&disabled, &unknown, None, since).as_deref(), Some("disabled in the configuration"));
    }
}
