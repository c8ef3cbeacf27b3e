//! What a tunnel tells of itself.

use super::Unanswered;
use crate::{
    base::{Endpoint, PeerId},
    handshake::Role,
};
use std::{net::SocketAddr, time::Instant};

/// Something that the outside may want to know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session is usable in both directions.
    SessionEstablished {
        /// With whom.
        peer: PeerId,
        /// Our role in it.
        role: Role,
    },
    /// An init had no answer in time; another follows.
    HandshakeUnanswered {
        /// By whom.
        peer: PeerId,
        /// The row so far.
        unanswered: Unanswered,
    },
    /// No answer for [`super::REKEY_ATTEMPT_TIME`]: staged packets are dropped, the next packet tries again.
    GaveUp {
        /// On whom.
        peer: PeerId,
    },
    /// Packets to a peer may be longer, or shorter, from now on.
    PathMtuChanged {
        /// To whom.
        peer: PeerId,
        /// Up to how many bytes; 65535 where nothing limits them.
        mtu: u16,
    },
    /// The path over IPv6 loses datagrams that must pass, and no ICMP message says so: the local system is to be told, so that
    /// it cuts them. It remembers that for ten minutes; then this comes again.
    PathLosesDatagrams {
        /// On their way to whom.
        peer: PeerId,
        /// From where to where.
        endpoint: Endpoint,
    },
    /// An address that was set, or in use, lies inside the tunnel: nothing is sent to it (protocol.md 9.3).
    EndpointInside {
        /// Whose.
        peer: PeerId,
        /// Which.
        endpoint: SocketAddr,
    },
    /// Nothing authentic came back for [`super::DEAD_PEER_TIME`]; a new handshake starts.
    PeerDead {
        /// Who is silent.
        peer: PeerId,
    },
    /// A peer's key is used from two addresses in turn, each with a session of its own.
    KeyInTwoPlaces {
        /// Whose key.
        peer: PeerId,
        /// From where, newest first.
        places: [SocketAddr; 2],
    },
    /// One session after the other falls silent soon after the peer has answered: perhaps our key is used elsewhere.
    SessionsCutShort {
        /// With whom.
        peer: PeerId,
    },
}

/// A peer's state in words that users see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// A confirmed session, and no doubt about it.
    Up,
    /// A handshake is being tried.
    Connecting,
    /// Neither.
    Idle,
}

/// Why traffic with a peer may not pass as it should, whatever its [`PeerState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The peer's key is used from two addresses in turn: two machines have it.
    KeyInTwoPlaces {
        /// From where, newest first.
        places: [SocketAddr; 2],
    },
    /// The peer answers handshakes at once, but sessions fall silent soon after: perhaps our key is used elsewhere.
    SessionsCutShort,
    /// Payloads were sent, and nothing came back although something should have.
    NothingBack {
        /// When the first of these payloads was sent.
        since: Instant,
    },
    /// The path takes only packets that are shorter than those that must pass.
    ShortOnly {
        /// The longest that passes, in bytes; `None` where nothing of a size that was tried does.
        up_to: Option<u16>,
    },
}
