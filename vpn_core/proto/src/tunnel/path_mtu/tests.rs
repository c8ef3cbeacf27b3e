//! Searches over paths that lose what is too long, or a few probes more.

use super::{rounds::RESOLUTION, *};
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
        let probes = path.poll(policy, interface, None, || id << 16, now);
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
        now = path.next_timeout(None).expect("it is running").max(now);
    }
    unreachable!("a search ends");
}

#[test]
fn a_wide_path_costs_two_probes_and_is_looked_at_again_after_ten_minutes() {
    let (mut path, start) = (PathMtu::default(), Instant::now());
    assert_eq!(run(&mut path, V6, 1420, start, |_| true), (Duration::ZERO, 2));
    assert_eq!(path.limit(V6, 1420), 1420);
    assert!(path.poll(V6, 1420, None, || 9, start + Duration::from_secs(599)).is_empty());
    assert_eq!(path.poll(V6, 1420, None, || 9, start + TRUSTED).len(), 2);
}

#[test]
fn a_narrow_path_is_found_within_three_seconds_to_a_few_bytes() {
    for passing in [1201, 1240, 1280, 1300, 1340, 1372, 1412, 1419] {
        let (mut path, start) = (PathMtu::default(), Instant::now());
        begin(&mut path, "192.0.2.1:1");
        let (took, sent) = run(&mut path, V6, 1420, start, |probe| probe.size <= passing);
        assert!(took < Duration::from_secs(3) && sent < 80, "{passing}: {took:?}, {sent} probes");
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
    assert_eq!(path.next_timeout(None), Some(start + took + Duration::from_secs(540)));
    begin(&mut path, "192.0.2.1:1");
    let (took, _) = run(&mut path, V6, 1420, start, |probe| probe.size <= 1200);
    assert_eq!(path.next_timeout(None), Some(start + took + TRUSTED), "over IPv4 nobody has to be told");
}

#[test]
fn one_lost_answer_narrows_no_path_whenever_it_is_lost() {
    for lost in 0..80 {
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
        let sent = path.poll(V6, 1420, None, || step.into(), start + after).len();
        assert!(sent == 0 || sent == 2);
        at.extend((sent > 0).then_some(after.as_secs()));
    }
    assert_eq!(at, [0, 5, 10, 15]);
    // What this host itself notices does not wait.
    path.doubt();
    assert_eq!(path.poll(V6, 1420, None, || 9, start + Duration::from_secs(20)).len(), 2);
    path.doubt();
    assert_eq!(path.poll(V6, 1420, None, || 9, start + Duration::from_secs(20)).len(), 2);
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
    assert!(
        !path.poll(V6, 1420, None, || 9, start + REST + Duration::from_secs(10)).is_empty(),
        "tried again"
    );
}

#[test]
fn silence_at_another_address_concludes_nothing_about_it() {
    let mut path = PathMtu::default();
    begin(&mut path, "[2001:db8::1]:1");
    run(&mut path, V6, 1420, Instant::now(), |probe| probe.size <= 1200);
    assert_eq!((path.take_ended(), path.must_be_cut_here(V6, 1420)), (Some(Ended::Found), true));
    begin(&mut path, "[2001:db8::2]:1");
    assert!(!path.must_be_cut_here(V6, 1420), "not before it was asked");
    run(&mut path, V6, 1420, Instant::now(), |_| false);
    assert_eq!((path.take_ended(), path.must_be_cut_here(V6, 1420)), (Some(Ended::Nothing), false));
    assert_eq!(path.limit(V6, 1420), 1280, "this peer's own packets stay short until it answers");
}

/// Sends long packets without a pause from `start` on, over a path that probes pass as `passes` says; what the limit was at each
/// step, and how many probes went.
fn flow(
    path: &mut PathMtu,
    policy: MtuPolicy,
    start: Instant,
    lasting: Duration,
    mut passes: impl FnMut(Probe, Duration) -> bool,
) -> (Vec<(Duration, u16)>, usize) {
    let (mut now, mut sent, mut limits, mut long) = (start, 0, Vec::new(), start);
    for id in 1.. {
        for probe in path.poll(policy, 1420, Some(long), || id << 16, now) {
            sent += 1;
            if passes(probe, now - start) {
                path.handle_answer(probe.id, probe.size, now);
            }
        }
        if path.take_ended().is_some() {
            long = now; // The next packet says so again.
        }
        limits.push((now - start, path.limit(policy, 1420)));
        now = path.next_timeout(Some(long)).expect("it goes on").max(now);
        if now - start > lasting {
            break;
        }
    }
    (limits, sent)
}

#[test]
fn a_path_that_narrows_while_long_packets_flow_is_found_within_ten_seconds() {
    for mode in [MtuMode::Within, MtuMode::Follow, MtuMode::Given] {
        for later in [1250, 1340, 1400] {
            let policy = MtuPolicy { mode, ..V6 };
            let (mut path, start) = (PathMtu::default(), Instant::now());
            let narrows = Duration::from_millis(1);
            let (limits, _) = flow(&mut path, policy, start, Duration::from_secs(60), |probe, at| {
                at < narrows || probe.size <= later
            });
            let found = limits.iter().find(|(_, limit)| *limit <= later.max(1280)).expect("it is found");
            assert!(found.0 < Duration::from_secs(10), "{mode:?}, {later}: {:?}", found.0);
            // Narrower still, from a limit that is below the full size already.
            let (limits, _) = flow(
                &mut path,
                policy,
                start + Duration::from_secs(90),
                Duration::from_secs(60),
                |probe, _| probe.size <= 1230,
            );
            let found = limits.iter().find(|(_, limit)| *limit == 1280).expect("it is found");
            assert!(found.0 < Duration::from_secs(10), "{mode:?}, {later} and then less: {:?}", found.0);
        }
    }
}

#[test]
fn what_is_in_use_is_confirmed_with_one_probe_every_six_seconds_and_never_without_long_packets() {
    let (mut path, start) = (PathMtu::default(), Instant::now());
    let (limits, sent) = flow(&mut path, V6, start, Duration::from_secs(61), |_, _| true);
    assert_eq!((limits.iter().map(|(_, limit)| *limit).min(), sent), (Some(1420), 12));
    path.forget();
    let (_, sent) = flow(&mut path, V6, start, Duration::from_secs(61), |probe, _| probe.size <= 1340);
    assert!((40..90).contains(&sent), "{sent} probes where it is narrow from the beginning");
    let settled = path.next_timeout(Some(start)).expect("it rests");
    assert!(path.next_timeout(None).is_some_and(|at| at > settled + Duration::from_secs(500)));
}

#[test]
fn forty_per_cent_of_loss_make_no_path_narrow_and_no_narrow_path_wide() {
    let mut random = 1_u64;
    let mut arrives = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % 100 < 36 // there and back
    };
    let (mut path, start) = (PathMtu::default(), Instant::now());
    let (limits, sent) = flow(&mut path, V6, start, Duration::from_secs(7200), |_, _| arrives());
    assert!(
        limits.iter().all(|(_, limit)| *limit == 1420),
        "{:?}",
        limits.iter().find(|(_, limit)| *limit < 1420)
    );
    assert!(sent < 12_000, "{sent} probes in two hours");
    let (limits, _) =
        flow(&mut path, V6, start + Duration::from_secs(7200), Duration::from_secs(600), |probe, _| {
            arrives() && probe.size <= 1340
        });
    let narrow = limits.iter().position(|(_, limit)| *limit <= 1340).expect("it is found");
    assert!(limits[narrow].0 < Duration::from_secs(45), "{:?}", limits[narrow].0);
    assert!(limits[narrow..].iter().all(|(_, limit)| *limit <= 1340));
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
    let path = PathMtu::default();
    let by_hand = MtuPolicy { mode: MtuMode::Given, floor: 1280 };
    assert_eq!((path.full(by_hand, 576), path.limit(MtuPolicy::UNLIMITED, 576)), (576, u16::MAX));
}

