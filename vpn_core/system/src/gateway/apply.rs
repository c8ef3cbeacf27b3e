//! Making the gateway's changes.

use std::fs;

use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use tracing::{info, warn};

use super::{
    Egress, GatewayConfig, GatewayError, foreign,
    iptables::{self, iptables_text},
    nft::{nft_text, table_name},
};
use crate::journal::{
    Change, CommandError, EntryId, Family, IPTABLES_WAIT, InterfaceName, Journal, JournalError, MAIN_TABLE,
    installed,
    netlink::{Netlink, table_of_route},
    run, sysctl,
};

const IPV4_FORWARDING: &str = "net/ipv4/ip_forward";
const IPV6_FORWARDING: &str = "net/ipv6/conf/all/forwarding";

/// A running gateway: what [`Gateway::stop`] undoes.
#[derive(Debug)]
pub struct Gateway {
    entries: Vec<EntryId>,
}

impl Gateway {
    /// Turns this host into a gateway for the tunnel. Blocks for some milliseconds: it runs the firewall programs.
    ///
    /// To change a running gateway, stop it and start another: connection tracking keeps established flows.
    ///
    /// # Errors
    /// [`GatewayError`]; everything that had been changed is undone.
    pub fn start(config: &GatewayConfig, journal: &mut Journal) -> Result<Self, GatewayError> {
        let mut gateway = Self { entries: Vec::new() };
        match gateway.make_changes(config, journal) {
            Ok(()) => {
                info!(interface = %config.interface, nat = config.nat, "gateway started");
                Ok(gateway)
            }
            Err(error) => {
                if let Err(undo) = gateway.stop(journal) {
                    warn!(%undo, "a gateway that could not start left something behind");
                }
                Err(error)
            }
        }
    }

    /// Undoes everything that [`Gateway::start`] changed.
    ///
    /// # Errors
    /// [`JournalError::Undo`] names what could not be undone.
    pub fn stop(self, journal: &mut Journal) -> Result<(), JournalError> {
        journal.undo(&self.entries)
    }

    fn make_changes(&mut self, config: &GatewayConfig, journal: &mut Journal) -> Result<(), GatewayError> {
        let egress = detect_egress(&config.interface)?;
        match (&config.egress, &egress) {
            (Egress::Auto, None) => {
                warn!("no default route yet: the gateway forwards as soon as there is one");
            }
            (Egress::Auto, Some(found)) => info!(egress = found, "egress is where the default route leads"),
            (Egress::Interface(name), _) => {
                if config.nat && sysctl::read(&format!("net/ipv4/conf/{name}/forwarding")).is_err() {
                    warn!(egress = %name, "there is no such interface yet: no addresses are translated until there is");
                }
            }
        }
        let mut families = config.families();
        if families.contains(&Family::V6) && sysctl::read(IPV6_FORWARDING).is_err() {
            warn!("this kernel has no IPv6: the IPv6 pools are not forwarded");
            families.retain(|family| *family == Family::V4);
        }
        if families.contains(&Family::V6) {
            self.forward_ipv6(config, egress, journal)?;
        }
        self.forward_ipv4(journal)?;
        if installed("nft") {
            self.write_nft(config, &families, journal)
        } else {
            self.write_iptables(config, &families, journal)
        }
    }

    fn forward_ipv4(&mut self, journal: &mut Journal) -> Result<(), JournalError> {
        // The kernel sets all of these along with ip_forward.
        let mut dependents = sysctl::each("net/ipv4/conf", "forwarding");
        dependents.retain(|key| key != "net/ipv4/conf/all/forwarding");
        dependents.push("net/ipv4/conf/all/accept_redirects".into());
        self.entries.push(journal.set_sysctl(IPV4_FORWARDING, "1", &dependents)?);
        Ok(())
    }

