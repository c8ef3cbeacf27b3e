//! The journal: locks, damage, crashes, sysctls.

use std::{fs, path::Path};

use vpn_core::journal::{Change, InterfaceName, Journal, JournalError, sysctl};

use crate::namespace::{inside, sh};

const KEY: &str = "net/ipv4/ip_forward";

fn open(directory: &Path, interface: &str) -> Journal {
    Journal::open(directory, &InterfaceName::new(interface).unwrap()).unwrap()
}

fn mark() -> Change {
    Change::Mark { mark: 52000 }
}

#[test]
fn a_second_instance_is_refused_until_the_first_has_gone() {
    let directory = tempfile::tempdir().unwrap();
    let name = InterfaceName::new("vpn0").unwrap();
    let first = open(directory.path(), "vpn0");
    let error = Journal::open(directory.path(), &name).unwrap_err();
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    let other = open(directory.path(), "vpn1");
    first.close().unwrap();
    other.close().unwrap();
    assert!(Journal::open(directory.path(), &name).is_ok());
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        0,
        "closed and dropped journals leave no file"
    );
}

#[test]
fn a_torn_last_line_is_cut_off_and_the_rest_is_undone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vpn0.journal");
    let mut journal = open(directory.path(), "vpn0");
    journal.record(mark()).unwrap();
    journal.abandon();
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"made\":{\"id\":1,\"cha");
    fs::write(&path, text).unwrap();
    let mut journal = open(directory.path(), "vpn0");
    assert_eq!(journal.outstanding().count(), 0);
    journal.record(mark()).unwrap();
    journal.abandon();
    let journal = open(directory.path(), "vpn0");
    journal.close().unwrap();
    assert!(!path.exists());
}

#[test]
fn a_damaged_journal_is_set_aside_and_keeps_nobody_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vpn0.journal");
    for round in 1..=10_u32 {
        let mut journal = open(directory.path(), "vpn0");
        journal.record(mark()).unwrap();
        journal.abandon();
        let damaged = fs::read_to_string(&path).unwrap().replace("made", "\u{1}");
        fs::write(&path, &damaged).unwrap();
        open(directory.path(), "vpn0").close().unwrap();
        assert!(!path.exists());
        let kept = directory.path().join(format!("vpn0.journal.damaged-{}", round.min(8)));
        assert_eq!(fs::read_to_string(kept).unwrap(), damaged);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 8, "no more of them are kept");
    assert!(Journal::left_behind(directory.path(), &InterfaceName::new("vpn0").unwrap()).unwrap().is_empty());
}

/// As the programs make it, in short.
const KILL_SWITCH: &str = "table inet vpn_vpn0_kill_switch {
    chain input {
        type filter hook input priority filter; policy drop;
        iifname { \"lo\", \"vpn0\" } accept
        ct mark 52000 accept
    }
    chain forward { type filter hook forward priority filter; policy drop; }
    chain output { type filter hook output priority filter; policy drop; }
}";

#[test]
fn a_kill_switch_in_a_line_that_cannot_be_read_is_known_all_the_same() {
    if !inside("journal::a_kill_switch_in_a_line_that_cannot_be_read_is_known_all_the_same", &[]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (path, name) = (directory.path().join("vpn0.journal"), InterfaceName::new("vpn0").unwrap());
    let table = Change::KillSwitch { table: "vpn_vpn0_kill_switch".into() };
    let nft = |arguments: &[&str]| vpn_core::journal::run("nft", arguments, None);
    let mut journal = open(directory.path(), "vpn0");
    journal.record(table.clone()).unwrap();
    journal.abandon();
    nft(&[KILL_SWITCH]).unwrap();
    nft(&["add", "table", "inet", "vpn_other"]).unwrap();
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("made", "\u{1}")).unwrap();
    assert_eq!(Journal::left_behind(directory.path(), &name).unwrap(), std::slice::from_ref(&table));
    let journal = Journal::open_keeping(directory.path(), &name, Change::is_kill_switch).unwrap();
    assert_eq!(journal.outstanding().map(|(_, change)| change).collect::<Vec<_>>(), [&table]);
    journal.abandon();
    assert_eq!(Journal::left_behind(directory.path(), &name).unwrap(), [table], "written down again");
    open(directory.path(), "vpn0").close().unwrap();
    assert_eq!(nft(&["list", "tables"]).unwrap().trim(), "table inet vpn_other");
}

