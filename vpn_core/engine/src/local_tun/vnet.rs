//! `struct virtio_net_hdr`, which precedes every packet on a TUN device opened with `IFF_VNET_HDR`.

use crate::wire::layout::Layout;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, native_endian::U16};

/// Size of the `virtio_net_hdr` before each packet, in bytes (without the `num_buffers` field).
pub const VNET_HEADER_SIZE: usize = size_of::<VnetHeader>();

/// The largest frame that a TUN device delivers, in bytes: the header and a packet of 65,535 bytes.
pub const MAX_FRAME_SIZE: usize = VNET_HEADER_SIZE + 65_535;

/// The checksum is partial: its field holds the pseudo-header sum, and whoever needs the whole one computes it.
pub(super) const FLAG_NEEDS_CSUM: u8 = 1;
/// The kernel, or the network card below it, has found the checksum right. Means nothing on a write.
pub(super) const FLAG_DATA_VALID: u8 = 2;

pub(super) const GSO_NONE: u8 = 0;
pub(super) const GSO_TCP_V4: u8 = 1;
pub(super) const GSO_TCP_V6: u8 = 4;
pub(super) const GSO_UDP_L4: u8 = 5;
/// May be added to the TCP types: the first segment carries CWR.
pub(super) const GSO_ECN: u8 = 0x80;

/// What precedes the packet in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFormat {
    /// A `virtio_net_hdr` of [`VNET_HEADER_SIZE`] bytes.
    VnetHeader,
    /// Nothing: a device without offload.
    Plain,
}

impl FrameFormat {
    /// Bytes before the packet.
    pub const fn header_size(self) -> usize {
        match self {
            Self::VnetHeader => VNET_HEADER_SIZE,
            Self::Plain => 0,
        }
    }
}

/// What a TUN device and this program leave to each other; in a configuration the wish, in an open device what
/// the kernel granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// Frames carry a `virtio_net_hdr` and checksums may be partial. Without it the other two are off too.
    pub checksum: bool,
    /// Frames may hold several TCP segments (TSO), in both directions.
    pub tcp: bool,
    /// Frames may hold several UDP datagrams (USO, Linux 6.2), in both directions.
    pub udp: bool,
}

impl Offloads {
    /// Everything that the kernel offers: the default.
    pub const ALL: Self = Self { checksum: true, tcp: true, udp: true };
    /// One final packet per frame.
    pub const NONE: Self = Self { checksum: false, tcp: false, udp: false };
}

impl Default for Offloads {
    fn default() -> Self {
        Self::ALL
    }
}

/// `struct virtio_net_hdr` in the byte order of the host (`TUNSETVNETLE` is left off).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct VnetHeader {
    pub(super) flags: u8,
    pub(super) gso_type: u8,
    /// Length of all headers. Only written: on a read the kernel may state anything (docs/adr/0004).
    pub(super) hdr_len: U16,
    /// Payload bytes per segment.
    pub(super) gso_size: U16,
    /// With `FLAG_NEEDS_CSUM`: where the sum begins, from the start of the packet.
    pub(super) csum_start: U16,
    /// With `FLAG_NEEDS_CSUM`: where the sum is stored, from `csum_start`.
    pub(super) csum_offset: U16,
}

impl VnetHeader {
    /// Of one packet with `layout` whose checksum is partial.
    pub(super) fn partial(layout: &Layout) -> Self {
        Self {
            flags: FLAG_NEEDS_CSUM,
            csum_start: (layout.l4_start as u16).into(),
            csum_offset: (layout.l4.checksum_offset() as u16).into(),
            ..Self::default()
        }
    }

    /// Whether a partial checksum is that of a packet, or of all segments of a super-packet, with `layout`.
    pub(super) const fn names_checksum_of(&self, layout: &Layout) -> bool {
        self.csum_start.get() as usize == layout.l4_start
            && self.csum_offset.get() as usize == layout.l4.checksum_offset()
    }
}

const _: () = assert!(VNET_HEADER_SIZE == 10);
