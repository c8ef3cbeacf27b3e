//! `doctor`.

use anyhow::bail;
use vpn_core::{
    cli::{GlobalArgs, NotPermitted, print},
    node::{Finding, Verdict, examine},
};

/// Says what this host has for a tunnel and what it lacks.
pub(crate) fn doctor(global: &GlobalArgs) -> anyhow::Result<()> {
    let findings = examine(&global.node_options());
    let text = if global.json {
        serde_json::to_string(&findings)? + "\n"
    } else {
        findings.iter().map(line).collect()
    };
    print(text)?;
    let worst = |verdict| findings.iter().any(|finding| finding.verdict == verdict);
    if worst(Verdict::Bad) {
        bail!("no tunnel is possible here as it is");
    }
    if worst(Verdict::NotPermitted) {
        return Err(
            NotPermitted("not all can be seen without privileges: run this as root".to_owned()).into()
        );
    }
    Ok(())
}

fn line(Finding { subject, verdict, text, remedy }: &Finding) -> String {
    let word = match verdict {
        Verdict::Good => "ok",
        Verdict::Notice => "note",
        Verdict::Warning => "warning",
        Verdict::Bad => "bad",
        Verdict::NotPermitted => "unknown",
    };
    let remedy = remedy.as_ref().map_or_else(String::new, |remedy| format!("\n{:25}{remedy}", ""));
    format!("{word:<8} {subject:<15} {text}{remedy}\n")
}
