//! systemd-resolved, over D-Bus: the name servers of one link
//! ([org.freedesktop.resolve1](https://www.freedesktop.org/software/systemd/man/latest/org.freedesktop.resolve1.html)).
//!
//! Synchronous like the rest of the journal, since changes are undone where there is no async runtime: each request
//! runs on a thread of its own, which is waited for.

use super::{InterfaceName, JournalError, netlink::Netlink};
use serde::Serialize;
use std::{fs, io, net::IpAddr, thread, time::Duration};
use zbus::{Connection, Message, connection};

const SERVICE: &str = "org.freedesktop.resolve1";
const OBJECT: &str = "/org/freedesktop/resolve1";
const INTERFACE: &str = "org.freedesktop.resolve1.Manager";
const BUS: &str = "org.freedesktop.DBus";
/// For the whole of a request: resolved answers at once, or something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether systemd-resolved runs, and for this network namespace: the links of another one have the same numbers.
pub fn serves_us() -> bool {
    let process = on_bus(|bus| async move {
        let reply = bus.call_method(
            Some(BUS),
            "/org/freedesktop/DBus",
            Some(BUS),
            "GetConnectionUnixProcessID",
            &SERVICE,
        );
        reply.await?.body().deserialize::<u32>()
    });
    let Ok(process) = process else { return false };
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    // A service without CAP_SYS_PTRACE cannot look; services run where their bus does.
    namespace(&process.to_string()).is_none_or(|theirs| namespace("thread-self") == Some(theirs))
}

/// Has `servers`, and only these, asked for every name, through `interface`.
///
/// # Errors
/// [`JournalError::Resolved`]; [`JournalError::Netlink`] where there is no such interface.
pub fn set_link(interface: &InterfaceName, servers: &[IpAddr]) -> Result<(), JournalError> {
    let index = index_of(interface).map_err(JournalError::Netlink)?;
    let servers: Vec<(i32, Vec<u8>)> = servers.iter().map(address).collect();
    let failed = |source: zbus::Error| resolved_error("set the name servers of", interface, &source);
    on_bus(move |bus| async move {
        call(&bus, "SetLinkDNS", &(index, servers)).await?;
        // `~.`: all names. Routing only: nothing is appended to short names.
        call(&bus, "SetLinkDomains", &(index, vec![(".", true)])).await?;
        call(&bus, "SetLinkDefaultRoute", &(index, true)).await?;
        // What other servers have answered before is not to be given out any more.
        call(&bus, "FlushCaches", &()).await?;
        Ok(())
    })
    .map_err(failed)
}

/// Takes back what [`set_link`] did. That the link or resolved itself has gone is no error: with them went the servers.
///
/// # Errors
/// [`JournalError::Resolved`], [`JournalError::Netlink`].
pub fn revert_link(interface: &InterfaceName) -> Result<(), JournalError> {
    let index = match index_of(interface) {
        Ok(index) => index,
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
        Err(error) => return Err(JournalError::Netlink(error)),
    };
    let reverted = on_bus(move |bus| async move {
        call(&bus, "RevertLink", &(index,)).await?;
        call(&bus, "FlushCaches", &()).await?;
        Ok(())
    });
    match reverted {
        Err(error) if is_gone(&error) => Ok(()),
        reverted => {
            reverted.map_err(|error| resolved_error("take back the name servers of", interface, &error))
        }
    }
}

/// No bus, nobody behind the name, or no such link.
fn is_gone(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::InputOutput(_) | zbus::Error::Address(_) => true,
        zbus::Error::MethodError(name, _, _) => {
            let gone = ["NameHasNoOwner", "ServiceUnknown", "NoSuchLink"];
            gone.iter().any(|gone| name.as_str().ends_with(gone))
        }
        _ => false,
    }
}

fn index_of(interface: &InterfaceName) -> io::Result<i32> {
    let index = Netlink::open()?.interface_index(interface.as_str())?;
    i32::try_from(index).map_err(io::Error::other)
}

/// An address as D-Bus methods of resolved take it: family and bytes.
fn address(server: &IpAddr) -> (i32, Vec<u8>) {
    match server {
        IpAddr::V4(server) => (libc::AF_INET, server.octets().to_vec()),
        IpAddr::V6(server) => (libc::AF_INET6, server.octets().to_vec()),
    }
}

async fn call<B: Serialize + zbus::DynamicType>(
    bus: &Connection,
    method: &'static str,
    body: &B,
) -> zbus::Result<Message> {
    bus.call_method(Some(SERVICE), OBJECT, Some(INTERFACE), method, body).await
}

fn resolved_error(action: &'static str, interface: &InterfaceName, error: &zbus::Error) -> JournalError {
    JournalError::Resolved { action, interface: interface.clone(), reason: error.to_string() }
}

/// Runs `conversation` on a connection to the system bus.
fn on_bus<T, F>(conversation: impl FnOnce(Connection) -> F + Send + 'static) -> zbus::Result<T>
where
    T: Send + 'static,
    F: Future<Output = zbus::Result<T>>,
{
    let timed_out = || io::Error::from(io::ErrorKind::TimedOut).into();
    let talk = move || -> zbus::Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let talk = async {
            let bus = connection::Builder::system().build().await?;
            conversation(bus).await
        };
        runtime.block_on(async {
            tokio::time::timeout(PATIENCE, talk).await.unwrap_or_else(|_| Err(timed_out()))
        })
    };
    // Inside a runtime another one must not be entered, so not on this thread.
    thread::spawn(talk)
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the conversation was broken off").into()))
}
