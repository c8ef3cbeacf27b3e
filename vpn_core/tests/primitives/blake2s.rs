//! BLAKE2s as WireGuard uses it: hash, keyed mac, and the key derivations.

use super::vectors::{array, bytes, hex_array, list, parse};
use vpn_core::{
    base::SecretBytes,
    symmetric::{blake2s, blake2s_mac, kdf},
};

const FILE: &str = include_str!("../vectors/blake2s.json");

#[test]
fn hash_is_that_of_the_rfc_however_the_input_is_split() {
    for case in list(&parse(FILE), "hash") {
        let input = bytes(case, "input");
        let (head, tail) = input.split_at(input.len() / 2);
        assert_eq!(blake2s(&[&input]), array(case, "hash"));
        assert_eq!(blake2s(&[head, &[], tail]), array(case, "hash"));
    }
}

#[test]
fn mac_is_keyed_blake2s_of_16_bytes_with_keys_of_32_and_16() {
    let number =
        |value: &serde_json::Value| usize::try_from(value.as_u64().expect("a length")).expect("small");
    for case in list(&parse(FILE), "mac") {
        let input: Vec<u8> = (0..=250).cycle().take(number(&case["input_len"])).collect();
        let mac = match number(&case["key_len"]) {
            32 => blake2s_mac(&SecretBytes::new(key::<32>()), &input),
            16 => blake2s_mac(&SecretBytes::new(key::<16>()), &input),
            other => panic!("key of {other} bytes"),
        };
        assert_eq!(mac, array(case, "mac"), "{case}");
    }
}

#[test]
fn key_derivations_are_those_of_wireguard_go() {
    for case in list(&parse(FILE), "kdf") {
        // HMAC pads keys with zero bytes, so the shorter keys of the table are ours with zeros behind.
        let mut key = SecretBytes::ZERO;
        let short = bytes(case, "key");
        key.expose_mut()[..short.len()].copy_from_slice(&short);
        let input = bytes(case, "input");
        let expected: Vec<[u8; 32]> = list(case, "outputs")
            .iter()
            .map(|output| hex_array(output.as_str().expect("hexadecimal")))
            .collect();

        assert_eq!(kdf::<3>(&key, &input).map(|output| *output.expose()).as_slice(), &expected);
        assert_eq!(kdf::<2>(&key, &input).map(|output| *output.expose()).as_slice(), &expected[..2]);
        assert_eq!(kdf::<1>(&key, &input).map(|output| *output.expose()).as_slice(), &expected[..1]);
    }
}

fn key<const N: usize>() -> [u8; N] {
    std::array::from_fn(|at| u8::try_from(at).expect("a short key"))
}
