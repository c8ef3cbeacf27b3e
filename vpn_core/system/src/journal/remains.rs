//! What is known to be ours without a journal: firewall tables (`our_tables.rs`), and a resolver file by its first line.
//!
//! A journal may be gone, emptied, or cut where its last lines were. What it named is then looked for on the system itself.
//! Undone is only what is certainly ours and in use by nobody. Everything else is left and named, with what to do.

use std::{collections::BTreeSet, fs, io, os::unix::fs::MetadataExt as _, path::Path, process};

use nix::net::if_::if_nametoindex;
use tracing::debug;

use super::{
    Change, InterfaceName, JournalError, Kept, NameServersChange, belongs_to, is_mark_borne, kept_beside,
    our_tables::{OwnTable, own_tables},
    tunnel_of,
};

/// The system's resolver file.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The interfaces of which there is something on the system, whether or not their nodes run.
#[derive(Debug, Default)]
pub struct Named {
    /// The interfaces that were found.
    pub interfaces: BTreeSet<InterfaceName>,
    /// Why firewall tables could not be looked at: nft does not work, or lists them to root only.
    pub unseen: Option<JournalError>,
}

/// The interfaces for which there are firewall tables or a resolver file.
pub fn named_interfaces() -> Named {
    let (tables, unseen) = match own_tables() {
        Ok(tables) => (tables, None),
        Err(error) => (Vec::new(), Some(error.into())),
    };
    let mut interfaces: BTreeSet<_> = tables.into_iter().map(|table| table.interface).collect();
    interfaces.extend(resolver_files(Path::new(RESOLV_CONF)));
    Named { interfaces, unseen }
}

/// The mark that the sockets of the interface's node bear, as its firewall tables tell; `None` where there are none.
pub fn mark_of(interface: &InterfaceName) -> Option<u32> {
    mark_in(&tables_of(interface))
}

fn mark_in(tables: &[OwnTable]) -> Option<u32> {
    tables.iter().find_map(OwnTable::mark)
}

fn tables_of(interface: &InterfaceName) -> Vec<OwnTable> {
    let tables = own_tables().inspect_err(|error| debug!(%error, "which tables are there is not known"));
    tables.unwrap_or_default().into_iter().filter(|table| table.interface == *interface).collect()
}

/// What there is of an interface.
#[derive(Debug, Default)]
pub(super) struct Remains {
    /// What is certainly ours, and nobody's who lives.
    pub(super) ours: Vec<Change>,
    /// What is left as it is, each with the reason and what to do.
    pub(super) left: Vec<String>,
}

/// What is left as it is of `interface`, each with the reason and what to do: it may be somebody else's, or in use.
pub fn left_in_place(interface: &InterfaceName) -> Vec<String> {
    remains_of(interface).left
}

pub(super) fn remains_of(interface: &InterfaceName) -> Remains {
    let mut remains = Remains::default();
    let (certain, doubtful): (Vec<_>, Vec<_>) =
        tables_of(interface).into_iter().partition(|table| table.is_certain);
    let path = Path::new(RESOLV_CONF);
    let has_file = belongs_to(path, interface);
    if !has_file && resolver_files(path).contains(interface) {
        remains.left.push(format!(
            "a tunnel that came later keeps the resolver file of {interface}, and puts it back when it goes: run `vpn-client \
             cleanup` then"
        ));
    }
    if certain.is_empty() && doubtful.is_empty() && !has_file {
        return remains;
    }
    let user = user_of(interface, &certain);
    match &user {
        Some(user) if !certain.is_empty() => {
            let names: Vec<String> = certain.iter().map(OwnTable::name).collect();
            let names = names.join(", ");
            remains.left.push(format!("the firewall tables {names} of {interface} are left alone: {user}"));
        }
        _ => remains.ours.extend(certain.iter().map(OwnTable::change)),
    }
    remains.left.extend(doubtful.iter().map(|table| {
        let (family, name) = (table.family(), table.name());
        format!(
            "the firewall table {family} {name} has a name and chains like those of this program, and other rules: it may be \
             somebody else's, or was changed; look at `nft list table {family} {name}`, and if nobody needs it, run \
             `nft delete table {family} {name}`"
        )
    }));
    if has_file {
        let kept = kept_beside(path, interface);
        match user.or_else(|| holder_of(interface, path)) {
            Some(user) => remains.left.push(format!(
                "{RESOLV_CONF} names the servers of {interface} and is left alone: {user}; the file from before is {}",
                kept.display()
            )),
            None if kept.exists() => {
                let (path, interface) = (path.to_owned(), interface.clone());
                let change = NameServersChange::File { path, interface, kept: Kept::Beside };
                remains.ours.push(Change::NameServers(change));
            }
            None => remains.left.push(format!(
                "{RESOLV_CONF} names the servers of {interface}, and the file from before, {}, is not there: write your own \
                 name servers to {RESOLV_CONF}",
                kept.display()
            )),
        }
    }
    remains
}

