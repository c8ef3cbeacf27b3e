//! The AEADs: RFC 8439, the GCM specification, draft-irtf-cfrg-xchacha, Wycheproof, RustCrypto.
//!
//! Our nonce is 4 zero bytes and a 64-bit counter, so of the published vectors only those of that form apply; the
//! differential tests cover the lengths.

use super::vectors::{array, bytes, hex, hex_array, list, parse, random, random_vec, rng};
use aes_gcm::Aes256Gcm;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, consts::U12, consts::U16};
use rand_core::Rng as _;
use serde_json::Value;
use vpn_core::{
    base::SecretBytes,
    symmetric::{AeadError, AeadKey, Suite, TAG_SIZE, XNONCE_SIZE, xopen, xseal},
};

/// Longest text of the differential tests; beyond any packet.
const MAX_TEXT: usize = 2000;

fn own_key(suite: Suite, key: [u8; 32]) -> AeadKey {
    AeadKey::new(suite, &SecretBytes::new(key))
}

fn seal(key: &AeadKey, counter: u64, ad: &[u8], text: &[u8]) -> Vec<u8> {
    let mut sealed = text.to_vec();
    let tag = key.seal_in_place(counter, ad, &mut sealed);
    sealed.extend(tag);
    sealed
}

fn open(key: &AeadKey, counter: u64, ad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, AeadError> {
    key.open_in_place(counter, ad, &mut sealed.to_vec()).map(|text| text.to_vec())
}

#[test]
fn chacha20_poly1305_is_that_of_rfc_8439_appendix_a_5() {
    let key = own_key(
        Suite::ChaCha20Poly1305,
        hex_array("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0"),
    );
    // Nonce 00 00 00 00 01 02 03 04 05 06 07 08.
    let counter = u64::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 8]);
    let text = "Internet-Drafts are draft documents valid for a maximum of six months and may be updated, replaced, \
                or obsoleted by other documents at any time. It is inappropriate to use Internet-Drafts as reference \
                material or to cite them other than as /\u{201c}work in progress./\u{201d}";
    let sealed = seal(&key, counter, &hex("f33388860000000000004e91"), text.as_bytes());
    // The tag stands for the whole ciphertext, which the RFC prints in full.
    assert_eq!(sealed.len(), 265 + TAG_SIZE);
    assert_eq!(sealed[..16], hex("64a0861575861af460f062c79be643bd"));
    assert_eq!(sealed[265..], hex("eead9d67890cbb22392336fea1851f38"));
}

#[test]
fn aes_256_gcm_is_that_of_the_gcm_specification_cases_13_and_14() {
    let key = own_key(Suite::Aes256Gcm, [0; 32]);
    assert_eq!(seal(&key, 0, &[], &[]), hex("530f8afbc74536b9a963b4f1c4cb738b"));
    let sealed = hex("cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
    assert_eq!(seal(&key, 0, &[], &[0; 16]), sealed);
}

#[test]
fn wycheproof_agrees_on_nonces_of_our_form() {
    let file = parse(include_str!("../vectors/aead.json"));
    for (name, suite) in [("chacha20_poly1305", Suite::ChaCha20Poly1305), ("aes_256_gcm", Suite::Aes256Gcm)] {
        for test in list(&file, name) {
            let iv: [u8; 12] = array(test, "iv");
            let (zeros, counter) = iv.split_first_chunk::<4>().expect("12 bytes");
            assert_eq!(zeros, &[0; 4]);
            let counter = u64::from_le_bytes(counter.try_into().expect("8 bytes"));
            let key = own_key(suite, array(test, "key"));
            let sealed = [bytes(test, "ct"), bytes(test, "tag")].concat();
            assert_eq!(test["valid"], Value::Bool(true), "test {}", test["id"]);
            assert_eq!(seal(&key, counter, &bytes(test, "aad"), &bytes(test, "msg")), sealed);
            assert_eq!(open(&key, counter, &bytes(test, "aad"), &sealed), Ok(bytes(test, "msg")));
        }
    }
}

#[test]
fn every_length_agrees_with_rustcrypto_chacha20_poly1305() {
    every_length_agrees::<ChaCha20Poly1305>(Suite::ChaCha20Poly1305);
}

#[test]
fn every_length_agrees_with_rustcrypto_aes_256_gcm() {
    every_length_agrees::<Aes256Gcm>(Suite::Aes256Gcm);
}

fn every_length_agrees<A: AeadInOut<NonceSize = U12, TagSize = U16> + KeyInit>(suite: Suite) {
    let mut rng = rng();
    for len in 0..=MAX_TEXT {
        let key: [u8; 32] = random(&mut rng);
        let oracle = A::new_from_slice(&key).expect("32 bytes");
        let own = own_key(suite, key);
        let counter = match len % 4 {
            0 => 0,
            1 => u64::MAX,
            _ => rng.next_u64(),
        };
        // The protocol's own lengths: none in transport, a hash in handshakes; and others.
        let ad = random_vec(&mut rng, [0, 32, 13, len][len % 4]);
        let text = random_vec(&mut rng, len);

        let nonce: [u8; 12] = [&[0; 4][..], &counter.to_le_bytes()].concat().try_into().expect("12 bytes");
        let mut expected = text.clone();
        let tag = oracle.encrypt_inout_detached(&nonce.into(), &ad, expected.as_mut_slice().into());
        expected.extend_from_slice(&tag.expect("a short text"));

        let sealed = seal(&own, counter, &ad, &text);
        assert_eq!(sealed, expected, "length {len}, counter {counter}");
        assert_eq!(open(&own, counter, &ad, &sealed), Ok(text), "length {len}, counter {counter}");
    }
}

#[test]
fn any_flipped_bit_of_ciphertext_tag_counter_or_associated_bytes_is_refused() {
    for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
        let key = own_key(suite, [3; 32]);
        let (counter, ad) = (0x0102_0304_0506_0708, [9; 20]);
        let sealed = seal(&key, counter, &ad, b"forty bytes, which are more than a block");
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&key, counter, &ad, &forged), Err(AeadError), "{suite:?}, bit {bit}");
        }
        for bit in 0..64 {
            assert_eq!(
                open(&key, counter ^ 1 << bit, &ad, &sealed),
                Err(AeadError),
                "{suite:?}, counter {bit}"
            );
        }
        for bit in 0..ad.len() * 8 {
            let mut forged = ad;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&key, counter, &forged, &sealed), Err(AeadError), "{suite:?}, ad {bit}");
        }
    }
}

