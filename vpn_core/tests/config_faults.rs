//! Every way in which a configuration is refused: the file, the line, and the words that help.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use vpn_core::{
    asymmetric::{Identity, PublicKey, X25519SecretKey},
    base::{SecretBytes, encode_key},
    config::{Config, ConfigError, ControlConfig, Egress, Inbound, Lan, Mtu, Role, Routes},
    engine::QueueCount,
    handshake::Protocol,
    wire::hybrid::SuiteSet,
};

fn public(number: u8) -> PublicKey {
    Identity::from_seed(&SecretBytes::new([number; 32])).public_key()
}

/// A folder with a private key file `identity.key` (of seed 1) and `alice.psk`.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        folder.write("identity.key", &encode_key(&[1; 32]), 0o600);
        folder.write("alice.psk", &encode_key(&[9; 32]), 0o600);
        fs::create_dir(folder.path("peers.d")).expect("a folder");
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).expect("written");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).expect("allowed");
    }

    fn load(&self, text: &str) -> Result<Config, ConfigError> {
        self.write("server.toml", text, 0o600);
        self.load_as(Role::Server)
    }

    fn load_as(&self, role: Role) -> Result<Config, ConfigError> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000); // 2026-11-18
        Config::load(&self.path("server.toml"), role, now)
    }
}

const INTERFACE: &str = "[interface]\nidentity_file = \"identity.key\"\nlisten = \"[::]:51820\"\naddresses = [\"10.66.0.1/16\"]\n";

/// A peer in six lines: header, name, key, allowed IPs, and `more`.
fn peer(number: u8, allowed: &str, more: &str) -> String {
    format!(
        "[[peer]]\nname = \"p{number}\"\npublic_key = \"{}\"\nallowed_ips = [{allowed}]\n{more}\n",
        public(number)
    )
}

/// Loads `text` and expects one fault, at `line` of server.toml, that holds all `words`.
fn expect_fault(text: &str, line: usize, words: &[&str]) {
    let folder = Folder::new();
    let error = folder.load(text).expect_err(text);
    let [fault] = error.faults() else { panic!("one fault expected for\n{text}\n{error}") };
    assert_eq!(fault.file, folder.path("server.toml"), "{error}");
    assert_eq!(fault.at.map(|at| at.line), Some(line), "{text}\n{error}");
    for word in words {
        assert!(fault.to_string().contains(word), "{word:?} is not in {fault}");
    }
    assert!(!fault.remedy.is_empty(), "{fault}");
}

#[test]
fn the_documented_example_is_read_in_full() {
    let folder = Folder::new();
    let text = format!(
        "[interface]\nname = \"vpn7\"\nidentity_file = \"identity.key\"\nlisten = \"[::]:51820\"\n\
         addresses = [\"10.66.0.1/16\", \"fd66::1/64\"]\nmtu = 1400\ndns = [\"10.66.0.1\"]\nkill_switch = false\nroutes = \"off\"\noffload = [\"checksum\", \"gro\"]\nsuite = \"chacha20-poly1305\"\n\
         [gateway]\nnat = false\negress = \"eth0\"\nclient_to_client = true\nendpoint = \"vpn.example.org:51820\"\n\
         [[peer]]\nname = \"alice\"\npublic_key = \"{}\"\npreshared_key_file = \"alice.psk\"\n\
         allowed_ips = [\"10.66.0.2/32\", \"fd66::2/128\"]\nendpoint = [\"gw1.example.org:1\", \"[::1]:2\", \"[fe80::1%lan]:3\"]\n\
         persistent_keepalive = 25\nhandshake = \"hybrid\"\nenabled = true\nexpires = 2027-01-31\n",
        public(2)
    );
    folder.write("peers.d/bob.toml", &peer(3, "\"10.66.0.3/32\"", "endpoint = \"192.0.2.1:3\""), 0o600);
    folder.write("peers.d/.hidden.toml", "not TOML", 0o600);
    let config = folder.load(&text).expect("valid");
    assert_eq!(config.interface.name.as_str(), "vpn7");
    assert_eq!(config.interface.identity.public_key(), public(1));
    assert_eq!((config.interface.mtu, config.interface.routes), (Mtu::Fixed(1400), Routes::Off));
    assert_eq!(config.interface.suites, SuiteSet::CHACHA20_POLY1305);
    assert_eq!(config.interface.offload.to_string(), "checksum,gro");
    let gateway = config.gateway.as_ref().expect("a gateway");
    assert!(!gateway.nat && matches!(&gateway.egress, Egress::Interface(name) if name.as_str() == "eth0"));
    let alice = config.peer("alice").expect("alice");
    assert!(alice.preshared_key.as_ref().expect("a key").ct_eq(&SecretBytes::new([9; 32])));
    assert_eq!(alice.endpoints.len(), 3);
    assert_eq!(alice.endpoints[2].to_string(), "[fe80::1%lan]:3");
    assert_eq!(alice.persistent_keepalive, Some(Duration::from_secs(25)));
    assert_eq!((alice.public_key.protocol(), alice.enabled), (Protocol::Hybrid, true));
    // 2027-02-01T00:00:00Z: the last day is admitted as a whole.
    assert_eq!(alice.expires_at(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_801_440_000)));
    assert_eq!(config.peer("p3").expect("from peers.d").file, folder.path("peers.d/bob.toml"));
}

