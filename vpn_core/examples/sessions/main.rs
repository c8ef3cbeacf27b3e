//! A generator of sessions: many hybrid clients in one process, over real UDP, against a real engine.
//!
//! ```text
//! sudo unshare --net cargo run --release -p vpn_core --example sessions -- --sessions 1000 --seconds 30
//! ```
//!
//! It runs in a network namespace of its own (so on Linux), as root, and prints one JSON object. The gateway is an [`Engine`] with a TUN
//! device, its clients are [`Device`]s that share a socket; each client has an address of its own in 127.0.0.0/8, and sends
//! packets that nobody answers. `--flood-sources` adds attackers who return every cookie and finish no handshake.
//!
//! [`Engine`]: vpn_core::engine::Engine
//! [`Device`]: vpn_core::device::Device
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports what it measured")]

mod client;
mod flood;
mod gateway;
mod swarm;

use flood::Flood;
use gateway::Gateway;
use serde_json::{Value, json};
use std::{
    env,
    process::{Command, ExitCode},
    str::FromStr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use swarm::{Outcome, Swarm};

const HELP: &str = "\
Many hybrid sessions from one process against a gateway in the same, over real UDP. Needs root and a network
namespace of its own (sudo unshare --net ...). Prints one JSON object.

  --sessions N            clients (200)
  --seconds T             how long it all takes, from the first client on (20)
  --connect-rate R        clients that begin in a second (500)
  --packets-per-second P  packets that each client sends; nothing comes back but keepalives (1)
  --flood-sources S       addresses of attackers who return cookies and finish nothing, at most 65536 (0)
  --flood-rate R          inits that they send in a second, together (8000)
  --flood-lead T          seconds that they are ahead of the first client (0)
";

/// What is asked for.
struct Options {
    sessions: u32,
    seconds: Duration,
    connect_rate: f64,
    packets_per_second: f64,
    flood_sources: u32,
    flood_rate: f64,
    flood_lead: Duration,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self {
            sessions: 200,
            seconds: Duration::from_secs(20),
            connect_rate: 500.0,
            packets_per_second: 1.0,
            flood_sources: 0,
            flood_rate: 8000.0,
            flood_lead: Duration::ZERO,
        };
        while let Some(name) = arguments.next() {
            if name == "--help" || name == "-h" {
                return Ok(None);
            }
            let text = arguments.next().ok_or_else(|| format!("{name} wants a number: see --help"))?;
            match name.as_str() {
                "--sessions" => options.sessions = number(&name, &text, 1..=gateway::MAX_CLIENTS)?,
                "--seconds" => options.seconds = Duration::from_secs(number(&name, &text, 1..=86_400)?),
                "--connect-rate" => options.connect_rate = number(&name, &text, 0.1..=1e6)?,
                "--packets-per-second" => options.packets_per_second = number(&name, &text, 0.001..=1e6)?,
                "--flood-sources" => options.flood_sources = number(&name, &text, 0..=flood::MAX_SOURCES)?,
                "--flood-rate" => options.flood_rate = number(&name, &text, 1.0..=1e7)?,
                "--flood-lead" => options.flood_lead = Duration::from_secs(number(&name, &text, 0..=3600)?),
                _ => return Err(format!("{name} is unknown: see --help")),
            }
        }
        Ok(Some(options))
    }
}

fn number<N: FromStr + PartialOrd>(
    name: &str,
    text: &str,
    range: std::ops::RangeInclusive<N>,
) -> Result<N, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{name} does not take {text:?}: see --help"))
}

fn main() -> ExitCode {
    match Options::parse(env::args().skip(1)) {
        Ok(Some(options)) => {
            println!("{:#}", run(&options));
            ExitCode::SUCCESS
        }
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Value {
    ip("link set lo up");
    let gateway = Gateway::start(options.sessions);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = (options.flood_sources > 0).then(|| {
            let mut flood = Flood::new(options.flood_sources, options.flood_rate, gateway.endpoint());
            let is_over = &is_over;
            scope.spawn(move || flood.run(is_over))
        });
        thread::sleep(options.flood_lead);
        let before = gateway::cpu_seconds();
        let mut swarm = Swarm::new(options, &gateway);
        let outcome = swarm.run(Instant::now() + options.seconds);
        let after = gateway::cpu_seconds();
        is_over.store(true, Ordering::Relaxed);
        let flood = flood.map(|thread| thread.join().expect("the flood does not panic"));
        json!({
            "sessions": options.sessions,
            "seconds": options.seconds.as_secs(),
            "clients": clients(&outcome),
            "gateway": {
                "peers_dead": gateway.peers_dead(),
                "cpu_seconds": after.iter().map(|(name, spent)| {
                    let earlier = before.get(name).copied().unwrap_or_default();
                    (name.clone(), json!(((spent - earlier) * 100.0).round() / 100.0))
                }).collect::<serde_json::Map<_, _>>(),
                "drops": gateway.drops(),
            },
            "flood": flood.map(|counts| json!({
                "sources": options.flood_sources, "sent": counts.sent,
                "with_cookie": counts.with_cookie, "answered": counts.answered,
            })),
        })
    })
}

fn clients(outcome: &Outcome) -> Value {
    let mut times = outcome.connect_times.clone();
    times.sort();
    let percentile = |percent: usize| {
        let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(at).map(|time| (time.as_secs_f64() * 10_000.0).round() / 10.0)
    };
    json!({
        "connected": times.len(),
        "connect_milliseconds": { "p50": percentile(50), "p95": percentile(95), "max": percentile(100) },
        "handshakes": outcome.handshakes,
        "gateway_dead": outcome.deaths,
        "packets_sent": outcome.packets,
    })
}

/// Runs `ip` with these arguments.
fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "ip {arguments}: failed; is this a namespace of its own, and root?"
    );
}
