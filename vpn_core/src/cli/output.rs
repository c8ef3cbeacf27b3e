//! The standard output. `print!` panics when the reader has gone away; this does not.

use std::io::{self, Write as _};

/// Why output could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// Whoever read it has gone away: no error, but no use in going on.
    #[error("the output was closed")]
    Closed,
    /// The system failed.
    #[error("the output cannot be written")]
    System(#[source] io::Error),
}

/// Writes `text` to the standard output, now.
///
/// # Errors
/// [`OutputError`].
pub fn print(text: impl AsRef<[u8]>) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => OutputError::Closed,
        _ => OutputError::System(error),
    })
}
