//! X25519: RFC 7748, Wycheproof, x25519-dalek.

use super::vectors::{array, has_flag, hex_array, list, parse, random, rng};
use vpn_core::{
    asymmetric::{DhError, X25519PublicKey, X25519SecretKey},
    base::SecretBytes,
};

fn agree(secret: [u8; 32], public: [u8; 32]) -> Result<[u8; 32], DhError> {
    X25519SecretKey::new(&SecretBytes::new(secret))
        .agree(&X25519PublicKey(public))
        .map(|shared| *shared.expose())
}

#[test]
fn scalar_multiplication_is_that_of_rfc_7748_section_5_2() {
    for (scalar, u, product) in [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ] {
        assert_eq!(agree(hex_array(scalar), hex_array(u)), Ok(hex_array(product)));
    }
}

#[test]
fn iterated_multiplication_is_that_of_rfc_7748_section_5_2() {
    let mut base = [0; 32];
    base[0] = 9;
    let (mut k, mut u) = (base, base);
    for round in 1..=1000 {
        (k, u) = (agree(k, u).expect("not of small order"), k);
        if round == 1 {
            let expected = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
            assert_eq!(k, hex_array(expected));
        }
    }
    assert_eq!(k, hex_array("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"));
}

#[test]
fn key_agreement_is_that_of_rfc_7748_section_6_1() {
    let alice = hex_array("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob = hex_array("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    let public = |secret| X25519SecretKey::new(&SecretBytes::new(secret)).public_key().0;
    assert_eq!(public(alice), hex_array("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
    assert_eq!(public(bob), hex_array("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
    let shared = hex_array("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert_eq!(agree(alice, public(bob)), Ok(shared));
    assert_eq!(agree(bob, public(alice)), Ok(shared));
}

#[test]
fn wycheproof_agrees_and_every_all_zero_secret_is_refused() {
    let file = parse(include_str!("../vectors/x25519.json"));
    let mut refused = 0;
    for test in list(&file, "tests") {
        let outcome = agree(array(test, "private"), array(test, "public"));
        let expected = if has_flag(test, "ZeroSharedSecret") {
            refused += 1;
            Err(DhError)
        } else {
            Ok(array(test, "shared"))
        };
        assert_eq!(outcome, expected, "test {}", test["id"]);
    }
    assert!(refused >= 20, "only {refused} tests of small order");
}

#[test]
fn every_encoding_of_a_small_order_point_is_refused() {
    // u = 0, 1, -1 and the two of order 8, then their non-canonical twins u + p; each with and without bit 255,
    // which RFC 7748 masks.
    let mut minus_one = [0xff; 32];
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    let mut points = vec![
        [0; 32],
        hex_array("0100000000000000000000000000000000000000000000000000000000000000"),
        minus_one,
        hex_array("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        hex_array("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    ];
    for low in [0xed, 0xee] {
        let mut twin = minus_one;
        twin[0] = low;
        points.push(twin);
    }
    for point in points {
        for top in [0, 0x80] {
            let mut point = point;
            point[31] |= top;
            assert_eq!(agree([0x42; 32], point), Err(DhError), "{point:02x?}");
        }
    }
}

#[test]
fn random_keys_agree_with_x25519_dalek() {
    let mut rng = rng();
    for _ in 0..256 {
        let (secret, public): ([u8; 32], [u8; 32]) = (random(&mut rng), random(&mut rng));
        let oracle = x25519_dalek::StaticSecret::from(secret);
        let own = X25519SecretKey::new(&SecretBytes::new(secret));
        assert_eq!(own.public_key().0, x25519_dalek::PublicKey::from(&oracle).to_bytes());
        let expected = oracle.diffie_hellman(&x25519_dalek::PublicKey::from(public)).to_bytes();
        assert_eq!(agree(secret, public), Ok(expected));
    }
}