    fn forward_ipv6(
        &mut self,
        config: &GatewayConfig,
        egress: Option<String>,
        journal: &mut Journal,
    ) -> Result<(), JournalError> {
        let mut uplinks = default_route_interfaces(Family::V6)?;
        uplinks.extend(egress);
        if let Egress::Interface(name) = &config.egress {
            uplinks.push(name.to_string());
        }
        uplinks.sort();
        uplinks.dedup();
        for uplink in uplinks.iter().filter(|uplink| *uplink != config.interface.as_str()) {
            let key = format!("net/ipv6/conf/{uplink}/accept_ra");
            let forwarding = format!("net/ipv6/conf/{uplink}/forwarding");
            // 0 is somebody's decision, 2 is enough already; with forwarding on, 1 listens to nobody as it is.
            // Another instance's 2 is recorded again, so that it stays until we stop.
            let listens = match sysctl::read(&key).as_deref() {
                Ok("1") => sysctl::read(&forwarding).is_ok_and(|value| value == "0"),
                Ok("2") => holds(&journal.held_by_others()?, &key),
                Ok(_) | Err(_) => false,
            };
            // Before forwarding: turning that on drops the default routes learned from advertisements.
            if listens {
                self.entries.push(journal.set_sysctl(&key, "2", &[])?);
            }
        }
        let mut dependents = sysctl::each("net/ipv6/conf", "forwarding");
        dependents.retain(|key| key != IPV6_FORWARDING);
        self.entries.push(journal.set_sysctl(IPV6_FORWARDING, "1", &dependents)?);
        Ok(())
    }

    fn write_nft(
        &mut self,
        config: &GatewayConfig,
        families: &[Family],
        journal: &mut Journal,
    ) -> Result<(), GatewayError> {
        let table = Change::NftTable { family: "inet".into(), name: table_name(&config.interface) };
        self.entries.push(journal.record(table)?);
        run("nft", &["-f", "-"], Some(&nft_text(config)))?;
        self.open_foreign_chains(config, families, journal)
    }

    /// Lets our traffic through iptables' FORWARD where its policy is DROP; says what to do about other firewalls.
    fn open_foreign_chains(
        &mut self,
        config: &GatewayConfig,
        families: &[Family],
        journal: &mut Journal,
    ) -> Result<(), GatewayError> {
        let chains =
            foreign::read_chains(&run("nft", &["list", "chains"], None)?, &table_name(&config.interface));
        let tunnel = &config.interface;
        for chain in chains.dropping.iter().filter(|chain| !chain.is_iptables()) {
            let (family, table, name) = (&chain.family, &chain.table, &chain.chain);
            warn!(
                "the nftables chain {family} {table} {name} drops forwarded packets. To let the tunnel's through: \
                 nft insert rule {family} {table} {name} iifname {tunnel} accept; \
                 nft insert rule {family} {table} {name} oifname {tunnel} accept"
            );
        }
        if chains.firewalld {
            warn!(
                "firewalld may drop the tunnel's packets. To let them through: \
                 firewall-cmd --permanent --zone=trusted --add-interface={tunnel} && firewall-cmd --reload"
            );
        }
        for family in families {
            // Asking iptables would make it create its tables, so only where they exist.
            let nft_family = if *family == Family::V4 { "ip" } else { "ip6" };
            let by_nft =
                chains.dropping.iter().any(|chain| chain.is_iptables() && chain.family == nft_family);
            if !(by_nft || legacy_filter_in_use(*family)) {
                continue;
            }
            if installed(family.iptables()) && forward_policy_is_drop(*family)? {
                self.insert_accept_rules(config, *family, journal)?;
            } else if by_nft {
                let program = family.iptables();
                warn!(
                    "chain FORWARD drops forwarded packets and {program} is missing: install the package iptables"
                );
            }
        }
        Ok(())
    }

