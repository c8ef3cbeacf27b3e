//! Ed25519: RFC 8032, Wycheproof, and the edges where implementations differ ("Taming the many EdDSAs", Chalkias,
//! Garillot and Nikolaenko, 2020), built here and judged by ed25519-dalek's `verify_strict` as well.

use super::vectors::{array, bytes, hex, hex_array, list, parse, random, random_vec, rng};
use curve25519_dalek::{EdwardsPoint, Scalar, constants::EIGHT_TORSION, edwards::CompressedEdwardsY};
use sha2::{Digest as _, Sha512};
use vpn_core::{
    asymmetric::{Identity, PublicKey, Signature},
    base::SecretBytes,
};

fn identity(seed: [u8; 32]) -> Identity {
    Identity::from_seed(&SecretBytes::new(seed))
}

fn accepts(key: [u8; 32], message: &[u8], signature: &Signature) -> bool {
    PublicKey(key).verify(message, signature).is_ok()
}

fn oracle_accepts(key: [u8; 32], message: &[u8], signature: &Signature) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    ed25519_dalek::VerifyingKey::from_bytes(&key)
        .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

fn join(commitment: [u8; 32], s: [u8; 32]) -> Signature {
    [commitment, s].concat().try_into().expect("64 bytes")
}

/// The challenge of RFC 8032, section 5.1.6, step 4.
fn challenge(commitment: [u8; 32], key: [u8; 32], message: &[u8]) -> Scalar {
    let digest = Sha512::new().chain_update(commitment).chain_update(key).chain_update(message).finalize();
    Scalar::from_bytes_mod_order_wide(&digest.into())
}

/// Messages enough that a challenge divisible by 8, or not divisible, is among them.
fn messages() -> impl Iterator<Item = [u8; 2]> {
    (0..512_u16).map(u16::to_le_bytes)
}

fn is_multiple_of_8(k: Scalar) -> bool {
    k.to_bytes()[0].is_multiple_of(8)
}

/// The order of the group, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn plus_order(s: [u8; 32]) -> [u8; 32] {
    let mut carry = 0;
    let sum = core::array::from_fn(|i| {
        let digit = u16::from(s[i]) + u16::from(ORDER[i]) + carry;
        carry = digit >> 8;
        digit.to_le_bytes()[0]
    });
    assert_eq!(carry, 0);
    sum
}

/// All encodings whose y is p or more, with both signs.
fn non_canonical() -> impl Iterator<Item = [u8; 32]> {
    (0xed..=0xff).flat_map(|low| {
        [0x7f, 0xff].map(|high| {
            let mut encoding = [0xff; 32];
            (encoding[0], encoding[31]) = (low, high);
            encoding
        })
    })
}

/// Encodings that decode to a point of small order and are no others' business: canonical or not, with either sign.
fn small_order() -> Vec<[u8; 32]> {
    let torsion: Vec<_> = EIGHT_TORSION.iter().map(|point| point.compress().to_bytes()).collect();
    let flipped = torsion.iter().map(|encoding| {
        let mut encoding = *encoding;
        encoding[31] ^= 0x80;
        encoding
    });
    let others = non_canonical().filter(|encoding| {
        CompressedEdwardsY(*encoding).decompress().is_some_and(|point| point.is_small_order())
    });
    let all: Vec<_> = torsion.iter().copied().chain(flipped).chain(others).collect();
    assert!(all.len() > 16);
    all
}

#[test]
fn keys_and_signatures_are_those_of_rfc_8032_section_7_1() {
    for (seed, public, message, signature) in [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0\
             595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eae\
             b4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9\
             716ed28dc027beceea1ec40a",
        ),
    ] {
        let (identity, message) = (identity(hex_array(seed)), hex(message));
        assert_eq!(identity.public_key().0, hex_array(public));
        assert_eq!(identity.sign(&message), hex_array(signature));
        assert!(accepts(hex_array(public), &message, &hex_array(signature)));
    }
}

#[test]
fn wycheproof_agrees() {
    let file = parse(include_str!("../vectors/ed25519.json"));
    let mut wrong_length = 0;
    for test in list(&file, "tests") {
        let Ok(signature) = Signature::try_from(bytes(test, "sig")) else {
            // Our type does not take it, which is a refusal.
            assert_eq!(test["valid"], false);
            wrong_length += 1;
            continue;
        };
        let accepted = accepts(array(test, "public"), &bytes(test, "msg"), &signature);
        assert_eq!(test["valid"], accepted, "test {}", test["id"]);
    }
    assert!(wrong_length < list(&file, "tests").len() / 4);
}

#[test]
fn key_of_small_order_is_refused_although_the_equation_holds() {
    let s = Scalar::from(12345_u64);
    let commitment = EdwardsPoint::mul_base(&s).compress().to_bytes();
    for key in small_order() {
        assert!(!PublicKey(key).is_acceptable(), "{key:02x?}");
        // With k a multiple of 8, k A vanishes: s B = R + k A for anyone who knows s.
        let message = messages().find(|message| is_multiple_of_8(challenge(commitment, key, message)));
        let signature = join(commitment, s.to_bytes());
        assert!(!accepts(key, &message.expect("one in eight"), &signature), "{key:02x?}");
    }
}

