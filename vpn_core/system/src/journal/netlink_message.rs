//! Netlink messages of the families that netlink-packet-route does not know, as they lie in a datagram (netlink(7)).

/// Bytes of a message's header: length, type, flags, number, port.
pub(crate) const HEADER: usize = 16;
/// Messages and attributes start at multiples of this many bytes.
pub(crate) const ALIGNMENT: usize = 4;
/// Bytes of an attribute's header: length and type.
const ATTRIBUTE: usize = 4;

/// The messages of a datagram, each with its header. What is malformed, which the kernel's are not, ends them.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        let message = bytes.get(..length).filter(|message| message.len() >= HEADER)?;
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some(message)
    })
}

/// The value of the first attribute of type `kind`.
pub(crate) fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(ATTRIBUTE..length)?;
        if u16_at(attributes, 2)? == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(ALIGNMENT)..)?;
    }
}

/// Two bytes in the order of this machine.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// Four bytes in the order of this machine.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic_or_go_on_for_ever(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind: u16) {
            prop_assert!(messages(&bytes).count() <= bytes.len() / HEADER);
            let _ = attribute(&bytes, kind);
        }
    }
}
