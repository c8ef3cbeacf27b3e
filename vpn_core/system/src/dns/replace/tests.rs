use super::*;
use std::os::unix::fs::{MetadataExt as _, symlink};

const OURS: &str = "nameserver 10.66.0.1\n";
const THEIRS: &str = "nameserver 192.0.2.1\noptions edns0\n";

/// A folder with a resolver file, as `/etc`, and one for journals.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        fs::create_dir(host.0.path().join("etc")).unwrap();
        host
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("etc/resolv.conf")
    }

    fn journal(&self, interface: &InterfaceName) -> Journal {
        let state = self.0.path().join("state");
        Journal::open(&state, interface).unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// Names, kinds and contents of all that is in the folder.
    fn everything(&self) -> Vec<String> {
        let mut all: Vec<String> = fs::read_dir(self.0.path().join("etc"))
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                let contents = match fs::read_link(&path) {
                    Ok(target) => format!("-> {}", target.display()),
                    Err(_) => fs::read_to_string(&path).unwrap(),
                };
                let (mode, inode) = (metadata.mode(), metadata.ino());
                let time = metadata.modified().unwrap();
                format!("{} {mode:o} {inode} {time:?} {contents}", path.display())
            })
            .collect();
        all.sort();
        all
    }
}

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn text_of(interface: &InterfaceName) -> String {
    format!("{}\n{OURS}", crate::journal::marker(interface))
}

fn place(host: &Host, interface: &InterfaceName, journal: &mut Journal) -> ReplacedFile {
    ReplacedFile::place(&host.file(), interface, &text_of(interface), journal).unwrap()
}

#[test]
fn a_file_a_link_and_nothing_at_all_come_back_as_they_were_after_a_stop_and_after_a_crash() {
    let prepare: [fn(&Host); 4] = [
        |host| {
            fs::write(host.file(), THEIRS).unwrap();
            fs::set_permissions(host.file(), fs::Permissions::from_mode(0o640)).unwrap();
        },
        |host| {
            fs::write(host.0.path().join("dynamic"), THEIRS).unwrap();
            symlink("../dynamic", host.file()).unwrap();
        },
        |host| symlink("/nonexistent/resolv.conf", host.file()).unwrap(),
        |_| {},
    ];
    let interface = name("vpn0");
    for prepare in prepare {
        for crash in [false, true] {
            let host = Host::new();
            prepare(&host);
            let before = host.everything();
            let mut journal = host.journal(&interface);
            let placed = place(&host, &interface, &mut journal);
            assert_eq!(host.text(), text_of(&interface));
            assert_eq!(fs::symlink_metadata(host.file()).unwrap().mode() & 0o7777, MODE);
            if crash {
                journal.abandon();
                drop(host.journal(&interface)); // The next start.
            } else {
                journal.undo(&[placed.entry()]).unwrap();
            }
            assert_eq!(host.everything(), before);
        }
    }
}

/// What a crash comes after, and how that is made.
type Step<'a> = (&'a str, &'a dyn Fn(&Host));

