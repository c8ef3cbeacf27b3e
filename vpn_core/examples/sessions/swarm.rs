//! All clients on one socket and one thread: each datagram's destination says whose it is.

use crate::{Options, client::Client, gateway::Gateway};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};
use vpn_core::{
    device::Inbound,
    udp::{Interrupt, RecvBatch, UdpConfig, UdpSocket},
};

/// The first client's address on the loopback interface.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
const ARENA_SIZE: usize = 256 << 10;

/// What the clients have seen.
#[derive(Default)]
pub(crate) struct Outcome {
    /// How long those that connected took.
    pub(crate) connect_times: Vec<Duration>,
    pub(crate) handshakes: u64,
    pub(crate) deaths: u64,
    pub(crate) packets: u64,
}

pub(crate) struct Swarm {
    udp: UdpSocket,
    interrupt: Interrupt,
    gateway: SocketAddr,
    clients: Vec<Client>,
    /// When each client has something to do.
    schedule: BTreeSet<(Instant, usize)>,
    scheduled: Vec<Instant>,
    wanted: u32,
    /// Between the beginnings of two clients.
    connect_pause: Duration,
    /// Between two packets of one client.
    packet_pause: Duration,
}

impl Swarm {
    pub(crate) fn new(options: &Options, gateway: &Gateway) -> Self {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self {
            udp: UdpSocket::bind(&UdpConfig::new(any)).expect("a port is free"),
            interrupt: Interrupt::new().expect("descriptors are left"),
            gateway: gateway.endpoint(),
            clients: Vec::new(),
            schedule: BTreeSet::new(),
            scheduled: Vec::new(),
            wanted: options.sessions,
            connect_pause: Duration::from_secs_f64(1.0 / options.connect_rate),
            packet_pause: Duration::from_secs_f64(1.0 / options.packets_per_second),
        }
    }

    /// Runs the clients until `end`.
    pub(crate) fn run(&mut self, end: Instant) -> Outcome {
        let mut batch = RecvBatch::new(ARENA_SIZE);
        let mut inbound = Inbound::default();
        let mut next_client = Instant::now();
        loop {
            let now = Instant::now();
            if now >= end {
                return self.outcome();
            }
            while next_client <= now && self.clients.len() < self.wanted as usize {
                next_client += self.connect_pause;
                self.start_client(now);
            }
            self.receive(&mut batch, &mut inbound, now);
            while let Some((_, number)) = self.schedule.first().copied().filter(|(at, _)| *at <= now) {
                self.clients[number].handle_timeout(self.packet_pause, &self.udp, now);
                self.reschedule(number);
            }
            let next_client = (self.clients.len() < self.wanted as usize).then_some(next_client);
            let next_timer = self.schedule.first().map(|(at, _)| *at);
            let wake = [next_client, next_timer, Some(end)].into_iter().flatten().min().unwrap_or(end);
            let patience = wake.saturating_duration_since(Instant::now());
            self.interrupt.wait_readable(&self.udp, Some(patience)).expect("poll works");
        }
    }

    fn start_client(&mut self, now: Instant) {
        let number = self.clients.len();
        let local = Ipv4Addr::from(u32::from(FIRST) + number as u32);
        let mut client = Client::start(number as u32, local.into(), self.gateway, now);
        client.handle_timeout(self.packet_pause, &self.udp, now);
        let at = client.poll_timeout();
        self.clients.push(client);
        self.scheduled.push(at);
        self.schedule.insert((at, number));
    }

    fn receive(&mut self, batch: &mut RecvBatch, inbound: &mut Inbound, now: Instant) {
        self.udp.recv(batch).expect("the socket works");
        let (received, arena) = batch.parts_mut();
        for run in received {
            let Some(IpAddr::V4(local)) = run.from.local else { continue };
            let number = u32::from(local).wrapping_sub(u32::from(FIRST)) as usize;
            let Some(client) = self.clients.get_mut(number) else { continue };
            client.receive((arena, run.range.clone(), run.stride), run.from, inbound, &self.udp, now);
            let at = client.poll_timeout();
            self.schedule.remove(&(self.scheduled[number], number));
            self.schedule.insert((at, number));
            self.scheduled[number] = at;
        }
    }

    fn reschedule(&mut self, number: usize) {
        let at = self.clients[number].poll_timeout();
        self.schedule.remove(&(self.scheduled[number], number));
        self.schedule.insert((at, number));
        self.scheduled[number] = at;
    }

    fn outcome(&self) -> Outcome {
        let mut outcome = Outcome::default();
        for client in &self.clients {
            outcome.connect_times.extend(client.counts.connected_after);
            outcome.handshakes += client.counts.handshakes;
            outcome.deaths += client.counts.deaths;
            outcome.packets += client.counts.packets;
        }
        outcome
    }
}
