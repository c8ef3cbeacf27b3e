//! `offload` of the `[interface]` table: what the kernel may do for many packets at once.

use super::{
    fault::Complaint,
    table::{Source, Value},
};
use crate::engine::{OffloadError, OffloadSet};

/// `"auto"`, `"off"`, or a list of offloads. Without a value: everything that the kernel has.
pub(super) fn read_offload<'t>(source: &mut Source<'t>, value: Option<Value<'t>>) -> Option<OffloadSet> {
    let Some(value) = value else { return Some(OffloadSet::AUTO) };
    if value.is_string() {
        return source.parsed(&value);
    }
    let items = source.strings(&value);
    let words: Vec<&str> = items.iter().map(|item| source.string(item)).collect::<Option<_>>()?;
    OffloadSet::only(words.iter().copied())
        .map_err(|error| {
            // At the word itself: a list may go over several lines.
            let at = words.iter().position(|word| *word == error.word());
            let span = at.map_or(&value.span, |at| &items[at].span);
            source.fault(span, error);
        })
        .ok()
}

impl From<OffloadError> for Complaint {
    fn from(error: OffloadError) -> Self {
        let message = match &error {
            OffloadError::Unknown { word } => format!("{word:?} is not an offload"),
            OffloadError::NeedsChecksum { word } => format!("{word:?} is not possible without \"checksum\""),
        };
        let remedy = match &error {
            OffloadError::Unknown { .. } => {
                "write offload = \"auto\" or \"off\", or a list of some of \"checksum\", \"tso\", \"uso\", \"gso\", \"gro\""
                    .to_owned()
            }
            OffloadError::NeedsChecksum { word } => format!("add \"checksum\" to the list, or leave {word:?} out"),
        };
        Self::new(message, remedy)
    }
}
