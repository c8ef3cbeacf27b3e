//! Requests: from bytes to typed operations, checked as a whole.

use super::UapiError;
use crate::{asymmetric::X25519PublicKey, base::SecretBytes};
use ipnet::IpNet;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

/// Most bytes of a line, without its newline; the longest that means something, a key in hexadecimal, has 78.
pub const MAX_LINE: usize = 1024;
/// Most bytes of a request; room for 100,000 peers with keys, endpoint and several allowed IPs each.
pub const MAX_REQUEST: usize = 64 << 20;

/// One operation.
#[derive(Debug)]
pub enum Request {
    /// Tell configuration and state.
    Get,
    /// Change the configuration.
    Set(SetRequest),
}

/// What a `set` operation asks for; what is not mentioned stays.
#[derive(Debug, Default)]
pub struct SetRequest {
    /// The new private key; all zeros for none.
    pub private_key: Option<SecretBytes<32>>,
    /// The UDP port; 0 for one of the kernel's choice.
    pub listen_port: Option<u16>,
    /// The mark of outgoing datagrams; 0 for none.
    pub fwmark: Option<u32>,
    /// First remove all peers.
    pub replace_peers: bool,
    /// In the order of the request, which matters: the last one to name an allowed IP has it.
    pub peers: Vec<PeerUpdate>,
}

/// What is asked for about one peer; what is not mentioned stays.
#[derive(Debug)]
pub struct PeerUpdate {
    /// Which peer.
    pub public_key: X25519PublicKey,
    /// Remove it; nothing else here counts then.
    pub remove: bool,
    /// Do nothing if there is no such peer yet.
    pub update_only: bool,
    /// All zeros for none.
    pub preshared_key: Option<SecretBytes<32>>,
    /// Its UDP address.
    pub endpoint: Option<SocketAddr>,
    /// In seconds; 0 for none.
    pub persistent_keepalive: Option<u16>,
    /// First take all allowed IPs from it.
    pub replace_allowed_ips: bool,
    /// Given to it and taken from it, in order.
    pub allowed_ips: Vec<AllowedIp>,
}

/// A prefix, without bits beyond its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedIp {
    /// Is the peer's from now on, and nobody else's.
    Add(IpNet),
    /// Is the peer's no more.
    Remove(IpNet),
}

impl PeerUpdate {
    pub(super) fn new(public_key: X25519PublicKey) -> Self {
        Self {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
        }
    }
}

/// Reads one request: its lines up to, and without, the empty one that ends it. `interface_index` knows the interfaces
/// of this host, for endpoints like `[fe80::1%eth0]:51820`.
///
/// # Errors
/// [`UapiError`], about the first line that is wrong.
pub fn parse_request(
    request: &[u8],
    interface_index: &dyn Fn(&str) -> Option<u32>,
) -> Result<Request, UapiError> {
    let request = request.strip_suffix(b"\n").unwrap_or(request);
    let mut lines = request.split(|byte| *byte == b'\n').zip(1..);
    match lines.next() {
        Some((b"get=1", _)) => match lines.next() {
            None => Ok(Request::Get),
            Some((_, line)) => Err(UapiError::UnknownKey { line }),
        },
        Some((b"set=1", _)) => {
            let mut set = SetRequest::default();
            for (text, number) in lines {
                let line = Line::parse(text, number)?;
                match set.peers.last_mut() {
                    _ if line.key == "public_key" => {
                        set.peers.push(PeerUpdate::new(X25519PublicKey(*line.key32("public_key")?.expose())));
                    }
                    None => line.apply_to_device(&mut set)?,
                    Some(peer) => line.apply_to_peer(peer, interface_index)?,
                }
            }
            Ok(Request::Set(set))
        }
        Some(_) | None => Err(UapiError::UnknownOperation),
    }
}

/// `key=value`.
struct Line<'a> {
    number: usize,
    key: &'a str,
    value: &'a str,
}

impl<'a> Line<'a> {
    fn parse(text: &'a [u8], number: usize) -> Result<Self, UapiError> {
        let text = str::from_utf8(text).map_err(|_| UapiError::NotKeyValue { line: number })?;
        let (key, value) = text.split_once('=').ok_or(UapiError::NotKeyValue { line: number })?;
        Ok(Self { number, key, value })
    }

    fn apply_to_device(&self, set: &mut SetRequest) -> Result<(), UapiError> {
        match self.key {
            "private_key" => set.private_key = Some(self.key32("private_key")?),
            "listen_port" => set.listen_port = Some(self.number("listen_port")?),
            "fwmark" => set.fwmark = Some(self.number("fwmark")?),
            "replace_peers" => set.replace_peers = self.yes("replace_peers")?,
            _ => return Err(UapiError::UnknownKey { line: self.number }),
        }
        Ok(())
    }