    fn insert_accept_rules(
        &mut self,
        config: &GatewayConfig,
        family: Family,
        journal: &mut Journal,
    ) -> Result<(), GatewayError> {
        info!(program = family.iptables(), "FORWARD has policy DROP: inserting accept rules for the tunnel");
        for rule in iptables::accept_rules(config).into_iter().rev() {
            let arguments: Vec<&str> = ["-w", IPTABLES_WAIT, "-I", "FORWARD", "1"]
                .into_iter()
                .chain(rule.iter().map(String::as_str))
                .collect();
            let (table, chain) = ("filter".to_owned(), "FORWARD".to_owned());
            self.entries.push(journal.record(Change::IptablesRule {
                family,
                table,
                chain,
                rule: rule.clone(),
            })?);
            run(family.iptables(), &arguments, None)?;
        }
        Ok(())
    }

    fn write_iptables(
        &mut self,
        config: &GatewayConfig,
        families: &[Family],
        journal: &mut Journal,
    ) -> Result<(), GatewayError> {
        for family in families {
            let program = family.iptables();
            if !installed(program) {
                if !config.nat && config.client_to_client {
                    // Nothing to translate and nothing to keep apart: forwarding works without rules.
                    warn!(
                        "neither nft nor {program} is found: TCP segment sizes are not adapted to the tunnel"
                    );
                    continue;
                }
                return Err(match config.pools_of(*family).first() {
                    Some(pool) if *family == Family::V6 => {
                        GatewayError::MissingFamily { program, pool: *pool }
                    }
                    _ => GatewayError::NoFirewall,
                });
            }
            let ids = journal.record_all(iptables::changes(config, *family))?;
            self.entries.extend(&ids);
            let restore = format!("{program}-restore");
            run(&restore, &["-w", IPTABLES_WAIT, "--noflush"], Some(&iptables_text(config, *family)))?;
        }
        Ok(())
    }
}

/// The interface that the default route of the main table leads to: IPv4's, else IPv6's; `None` without one. The
/// tunnel itself does not count. Of several the one with the lowest metric.
///
/// # Errors
/// [`JournalError::Netlink`].
pub fn detect_egress(tunnel: &InterfaceName) -> Result<Option<String>, JournalError> {
    for family in [Family::V4, Family::V6] {
        let found = default_route_interfaces(family)?.into_iter().find(|name| name != tunnel.as_str());
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The interfaces of a family's default routes in the main table, the lowest metric first.
fn default_route_interfaces(family: Family) -> Result<Vec<String>, JournalError> {
    let mut netlink = Netlink::open().map_err(JournalError::Netlink)?;
    let routes = netlink.routes(family).map_err(JournalError::Netlink)?;
    let mut defaults: Vec<(u32, u32)> = routes
        .iter()
        .filter(|route| {
            route.header.destination_prefix_length == 0
                && route.header.kind == RouteType::Unicast
                && table_of_route(route) == MAIN_TABLE
        })
        .flat_map(|route| devices(route).into_iter().map(|device| (metric(route), device)))
        .collect();
    defaults.sort_unstable();
    // An interface that goes away between the two questions is passed over.
    Ok(defaults.into_iter().filter_map(|(_, device)| netlink.interface_name(device).ok()).collect())
}

fn devices(route: &RouteMessage) -> Vec<u32> {
    route
        .attributes
        .iter()
        .flat_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => vec![*index],
            RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
            _ => Vec::new(),
        })
        .collect()
}

fn metric(route: &RouteMessage) -> u32 {
    let given = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    given.unwrap_or(0)
}

fn holds(changes: &[Change], key: &str) -> bool {
    changes.iter().any(|change| matches!(change, Change::Sysctl { set, .. } if set.key == key))
}

/// Whether the old iptables kernel interface has a filter table: nft does not see that one.
fn legacy_filter_in_use(family: Family) -> bool {
    let path = match family {
        Family::V4 => "/proc/net/ip_tables_names",
        Family::V6 => "/proc/net/ip6_tables_names",
    };
    fs::read_to_string(path).is_ok_and(|names| names.lines().any(|name| name == "filter"))
}

fn forward_policy_is_drop(family: Family) -> Result<bool, CommandError> {
    let rules = run(family.iptables(), &["-w", IPTABLES_WAIT, "-S", "FORWARD"], None)?;
    Ok(rules.lines().any(|rule| rule == "-P FORWARD DROP"))
}
