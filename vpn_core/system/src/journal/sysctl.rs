//! Reading and writing `/proc/sys`, where `net/…` belongs to the calling thread's network namespace.

use std::{fs, io, path::PathBuf};

/// Reads a sysctl, without surrounding space. The key is the path below `/proc/sys`, with slashes.
///
/// # Errors
/// The system's answer; `NotFound` where the kernel or the interface does not have it.
pub fn read(key: &str) -> io::Result<String> {
    fs::read_to_string(path(key)).map(|value| value.trim().to_owned())
}

/// Sets a sysctl.
///
/// # Errors
/// The system's answer.
pub fn write(key: &str, value: &str) -> io::Result<()> {
    fs::write(path(key), value)
}

/// The keys that match `prefix/*/suffix`, for example one per interface; none where the kernel lacks the folder.
pub fn each(prefix: &str, suffix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path(prefix)) else { return Vec::new() };
    let mut keys: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .map(|name| format!("{prefix}/{name}/{suffix}"))
        .collect();
    keys.sort();
    keys
}

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key)
}