#[test]
fn a_crash_between_any_two_steps_loses_nothing() {
    let interface = name("vpn0");
    let (kept, made) = (
        |host: &Host| kept_beside(&host.file(), &interface),
        |host: &Host| made_beside(&host.file(), &interface),
    );
    let unfinished = |host: &Host| unfinished_beside(&host.file(), &interface);
    let steps: [Step<'_>; 6] = [
        ("begun to write", &|host| fs::write(unfinished(host), "").unwrap()),
        ("begun to write other servers", &|host| {
            fs::rename(host.file(), kept(host)).unwrap();
            fs::write(host.file(), text_of(&interface)).unwrap();
            fs::write(unfinished(host), "").unwrap();
        }),
        ("begun to write once more, in place of one that somebody removed", &|host| {
            fs::rename(host.file(), kept(host)).unwrap();
            fs::write(unfinished(host), "").unwrap();
        }),
        ("written", &|host| fs::write(made(host), text_of(&interface)).unwrap()),
        ("exchanged", &|host| {
            fs::rename(host.file(), made(host)).unwrap();
            fs::write(host.file(), text_of(&interface)).unwrap();
        }),
        ("exchanged again, over an older file from before", &|host| {
            fs::write(kept(host), "nameserver 192.0.2.99\n").unwrap();
            fs::rename(host.file(), made(host)).unwrap();
            fs::write(host.file(), text_of(&interface)).unwrap();
        }),
    ];
    for (step, make) in steps {
        let host = Host::new();
        fs::write(host.file(), THEIRS).unwrap();
        let before = host.everything();
        let mut journal = host.journal(&interface);
        journal.record(change(&host.file(), &interface, Kept::Beside)).unwrap();
        make(&host);
        journal.abandon();
        drop(host.journal(&interface));
        assert_eq!(host.everything(), before, "{step}");
    }
}

#[test]
fn a_file_that_somebody_else_writes_is_replaced_again_and_theirs_comes_back_in_the_end() {
    let interface = name("vpn0");
    let by_renaming: fn(&Path) = |path| {
        let new = path.with_extension("dhcp");
        fs::write(&new, "nameserver 192.0.2.2\n").unwrap();
        fs::rename(new, path).unwrap();
    };
    let in_place: fn(&Path) = |path| fs::write(path, "nameserver 192.0.2.2\n").unwrap();
    for overwrite in [by_renaming, in_place] {
        let host = Host::new();
        fs::write(host.file(), THEIRS).unwrap();
        let mut journal = host.journal(&interface);
        let mut placed = place(&host, &interface, &mut journal);
        assert!(!placed.keep_up(&text_of(&interface), &mut journal).unwrap(), "it is ours");
        overwrite(&host.file());
        assert!(placed.keep_up(&text_of(&interface), &mut journal).unwrap());
        assert_eq!(host.text(), text_of(&interface));
        journal.undo_all().unwrap();
        assert_eq!(host.text(), "nameserver 192.0.2.2\n");
        assert_eq!(host.everything().len(), 1);
    }
}

#[test]
fn a_file_that_was_removed_is_made_again_and_the_one_from_before_comes_back() {
    let (host, interface) = (Host::new(), name("vpn0"));
    fs::write(host.file(), THEIRS).unwrap();
    let before = host.everything();
    let mut journal = host.journal(&interface);
    let mut placed = place(&host, &interface, &mut journal);
    fs::remove_file(host.file()).unwrap();
    assert!(placed.keep_up(&text_of(&interface), &mut journal).unwrap());
    journal.undo_all().unwrap();
    assert_eq!(host.everything(), before);
}

#[test]
fn a_file_that_was_removed_while_nobody_looked_comes_back_as_it_was_before() {
    let (host, interface) = (Host::new(), name("vpn0"));
    fs::write(host.file(), THEIRS).unwrap();
    let before = host.everything();
    let mut journal = host.journal(&interface);
    let _placed = place(&host, &interface, &mut journal);
    journal.abandon();
    fs::remove_file(host.file()).unwrap();
    drop(host.journal(&interface));
    assert_eq!(host.everything(), before);
}

#[test]
fn what_somebody_else_wrote_while_nobody_looked_stays() {
    let (host, interface) = (Host::new(), name("vpn0"));
    fs::write(host.file(), THEIRS).unwrap();
    let mut journal = host.journal(&interface);
    let _placed = place(&host, &interface, &mut journal);
    fs::write(host.file(), "nameserver 192.0.2.2\n").unwrap();
    journal.undo_all().unwrap();
    assert_eq!(host.text(), "nameserver 192.0.2.2\n");
    assert_eq!(host.everything().len(), 1, "nothing is left beside it");
}