#[test]
fn a_server_has_queues_for_many_peers_and_a_client_one_unless_told() {
    let folder = Folder::new();
    let queues = |role, line: &str| {
        let peer = peer(2, "\"10.66.0.0/16\"", "endpoint = \"192.0.2.1:51820\"");
        let text = format!("{}{line}\n{peer}", INTERFACE.replace("listen", "#"));
        folder.write("server.toml", &text, 0o600);
        folder.load_as(role).expect("valid").interface.queues
    };
    assert_eq!(queues(Role::Server, ""), QueueCount::Automatic);
    assert_eq!(queues(Role::Client, ""), QueueCount::Exactly(1));
    for role in [Role::Server, Role::Client] {
        assert_eq!(queues(role, "queues = \"auto\""), QueueCount::Automatic);
        assert_eq!(queues(role, "queues = 3"), QueueCount::Exactly(3));
    }
}

#[test]
fn faults_of_the_interface_are_told_with_line_and_remedy() {
    let with = |line: &str| format!("{INTERFACE}{line}\n");
    let cases: &[(&str, &[&str])] = &[
        ("lisen = \"[::]:1\"", &["unknown key `lisen` in [interface]", "did you mean `listen`?"]),
        ("identity_key = \"x\"", &["unknown key `identity_key`", "did you mean `identity"]),
        ("zzz = 1", &["unknown key `zzz`", "use one of", "addresses"]),
        ("mtu = 100", &["`mtu`", "576 to 9000"]),
        ("mtu = \"1420\"", &["mtu = \"1420\"", "\"auto\", or a whole number"]),
        ("name = \"a/b\"", &["usable interface name"]),
        ("dns = [\"one\"]", &["not an IP address"]),
        ("dns = \"10.0.0.1\"", &["list of strings", "dns = ["]),
        ("routes = \"on\"", &["\"auto\" or \"off\""]),
        ("suite = \"aes\"", &["suite = \"aes\"", "\"auto\"", "\"chacha20-poly1305\"", "\"aes-256-gcm\""]),
        ("suite = 2", &["`suite`"]),
        ("queues = 0", &["`queues`", "1 to 256"]),
        ("queues = 257", &["`queues`", "1 to 256"]),
        ("queues = true", &["`queues`"]),
        ("queues = \"all\"", &["\"all\"", "\"auto\"", "1 to 256"]),
        ("offload = \"on\"", &["\"on\" is not an offload", "offload = \"auto\" or \"off\"", "\"gro\""]),
        ("offload = [\"gso\", \"tcp\"]", &["\"tcp\" is not an offload"]),
        ("offload = [\"auto\"]", &["\"auto\" is not an offload", "offload = \"auto\""]),
        ("offload = [\"tso\", \"gso\"]", &["\"tso\"", "without \"checksum\"", "leave \"tso\" out"]),
        ("offload = \"uso\"", &["\"uso\"", "add \"checksum\""]),
        ("offload = true", &["`offload` is a list of strings"]),
        ("offload = [1]", &["`offload`", "a string in quotes"]),
        ("inbound = \"yes\"", &["inbound = \"yes\"", "\"allow\", \"refuse\" or \"auto\""]),
        ("inbound = \"allow\"\nroutes = \"off\"", &["is done by routes", "remove one"]),
        ("kill_switch = true", &["`kill_switch` is for vpn-client", "remove the line"]),
        ("kill_switch = \"on\"", &["`kill_switch`", "true"]),
        ("lan = \"deny\"", &["`lan` is for vpn-client"]),
        ("lan = \"off\"", &["\"allow\" or \"deny\""]),
        ("network_key_file = \"none.key\"", &["none.key does not exist", "create it"]),
        ("network_key = \"short\"", &["44", "5"]),
    ];
    for (line, words) in cases {
        expect_fault(&with(line), 5, words);
    }
    expect_fault(&with("offload = [\n\"checksum\",\n\"TSO\",\n]"), 7, &["\"TSO\" is not an offload"]);
    expect_fault(
        &INTERFACE.replace("10.66.0.1/16", "10.66.0.0/16"),
        4,
        &["names the network", "10.66.0.1/16"],
    );
    expect_fault(&INTERFACE.replace("10.66.0.1/16", "10.66.0.1"), 4, &["prefix length"]);
    expect_fault(&INTERFACE.replace("\"[::]:51820\"", "\"51820\""), 3, &["[::]:51820"]);
    expect_fault(&INTERFACE.replace("10.66.0.1/16\"]", "fd66::1/64\"]\nmtu = 1279"), 5, &["IPv6", "1280"]);
    expect_fault("[interface]\nlisten = \"[::]:1\"\naddresses = []\n", 1, &["identity_file", "genkey"]);
    expect_fault("[interface]\nidentity_file = \"identity.key\"\nlisten = \"[::]:1\"\n", 1, &["addresses"]);
    expect_fault("[interface\n", 1, &["syntax"]);
    expect_fault("", 1, &["[interface]", "vpn-server init"]);
}

