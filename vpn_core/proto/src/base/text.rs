//! Text of a file or pipe that may have passed through an editor of another system.

/// Why bytes are no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// Two bytes a character, as some editors write "Unicode".
    #[error("this is UTF-16 text; save it as UTF-8")]
    Utf16,
    /// No encoding of text that we know.
    #[error("this is no UTF-8 text")]
    NotText,
}

/// Reads UTF-8 text, with or without a byte order mark before it.
///
/// # Errors
/// [`TextError`] for anything else.
pub fn decode_text(bytes: &[u8]) -> Result<&str, TextError> {
    const UTF_8_MARK: &[u8] = b"\xef\xbb\xbf";
    let without_mark = bytes.strip_prefix(UTF_8_MARK).unwrap_or(bytes);
    // A text of ours has no NUL; UTF-16 has one in each character that a key or setting is made of.
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || without_mark.contains(&0) {
        return Err(TextError::Utf16);
    }
    str::from_utf8(without_mark).map_err(|_| TextError::NotText)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_with_or_without_its_mark_and_other_encodings_are_named() {
        assert_eq!(decode_text(b"key\r\n"), Ok("key\r\n"));
        assert_eq!(decode_text(b"\xef\xbb\xbfkey"), Ok("key"));
        assert_eq!(decode_text("a\u{feff}b".as_bytes()), Ok("a\u{feff}b"), "in the middle it is no mark");
        let utf_16: Vec<u8> = "\u{feff}key".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(
            (decode_text(&utf_16), decode_text(&utf_16[2..])),
            (Err(TextError::Utf16), Err(TextError::Utf16))
        );
        let utf_16: Vec<u8> = "\u{feff}key".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(decode_text(&utf_16), Err(TextError::Utf16));
        assert_eq!(decode_text(b"k\xe9y"), Err(TextError::NotText));
    }
}