    fn apply_to_peer(
        &self,
        peer: &mut PeerUpdate,
        interface_index: &dyn Fn(&str) -> Option<u32>,
    ) -> Result<(), UapiError> {
        match self.key {
            "remove" => peer.remove = self.yes("remove")?,
            "update_only" => peer.update_only = self.yes("update_only")?,
            "preshared_key" => peer.preshared_key = Some(self.key32("preshared_key")?),
            "endpoint" => {
                let endpoint = parse_endpoint(self.value, interface_index);
                peer.endpoint = Some(endpoint.ok_or(self.bad_value("endpoint"))?);
            }
            "persistent_keepalive_interval" => {
                peer.persistent_keepalive = Some(self.number("persistent_keepalive_interval")?);
            }
            "replace_allowed_ips" => {
                peer.replace_allowed_ips = self.yes("replace_allowed_ips")?;
                peer.allowed_ips.clear();
            }
            "allowed_ip" => peer.allowed_ips.push(self.allowed_ip()?),
            "protocol_version" if self.value == "1" => {}
            "protocol_version" => return Err(self.bad_value("protocol_version")),
            _ => return Err(UapiError::UnknownKey { line: self.number }),
        }
        Ok(())
    }

    fn bad_value(&self, key: &'static str) -> UapiError {
        UapiError::BadValue { line: self.number, key }
    }

    /// 32 bytes in hexadecimal.
    fn key32(&self, key: &'static str) -> Result<SecretBytes<32>, UapiError> {
        let digits = self.value.as_bytes();
        if digits.len() != 64 {
            return Err(self.bad_value(key));
        }
        let mut bytes = SecretBytes::ZERO;
        for (byte, pair) in bytes.expose_mut().iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                let digit = char::from(*digit).to_digit(16).ok_or(self.bad_value(key))?;
                *byte = *byte << 4 | digit as u8;
            }
        }
        Ok(bytes)
    }

    /// Decimal digits only: no sign, no spaces.
    fn number<T: core::str::FromStr>(&self, key: &'static str) -> Result<T, UapiError> {
        let only_digits = self.value.bytes().all(|byte| byte.is_ascii_digit());
        self.value.parse().ok().filter(|_| only_digits).ok_or(self.bad_value(key))
    }

    fn yes(&self, key: &'static str) -> Result<bool, UapiError> {
        if self.value == "true" { Ok(true) } else { Err(self.bad_value(key)) }
    }

    fn allowed_ip(&self) -> Result<AllowedIp, UapiError> {
        let (make, text): (fn(IpNet) -> AllowedIp, _) = match self.value.strip_prefix('-') {
            Some(text) => (AllowedIp::Remove, text),
            None => (AllowedIp::Add, self.value),
        };
        let prefix: IpNet = text.parse().map_err(|_| self.bad_value("allowed_ip"))?;
        Ok(make(prefix.trunc()))
    }
}

