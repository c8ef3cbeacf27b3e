//! Which offloads of the kernel a node uses: as its user wishes, and as they are in force.

use crate::{
    local_tun::{Offloads, TunConfig},
    udp::UdpConfig,
};
use std::{fmt, net::SocketAddr, str::FromStr};

/// What the kernel may do for many packets at once: in a configuration the wish, in a running node what is in force.
///
/// As text it is `auto` (everything that the kernel has), `off`, or some of `checksum`, `tso`, `uso`, `gso` and `gro`,
/// with commas between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffloadSet {
    /// On the TUN device: `checksum`, `tso` and `uso`.
    pub tun: Offloads,
    /// `gso`: runs of datagrams are sent with one system call (`UDP_SEGMENT`).
    pub gso: bool,
    /// `gro`: runs of datagrams are received with one system call (`UDP_GRO`).
    pub gro: bool,
}

/// What is wrong with a wish.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OffloadError {
    /// There is no offload of this name.
    #[error(
        "{word:?} is not an offload; write auto or off alone, or some of checksum, tso, uso, gso and gro with commas \
         between them"
    )]
    Unknown {
        /// The name as given.
        word: String,
    },
    /// The kernel leaves packets unsegmented only where it may leave their checksums out, too.
    #[error("{word} is not possible without checksum; add checksum, or leave {word} out")]
    NeedsChecksum {
        /// `tso` or `uso`.
        word: &'static str,
    },
}

impl OffloadError {
    /// The name that is at fault.
    pub fn word(&self) -> &str {
        match self {
            Self::Unknown { word } => word,
            Self::NeedsChecksum { word } => word,
        }
    }
}

impl OffloadSet {
    /// Everything that the kernel has: the default.
    pub const AUTO: Self = Self { tun: Offloads::ALL, gso: true, gro: true };
    /// One packet a system call.
    pub const OFF: Self = Self { tun: Offloads::NONE, gso: false, gro: false };

    /// These and no others, by their names; no names are [`Self::OFF`].
    ///
    /// # Errors
    /// [`OffloadError`], for the first name that is wrong.
    pub fn only<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, OffloadError> {
        let mut set = Self::OFF;
        for word in words {
            *match word {
                "checksum" => &mut set.tun.checksum,
                "tso" => &mut set.tun.tcp,
                "uso" => &mut set.tun.udp,
                "gso" => &mut set.gso,
                "gro" => &mut set.gro,
                _ => return Err(OffloadError::Unknown { word: word.to_owned() }),
            } = true;
        }
        match set.tun {
            Offloads { checksum: false, tcp: true, .. } => Err(OffloadError::NeedsChecksum { word: "tso" }),
            Offloads { checksum: false, udp: true, .. } => Err(OffloadError::NeedsChecksum { word: "uso" }),
            Offloads { .. } => Ok(set),
        }
    }

    /// A TUN device with these offloads.
    pub fn tun_config(self, name: impl Into<String>) -> TunConfig {
        TunConfig { offloads: self.tun, ..TunConfig::new(name) }
    }

    /// A socket with these offloads.
    pub fn udp_config(self, listen: SocketAddr) -> UdpConfig {
        UdpConfig { gso: self.gso, gro: self.gro, ..UdpConfig::new(listen) }
    }

    /// What both have.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            tun: Offloads {
                checksum: self.tun.checksum && other.tun.checksum,
                tcp: self.tun.tcp && other.tun.tcp,
                udp: self.tun.udp && other.tun.udp,
            },
            gso: self.gso && other.gso,
            gro: self.gro && other.gro,
        }
    }
}

impl Default for OffloadSet {
    fn default() -> Self {
        Self::AUTO
    }
}

impl FromStr for OffloadSet {
    type Err = OffloadError;

    fn from_str(text: &str) -> Result<Self, OffloadError> {
        match text {
            "auto" => Ok(Self::AUTO),
            "off" => Ok(Self::OFF),
            words => Self::only(words.split(',').map(str::trim)),
        }
    }
}

