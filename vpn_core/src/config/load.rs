//! From files to a [`Config`]: reads everything, then checks what only shows across tables and files.

use super::{
    Config, ConfigError, GatewayConfig, InterfaceConfig, InterfaceName, Role,
    across::check_peers,
    control::{ControlConfig, read_control},
    fault::{Complaint, Fault, Position},
    interface::{DEFAULT_NAME, read_gateway, read_interface},
    key::{is_private, open, unreadable},
    leftovers::warn_of_leftovers,
    peer::{ReadPeer, read_peer},
    table::{Source, Table},
    trust,
};
use crate::base::decode_text;
use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::SystemTime,
};
use toml::de::DeTable;
use zeroize::Zeroizing;

/// Folder beside a configuration file with more peers.
pub const PEERS_FOLDER: &str = "peers.d";
/// Most bytes of one configuration file: about a hundred thousand peers; bounds memory on a wrong path.
const MAX_FILE: u64 = 32 << 20;

#[derive(Default)]
struct Findings {
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    peers: Vec<ReadPeer>,
    /// Whether files that others can write are read as well: only for what they cannot do harm with.
    trusting: bool,
}

pub(super) fn load(path: &Path, role: Role, now: SystemTime) -> Result<Config, ConfigError> {
    let mut findings = Findings::default();
    let way_faults = check_ways(path);
    let parts = read_main_file(path, role, &mut findings);
    for file in peer_files(path, &mut findings) {
        read_peer_file(&file, &mut findings);
    }
    // The same folder may be on the way to a key as well.
    let told: Vec<String> = way_faults.iter().map(|fault| fault.message.clone()).collect();
    findings.faults.retain(|fault| !told.contains(&fault.message));
    findings.faults.splice(0..0, way_faults);
    let Findings { faults, warnings, peers, .. } = &mut findings;
    check_peers(parts.as_ref().map(|parts| &parts.interface), peers, now, faults, warnings);
    if let Some(parts) = parts.as_ref().filter(|_| findings.faults.is_empty()) {
        check_reachability(path, parts, role, &mut findings);
    }
    warn_of_leftovers(path, &findings.peers, &mut findings.warnings);
    let Findings { faults, warnings, peers, .. } = findings;
    let (Some(MainParts { interface, gateway, control, .. }), true) = (parts, faults.is_empty()) else {
        return Err(ConfigError::new(faults));
    };
    let peers = peers.into_iter().map(|read| read.peer).collect();
    Ok(Config { file: path.to_owned(), interface, gateway, control, peers, warnings })
}

pub(super) fn interface_name(path: &Path) -> Result<InterfaceName, ConfigError> {
    let mut findings = Findings { trusting: true, ..Findings::default() };
    let mut name = None;
    with_document(path, &mut findings, |source, mut top| {
        let table = top.take_table(source, "interface", "[interface]");
        name = match table.and_then(|mut table| table.take("name")) {
            Some(value) => source.parsed(&value),
            None => DEFAULT_NAME.parse().ok(),
        };
        Vec::new()
    });
    name.ok_or_else(|| ConfigError::new(findings.faults))
}

/// What the main file says, apart from peers.
struct MainParts {
    interface: InterfaceConfig,
    /// Where the `[interface]` table begins.
    at: Position,
    gateway: Option<GatewayConfig>,
    control: ControlConfig,
}

fn read_main_file(path: &Path, role: Role, findings: &mut Findings) -> Option<MainParts> {
    let mut parts = None;
    with_document(path, findings, |source, mut top| {
        let interface = top.take_table(source, "interface", "[interface]");
        if interface.is_none() {
            let remedy = match role {
                Role::Server => "`vpn-server init` writes one",
                Role::Client => "`vpn-server client add` writes a client's file",
            };
            source.fault(top.span(), Complaint::new("there is no [interface] table", remedy));
        }
        let at = interface.as_ref().map(|table| source.position(table.span()));
        let interface = interface.and_then(|table| read_interface(source, table, role));
        let gateway = top.take_table(source, "gateway", "[gateway]");
        let gateway = gateway.and_then(|table| read_gateway(source, table, role));
        let control = top.take_table(source, "control", "[control]");
        let control = control.map(|table| read_control(source, table)).unwrap_or_default();
        let peers = read_peers(source, &mut top);
        top.finish(source);
        parts = interface.zip(at).map(|(interface, at)| MainParts { interface, at, gateway, control });
        peers
    });
    parts
}

