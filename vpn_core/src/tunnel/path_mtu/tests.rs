//! Searches over paths that lose what is too long, or a few probes more.

use super::*;
use proptest::prelude::*;

const V6: MtuPolicy = MtuPolicy { mode: MtuMode::Within, floor: 1280 };

fn begin(path: &mut PathMtu, endpoint: &str) {
    path.searched = None; // long ago
    path.begin(Some(endpoint.parse().expect("an address")), Instant::now());
}

/// Runs a search over a path that loses what `passes` refuses; how long it took and how many probes.
fn run(
    path: &mut PathMtu,
    policy: MtuPolicy,
    interface: u16,
    start: Instant,
    mut passes: impl FnMut(Probe) -> bool,
) -> (Duration, usize) {
    let (mut now, mut sent) = (start, 0);
    for id in 0.. {
        let probes = path.poll(policy, interface, || id, now);
        sent += probes.len();
        for probe in probes {
            assert!(probe.size <= path.full(policy, interface));
            if passes(probe) {
                path.handle_answer(probe.id, probe.size, now);
            }
        }
        if let Search::Resting { .. } = path.search {
            return (now - start, sent);
        }
        now = path.next_timeout().expect("it is running").max(now);
    }
    unreachable!("a search ends");
}

#[test]
fn a_wide_path_costs_two_probes_and_is_looked_at_again_after_ten_minutes() {
    let (mut path, start) = (PathMtu::default(), Instant::now());
    assert_eq!(run(&mut path, V6, 1420, start, |_| true), (Duration::ZERO, 2));
    assert_eq!(path.limit(V6, 1420), 1420);
    assert!(path.poll(V6, 1420, || 9, start + Duration::from_secs(599)).is_empty());
    assert_eq!(path.poll(V6, 1420, || 9, start + TRUSTED).len(), 2);
}

#[test]
fn a_narrow_path_is_found_within_three_seconds_to_a_few_bytes() {
    for passing in [1201, 1240, 1280, 1300, 1340, 1372, 1412, 1419] {
        let (mut path, start) = (PathMtu::default(), Instant::now());
        begin(&mut path, "192.0.2.1:1");
        let (took, sent) = run(&mut path, V6, 1420, start, |probe| probe.size <= passing);
        assert!(took < Duration::from_secs(3) && sent < 50, "{passing}: {took:?}, {sent} probes");
        let whole = path.found.expect("it ended").passes;
        assert!((passing - RESOLUTION..=passing).contains(&whole), "{passing}: {whole}");
        assert_eq!((path.limit(V6, 1420), path.must_be_cut_here(V6, 1420)), (whole.max(1280), false));
    }
}

#[test]
fn what_must_pass_over_a_narrow_ipv6_path_is_cut_here() {
    let mut path = PathMtu::default();
    begin(&mut path, "[2001:db8::1]:1");
    run(&mut path, V6, 1420, Instant::now(), |probe| probe.size <= 1200);
    assert_eq!((path.limit(V6, 1420), path.must_be_cut_here(V6, 1420)), (1280, true));
    path.doubt();
    run(&mut path, V6, 1420, Instant::now(), |probe| probe.size <= 1300);
    assert!(!path.must_be_cut_here(V6, 1420), "all that must pass does");
    begin(&mut path, "[2001:db8::2]:1");
    run(&mut path, V6, 1420, Instant::now(), |_| true);
    assert_eq!(path.limit(V6, 1420), 1420, "another path, another try");
}

#[test]
fn what_is_cut_here_is_looked_at_again_before_the_kernel_forgets() {
    let (mut path, start) = (PathMtu::default(), Instant::now());
    begin(&mut path, "[2001:db8::1]:1");
    let (took, _) = run(&mut path, V6, 1420, start, |probe| probe.size <= 1200);
    assert_eq!(path.next_timeout(), Some(start + took + Duration::from_secs(540)));
    begin(&mut path, "192.0.2.1:1");
    let (took, _) = run(&mut path, V6, 1420, start, |probe| probe.size <= 1200);
    assert_eq!(path.next_timeout(), Some(start + took + TRUSTED), "over IPv4 nobody has to be told");
}

#[test]
fn one_lost_answer_narrows_no_path_whenever_it_is_lost() {
    for lost in 0..40 {
        let (mut path, mut number) = (PathMtu::default(), 0);
        begin(&mut path, "192.0.2.1:1");
        run(&mut path, V6, 1420, Instant::now(), |probe| {
            number += 1;
            number - 1 != lost && probe.size <= 1340
        });
        let whole = path.found.expect("it ended").passes;
        assert!((1340 - RESOLUTION..=1340).contains(&whole), "{whole} without answer {lost}");
    }
}

