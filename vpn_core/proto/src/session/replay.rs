//! The sliding replay window (protocol.md 7.3; the ring of RFC 6479).

/// How far a counter may lie behind the highest one seen and still be accepted.
pub const REPLAY_WINDOW: u64 = 8192;

const WORD: u64 = u64::BITS as u64;
/// One word more than the window, so that clearing ahead never touches counters still inside it.
const WORDS: usize = (REPLAY_WINDOW / WORD) as usize + 1;

/// Remembers which of the last [`REPLAY_WINDOW`] counters were seen.
#[derive(Debug)]
pub struct ReplayWindow {
    /// One above the highest counter accepted; 0 at first.
    next: u64,
    words: Box<[u64; WORDS]>,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { next: 0, words: Box::new([0; WORDS]) }
    }
}

impl ReplayWindow {
    /// Accepts `counter` once. To be called after authentication only: a forged counter must not move the window.
    pub fn accept(&mut self, counter: u64) -> bool {
        if counter == u64::MAX {
            return false; // `next` could not lie above it.
        }
        if counter >= self.next {
            self.advance(counter);
        } else if self.next - counter > REPLAY_WINDOW {
            return false;
        }
        let word = &mut self.words[Self::word_of(counter)];
        let bit = 1 << (counter % WORD);
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }

    fn advance(&mut self, counter: u64) {
        let newest_word = self.next.checked_sub(1).map_or(0, |highest| highest / WORD);
        let steps = (counter / WORD - newest_word).min(WORDS as u64);
        for step in 1..=steps {
            self.words[((newest_word + step) % WORDS as u64) as usize] = 0;
        }
        self.next = counter + 1;
    }

    const fn word_of(counter: u64) -> usize {
        ((counter / WORD) % WORDS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The slow, obvious implementation.
    #[derive(Default)]
    struct Model {
        seen: BTreeSet<u64>,
        next: u64,
    }

    impl Model {
        fn accept(&mut self, counter: u64) -> bool {
            if self.next > counter && self.next - counter > REPLAY_WINDOW {
                return false;
            }
            self.next = self.next.max(counter + 1);
            self.seen.insert(counter)
        }
    }

    fn steps() -> impl Strategy<Value = Vec<i64>> {
        let step = prop_oneof![
            6 => -3_i64..5,
            3 => -9000_i64..9000,
            1 => Just(0),
            1 => prop_oneof![Just(-8191_i64), Just(-8192), Just(-8193), Just(64), Just(8256), Just(8320), Just(100_000)],
        ];
        proptest::collection::vec(step, 1..600)
    }

    proptest! {
        #[test]
        fn window_equals_the_set_of_seen_counters(start in 0_i64..20_000, steps in steps()) {
            let (mut window, mut model) = (ReplayWindow::default(), Model::default());
            let mut at = start;
            for step in steps {
                at = (at + step).max(0);
                let counter = at.cast_unsigned();
                prop_assert_eq!(window.accept(counter), model.accept(counter), "counter {}", counter);
            }
        }
    }

    #[test]
    fn edges_of_the_window_are_exact() {
        let mut window = ReplayWindow::default();
        assert!(window.accept(REPLAY_WINDOW));
        assert!(window.accept(1), "8191 behind the highest is inside");
        assert!(!window.accept(0), "8192 behind the highest is outside");
        assert!(!window.accept(1), "twice");
        assert!(window.accept(u64::MAX - 1));
        assert!(!window.accept(u64::MAX));
        assert!(!window.accept(REPLAY_WINDOW + 1));
    }
}