#[test]
fn without_a_journal_a_table_of_ours_is_known_unless_its_device_is_there() {
    if !inside("journal::without_a_journal_a_table_of_ours_is_known_unless_its_device_is_there", &[]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (path, name) = (directory.path().join("vpn0.journal"), InterfaceName::new("vpn0").unwrap());
    let tables = || sh("nft list tables").trim().to_owned();
    let damages: [fn(&Path); 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, "").unwrap(),
        |path| fs::write(path, [0; 300]).unwrap(),
        |path| {
            let header = fs::read_to_string(path).unwrap().lines().next().unwrap().to_owned() + "\n";
            fs::write(path, header).unwrap();
        },
    ];
    for damage in damages {
        let table = Change::KillSwitch { table: "vpn_vpn0_kill_switch".into() };
        let mut journal = open(directory.path(), "vpn0");
        journal.record(table.clone()).unwrap();
        journal.abandon();
        sh(&format!("nft '{KILL_SWITCH}'; ip tuntap add vpn0 mode tun"));
        damage(&path);
        assert!(Journal::left_behind(directory.path(), &name).unwrap().is_empty(), "somebody may live");
        open(directory.path(), "vpn0").close().unwrap();
        assert_eq!(tables(), "table inet vpn_vpn0_kill_switch");
        sh("ip link delete vpn0");
        assert_eq!(Journal::left_behind(directory.path(), &name).unwrap(), std::slice::from_ref(&table));
        let journal = Journal::open_keeping(directory.path(), &name, Change::is_kill_switch).unwrap();
        assert!(journal.had_changes());
        journal.abandon();
        open(directory.path(), "vpn0").close().unwrap();
        assert_eq!(tables(), "");
        sh("nft add table inet vpn_vpn0_kill_switch");
        assert!(Journal::left_behind(directory.path(), &name).unwrap().is_empty(), "a name is no evidence");
        open(directory.path(), "vpn0").close().unwrap();
        assert_eq!(tables(), "table inet vpn_vpn0_kill_switch");
        sh("nft delete table inet vpn_vpn0_kill_switch");
    }
}

#[test]
fn a_bit_flipped_by_a_bad_disk_leaves_nothing_behind() {
    if !inside("journal::a_bit_flipped_by_a_bad_disk_leaves_nothing_behind", &[]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vpn0.journal");
    for step in 0..40 {
        let mut journal = open(directory.path(), "vpn0");
        journal.set_sysctl(KEY, "1", &[]).unwrap();
        journal.abandon();
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() * step / 40;
        bytes[at] ^= 1 << (step % 8);
        fs::write(&path, bytes).unwrap();
        open(directory.path(), "vpn0").close().unwrap();
        assert_eq!(sysctl::read(KEY).unwrap(), "0", "byte {at}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_link_in_the_place_of_a_journal_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = directory.path().join("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, directory.path().join("vpn0.journal")).unwrap();
    assert!(Journal::open(directory.path(), &InterfaceName::new("vpn0").unwrap()).is_err());
    assert!(!elsewhere.exists());
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = Journal::open(directory.path(), &InterfaceName::new("vpn0").unwrap()).unwrap_err();
    assert!(matches!(error, JournalError::NotPrivate { .. }), "{error}");
}

#[test]
fn files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;

    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("vpn");
    let _journal = open(&directory, "vpn0");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&directory.join("vpn0.journal"))), (0o700, 0o600));
}

#[test]
fn a_sysctl_is_put_back_after_a_crash() {
    if !inside("journal::a_sysctl_is_put_back_after_a_crash", &[]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path(), "vpn0");
    journal.set_sysctl(KEY, "1", &[]).unwrap();
    assert_eq!(sysctl::read(KEY).unwrap(), "1");
    journal.abandon();
    let journal = open(directory.path(), "vpn0");
    assert_eq!(sysctl::read(KEY).unwrap(), "0");
    assert_eq!(journal.outstanding().count(), 0);
}

#[test]
fn a_sysctl_that_somebody_set_since_is_left_alone() {
    if !inside("journal::a_sysctl_that_somebody_set_since_is_left_alone", &[]) {
        return;
    }
    let key = "net/ipv4/conf/all/rp_filter";
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path(), "vpn0");
    journal.set_sysctl(key, "1", &[]).unwrap();
    sysctl::write(key, "2").unwrap();
    journal.close().unwrap();
    assert_eq!(sysctl::read(key).unwrap(), "2");
}

#[test]
fn a_sysctl_of_two_instances_stays_until_both_have_stopped() {
    if !inside("journal::a_sysctl_of_two_instances_stays_until_both_have_stopped", &[]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for first_crashes in [false, true] {
        let mut first = open(directory.path(), "vpn0");
        first.set_sysctl(KEY, "1", &[]).unwrap();
        let mut second = open(directory.path(), "vpn1");
        second.set_sysctl(KEY, "1", &[]).unwrap();
        if first_crashes {
            first.abandon();
            open(directory.path(), "vpn0").close().unwrap();
        } else {
            first.close().unwrap();
        }
        assert_eq!(sysctl::read(KEY).unwrap(), "1", "the second needs it");
        second.close().unwrap();
        assert_eq!(sysctl::read(KEY).unwrap(), "0", "the second inherited the value from before both");
    }
}

#[test]
fn changes_of_an_earlier_boot_are_not_undone() {
    if !inside("journal::changes_of_an_earlier_boot_are_not_undone", &[]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path(), "vpn0");
    journal.set_sysctl(KEY, "1", &[]).unwrap();
    journal.abandon();
    let path = directory.path().join("vpn0.journal");
    let boot = sysctl::read("kernel/random/boot_id").unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(&boot));
    fs::write(&path, text.replace(&boot, "another")).unwrap();
    // Since that boot the administrator wants forwarding.
    open(directory.path(), "vpn0").close().unwrap();
    assert_eq!(sysctl::read(KEY).unwrap(), "1");
}