/// Who may use what bears the name of `interface` in this network namespace, with what to do; `None` where nobody does.
fn user_of(interface: &InterfaceName, certain: &[OwnTable]) -> Option<String> {
    if has_device(interface) {
        return Some(format!(
            "a device {interface} is there, of a node with other folders perhaps; stop that node, or remove the device with \
             `ip link delete {interface}`, and try again"
        ));
    }
    // The device may have another name by now, or be in another namespace.
    let mark = mark_in(certain)?;
    match is_mark_borne(mark) {
        Ok(false) => None,
        Ok(true) => Some(format!(
            "a socket bears their mark {mark}, so its node lives, and its device has another name or namespace; stop that node"
        )),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Some(format!("whether their node lives is not known ({error})"))
        }
        Err(error) => Some(format!(
            "whether a socket bears their mark {mark} is not known ({error}); run `modprobe udp_diag` and try again"
        )),
    }
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

/// Whether a UDP socket of this namespace bears the mark of the interface's node.
pub fn has_sockets(interface: &InterfaceName) -> bool {
    mark_of(interface).is_some_and(|mark| is_mark_borne(mark).unwrap_or(false))
}

/// Which process, in whichever network namespace, may have put the resolver file at `path` in place for `interface`, with what to
/// do; `None` where there is none.
///
/// Namespaces of mounts tell nothing: those of `ip netns exec` and of units with `PrivateTmp` differ from ours, and have the same
/// file. So the file is compared as each process sees it.
fn holder_of(interface: &InterfaceName, path: &Path) -> Option<String> {
    let own = file_at(path).ok();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut unreadable = 0;
    for entry in processes {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if number == process::id() {
            continue;
        }
        match holds(&entry.path(), interface, path, own) {
            Ok(false) => {}
            Ok(true) => {
                return Some(format!(
                    "process {number} has the tunnel {interface} and sees this file; stop it"
                ));
            }
            // It ended meanwhile.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {}
            // The first process starts others, and some machines show it to nobody. In a container it may be our node, but there its
            // device is in this network namespace, and was looked for.
            Err(_) if number == 1 => {}
            Err(_) => unreadable += 1,
        }
    }
    (unreadable > 0).then(|| {
        format!(
            "{unreadable} processes are not shown to this one, and one of them may be its node; run `vpn-client cleanup` as root \
             in a shell, where nothing is hidden"
        )
    })
}

/// Device and number of a file: the same for two paths where they lead to one file.
fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Whether a process has the tunnel, and sees `path` as the file `own`.
fn holds(
    process: &Path,
    interface: &InterfaceName,
    path: &Path,
    own: Option<(u64, u64)>,
) -> io::Result<bool> {
    let inside = path.strip_prefix("/").unwrap_or(path);
    Ok(has_tunnel(process, interface)? && file_at(&process.join("root").join(inside)).ok() == own)
}

/// Whether a process has the TUN device of `interface` open, or its journal: the device may have another name by now.
fn has_tunnel(process: &Path, interface: &InterfaceName) -> io::Result<bool> {
    let journal = format!("{interface}.journal");
    for entry in fs::read_dir(process.join("fd"))? {
        let entry = entry?;
        let target = match fs::read_link(entry.path()) {
            Ok(target) => target,
            // Closed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            // Some kernels list the descriptors of a process to those to whom they do not show what these are.
            Err(error) => return Err(error),
        };
        let is_journal = target.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            name.strip_suffix(" (deleted)").unwrap_or(name) == journal // as the kernel shows it
        });
        let information = || fs::read_to_string(process.join("fdinfo").join(entry.file_name())).ok();
        if is_journal || is_tun(&target) && information().is_some_and(|text| is_device(&text, interface)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_tun(target: &Path) -> bool {
    target.ends_with("tun")
}

fn is_device(information: &str, interface: &InterfaceName) -> bool {
    let name = information.lines().find_map(|line| line.strip_prefix("iff:"));
    name.is_some_and(|name| name.trim() == interface.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::marker;

    #[test]
    fn a_process_with_the_journal_open_holds_the_file_that_it_sees_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let interface: InterfaceName = "holder0".parse().unwrap();
        let (path, other) = (folder.path().join("resolv.conf"), folder.path().join("other"));
        fs::write(&path, "").unwrap();
        fs::write(&other, "").unwrap();
        let here = Path::new("/proc/self");
        let (own, others) = (file_at(&path).ok(), file_at(&other).ok());
        assert!(!holds(here, &interface, &path, own).unwrap());
        let journal = folder.path().join("holder0.journal");
        let open = fs::File::create(&journal).unwrap();
        assert!(holds(here, &interface, &path, own).unwrap());
        assert!(!holds(here, &interface, &path, others).unwrap(), "it has a resolver file of its own");
        fs::remove_file(&journal).unwrap();
        assert!(holds(here, &interface, &path, own).unwrap(), "a lost journal is held all the same");
        drop(open);
        assert!(!holds(here, &interface, &path, own).unwrap());
        assert!(holds(Path::new("/proc/0"), &interface, &path, own).is_err(), "what cannot be read is told");
    }

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