#[test]
fn an_address_that_moves_with_every_packet_is_searched_every_five_seconds() {
    let (mut path, start) = (PathMtu::default(), Instant::now());
    let mut at = Vec::new();
    for step in 0..200_u16 {
        let after = Duration::from_millis(u64::from(step) * 100);
        path.begin(Some(SocketAddr::from(([192, 0, 2, 1], step))), start + after);
        let sent = path.poll(V6, 1420, || step.into(), start + after).len();
        assert!(sent == 0 || sent == 2);
        at.extend((sent > 0).then_some(after.as_secs()));
    }
    assert_eq!(at, [0, 5, 10, 15]);
    // What this host itself notices does not wait.
    path.doubt();
    assert_eq!(path.poll(V6, 1420, || 9, start + Duration::from_secs(20)).len(), 2);
    path.doubt();
    assert_eq!(path.poll(V6, 1420, || 9, start + Duration::from_secs(20)).len(), 2);
}

#[test]
fn a_dead_path_is_not_called_narrow() {
    let (mut path, start) = (PathMtu::default(), Instant::now());
    run(&mut path, V6, 1420, start, |_| false);
    assert_eq!((path.found, path.limit(V6, 1420)), (None, 1420));
    // It dies in the middle of a search.
    path.doubt();
    let mut left = 2;
    run(&mut path, V6, 1420, start, |probe| {
        left -= i32::from(probe.size <= 1300 && left > 0);
        probe.size <= 1300 && left > 0
    });
    assert_eq!(path.found, None);
    assert!(!path.poll(V6, 1420, || 9, start + REST + 20 * ROUND).is_empty(), "tried again");
}

#[test]
fn a_given_mtu_is_kept_where_pieces_pass_and_left_where_they_do_not() {
    let policy = MtuPolicy { mode: MtuMode::Given, floor: 1280 };
    let (mut path, start) = (PathMtu::default(), Instant::now());
    run(&mut path, policy, 9000, start, |probe| probe.may_be_cut || probe.size <= 1440);
    assert_eq!(path.limit(policy, 9000), u16::MAX);
    path.forget();
    run(&mut path, policy, 9000, start, |probe| probe.size <= 1440);
    assert!((1430..=1440).contains(&path.limit(policy, 9000)), "{path:?}");
}

#[test]
fn the_full_size_is_what_route_and_peer_allow() {
    let mut path = PathMtu::default();
    let follow = MtuPolicy { mode: MtuMode::Follow, floor: 1280 };
    assert_eq!((path.full(follow, 1420), path.full(V6, 1400)), (DEFAULT_TUNNEL_MTU, 1400));
    path.set_route(Some(8940));
    assert_eq!(path.full(follow, 1420), DEFAULT_TUNNEL_MTU, "more only if the peer says so");
    path.set_announced(8900);
    assert_eq!((path.full(follow, 1420), path.full(V6, 1420)), (8900, 1420));
    path.set_route(Some(1232));
    assert_eq!((path.full(follow, 1420), path.full(V6, 1420)), (1280, 1280), "IPv6 needs that much");
    path.set_announced(0);
    path.set_route(None);
    assert_eq!(path.full(V6, 1420), 1420, "a peer that says nothing useful");
    let by_hand = MtuPolicy { mode: MtuMode::Given, floor: 1280 };
    assert_eq!((path.full(by_hand, 576), path.limit(MtuPolicy::UNLIMITED, 576)), (576, u16::MAX));
}

#[test]
fn answers_to_an_earlier_search_say_nothing() {
    let (mut path, now) = (PathMtu::default(), Instant::now());
    assert_eq!(path.poll(V6, 1420, || 7, now).len(), 2);
    path.doubt();
    assert_eq!(path.poll(V6, 1420, || 8, now).len(), 2);
    assert!(!path.handle_answer(7, 1420, now) && !path.handle_answer(8, 1421, now));
    assert!(path.handle_answer(8, 1420, now));
}

proptest! {
    #[test]
    fn a_search_ends_and_never_says_more_than_passes(
        passing in 0_u16..9100,
        full in 1280_u16..9000,
        losses in proptest::collection::vec(any::<bool>(), 0..60),
        given: bool,
    ) {
        let policy = MtuPolicy { mode: if given { MtuMode::Given } else { MtuMode::Within }, floor: 1280 };
        let (mut path, mut losses) = (PathMtu::default(), losses.into_iter());
        let (took, sent) = run(&mut path, policy, full, Instant::now(), |probe| {
            probe.size <= passing && !losses.next().unwrap_or(false)
        });
        prop_assert!(took <= Duration::from_secs(40) && sent <= 120, "{took:?}, {sent}");
        if let Some(found) = path.found {
            prop_assert!(found.passes <= passing.min(full));
        }
    }
}
