//! Running the firewall programs.

use std::{
    env,
    ffi::OsString,
    io::{self, Write as _},
    process::{Command, Stdio},
};

/// How long iptables waits for another program's lock (`-w`), in seconds.
pub const IPTABLES_WAIT: &str = "5";

/// Why a program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The program is not installed.
    #[error("{program} is not installed: install the package {package}")]
    Missing {
        /// The program.
        program: String,
        /// The package, as Debian, Fedora and Alpine name it.
        package: &'static str,
    },
    /// The program could not be started or fed.
    #[error("cannot run {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The program said no.
    #[error("`{command}` failed: {stderr}{}", permission_hint(stderr))]
    Failed {
        /// The program and its arguments.
        command: String,
        /// What it said, trimmed.
        stderr: String,
    },
}

fn permission_hint(stderr: &str) -> &'static str {
    if stderr.contains("Operation not permitted") || stderr.contains("must be root") {
        " (run as root, or give the service CAP_NET_ADMIN)"
    } else {
        ""
    }
}

/// Runs `program` with `input` on its standard input; gives its standard output.
///
/// It is looked for where `PATH` says, and only there; without a `PATH` in the folders that Debian's root has.
///
/// # Errors
/// [`CommandError`] where the program is missing, does not start, or ends with a failure.
pub fn run(program: &str, arguments: &[&str], input: Option<&str>) -> Result<String, CommandError> {
    let failed_start = |source: io::Error| {
        if source.kind() == io::ErrorKind::NotFound {
            CommandError::Missing { program: program.to_owned(), package: package_of(program) }
        } else {
            CommandError::Start { program: program.to_owned(), source }
        }
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", search_path())
        .env("LC_ALL", "C")
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed_start)?;
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        // A program that stops reading early says why on stderr; that is the better error.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|source| CommandError::Start { program: program.to_owned(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let command = [&[program], arguments].concat().join(" ");
    Err(CommandError::Failed { command, stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

/// Makes sure that `program` is there before something that only it can undo is begun.
///
/// # Errors
/// [`CommandError::Missing`].
pub fn require(program: &str) -> Result<(), CommandError> {
    if installed(program) {
        return Ok(());
    }
    Err(CommandError::Missing { program: program.to_owned(), package: package_of(program) })
}

/// Whether `program` is found where [`run`] looks.
pub fn installed(program: &str) -> bool {
    env::split_paths(&search_path()).any(|folder| folder.join(program).is_file())
}

fn search_path() -> OsString {
    env::var_os("PATH")
        .unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into())
}

fn package_of(program: &str) -> &'static str {
    match program {
        "nft" => "nftables",
        "resolvconf" => "openresolv",
        _ => "iptables",
    }
}
