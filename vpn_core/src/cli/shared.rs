//! Commands that both programs have.

use super::{Usage, keys, print};
use clap::Subcommand;
use clap_complete::Shell;

/// Commands that need no node and no configuration.
#[derive(Debug, Subcommand)]
pub enum SharedCommand {
    /// Print a new private key
    #[command(
        after_help = "Examples:\n  umask 077; vpn-client genkey > identity.key\n  vpn-client genkey | tee identity.key | vpn-client pubkey"
    )]
    Genkey {
        /// An X25519 key, as `wg genkey` prints, for WireGuard peers
        #[arg(long)]
        wireguard: bool,
    },
    /// Read a private key from the standard input, print its public key
    #[command(after_help = "Example:\n  vpn-client pubkey < identity.key")]
    Pubkey {
        /// The key is an X25519 key
        #[arg(long)]
        wireguard: bool,
    },
    /// Print a new preshared key
    #[command(after_help = "Example:\n  umask 077; vpn-server genpsk > alice.psk")]
    Genpsk,
    /// Print a script that completes commands in a shell
    #[command(after_help = "Example:\n  vpn-client completions bash > /etc/bash_completion.d/vpn-client")]
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Print a manual page
    #[command(after_help = "Examples:\n  vpn-server man | man -l -\n  vpn-server man client add | man -l -")]
    Man {
        /// A command, as in `man client add`; none for the program itself
        command: Vec<String>,
    },
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
