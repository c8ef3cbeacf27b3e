//! The authenticated ciphers of transport and handshake messages: ChaCha20-Poly1305 (RFC 8439) and AES-256-GCM.

use super::{
    NULL_CIPHER,
    batch::{BatchKernel, BatchKey, Frame, GROUP, Served},
};
use crate::base::SecretBytes;
use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// Size of an authentication tag, in bytes.
pub const TAG_SIZE: usize = 16;

/// An authentication tag.
pub type Tag = [u8; TAG_SIZE];

/// The ciphertext or the data beside it is not what the key's holder sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("authentication failed")]
pub struct AeadError;

/// A transport cipher suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// ChaCha20-Poly1305, RFC 8439; every node supports it.
    ChaCha20Poly1305,
    /// AES-256-GCM, only where both CPUs have AES instructions.
    Aes256Gcm,
}

impl Suite {
    /// The name in status output and logs.
    pub const fn name(self) -> &'static str {
        if NULL_CIPHER {
            return "none";
        }
        match self {
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::Aes256Gcm => "aes-256-gcm",
        }
    }
}

/// A key of one suite, expanded for use.
///
/// The expanded key lies in the library's own heap memory, which AWS-LC overwrites whenever it frees; moving this
/// type moves a pointer. Key-dependent values that a call keeps in registers or on its stack (the Poly1305 key, AES
/// counter blocks) are the library's to erase. For batches there may be a second copy of the key, on the heap too and
/// erased on drop; of what [`AeadKey::seal_batch`] and [`AeadKey::open_batch`] leave on the stack, the blocks with
/// Poly1305 keys are erased; what is computed from them (r, s, sums) and vectors that the compiler spilled are not.
pub struct AeadKey {
    key: LessSafeKey,
    batch: Option<BatchKey>,
    suite: Suite,
}

impl AeadKey {
    /// Expands `secret` for `suite`.
    pub fn new(suite: Suite, secret: &SecretBytes<32>) -> Self {
        let algorithm = match suite {
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Suite::Aes256Gcm => &AES_256_GCM,
        };
        let unbound = UnboundKey::new(algorithm, secret.expose()).expect("both suites take 32-byte keys");
        let batch = match suite {
            Suite::ChaCha20Poly1305 if !NULL_CIPHER => BatchKey::new(secret),
            Suite::ChaCha20Poly1305 | Suite::Aes256Gcm => None,
        };
        Self { key: LessSafeKey::new(unbound), batch, suite }
    }

    /// A ChaCha20-Poly1305 key whose batches are served by the kernel asked for, or by the library alone, whichever would
    /// be best: for tests and measurements. `None` where the CPU has not what the kernel needs.
    #[doc(hidden)]
    pub fn with_kernel(secret: &SecretBytes<32>, kernel: Option<BatchKernel>) -> Option<Self> {
        let batch = match kernel {
            Some(kernel) => Some(BatchKey::with_kernel(secret, kernel)?),
            None => None,
        };
        Some(Self { batch, ..Self::new(Suite::ChaCha20Poly1305, secret) })
    }

    /// The suite of this key.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Encrypts `text` in place and returns the tag. The nonce is 4 zero bytes and `counter`, little-endian.
    pub fn seal_in_place(&self, counter: u64, ad: &[u8], text: &mut [u8]) -> Tag {
        if NULL_CIPHER {
            return [0; TAG_SIZE];
        }
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(counter), Aad::from(ad), text)
            .expect("texts of this program are far below the ciphers' length limits");
        tag.as_ref().try_into().expect("both suites have 16-byte tags")
    }

    /// Decrypts `text ‖ tag` in place and returns the text.
    ///
    /// # Errors
    /// [`AeadError`] when the tag is wrong or `text` is shorter than one; the content of `text` is then undefined.
    pub fn open_in_place<'a>(
        &self,
        counter: u64,
        ad: &[u8],
        text: &'a mut [u8],
    ) -> Result<&'a mut [u8], AeadError> {
        if NULL_CIPHER {
            let end = text.len().checked_sub(TAG_SIZE).ok_or(AeadError)?;
            return Ok(&mut text[..end]);
        }
        self.key.open_in_place(nonce(counter), Aad::from(ad), text).map_err(|_| AeadError)
    }

    /// The kernel for several packets that serves batches on this CPU, if there is one.
    pub fn batch_kernel(&self) -> Option<BatchKernel> {
        self.batch.as_ref().map(BatchKey::kernel)
    }

    /// Whether packets with texts of `len` bytes are served faster by [`AeadKey::seal_batch`] in a batch than one by one.
    pub fn gains_from_batches(&self, len: usize) -> bool {
        self.batch.as_ref().is_some_and(|batch| len <= batch.longest())
    }

    /// Encrypts frames in place, without associated data, and writes their tags: what [`AeadKey::seal_in_place`] does
    /// to each, but faster where the CPU has a kernel for several packets. Frames may lie anywhere in `arena` and
    /// have any lengths, but must not overlap: the content of those that do is then undefined.
    ///
    /// # Panics
    /// When a frame does not lie in `arena` or is shorter than a tag.
    pub fn seal_batch(&self, arena: &mut [u8], frames: &[Frame]) {
        for frames in frames.chunks(GROUP) {
            let served = self.batch.as_ref().map_or(Served::NONE, |batch| batch.seal(arena, frames));
            for (_, frame) in frames.iter().enumerate().filter(|(index, _)| !served.has(*index)) {
                let tag = self.seal_in_place(frame.counter, &[], &mut arena[frame.text()]);
                arena[frame.text().end..frame.range.end].copy_from_slice(&tag);
            }
        }
    }

    /// Decrypts frames in place, without associated data, and says of each whether it was authentic: what
    /// [`AeadKey::open_in_place`] does to each, but faster where the CPU has a kernel for several packets. The content
    /// of frames that were not authentic is then undefined, as is that of frames that overlap.
    ///
    /// # Panics
    /// When a frame does not lie in `arena`, or `verdicts` is not as long as `frames`.
    pub fn open_batch(&self, arena: &mut [u8], frames: &[Frame], verdicts: &mut [Result<(), AeadError>]) {
        assert_eq!(frames.len(), verdicts.len(), "a verdict for each frame");
        for (frames, verdicts) in frames.chunks(GROUP).zip(verdicts.chunks_mut(GROUP)) {
            let served =
                self.batch.as_ref().map_or(Served::NONE, |batch| batch.open(arena, frames, verdicts));
            let others = frames.iter().zip(verdicts).enumerate().filter(|(index, _)| !served.has(*index));
            for (_, (frame, verdict)) in others {
                *verdict = self.open_in_place(frame.counter, &[], &mut arena[frame.range.clone()]).map(drop);
            }
        }
    }
}

impl core::fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "AeadKey({})", self.suite.name())
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}