/// `192.0.2.1:51820`, `[2001:db8::1]:51820`, `[fe80::1%eth0]:51820` or, with the interface's number, `[fe80::1%2]:51820`.
fn parse_endpoint(text: &str, interface_index: &dyn Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, rest) = text.strip_prefix('[')?.split_once('%')?;
    let (zone, port) = rest.split_once("]:")?;
    let address: Ipv6Addr = address.parse().ok()?;
    // Only the port is left to be checked; this refuses signs, as the address above does.
    let SocketAddr::V4(with_port) = format!("0.0.0.0:{port}").parse().ok()? else { return None };
    Some(SocketAddrV6::new(address, with_port.port(), 0, interface_index(zone)?).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "a0b1c2d3e4f5061728394a5b6c7d8e9f00112233445566778899AABBCCDDEEFF";

    fn parse(text: &str) -> Result<Request, UapiError> {
        parse_request(text.as_bytes(), &|name| (name == "eth0").then_some(7))
    }

    fn set(lines: &str) -> SetRequest {
        match parse(&format!("set=1\n{lines}")).expect("valid") {
            Request::Set(set) => set,
            Request::Get => panic!("not a get"),
        }
    }

    fn errno(lines: &str) -> i32 {
        parse(&format!("set=1\n{lines}")).expect_err("refused").errno()
    }

    #[test]
    fn every_key_of_the_protocol_is_understood() {
        let set = set(&format!(
            "private_key={KEY}\nlisten_port=51820\nfwmark=51820\nreplace_peers=true\npublic_key={KEY}\nupdate_only=true\n\
             preshared_key={KEY}\nprotocol_version=1\nendpoint=192.0.2.1:51820\npersistent_keepalive_interval=25\n\
             replace_allowed_ips=true\nallowed_ip=10.0.0.7/8\nallowed_ip=-fd66::/64\npublic_key={KEY}\nremove=true\n"
        ));
        assert_eq!((set.listen_port, set.fwmark, set.replace_peers), (Some(51820), Some(51820), true));
        let private_key = set.private_key.expect("given");
        assert_eq!((private_key.expose()[0], private_key.expose()[31]), (0xa0, 0xff));
        let [first, second] = &set.peers[..] else { panic!("two peers") };
        assert_eq!(first.public_key.0, *private_key.expose());
        assert!(first.update_only && first.replace_allowed_ips && !first.remove && second.remove);
        assert!(first.preshared_key.as_ref().is_some_and(|key| key.ct_eq(&private_key)));
        assert_eq!(first.endpoint, Some("192.0.2.1:51820".parse().unwrap()));
        assert_eq!(first.persistent_keepalive, Some(25));
        let wanted =
            [AllowedIp::Add("10.0.0.0/8".parse().unwrap()), AllowedIp::Remove("fd66::/64".parse().unwrap())];
        assert_eq!(first.allowed_ips, wanted);
    }

    #[test]
    fn get_has_no_arguments_and_other_operations_do_not_exist() {
        assert!(matches!(parse("get=1"), Ok(Request::Get)));
        assert!(matches!(parse("get=1\n"), Ok(Request::Get)));
        for wrong in ["get=1\nlisten_port=1", "get=2", "set=0", "", "get", "GET=1"] {
            assert_eq!(parse(wrong).expect_err(wrong).errno(), -libc::EINVAL, "{wrong}");
        }
    }

    #[test]
    fn a_line_without_an_equals_sign_is_a_protocol_error() {
        assert_eq!(errno("listen_port"), -libc::EPROTO);
        assert_eq!(errno("listen_port=1\n\u{fffd}"), -libc::EPROTO);
        assert_eq!(
            parse_request(b"set=1\nfwmark=\xff", &|_| None).expect_err("no text").errno(),
            -libc::EPROTO
        );
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_invalid() {
        let short = &KEY[1..];
        for device in [
            "listen_port=65536",
            "listen_port=+1",
            "listen_port=",
            "listen_port= 1",
            "fwmark=4294967296",
            "fwmark=0x10",
            "fwmark=-1",
            "replace_peers=false",
            "replace_peers=1",
            "frobnicate=1",
            "endpoint=192.0.2.1:1",
            "remove=true",
            &format!("private_key={short}"),
            &format!("private_key={short}g"),
            &format!("public_key={short}"),
        ] {
            assert_eq!(errno(device), -libc::EINVAL, "{device}");
        }
        for peer in [
            "remove=false",
            "update_only=yes",
            "preshared_key=00",
            "endpoint=192.0.2.1",
            "endpoint=example.org:51820",
            "endpoint=2001:db8::1:51820",
            "endpoint=[fe80::1%eth9]:1",
            "endpoint=[fe80::1%eth0]:+1",
            "endpoint=[fe80::1%eth0]:65536",
            "persistent_keepalive_interval=off",
            "persistent_keepalive_interval=65536",
            "replace_allowed_ips=false",
            "allowed_ip=10.0.0.1",
            "allowed_ip=10.0.0.0/33",
            "allowed_ip=--10.0.0.0/8",
            "protocol_version=2",
            "listen_port=1",
            "replace_peers=true",
        ] {
            assert_eq!(errno(&format!("public_key={KEY}\n{peer}")), -libc::EINVAL, "{peer}");
        }
    }

    #[test]
    fn link_local_endpoints_name_their_interface() {
        for (text, scope) in [("[fe80::1%eth0]:51820", 7), ("[fe80::1%3]:51820", 3)] {
            let set = set(&format!("public_key={KEY}\nendpoint={text}"));
            let Some(SocketAddr::V6(endpoint)) = set.peers[0].endpoint else { panic!("an IPv6 address") };
            assert_eq!((endpoint.port(), endpoint.scope_id()), (51820, scope), "{text}");
        }
    }

    #[test]
    fn errors_never_show_a_value() {
        let error = parse(&format!("set=1\nprivate_key={KEY}0")).expect_err("too long");
        assert!(!format!("{error} {error:?}").contains(&KEY[..8]), "{error:?}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = parse_request(&bytes, &|_| Some(1));
            let _ = parse_request(&[b"set=1\n", &bytes[..]].concat(), &|_| None);
        }

        #[test]
        fn no_lines_of_the_protocol_make_the_parser_panic(
            lines in proptest::collection::vec(
                "(public_key|endpoint|allowed_ip|fwmark|private_key|remove)=(\\PC{0,80}|\\[?[0-9a-f:.%/\\]-]{0,70})",
                0..8,
            ),
        ) {
            let _ = parse(&format!("set=1\n{}", lines.join("\n")));
        }
    }
}