fn read_peer_file(path: &Path, findings: &mut Findings) {
    with_document(path, findings, |source, mut top| {
        let peers = read_peers(source, &mut top);
        top.finish(source);
        peers
    });
}

fn read_peers<'t>(source: &mut Source<'t>, top: &mut Table<'t>) -> Vec<ReadPeer> {
    let tables = top.take_tables(source, "peer", "[[peer]]");
    tables.into_iter().filter_map(|table| read_peer(source, table)).collect()
}

/// Opens and parses one file, lets `read` take its tables, and keeps what was found.
fn with_document(
    path: &Path,
    findings: &mut Findings,
    read: impl for<'t> FnOnce(&mut Source<'t>, Table<'t>) -> Vec<ReadPeer>,
) {
    let (text, private) = match read_text(path, findings.trusting) {
        Ok(text) => text,
        Err(complaint) => return findings.faults.push(complaint.at(path, None)),
    };
    let mut source = Source::new(path, &text, private);
    let (document, errors) = DeTable::parse_recoverable(&text);
    if errors.is_empty() {
        let top = Table::new("", 0..0, document.get_ref());
        findings.peers.extend(read(&mut source, top));
    }
    source.syntax_faults(&errors);
    source.faults.sort_by_key(|fault| fault.at);
    findings.faults.append(&mut source.faults);
}

fn read_text(path: &Path, trusting: bool) -> Result<(Zeroizing<String>, bool), Complaint> {
    let (file, metadata) = open(path).map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        return Err(Complaint::new("this is not a regular file", "name a configuration file"));
    }
    if !trusting {
        trust::check_file(path, &metadata)?;
    }
    if metadata.len() > MAX_FILE {
        return Err(Complaint::new("this is too large for a configuration", "name a configuration file"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    let text = decode_text(&bytes).map_err(|error| {
        Complaint::new(error.to_string(), "save the file as UTF-8 text, in an editor or with `iconv`")
    })?;
    Ok((Zeroizing::new(text.to_owned()), is_private(&metadata)))
}

/// Refuses folders in which others can exchange the files.
fn check_ways(main: &Path) -> Vec<Fault> {
    let peers = main.parent().unwrap_or(Path::new("")).join(PEERS_FOLDER);
    let checked = [(trust::check_way_to(main), main), (trust::check_way_to(&peers), &peers)];
    let mut faults: Vec<Fault> =
        checked.into_iter().filter_map(|(checked, at)| Some(checked.err()?.at(at, None))).collect();
    // Both ways are the same but for the end.
    faults.dedup_by(|second, first| second.message == first.message);
    faults
}

/// The files of the peers folder in the order of their names; hidden ones are left out.
fn peer_files(main: &Path, findings: &mut Findings) -> Vec<PathBuf> {
    let folder = main.parent().unwrap_or(Path::new("")).join(PEERS_FOLDER);
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    };
    match list() {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            findings.faults.push(unreadable(&folder, &error).at(&folder, None));
            Vec::new()
        }
    }
}

/// A node that neither listens nor knows where its peer is can never talk to it.
fn check_reachability(path: &Path, main: &MainParts, role: Role, findings: &mut Findings) {
    let Findings { faults, peers, .. } = findings;
    let remedy = "add listen = \"[::]:51820\" to [interface], or an endpoint to the peer";
    match role {
        Role::Client if peers.is_empty() => {
            let complaint =
                Complaint::new("there is no [[peer]] to connect to", "add the server as a [[peer]]");
            faults.push(complaint.at(path, Some(main.at)));
        }
        Role::Server if peers.is_empty() && main.interface.listen.is_none() => {
            let remedy = "add listen = \"[::]:51820\" to [interface]";
            faults.push(
                Complaint::new("a server without `listen` cannot be reached", remedy).at(path, Some(main.at)),
            );
        }
        Role::Client | Role::Server => {}
    }
    if main.interface.listen.is_some() {
        return;
    }
    for peer in peers.iter().map(|read| &read.peer).filter(|peer| peer.endpoints.is_empty()) {
        let message = format!("peer {} has no `endpoint`, and this node does not `listen`", peer.name);
        faults.push(Complaint::new(message, remedy).at(&peer.file, Some(peer.at)));
    }
}
