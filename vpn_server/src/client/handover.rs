//! What a client is handed: a file, a text on the standard output, or a QR code.

use crate::qr;
use anyhow::{Context as _, ensure};
use clap::{Args, builder::BoolishValueParser};
use ipnet::IpNet;
use std::{
    ffi::OsStr,
    io::{self, Write as _},
    path::PathBuf,
};
use vpn_core::{
    asymmetric::{Identity, PublicKey, X25519PublicKey, X25519SecretKey},
    base::{SecretBytes, decode_key},
    cli::{self, GlobalArgs, Usage},
    config::{ClientFile, ClientIdentity, Config, EndpointName, NewFiles, PeerName, WireguardFile},
    handshake::{PeerKey, Protocol},
};
use zeroize::Zeroizing;

/// Where the client's file goes.
#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// Where to write the client's file; `-` for the standard output [default: NAME.toml, or NAME.conf for WireGuard]
    #[arg(long, env = "VPN_OUT", value_name = "FILE")]
    out: Option<PathBuf>,
    /// Show the file as a QR code, for a WireGuard app; without --out this is the only copy of it
    #[arg(long, env = "VPN_QR", value_parser = BoolishValueParser::new())]
    qr: bool,
}

/// The client's own key pair, as far as the server knows it.
pub(super) struct ClientKey {
    pub(super) public: PeerKey,
    /// `None` where the client has made it.
    pub(super) private: Option<SecretBytes<32>>,
}

/// The contents of a client's file.
pub(super) struct Handover<'a> {
    pub(super) config: &'a Config,
    pub(super) name: &'a PeerName,
    pub(super) key: &'a ClientKey,
    pub(super) preshared_key: &'a SecretBytes<32>,
    pub(super) addresses: &'a [IpNet],
}

/// Where they go, once that is known to make sense.
pub(super) struct Destination {
    file: Option<PathBuf>,
    screen: Option<Form>,
}

#[derive(Clone, Copy)]
enum Form {
    Text,
    QrCode,
}

impl ClientKey {
    /// Makes a key pair, or takes the public key of one that the client has made.
    pub(super) fn new(protocol: Protocol, given: Option<[u8; 32]>) -> anyhow::Result<Self> {
        let unusable = |kind| Usage(format!("--public-key: this is not a usable {kind} public key"));
        Ok(match (protocol, given) {
            (Protocol::Hybrid, None) => {
                let private = cli::random_secret();
                Self { public: Identity::from_seed(&private).public_key().into(), private: Some(private) }
            }
            (Protocol::Wireguard, None) => {
                let private = cli::random_wireguard_key();
                Self { public: X25519SecretKey::new(&private).public_key().into(), private: Some(private) }
            }
            (Protocol::Hybrid, Some(bytes)) => {
                ensure!(PublicKey(bytes).is_acceptable(), unusable("Ed25519"));
                Self { public: PublicKey(bytes).into(), private: None }
            }
            (Protocol::Wireguard, Some(bytes)) => {
                ensure!(X25519PublicKey(bytes).is_acceptable(), unusable("X25519"));
                Self { public: X25519PublicKey(bytes).into(), private: None }
            }
        })
    }

    /// Refuses a key that somebody else has already, in either handshake.
    pub(super) fn check_unused(&self, config: &Config) -> anyhow::Result<()> {
        let same = |key: &PeerKey| key.as_bytes() == self.public.as_bytes();
        if let Some(peer) = config.peers.iter().find(|peer| same(&peer.public_key)) {
            anyhow::bail!("peer {} has this public key already; each client has a key of its own", peer.name);
        }
        let own = [Protocol::Hybrid, Protocol::Wireguard].map(|protocol| config.interface.own_key(protocol));
        ensure!(!own.iter().flatten().any(same), "this is the server's own public key");
        Ok(())
    }
}

/// Reads `--public-key`; of which kind it is, only the other arguments tell.
pub(super) fn parse_key(text: &str) -> Result<[u8; 32], String> {
    decode_key(text).map_err(|error| error.to_string())
}