#[test]
fn text_shorter_than_a_tag_and_truncated_text_are_refused() {
    for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
        let key = own_key(suite, [3; 32]);
        let sealed = seal(&key, 5, &[], b"truncated");
        for len in 0..sealed.len() {
            assert_eq!(open(&key, 5, &[], &sealed[..len]), Err(AeadError), "{suite:?}, {len} bytes");
        }
    }
}

#[test]
fn suites_do_not_open_each_other() {
    let sealed = seal(&own_key(Suite::ChaCha20Poly1305, [3; 32]), 5, &[], b"text");
    assert_eq!(open(&own_key(Suite::Aes256Gcm, [3; 32]), 5, &[], &sealed), Err(AeadError));
}

#[test]
fn xchacha20_poly1305_is_that_of_the_draft_appendix_a_3_1() {
    let key = SecretBytes::new(core::array::from_fn(|i| 0x80 + u8::try_from(i).expect("small")));
    let nonce = core::array::from_fn(|i| 0x40 + u8::try_from(i).expect("small"));
    let mut text =
        *b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                      sunscreen would be it.";
    let tag = xseal(&key, &nonce, &hex("50515253c0c1c2c3c4c5c6c7"), &mut text);
    assert_eq!(text[..16], hex("bd6d179d3e83d43b9576579493c0e939"));
    assert_eq!(tag, hex_array("c0875924c1c7987947deafd8780acf49"));
}

#[test]
fn wycheproof_agrees_on_xchacha20_poly1305() {
    let file = parse(include_str!("../vectors/xchacha20_poly1305.json"));
    for test in list(&file, "tests") {
        let (key, nonce) = (SecretBytes::new(array(test, "key")), array::<XNONCE_SIZE>(test, "iv"));
        let (ad, tag) = (bytes(test, "aad"), array(test, "tag"));
        let mut text = bytes(test, "ct");
        let opened = xopen(&key, &nonce, &ad, &mut text, &tag);
        if test["valid"] == true {
            assert_eq!(opened, Ok(()), "test {}", test["id"]);
            assert_eq!(text, bytes(test, "msg"), "test {}", test["id"]);
            assert_eq!(xseal(&key, &nonce, &ad, &mut text), tag, "test {}", test["id"]);
            assert_eq!(text, bytes(test, "ct"), "test {}", test["id"]);
        } else {
            assert_eq!(opened, Err(AeadError), "test {}", test["id"]);
            assert_eq!(text, bytes(test, "ct"), "a refused text stays as it was, test {}", test["id"]);
        }
    }
}

#[test]
fn any_flipped_bit_of_a_cookie_its_tag_or_its_nonce_is_refused() {
    let (key, nonce, ad) = (SecretBytes::new([5; 32]), [6; XNONCE_SIZE], [7; 32]);
    let mut cookie = [8; 16];
    let tag = xseal(&key, &nonce, &ad, &mut cookie);
    for bit in 0..128 {
        let flip = |bytes: &mut [u8]| bytes[bit / 8] ^= 1 << (bit % 8);
        let (mut bad_cookie, mut bad_tag, mut bad_nonce) = (cookie, tag, nonce);
        flip(&mut bad_cookie);
        flip(&mut bad_tag);
        flip(&mut bad_nonce[8..]);
        assert_eq!(xopen(&key, &nonce, &ad, &mut bad_cookie, &tag), Err(AeadError), "cookie bit {bit}");
        assert_eq!(xopen(&key, &nonce, &ad, &mut cookie.clone(), &bad_tag), Err(AeadError), "tag bit {bit}");
        assert_eq!(
            xopen(&key, &bad_nonce, &ad, &mut cookie.clone(), &tag),
            Err(AeadError),
            "nonce bit {bit}"
        );
    }
    assert_eq!(xopen(&key, &nonce, &ad, &mut cookie, &tag), Ok(()));
    assert_eq!(cookie, [8; 16]);
}
