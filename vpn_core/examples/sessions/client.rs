//! One client: a device, and what an engine would do around it.

use crate::gateway::{self, INNER, MTU, SINK_PORT};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};
use vpn_core::{
    base::Endpoint,
    device::{DataPlane, Device, Inbound},
    handshake::{PeerKey, PresharedKey},
    tunnel::{Event, NotReady, PeerPlane, PeerSettings, StagedPacket, Transmit},
    udp::UdpSocket,
    wire::transport::{HEADER_SIZE, OVERHEAD},
};

/// Bytes of each packet that a client sends.
const PACKET_SIZE: usize = 128;

/// What happened to a client.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    /// How long it took until the first session could be used in both directions.
    pub(crate) connected_after: Option<Duration>,
    pub(crate) handshakes: u64,
    /// How often it took the gateway for dead.
    pub(crate) deaths: u64,
    pub(crate) packets: u64,
}

pub(crate) struct Client {
    device: Device,
    plane: Arc<DataPlane>,
    gateway: Arc<PeerPlane>,
    /// The address that it sends from.
    local: IpAddr,
    packet: Vec<u8>,
    began: Instant,
    next_packet: Instant,
    pub(crate) counts: Counts,
}

impl Client {
    /// Client `number`, which connects to `endpoint` from `local`.
    pub(crate) fn start(number: u32, local: IpAddr, endpoint: SocketAddr, now: Instant) -> Self {
        let inner = gateway::inner_address(number);
        let rng = Box::new(rand_core::UnwrapErr(getrandom::SysRng));
        let mut device = Device::new(gateway::settings(number + 1, inner), rng, now);
        let peer = PeerSettings {
            key: PeerKey::Hybrid(gateway::public_key()),
            preshared_key: PresharedKey::ZERO,
            endpoints: vec![endpoint],
            persistent_keepalive: None,
            stay_connected: true,
        };
        device.set_peer(peer, vec![IpAddr::V4(INNER).into()], now).expect("the gateway");
        device.update_routes();
        let plane = device.plane();
        let gateway = plane.routes().allowed_ips.lookup(IpAddr::V4(INNER)).cloned().expect("routed");
        Self {
            plane,
            gateway,
            device,
            local,
            packet: packet(inner),
            began: now,
            next_packet: now,
            counts: Counts::default(),
        }
    }

    /// When [`Client::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Instant {
        let timers = self.device.poll_timeout();
        timers.map_or(self.next_packet, |at| at.min(self.next_packet))
    }

    /// Does what is due; packets leave `pause` after each other.
    pub(crate) fn handle_timeout(&mut self, pause: Duration, udp: &UdpSocket, now: Instant) {
        if self.device.poll_timeout().is_some_and(|at| at <= now) {
            self.device.handle_timeout(now);
        }
        if self.next_packet <= now {
            self.next_packet = (self.next_packet + pause).max(now);
            if self.counts.connected_after.is_some() {
                self.send_packet(udp, now);
            }
        }
        self.drain(udp, now);
    }

    /// Takes the datagrams that lie `stride` bytes apart in `run` of `arena`.
    pub(crate) fn receive(
        &mut self,
        (arena, run, stride): (&mut [u8], Range<usize>, usize),
        from: Endpoint,
        inbound: &mut Inbound,
        udp: &UdpSocket,
        now: Instant,
    ) {
        inbound.clear();
        self.plane.open(arena, run, stride, from, now, inbound);
        for message in &inbound.control {
            self.device.handle_control(&arena[message.datagram.clone()], message.from, now);
        }
        for (peer, message) in &inbound.path_messages {
            self.device.handle_path_message(*peer, *message, now);
        }
        for peer in &inbound.attention {
            self.device.handle_attention(*peer, now);
        }
        self.drain(udp, now);
    }

    fn send_packet(&mut self, udp: &UdpSocket, now: Instant) {
        let mut outbound = match self.gateway.begin_send(1, now) {
            Ok(outbound) => outbound,
            Err(NotReady::NoKeypair) => {
                let packet = StagedPacket::local(self.packet.clone());
                return self.device.handle_outbound(self.gateway.id(), packet, now);
            }
            Err(NotReady::NoEndpoint) => return,
        };
        let Some(counter) = outbound.counters.next() else { return };
        let mut frame = vec![0; PACKET_SIZE + OVERHEAD];
        frame[HEADER_SIZE..HEADER_SIZE + PACKET_SIZE].copy_from_slice(&self.packet);
        outbound.keypair.seal(counter, &mut frame);
        self.counts.packets += 1;
        if self.gateway.note_sent(&outbound.keypair, frame.len(), now) {
            self.device.handle_attention(self.gateway.id(), now);
        }
        self.send(udp, outbound.endpoint, &frame);
    }

    /// Sends what the device wants to send, and counts what it tells.
    fn drain(&mut self, udp: &UdpSocket, now: Instant) {
        while let Some(Transmit { endpoint, datagram, .. }) = self.device.poll_transmit() {
            self.send(udp, endpoint, &datagram);
        }
        while let Some(event) = self.device.poll_event() {
            match event {
                Event::SessionEstablished { .. } => {
                    self.counts.handshakes += 1;
                    self.counts.connected_after.get_or_insert(now - self.began);
                }
                Event::PeerDead { .. } => self.counts.deaths += 1,
                Event::HandshakeUnanswered { .. }
                | Event::GaveUp { .. }
                | Event::PathMtuChanged { .. }
                | Event::PathLosesDatagrams { .. }
                | Event::EndpointInside { .. }
                | Event::KeyInTwoPlaces { .. }
                | Event::SessionsCutShort { .. } => {}
            }
        }
    }

    fn send(&self, udp: &UdpSocket, to: Endpoint, datagram: &[u8]) {
        // What finds no room is lost, as on any network; the timers repeat what matters.
        let _sent = udp.send_to(Endpoint { local: Some(self.local), ..to }, datagram);
    }
}

/// A UDP packet from `source` to the gateway's sink.
fn packet(source: Ipv4Addr) -> Vec<u8> {
    const IP_HEADER: usize = 20;
    const UDP: u8 = 17;
    let mut packet = vec![0; PACKET_SIZE];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(PACKET_SIZE as u16).to_be_bytes());
    packet[8..10].copy_from_slice(&[64, UDP]);
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&INNER.octets());
    let words = packet[..IP_HEADER].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    packet[20..22].copy_from_slice(&SINK_PORT.to_be_bytes());
    packet[22..24].copy_from_slice(&SINK_PORT.to_be_bytes());
    packet[24..26].copy_from_slice(&((PACKET_SIZE - IP_HEADER) as u16).to_be_bytes());
    debug_assert!(PACKET_SIZE <= MTU.into());
    packet
}