#[test]
fn commitment_of_small_order_is_refused_although_the_equation_holds() {
    let a = Scalar::from(54321_u64);
    let key = EdwardsPoint::mul_base(&a).compress().to_bytes();
    // R is the neutral element and s = k a: what `verify` of most libraries accepts.
    let neutral = EIGHT_TORSION[0].compress().to_bytes();
    let s = challenge(neutral, key, b"message") * a;
    let signature = join(neutral, s.to_bytes());
    let dalek = ed25519_dalek::VerifyingKey::from_bytes(&key).expect("a point");
    let lenient =
        ed25519_dalek::Verifier::verify(&dalek, b"message", &ed25519_dalek::Signature::from(signature));
    assert!(lenient.is_ok(), "the case is not built as intended");
    assert!(!accepts(key, b"message", &signature));
    for commitment in small_order() {
        let s = challenge(commitment, key, b"message") * a;
        assert!(!accepts(key, b"message", &join(commitment, s.to_bytes())), "{commitment:02x?}");
    }
}

#[test]
fn key_with_a_small_order_part_is_held_to_the_equation_without_cofactor() {
    let (a, r) = (Scalar::from(54321_u64), Scalar::from(777_u64));
    let key = (EdwardsPoint::mul_base(&a) + EIGHT_TORSION[1]).compress().to_bytes();
    let commitment = EdwardsPoint::mul_base(&r).compress().to_bytes();
    let mut accepted = 0;
    for message in messages() {
        let k = challenge(commitment, key, &message);
        let signature = join(commitment, (r + k * a).to_bytes());
        // Verification with cofactor would accept all of these.
        assert_eq!(accepts(key, &message, &signature), is_multiple_of_8(k), "{message:?}");
        accepted += usize::from(is_multiple_of_8(k));
    }
    assert!((1..512).contains(&accepted));
}

#[test]
fn non_canonical_key_is_refused() {
    for key in non_canonical() {
        assert!(!PublicKey(key).is_acceptable(), "{key:02x?}");
    }
    // The largest canonical y is of small order; the one below p - 1 that is a point is not.
    let below = (0..0xec_u8).rev().map(|low| {
        let mut encoding = [0xff; 32];
        (encoding[0], encoding[31]) = (low, 0x7f);
        encoding
    });
    let mut points = below.filter(|encoding| CompressedEdwardsY(*encoding).decompress().is_some());
    assert!(PublicKey(points.next().expect("every second y is a point")).is_acceptable());
}

#[test]
fn non_canonical_commitment_is_refused() {
    let a = Scalar::from(54321_u64);
    let key = EdwardsPoint::mul_base(&a).compress().to_bytes();
    for commitment in non_canonical() {
        let s = challenge(commitment, key, b"message") * a;
        assert!(!accepts(key, b"message", &join(commitment, s.to_bytes())), "{commitment:02x?}");
    }
}

#[test]
fn scalar_of_the_group_order_or_more_is_refused() {
    let identity = identity([4; 32]);
    let key = identity.public_key().0;
    let signature = identity.sign(b"message");
    let (commitment, s) = signature.split_at(32);
    let (commitment, mut s) = (commitment.try_into().expect("half"), s.try_into().expect("half"));
    // s + L, s + 2 L, … up to the top of 256 bits: the same scalar each time.
    for _ in 1..15 {
        s = plus_order(s);
        assert!(!accepts(key, b"message", &join(commitment, s)), "{s:02x?}");
    }
    assert!(!accepts(key, b"message", &join(commitment, ORDER)));
}

#[test]
fn edges_in_any_combination_are_judged_as_by_verify_strict() {
    let a = Scalar::from(54321_u64);
    let own = EdwardsPoint::mul_base(&a);
    let mut points: Vec<[u8; 32]> =
        EIGHT_TORSION.iter().map(|torsion| (own + torsion).compress().to_bytes()).collect();
    points.extend(small_order());
    points.extend(non_canonical());
    let mut accepted = 0;
    for key in &points {
        for commitment in &points {
            for message in messages().take(4) {
                let k = challenge(*commitment, *key, &message);
                // The right answer where A = a B and R = a B, up to parts of small order; where R or A has none of
                // a B; and zero.
                for s in [a + k * a, a, k * a, Scalar::ZERO] {
                    let signature = join(*commitment, s.to_bytes());
                    let verdict = accepts(*key, &message, &signature);
                    assert_eq!(
                        verdict,
                        oracle_accepts(*key, &message, &signature),
                        "{key:02x?} {commitment:02x?}"
                    );
                    accepted += usize::from(verdict);
                }
            }
        }
    }
    assert!(accepted > 0, "no case was a valid one");
}

#[test]
fn signatures_agree_with_ed25519_dalek() {
    let mut rng = rng();
    for len in 0..200 {
        let seed: [u8; 32] = random(&mut rng);
        let message = random_vec(&mut rng, len);
        let own = identity(seed);
        let oracle = ed25519_dalek::SigningKey::from_bytes(&seed);
        let signature = own.sign(&message);
        assert_eq!(own.public_key().0, oracle.verifying_key().to_bytes());
        assert_eq!(signature, ed25519_dalek::Signer::sign(&oracle, &message).to_bytes());
        assert!(accepts(own.public_key().0, &message, &signature));
        let bit = len * 512 / 200;
        let mut forged = signature;
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(!accepts(own.public_key().0, &message, &forged), "bit {bit}");
        assert!(!oracle_accepts(own.public_key().0, &message, &forged), "bit {bit}");
    }
}

#[test]
fn any_flipped_bit_of_message_or_key_is_refused() {
    let identity = identity([4; 32]);
    let message = [9; 24];
    let signature = identity.sign(&message);
    for bit in 0..message.len() * 8 {
        let mut forged = message;
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(!accepts(identity.public_key().0, &forged, &signature), "message bit {bit}");
    }
    for bit in 0..256 {
        let mut key = identity.public_key().0;
        key[bit / 8] ^= 1 << (bit % 8);
        assert!(!accepts(key, &message, &signature), "key bit {bit}");
    }
}
