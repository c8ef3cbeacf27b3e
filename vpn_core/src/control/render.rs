//! A status for people, in the manner of `wg show`.

use super::{OffloadStatus, PeerState, PeerStatus, Status};
use std::fmt::{self, Write as _};

/// Which colours to print with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    /// None: for files and pipes.
    Plain,
    /// ANSI escape sequences: for terminals.
    Ansi,
}

#[derive(Clone, Copy)]
enum Colour {
    Green,
    Yellow,
    Dim,
    Bold,
}

/// Renders `status`, with a newline at the end.
pub fn render(status: &Status, palette: Palette) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, status, palette);
    text
}

fn write(text: &mut String, status: &Status, palette: Palette) -> fmt::Result {
    let interface = &status.interface;
    writeln!(
        text,
        "{}: {}",
        palette.paint(Colour::Green, "interface"),
        palette.paint(Colour::Bold, &interface.name)
    )?;
    field(text, "public key", &interface.public_key)?;
    if let Some(key) = &interface.wireguard_public_key {
        field(text, "wireguard key", key)?;
    }
    field(text, "listening port", &interface.listen_port.to_string())?;
    field(text, "addresses", &interface.addresses.join(", "))?;
    field(text, "mtu", &interface.mtu.to_string())?;
    if let Some(offload) = interface.offload {
        field(text, "offload", &offloads(offload))?;
    }
    if interface.kill_switch {
        field(text, "kill switch", "in force")?;
    }
    if let Some(backend) = &interface.dns_backend {
        field(text, "name servers", &format!("{} ({backend})", interface.dns.join(", ")))?;
    }
    if let Some(inbound) = &interface.inbound {
        let reason =
            interface.inbound_reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
        field(text, "inbound", &format!("{inbound}{reason}"))?;
    }
    for warning in &interface.warnings {
        field(text, &palette.paint(Colour::Yellow, "warning"), warning)?;
    }
    let counts: Vec<String> = status
        .drops
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{count} {}", reason.replace('_', " ")))
        .collect();
    if !counts.is_empty() {
        field(text, "dropped", &counts.join(", "))?;
    }
    status.peers.iter().try_for_each(|peer| write_peer(text, peer, palette))
}

/// The offloads in force, by the names that they have in a configuration.
fn offloads(offload: OffloadStatus) -> String {
    let names = [
        (offload.tun_checksum, "checksum"),
        (offload.tun_tcp, "tso"),
        (offload.tun_udp, "uso"),
        (offload.udp_gso, "gso"),
        (offload.udp_gro, "gro"),
    ];
    let names: Vec<&str> =
        names.into_iter().filter_map(|(in_force, name)| in_force.then_some(name)).collect();
    if names.is_empty() { "off".to_owned() } else { names.join(", ") }
}

fn write_peer(text: &mut String, peer: &PeerStatus, palette: Palette) -> fmt::Result {
    writeln!(
        text,
        "\n{}: {}",
        palette.paint(Colour::Yellow, "peer"),
        palette.paint(Colour::Bold, &peer.name)
    )?;
    field(text, "public key", &peer.public_key)?;
    let colour = match peer.state {
        PeerState::Up => Colour::Green,
        PeerState::Connecting => Colour::Yellow,
        PeerState::Idle | PeerState::Disabled => Colour::Dim,
    };
    field(text, "state", &palette.paint(colour, &peer.state.to_string()))?;
    if let Some(reason) = &peer.reason {
        field(text, "reason", &palette.paint(Colour::Yellow, reason))?;
    }
    if let Some(endpoint) = &peer.endpoint {
        field(text, "endpoint", endpoint)?;
    }
    field(text, "handshake", &handshake(peer))?;
    let allowed = if peer.allowed_ips.is_empty() { "(none)".to_owned() } else { peer.allowed_ips.join(", ") };
    field(text, "allowed ips", &allowed)?;
    if let Some(seconds) = peer.last_handshake_seconds {
        field(text, "latest handshake", &ago(seconds))?;
    }
    if let Some(suite) = &peer.suite {
        field(text, "session", &format!("{suite}, {} rekeys", peer.rekeys))?;
    }
    if let Some(mtu) = peer.mtu.filter(|_| peer.state == PeerState::Up) {
        field(text, "mtu", &mtu.to_string())?;
    }
    if peer.rx_bytes > 0 || peer.tx_bytes > 0 {
        let transfer = format!("{} received, {} sent", bytes(peer.rx_bytes), bytes(peer.tx_bytes));
        field(text, "transfer", &transfer)?;
    }
    Ok(())
}

