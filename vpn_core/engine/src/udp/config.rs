//! What a UDP socket is made from, and why it may not come to be.

use std::{io, net::SocketAddr, num::NonZeroU32};

/// Size of the kernel's receive and send buffer, in bytes.
const DEFAULT_BUFFER_SIZE: usize = 8 << 20; // default ones cost 25,000 retransmissions in 7 s when measured

/// How to make a UDP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpConfig {
    /// Address and port. `[::]` also receives IPv4 and becomes `0.0.0.0` where the kernel has no IPv6. Port 0 lets
    /// the kernel choose.
    pub listen: SocketAddr,
    /// Linux: mark of all packets sent, for policy routing; needs `CAP_NET_ADMIN`.
    pub fwmark: Option<u32>,
    /// macOS: number of the interface that all packets leave through.
    pub scope: Option<NonZeroU32>,
    /// Size of the kernel's receive buffer, in bytes. Without `CAP_NET_ADMIN` `net.core.rmem_max` limits it.
    pub receive_buffer: usize,
    /// Size of the kernel's send buffer, in bytes. Without `CAP_NET_ADMIN` `net.core.wmem_max` limits it.
    pub send_buffer: usize,
    /// Send runs of datagrams with one system call (`UDP_SEGMENT`), where the kernel can.
    pub gso: bool,
    /// Receive runs of datagrams with one system call (`UDP_GRO`), where the kernel can.
    pub gro: bool,
}

impl UdpConfig {
    /// Everything that makes it fast, no mark, the port for itself.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            fwmark: None,
            scope: None,
            receive_buffer: DEFAULT_BUFFER_SIZE,
            send_buffer: DEFAULT_BUFFER_SIZE,
            gso: true,
            gro: true,
        }
    }
}

/// Why there is no UDP socket.
#[derive(Debug, thiserror::Error)]
pub enum UdpError {
    /// Another socket has the port.
    #[error(
        "UDP port {} is in use: another program or another instance of this one listens there \
         ('ss -lunp' shows which); stop it or choose another port", listen.port()
    )]
    AddressInUse {
        /// The address asked for.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The address is not one of this host's.
    #[error("{} is no address of this host: listen on one that 'ip address' shows, or on [::]", listen.ip())]
    AddressNotAvailable {
        /// The address asked for.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The process lacks a privilege.
    #[error("{step} is not permitted: run as root or with {capability}")]
    NotPermitted {
        /// What was refused.
        step: &'static str,
        /// The Linux capability that permits it.
        capability: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The kernel lacks the address family.
    #[error("the kernel has no support for the address family of {listen}")]
    FamilyMissing {
        /// The address asked for.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Any other refusal by the system.
    #[error("{step} failed on the UDP socket for {listen}")]
    System {
        /// The system call.
        step: &'static str,
        /// The address asked for.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
