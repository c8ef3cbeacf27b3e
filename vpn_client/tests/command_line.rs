//! The program as a user meets it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output},
};

const CONFIG: &str = "\
[interface]
identity = \"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\"
addresses = [\"10.66.0.2/32\"]
[[peer]]
name = \"server\"
public_key = \"gTl3Dqh9F19Wo1Rmw0x+zMuNipG07jeiXfYPW4/Js5Q=\"
endpoint = \"127.0.0.1:9\"
allowed_ips = [\"0.0.0.0/0\"]
";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.toml");
    fs::write(&file, CONFIG).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("allowed");
    folder
}

fn run(folder: &tempfile::TempDir, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vpn-client"));
    command.args(arguments).current_dir(folder.path()).env("VPN_RUN_DIR", folder.path().join("run"));
    command.env("VPN_STATE_DIR", folder.path().join("state"));
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    (status.code(), String::from_utf8([stdout, stderr].concat()).expect("text"))
}

#[test]
fn down_is_idempotent_and_status_of_nothing_is_3() {
    let folder = folder();
    for arguments in [&["down"][..], &["down", "a.toml"], &["-c", "a.toml", "down"]] {
        let (status, said) = run(&folder, arguments);
        // Whether something is left, only root can see.
        let is_looked = said.contains("nothing to do") || said.contains("shown to root only");
        assert_eq!((status, is_looked), (Some(0), true), "{said}");
    }
    assert_eq!(run(&folder, &["status"]).0, Some(3));
    assert_eq!(run(&folder, &["status", "-c", "a.toml", "--json"]).0, Some(3));
}

#[test]
fn check_accepts_a_good_file_and_names_the_line_of_a_bad_one() {
    let folder = folder();
    let (status, said) = run(&folder, &["check", "a.toml"]);
    assert_eq!(status, Some(0), "{said}");
    fs::write(folder.path().join("a.toml"), CONFIG.replace(":9", "")).expect("written");
    let (status, said) = run(&folder, &["check", "a.toml"]);
    assert_eq!((status, said.contains("a.toml:7:")), (Some(1), true), "{said}");
    // Nothing is started from it either.
    let (status, said) = run(&folder, &["up", "a.toml"]);
    assert_eq!((status, said.contains("a.toml:7:")), (Some(1), true), "{said}");
    assert!(!folder.path().join("run").exists());
}

#[test]
fn wrong_usage_is_2() {
    let folder = folder();
    for arguments in
        [&["up"][..], &["check"], &["up", "a.toml", "--foreground", "--wait"], &["up", "x", "--wait=1h"]]
    {
        assert_eq!(run(&folder, arguments).0, Some(2), "{arguments:?}");
    }
}

#[test]
fn root_takes_a_users_own_file_only_from_that_user_by_sudo() {
    let folder = folder();
    let file = folder.path().join("a.toml");
    if std::os::unix::fs::chown(&file, Some(4711), None).is_err() {
        return; // Only root gives files away.
    }
    let check = |caller: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vpn-client"));
        command.arg("check").arg(&file).env_remove("SUDO_UID");
        if !caller.is_empty() {
            command.env("SUDO_UID", caller);
        }
        let Output { status, stdout, .. } = command.output().expect("the program starts");
        (status.code(), String::from_utf8(stdout).expect("text"))
    };
    assert_eq!(check("4711").0, Some(0));
    for caller in ["", "4712", "x"] {
        let (status, said) = check(caller);
        assert_eq!(status, Some(1), "{caller}: {said}");
        assert!(said.contains("belongs to uid 4711") && said.contains("chown root"), "{said}");
    }
}

#[test]
fn a_run_folder_of_another_user_is_refused_and_no_link_in_it_followed() {
    let folder = folder();
    let run_dir = folder.path().join("run");
    fs::create_dir(&run_dir).expect("made");
    let precious = folder.path().join("precious");
    fs::write(&precious, "precious").expect("written");
    std::os::unix::fs::symlink(&precious, run_dir.join("vpn0.log")).expect("linked");
    let (status, said) = run(&folder, &["up", "a.toml"]);
    assert_eq!(status, Some(1), "{said}");
    assert_eq!(fs::read_to_string(&precious).expect("readable"), "precious");
    if std::os::unix::fs::chown(&run_dir, Some(4711), None).is_ok() {
        let (status, said) = run(&folder, &["up", "a.toml"]);
        assert_eq!((status, said.contains("belongs to uid 4711")), (Some(1), true), "{said}");
    }
}
