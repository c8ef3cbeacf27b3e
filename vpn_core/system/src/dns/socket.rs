//! Sockets whose packets go beside the tunnel, as those of our own UDP sockets do: their owner says how.

use super::{LeadOutside, Server};
use nix::net::if_::if_nametoindex;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket as StdUdpSocket},
    os::fd::AsFd,
};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

/// A socket that is connected with `address`, so that only answers from there are received.
pub(super) fn datagrams(address: SocketAddr, lead_outside: LeadOutside, mark: u32) -> io::Result<UdpSocket> {
    let any =
        if address.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = StdUdpSocket::bind((any, 0))?;
    lead_outside(socket.as_fd(), address, mark)?;
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    UdpSocket::from_std(socket)
}

/// A connection to `address`.
pub(super) async fn stream(
    address: SocketAddr,
    lead_outside: LeadOutside,
    mark: u32,
) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    lead_outside(socket.as_fd(), address, mark)?;
    socket.connect(address).await
}

/// A server's address with `port`; a zone is an interface's name or number.
pub(super) fn address_of(server: &Server, port: u16) -> io::Result<SocketAddr> {
    match (server.address, &server.zone) {
        (IpAddr::V6(address), Some(zone)) => {
            let scope = zone.parse().or_else(|_| if_nametoindex(zone.as_str()))?;
            Ok(SocketAddrV6::new(address, port, 0, scope).into())
        }
        (address, _) => Ok(SocketAddr::new(address, port)),
    }
}
