//! `client rotate`.

use super::{
    apply, begin,
    files::{change_file, free_name, key_file_text, own_key_file},
    find,
    handover::{ClientKey, Handover, OutputArgs, parse_key, server_endpoint},
    peers_folder,
};
use anyhow::{Context as _, ensure};
use clap::{Args, builder::BoolishValueParser};
use ipnet::IpNet;
use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};
use vpn_core::{
    cli::{self, GlobalArgs},
    config::{NewFiles, PeerEdit, PeerName, edit_peer},
};

/// Whose keys, and which.
#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// The client's name
    name: PeerName,
    #[command(flatten)]
    output: OutputArgs,
    /// The client's new public key, when it has made its own key
    #[arg(long, env = "VPN_PUBLIC_KEY", value_name = "KEY", value_parser = parse_key)]
    public_key: Option<[u8; 32]>,
    /// Leave the client's own key as it is, and change the preshared key only
    #[arg(long, env = "VPN_KEEP_KEY", conflicts_with = "public_key", value_parser = BoolishValueParser::new())]
    keep_key: bool,
}

/// Makes new keys. The new preshared key gets a file of its own, so that one change of one file swaps everything.
pub(super) fn rotate(global: &GlobalArgs, file: &Path, args: &RotateArgs) -> anyhow::Result<()> {
    let name = &args.name;
    let (lock, config) = begin(file)?;
    let peer = find(&config, name)?;
    server_endpoint(&config)?;
    let protocol = peer.public_key.protocol();
    let has_own_key = args.keep_key || args.public_key.is_some();
    let destination = args.output.destination(name, protocol, has_own_key)?;
    let key = if args.keep_key {
        ClientKey { public: peer.public_key, private: None }
    } else {
        let key = ClientKey::new(protocol, args.public_key)?;
        key.check_unused(&config)?;
        key
    };
    let hosts = peer.allowed_ips.iter().filter(|network| network.prefix_len() == network.max_prefix_len());
    let addresses: Vec<IpNet> = hosts.copied().collect();
    ensure!(!addresses.is_empty(), "peer {name} has no address of its own in `allowed_ips`: it is no client");
    let preshared_key = cli::random_secret();
    let text =
        Handover { config: &config, name, key: &key, preshared_key: &preshared_key, addresses: &addresses }
            .text()?;
    let folder = peer.file.parent().context("the peer's file is in no folder")?;
    let key_file = free_name(folder, name, "psk");
    let mut files = NewFiles::recorded_in(&peers_folder(file));
    destination.write(&mut files, &text)?;
    files.write(&folder.join(&key_file), &key_file_text(&preshared_key))?;
    destination.print(global, &text)?;
    let edit =
        PeerEdit { public_key: Some(key.public), preshared_key_file: Some(&key_file), ..PeerEdit::default() };
    let changed = change_file(file, &peer.file, |text| edit_peer(text, name, &edit))?;
    files.keep();
    if let Some(old) = own_key_file(&config, peer, folder) {
        fs::remove_file(old).with_context(|| format!("{} cannot be removed", old.display()))?;
    }
    drop(lock);
    let _ = writeln!(io::stderr(), "{name} has new keys{}", destination.note());
    apply(global, &changed)
}