#[test]
fn two_tunnels_that_go_in_either_order_leave_the_file_from_before_both() {
    for first_goes_first in [true, false] {
        let (host, first, second) = (Host::new(), name("vpn0"), name("vpn1"));
        fs::write(host.file(), THEIRS).unwrap();
        let before = host.everything();
        let (mut journals, mut placed) = (Vec::new(), Vec::new());
        for interface in [&first, &second] {
            journals.push(host.journal(interface));
            placed.push(place(&host, interface, journals.last_mut().unwrap()));
        }
        let kept = placed[0].keep_up(&text_of(&first), &mut journals[0]).unwrap();
        assert!(!kept, "tunnels do not fight over the file");
        let (goes, stays) = if first_goes_first { (0, &second) } else { (1, &first) };
        journals[goes].undo_all().unwrap();
        assert_eq!(host.text(), text_of(stays));
        journals[1 - goes].undo_all().unwrap();
        assert_eq!(host.everything(), before);
    }
}

#[test]
fn after_a_reboot_a_file_that_still_is_ours_is_put_back() {
    let (host, interface) = (Host::new(), name("vpn0"));
    fs::write(host.file(), THEIRS).unwrap();
    let before = host.everything();
    let mut journal = host.journal(&interface);
    let _placed = place(&host, &interface, &mut journal);
    journal.abandon();
    let path = host.0.path().join("state/vpn0.journal");
    let text = fs::read_to_string(&path).unwrap();
    let (header, entries) = text.split_once('\n').unwrap();
    let header = header.replace("\"boot\":\"", "\"boot\":\"another-");
    fs::write(&path, format!("{header}\n{entries}")).unwrap();
    let journal = host.journal(&interface);
    assert_eq!(host.everything(), before);
    assert_eq!(journal.outstanding().count(), 0);
    journal.close().unwrap();
}

#[test]
fn a_file_that_can_only_be_written_comes_back_with_its_contents_and_time() {
    for crash in [false, true] {
        let (host, interface) = (Host::new(), name("vpn0"));
        fs::write(host.file(), THEIRS).unwrap();
        let before = host.everything();
        let mut journal = host.journal(&interface);
        let (entry, inside) =
            write_in_place(&host.file(), &interface, &text_of(&interface), &mut journal).unwrap();
        assert_eq!((inside.as_str(), host.text()), (THEIRS, text_of(&interface)));
        let mut placed =
            ReplacedFile { path: host.file(), interface: interface.clone(), entry, inside: Some(inside) };
        assert!(!placed.keep_up(&text_of(&interface), &mut journal).unwrap());
        if crash {
            journal.abandon();
            drop(host.journal(&interface));
        } else {
            journal.undo_all().unwrap();
        }
        assert_eq!(host.everything(), before);
    }
}

#[test]
fn a_file_that_can_only_be_written_is_written_again_and_theirs_comes_back() {
    let (host, interface) = (Host::new(), name("vpn0"));
    fs::write(host.file(), THEIRS).unwrap();
    let mut journal = host.journal(&interface);
    let (entry, inside) =
        write_in_place(&host.file(), &interface, &text_of(&interface), &mut journal).unwrap();
    let mut placed =
        ReplacedFile { path: host.file(), interface: interface.clone(), entry, inside: Some(inside) };
    fs::write(host.file(), "nameserver 192.0.2.2\n").unwrap();
    assert!(placed.keep_up(&text_of(&interface), &mut journal).unwrap());
    assert_eq!(placed.inside(), Some("nameserver 192.0.2.2\n"));
    journal.undo_all().unwrap();
    assert_eq!(host.text(), "nameserver 192.0.2.2\n");
    let other = text_of(&name("vpn1"));
    fs::write(host.file(), &other).unwrap();
    let taken = write_in_place(&host.file(), &interface, &text_of(&interface), &mut journal);
    assert!(matches!(taken, Err(DnsError::Taken { .. })));
    assert_eq!(host.text(), other);
}
