//! What of the findings is macOS's.

use super::Finding;
use crate::{
    journal::{mac::has_apple_anchor, pfctl},
    network::{uplink, uplink_name},
};

/// How a socket's buffers become larger.
pub(super) const LARGER_BUFFERS: &str = "raise kern.ipc.maxsockbuf";

/// Numbers of interfaces to try begin here: the system's own are low.
const FIRST_PROBE: u32 = 800_000;

/// The name of a device to try. No other process has this one: process numbers have 5 digits.
pub(super) fn probe_name() -> String {
    format!("utun{}", FIRST_PROBE + std::process::id() % 100_000)
}

/// Looks at everything.
pub(super) fn examine() -> Vec<Finding> {
    vec![firewall(), way_out()]
}

fn firewall() -> Finding {
    const SUBJECT: &str = "firewall";
    match pfctl(&["-s", "rules"], None) {
        Ok(rules) if has_apple_anchor(&rules, "anchor") => {
            Finding::good(SUBJECT, "pf looks at anchors below com.apple")
        }
        Ok(_) => {
            let text = "the main rules of pf have no anchor \"com.apple/*\": no kill switch";
            Finding::warning(SUBJECT, text, "put that line of Apple's /etc/pf.conf back")
        }
        Err(error) => Finding::not_permitted(SUBJECT, error.to_string()),
    }
}

/// Where traffic that takes no tunnel leaves.
fn way_out() -> Finding {
    const SUBJECT: &str = "way out";
    match uplink() {
        Ok(number) => Finding::good(SUBJECT, uplink_name(number).unwrap_or_else(|| "none".to_owned())),
        Err(error) => Finding::bad(SUBJECT, error.to_string()),
    }
}
