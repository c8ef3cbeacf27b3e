//! Keys as text: base64 with padding, 44 characters for 32 bytes, as WireGuard users know them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// Why a key could not be read from text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyTextError {
    /// Not 44 characters.
    #[error("a key is 44 base64 characters, this has {0}")]
    Length(usize),
    /// 44 characters, but not the canonical base64 of 32 bytes.
    #[error("not the base64 of 32 bytes")]
    Alphabet,
}

/// Writes 32 bytes as 44 characters.
pub fn encode_key(bytes: &[u8; 32]) -> String {
    STANDARD.encode(bytes)
}

/// Reads 44 characters; white space around them is ignored.
///
/// # Errors
/// [`KeyTextError`] when `text` has another length or is not canonical base64.
pub fn decode_key(text: &str) -> Result<[u8; 32], KeyTextError> {
    let text = text.trim();
    if text.len() != 44 {
        return Err(KeyTextError::Length(text.chars().count()));
    }
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| KeyTextError::Alphabet)?);
    bytes.as_slice().try_into().map_err(|_| KeyTextError::Alphabet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_44_characters_and_nothing_else_is_accepted() {
        let text = encode_key(&[7; 32]);
        assert_eq!(text.len(), 44);
        assert_eq!(decode_key(&format!(" {text}\n")), Ok([7; 32]));
        assert_eq!(decode_key(&text[..43]), Err(KeyTextError::Length(43)));
        assert_eq!(decode_key(&text.replace('=', "A")), Err(KeyTextError::Alphabet));
        assert_eq!(decode_key(&format!("{}!=", &text[..42])), Err(KeyTextError::Alphabet));
    }
}
