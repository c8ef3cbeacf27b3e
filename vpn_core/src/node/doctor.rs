//! What this host has for a tunnel and what it lacks, without a tunnel.
//!
//! Nothing stays changed: the one thing that is made is a TUN device, which is down and gone again before the answer is
//! there. That is the only way to learn which offloads the kernel has.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(target_os = "macos")]
use macos as system;

use super::{
    NodeOptions,
    lockdown::{Interfaces, interfaces, journalled_interfaces, locked_down, unseen_iptables, unseen_tables},
    remains::{Orphan, Use, left_in_iptables, left_in_place, orphans, use_of, wait_until_free},
};
use crate::{
    control::{ControlClient, ControlError, Status, socket_path},
    engine::{OffloadSet, supported_suites},
    journal::{InterfaceName, Journal, JournalError},
    local_tun::{Tun, TunError},
    udp::UdpSocket,
    wire::hybrid::SuiteSet,
};
use nix::{net::if_::if_nametoindex, unistd::Uid};
use serde::Serialize;
use std::{net::SocketAddr, time::Duration};

/// How long a node may take to answer whether it lives.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a socket's buffer should hold at least, in bytes as the kernel counts them: twice what was asked for.
const SMALL_BUFFER: usize = 2 << 20;

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Nothing is wrong, and it may matter.
    Notice,
    /// A tunnel works, and something about it could be better.
    Warning,
    /// No tunnel without this.
    Bad,
    /// Not to be seen without privileges.
    NotPermitted,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub subject: &'static str,
    /// How it is to be taken.
    pub verdict: Verdict,
    /// How it is.
    pub text: String,
    /// What to do about it, where the text does not say that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn good(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Good, text: text.into(), remedy: None }
    }

    fn notice(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Notice, text: text.into(), remedy: None }
    }

    fn warning(subject: &'static str, text: impl Into<String>, remedy: &str) -> Self {
        Self { subject, verdict: Verdict::Warning, text: text.into(), remedy: Some(remedy.to_owned()) }
    }

    /// `text` says what to do as well.
    fn bad(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Bad, text: text.into(), remedy: None }
    }

    fn not_permitted(subject: &'static str, text: impl Into<String>) -> Self {
        let remedy = Some("run this as root".to_owned());
        Self { subject, verdict: Verdict::NotPermitted, text: text.into(), remedy }
    }
}

/// Looks at everything.
pub fn examine(options: &NodeOptions) -> Vec<Finding> {
    let mut findings = vec![tun(), udp(), cipher()];
    findings.extend(system::examine());
    findings.extend(tunnels(options));
    findings.extend(left_behind(options));
    findings
}

/// What the tunnels that run say is wrong.
fn tunnels(options: &NodeOptions) -> Vec<Finding> {
    const SUBJECT: &str = "tunnel";
    const REMEDY: &str = "do as it says; where it is meant to be so, nothing";
    let names = journalled_interfaces(&options.state_folder).unwrap_or_default();
    let statuses = names
        .iter()
        .filter_map(|name| ControlClient::new(socket_path(&options.run_folder, name.as_str())).status().ok());
    let findings = statuses.flat_map(|Status { interface, .. }| {
        let name = interface.name;
        let warnings = interface.warnings.into_iter().map({
            let name = name.clone();
            move |text| Finding::warning(SUBJECT, format!("{name}: {text}"), REMEDY)
        });
        let notes = interface.notes.into_iter();
        warnings.chain(notes.map(move |text| Finding::notice(SUBJECT, format!("{name}: {text}"))))
    });
    findings.collect()
}

fn tun() -> Finding {
    const SUBJECT: &str = "TUN device";
    let name = system::probe_name();
    match Tun::create(&OffloadSet::AUTO.tun_config(name)) {
        Ok(tun) => {
            let in_force = OffloadSet { tun: tun.offloads(), ..OffloadSet::OFF };
            Finding::good(SUBJECT, format!("offloads: {in_force}"))
        }
        Err(error @ TunError::NotPermitted { .. }) => Finding::not_permitted(SUBJECT, error.to_string()),
        Err(error) => Finding::bad(SUBJECT, error.to_string()),
    }
}

fn udp() -> Finding {
    const SUBJECT: &str = "UDP";
    let any = SocketAddr::from(([0_u16; 8], 0));
    let socket = match UdpSocket::bind(&OffloadSet::AUTO.udp_config(any)) {
        Ok(socket) => socket,
        Err(error) => return Finding::bad(SUBJECT, error.to_string()),
    };
    let in_force = OffloadSet { gso: socket.gso(), gro: socket.gro(), ..OffloadSet::OFF };
    let (receive, send) = socket.buffer_sizes().unwrap_or_default();
    let text = format!("offloads: {in_force}; buffers of {} and {} KiB", receive >> 10, send >> 10);
    if receive.min(send) < SMALL_BUFFER {
        return Finding::warning(SUBJECT, text, system::LARGER_BUFFERS);
    }
    Finding::good(SUBJECT, text)
}

fn cipher() -> Finding {
    let aes = supported_suites() == SuiteSet::WITH_AES_256_GCM;
    let text = if aes { "AES-256-GCM in hardware" } else { "ChaCha20-Poly1305; no AES in hardware" };
    Finding::good("cipher", text)
}

