//! `suite` of the `[interface]` table: which ciphers this node offers and accepts in hybrid sessions.

use super::{
    fault::Complaint,
    table::{Source, Value},
};
use crate::{engine::supported_suites, symmetric::Suite, wire::hybrid::SuiteSet};

/// Without a value: what this CPU runs fast.
pub(super) fn read_suites<'t>(source: &mut Source<'t>, value: Option<Value<'t>>) -> Option<SuiteSet> {
    let Some(value) = value else { return Some(supported_suites()) };
    let suites = choose(source.string(&value)?, supported_suites());
    source.accept(&value.span, suites)
}

/// ChaCha20-Poly1305 is in every answer: the protocol leaves no node without it (protocol.md 4.3.1). So "aes-256-gcm"
/// cannot shut out a peer that has no AES; it refuses to start where "auto" would silently have gone without.
fn choose(text: &str, fast: SuiteSet) -> Result<SuiteSet, Complaint> {
    match text {
        "auto" => Ok(fast),
        "chacha20-poly1305" => Ok(SuiteSet::CHACHA20_POLY1305),
        "aes-256-gcm" if fast.contains(Suite::Aes256Gcm) => Ok(SuiteSet::WITH_AES_256_GCM),
        "aes-256-gcm" => Err(Complaint::new(
            "suite = \"aes-256-gcm\", but this CPU has no instructions for AES",
            "write \"auto\", which uses ChaCha20-Poly1305 here",
        )),
        other => Err(Complaint::new(
            format!("suite = {other:?}"),
            "write \"auto\", \"chacha20-poly1305\" or \"aes-256-gcm\"",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHOUT_AES: SuiteSet = SuiteSet::CHACHA20_POLY1305;
    const WITH_AES: SuiteSet = SuiteSet::WITH_AES_256_GCM;

    #[test]
    fn auto_takes_what_the_cpu_runs_fast() {
        for fast in [WITHOUT_AES, WITH_AES] {
            assert_eq!(choose("auto", fast).ok(), Some(fast));
        }
    }

    #[test]
    fn chacha_alone_is_possible_everywhere() {
        for fast in [WITHOUT_AES, WITH_AES] {
            assert_eq!(choose("chacha20-poly1305", fast).ok(), Some(SuiteSet::CHACHA20_POLY1305));
        }
    }

    #[test]
    fn aes_keeps_the_mandatory_suite_beside_it() {
        let suites = choose("aes-256-gcm", WITH_AES).ok();
        assert_eq!(suites, Some(SuiteSet::WITH_AES_256_GCM));
        assert!(suites.is_some_and(|suites| suites.contains(Suite::ChaCha20Poly1305)));
    }

    #[test]
    fn aes_on_a_cpu_without_it_is_refused_with_a_way_out() {
        let complaint = choose("aes-256-gcm", WITHOUT_AES).expect_err("a fault");
        assert!(complaint.message.contains("no instructions for AES"), "{}", complaint.message);
        assert!(complaint.remedy.contains("\"auto\""), "{}", complaint.remedy);
    }
}