#[test]
fn offloads_are_named_one_by_one_or_by_one_word_for_all() {
    let folder = Folder::new();
    for (line, offloads) in [
        ("", "checksum,tso,uso,gso,gro"),
        ("offload = \"auto\"", "checksum,tso,uso,gso,gro"),
        ("offload = \"off\"", "off"),
        ("offload = []", "off"),
        ("offload = [\"gro\", \"uso\", \"checksum\"]", "checksum,uso,gro"),
    ] {
        let config = folder.load(&format!("{INTERFACE}{line}\n")).expect(line);
        assert_eq!(config.interface.offload.to_string(), offloads, "{line}");
    }
}

#[test]
fn faults_of_a_peer_are_told_with_line_and_remedy() {
    let with = |allowed: &str, more: &str| format!("{INTERFACE}{}", peer(2, allowed, more));
    let host = "\"10.66.0.2/32\"";
    let cases: &[(&str, &[&str])] = &[
        ("endpoint = \"vpn.example.org\"", &["has no port", "vpn.example.org:51820"]),
        ("endpoint = \"::1\"", &["[::1]:51820"]),
        ("endpoint = \"[fe80::1]:51820\"", &["link-local", "\"[fe80::1%eth0]:51820\""]),
        ("endpoint = \"[2001:db8::1%eth0]:1\"", &["no link-local", "\"[2001:db8::1]:1\""]),
        ("endpoint = \"10.66.0.9:1\"", &["inside the tunnel", "10.66.0.0/16", "from outside"]),
        ("endpoint = [\"192.0.2.1:1\", \"[::ffff:10.66.9.9]:1\"]", &["inside the tunnel"]),
        ("handshake = \"noise\"", &["\"hybrid\" or \"wireguard\""]),
        ("expires = 2026-02-30", &["syntax"]),
        ("expires = \"soon\"", &["2027-01-31"]),
        ("enabled = 1", &["true or false"]),
        ("persistent_keepalive = 70000", &["0 to 65535"]),
        ("preshared_key_file = \"../identity\"", &["does not exist"]),
        ("allowed-ips = []", &["did you mean `allowed_ips`?"]),
    ];
    for (line, words) in cases {
        expect_fault(&with(host, line), 9, words);
    }
    expect_fault(&with("\"10.66.0.2/24\"", ""), 8, &["10.66.0.0/24", "10.66.0.2/32"]);
    expect_fault(&with("\"ten\"", ""), 8, &["not a network"]);
    expect_fault(&with("\"10.66.0.1\"", ""), 8, &["own address"]);
    expect_fault(
        &with(host, "").replace(&public(2).to_string(), &public(1).to_string()),
        7,
        &["this node itself"],
    );
    expect_fault(&with(host, "").replace(&public(2).to_string(), "AAAA"), 7, &["44", "4"]);
    let small = encode_key(&[0; 32]);
    expect_fault(&with(host, "").replace(&public(2).to_string(), &small), 7, &["not a usable"]);
    expect_fault(&with(host, "").replace("\"p2\"", "\"../p2\""), 6, &["cannot name a peer"]);
    expect_fault(&with(host, "").replace("name = \"p2\"\n", ""), 5, &["[[peer]] has no `name`"]);
}

