//! Clients that speak WireGuard: their .conf and QR code, and the key that the server gets for them.

use super::{Server, conf_values, mode, pubkey};
use std::{fs, time::SystemTime};
use vpn_core::{
    base::encode_key,
    config::{Config, Role},
};

#[test]
fn a_wireguard_client_and_the_server_know_each_other() {
    let server = Server::new();
    server.succeed(&["client", "add", "phone", "--wireguard", "--expires", "90d"]);
    assert_eq!(mode(&server.path("phone.conf")), 0o600);
    let conf = fs::read_to_string(server.path("phone.conf")).expect("written");
    let values = conf_values(&conf);
    let ours = Config::load(&server.path("etc/server.toml"), Role::Server, SystemTime::now()).expect("valid");
    let peer = ours.peer("phone").expect("added");
    assert_eq!(peer.handshake(), "wireguard");
    let public = pubkey(&server, values["PrivateKey"], &["--wireguard"]);
    assert_eq!(public.trim(), peer.public_key.to_string());
    assert_eq!(values["Address"], "10.66.0.2/32, fd66::2/128");
    let key = ours.interface.wireguard_public_key().expect("made by init");
    assert_eq!(values["PublicKey"], encode_key(&key.0));
    let preshared = fs::read_to_string(server.path("etc/peers.d/phone.psk")).expect("written");
    assert_eq!(values["PresharedKey"], preshared.trim());
    assert_eq!(values["AllowedIPs"], "0.0.0.0/0, ::/0");
    assert_eq!((values["Endpoint"], values["PersistentKeepalive"]), ("vpn.example.org:51820", "25"));
    for command in ["list", "show"] {
        let name = (command == "show").then_some("phone");
        let arguments: Vec<&str> = ["client", command, "--json"].into_iter().chain(name).collect();
        let shown: serde_json::Value = serde_json::from_str(&server.succeed(&arguments)).expect("JSON");
        assert_eq!(shown.get(0).unwrap_or(&shown)["handshake"], "wireguard");
    }
}

#[test]
fn a_wireguard_client_with_its_own_key_puts_it_in_by_itself() {
    let server = Server::new();
    let public = pubkey(&server, &server.succeed(&["genkey", "--wireguard"]), &["--wireguard"]);
    let add = ["client", "add", "carol", "--wireguard", "--out", "-", "--public-key", public.trim()];
    let conf = server.succeed(&add);
    assert!(conf.contains("\n# PrivateKey = ") && !conf.contains("\nPrivateKey"), "{conf}");
    let mut again = add;
    again[2] = "dave";
    assert!(server.fail(&again, 1).contains("carol has this"));
    let zero = encode_key(&[0; 32]);
    again[7] = &zero;
    assert!(server.fail(&again, 2).contains("X25519"));
    again[5] = "dave.conf";
    again[7] = "short";
    server.fail(&again, 2);
    assert!(!server.path("dave.conf").exists());
}

#[test]
fn a_server_without_a_wireguard_key_gets_one_with_its_first_wireguard_client() {
    let server = Server::new();
    let config = server.path("etc/server.toml");
    let text = fs::read_to_string(&config).expect("readable");
    let without: String =
        text.split_inclusive('\n').filter(|line| !line.starts_with("wireguard_key")).collect();
    fs::write(&config, &without).expect("written");
    fs::remove_file(server.path("etc/wireguard.key")).expect("removed");
    server.succeed(&["client", "add", "phone", "--wireguard"]);
    assert_eq!(mode(&server.path("etc/wireguard.key")), 0o600);
    assert_eq!(mode(&config), 0o600);
    let with = fs::read_to_string(&config).expect("readable");
    assert_eq!(with.replace("wireguard_key_file = \"wireguard.key\"\n", ""), without);
    // One that is there is used, and one that cannot be used changes nothing.
    let key = fs::read(server.path("etc/wireguard.key")).expect("readable");
    fs::write(&config, &without).expect("written");
    fs::remove_file(server.path("etc/peers.d/phone.toml")).expect("removed");
    server.succeed(&["client", "add", "tablet", "--wireguard"]);
    assert_eq!(fs::read(server.path("etc/wireguard.key")).expect("readable"), key);
    fs::remove_file(server.path("etc/peers.d/tablet.toml")).expect("removed");
    fs::write(&config, &without).expect("written");
    fs::write(server.path("etc/wireguard.key"), "no key").expect("written");
    assert!(server.fail(&["client", "add", "watch", "--wireguard"], 1).contains("taken back"));
    assert_eq!(fs::read_to_string(&config).expect("readable"), without);
}

