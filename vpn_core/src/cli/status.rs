//! `status`: once, or every second.

use super::{GlobalArgs, print};
use crate::control::{ControlClient, Status, render};
use clap::{Args, builder::BoolishValueParser};
use std::{
    io::{self, IsTerminal as _},
    thread,
    time::Duration,
};

const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Clears the screen and moves to its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// How to show a status.
#[derive(Clone, Copy, Debug, Args)]
pub struct StatusArgs {
    /// Show it again every second; with --json, one line each
    #[arg(short, long, env = "VPN_WATCH", value_parser = BoolishValueParser::new())]
    pub watch: bool,
}

/// Prints what the node tells about itself, and answers it.
///
/// # Errors
/// When the node cannot be asked, or the output is closed.
pub fn show_status(global: &GlobalArgs, node: &ControlClient, args: StatusArgs) -> anyhow::Result<Status> {
    loop {
        let status = node.status()?;
        let mut text = if global.json {
            serde_json::to_string(&status)? + "\n"
        } else {
            render(&status, global.palette())
        };
        if args.watch && !global.json && io::stdout().is_terminal() {
            text.insert_str(0, CLEAR);
        }
        print(text)?;
        if !args.watch {
            return Ok(status);
        }
        thread::sleep(WATCH_INTERVAL);
    }
}