#[test]
fn peers_may_not_share_names_keys_or_addresses() {
    let two = |first: &str, second: &str| format!("{INTERFACE}{first}{second}");
    let first = peer(2, "\"10.66.0.2/32\"", "#");
    // The second peer begins in line 10.
    let second = peer(3, "\"10.66.0.3/32\"", "");
    expect_fault(&two(&first, &second.replace("p3", "p2")), 11, &["already used", "server.toml:5"]);
    let same_key = second.replace(&public(3).to_string(), &public(2).to_string());
    expect_fault(&two(&first, &same_key), 12, &["already that of peer p2"]);
    expect_fault(&two(&first, &second.replace("0.3/32", "0.2/32")), 13, &["is already", "peer p2"]);
    expect_fault(&two(&first, &second.replace("0.3/32", "0.0/24")), 13, &["overlaps", "10.66.0.2/32"]);
    let default = |number: u8| peer(number, "\"0.0.0.0/0\", \"::/0\"", "#");
    Folder::new().load(&two(&default(2), &second)).expect("a default route may contain others");
    let error = Folder::new().load(&two(&default(2), &default(3))).expect_err("two ways out");
    assert_eq!(error.faults().len(), 2, "{error}");
}

#[test]
fn all_faults_of_all_files_are_told_at_once() {
    let folder = Folder::new();
    folder.write("peers.d/a.toml", "[[peer]]\nname = \"a\"\n[interface]\n", 0o600);
    let error = folder.load(&format!("{INTERFACE}mtu = 1\nroutes = 7\n[extra]\n")).expect_err("faults");
    let places: Vec<_> = error
        .faults()
        .iter()
        .map(|fault| {
            (
                fault.file.file_name().expect("a name").to_string_lossy().into_owned(),
                fault.at.map_or(0, |at| at.line),
            )
        })
        .collect();
    let expected = [
        ("server.toml", 5),
        ("server.toml", 6),
        ("server.toml", 7),
        ("a.toml", 1),
        ("a.toml", 1),
        ("a.toml", 3),
    ];
    let expected: Vec<_> = expected.iter().map(|(file, line)| ((*file).to_owned(), *line)).collect();
    assert_eq!(places, expected, "{error}");
}

