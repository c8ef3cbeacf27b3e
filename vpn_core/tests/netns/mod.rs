//! Runs a test in a network namespace of its own.

use std::{
    env,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

/// Set in the process that runs inside the namespace.
const INSIDE: &str = "VPN_CORE_TEST_NAMESPACE";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The namespace that this process runs in.
pub(crate) struct Namespace;

impl Namespace {
    /// Runs the test `name` of this binary again in a fresh namespace and returns `None` when it passed; inside,
    /// returns the namespace. A process of its own needs no unsafe code, and no other thread is moved.
    pub(crate) fn enter(name: &str) -> Option<Self> {
        if env::var_os(INSIDE).is_some() {
            return Some(Self);
        }
        if !is_root() {
            Self::skip(name, "network namespaces need root");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = Removed(format!("vpn-test-{}-{number}", std::process::id()));
        succeed(Command::new("ip").args(["netns", "add", &namespace.0]));
        let binary = env::current_exe().expect("tests know their binary");
        let inside = Command::new("ip")
            .args(["netns", "exec", &namespace.0])
            .arg(binary)
            .args(["--exact", name, "--nocapture"])
            .env(INSIDE, &namespace.0)
            .output()
            .expect("ip runs");
        let text = String::from_utf8_lossy(&inside.stdout);
        assert!(
            inside.status.success() && text.contains("1 passed"),
            "inside the namespace:\n{text}\n{}",
            String::from_utf8_lossy(&inside.stderr)
        );
        None
    }

    /// Says that the test `name` did not run.
    #[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
    pub(crate) fn skip(name: &str, why: &str) {
        eprintln!("SKIPPED {name}: {why}");
    }

    /// Runs `ip` with these arguments and returns its output.
    pub(crate) fn ip(arguments: &str) -> String {
        let output = succeed(Command::new("ip").args(arguments.split_whitespace()));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Whether `tc` takes these arguments: not every kernel has every queueing discipline.
    #[allow(dead_code, reason = "used by some of the tests that share this module")]
    pub(crate) fn try_tc(arguments: &str) -> bool {
        Command::new("tc")
            .args(arguments.split_whitespace())
            .output()
            .is_ok_and(|output| output.status.success())
    }
}

/// Whether this process may make namespaces and devices.
pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout.trim_ascii() == b"0"
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("the command is installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A namespace that is removed at the end, also when the test fails.
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).output();
    }
}
