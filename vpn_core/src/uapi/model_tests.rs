//! The model against single cases, and against a slow and obvious one.

use super::*;
use proptest::prelude::*;

fn key(n: u8) -> X25519PublicKey {
    X25519PublicKey([n; 32])
}

fn prefix(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn update(n: u8) -> PeerUpdate {
    PeerUpdate::new(key(n))
}

fn peers(updates: Vec<PeerUpdate>) -> SetRequest {
    SetRequest { peers: updates, ..SetRequest::default() }
}

fn with_ips(n: u8, prefixes: &[&str]) -> PeerUpdate {
    PeerUpdate {
        allowed_ips: prefixes.iter().map(|text| AllowedIp::Add(prefix(text))).collect(),
        ..update(n)
    }
}

fn ips(model: &Model, n: u8) -> Vec<String> {
    model.peer(&key(n)).expect("a peer").allowed_ips.iter().map(ToString::to_string).collect()
}

#[test]
fn an_allowed_ip_given_to_one_peer_is_taken_from_the_other() {
    let mut model = Model::default();
    model.apply(peers(vec![with_ips(1, &["10.0.0.0/8", "10.1.0.0/16"])]));
    let plan = model.apply(peers(vec![with_ips(2, &["10.1.0.0/16"])]));
    assert_eq!((ips(&model, 1), ips(&model, 2)), (vec!["10.0.0.0/8".into()], vec!["10.1.0.0/16".into()]));
    assert_eq!(plan.updated, [(key(1), None), (key(2), None)]);
}

#[test]
fn update_only_makes_no_peer_and_changes_one_that_is_there() {
    let mut model = Model::default();
    let plan = model.apply(peers(vec![PeerUpdate { update_only: true, ..with_ips(1, &["10.0.0.0/8"]) }]));
    assert_eq!(plan, Plan::default());
    assert!(model.peer(&key(1)).is_none());
    model.apply(peers(vec![with_ips(1, &["10.0.0.0/8"])]));
    model.apply(peers(vec![PeerUpdate { update_only: true, persistent_keepalive: Some(9), ..update(1) }]));
    assert_eq!(model.peer(&key(1)).expect("there").persistent_keepalive, 9);
    assert_eq!(ips(&model, 1), ["10.0.0.0/8"]);
}

#[test]
fn replaced_peers_begin_anew_and_the_others_are_gone() {
    let mut model = Model::default();
    model.apply(peers(vec![with_ips(1, &["10.0.0.0/8"]), with_ips(2, &["10.2.0.0/16"])]));
    let plan = model.apply(SetRequest { replace_peers: true, ..peers(vec![update(2)]) });
    assert_eq!((plan.removed, plan.updated), (vec![key(1), key(2)], vec![(key(2), None)]));
    assert!(model.peer(&key(1)).is_none() && ips(&model, 2).is_empty());
}

#[test]
fn a_peer_with_our_own_key_is_passed_over_and_one_that_turns_out_to_be_us_is_removed() {
    let secret = || SecretBytes::new([7; 32]);
    let mut clamped = secret();
    clamped.expose_mut()[0] &= 0xf8;
    clamped.expose_mut()[31] |= 0x40;
    let own = X25519SecretKey::new(&clamped).public_key();
    let mut model = Model::default();
    model.apply(peers(vec![PeerUpdate::new(own)]));
    assert!(model.peer(&own).is_some());
    let with_key = |updates| SetRequest { private_key: Some(secret()), ..peers(updates) };
    let plan = model.apply(with_key(vec![PeerUpdate::new(own)]));
    assert_eq!((plan.key_changed, plan.removed), (true, vec![own]));
    assert!(model.peer(&own).is_none());
    assert!(model.private_key().is_some_and(|key| key.ct_eq(&clamped)));
    assert_eq!(model.apply(with_key(Vec::new())), Plan::default(), "the same key again is no change");
}

#[test]
fn an_all_zero_private_key_removes_the_key() {
    let mut model = Model::default();
    model.apply(SetRequest { private_key: Some(SecretBytes::new([7; 32])), ..SetRequest::default() });
    let none = || SetRequest { private_key: Some(SecretBytes::ZERO), ..SetRequest::default() };
    assert!(model.apply(none()).key_changed);
    assert!(model.private_key().is_none());
    assert!(!model.apply(none()).key_changed);
}

#[test]
fn the_last_endpoint_of_a_request_is_the_one_to_move_to() {
    let mut model = Model::default();
    let at = |port| PeerUpdate { endpoint: Some(SocketAddr::from(([192, 0, 2, 1], port))), ..update(1) };
    let plan = model.apply(peers(vec![at(1), at(2), update(1)]));
    assert_eq!(plan.updated, [(key(1), Some(SocketAddr::from(([192, 0, 2, 1], 2))))]);
    let plan = model.apply(peers(vec![update(1)]));
    assert_eq!(plan.updated, [(key(1), None)], "a peer that roamed is left where it is");
}

/// Peers and who has what, changed line by line as the protocol's text says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Obvious(Vec<(u8, u16, BTreeSet<IpNet>)>);

impl Obvious {
    fn apply(&mut self, set: &SetRequest) {
        if set.replace_peers {
            self.0.clear();
        }
        for update in &set.peers {
            let n = update.public_key.0[0];
            if update.remove {
                self.0.retain(|peer| peer.0 != n);
                continue;
            }
            if !self.0.iter().any(|peer| peer.0 == n) {
                if update.update_only {
                    continue;
                }
                self.0.push((n, 0, BTreeSet::new()));
            }
            let at = self.0.iter().position(|peer| peer.0 == n).expect("just made");
            if let Some(seconds) = update.persistent_keepalive {
                self.0[at].1 = seconds;
            }
            if update.replace_allowed_ips {
                self.0[at].2.clear();
            }
            for change in &update.allowed_ips {
                match change {
                    AllowedIp::Add(prefix) => {
                        self.0.iter_mut().for_each(|peer| {
                            peer.2.remove(prefix);
                        });
                        self.0[at].2.insert(*prefix);
                    }
                    AllowedIp::Remove(prefix) => {
                        self.0[at].2.remove(prefix);
                    }
                }
            }
        }
        self.0.sort();
    }
}

fn any_update() -> impl Strategy<Value = PeerUpdate> {
    let ip = (any::<bool>(), 0..6_u8).prop_map(|(add, n)| {
        let prefix = prefix(&format!("10.{n}.0.0/16"));
        if add { AllowedIp::Add(prefix) } else { AllowedIp::Remove(prefix) }
    });
    let flags = (prop::bool::weighted(0.2), prop::bool::weighted(0.3), any::<bool>());
    let ips = proptest::collection::vec(ip, 0..4);
    (0..4_u8, flags, proptest::option::of(0..3_u16), ips).prop_map(|(n, flags, keepalive, allowed_ips)| {
        PeerUpdate {
            remove: flags.0,
            update_only: flags.1,
            replace_allowed_ips: flags.2,
            persistent_keepalive: keepalive,
            allowed_ips,
            ..update(n)
        }
    })
}

fn any_request() -> impl Strategy<Value = SetRequest> {
    let updates = proptest::collection::vec(any_update(), 0..5);
    (prop::bool::weighted(0.2), updates)
        .prop_map(|(replace_peers, updates)| SetRequest { replace_peers, ..peers(updates) })
}

proptest! {
    #[test]
    fn model_and_plan_agree_with_a_slow_and_obvious_model(
        requests in proptest::collection::vec(any_request(), 0..8),
    ) {
        let (mut model, mut obvious, mut device) = (Model::default(), Obvious::default(), Obvious::default());
        for request in requests {
            obvious.apply(&request);
            let plan = model.apply(request);
            // A device that only ever hears of the plans.
            device.0.retain(|peer| !plan.removed.contains(&key(peer.0)));
            for (key, _) in &plan.updated {
                let wanted = model.peer(key).expect("what is updated exists");
                device.0.retain(|peer| peer.0 != key.0[0]);
                device.0.push((key.0[0], wanted.persistent_keepalive, wanted.allowed_ips.clone()));
            }
            device.0.sort();
            let seen: Vec<_> = model
                .peers()
                .into_iter()
                .map(|(key, peer)| (key.0[0], peer.persistent_keepalive, peer.allowed_ips.clone()))
                .collect();
            prop_assert_eq!(&seen, &obvious.0);
            prop_assert_eq!(&device, &obvious);
            prop_assert_eq!(model.owners.len(), seen.iter().map(|peer| peer.2.len()).sum::<usize>());
        }
    }
}
