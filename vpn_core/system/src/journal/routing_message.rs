//! The messages that the kernel of macOS sends to every routing socket, as bytes: what of them says that something has
//! changed. Pure.

/// Versions of the format differ in everything; this is the one that there has ever been on a Mac.
const VERSION: u8 = 5;

const ADD: u8 = 0x1;
const DELETE: u8 = 0x2;
const CHANGE: u8 = 0x3;
const NEW_ADDRESS: u8 = 0xc;
const DELETED_ADDRESS: u8 = 0xd;
const LINK: u8 = 0xe;

/// Of a route: made by the kernel for one neighbour or destination.
const NEIGHBOUR: u32 = 0x400; // RTF_LLINFO
const CLONED: u32 = 0x2_0000; // RTF_WASCLONED
/// Of a link: set up by its administrator, and ready (it has a carrier).
const UP: u32 = 0x1;
const RUNNING: u32 = 0x40;

/// What a message tells of; `interface` is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutingEvent {
    /// The state of a link.
    Link {
        /// The interface.
        interface: u32,
        /// Whether it is up and has a carrier.
        has_carrier: bool,
    },
    /// An address came or went.
    Address {
        /// The interface that has it.
        interface: u32,
    },
    /// A route came, went or became another one; none that the kernel makes for single destinations.
    Route {
        /// The interface that it leads to.
        interface: u32,
    },
    /// Messages were lost: anything may have changed.
    Lost,
}

impl RoutingEvent {
    /// Reads a message. `None`: it tells of nothing that matters.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let [_, _, version, kind] = *message.first_chunk::<4>()?;
        if version != VERSION {
            return None;
        }
        let number = |at: usize| Some(u32::from(u16::from_ne_bytes(*message.get(at..)?.first_chunk()?)));
        let flags = u32::from_ne_bytes(*message.get(8..)?.first_chunk()?);
        match kind {
            // struct rt_msghdr: length, version, type, index, padding, flags.
            ADD | DELETE | CHANGE if flags & (NEIGHBOUR | CLONED) == 0 => {
                Some(Self::Route { interface: number(4)? })
            }
            // struct if_msghdr and ifa_msghdr: length, version, type, addresses, flags, index.
            LINK => {
                let has_carrier = flags & (UP | RUNNING) == UP | RUNNING;
                Some(Self::Link { interface: number(12)?, has_carrier })
            }
            NEW_ADDRESS | DELETED_ADDRESS => Some(Self::Address { interface: number(12)? }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, index_at: usize, index: u16, flags: u32) -> Vec<u8> {
        let mut bytes = vec![0; 112];
        bytes[2..4].copy_from_slice(&[VERSION, kind]);
        bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
        bytes[index_at..index_at + 2].copy_from_slice(&index.to_ne_bytes());
        bytes
    }

    #[test]
    fn links_addresses_and_routes_are_told_apart() {
        let parse = |bytes: Vec<u8>| RoutingEvent::parse(&bytes);
        let link = |has_carrier| Some(RoutingEvent::Link { interface: 7, has_carrier });
        assert_eq!(parse(message(LINK, 12, 7, UP | RUNNING | 0x8000)), link(true));
        assert_eq!(parse(message(LINK, 12, 7, UP)), link(false));
        assert_eq!(parse(message(NEW_ADDRESS, 12, 7, 0)), Some(RoutingEvent::Address { interface: 7 }));
        assert_eq!(parse(message(DELETED_ADDRESS, 12, 7, 0)), Some(RoutingEvent::Address { interface: 7 }));
        for kind in [ADD, DELETE, CHANGE] {
            assert_eq!(parse(message(kind, 4, 7, 0x3)), Some(RoutingEvent::Route { interface: 7 }));
        }
    }

    #[test]
    fn neighbours_cloned_routes_other_messages_and_torn_ones_are_noise() {
        for bytes in [
            message(ADD, 4, 7, NEIGHBOUR),
            message(DELETE, 4, 7, CLONED),
            message(0x4, 4, 7, 0),
            message(LINK, 12, 7, UP)[..13].to_vec(),
            vec![0, 0, 3, LINK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            vec![],
        ] {
            assert_eq!(RoutingEvent::parse(&bytes), None, "{bytes:?}");
        }
    }
}
