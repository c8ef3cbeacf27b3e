//! Running other programs: those of the firewall, `resolvconf`.

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    env,
    ffi::OsString,
    io::{self, Read, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

/// How long iptables waits for another program's lock (`-w`), in seconds.
pub const IPTABLES_WAIT: &str = "5";
/// How long a program may take: whoever runs one can do nothing else meanwhile, not even stop.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at whether it has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How long what it said is waited for once it has ended. A daemon that it started may hold the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
    /// The program did not end, and was killed.
    #[error("`{command}` did not end within {} s and was killed", patience.as_secs())]
    Hung {
        /// The program and its arguments.
        command: String,
        /// How long it was waited for.
        patience: Duration,
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

impl CommandError {
    /// Whether the program says that privileges are what is missing.
    pub fn is_not_permitted(&self) -> bool {
        match self {
            Self::Failed { stderr, .. } => is_about_permission(stderr),
            Self::Missing { .. } | Self::Start { .. } | Self::Hung { .. } => false,
        }
    }
}

fn is_about_permission(stderr: &str) -> bool {
    stderr.contains("Operation not permitted") || stderr.contains("must be root")
}

fn permission_hint(stderr: &str) -> &'static str {
    if is_about_permission(stderr) { " (run as root, or give the service CAP_NET_ADMIN)" } else { "" }
}

/// Runs `program` with `input` on its standard input; gives its standard output.
///
/// It is looked for where `PATH` says, and only there; without a `PATH` in the folders that Debian's root has.
///
/// # Errors
/// [`CommandError`] where the program is missing, does not start, ends with a failure, or has not ended after 10 s; then
/// it is killed, with all that it has started in its process group.
pub fn run(program: &str, arguments: &[&str], input: Option<&str>) -> Result<String, CommandError> {
    run_within(PATIENCE, program, arguments, input)
}

fn run_within(
    patience: Duration,
    program: &str,
    arguments: &[&str],
    input: Option<&str>,
) -> Result<String, CommandError> {
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
        .process_group(0)
        .spawn()
        .map_err(failed_start)?;
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input.map(str::to_owned)) {
        // A program that stops reading early says why on stderr; that is the better error.
        thread::spawn(move || pipe.write_all(input.as_bytes()));
    }
    let (stdout, stderr) = (child.stdout.take().map(text_of), child.stderr.take().map(text_of));
    let text = |pipe: Option<Receiver<String>>| {
        pipe.and_then(|text| text.recv_timeout(LAST_WORDS).ok()).unwrap_or_default()
    };
    let command = || [&[program], arguments].concat().join(" ");
    match wait(&mut child, patience) {
        Ok(Some(status)) if status.success() => Ok(text(stdout)),
        Ok(Some(_)) => {
            Err(CommandError::Failed { command: command(), stderr: text(stderr).trim().to_owned() })
        }
        Ok(None) => Err(CommandError::Hung { command: command(), patience }),
        Err(source) => Err(CommandError::Start { program: program.to_owned(), source }),
    }
}

/// Reads a pipe to its end beside us, since a program may fill any of its pipes first.
fn text_of(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, text) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        // Nobody is there any more where it took too long.
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    text
}

/// Waits for the end of `child`, or kills it and the rest of its process group.
fn wait(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            break;
        }
        thread::sleep(LOOK_AGAIN);
    }
    // It has not been waited for, so its number is still its own.
    killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL)?;
    child.wait()?;
    Ok(None)
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

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::kill;
    use std::{fs, path::Path};

    /// Shell text that starts something that does not end, and writes its number to `file`.
    fn sleeper(file: &Path) -> String {
        format!("sleep 600 & echo $! >{0}.new; mv {0}.new {0}", file.display())
    }

    fn number(file: &Path) -> Pid {
        Pid::from_raw(fs::read_to_string(file).unwrap().trim().parse().unwrap())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_program_that_hangs_is_killed_with_what_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        let script = sleeper(&file) + "; wait";
        let error = run_within(Duration::from_secs(3), "sh", &["-c", &script], None).unwrap_err();
        assert!(matches!(error, CommandError::Hung { .. }), "{error}");
        let stat = format!("/proc/{}/stat", number(&file));
        // Gone, or dead and waiting for whoever inherited it.
        let lives = || fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        let deadline = Instant::now() + Duration::from_secs(30);
        while lives() {
            assert!(Instant::now() < deadline, "what it started is still there");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_program_that_leaves_a_daemon_behind_has_ended_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        run_within(Duration::from_secs(60), "sh", &["-c", &sleeper(&file)], None).unwrap();
        kill(number(&file), Signal::SIGKILL).expect("the daemon runs, and is not waited for");
    }

    #[test]
    fn any_amount_of_input_and_output_goes_through_a_program() {
        let text = "0123456789abcde\n".repeat(1 << 16);
        assert!(run("cat", &[], Some(&text)).unwrap() == text);
        assert_eq!(run("true", &[], Some(&text)).unwrap(), "", "a program need not read it");
        let error = run("sh", &["-c", "echo no >&2; exit 1"], Some(&text)).unwrap_err();
        assert!(matches!(error, CommandError::Failed { stderr, .. } if stderr == "no"));
    }
}
