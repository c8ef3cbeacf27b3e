//! The name servers of a Mac while a tunnel is up: a key of the dynamic store.

use super::{DnsError, ResolvConf, Surroundings, scutil::servers_of};
use crate::{
    journal::{
        Change, EntryId, InterfaceName, Journal, JournalError, MacChange,
        mac::{name_servers_key, name_servers_script},
        run, scutil,
    },
    network::{uplink, uplink_name},
};
use std::{convert::Infallible, net::IpAddr, path::Path, time::Duration};

/// The name servers in force, and what undoes them.
#[derive(Debug)]
pub struct NameServers {
    servers: Vec<IpAddr>,
    key: String,
    entry: EntryId,
}

impl NameServers {
    /// Has the system ask `servers` and no others. The interface and the routes to them should be there already.
    ///
    /// # Errors
    /// [`DnsError`]; what had been changed is undone.
    pub fn set(
        interface: &InterfaceName,
        servers: &[IpAddr],
        _surroundings: &Surroundings,
        journal: &mut Journal,
    ) -> Result<Self, DnsError> {
        let key = name_servers_key(interface);
        let entry = journal.record(Change::Mac(MacChange::StoreKey { key: key.clone() }))?;
        if let Err(error) = scutil(&name_servers_script(&key, servers)) {
            journal.undo(&[entry])?;
            return Err(error.into());
        }
        tracing::info!(%interface, ?servers, key, "name servers set");
        Ok(Self { servers: servers.to_vec(), key, entry })
    }

    /// Goes over to other servers.
    ///
    /// # Errors
    /// [`DnsError`]; the old or the new ones are in force, and still undone at the end.
    pub fn change(&mut self, servers: &[IpAddr], _journal: &mut Journal) -> Result<(), DnsError> {
        scutil(&name_servers_script(&self.key, servers))?;
        self.servers = servers.to_vec();
        Ok(())
    }

    /// Nobody else writes our key: there is nothing to put back.
    ///
    /// # Errors
    /// None.
    pub fn keep_up(&mut self, _journal: &mut Journal) -> Result<bool, DnsError> {
        Ok(false)
    }

    /// Puts everything back.
    ///
    /// # Errors
    /// [`JournalError::Undo`].
    pub fn unset(self, journal: &mut Journal) -> Result<(), JournalError> {
        journal.undo(&[self.entry])
    }

    /// The servers.
    pub fn servers(&self) -> &[IpAddr] {
        &self.servers
    }

    /// Through whom they were set.
    pub fn backend_names(&self) -> String {
        "dynamic store".to_owned()
    }

    /// Where the servers are found that the system would ask without us.
    pub fn upstreams(&self) -> Upstreams {
        Upstreams
    }
}

/// Where the servers of the network are found: the system lists them by interface, whatever tunnels have set.
#[derive(Clone, Copy, Debug)]
pub struct Upstreams;

impl Upstreams {
    /// Those of a system that we have told no servers.
    pub fn of_system(_surroundings: &Surroundings) -> Self {
        Self
    }

    /// Reads them. Runs programs, so not on a thread that must not wait.
    pub fn read(&self) -> ResolvConf {
        let interface = uplink().ok().and_then(uplink_name);
        let output = run("/usr/sbin/scutil", &["--dns"], None).unwrap_or_default();
        interface.map_or_else(ResolvConf::default, |interface| servers_of(&output, &interface))
    }
}

/// There is no file that others would overwrite: waits for ever.
pub async fn watch_file(_path: &Path, _changed: impl FnMut() -> Duration) -> Infallible {
    std::future::pending().await
}
