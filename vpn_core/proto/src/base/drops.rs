//! Why a datagram or packet was dropped, and how often. The network gets silence; the counters tell the operator.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident => $name:literal,)+) => {
        /// Why something was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in status output and logs.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

drop_reasons! {
    /// A transport counter that was seen before or lies behind the window, or an initiation that is not a new one.
    Replay => "replay",
    /// A handshake message whose mac is not made by somebody who knows us.
    BadMac => "bad_mac",
    /// A handshake by an identity that is not a peer, or a disabled one.
    UnknownPeer => "unknown_peer",
    /// An inner source address that does not route back to the peer that sent it.
    SourceNotAllowed => "source_not_allowed",
    /// A datagram of wrong type, version or length.
    Malformed => "malformed",
    /// A receiver index that no session or handshake has.
    UnknownIndex => "unknown_index",
    /// Ciphertext that does not authenticate.
    BadTag => "bad_tag",
    /// A handshake message with a valid mac whose content fails.
    BadHandshake => "bad_handshake",
    /// A transport message for a keypair past its time.
    Expired => "expired",
    /// An initiation that was answered with a cookie reply instead of work.
    CookieDemanded => "cookie_demanded",
    /// An initiation over the rate that its source address may use.
    RateLimited => "rate_limited",
    /// A table or queue at its bound.
    Full => "full",
    /// A packet to send that no peer's allowed IPs cover.
    NoRoute => "no_route",
    /// A packet to send to a peer whose address is not known.
    NoEndpoint => "no_endpoint",
    /// A staged packet that gave way to a newer one or waited in vain.
    Staging => "staging",
    /// A packet that is longer than its peer's path takes and must not be cut; its sender is told (ICMP).
    TooBig => "too_big",
    /// A decrypted payload that is not an IP packet or of a reserved kind.
    BadPayload => "bad_payload",
    /// A packet from one peer to another where that is switched off.
    ForwardingDenied => "forwarding_denied",
    /// A packet that the operating system refused to take.
    Refused => "refused",
    /// A datagram from an address inside the tunnel, where no peer is reached: it moves no endpoint and has no answer. A packet
    /// in it is delivered all the same. Or one of our own datagrams that routes have led into the tunnel.
    InnerAddress => "inner_address",
}

/// One counter a [`DropReason`].
#[derive(Debug)]
pub struct DropCounters([AtomicU64; DropReason::ALL.len()]);

impl Default for DropCounters {
    fn default() -> Self {
        Self(core::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl DropCounters {
    /// Counts one drop.
    pub fn count(&self, reason: DropReason) {
        self.count_many(reason, 1);
    }

    /// Counts `n` drops.
    pub fn count_many(&self, reason: DropReason, n: u64) {
        self.0[reason as usize].fetch_add(n, Relaxed);
    }

    /// How often `reason` was counted.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].load(Relaxed)
    }
}
