//! ML-KEM-768: Wycheproof (FIPS 203 seeds, CCTV), RustCrypto's `ml-kem`.

use super::vectors::{array, list, parse, random, rng};
use ::ml_kem::{
    DecapsulationKey as Oracle, MlKem768,
    kem::{Decapsulate as _, KeyExport as _},
};
use vpn_core::{
    asymmetric::{CIPHERTEXT_SIZE, DecapsulationKey, ENCAPSULATION_KEY_SIZE, KemError, encapsulate},
    base::SecretBytes,
};

fn own_key(seed: [u8; 64]) -> DecapsulationKey {
    DecapsulationKey::from_seed(&SecretBytes::new(seed))
}

/// Encapsulation with the secret laid open.
fn seal(
    key: &[u8; ENCAPSULATION_KEY_SIZE],
    m: [u8; 32],
) -> Result<([u8; CIPHERTEXT_SIZE], [u8; 32]), KemError> {
    encapsulate(key, &SecretBytes::new(m)).map(|(ciphertext, shared)| (ciphertext, *shared.expose()))
}

#[test]
fn key_generation_is_that_of_the_vectors() {
    let file = parse(include_str!("../vectors/ml_kem_768.json"));
    for test in list(&file, "keygen") {
        assert_eq!(
            own_key(array(test, "seed")).encapsulation_key(),
            &array(test, "ek"),
            "test {}",
            test["id"]
        );
    }
}

#[test]
fn encapsulation_is_that_of_the_vectors() {
    let file = parse(include_str!("../vectors/ml_kem_768.json"));
    for test in list(&file, "encaps") {
        let own = seal(&array(test, "ek"), array(test, "m"));
        assert_eq!(own, Ok((array(test, "c"), array(test, "K"))), "test {}", test["id"]);
    }
}

#[test]
fn decapsulation_and_implicit_rejection_are_those_of_the_vectors() {
    let file = parse(include_str!("../vectors/ml_kem_768.json"));
    for test in list(&file, "decaps") {
        let shared = own_key(array(test, "seed")).decapsulate(&array(test, "c"));
        assert_eq!(shared.expose(), &array(test, "K"), "test {}", test["id"]);
    }
}

#[test]
fn key_that_fails_the_modulus_check_is_refused() {
    let file = parse(include_str!("../vectors/ml_kem_768.json"));
    for test in list(&file, "encaps_invalid") {
        assert_eq!(seal(&array(test, "ek"), [7; 32]), Err(KemError), "test {}", test["id"]);
    }
}

#[test]
fn every_coefficient_is_checked_against_the_modulus() {
    const Q: u16 = 3329;
    let valid = *own_key([1; 64]).encapsulation_key();
    // Two 12-bit coefficients in three bytes; 768 of them, then the 32-byte seed of the matrix.
    for index in 0..768 {
        for (value, accepted) in [(Q - 1, true), (Q, false), (4095, false)] {
            let mut key = valid;
            let [low, middle, high] = &mut key[index / 2 * 3..][..3] else { unreachable!("three bytes") };
            if index % 2 == 0 {
                *low = value.to_le_bytes()[0];
                *middle = *middle & 0xf0 | value.to_le_bytes()[1];
            } else {
                *middle = *middle & 0x0f | (value << 4).to_le_bytes()[0];
                *high = (value >> 4).to_le_bytes()[0];
            }
            assert_eq!(seal(&key, [7; 32]).is_ok(), accepted, "coefficient {index} = {value}");
        }
    }
}

#[test]
fn random_keys_and_ciphertexts_agree_with_rustcrypto() {
    let mut rng = rng();
    for round in 0..32 {
        let (seed, m): ([u8; 64], [u8; 32]) = (random(&mut rng), random(&mut rng));
        let own = own_key(seed);
        let oracle = Oracle::<MlKem768>::from_seed(seed.into());
        assert_eq!(own.encapsulation_key()[..], oracle.encapsulation_key().to_bytes()[..]);

        let (mut ciphertext, shared) = seal(own.encapsulation_key(), m).expect("a valid key");
        let (their_ciphertext, their_shared) =
            oracle.encapsulation_key().encapsulate_deterministic(&m.into());
        assert_eq!((&ciphertext[..], &shared[..]), (&their_ciphertext[..], &their_shared[..]));
        assert_eq!(own.decapsulate(&ciphertext).expose(), &shared);

        // One flipped bit: both reject implicitly, with the same pseudorandom secret.
        ciphertext[round * CIPHERTEXT_SIZE / 32] ^= 1 << (round % 8);
        let rejected = own.decapsulate(&ciphertext);
        assert_ne!(rejected.expose(), &shared);
        assert_eq!(rejected.expose()[..], oracle.decapsulate(&ciphertext.into())[..]);
    }
}
