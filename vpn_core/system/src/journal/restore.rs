//! Putting sysctls back.

use super::{JournalError, SysctlValue, sysctl};

/// Puts a sysctl and those that the kernel changed along with it back, where `set` is still in force.
pub(super) fn restore_sysctl(
    set: &SysctlValue,
    previous: &str,
    dependents: &[SysctlValue],
) -> Result<(), JournalError> {
    // Not there: the interface has gone. Another value: somebody has decided otherwise since.
    if !sysctl::read(&set.key).is_ok_and(|current| current == set.value) || previous == set.value {
        return Ok(());
    }
    write(&set.key, previous)?;
    for dependent in dependents {
        if sysctl::read(&dependent.key).is_ok_and(|current| current != dependent.value) {
            write(&dependent.key, &dependent.value)?;
        }
    }
    Ok(())
}

fn write(key: &str, value: &str) -> Result<(), JournalError> {
    sysctl::write(key, value).map_err(|source| JournalError::Sysctl {
        action: "set",
        key: key.to_owned(),
        source,
    })
}
