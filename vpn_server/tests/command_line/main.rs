//! The program as a user meets it.

mod changes;
mod leftovers;
mod wireguard;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::SystemTime,
};
use vpn_core::config::{Config, Role};

/// A folder with an initialised server.
struct Server(tempfile::TempDir);

impl Server {
    fn new() -> Self {
        let server = Self(tempfile::tempdir().expect("a folder"));
        server.succeed(&["init", "--dir", "etc", "--endpoint", "vpn.example.org:51820"]);
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vpn-server"));
        command.args(arguments).current_dir(self.0.path());
        command.env("VPN_CONFIG", self.path("etc/server.toml")).env("VPN_RUN_DIR", self.path("run"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program starts")
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Expects an exit status; returns what was said.
    fn fail(&self, arguments: &[&str], status: i32) -> String {
        let output = self.run(arguments);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).expect("text");
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        said
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).expect("readable");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[test]
fn init_makes_a_private_valid_configuration_and_never_overwrites() {
    let server = Server::new();
    assert_eq!(server.names("etc"), ["identity.key", "peers.d", "server.toml", "wireguard.key"]);
    assert_eq!(mode(&server.path("etc")), 0o700);
    assert_eq!(mode(&server.path("etc/identity.key")), 0o600);
    assert_eq!(mode(&server.path("etc/wireguard.key")), 0o600);
    assert_eq!(mode(&server.path("etc/server.toml")), 0o600);
    let config =
        Config::load(&server.path("etc/server.toml"), Role::Server, SystemTime::now()).expect("valid");
    let addresses: Vec<_> = config.interface.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.66.0.1/16", "fd66::1/64"]);
    assert!(server.succeed(&["check"]).starts_with("ok: vpn0"));
    let before = fs::read(server.path("etc/identity.key")).expect("readable");
    assert!(server.fail(&["init", "--dir", "etc"], 1).contains("identity.key exists already"));
    fs::rename(server.path("etc/identity.key"), server.path("kept")).expect("moved");
    fs::remove_file(server.path("etc/wireguard.key")).expect("removed");
    assert!(server.fail(&["init", "--dir", "etc"], 1).contains("server.toml exists already"));
    assert!(!server.path("etc/identity.key").exists(), "all or nothing");
    assert_eq!(fs::read(server.path("kept")).expect("readable"), before);
}

#[test]
fn init_refuses_pools_that_cannot_be() {
    let server = Server::new();
    assert!(server.fail(&["init", "--dir", "x", "--pool", "10.0.0.5/24"], 1).contains("write 10.0.0.0/24"));
    assert!(server.fail(&["init", "--dir", "x", "--pool", "10.0.0.0/32"], 1).contains("no room"));
    assert!(server.fail(&["init", "--dir", "x", "--pool", "10.0.0.0/8,10.1.0.0/16"], 1).contains("overlap"));
    assert!(!server.path("x").exists());
}

#[test]
fn an_added_client_and_the_server_know_each_other() {
    let server = Server::new();
    server.succeed(&["client", "add", "alice", "--expires", "90d"]);
    let output = server.run(&["client", "add", "bob", "--out", "-"]);
    fs::write(server.path("bob.toml"), &output.stdout).expect("written");
    fs::set_permissions(server.path("bob.toml"), fs::Permissions::from_mode(0o600)).expect("allowed");
    assert_eq!(server.names("etc/peers.d"), ["alice.psk", "alice.toml", "bob.psk", "bob.toml"]);
    assert_eq!(mode(&server.path("alice.toml")), 0o600);
    assert_eq!(mode(&server.path("etc/peers.d/alice.psk")), 0o600);
    let ours = Config::load(&server.path("etc/server.toml"), Role::Server, SystemTime::now()).expect("valid");
    for (name, address) in [("alice", "10.66.0.2/32"), ("bob", "10.66.0.3/32")] {
        let path = server.path(&format!("{name}.toml"));
        let theirs = Config::load(&path, Role::Client, SystemTime::now()).expect("valid");
        let peer = ours.peer(name).expect("added");
        assert_eq!(peer.public_key, theirs.interface.identity.public_key().into());
        assert_eq!(peer.allowed_ips[0].to_string(), address);
        assert_eq!(peer.allowed_ips, theirs.interface.addresses);
        let [hub] = theirs.peers.as_slice() else { panic!("one peer") };
        assert_eq!(hub.public_key, ours.interface.identity.public_key().into());
        let keys = (peer.preshared_key.as_ref().expect("a key"), hub.preshared_key.as_ref().expect("a key"));
        assert!(keys.0.ct_eq(keys.1));
        let routed: Vec<String> = hub.allowed_ips.iter().map(ToString::to_string).collect();
        assert_eq!(
            routed,
            ["0.0.0.0/0", "::/0", "10.66.0.0/16", "fd66::/64"],
            "the server's networks by name"
        );
        assert_eq!(hub.endpoints[0].to_string(), "vpn.example.org:51820");
    }
    assert!(ours.peer("alice").expect("added").expires.is_some());
    assert!(server.fail(&["client", "add", "alice", "--out", "other.toml"], 1).contains("already"));
    assert!(!server.path("other.toml").exists());
}

#[test]
fn a_client_with_its_own_key_never_shows_it_to_the_server() {
    let server = Server::new();
    let key = server.succeed(&["genkey"]);
    let public = pubkey(&server, &key, &[]);
    server.succeed(&["client", "add", "carol", "--public-key", public.trim()]);
    let text = fs::read_to_string(server.path("carol.toml")).expect("written");
    assert!(text.contains("identity_file = \"identity.key\"") && !text.contains("identity = "), "{text}");
    assert!(
        server.fail(&["client", "add", "dave", "--public-key", public.trim()], 1).contains("carol has this")
    );
    server.fail(&["client", "add", "dave", "--public-key", "short"], 2);
}

#[test]
fn a_client_that_cannot_be_written_in_full_is_not_added() {
    let server = Server::new();
    fs::write(server.path("alice.toml"), "precious").expect("written");
    assert!(server.fail(&["client", "add", "alice"], 1).contains("alice.toml exists already"));
    assert!(server.names("etc/peers.d").is_empty());
    server.fail(&["client", "add", "../x"], 2);
    assert!(server.fail(&["client", "add", "x", "--expires", "2020-01-01"], 1).contains("over already"));
}

#[test]
fn clients_added_at_once_get_addresses_of_their_own() {
    let server = Server::new();
    let names: Vec<String> = (0..6).map(|number| format!("c{number}")).collect();
    let children: Vec<_> = names
        .iter()
        .map(|name| server.command(&["client", "add", name]).stderr(Stdio::null()).spawn().expect("starts"))
        .collect();
    for mut child in children {
        assert!(child.wait().expect("ends").success());
    }
    let list: serde_json::Value =
        serde_json::from_str(&server.succeed(&["client", "list", "--json"])).expect("JSON");
    assert_eq!(list.as_array().expect("a list").len(), names.len());
    server.succeed(&["check"]);
}

#[test]
fn a_client_is_listed_shown_and_removed() {
    let server = Server::new();
    server.succeed(&["client", "add", "alice"]);
    assert!(server.succeed(&["client", "list"]).contains("alice  enabled"));
    assert!(server.succeed(&["client", "show", "alice"]).contains("10.66.0.2/32"));
    let shown: serde_json::Value =
        serde_json::from_str(&server.succeed(&["--json", "client", "show", "alice"])).expect("JSON");
    assert_eq!(shown["name"], "alice");
    server.succeed(&["client", "remove", "alice"]);
    assert_eq!(server.names("etc/peers.d"), Vec::<String>::new());
    assert!(server.fail(&["client", "show", "alice"], 1).contains("no peer alice"));
    assert!(server.fail(&["client", "remove", "alice"], 1).contains("no peer alice"));
}

#[test]
fn check_names_file_and_line_and_the_configuration_may_stand_anywhere() {
    let server = Server::new();
    fs::write(server.path("bad.toml"), "[interface]\nlisen = 1\n").expect("written");
    for arguments in [["check", "-c", "bad.toml"], ["-c", "bad.toml", "check"]] {
        assert!(server.fail(&arguments, 1).contains("bad.toml:2:1: unknown key `lisen`"));
    }
    let said = server.fail(&["check", "-c", "bad.toml", "--json"], 1);
    assert!(said.contains("\"line\":2") && said.contains("\"ok\":false"), "{said}");
}

#[test]
fn a_server_that_does_not_run_is_status_3_and_wrong_usage_is_2() {
    let server = Server::new();
    assert!(server.fail(&["status"], 3).contains("not running"));
    assert!(server.fail(&["reload"], 3).contains("not running"));
    server.fail(&["dance"], 2);
    server.fail(&["man", "dance"], 2);
}

#[test]
fn keys_are_as_wg_makes_them() {
    let server = Server::new();
    for arguments in [&["genkey"][..], &["genpsk"], &["genkey", "--wireguard"]] {
        assert_eq!(server.succeed(arguments).len(), 45);
    }
    // RFC 7748, section 6.1: Alice's keys.
    let public = pubkey(&server, "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=", &["--wireguard"]);
    let marked = "\u{feff}dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo= \r\n"; // saved by an editor of another system
    assert_eq!(pubkey(&server, marked, &["--wireguard"]), public);
    assert_eq!(public, "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n");
    let open = fs::File::create(server.path("open")).expect("made");
    open.set_permissions(fs::Permissions::from_mode(0o644)).expect("allowed");
    let warned = server.command(&["genkey"]).stdout(open).output().expect("starts");
    assert!(String::from_utf8_lossy(&warned.stderr).contains("everyone can read"));
}

#[test]
fn manual_and_completions_are_printed_and_a_closed_pipe_is_no_error() {
    let server = Server::new();
    assert!(server.succeed(&["man"]).contains(".TH"));
    assert!(server.succeed(&["man", "client", "add"]).contains("public\\-key"));
    assert!(server.succeed(&["completions", "bash"]).contains("vpn-server"));
    let mut child = server.command(&["completions", "zsh"]).stdout(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("ends").success());
}

fn pubkey(server: &Server, key: &str, more: &[&str]) -> String {
    let mut command = server.command(&["pubkey"]);
    let mut child = command.args(more).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    child.stdin.take().expect("piped").write_all(key.as_bytes()).expect("sent");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn switches_in_the_environment_are_written_in_any_usual_way() {
    let server = Server::new();
    for (value, json) in [("1", true), ("true", true), ("yes", true), ("0", false), ("false", false)] {
        let output = server.command(&["check"]).env("VPN_JSON", value).output().expect("the program starts");
        assert!(output.status.success(), "{value}");
        assert_eq!(output.stdout.starts_with(b"{"), json, "{value}");
    }
}

#[test]
fn examples_name_the_program_that_shows_them() {
    let server = Server::new();
    for command in ["genkey", "pubkey", "genpsk", "completions", "man", "status", "check"] {
        let help = server.succeed(&[command, "--help"]);
        assert!(help.contains("  vpn-server") || help.contains("; vpn-server"), "{help}");
        assert!(!help.contains("vpn-client"), "{help}");
    }
}

#[test]
fn what_the_wireguard_daemon_cannot_do_is_a_usage_error() {
    let server = Server::new();
    assert!(server.fail(&["wireguard"], 2).contains("IFNAME"));
    server.fail(&["wireguard", "sixteen_bytes_xx"], 2);
    for (name, value) in [("VPN_TEST_REKEY_AFTER", "121"), ("VPN_TEST_REKEY_AFTER", "0"), ("WG_UAPI_FD", "4")]
    {
        let output = server.command(&["wireguard", "wg0"]).env(name, value).output().expect("it starts");
        assert_eq!(
            output.status.code(),
            Some(2),
            "{name}={value}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Lines of a WireGuard .conf by key, section names left out.
fn conf_values(conf: &str) -> BTreeMap<&str, &str> {
    conf.lines().filter_map(|line| line.split_once(" = ")).collect()
}

#[test]
fn empty_variables_of_wireguard_go_say_nothing() {
    let server = Server::new();
    let said = |descriptor: &str| {
        let mut command = server.command(&["wireguard", "wg0"]);
        // The last one is refused, but only after the others have been read.
        command.envs([("WG_PROCESS_FOREGROUND", ""), ("WG_TUN_FD", descriptor), ("WG_UAPI_FD", "4")]);
        let output = command.output().expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{descriptor}");
        String::from_utf8(output.stderr).expect("text")
    };
    assert!(said("").contains("WG_UAPI_FD is not supported"), "{}", said(""));
    assert!(said("three").contains("--tun-fd"), "{}", said("three"));
}
