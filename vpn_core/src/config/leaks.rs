//! The keys of `[interface]` that say what may leave a client's host beside the tunnel.

use super::{
    Role,
    fault::Complaint,
    table::{Source, Table, Value},
};

/// Whether a client with a default route through the tunnel reaches the private networks that it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lan {
    /// It does.
    Allow,
    /// Everything takes the tunnel.
    Deny,
}

/// Takes `lan`.
pub(super) fn take_lan<'t>(source: &mut Source<'t>, table: &mut Table<'t>, role: Role) -> Option<Lan> {
    let Some(value) = table.take("lan") else { return Some(Lan::Allow) };
    let lan = match source.string(&value)? {
        "allow" => Lan::Allow,
        "deny" => Lan::Deny,
        other => {
            let message = format!("lan = {other:?}");
            source.fault(&value.span, Complaint::new(message, "write \"allow\" or \"deny\""));
            return None;
        }
    };
    refuse_for_server(source, &value, "lan", role)?;
    Some(lan)
}

/// Takes `kill_switch`.
pub(super) fn take_kill_switch<'t>(
    source: &mut Source<'t>,
    table: &mut Table<'t>,
    role: Role,
) -> Option<bool> {
    let Some(value) = table.take("kill_switch") else { return Some(false) };
    let is_on = source.boolean(&value)?;
    if is_on {
        refuse_for_server(source, &value, "kill_switch", role)?;
    }
    Some(is_on)
}

/// A server is there for others: what is shut off on a client is its business.
fn refuse_for_server(source: &mut Source<'_>, value: &Value<'_>, key: &str, role: Role) -> Option<()> {
    match role {
        Role::Client => Some(()),
        Role::Server => {
            let message = format!("`{key}` is for vpn-client, this is a server's file");
            source.fault(&value.span, Complaint::new(message, "remove the line, or run it with vpn-client"));
            None
        }
    }
}
