//! The name servers that the system would ask without us: those of the network that it is in. Read anew for each
//! question, since networks change.

use super::{ResolvConf, Surroundings};
use crate::journal::{kept_beside, run, tunnel_of};
use std::{fs, net::IpAddr, path::Path};

/// Tunnels that may have replaced the resolver file one after the other.
const MAX_TUNNELS: usize = 16;

/// Where they are found.
#[derive(Clone, Debug)]
pub struct Upstreams {
    pub(super) surroundings: Surroundings,
    /// Our own, which are listed among them.
    pub(super) without: Vec<IpAddr>,
    /// What the resolver file said, where that is not kept beside it.
    pub(super) text: Option<String>,
    /// Our record at openresolv, which then knows the rest.
    pub(super) without_record: Option<String>,
}

impl Upstreams {
    /// Those of a system that we have told no servers.
    pub fn of_system(surroundings: &Surroundings) -> Self {
        Self { surroundings: surroundings.clone(), without: Vec::new(), text: None, without_record: None }
    }

    /// Reads them. Reads files and may run a program, so not on a thread that must not wait.
    pub fn read(&self) -> ResolvConf {
        let text = match (&self.text, &self.without_record) {
            (Some(text), _) => text.clone(),
            (None, Some(record)) => {
                without_record(&run("resolvconf", &["-l"], None).unwrap_or_default(), record)
            }
            (None, None) => from_before(&self.surroundings.resolv_conf),
        };
        let mut found = ResolvConf::parse(&text);
        // A resolver on this host has its servers from somewhere. If that is not known it is asked itself.
        if found.servers.iter().all(|server| server.address.is_loopback()) {
            let lists = [
                self.surroundings.resolved_folder.join("resolv.conf"),
                self.surroundings.network_manager_upstreams.clone(),
            ];
            for list in lists {
                let mut behind = ResolvConf::parse(&read(&list));
                behind.servers.retain(|server| {
                    !server.address.is_loopback() && !self.without.contains(&server.address)
                });
                if !behind.servers.is_empty() {
                    found.servers = behind.servers;
                    break;
                }
            }
        }
        found
    }
}

/// What the resolver file says, or, where tunnels have replaced it, said before them.
fn from_before(path: &Path) -> String {
    let mut file = path.to_owned();
    for _ in 0..MAX_TUNNELS {
        let text = read(&file);
        match tunnel_of(&text) {
            None => return text,
            Some(interface) => file = kept_beside(path, &interface),
        }
    }
    String::new()
}

fn read(path: &Path) -> String {
    fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
}

/// openresolv's list of records without one of them. Each begins with a line that names it.
fn without_record(list: &str, record: &str) -> String {
    let mut ours = false;
    let mut text = String::new();
    for line in list.lines() {
        if let Some(name) = line.strip_prefix("# resolv.conf from ") {
            ours = name.trim() == record;
        }
        if !ours {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::marker;
    use std::os::unix::fs::symlink;

    fn servers(upstreams: &Upstreams) -> Vec<String> {
        upstreams.read().servers.iter().map(|server| server.address.to_string()).collect()
    }

    fn surroundings(folder: &Path) -> Surroundings {
        fs::create_dir(folder.join("resolve")).unwrap();
        Surroundings {
            resolv_conf: folder.join("resolv.conf"),
            resolved_folder: folder.join("resolve"),
            network_manager_upstreams: folder.join("no-stub"),
            hosts: folder.join("hosts"),
        }
    }

    #[test]
    fn servers_are_those_from_before_all_tunnels_and_follow_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let surroundings = surroundings(folder.path());
        let upstreams = Upstreams::of_system(&surroundings);
        assert!(servers(&upstreams).is_empty(), "no file");
        let ours = |name: &str| marker(&name.parse().unwrap()) + "\nnameserver 10.66.0.1\n";
        fs::write(&surroundings.resolv_conf, ours("vpn1")).unwrap();
        fs::write(folder.path().join("resolv.conf.before-vpn1"), ours("vpn0")).unwrap();
        symlink("resolve/dynamic", folder.path().join("resolv.conf.before-vpn0")).unwrap();
        for address in ["192.0.2.1", "192.0.2.2"] {
            fs::write(folder.path().join("resolve/dynamic"), format!("nameserver {address}\n")).unwrap();
            assert_eq!(servers(&upstreams), [address]);
        }
    }

    #[test]
    fn files_that_name_each_other_end() {
        let folder = tempfile::tempdir().unwrap();
        let surroundings = surroundings(folder.path());
        let ours = marker(&"vpn0".parse().unwrap()) + "\nnameserver 10.66.0.1\n";
        fs::write(&surroundings.resolv_conf, &ours).unwrap();
        fs::write(folder.path().join("resolv.conf.before-vpn0"), &ours).unwrap();
        assert!(servers(&Upstreams::of_system(&surroundings)).is_empty());
    }

    #[test]
    fn a_resolver_of_this_host_stands_for_the_servers_behind_it_without_ours() {
        let folder = tempfile::tempdir().unwrap();
        let surroundings = surroundings(folder.path());
        fs::write(&surroundings.resolv_conf, "nameserver 127.0.0.53\nsearch home.test\n").unwrap();
        let mut upstreams = Upstreams::of_system(&surroundings);
        upstreams.without = vec!["10.66.0.1".parse().unwrap()];
        assert_eq!(servers(&upstreams), ["127.0.0.53"], "nothing better is known");
        fs::write(&surroundings.network_manager_upstreams, "nameserver 192.0.2.2\n").unwrap();
        assert_eq!(servers(&upstreams), ["192.0.2.2"]);
        let list = "nameserver 10.66.0.1\nnameserver 192.0.2.1\n";
        fs::write(surroundings.resolved_folder.join("resolv.conf"), list).unwrap();
        assert_eq!(servers(&upstreams), ["192.0.2.1"]);
        assert_eq!(upstreams.read().search, ["home.test"]);
    }

    #[test]
    fn our_record_is_left_out_of_openresolvs_list() {
        let list = "# resolv.conf from vpn0.vpn\nnameserver 10.66.0.1\n\n# resolv.conf from eth0\nnameserver 192.0.2.1\n";
        let found = ResolvConf::parse(&without_record(list, "vpn0.vpn"));
        assert_eq!(found.servers.len(), 1);
        assert_eq!(found.servers[0].address.to_string(), "192.0.2.1");
    }
}
