//! Namespaces, and what a test sees in them.

use std::{
    env,
    fmt::Write as _,
    fs,
    net::UdpSocket,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

const INSIDE: &str = "VPN_TEST_IN_NAMESPACE";

/// True inside the namespaces. Outside: runs the test `name` again inside, checks that it passes, and gives false.
/// The test may hide `hidden` programs from itself.
pub(crate) fn inside(name: &str, hidden: &[&str]) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let possible = Command::new("unshare").args(["--net", "--mount", "true"]).status();
    if !possible.is_ok_and(|status| status.success()) {
        let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        assert!(!is_root, "{name}: cannot make namespaces, although root");
        println!("{name}: skipped, cannot make namespaces here");
        return false;
    }
    let mut hide = String::new();
    for program in hidden {
        let _ = write!(hide, "mount --bind /dev/null $(command -v {program}) && ");
    }
    // A /run of its own, so that `ip netns add` leaves no names on the host.
    // Without duplicate address detection, whose end changes the routes whatever the test does.
    let no_detection =
        "for kind in all default; do echo 0 >/proc/sys/net/ipv6/conf/$kind/accept_dad || true; done";
    let script = format!(
        "mount -t tmpfs tmpfs /run && {no_detection}; {hide} ip link set lo up && exec \"$0\" \"$@\""
    );
    let output = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", &script])
        .arg(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{name} failed inside its namespace:\n{stdout}\n{stderr}");
    false
}

/// Runs a shell command that must succeed; gives its output.
pub(crate) fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a shell command succeeds.
pub(crate) fn succeeds(command: &str) -> bool {
    Command::new("sh").args(["-ec", command]).output().unwrap().status.success()
}

/// All that the tests change: firewall, routing, sysctls. Counters left out.
pub(crate) fn system() -> String {
    // Link-local addresses come when duplicate address detection is through, whatever the test does.
    let mut text = sh("(ip rule; ip -6 rule; ip route show table all) | grep -v fe80:");
    if succeeds("nft list tables") {
        text += &sh("nft list ruleset");
    }
    let saved = sh("for f in '' 6; do ip${f}tables-save 2>/dev/null || true; done");
    text.extend(
        saved
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| format!("{}\n", line.split(" [").next().unwrap_or_default())),
    );
    for folder in ["/proc/sys/net/ipv4", "/proc/sys/net/ipv6"] {
        read_all(Path::new(folder), &mut text);
    }
    text
}

/// Fails with the lines that differ.
pub(crate) fn assert_same(before: &str, after: &str) {
    let gone: Vec<&str> = before.lines().filter(|line| !after.lines().any(|other| other == *line)).collect();
    let new: Vec<&str> = after.lines().filter(|line| !before.lines().any(|other| other == *line)).collect();
    assert!(before == after, "gone: {gone:#?}\nnew: {new:#?}");
}

fn read_all(path: &Path, text: &mut String) {
    let mut entries: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            read_all(&entry, text);
        } else if let Ok(value) = fs::read_to_string(&entry) {
            let _ = writeln!(text, "{} = {}", entry.display(), value.trim());
        }
    }
}

/// A UDP echo server in another namespace; ends with the test.
pub(crate) struct Echo(Child);

impl Echo {
    pub(crate) fn start(namespace: &str, address: &str) -> Self {
        let child = Command::new("ip")
            .args(["netns", "exec", namespace])
            .arg(env::current_exe().unwrap())
            .args(["--exact", "namespace::echo_server", "--ignored", "--nocapture"])
            .env("VPN_TEST_ECHO", address)
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "not a test: the process that Echo starts"]
fn echo_server() {
    let Ok(address) = env::var("VPN_TEST_ECHO") else { return };
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut buffer = [0; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(&buffer[..length], from);
    }
}

/// Whether one of several datagrams from `local` to `remote` comes back.
pub(crate) fn echoes(local: &str, remote: &str, attempts: u32) -> bool {
    let socket = UdpSocket::bind(local).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    (0..attempts).any(|_| {
        let _ = socket.send_to(b"ping", remote);
        socket.recv_from(&mut [0; 16]).is_ok()
    })
}
