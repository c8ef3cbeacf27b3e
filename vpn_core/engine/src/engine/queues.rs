//! How many queues a device has.

use crate::local_tun::MAX_QUEUES;
use std::{str::FromStr, thread::available_parallelism};

/// Queues that a device gets where nobody says how many. By then the network is what limits.
const MAX_AUTOMATIC: usize = 16;

/// A wish for queues. Each has a thread, a UDP socket, and about a megabyte of buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueCount {
    /// One a processor, up to 16: for a device with many peers.
    #[default]
    Automatic,
    /// So many.
    Exactly(usize),
}

/// What is wrong with a number of queues.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no number of queues: write \"auto\", or a number from 1 to {MAX_QUEUES}")]
pub struct QueueCountError {
    text: String,
}

impl QueueCount {
    /// `count` queues; `None` unless that is 1 to [`MAX_QUEUES`].
    pub fn exactly(count: usize) -> Option<Self> {
        (1..=MAX_QUEUES).contains(&count).then_some(Self::Exactly(count))
    }

    /// The number, on this machine.
    pub fn get(self) -> usize {
        match self {
            Self::Automatic => available_parallelism()
                .map_or(1, |processors| processors.get().min(MAX_AUTOMATIC).min(MAX_QUEUES)),
            Self::Exactly(count) => count,
        }
    }
}

impl FromStr for QueueCount {
    type Err = QueueCountError;

    fn from_str(text: &str) -> Result<Self, QueueCountError> {
        match text {
            "auto" => Ok(Self::Automatic),
            _ => text
                .parse()
                .ok()
                .and_then(Self::exactly)
                .ok_or_else(|| QueueCountError { text: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_auto_is_taken_and_nothing_else() {
        assert_eq!("auto".parse(), Ok(QueueCount::Automatic));
        assert_eq!("1".parse(), Ok(QueueCount::Exactly(1)));
        assert_eq!("256".parse(), Ok(QueueCount::Exactly(256)));
        for text in ["0", "257", "-1", "", "two", "1.5", "99999999999999999999"] {
            let error = text.parse::<QueueCount>().expect_err("no number of queues").to_string();
            assert!(error.contains("1 to 256"), "{error}");
        }
    }

    #[test]
    fn automatic_is_at_least_one_and_bounded() {
        assert!((1..=MAX_AUTOMATIC).contains(&QueueCount::Automatic.get()));
    }
}
