//! The keys of `[interface]` that say what may leave a client's host beside the tunnel.

use super::{
    Role,
    fault::Complaint,
    interface::Routes,
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

/// Whether answers to connections that come in at the host's own address leave as these came, beside the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// On a host with a public address, or one that somebody uses by SSH, unless there is a kill switch.
    Auto,
    /// They do.
    Allow,
    /// They take the tunnel, as everything does, and so get lost.
    Refuse,
}

/// Takes `inbound`, which is nothing without routes.
pub(super) fn take_inbound<'t>(
    source: &mut Source<'t>,
    table: &mut Table<'t>,
    routes: Option<Routes>,
) -> Option<Inbound> {
    let Some(value) = table.take("inbound") else { return Some(Inbound::Auto) };
    match source.string(&value)? {
        "auto" => Some(Inbound::Auto),
        "allow" if routes == Some(Routes::Off) => {
            let message = "inbound = \"allow\" is done by routes, and routes = \"off\"";
            source.fault(&value.span, Complaint::new(message, "remove one of the two"));
            None
        }
        "allow" => Some(Inbound::Allow),
        "refuse" => Some(Inbound::Refuse),
        other => {
            let message = format!("inbound = {other:?}");
            let remedy = "write \"allow\", \"refuse\" or \"auto\"";
            source.fault(&value.span, Complaint::new(message, remedy));
            None
        }
    }
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
