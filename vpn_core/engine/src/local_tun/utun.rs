//! What is peculiar to the `utun` devices of macOS, as far as it needs no Mac: their names, and the four bytes before
//! each packet.

use super::config::MAX_UTUN;

/// Size of what precedes each packet on a utun socket, in bytes: the address family, as a number in network byte order.
pub(super) const FAMILY_SIZE: usize = 4;

/// `AF_INET` and `AF_INET6` of macOS; the latter is another number than Linux's.
const AF_INET: u32 = 2;
const AF_INET6: u32 = 30;

/// The unit to ask the kernel for, to get the interface of this name: units count from 1, names from 0. `None` for a
/// name that no utun has.
pub(super) fn unit(name: &str) -> Option<u32> {
    let number = name.strip_prefix("utun")?;
    let canonical = number == "0" || !number.starts_with('0');
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u32 = number.parse().ok().filter(|_| canonical && digits)?;
    (number <= MAX_UTUN).then_some(number + 1)
}

/// What to write before `packet`; `None` for what is no IP packet.
pub(super) fn family_header(packet: &[u8]) -> Option<[u8; FAMILY_SIZE]> {
    let family = match packet.first()? >> 4 {
        4 => AF_INET,
        6 => AF_INET6,
        _ => return None,
    };
    Some(family.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_precedes_each_packet_in_network_byte_order() {
        assert_eq!(family_header(&[0x45, 0, 0, 20]), Some([0, 0, 0, 2]));
        assert_eq!(family_header(&[0x60, 0, 0, 0]), Some([0, 0, 0, 30]));
        for nothing in [&[][..], &[0x00], &[0x55], &[0xf0]] {
            assert_eq!(family_header(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn units_count_from_one_and_names_from_zero() {
        for (name, expected) in [("utun0", 1), ("utun9", 10), ("utun66", 67), ("utun999999", 1_000_000)] {
            assert_eq!(unit(name), Some(expected), "{name}");
        }
    }

    #[test]
    fn names_that_no_utun_has_are_refused() {
        for name in [
            "vpn0",
            "utun",
            "utun-1",
            "utun+1",
            "utun01",
            "utun1000000",
            "utun 1",
            "utun99999999999",
            "UTUN1",
        ] {
            assert_eq!(unit(name), None, "{name:?}");
        }
    }
}
