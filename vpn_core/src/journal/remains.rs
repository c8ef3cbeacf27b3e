//! What is known to be ours without a journal: by the names of firewall tables, and by the first line of a resolver file.
//!
//! A journal may be gone, emptied, or cut where its last lines were. What it named is then looked for on the system itself.

use std::{collections::BTreeSet, fs, path::Path};

use nix::net::if_::if_nametoindex;

use super::{InterfaceName, JournalError, installed, run, tunnel_of};

/// The system's resolver file.
pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The interfaces for which there are firewall tables or a resolver file, whether or not their nodes run.
///
/// # Errors
/// [`JournalError::Command`] where nft does not say which tables there are: only root is told.
pub fn named_interfaces() -> Result<BTreeSet<InterfaceName>, JournalError> {
    let tables = if installed("nft") { run("nft", &["list", "tables"], None)? } else { String::new() };
    let names = tables.lines().filter_map(|line| line.trim().strip_prefix("table ")?.split(' ').nth(1));
    let mut interfaces: BTreeSet<InterfaceName> = names.filter_map(InterfaceName::of_table).collect();
    interfaces.extend(resolver_files(Path::new(RESOLV_CONF)));
    Ok(interfaces)
}

/// The tunnels whose files stand at `path`, or are kept beside it by tunnels that came later.
fn resolver_files(path: &Path) -> Vec<InterfaceName> {
    let folder = path.parent().and_then(|folder| fs::read_dir(folder).ok());
    let kept = |name: &str| {
        path.file_name()
            .and_then(|own| name.strip_prefix(own.to_str()?))
            .is_some_and(|rest| rest.starts_with(".before-"))
    };
    let beside =
        folder.into_iter().flatten().flatten().filter(|entry| entry.file_name().to_str().is_some_and(kept));
    let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    beside
        .map(|entry| entry.path())
        .chain([path.to_owned()])
        .filter(|path| is_file(path))
        .filter_map(|path| tunnel_of(&String::from_utf8_lossy(&fs::read(path).ok()?)))
        .collect()
}

/// Whether a device of this name is there: then a process that made it may live. It goes with the process, but for one that the
/// administrator has made.
pub fn has_device(interface: &InterfaceName) -> bool {
    if_nametoindex(interface.as_str()).is_ok()
}

/// Whether a process that sees the same files as this one has a TUN device of this name, in whichever network namespace: the
/// resolver file may be its. Other users' processes are shown to root only.
pub(super) fn is_held_beside(interface: &InterfaceName) -> bool {
    let files = |process: &Path| fs::read_link(process.join("ns/mnt")).ok();
    let ours = files(Path::new("/proc/self"));
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()))
        .map(|entry| entry.path())
        .any(|process| files(&process) == ours && has_descriptor(&process, interface))
}

fn has_descriptor(process: &Path, interface: &InterfaceName) -> bool {
    // A process that ends meanwhile has none.
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    descriptors.filter(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.ends_with("tun"))).any(
        |entry| {
            let information = fs::read_to_string(process.join("fdinfo").join(entry.file_name()));
            let name = information
                .as_deref()
                .ok()
                .and_then(|text| text.lines().find_map(|line| line.strip_prefix("iff:")));
            name.is_some_and(|name| name.trim() == interface.as_str())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{kept_beside, marker};

    #[test]
    fn the_file_in_force_and_those_that_others_keep_name_their_tunnels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let [one, two]: [InterfaceName; 2] = ["vpn0".parse().unwrap(), "vpn1".parse().unwrap()];
        assert_eq!(resolver_files(&path), []);
        fs::write(&path, marker(&two) + "\nnameserver 10.66.0.1\n").unwrap();
        fs::write(kept_beside(&path, &two), marker(&one) + "\n").unwrap();
        fs::write(kept_beside(&path, &one), "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(resolver_files(&path), [one, two]);
    }
}