/// Which handshake it is and what its keys withstand.
fn handshake(peer: &PeerStatus) -> String {
    let kind = match (peer.post_quantum, peer.psk) {
        (true, true) => "post-quantum, with a preshared key",
        (true, false) => "post-quantum, no preshared key",
        (false, true) => "post-quantum by its preshared key only",
        (false, false) => "not post-quantum, no preshared key",
    };
    format!("{}, {kind}", peer.handshake)
}

fn field(text: &mut String, name: &str, value: &str) -> fmt::Result {
    writeln!(text, "  {name:<17} {value}")
}

impl Palette {
    fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Dim => "2",
            Colour::Bold => "1",
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Ansi => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// Bytes in the unit that leaves one to four digits before the point.
fn bytes(count: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let Some((unit, shift)) = UNITS.iter().find(|(_, shift)| count >> shift > 0) else {
        return format!("{count} B");
    };
    let hundredths = (u128::from(count) * 100) >> shift;
    format!("{}.{:02} {unit}", hundredths / 100, hundredths % 100)
}

fn ago(seconds: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)];
    if seconds == 0 {
        return "now".to_owned();
    }
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, length) in UNITS {
        let count = left / length;
        left %= length;
        if count > 0 {
            parts.push(format!("{count} {unit}{}", if count == 1 { "" } else { "s" }));
        }
    }
    format!("{} ago", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_times_are_written_for_people() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.50 KiB");
        assert_eq!(bytes(u64::MAX), "16777215.99 TiB");
        assert_eq!(ago(0), "now");
        assert_eq!(ago(3661), "1 hour, 1 minute, 1 second ago");
    }

    #[test]
    fn offloads_are_shown_by_the_names_in_a_configuration() {
        let line = |offload| {
            let mut status = Status::default();
            status.interface.offload = offload;
            let text = render(&status, Palette::Plain);
            text.lines()
                .find_map(|line| line.trim().strip_prefix("offload").map(|rest| rest.trim().to_owned()))
        };
        let off = OffloadStatus::default();
        assert_eq!(line(None), None, "an older node does not tell");
        assert_eq!(line(Some(off)).as_deref(), Some("off"));
        for (offload, name) in [
            (OffloadStatus { tun_checksum: true, ..off }, "checksum"),
            (OffloadStatus { tun_tcp: true, ..off }, "tso"),
            (OffloadStatus { tun_udp: true, ..off }, "uso"),
            (OffloadStatus { udp_gso: true, ..off }, "gso"),
            (OffloadStatus { udp_gro: true, ..off }, "gro"),
            (OffloadStatus { tun_tcp: true, udp_gro: true, ..off }, "tso, gro"),
        ] {
            assert_eq!(line(Some(offload)).as_deref(), Some(name));
        }
    }

    #[test]
    fn a_status_is_shown_like_wg_shows_it() {
        let peer = PeerStatus {
            name: "alice".into(),
            state: PeerState::Up,
            handshake: "hybrid".into(),
            post_quantum: true,
            suite: Some("chacha20-poly1305".into()),
            last_handshake_seconds: Some(12),
            rx_bytes: 2048,
            reason: Some("nothing has come back for 7 s".into()),
            ..PeerStatus::default()
        };
        let status = Status { peers: vec![peer], ..Status::default() };
        let text = render(&status, Palette::Plain);
        for line in [
            "peer: alice",
            "  state             up",
            "  reason            nothing has come back for 7 s",
            "  latest handshake  12 seconds ago",
            "  handshake         hybrid, post-quantum, no preshared key",
            "  session           chacha20-poly1305, 0 rekeys",
            "  transfer          2.00 KiB received, 0 B sent",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
        }
        assert!(!text.contains('\x1b'));
        assert!(render(&status, Palette::Ansi).contains("\x1b[32mup\x1b[0m"));
    }
}
