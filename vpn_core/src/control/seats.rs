//! Places for connections: bounded, and shared fairly between users, so that nobody keeps others waiting by saying nothing.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Instant,
};
use tokio::sync::Notify;

/// Most connections of one user.
const MAX_PER_USER: usize = 16;
/// Most connections in all; bounds memory and descriptors.
const MAX_CONNECTIONS: usize = 64;

/// The places that are taken.
#[derive(Debug, Default)]
pub(super) struct Seats(RefCell<Vec<Rc<Seat>>>);

/// One place.
#[derive(Debug)]
struct Seat {
    uid: u32,
    /// Root, or the user of the node: gives way to nobody else.
    privileged: bool,
    /// Since when the other end is waited for; `None` while it is being answered.
    idle_since: Cell<Option<Instant>>,
    leave: Notify,
}

/// A place for as long as this lives.
#[derive(Debug)]
pub(super) struct Taken<'s> {
    seats: &'s Seats,
    seat: Rc<Seat>,
}

impl Seats {
    /// A place for a new connection. Where there is none, the connection that has been idle longest gives way: one of the
    /// same user where that has its share already, else one of the user who has the most. `None` where all are busy.
    pub(super) fn take(&self, uid: u32, privileged: bool, now: Instant) -> Option<Taken<'_>> {
        let mut seats = self.0.borrow_mut();
        if let Some(crowd) = crowd(&seats, uid, privileged) {
            let idle = seats.iter().enumerate().filter(|(_, seat)| seat.uid == crowd);
            let idle = idle.filter_map(|(at, seat)| Some((seat.idle_since.get()?, at)));
            let (_, longest) = idle.min()?;
            seats.remove(longest).leave.notify_one();
        }
        let seat = Seat { uid, privileged, idle_since: Cell::new(Some(now)), leave: Notify::new() };
        let seat = Rc::new(seat);
        seats.push(Rc::clone(&seat));
        Some(Taken { seats: self, seat })
    }
}

/// Whose connections are too many for one more of `uid`; `None` where there is room.
fn crowd(seats: &[Rc<Seat>], uid: u32, privileged: bool) -> Option<u32> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for seat in seats.iter().filter(|seat| privileged || !seat.privileged || seat.uid == uid) {
        *counts.entry(seat.uid).or_default() += 1;
    }
    if counts.get(&uid).is_some_and(|count| *count >= MAX_PER_USER) {
        return Some(uid);
    }
    let largest = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (seats.len() >= MAX_CONNECTIONS).then_some(largest.0)
}

impl Taken<'_> {
    /// The other end is to say or to read something.
    pub(super) fn waits(&self) {
        self.seat.idle_since.set(Some(Instant::now()));
    }

    /// The other end waits for us.
    pub(super) fn answers(&self) {
        self.seat.idle_since.set(None);
    }

    /// Returns when somebody else needs the place.
    pub(super) async fn given_away(&self) {
        self.seat.leave.notified().await;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.seats.0.borrow_mut().retain(|seat| !Rc::ptr_eq(seat, &self.seat));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn uids(seats: &Seats) -> Vec<u32> {
        seats.0.borrow().iter().map(|seat| seat.uid).collect()
    }

    #[test]
    fn of_one_user_the_longest_idle_gives_way_and_of_others_none() {
        let (seats, start) = (Seats::default(), Instant::now());
        let at = |number: usize| start + Duration::from_secs(number as u64);
        let other = seats.take(7, false, at(0)).expect("a place");
        let taken: Vec<_> = (1..=16).map(|number| seats.take(8, false, at(number))).collect();
        taken[0].as_ref().expect("a place").answers();
        let newcomer = seats.take(8, false, at(20)).expect("the longest idle gives way");
        assert!(Rc::ptr_eq(&seats.0.borrow()[1], &taken[0].as_ref().expect("a place").seat), "busy: stays");
        assert!(!seats.0.borrow().iter().any(|seat| seat.idle_since.get() == Some(at(2))));
        taken.iter().flatten().for_each(Taken::answers);
        newcomer.answers();
        assert!(seats.take(8, false, at(21)).is_none(), "all are being answered");
        drop((other, newcomer, taken));
        assert!(seats.0.borrow().is_empty());
    }

    #[test]
    fn when_all_is_taken_the_user_with_most_gives_way_and_root_keeps_its_places() {
        let (seats, now) = (Seats::default(), Instant::now());
        let mut taken = Vec::new();
        for (uid, count) in [(0, 16), (1, 16), (2, 16), (3, 10), (4, 6)] {
            taken.extend((0..count).map(|_| seats.take(uid, uid == 0, now).expect("a place")));
        }
        taken.push(seats.take(5, false, now).expect("somebody gives way"));
        taken.push(seats.take(5, false, now).expect("somebody gives way"));
        let count = |uid| uids(&seats).into_iter().filter(|taken| *taken == uid).count();
        assert_eq!([0, 1, 2, 3, 4, 5].map(count), [16, 15, 15, 10, 6, 2]);
        assert_eq!(uids(&seats).len(), MAX_CONNECTIONS);
    }
}
