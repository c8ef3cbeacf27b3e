//! Reading and writing the sysctls of macOS by the program `sysctl`. Its keys have dots: `net.inet.ip.forwarding`.

use std::io;

use super::{CommandError, run};

const SYSCTL: &str = "/usr/sbin/sysctl";

/// Reads a sysctl, without surrounding space.
///
/// # Errors
/// The program's answer.
pub fn read(key: &str) -> io::Result<String> {
    run(SYSCTL, &["-n", key], None).map(|value| value.trim().to_owned()).map_err(|error| answer(&error))
}

/// Sets a sysctl.
///
/// # Errors
/// The program's answer; `PermissionDenied` for who is not root.
pub fn write(key: &str, value: &str) -> io::Result<()> {
    run(SYSCTL, &["-n", &format!("{key}={value}")], None).map(drop).map_err(|error| answer(&error))
}

fn answer(error: &CommandError) -> io::Error {
    let text = error.to_string();
    let kind =
        if text.contains("not permitted") { io::ErrorKind::PermissionDenied } else { io::ErrorKind::Other };
    io::Error::new(kind, text)
}