#[test]
fn key_files_and_inline_keys_must_be_private_regular_files() {
    let folder = Folder::new();
    folder.write("identity.key", &encode_key(&[1; 32]), 0o640);
    let error = folder.load(INTERFACE).expect_err("readable by the group").to_string();
    assert!(
        error.contains("server.toml:2:") && error.contains("chmod 600") && error.contains("identity.key"),
        "{error}"
    );
    let error = folder.load(&INTERFACE.replace("identity.key", "peers.d")).expect_err("a folder").to_string();
    assert!(error.contains("not a regular file"), "{error}");
    let key = encode_key(&[1; 32]);
    let inline = INTERFACE.replace("identity_file = \"identity.key\"", &format!("identity = \"{key}\""));
    assert_eq!(folder.load(&inline).expect("private").interface.identity.public_key(), public(1));
    folder.write("server.toml", &inline, 0o644);
    let error = folder.load_as(Role::Server).expect_err("readable by all").to_string();
    assert!(error.contains("server.toml:2:") && error.contains("chmod 600"), "{error}");
    assert!(!error.contains(&key));
}

#[test]
fn files_with_a_byte_order_mark_are_read_and_those_in_utf_16_are_named() {
    let folder = Folder::new();
    let marked = |text: &str| format!("\u{feff}{}\r\n", text.replace('\n', "\r\n"));
    let text = format!("{INTERFACE}{}", peer(2, "\"10.66.0.2/32\"", "preshared_key_file = \"alice.psk\""));
    folder.write("identity.key", &marked(&encode_key(&[1; 32])), 0o600);
    folder.write("alice.psk", &marked(&encode_key(&[9; 32])), 0o600);
    folder.write("peers.d/bob.toml", &marked(&peer(3, "\"10.66.0.3/32\"", "")), 0o600);
    let config = folder.load(&marked(&text)).expect("valid");
    assert_eq!(config.interface.identity.public_key(), public(1));
    let alice = config.peer("p2").expect("a peer").preshared_key.as_ref().expect("a key");
    assert!(alice.ct_eq(&SecretBytes::new([9; 32])) && config.peer("p3").is_some());

    let utf_16 = |text: &str| marked(text).encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    for (name, content) in [("identity.key", encode_key(&[1; 32])), ("peers.d/bob.toml", peer(3, "", ""))] {
        let before = fs::read(folder.path(name)).expect("read");
        fs::write(folder.path(name), utf_16(&content)).expect("written");
        let error = folder.load(&text).expect_err(name).to_string();
        assert!(error.contains(name) && error.contains("UTF-16") && error.contains("UTF-8"), "{error}");
        fs::write(folder.path(name), before).expect("written");
    }
}

#[test]
fn no_error_and_no_debug_text_repeats_a_secret() {
    let folder = Folder::new();
    let secret = encode_key(&[7; 32]);
    let damaged = &secret[..40];
    for line in [
        format!("identity = \"{damaged}\""),
        format!("identity = \"{secret}"),
        format!("identity = {secret}"),
        format!("network_key = \"{damaged}\"\nnetwork_key = 1"),
    ] {
        let error = folder.load(&format!("[interface]\n{line}\n")).expect_err("bad key");
        assert!(!format!("{error} {error:?}").contains(&secret[..8]), "{error}");
    }
    let inline = INTERFACE.replace("identity_file = \"identity.key\"", &format!("identity = \"{secret}\""));
    let config = folder.load(&format!("{inline}network_key = \"{secret}\"\n")).expect("valid");
    assert!(!format!("{config:?}").contains(&secret[..8]));
}

#[test]
fn an_expired_peer_is_a_warning_so_that_a_server_comes_up_again() {
    let folder = Folder::new();
    let text = format!("{INTERFACE}{}", peer(2, "\"10.66.0.2/32\"", "expires = 2026-11-01"));
    let config = folder.load(&text).expect("valid");
    assert!(config.warnings[0].to_string().contains("server.toml:9:"), "{:?}", config.warnings);
    assert!(!config.peers[0].is_admitted(SystemTime::now()));
}

