//! Test vectors of RFC 8439 for the parts of ChaCha20-Poly1305, which every kernel has its own of.

/// Size of a Poly1305 block, and of a tag, in bytes.
const BLOCK: usize = 16;

/// RFC 8439 appendix A.1, vectors 1 and 2: blocks 0 and 1 of the zero key and nonce.
pub(super) const ZERO_KEY_BLOCKS: [[u8; 64]; 2] = [
    [
        0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28, 0xbd,
        0xd2, 0x19, 0xb8, 0xa0, 0x8d, 0xed, 0x1a, 0xa8, 0x36, 0xef, 0xcc, 0x8b, 0x77, 0x0d, 0xc7, 0xda, 0x41,
        0x59, 0x7c, 0x51, 0x57, 0x48, 0x8d, 0x77, 0x24, 0xe0, 0x3f, 0xb8, 0xd8, 0x4a, 0x37, 0x6a, 0x43, 0xb8,
        0xf4, 0x15, 0x18, 0xa1, 0x1c, 0xc3, 0x87, 0xb6, 0x69, 0xb2, 0xee, 0x65, 0x86,
    ],
    [
        0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a, 0x98, 0xba, 0x97, 0x7c, 0x73, 0x2d, 0x08, 0x0d, 0xcb,
        0x0f, 0x29, 0xa0, 0x48, 0xe3, 0x65, 0x69, 0x12, 0xc6, 0x53, 0x3e, 0x32, 0xee, 0x7a, 0xed, 0x29, 0xb7,
        0x21, 0x76, 0x9c, 0xe6, 0x4e, 0x43, 0xd5, 0x71, 0x33, 0xb0, 0x74, 0xd8, 0x39, 0xd5, 0x31, 0xed, 0x1f,
        0x28, 0x51, 0x0a, 0xfb, 0x45, 0xac, 0xe1, 0x0a, 0x1f, 0x4b, 0x79, 0x4d, 0x6f,
    ],
];

/// A Poly1305 tag.
pub(super) struct Poly1305Vector {
    /// Its number in appendix A.3.
    pub(super) number: usize,
    pub(super) r: [u8; BLOCK],
    pub(super) s: [u8; BLOCK],
    pub(super) text: Vec<u8>,
    pub(super) tag: [u8; BLOCK],
}

/// Appendix A.3.
pub(super) fn poly1305_vectors() -> Vec<Poly1305Vector> {
    let mut vectors = Vec::new();
    let mut push = |number, r, s, text: &[u8], tag| {
        vectors.push(Poly1305Vector { number, r, s, text: text.to_vec(), tag });
    };
    let key = 0x36e5_f6b5_c5e0_6070_f0ef_ca96_227a_863e_u128.to_be_bytes();
    let text =
        b"Any submission to the IETF intended by the Contributor for publication as all or part of an \
        IETF Internet-Draft or RFC and any statement made within the context of an IETF activity is \
        considered an \"IETF Contribution\". Such statements include oral statements in IETF sessions, as \
        well as written and electronic communications made at any time or place, which are addressed to";
    assert_eq!(text.len(), 375);
    push(1, ZERO, ZERO, &[0; 64], ZERO);
    push(2, ZERO, key, text, key);
    push(3, key, ZERO, text, 0xf347_7e7c_d954_17af_89a6_b879_4c31_0cf0_u128.to_be_bytes());
    let (r, s) = (
        0x1c92_40a5_eb55_d38a_f333_8886_04f6_b5f0_u128.to_be_bytes(),
        0x4739_17c1_402b_8009_9dca_5cbc_2070_75c0_u128.to_be_bytes(),
    );
    let text = b"'Twas brillig, and the slithy toves\nDid gyre and gimble in the wabe:\n\
        All mimsy were the borogoves,\nAnd the mome raths outgrabe.";
    push(4, r, s, text, 0x4541_669a_7eaa_ee61_e708_dc7c_bcc5_eb62_u128.to_be_bytes());

    // Made for carries that implementations forget.
    let (mut f0, mut fb, mut fd, mut fa) = (ONES, [0xfe; BLOCK], ONES, ONES);
    (f0[0], fb[0], fd[0], fa[0]) = (0xf0, 0xfb, 0xfd, 0xfa);
    push(5, number(2), ZERO, &ONES, number(3));
    push(6, number(2), ONES, &number(2), number(3));
    push(7, number(1), ZERO, [ONES, f0, number(0x11)].as_flattened(), number(5));
    push(8, number(1), ZERO, [ONES, fb, [1; BLOCK]].as_flattened(), ZERO);
    push(9, number(2), ZERO, &fd, fa);
    let r = (1 | 4_u128 << 64).to_le_bytes();
    let blocks = [
        0xe335_94d7_505e_43b9_0000_0000_0000_0000_u128.to_be_bytes(),
        0x3394_d750_5e43_79cd_0100_0000_0000_0000_u128.to_be_bytes(),
        ZERO,
        number(1),
    ];
    push(10, r, ZERO, blocks.as_flattened(), (0x14 | 0x55_u128 << 64).to_le_bytes());
    push(11, r, ZERO, blocks[..3].as_flattened(), number(0x13));
    vectors
}

pub(super) const ZERO: [u8; BLOCK] = [0; BLOCK];
pub(super) const ONES: [u8; BLOCK] = [0xff; BLOCK];

pub(super) fn number(first: u8) -> [u8; BLOCK] {
    u128::from(first).to_le_bytes()
}

/// Extremes, for either half of a one-time key. Clamping leaves of all ones the greatest r.
pub(super) fn extreme_numbers() -> [[u8; BLOCK]; 8] {
    let (mut low_ones, mut high_ones) = (ZERO, ZERO);
    low_ones[..6].fill(0xff);
    high_ones[10..].fill(0xff);
    [ZERO, number(1), number(4), low_ones, high_ones, [0x80; BLOCK], [0x55; BLOCK], ONES]
}

/// The tag as the AEAD composes it of Poly1305, without associated data, by RustCrypto.
pub(super) fn oracle_tag(key: &[u8; 2 * BLOCK], text: &[u8]) -> [u8; BLOCK] {
    use poly1305::{
        Poly1305,
        universal_hash::{KeyInit as _, UniversalHash as _},
    };
    let mut poly = Poly1305::new(key.into());
    poly.update_padded(text);
    poly.update_padded(&((text.len() as u128) << 64).to_le_bytes());
    poly.finalize().into()
}
