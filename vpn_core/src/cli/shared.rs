//! Commands that both programs have.

use super::{Usage, keys, print};
use clap::{CommandFactory, FromArgMatches, Subcommand};
use clap_complete::Shell;
use std::ffi::OsString;

/// Examples of the commands below; `{program}` is whichever program shows them.
const EXAMPLES: [(&str, &str); 5] = [
    (
        "genkey",
        "Examples:\n  umask 077; {program} genkey > identity.key\n  \
         {program} genkey | tee identity.key | {program} pubkey",
    ),
    ("pubkey", "Example:\n  {program} pubkey < identity.key"),
    ("genpsk", "Example:\n  umask 077; {program} genpsk > alice.psk"),
    ("completions", "Example:\n  {program} completions bash > /etc/bash_completion.d/{program}"),
    ("man", "Examples:\n  {program} man | man -l -\n  {program} man status | man -l -"),
];

/// Commands that need no node and no configuration.
#[derive(Debug, Subcommand)]
pub enum SharedCommand {
    /// Print a new private key
    Genkey {
        /// An X25519 key, as `wg genkey` prints, for WireGuard peers
        #[arg(long)]
        wireguard: bool,
    },
    /// Read a private key from the standard input, print its public key
    Pubkey {
        /// The key is an X25519 key
        #[arg(long)]
        wireguard: bool,
    },
    /// Print a new preshared key
    Genpsk,
    /// Print a script that completes commands in a shell
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Print a manual page
    Man {
        /// A command, as in `man client add`; none for the program itself
        command: Vec<String>,
    },
}

/// A program's whole command line, whose shared commands show examples with that program's name.
pub fn command<A: CommandFactory>() -> clap::Command {
    let command = A::command();
    let program = command.get_name().to_owned();
    EXAMPLES.iter().fold(command, |command, (name, text)| {
        let text = text.replace("{program}", &program);
        command.mut_subcommand(name, |shared| shared.after_help(text))
    })
}

/// Reads a command line, which begins with the program's name. Ends the process where it is wrong, or asks for help.
pub fn parse<A: CommandFactory + FromArgMatches>(arguments: impl IntoIterator<Item = OsString>) -> A {
    A::from_arg_matches(&command::<A>().get_matches_from(arguments)).unwrap_or_else(|error| error.exit())
}

impl SharedCommand {
    /// Runs it; `program` is the program's whole command line.
    ///
    /// # Errors
    /// When input, output or an argument is wrong.
    pub fn run(self, mut program: clap::Command) -> anyhow::Result<()> {
        match self {
            Self::Genkey { wireguard } => keys::generate_key(wireguard),
            Self::Pubkey { wireguard } => keys::public_key(wireguard),
            Self::Genpsk => keys::generate_preshared_key(),
            Self::Completions { shell } => {
                let mut script = Vec::new();
                let name = program.get_name().to_owned();
                clap_complete::generate(shell, &mut program, name, &mut script);
                Ok(print(script)?)
            }
            Self::Man { command } => print_manual(program, &command),
        }
    }
}

fn print_manual(mut program: clap::Command, path: &[String]) -> anyhow::Result<()> {
    program.build();
    let mut command = &program;
    for name in path {
        let Some(next) = command.find_subcommand(name) else {
            return Err(Usage(format!("there is no command {name:?} in {}", command.get_name())).into());
        };
        command = next;
    }
    let title =
        [program.get_name()].into_iter().chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join("-");
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().name(title)).render(&mut page)?;
    Ok(print(page)?)
}
