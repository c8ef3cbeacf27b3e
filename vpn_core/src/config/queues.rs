//! `queues` of the `[interface]` table.

use super::{
    Role,
    fault::Complaint,
    table::{Source, Value},
};
use crate::{
    engine::{QueueCount, QueueCountError},
    local_tun::MAX_QUEUES,
};

/// Without a value: what spreads many peers over the processors; and a single queue for a client, whose only peer would
/// always be served by the same one.
pub(super) fn read_queues<'t>(
    source: &mut Source<'t>,
    value: Option<Value<'t>>,
    role: Role,
) -> Option<QueueCount> {
    let Some(value) = value else {
        return Some(match role {
            Role::Server => QueueCount::Automatic,
            Role::Client => QueueCount::Exactly(1),
        });
    };
    if value.is_string() {
        return source.parsed(&value);
    }
    let count = source.number(&value, 1..=MAX_QUEUES.cast_signed() as i64)?;
    QueueCount::exactly(usize::try_from(count).ok()?)
}

impl From<QueueCountError> for Complaint {
    fn from(error: QueueCountError) -> Self {
        Self::new(error.to_string(), "write queues = \"auto\", or a number without quotes")
    }
}
