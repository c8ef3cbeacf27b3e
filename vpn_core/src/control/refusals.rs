//! Warnings about refused callers: few enough that nobody fills the log by asking for what is not his.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Between two warnings about the same user.
const PAUSE: Duration = Duration::from_secs(60);
/// Most users that are remembered, and so most warnings a minute: who has many user numbers must not fill memory and log either.
const MAX_USERS: usize = 64;

/// When each user that was refused was last warned about.
#[derive(Debug, Default)]
pub(super) struct Refusals(RefCell<BTreeMap<u32, Instant>>);

impl Refusals {
    /// Whether a refusal of `uid` is to be logged. Where too many users were refused within a minute it is not.
    pub(super) fn is_worth_a_warning(&self, uid: u32, now: Instant) -> bool {
        let mut warned = self.0.borrow_mut();
        warned.retain(|_, at| now.saturating_duration_since(*at) < PAUSE);
        if warned.contains_key(&uid) || warned.len() >= MAX_USERS {
            return false;
        }
        warned.insert(uid, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_warned_about_once_a_minute_and_many_users_are_bounded() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let count = |uids: std::ops::Range<u32>, now| {
            uids.filter(|uid| refusals.is_worth_a_warning(*uid, now)).count()
        };
        assert_eq!((0..1000).map(|_| count(7..8, start)).sum::<usize>(), 1);
        assert_eq!(count(8..9, start), 1, "another user");
        assert_eq!(count(7..8, start + Duration::from_secs(59)), 0);
        assert_eq!(count(7..8, start + PAUSE), 1);
        assert_eq!(count(100..10_000, start + PAUSE), MAX_USERS - 1);
        assert_eq!(refusals.0.borrow().len(), MAX_USERS);
        assert_eq!(count(100..10_000, start + 2 * PAUSE), MAX_USERS, "and so again a minute later");
    }
}
