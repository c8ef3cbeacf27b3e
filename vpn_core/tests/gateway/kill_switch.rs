//! The kill switch: what a crash leaves, and what is needed for it.

use vpn_core::{
    journal::{Change, CommandError, InterfaceName, Journal},
    kill_switch::{KillSwitch, KillSwitchError, KillSwitchRequest, KillSwitchRules, rules},
    routes::{Lan, RoutingMark},
};

use crate::namespace::{assert_same, inside, sh, succeeds, system};

fn name() -> InterfaceName {
    InterfaceName::new("vpn0").unwrap()
}

fn rules_with(lan: &Lan) -> KillSwitchRules {
    rules(&KillSwitchRequest {
        interface: &name(),
        mark: RoutingMark::FIRST,
        addresses: &["10.66.0.2/32".parse().unwrap(), "fd66::2/128".parse().unwrap()],
        tunnel: &["10.66.0.2/32".parse().unwrap(), "fd66::2/128".parse().unwrap()],
        listen_port: Some(51820),
        lan,
        inbound: true,
    })
}

#[test]
fn a_crash_leaves_it_in_force_until_somebody_lifts_it() {
    if !inside("kill_switch::a_crash_leaves_it_in_force_until_somebody_lifts_it", &[]) {
        return;
    }
    let before = system();
    let directory = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(directory.path(), &name()).unwrap();
    let _engaged = KillSwitch::engage(rules_with(&Lan::Deny), &mut journal).unwrap();
    journal.record(Change::Mark { mark: 52000 }).unwrap();
    assert!(Journal::left_behind(directory.path(), &name()).unwrap().is_empty(), "its owner runs");
    journal.abandon();
    assert_eq!(Journal::left_behind(directory.path(), &name()).unwrap().len(), 2);

    let in_force = || succeeds("nft list table inet vpn_vpn0_kill_switch");
    let mut journal = Journal::open_keeping(directory.path(), &name(), Change::is_kill_switch).unwrap();
    assert!(in_force());
    assert_eq!(journal.outstanding().count(), 1, "all else is undone");
    let lan = Lan::allow(&["192.168.7.0/24".parse().unwrap()], &[]);
    let mut taken_over = KillSwitch::engage(rules_with(&lan), &mut journal).unwrap();
    assert_eq!(journal.outstanding().count(), 1, "it is listed once");
    assert!(sh("nft list table inet vpn_vpn0_kill_switch").contains("192.168.7.0/24"));
    taken_over.update(rules_with(&Lan::Deny)).unwrap();
    assert!(!sh("nft list table inet vpn_vpn0_kill_switch").contains("192.168.7.0/24"));
    sh("nft flush ruleset");
    taken_over.restore().unwrap();
    assert!(in_force());
    journal.abandon();
    Journal::open(directory.path(), &name()).unwrap().close().unwrap();
    assert_same(&before, &system());
}

#[test]
fn without_nft_it_is_refused_by_name_and_nothing_is_left_to_undo() {
    if !inside("kill_switch::without_nft_it_is_refused_by_name_and_nothing_is_left_to_undo", &["nft"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(directory.path(), &name()).unwrap();
    let error = KillSwitch::engage(rules_with(&Lan::Deny), &mut journal).unwrap_err();
    assert!(matches!(error, KillSwitchError::Command(CommandError::Missing { .. })), "{error}");
    assert!(error.to_string().contains("package nftables"), "{error}");
    journal.close().unwrap();
}