/// What is there of nodes that do not run: by their journals, and without one.
fn left_behind(options: &NodeOptions) -> Vec<Finding> {
    const SUBJECT: &str = "left behind";
    let (interfaces, unseen) = match interfaces(&options.state_folder) {
        Ok(Interfaces { names, unseen }) => (names, unseen.map(|error| unseen_finding(SUBJECT, &error))),
        Err(error) => return vec![unseen_finding(SUBJECT, &error)],
    };
    let journalled = journalled_interfaces(&options.state_folder).unwrap_or_default();
    let locked = locked_down(options).unwrap_or_default();
    let mut findings: Vec<Finding> = unseen.into_iter().collect();
    for name in interfaces {
        let is_journalled = journalled.contains(&name);
        let node = ControlClient::new(socket_path(&options.run_folder, name.as_str()));
        match node.status_within(PATIENCE) {
            // The second while the process that was killed is still being taken apart.
            Err(ControlError::NotRunning(_) | ControlError::Ended(_)) => {}
            Err(error @ ControlError::Unresponsive { .. }) => {
                let remedy = "end it, then run `vpn-client cleanup`";
                findings.push(Finding::warning(SUBJECT, format!("{name} is not known: {error}"), remedy));
                continue;
            }
            Ok(_)
            | Err(
                ControlError::NotPermitted(_)
                | ControlError::Denied(_)
                | ControlError::Refused(_)
                | ControlError::Answer(_)
                | ControlError::System { .. },
            ) => continue,
        }
        // Of a node with other folders.
        if !is_journalled && !wait_until_free(&name) {
            continue;
        }
        // What `cleanup` leaves alone, it also says why.
        findings.extend(left_in_place(&name).into_iter().map(|why| Finding::notice(SUBJECT, why)));
        let has_remains =
            Journal::left_behind(&options.state_folder, &name).map_or(true, |left| !left.is_empty());
        if is_journalled || has_remains {
            findings.push(ended(SUBJECT, &name, locked.contains(&name)));
        }
    }
    findings.extend(nameless(options));
    findings.extend(match left_in_iptables(&journalled) {
        Ok(left) => left.into_iter().map(|why| Finding::notice(SUBJECT, why)).collect(),
        Err(error) if Uid::effective().is_root() => vec![Finding::notice(SUBJECT, unseen_iptables(&error))],
        Err(error) => vec![Finding::not_permitted(SUBJECT, error.to_string())],
    });
    findings.extend(Journal::set_aside_in(&options.state_folder).iter().map(|path| {
        let text = format!("{} is a journal that could not be read in full", path.display());
        let remedy =
            "see whether what its lines name is still in force, undo that by hand, and remove the file";
        Finding::warning(SUBJECT, text, remedy)
    }));
    if findings.is_empty() { vec![Finding::good(SUBJECT, "nothing")] } else { findings }
}

fn ended(subject: &'static str, name: &InterfaceName, is_locked_down: bool) -> Finding {
    let device = if if_nametoindex(name.as_str()).is_ok() { ", and its device is still there" } else { "" };
    let switch = if is_locked_down { ", and its kill switch is in force" } else { "" };
    let text = format!("{name} ended without undoing what it had changed{device}{switch}");
    Finding::warning(subject, text, "run `vpn-client cleanup`, or start it again")
}

/// What could not be looked at: only root's word helps where privileges are missing.
fn unseen_finding(subject: &'static str, error: &JournalError) -> Finding {
    if error.is_not_permitted() || !Uid::effective().is_root() {
        return Finding::not_permitted(subject, error.to_string());
    }
    match error {
        JournalError::Command(_) => Finding::notice(subject, unseen_tables(error)),
        _ => Finding::warning(subject, error.to_string(), "do as it says, and look again"),
    }
}

/// Rules and routes that no journal names and no program uses, or that may be somebody else's.
fn nameless(options: &NodeOptions) -> Vec<Finding> {
    const SUBJECT: &str = "left behind";
    let orphans = match orphans(&options.state_folder) {
        Ok(orphans) => orphans,
        Err(error) => return vec![unseen_finding(SUBJECT, &error)],
    };
    let finding = |orphan: &Orphan| {
        Some(match use_of(orphan) {
            Use::Unused => {
                let text = format!("{orphan} are in force, and no program uses them");
                Finding::warning(SUBJECT, text, "run `vpn-client cleanup`")
            }
            Use::Used(_) => return None,
            Use::Doubtful(why) => Finding::notice(SUBJECT, why),
            Use::Unknown(why) if Uid::effective().is_root() => Finding::notice(SUBJECT, why),
            Use::Unknown(why) => Finding::not_permitted(SUBJECT, why),
        })
    };
    orphans.iter().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn options(folder: &Path) -> NodeOptions {
        NodeOptions { run_folder: folder.join("run"), state_folder: folder.join("state"), offload: None }
    }

    #[test]
    fn a_journal_without_a_node_is_named_and_none_is_good() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = options(folder.path());
        assert_eq!(left_behind(&options), [Finding::good("left behind", "nothing")]);
        std::fs::create_dir_all(&options.state_folder).expect("made");
        std::fs::write(options.state_folder.join("nosuch0.journal"), "").expect("written");
        let found = left_behind(&options);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].verdict, Verdict::Warning);
        assert!(found[0].text.starts_with("nosuch0 ended"), "{found:?}");
        assert!(options.state_folder.join("nosuch0.journal").exists(), "looking undoes nothing");
    }

    #[test]
    fn every_warning_says_what_to_do_and_nothing_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        for finding in examine(&options(folder.path())) {
            let says = finding.remedy.is_some();
            assert!(
                says || matches!(finding.verdict, Verdict::Good | Verdict::Notice | Verdict::Bad),
                "{finding:?}"
            );
        }
        let device = system::probe_name();
        assert!(if_nametoindex(device.as_str()).is_err(), "{device} is still there");
    }
}
