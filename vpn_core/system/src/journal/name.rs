//! Names of network interfaces, checked once: they end up in rule text, file names and sysctl paths.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest interface name in bytes: Linux's `IFNAMSIZ` without the terminating zero.
const MAX_NAME_BYTES: usize = 15;

/// A network interface's name: 1 to 15 bytes of letters, digits, `_`, `.`, `-`, and not `.` or `..`.
///
/// Linux itself allows nearly every byte. These are the names that mean the same in nftables and iptables text (where
/// `*` and `+` are wildcards and quotes end a string), in a path and in a log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(String);

/// Why a name cannot be an interface's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a usable interface name: use 1 to 15 letters, digits, '_', '.' or '-'")]
pub struct InterfaceNameError(String);

impl InterfaceName {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`InterfaceNameError`] where the name is empty, longer than 15 bytes or has other characters.
    pub fn new(name: impl Into<String>) -> Result<Self, InterfaceNameError> {
        let name = name.into();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let usable = (1..=MAX_NAME_BYTES).contains(&name.len())
            && name.chars().all(allowed)
            && name != "."
            && name != ".."
            && !name.starts_with('-');
        if usable { Ok(Self(name)) } else { Err(InterfaceNameError(name)) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as part of an nftables identifier. Different names stay different: `_` is written as `__`, and other
    /// characters that nftables does not know in identifiers as `_` and two hexadecimal digits.
    pub fn to_identifier(&self) -> String {
        let escape = |c: char| match c {
            '_' => "__".to_owned(),
            c if c.is_ascii_alphanumeric() => c.to_string(),
            c => format!("_{:02x}", u32::from(c)), // ASCII, as `new` checks
        };
        self.0.chars().map(escape).collect()
    }

    /// The name that [`Self::to_identifier`] writes so; `None` where it never does.
    #[cfg_attr(
        not(any(test, target_os = "linux")),
        expect(dead_code, reason = "no other system has nftables")
    )]
    pub(super) fn of_identifier(identifier: &str) -> Option<Self> {
        let mut name = String::new();
        let mut rest = identifier.chars();
        while let Some(c) = rest.next() {
            if c != '_' {
                name.push(c);
                continue;
            }
            let escaped = rest.as_str();
            if escaped.starts_with('_') {
                name.push('_');
                rest.next();
            } else {
                name.push(char::from(u8::from_str_radix(escaped.get(..2)?, 16).ok()?));
                rest.nth(1);
            }
        }
        // Not `_61` for `a`.
        Self::new(name).ok().filter(|name| name.to_identifier() == identifier)
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for InterfaceName {
    type Err = InterfaceNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = InterfaceNameError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_names_have_different_identifiers() {
        let identifier = |name: &str| InterfaceName::new(name).unwrap().to_identifier();
        assert_eq!(identifier("vpn0"), "vpn0");
        assert_eq!(identifier("a-b"), "a_2db");
        assert_eq!(identifier("a_2db"), "a__2db");
    }

    #[test]
    fn the_name_of_every_identifier_is_known_and_what_is_no_identifier_has_none() {
        for name in ["vpn0", "a-b", "a_2db", "x_", "_.y", "wg-site_1"] {
            let interface = InterfaceName::new(name).unwrap();
            assert_eq!(InterfaceName::of_identifier(&interface.to_identifier()), Some(interface));
        }
        for other in ["", "é", "_", "vpn0_marks", "fw_", "_61", "a_2Db", "a_é"] {
            assert_eq!(InterfaceName::of_identifier(other), None, "{other}");
        }
    }

    #[test]
    fn names_that_would_change_the_meaning_of_a_rule_or_a_path_are_refused() {
        for bad in ["", ".", "..", "a/b", "vpn+", "vpn*", "a b", "a\"b", "-i", "sixteen-bytes-xx", "é"] {
            assert!(InterfaceName::new(bad).is_err(), "{bad:?}");
        }
        for good in ["vpn0", "eth0.100", "wg-site_1", "fifteen-bytes-x"] {
            assert!(InterfaceName::new(good).is_ok(), "{good:?}");
        }
    }
}
