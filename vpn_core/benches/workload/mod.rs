//! The pieces of work on the packet path that are measured, by the clock (`benches/packets.rs`) and by instructions
//! (`benches/instructions`).

mod packets;
mod sessions;

use packets::{HEADERS, Packets, super_packet};
use sessions::{Devices, Frames, Keypairs};
use std::{hint::black_box, net::Ipv4Addr};
use vpn_core::{
    base::DropReason,
    device::Inbound,
    local_tun::{FrameFormat, Offloads, SuperPacket, TunWriter},
    routing::AllowedIps,
    session::{ReplayWindow, Unopened, Unsealed},
    symmetric::Suite,
    wire::{
        hybrid::Features,
        payload::{Checksum, InnerPacket},
    },
};

/// Packets that fill one send or receive call.
const RUN: usize = 45;
/// Counters shown to a replay window.
const COUNTERS: u64 = 1024;
/// Addresses looked up, and prefixes in the table.
const LOOKUPS: u32 = 1024;

/// Work that was prepared and is done once.
pub(crate) type Job = Box<dyn FnMut()>;

/// A kind of work.
pub(crate) struct Workload {
    pub(crate) name: String,
    /// How many packets, counters or look-ups one job has.
    pub(crate) elements: usize,
    /// Brings everything that a job needs, fresh.
    pub(crate) prepare: Box<dyn Fn() -> Job>,
}

impl Workload {
    fn new(name: impl Into<String>, elements: usize, prepare: impl Fn() -> Job + 'static) -> Self {
        Self { name: name.into(), elements, prepare: Box::new(prepare) }
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Workload> {
    let mut all = Vec::new();
    for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
        for count in [1, RUN] {
            all.push(Workload::new(format!("seal/{}/{count}", suite.name()), count, move || {
                seal(suite, count)
            }));
            all.push(Workload::new(format!("open/{}/{count}", suite.name()), count, move || {
                open(suite, count)
            }));
        }
        let devices = Devices::connected(suite);
        all.push(Workload::new(format!("receive/{}/{RUN}", suite.name()), RUN, move || receive(&devices)));
    }
    all.push(Workload::new("replay/in-order", COUNTERS as usize, || replay(|counter| counter)));
    // Every second pair swapped, as two paths of unequal length do.
    all.push(Workload::new("replay/swapped", COUNTERS as usize, || replay(|counter| counter ^ 1)));
    all.push(Workload::new("routes/lookup", LOOKUPS as usize, look_up));
    for (name, accepted, checksum) in [
        ("tcp", Features::NONE, Checksum::AsIs),
        ("tcp-without-checksum", Features::CHECKSUM_LEFT_OUT, Checksum::LeftOut),
    ] {
        all.push(Workload::new(format!("segment/{name}/{RUN}"), RUN, move || segment(accepted)));
        all.push(Workload::new(format!("coalesce/{name}/{RUN}"), RUN, move || coalesce(checksum)));
    }
    all
}

/// A batch of packets becomes frames.
fn seal(suite: Suite, count: usize) -> Job {
    let keypairs = Keypairs::new(suite);
    let mut frames = Frames::around(&Packets::tcp(count));
    let mut unsealed = Unsealed::default();
    let mut job = move || {
        let counters = keypairs.sender.reserve(count, keypairs.now).expect("a fresh keypair");
        for (range, counter) in frames.ranges().zip(counters) {
            keypairs.sender.seal_later(counter, &mut frames.bytes, range, &mut unsealed);
        }
        keypairs.sender.seal_all(&mut frames.bytes, &mut unsealed);
    };
    job(); // Its memory is there from then on, as a thread's is.
    Box::new(job)
}

/// The same frames become packets again.
fn open(suite: Suite, count: usize) -> Job {
    let keypairs = Keypairs::new(suite);
    let mut frames = keypairs.sealed(&Packets::tcp(count));
    let mut run = Unopened::default();
    let mut open = move |frames: &mut Frames| {
        for range in frames.ranges() {
            run.push(&frames.bytes, range).expect("a transport message");
        }
        let (mut opened, mut refused) = (0, 0);
        keypairs.receiver.open_all(
            &mut frames.bytes,
            &mut run,
            keypairs.now,
            |counter, payload| opened += usize::from(black_box((counter, payload)).1.end > 0),
            |reason| refused += usize::from(black_box(reason) == DropReason::BadTag),
        );
        assert_eq!((opened, refused), (count, 0), "all are genuine");
    };
    open(&mut frames.clone()); // As above.
    Box::new(move || open(&mut frames))
}

/// All that the receiving end does with what one receive call brings, up to the TUN device.
fn receive(devices: &Devices) -> Job {
    let mut frames = devices.sealed(&Packets::tcp(RUN));
    let (plane, from, now) = (devices.receiving_plane(), Devices::sender(), devices.now);
    let mut inbound = Inbound::default();
    inbound.local.reserve(RUN);
    Box::new(move || {
        let (whole, stride) = (0..frames.bytes.len(), frames.stride);
        plane.open(&mut frames.bytes, whole, stride, from, now, &mut inbound);
        assert_eq!(inbound.local.len(), RUN, "every packet is delivered");
    })
}

fn replay(order: fn(u64) -> u64) -> Job {
    let mut window = ReplayWindow::default();
    Box::new(move || {
        let accepted = (0..COUNTERS).filter(|counter| window.accept(black_box(order(*counter)))).count();
        assert_eq!(accepted, COUNTERS as usize, "each is new");
    })
}

/// Host addresses of a pool, as a gateway has them.
fn look_up() -> Job {
    let address = |n: u32| Ipv4Addr::from_bits(0x0a42_0000 + n);
    let prefixes = (0..LOOKUPS).map(|n| (ipnet::Ipv4Net::from(address(n)).into(), n));
    let table = AllowedIps::try_from_iter(prefixes).expect("no duplicates");
    Box::new(move || {
        let found = (0..LOOKUPS)
            .filter(|n| table.lookup(black_box(address(n.wrapping_mul(37) % LOOKUPS).into())).is_some());
        assert_eq!(found.count(), LOOKUPS as usize, "each is there");
    })
}

/// A frame from the TUN device becomes packets for a peer that accepts `accepted`.
fn segment(accepted: Features) -> Job {
    let mut frame = super_packet(RUN);
    let mut out = vec![0; packets::PACKET];
    Box::new(move || {
        let parsed = SuperPacket::parse(&mut frame, FrameFormat::VnetHeader).expect("well formed");
        assert_eq!(parsed.segments(), RUN, "one frame holds the run");
        for index in 0..RUN {
            black_box(parsed.write_segment(index, &mut out, accepted).expect("there is room"));
        }
    })
}

/// Packets become one frame for the TUN device, their checksums verified unless they were left out.
fn coalesce(checksum: Checksum) -> Job {
    let mut packets = Packets::tcp(RUN);
    let inner: Vec<InnerPacket> =
        packets.ranges.iter().map(|range| InnerPacket { range: range.clone(), checksum }).collect();
    let mut writer = TunWriter::new();
    Box::new(move || {
        let report = writer.write_to(
            FrameFormat::VnetHeader,
            Offloads::ALL,
            &mut packets.bytes,
            &inner,
            &mut |slices| Ok(black_box(slices).iter().map(|slice| slice.len()).sum()),
        );
        assert_eq!((report.writes, report.written), (1, RUN), "one run, headers of {HEADERS} bytes");
    })
}
