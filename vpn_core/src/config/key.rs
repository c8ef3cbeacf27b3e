//! Keys in a configuration: in a file of their own, or inline in a private file.

use super::{
    fault::Complaint,
    table::{Source, Table, Value},
    trust,
};
use crate::base::{SecretBytes, decode_key, decode_text};
use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _},
    ops::Range,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Most bytes read from a key file: a key has 44, white space around it is forgiven.
const MAX_KEY_FILE: u64 = 256;

/// A secret key and where it came from.
pub(super) struct Secret {
    pub(super) key: SecretBytes<32>,
    /// Its file; `None` when it was inline.
    pub(super) file: Option<PathBuf>,
    /// Where the configuration gives it.
    pub(super) span: Range<usize>,
}

/// Takes `inline` or `file_key` from `table`. `Err` when there is one and it is not usable (the fault is noted).
pub(super) fn take_secret<'t>(
    source: &mut Source<'t>,
    table: &mut Table<'t>,
    inline: &'static str,
    file_key: &'static str,
) -> Result<Option<Secret>, ()> {
    let (inline, file) = (table.take(inline), table.take(file_key));
    match (inline, file) {
        (None, None) => Ok(None),
        (Some(inline), None) => {
            let key = read_inline(source, &inline).ok_or(())?;
            Ok(Some(Secret { key, file: None, span: inline.span }))
        }
        (None, Some(value)) => {
            let path = source.string(&value).map(|path| source.resolve(path)).ok_or(())?;
            let elsewhere = path.parent() != source.file.parent(); // else it was looked at
            let trusted = if elsewhere { trust::check_way_to(&path) } else { Ok(()) };
            let key = source.accept(&value.span, trusted.and_then(|()| read_key_file(&path))).ok_or(())?;
            Ok(Some(Secret { key, file: Some(path), span: value.span }))
        }
        (Some(inline), Some(file)) => {
            let message = format!("both `{}` and `{}` are given", inline.key, file.key);
            source.fault(&inline.span, Complaint::new(message, "remove one of them"));
            Err(())
        }
    }
}

/// Opens a file without waiting for a FIFO's other end, which would hang a start for ever.
pub(super) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// Whether nobody but the owner has any access.
#[expect(clippy::verbose_bit_mask, reason = "a mask of permission bits is read as octal")]
pub(super) fn is_private(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o077 == 0
}

/// What a failure to open or read `path` means for the person who named it.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Complaint {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            Complaint::new(format!("{path} does not exist"), "create it, or correct the path")
        }
        io::ErrorKind::PermissionDenied => Complaint::not_permitted(
            format!("{path} cannot be read: permission denied"),
            "run as its owner (usually root)",
        ),
        _ => Complaint::new(format!("{path} cannot be read: {error}"), "make it a readable file"),
    }
}

fn read_inline<'t>(source: &mut Source<'t>, value: &Value<'t>) -> Option<SecretBytes<32>> {
    if !source.private {
        let message = format!("`{}` is inline, but others can read this file", value.key);
        let remedy = format!("run: chmod 600 {}", source.file.display());
        source.fault(&value.span, Complaint::new(message, remedy));
    }
    let text = source.string(value)?;
    source.accept(&value.span, decode(text))
}

fn read_key_file(path: &Path) -> Result<SecretBytes<32>, Complaint> {
    let shown = path.display();
    let (file, metadata) = open(path).map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        return Err(Complaint::new(
            format!("{shown} is not a regular file"),
            "name a file that holds the key",
        ));
    }
    if !is_private(&metadata) {
        let mode = metadata.permissions().mode() & 0o7777;
        return Err(Complaint::new(
            format!("{shown} can be read by others (mode {mode:03o})"),
            format!("run: chmod 600 {shown}"),
        ));
    }
    trust::check_file(path, &metadata)?;
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE as usize));
    file.take(MAX_KEY_FILE).read_to_end(&mut text).map_err(|error| unreadable(path, &error))?;
    let remedy = "save it as UTF-8 text with the 44 characters of the key and nothing else";
    let text = decode_text(&text).map_err(|error| Complaint::new(error.to_string(), remedy));
    text.and_then(decode)
        .map_err(|complaint| Complaint { message: format!("{shown}: {}", complaint.message), ..complaint })
}

/// Says what is wrong with a key without repeating any of it.
fn decode(text: &str) -> Result<SecretBytes<32>, Complaint> {
    match decode_key(text) {
        Ok(mut key) => Ok(SecretBytes::take(&mut key)),
        Err(error) => Err(Complaint::new(error.to_string(), "make one with `genkey` or `genpsk`")),
    }
}