/// `off`, or the names with commas between them: read again, it is the same set.
impl fmt::Display for OffloadSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (self.tun.checksum, "checksum"),
            (self.tun.tcp, "tso"),
            (self.tun.udp, "uso"),
            (self.gso, "gso"),
            (self.gro, "gro"),
        ];
        let names: Vec<&str> = names.into_iter().filter_map(|(is_in, name)| is_in.then_some(name)).collect();
        f.pad(&if names.is_empty() { "off".to_owned() } else { names.join(",") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<OffloadSet, OffloadError> {
        text.parse()
    }

    #[test]
    fn auto_is_everything_and_off_is_nothing() {
        assert_eq!(parse("auto"), Ok(OffloadSet::AUTO));
        assert_eq!(parse("off"), Ok(OffloadSet::OFF));
        assert_eq!(parse("gro,gso,uso,tso,checksum"), Ok(OffloadSet::AUTO));
        assert_eq!(OffloadSet::only([]), Ok(OffloadSet::OFF));
        assert_eq!(OffloadSet::default(), OffloadSet::AUTO);
    }

    #[test]
    fn a_list_means_these_and_no_others() {
        let off = OffloadSet::OFF;
        let tun = |checksum, tcp, udp| OffloadSet { tun: Offloads { checksum, tcp, udp }, ..off };
        assert_eq!(parse("checksum"), Ok(tun(true, false, false)));
        assert_eq!(parse("tso, checksum"), Ok(tun(true, true, false)));
        assert_eq!(parse("checksum,uso"), Ok(tun(true, false, true)));
        assert_eq!(parse("gso"), Ok(OffloadSet { gso: true, ..off }));
        assert_eq!(parse("gro"), Ok(OffloadSet { gro: true, ..off }));
    }

    #[test]
    fn what_is_written_is_read_again_as_the_same() {
        for number in 0..32 {
            let bit = |at: u32| number & 1 << at != 0;
            let tun = Offloads { checksum: bit(0), tcp: bit(1), udp: bit(2) };
            let set = OffloadSet { tun, gso: bit(3), gro: bit(4) };
            if bit(0) || !bit(1) && !bit(2) {
                assert_eq!(parse(&set.to_string()), Ok(set), "{set}");
            } else {
                assert!(matches!(parse(&set.to_string()), Err(OffloadError::NeedsChecksum { .. })), "{set}");
            }
        }
    }

    #[test]
    fn what_is_no_offload_is_named() {
        for (text, wrong) in [
            ("", ""),
            ("tcp", "tcp"),
            ("gso,,gro", ""),
            ("gso,auto", "auto"),
            ("off,gso", "off"),
            ("GSO", "GSO"),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error, OffloadError::Unknown { word: wrong.to_owned() });
            assert_eq!(error.word(), wrong);
        }
        assert_eq!(parse("uso,gso"), Err(OffloadError::NeedsChecksum { word: "uso" }));
        assert_eq!(parse("tso").expect_err("no checksum").word(), "tso");
    }

    #[test]
    fn devices_are_made_with_it_and_what_all_have_is_in_force() {
        let listen = SocketAddr::from(([127, 0, 0, 1], 9));
        for word in ["checksum,tso", "checksum,uso", "gso", "gro"] {
            let set = parse(word).expect("valid");
            assert_eq!(set.tun_config("vpn0").offloads, set.tun);
            let udp = set.udp_config(listen);
            assert_eq!((udp.listen, udp.gso, udp.gro), (listen, set.gso, set.gro));
            assert_eq!((set.and(OffloadSet::AUTO), OffloadSet::AUTO.and(set)), (set, set));
            assert_eq!(
                (set.and(OffloadSet::OFF), OffloadSet::OFF.and(set)),
                (OffloadSet::OFF, OffloadSet::OFF)
            );
        }
    }
}
