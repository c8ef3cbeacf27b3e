//! The name servers of a Linux system while a tunnel is up.

use super::{
    Backend, DnsError, Facts, Surroundings, choose,
    replace::ReplacedFile,
    resolv_conf::{file_text, server_lines},
    upstream::Upstreams,
};
use crate::journal::{
    Change, EntryId, InterfaceName, Journal, JournalError, NameServersChange, installed, resolved, run,
};
use std::{fs, net::IpAddr};

/// The name servers in force, and what undoes them.
#[derive(Debug)]
pub struct NameServers {
    interface: InterfaceName,
    servers: Vec<IpAddr>,
    surroundings: Surroundings,
    backends: Vec<Backend>,
    entries: Vec<EntryId>,
    file: Option<ReplacedFile>,
    /// Servers of ours that the system had anyway.
    shared: Vec<IpAddr>,
}

impl NameServers {
    /// Has the system ask `servers` and no others. The interface and the routes to them should be there already.
    ///
    /// # Errors
    /// [`DnsError`]; what had been changed is undone.
    pub fn set(
        interface: &InterfaceName,
        servers: &[IpAddr],
        surroundings: &Surroundings,
        journal: &mut Journal,
    ) -> Result<Self, DnsError> {
        let before = Upstreams::of_system(surroundings).read();
        let had = |server: &IpAddr| before.servers.iter().any(|before| before.address == *server);
        let mut set = Self {
            interface: interface.clone(),
            servers: servers.to_vec(),
            surroundings: surroundings.clone(),
            backends: choose(&facts(surroundings), surroundings),
            entries: Vec::new(),
            file: None,
            shared: servers.iter().copied().filter(had).collect(),
        };
        for backend in set.backends.clone() {
            if let Err(error) = set.apply(backend, journal) {
                if let Err(second) = set.unset(journal) {
                    tracing::error!(%second, "name servers that could not be set left something behind");
                }
                return Err(error);
            }
        }
        tracing::info!(%interface, ?servers, by = set.backend_names(), "name servers set");
        Ok(set)
    }

    fn apply(&mut self, backend: Backend, journal: &mut Journal) -> Result<(), DnsError> {
        let change = match backend {
            Backend::Resolved => NameServersChange::Resolved { interface: self.interface.clone() },
            Backend::Openresolv => NameServersChange::Openresolv { record: self.record() },
            Backend::File => {
                let text = file_text(&self.interface, &self.servers);
                let path = &self.surroundings.resolv_conf;
                self.file = Some(ReplacedFile::place(path, &self.interface, &text, journal)?);
                return Ok(());
            }
        };
        self.entries.push(journal.record(Change::NameServers(change))?);
        self.tell(backend)
    }

    /// Tells a program our servers; again, when they have changed.
    fn tell(&self, backend: Backend) -> Result<(), DnsError> {
        match backend {
            Backend::Resolved => resolved::set_link(&self.interface, &self.servers)?,
            Backend::Openresolv => {
                // Metric 0 and exclusive: ours alone, whatever others have given.
                let arguments = ["-a", &self.record(), "-m", "0", "-x"];
                run("resolvconf", &arguments, Some(&server_lines(&self.servers)))?;
            }
            Backend::File => {}
        }
        Ok(())
    }

    /// The name of our record at openresolv.
    fn record(&self) -> String {
        format!("{}.vpn", self.interface)
    }

    /// Goes over to other servers.
    ///
    /// # Errors
    /// [`DnsError`]; the old ones are in force, or what of them could be set again, and still undone at the end.
    pub fn change(&mut self, servers: &[IpAddr], journal: &mut Journal) -> Result<(), DnsError> {
        let before = std::mem::replace(&mut self.servers, servers.to_vec());
        let Err(error) = self.tell_all(journal) else { return Ok(()) };
        self.servers = before;
        if let Err(second) = self.tell_all(journal) {
            tracing::error!(%second, "the name servers from before the change could not all be set again");
        }
        Err(error)
    }

    fn tell_all(&mut self, journal: &mut Journal) -> Result<(), DnsError> {
        for backend in &self.backends {
            self.tell(*backend)?;
        }
        self.keep_up(journal).map(drop)
    }

    /// Replaces the resolver file again if somebody else has overwritten it; whether that was so.
    ///
    /// # Errors
    /// [`DnsError`].
    pub fn keep_up(&mut self, journal: &mut Journal) -> Result<bool, DnsError> {
        let text = file_text(&self.interface, &self.servers);
        self.file.as_mut().map_or(Ok(false), |file| file.keep_up(&text, journal))
    }

    /// Puts everything back.
    ///
    /// # Errors
    /// [`JournalError::Undo`].
    pub fn unset(self, journal: &mut Journal) -> Result<(), JournalError> {
        let ids: Vec<EntryId> =
            self.entries.into_iter().chain(self.file.as_ref().map(ReplacedFile::entry)).collect();
        journal.undo(&ids)
    }

    /// The servers.
    pub fn servers(&self) -> &[IpAddr] {
        &self.servers
    }

    /// Through whom they were set.
    pub fn backend_names(&self) -> String {
        self.backends.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Where the servers are found that the system would ask without us.
    pub fn upstreams(&self) -> Upstreams {
        Upstreams {
            surroundings: self.surroundings.clone(),
            without: self.servers.iter().filter(|server| !self.shared.contains(server)).copied().collect(),
            text: self.file.as_ref().and_then(ReplacedFile::inside).map(str::to_owned),
            without_record: self.backends.contains(&Backend::Openresolv).then(|| self.record()),
        }
    }
}

fn facts(surroundings: &Surroundings) -> Facts {
    let path = &surroundings.resolv_conf;
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    Facts {
        link: is_link.then(|| fs::canonicalize(path).ok()).flatten(),
        text: fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default(),
        resolved_runs: resolved::serves_us(),
        has_resolvconf: installed("resolvconf"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::unfinished_beside;

    #[test]
    fn a_change_that_is_refused_leaves_the_servers_from_before_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let interface: InterfaceName = "vpn0".parse().unwrap();
        let surroundings =
            Surroundings { resolv_conf: folder.path().join("resolv.conf"), ..Surroundings::default() };
        let mut journal = Journal::open(&folder.path().join("state"), &interface).unwrap();
        let addresses = |text: &str| vec![text.parse::<IpAddr>().unwrap()];
        let (old, new) = (addresses("10.66.0.1"), addresses("10.66.0.2"));
        let text = |servers: &[IpAddr]| file_text(&interface, servers);
        let path = surroundings.resolv_conf.clone();
        let file = ReplacedFile::place(&path, &interface, &text(&old), &mut journal).unwrap();
        let mut set = NameServers {
            interface: interface.clone(),
            servers: old.clone(),
            surroundings,
            backends: vec![Backend::File],
            entries: Vec::new(),
            file: Some(file),
            shared: Vec::new(),
        };
        // In the way of the new file, for root as well.
        let obstacle = unfinished_beside(&path, &interface);
        fs::create_dir(&obstacle).unwrap();
        assert!(set.change(&new, &mut journal).is_err());
        assert_eq!((set.servers(), fs::read_to_string(&path).unwrap()), (&old[..], text(&old)));
        fs::remove_dir(&obstacle).unwrap();
        set.change(&new, &mut journal).unwrap();
        assert_eq!((set.servers(), fs::read_to_string(&path).unwrap()), (&new[..], text(&new)));
        set.unset(&mut journal).unwrap();
        assert!(!path.exists(), "there was none before");
    }
}