#[test]
fn a_peer_is_sent_nothing_longer_than_it_announces_whoever_decides_else() {
    for mode in [MtuMode::Unlimited, MtuMode::Given, MtuMode::Within, MtuMode::Follow] {
        let policy = MtuPolicy { mode, floor: 1280 };
        for (announced, counts) in [(0, 576), (1, 576), (575, 576), (576, 576), (1279, 1279), (1300, 1300)] {
            let mut path = PathMtu::default();
            path.set_announced(announced);
            assert_eq!(
                (path.limit(policy, 1420), path.accepted()),
                (counts, counts),
                "{mode:?}, {announced}"
            );
            assert!(path.full(policy, 1420) <= counts, "nor does it get longer probes");
        }
    }
}

#[test]
fn answers_to_an_earlier_search_say_nothing() {
    let (mut path, now) = (PathMtu::default(), Instant::now());
    assert_eq!(path.poll(V6, 1420, None, || 70, now).len(), 2);
    path.doubt();
    let probes = path.poll(V6, 1420, None, || 80, now);
    assert_eq!(
        probes.iter().map(|probe| (probe.id, probe.size)).collect::<Vec<_>>(),
        [(80, 1200), (81, 1420)]
    );
    assert!(!path.handle_answer(71, 1420, now) && !path.handle_answer(81, 1421, now));
    assert!(!path.handle_answer(80, 1420, now), "the number says which it was");
    assert!(path.handle_answer(81, 1420, now));
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
        prop_assert!(took <= Duration::from_secs(75) && sent <= 340, "{took:?}, {sent}");
        if let Some(found) = path.found {
            prop_assert!(found.passes <= passing.min(full));
        }
    }
}
