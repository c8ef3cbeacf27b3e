//! Commands that are killed half-way: what they leave is named, removed by the next one, and in nobody's way.

use super::Server;
use std::{fs, mem, os::unix::fs::MetadataExt as _, thread, time::Duration};
use vpn_core::config::NewFiles;

#[test]
fn an_add_killed_at_any_moment_can_be_repeated() {
    let server = Server::new();
    let mut repeated = 0;
    for round in 0..24_u64 {
        let mut child = server.command(&["client", "add", "alice"]).spawn().expect("starts");
        thread::sleep(Duration::from_millis(round));
        child.kill().expect("killed");
        child.wait().expect("ended");
        if server.run(&["client", "show", "alice"]).status.success() {
            server.succeed(&["client", "remove", "alice"]);
            // Whole, and its client was there.
            let _ = fs::remove_file(server.path("alice.toml"));
        } else {
            server.succeed(&["client", "add", "alice"]);
            assert_eq!(server.names("etc/peers.d"), ["alice.psk", "alice.toml"], "after {round} ms");
            let here = server.names(".");
            assert!(!here.iter().any(|name| name.starts_with('.')), "after {round} ms: {here:?}");
            server.succeed(&["client", "remove", "alice"]);
            fs::remove_file(server.path("alice.toml")).expect("removed");
            repeated += 1;
        }
    }
    assert!(repeated > 0);
}

#[test]
fn what_an_interrupted_command_left_is_named_by_check_and_removed_by_the_next() {
    let server = Server::new();
    let peers = server.path("etc/peers.d");
    let mut files = NewFiles::recorded_in(&peers);
    files.write(&server.path("alice.toml"), "the client's file").expect("written");
    files.write(&peers.join("alice.psk"), "a key").expect("written");
    mem::forget(files); // As SIGKILL would.
    fs::write(peers.join(".bob.toml.4711.0.new"), "half").expect("written");
    fs::write(server.path("etc/.server.toml.4711.1.new"), "half").expect("written");
    fs::write(peers.join("mine.psk"), "precious").expect("written");
    let said = server.run(&["check"]);
    assert!(said.status.success(), "warnings only");
    let said = String::from_utf8(said.stderr).expect("text");
    for name in [".unfinished", "alice.psk", ".bob.toml.4711.0.new", ".server.toml.4711.1.new", "mine.psk"] {
        assert!(said.contains(name), "{name}: {said}");
    }
    server.succeed(&["client", "add", "alice"]);
    assert_eq!(
        server.names("etc/peers.d"),
        ["alice.psk", "alice.toml", "mine.psk"],
        "keys that people made stay"
    );
    assert!(!server.path("etc/.server.toml.4711.1.new").exists());
    let said = String::from_utf8(server.run(&["check"]).stderr).expect("text");
    assert!(said.contains("mine.psk") && said.lines().count() == 1, "{said}");
}

#[test]
fn files_that_the_configuration_uses_by_then_stay_and_so_does_what_somebody_put_in_their_place() {
    let server = Server::new();
    let record = server.path("etc/peers.d/.unfinished");
    let line = |name: &str| {
        let path = server.path(name);
        let metadata = fs::metadata(&path).expect("there");
        serde_json::json!({"path": path, "file": [metadata.dev(), metadata.ino()]}).to_string() + "\n"
    };
    server.succeed(&["client", "add", "alice"]);
    fs::write(&record, line("alice.toml") + &line("etc/peers.d/alice.psk")).expect("written");
    server.succeed(&["client", "add", "bob"]);
    assert!(server.path("alice.toml").exists() && !record.exists());
    server.succeed(&["client", "show", "alice"]);

    fs::write(server.path("carol.toml"), "made").expect("written");
    let torn = line("carol.toml") + "{\"path\":\"/etc";
    fs::rename(server.path("carol.toml"), server.path("moved")).expect("moved");
    fs::write(server.path("carol.toml"), "precious").expect("written");
    fs::write(&record, torn).expect("written");
    server.succeed(&["client", "add", "dave"]);
    assert_eq!(fs::read_to_string(server.path("carol.toml")).expect("stays"), "precious");
}

#[test]
fn a_key_that_nobody_uses_is_in_the_way_of_no_new_client() {
    let server = Server::new();
    fs::write(server.path("etc/peers.d/bob.psk"), "precious").expect("written");
    server.succeed(&["client", "add", "bob"]);
    assert_eq!(server.names("etc/peers.d"), ["bob.2.psk", "bob.psk", "bob.toml"]);
    assert_eq!(fs::read_to_string(server.path("etc/peers.d/bob.psk")).expect("stays"), "precious");
    server.succeed(&["client", "remove", "bob"]);
    assert_eq!(server.names("etc/peers.d"), ["bob.psk"]);
}

#[test]
fn an_init_that_was_interrupted_goes_on_with_the_keys_that_it_made() {
    let server = Server::new();
    let before = fs::read(server.path("etc/identity.key")).expect("readable");
    fs::remove_file(server.path("etc/server.toml")).expect("removed");
    fs::remove_file(server.path("etc/wireguard.key")).expect("removed");
    server.succeed(&["init", "--dir", "etc", "--endpoint", "vpn.example.org:51820"]);
    assert_eq!(fs::read(server.path("etc/identity.key")).expect("readable"), before);
    server.succeed(&["check"]);
}