#[test]
fn a_client_is_told_what_it_lacks() {
    let folder = Folder::new();
    let text = "[interface]\nidentity_file = \"identity.key\"\naddresses = [\"10.66.0.2/32\"]\ndns = [\"10.66.0.1\"]\n";
    folder.write("server.toml", text, 0o600);
    let error = folder.load_as(Role::Client).expect_err("no peer").to_string();
    assert!(error.contains("no [[peer]]"), "{error}");
    folder.write("server.toml", &format!("{text}{}", peer(2, "\"0.0.0.0/0\"", "")), 0o600);
    let error = folder.load_as(Role::Client).expect_err("no endpoint").to_string();
    assert!(error.contains("server.toml:5:") && error.contains("`endpoint`"), "{error}");
    folder.write("server.toml", &format!("{text}{}", peer(2, "\"0.0.0.0/0\"", "endpoint = \"a:1\"")), 0o600);
    let config = folder.load_as(Role::Client).expect("valid");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.interface.dns, ["10.66.0.1".parse::<std::net::IpAddr>().expect("an address")]);
    assert_eq!((config.interface.lan, config.interface.kill_switch), (Lan::Allow, false));
    assert_eq!(config.interface.inbound, Inbound::Auto);
    let text = format!("{text}kill_switch = true\nlan = \"deny\"\ninbound = \"refuse\"\n");
    folder.write("server.toml", &format!("{text}{}", peer(2, "\"0.0.0.0/0\"", "endpoint = \"a:1\"")), 0o600);
    let config = folder.load_as(Role::Client).expect("valid");
    assert_eq!((config.interface.lan, config.interface.kill_switch), (Lan::Deny, true));
    assert_eq!(config.interface.inbound, Inbound::Refuse);
}

#[test]
fn a_missing_file_is_named() {
    let error =
        Config::load(Path::new("/nonexistent/x.toml"), Role::Server, SystemTime::now()).expect_err("missing");
    assert!(error.to_string().starts_with("/nonexistent/x.toml does not exist; "), "{error}");
    assert!(!error.is_not_permitted());
}

/// As [`INTERFACE`], with the WireGuard key of seed 5 in line 5.
fn wireguard_interface() -> String {
    format!("{INTERFACE}wireguard_key = \"{}\"\n", encode_key(&[5; 32]))
}

fn wireguard_public(number: u8) -> String {
    encode_key(&X25519SecretKey::new(&SecretBytes::new([number; 32])).public_key().0)
}

fn wireguard_peer(number: u8, allowed: &str, more: &str) -> String {
    peer(number, allowed, &format!("handshake = \"wireguard\"\n{more}"))
        .replace(&public(number).to_string(), &wireguard_public(number))
}

#[test]
fn a_wireguard_peer_has_everything_that_a_hybrid_one_has() {
    let folder = Folder::new();
    let more = "endpoint = \"192.0.2.1:3\"\npersistent_keepalive = 25\npreshared_key_file = \"alice.psk\"";
    let text = wireguard_interface() + &wireguard_peer(2, "\"10.66.0.2/32\"", more);
    let config = folder.load(&(text + &peer(3, "\"10.66.0.3/32\"", ""))).expect("valid");
    let [first, second] = config.peers.as_slice() else { panic!("two peers") };
    assert_eq!((first.handshake(), second.handshake()), ("wireguard", "hybrid"));
    assert_eq!(first.public_key.to_string(), wireguard_public(2));
    assert_eq!(first.endpoints[0].to_string(), "192.0.2.1:3");
    assert!(first.preshared_key.is_some() && first.persistent_keepalive.is_some());
}

#[test]
fn a_wireguard_peer_needs_a_key_of_the_node_that_is_nothing_else() {
    let peer = wireguard_peer(2, "\"10.66.0.2/32\"", "");
    let words = ["p2", "wireguard_key_file", "genkey --wireguard > wireguard.key"];
    expect_fault(&format!("{INTERFACE}{peer}"), 9, &words);
    let same = wireguard_interface().replace(&encode_key(&[5; 32]), &encode_key(&[1; 32]));
    expect_fault(&(same + &peer), 5, &["the identity as well", "genkey --wireguard"]);
    let missing = format!("{INTERFACE}wireguard_key_file = \"wireguard.key\"\n");
    expect_fault(&(missing + &peer), 5, &["wireguard.key does not exist"]);
}

