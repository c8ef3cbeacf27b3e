//! `client enable`, `disable`, `rename` and `rotate`.

use super::{Server, conf_values, mode, pubkey};
use std::{fs, time::SystemTime};
use vpn_core::config::{Config, Role};

#[test]
fn a_client_is_disabled_and_enabled_and_its_comments_stay() {
    let server = Server::new();
    server.succeed(&["client", "add", "alice"]);
    let file = server.path("etc/peers.d/alice.toml");
    let text = fs::read_to_string(&file).expect("readable") + "# hers\n";
    fs::write(&file, &text).expect("written");
    server.succeed(&["client", "disable", "alice"]);
    assert!(server.succeed(&["client", "list"]).contains("alice  disabled"));
    let disabled = fs::read_to_string(&file).expect("readable");
    assert_eq!(disabled.replace("enabled = false\n", ""), text);
    assert_eq!(mode(&file), 0o600);
    server.succeed(&["client", "disable", "alice"]);
    assert_eq!(fs::read_to_string(&file).expect("readable"), disabled);
    server.succeed(&["client", "enable", "alice"]);
    assert!(server.succeed(&["client", "list"]).contains("alice  enabled"));
    assert!(server.fail(&["client", "enable", "nobody"], 1).contains("no peer nobody"));
}

#[test]
fn a_renamed_client_keeps_its_keys_and_takes_its_files_along() {
    let server = Server::new();
    server.succeed(&["client", "add", "alice"]);
    server.succeed(&["client", "add", "bob"]);
    let load =
        || Config::load(&server.path("etc/server.toml"), Role::Server, SystemTime::now()).expect("valid");
    let before = load();
    server.succeed(&["client", "rename", "alice", "carol"]);
    assert_eq!(server.names("etc/peers.d"), ["bob.psk", "bob.toml", "carol.psk", "carol.toml"]);
    let after = load();
    let (old, new) = (before.peer("alice").expect("was there"), after.peer("carol").expect("is there"));
    assert_eq!((old.public_key, &old.allowed_ips), (new.public_key, &new.allowed_ips));
    assert!(
        old.preshared_key
            .as_ref()
            .zip(new.preshared_key.as_ref())
            .expect("keys")
            .0
            .ct_eq(new.preshared_key.as_ref().expect("a key"))
    );
    assert!(server.fail(&["client", "rename", "carol", "bob"], 1).contains("a peer bob already"));
    fs::write(server.path("etc/peers.d/dave.psk"), "precious").expect("written");
    server.succeed(&["client", "rename", "carol", "dave"]);
    assert_eq!(
        server.names("etc/peers.d"),
        ["bob.psk", "bob.toml", "dave.2.psk", "dave.psk", "dave.toml"],
        "a file of that name is neither overwritten nor in the way"
    );
    assert_eq!(fs::read_to_string(server.path("etc/peers.d/dave.psk")).expect("readable"), "precious");
}

#[test]
fn a_rotated_client_gets_new_keys_and_keeps_its_addresses() {
    let server = Server::new();
    server.succeed(&["client", "add", "alice"]);
    server.succeed(&["client", "add", "phone", "--wireguard"]);
    let load =
        || Config::load(&server.path("etc/server.toml"), Role::Server, SystemTime::now()).expect("valid");
    let before = load();
    assert!(server.fail(&["client", "rotate", "alice"], 1).contains("alice.toml exists already"));
    server.succeed(&["client", "rotate", "alice", "--out", "new.toml"]);
    server.succeed(&["client", "rotate", "phone", "--out", "new.conf"]);
    let after = load();
    for name in ["alice", "phone"] {
        let (old, new) = (before.peer(name).expect("was there"), after.peer(name).expect("is there"));
        assert_eq!(old.allowed_ips, new.allowed_ips);
        assert_ne!(old.public_key, new.public_key);
        let (old, new) = (old.preshared_key.as_ref(), new.preshared_key.as_ref());
        assert!(!old.expect("a key").ct_eq(new.expect("a key")));
    }
    let theirs = Config::load(&server.path("new.toml"), Role::Client, SystemTime::now()).expect("valid");
    let ours = after.peer("alice").expect("is there");
    assert_eq!(ours.public_key, theirs.interface.identity.public_key().into());
    assert!(
        ours.preshared_key
            .as_ref()
            .expect("a key")
            .ct_eq(theirs.peers[0].preshared_key.as_ref().expect("a key"))
    );
    let conf = fs::read_to_string(server.path("new.conf")).expect("written");
    let public = pubkey(&server, conf_values(&conf)["PrivateKey"], &["--wireguard"]);
    assert_eq!(public.trim(), after.peer("phone").expect("is there").public_key.to_string());
    assert_eq!(server.names("etc/peers.d").len(), 4, "the old preshared keys are gone");
}

#[test]
fn a_client_that_keeps_its_key_gets_a_new_preshared_key_only() {
    let server = Server::new();
    server.succeed(&["client", "add", "alice"]);
    let load =
        || Config::load(&server.path("etc/server.toml"), Role::Server, SystemTime::now()).expect("valid");
    let before = load();
    let text = server.succeed(&["client", "rotate", "alice", "--keep-key", "--out", "-"]);
    assert!(text.contains("identity_file = ") && !text.contains("\nidentity = "), "{text}");
    let after = load();
    assert_eq!(before.peers[0].public_key, after.peers[0].public_key);
    let keys = (before.peers[0].preshared_key.as_ref(), after.peers[0].preshared_key.as_ref());
    assert!(!keys.0.expect("a key").ct_eq(keys.1.expect("a key")));
}