/// Where clients reach the server.
pub(super) fn server_endpoint(config: &Config) -> anyhow::Result<&EndpointName> {
    config.gateway.as_ref().and_then(|gateway| gateway.endpoint.as_ref()).with_context(|| {
        let file = config.file.display();
        format!("{file}: [gateway] has no `endpoint`, which the client needs; add endpoint = \"HOST:PORT\"")
    })
}

impl Handover<'_> {
    /// The file's text, which holds secrets.
    pub(super) fn text(&self) -> anyhow::Result<Zeroizing<String>> {
        let Self { name, preshared_key, addresses, .. } = *self;
        let interface = &self.config.interface;
        let endpoint = server_endpoint(self.config)?;
        let private_key = self.key.private.as_ref();
        Ok(match self.key.public.protocol() {
            Protocol::Hybrid => ClientFile {
                name,
                identity: private_key.map_or(ClientIdentity::WithClient, ClientIdentity::Inline),
                addresses,
                networks: &interface.addresses,
                mtu: interface.mtu,
                dns: &interface.dns,
                network_key: interface.network_key.as_ref(),
                server: interface.identity.public_key(),
                endpoint,
                preshared_key,
            }
            .text(),
            Protocol::Wireguard => WireguardFile {
                name,
                private_key,
                addresses,
                mtu: interface.mtu.initial(),
                dns: &interface.dns,
                server: interface.wireguard_public_key().context("the server has no WireGuard key")?,
                endpoint,
                preshared_key,
            }
            .text(),
        })
    }
}

impl OutputArgs {
    /// Refuses what cannot be done, before anything is.
    pub(super) fn destination(
        &self,
        name: &PeerName,
        protocol: Protocol,
        has_own_key: bool,
    ) -> anyhow::Result<Destination> {
        let usage = |text: &str| Err(Usage(text.to_owned()).into());
        let to_stdout = self.out.as_deref().is_some_and(|out| out == "-");
        if self.qr && protocol == Protocol::Hybrid {
            return usage("--qr: no app reads a hybrid client's file; for a WireGuard app add --wireguard");
        }
        if self.qr && has_own_key {
            return usage(
                "--qr: apps want the private key in the code, which only the client has; use --out",
            );
        }
        if self.qr && to_stdout {
            return usage("--qr and --out - would both write to the standard output; give one of them");
        }
        let default = || match protocol {
            Protocol::Hybrid => format!("{name}.toml").into(),
            Protocol::Wireguard => format!("{name}.conf").into(),
        };
        let (file, screen) = match (&self.out, self.qr) {
            (Some(_), false) if to_stdout => (None, Some(Form::Text)),
            (None, true) => (None, Some(Form::QrCode)),
            (Some(out), true) => (Some(out.clone()), Some(Form::QrCode)),
            (out, false) => (Some(out.clone().unwrap_or_else(default)), None),
        };
        if let (Some(file), Protocol::Wireguard) = (&file, protocol) {
            warn_of_file_name(file.file_name().unwrap_or_default());
        }
        Ok(Destination { file, screen })
    }
}

impl Destination {
    /// Writes the file, if there is to be one.
    pub(super) fn write(&self, files: &mut NewFiles, text: &str) -> anyhow::Result<()> {
        match &self.file {
            Some(file) => Ok(files.write(file, text)?),
            None => Ok(()),
        }
    }

    /// Prints what is to be on the screen. It may be the only copy of the client's key, so an error here means that
    /// nobody took it.
    pub(super) fn print(&self, global: &GlobalArgs, text: &str) -> anyhow::Result<()> {
        match self.screen {
            None => {}
            Some(Form::Text) => cli::print(text)?,
            Some(Form::QrCode) => cli::print(qr::draw(text, global.palette())?.as_bytes())?,
        }
        Ok(())
    }

    /// What to tell the user about the file.
    pub(super) fn note(&self) -> String {
        self.file.as_ref().map_or_else(String::new, |file| format!("; its file is {}", file.display()))
    }
}

fn warn_of_file_name(name: &OsStr) {
    if !name.to_str().is_some_and(WireguardFile::suits_wg_quick) {
        let name = name.to_string_lossy();
        let _ = writeln!(
            io::stderr(),
            "warning: wg-quick names the interface after the file and will not take {name:?}; give it up to 15 letters, \
             digits and _=+.- before .conf (apps take any name)"
        );
    }
}