/// Reads a drawing as a camera would: each module becomes a square of pixels.
fn scan(drawing: &str) -> String {
    const PIXELS: usize = 4;
    let line = |text: &str, full: char| text.chars().map(|c| c == '█' || c == full).collect::<Vec<bool>>();
    let rows: Vec<Vec<bool>> = drawing.lines().flat_map(|text| [line(text, '▀'), line(text, '▄')]).collect();
    let grey = |x: usize, y: usize| if rows[y / PIXELS][x / PIXELS] { 255 } else { 0 };
    let (width, height) = (rows[0].len() * PIXELS, rows.len() * PIXELS);
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, grey);
    let grids = image.detect_grids();
    let [grid] = grids.as_slice() else { panic!("one code expected") };
    grid.decode().expect("readable").1
}

#[test]
fn a_scanned_qr_code_is_the_conf_byte_for_byte() {
    let server = Server::new();
    let plain = server.succeed(&["client", "add", "phone", "--wireguard", "--qr", "--out", "phone.conf"]);
    assert_eq!(scan(&plain), fs::read_to_string(server.path("phone.conf")).expect("written"));
    let rotate = ["--color", "always", "client", "rotate", "phone", "--qr", "--out", "new.conf"];
    let coloured = server.succeed(&rotate);
    let stripped: Vec<&str> = coloured
        .lines()
        .map(|line| line.strip_prefix("\x1b[38;5;231;48;5;16m").expect("white on black"))
        .map(|line| line.strip_suffix("\x1b[0m").expect("and back"))
        .collect();
    assert_eq!(scan(&stripped.join("\n")), fs::read_to_string(server.path("new.conf")).expect("written"));
}

#[test]
fn a_qr_code_is_shown_and_nothing_else_is_kept() {
    let server = Server::new();
    let drawing = server.succeed(&["client", "add", "phone", "--wireguard", "--qr"]);
    let widths: Vec<usize> = drawing.lines().map(|line| line.chars().count()).collect();
    assert!(widths.iter().all(|width| *width == widths[0] && *width <= 80), "{drawing}");
    assert!(!server.path("phone.conf").exists());
    server.succeed(&["client", "add", "tablet", "--wireguard", "--qr", "--out", "tablet.conf"]);
    assert!(server.path("tablet.conf").exists());
    for (arguments, why) in [
        (&["--qr"][..], "--wireguard"),
        (&["--qr", "--wireguard", "--out", "-"], "one of them"),
        (&["--qr", "--wireguard", "--public-key", &wireguard_public(&server)], "private key"),
    ] {
        let arguments = [&["client", "add", "x"], arguments].concat();
        assert!(server.fail(&arguments, 2).contains(why), "{arguments:?}");
    }
    assert!(server.fail(&["client", "show", "x"], 1).contains("no peer x"));
}

fn wireguard_public(server: &Server) -> String {
    pubkey(server, &server.succeed(&["genkey", "--wireguard"]), &["--wireguard"]).trim().to_owned()
}

#[test]
fn a_file_name_that_wg_quick_does_not_take_is_a_warning() {
    let server = Server::new();
    let add = |name: &str| {
        let output = server.run(&["client", "add", name, "--wireguard"]);
        assert!(output.status.success());
        String::from_utf8(output.stderr).expect("text").contains("warning: wg-quick")
    };
    assert!(!add("fifteen-letters"));
    assert!(add("sixteen-letters-"));
}
