//! BLAKE3: the published vectors of its three modes.

use super::vectors::{array, list, parse};
use vpn_core::{
    base::SecretBytes,
    symmetric::{DeriveKey, hash, hash_parts, keyed_hash, keyed_hash_64},
};

const CONTEXT: &str = "BLAKE3 2019-12-27 16:29:52 test vectors context";

#[test]
fn all_three_modes_are_those_of_the_published_vectors() {
    let file = parse(include_str!("../vectors/blake3.json"));
    let key = file["key"].as_str().expect("a key").as_bytes().try_into().expect("32 characters");
    let key = SecretBytes::new(key);
    for case in list(&file, "cases") {
        let len = usize::try_from(case["input_len"].as_u64().expect("a length")).expect("small");
        let input: Vec<u8> = (0..=250).cycle().take(len).collect();
        // Split unevenly, so that parts meet inside blocks and chunks.
        let (head, tail) = input.split_at(len / 3);

        let [expected, _] = halves(&array(case, "hash"));
        assert_eq!(hash(&input), expected, "hash of {len}");
        assert_eq!(hash_parts(&[head, tail]), expected, "hash of {len} in parts");

        let [first, second] = halves(&array(case, "keyed_hash"));
        assert_eq!(keyed_hash(&key, &input), first, "keyed hash of {len}");
        let own = keyed_hash_64(&key, &[head, b"", tail]);
        assert_eq!((own.0.expose(), own.1.expose()), (&first, &second), "64 bytes of keyed hash of {len}");

        let [expected, _] = halves(&array(case, "derive_key"));
        let own = DeriveKey::new(CONTEXT).with(head).with(tail).finish();
        assert_eq!(own.expose(), &expected, "key derived from {len}");
    }
}

fn halves(output: &[u8; 64]) -> [[u8; 32]; 2] {
    [0, 32].map(|at| output[at..at + 32].try_into().expect("half of 64"))
}
