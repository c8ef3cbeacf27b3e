//! The `[control]` table: who but root may ask the node for something.

use super::{
    fault::Complaint,
    table::{Source, Table, Value},
};
use nix::unistd::Group;

/// How a group that is missing is made.
const MAKE_GROUP: &str =
    if cfg!(target_os = "macos") { "dseditgroup -o create" } else { "groupadd --system" };

/// Who but root may ask the node for something. Without this table nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlConfig {
    /// The group that owns the control socket: its members read the status.
    pub group: Option<ControlGroup>,
    /// The group of operators, who read the status as well. To stop and to reload stays root's.
    pub operators: Option<ControlGroup>,
}

/// A group of this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlGroup {
    /// Its name.
    pub name: String,
    /// Its number.
    pub gid: u32,
}

pub(super) fn read_control<'t>(source: &mut Source<'t>, mut table: Table<'t>) -> ControlConfig {
    let group = table.take("group").and_then(|value| read_group(source, &value));
    let operators = table.take("operators").and_then(|value| read_group(source, &value));
    table.finish(source);
    ControlConfig { group, operators }
}

fn read_group<'t>(source: &mut Source<'t>, value: &Value<'t>) -> Option<ControlGroup> {
    let name = source.string(value)?;
    let found = match Group::from_name(name) {
        Ok(Some(group)) => Ok(ControlGroup { name: name.to_owned(), gid: group.gid.as_raw() }),
        Ok(None) => Err(Complaint::new(
            format!("`{}`: this system has no group {name:?}", value.key),
            format!("make it: {MAKE_GROUP} {name}; or correct the name"),
        )),
        Err(error) => Err(Complaint::new(
            format!("`{}`: the group {name:?} cannot be looked up: {error}", value.key),
            "see /etc/group and /etc/nsswitch.conf",
        )),
    };
    source.accept(&value.span, found)
}