#[test]
fn a_wireguard_key_that_cannot_be_a_peers_is_refused() {
    let with = |key: &str| {
        wireguard_interface() + &wireguard_peer(2, "\"10.66.0.2/32\"", "").replace(&wireguard_public(2), key)
    };
    // RFC 7748, section 6.1 and the table of small orders: zero, one, and the field's prime plus one.
    let mut prime_plus_one = [0xff; 32];
    (prime_plus_one[0], prime_plus_one[31]) = (0xee, 0x7f);
    for small in [
        [0; 32],
        {
            let mut one = [0; 32];
            one[0] = 1;
            one
        },
        prime_plus_one,
    ] {
        expect_fault(&with(&encode_key(&small)), 8, &["not a usable X25519 public key", "wg pubkey"]);
    }
    expect_fault(&with(&wireguard_public(5)), 8, &["this node itself"]);
    expect_fault(&with(&public(1).to_string()), 8, &["this node itself"]);
    let hybrid = peer(3, "\"10.66.0.3/32\"", "");
    let copied = hybrid.replace(&public(3).to_string(), &public(4).to_string());
    expect_fault(
        &(with(&public(4).to_string()) + &copied),
        14,
        &["already that of peer p2", "other handshake"],
    );
}

#[test]
fn an_allowed_ip_that_a_peer_names_twice_is_a_fault() {
    let text = INTERFACE.to_owned() + &peer(2, "\"10.66.0.2/32\", \"10.66.0.2\"", "");
    expect_fault(&text, 8, &["10.66.0.2/32 is given twice"]);
}

#[test]
fn the_groups_that_may_ask_are_groups_of_this_system() {
    let folder = Folder::new();
    assert_eq!(folder.load(INTERFACE).expect("valid").control, ControlConfig::default());
    let root = nix::unistd::Group::from_gid(0.into()).expect("asked").expect("every system has it").name;
    let config = folder.load(&format!("{INTERFACE}[control]\ngroup = \"{root}\"\noperators = \"{root}\"\n"));
    let ControlConfig { group, operators } = config.expect("valid").control;
    assert_eq!((group.expect("a group").gid, operators.expect("a group").name), (0, root));
    for key in ["group", "operators"] {
        let text = format!("{INTERFACE}[control]\n{key} = \"no-such-group\"\n");
        expect_fault(&text, 6, &[key, "no-such-group", "make it: "]);
    }
    expect_fault(&format!("{INTERFACE}[control]\ngruop = \"x\"\n"), 6, &["unknown key", "group"]);
}

#[test]
fn what_others_can_write_is_refused_wherever_it_is() {
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("allowed");
    };
    let text = format!("{INTERFACE}{}", peer(2, "\"10.66.0.2/32\"", "preshared_key_file = \"keys/p2.psk\""));
    for (name, bad, good) in [
        ("server.toml", 0o602, 0o600),
        ("peers.d/bob.toml", 0o666, 0o600),
        ("peers.d", 0o777, 0o700),
        ("keys", 0o757, 0o755),
        (".", 0o777, 0o700),
    ] {
        let folder = Folder::new();
        fs::create_dir(folder.path("keys")).expect("a folder");
        folder.write("keys/p2.psk", &encode_key(&[7; 32]), 0o600);
        folder.write("peers.d/bob.toml", &peer(3, "\"10.66.0.3/32\"", ""), 0o600);
        folder.load(&text).expect("valid");
        mode(&folder.path(name), bad);
        let error = folder.load_as(Role::Server).expect_err(name);
        let [fault] = error.faults() else { panic!("one fault: {error}") };
        assert!(fault.message.contains("can be written by others"), "{error}");
        assert!(fault.remedy.contains("chmod go-w"), "{error}");
        // Commands that stop and undo need no more than the name.
        assert!(Config::interface_name(&folder.path("server.toml")).is_ok(), "{name}");
        mode(&folder.path(name), good);
        folder.load_as(Role::Server).expect("valid again");
    }
}
