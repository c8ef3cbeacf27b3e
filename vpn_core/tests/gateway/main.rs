//! The journal, the gateway and the routes against a real kernel, in network namespaces of their own.
//!
//! Each test that needs one runs itself again in fresh network and mount namespaces, which vanish with it; the host is
//! not touched. Without root these tests say so and pass.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "set-up that fails is a failed test")]

mod journal;
mod kill_switch;
mod masquerade;
mod namespace;
mod routing;
