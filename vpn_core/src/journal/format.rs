//! The journal's text: one JSON value a line, a header first. Pure, so that damage can be tested anywhere.

use serde::{Deserialize, Serialize};

use super::Change;

/// The version of the format that this program writes and reads.
const VERSION: u32 = 1;

/// An entry's number within its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EntryId(pub(super) u64);

/// Where changes were made: they end with the boot and with the network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemId {
    /// The kernel's boot identifier.
    pub boot: String,
    /// The network namespace, as `/proc/self/ns/net` names it.
    pub namespace: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Journal { version: u32, system: SystemId },
    Made { id: EntryId, change: Change },
    Undone { id: EntryId },
}

/// A journal's text, understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Absent where the file is empty: the writer died before the header was complete.
    pub system: Option<SystemId>,
    /// What is made and not undone, oldest first.
    pub outstanding: Vec<(EntryId, Change)>,
    /// The next entry's number.
    pub next: u64,
    /// Bytes up to the end of the last complete line.
    pub complete: usize,
}

pub(super) fn header(system: &SystemId) -> String {
    line(&Line::Journal { version: VERSION, system: system.clone() })
}

pub(super) fn made(id: EntryId, change: &Change) -> String {
    line(&Line::Made { id, change: change.clone() })
}

pub(super) fn undone(id: EntryId) -> String {
    line(&Line::Undone { id })
}

fn line(line: &Line) -> String {
    // Only maps with non-string keys and failing Serialize implementations make this fail; there are neither.
    let mut text = serde_json::to_string(line).expect("journal lines are plain structs");
    text.push('\n');
    text
}

/// Reads a journal. A last line without its end was being written when the process died, before its change was made:
/// it is passed over. Any other unreadable line is an error: its number from 1, and the reason.
pub(super) fn parse(bytes: &[u8]) -> Result<Contents, (usize, String)> {
    let mut contents = Contents::default();
    for (number, raw) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        if raw.last() != Some(&b'\n') {
            break;
        }
        let at = number + 1;
        let line = serde_json::from_slice(raw).map_err(|error| (at, error.to_string()))?;
        match line {
            Line::Journal { version, .. } if version != VERSION => {
                return Err((at, format!("format version {version}; this program knows {VERSION}")));
            }
            Line::Journal { system, .. } if at == 1 => contents.system = Some(system),
            Line::Journal { .. } => return Err((at, "a second header".into())),
            Line::Made { .. } | Line::Undone { .. } if at == 1 => return Err((at, "no header".into())),
            Line::Made { id, change } => {
                contents.next = contents.next.max(id.0 + 1);
                contents.outstanding.push((id, change));
            }
            Line::Undone { id } => contents.outstanding.retain(|(made, _)| *made != id),
        }
        contents.complete += raw.len();
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Family, PolicyRule, RuleSelector};

    fn sample() -> (String, Change) {
        let change = Change::NftTable { family: "inet".into(), name: "vpn_vpn0".into() };
        let text = header(&SystemId::default())
            + &made(EntryId(0), &change)
            + &made(EntryId(1), &Change::Mark { mark: 52000 })
            + &undone(EntryId(1));
        (text, change)
    }

    #[test]
    fn only_what_is_not_undone_is_outstanding() {
        let (text, change) = sample();
        let contents = parse(text.as_bytes()).unwrap();
        assert_eq!(contents.outstanding, [(EntryId(0), change)]);
        assert_eq!((contents.next, contents.complete), (2, text.len()));
    }

    #[test]
    fn a_journal_torn_at_any_byte_reads_as_its_complete_lines() {
        let (text, _) = sample();
        for cut in 0..text.len() {
            let contents = parse(&text.as_bytes()[..cut]).unwrap();
            assert_eq!(contents.complete, text[..cut].rfind('\n').map_or(0, |end| end + 1));
        }
    }

    #[test]
    fn rules_and_routes_of_earlier_versions_are_understood() {
        let text = header(&SystemId::default())
            + r#"{"made":{"id":0,"change":{"kind":"policy_rule","family":"v4","priority":31257,"selector":{"not_mark":52000},"table":52000}}}"#
            + "\n"
            + r#"{"made":{"id":1,"change":{"kind":"policy_rule","family":"v6","priority":31256,"selector":{"suppress_prefix_length":0},"table":254}}}"#
            + "\n"
            + r#"{"made":{"id":2,"change":{"kind":"route","destination":"0.0.0.0/0","device":"vpn0","table":52000}}}"#
            + "\n";
        let texts: Vec<String> = parse(text.as_bytes())
            .unwrap()
            .outstanding
            .iter()
            .map(|(_, change)| change.to_string())
            .collect();
        assert_eq!(
            texts,
            [
                "policy rule 31257: not from all fwmark 52000 lookup 52000",
                "policy rule 31256: from all lookup 254 suppress_prefixlength 0",
                "route 0.0.0.0/0 dev vpn0 table 52000"
            ]
        );
    }

    #[test]
    fn every_kind_of_rule_is_read_as_it_was_written() {
        let rule = |selector, table| {
            Change::PolicyRule(PolicyRule { family: Family::V4, priority: 7, selector, table })
        };
        let network = "10.0.0.0/8".parse().unwrap();
        let changes = [
            rule(RuleSelector::Mark(1), None),
            rule(RuleSelector::To(network), Some(254)),
            rule(RuleSelector::Within(network), Some(254)),
            rule(RuleSelector::UdpPorts { source: 68, destination: 67 }, Some(254)),
            rule(RuleSelector::All, None),
        ];
        let text: String = changes.iter().map(|change| made(EntryId(0), change)).collect();
        let contents = parse((header(&SystemId::default()) + &text).as_bytes()).unwrap();
        assert_eq!(contents.outstanding.into_iter().map(|(_, change)| change).collect::<Vec<_>>(), changes);
    }

    #[test]
    fn damage_before_the_last_line_names_the_line() {
        let (text, _) = sample();
        let damaged = text.replacen("\"made\"", "\"mad\0\"", 1);
        assert_eq!(parse(damaged.as_bytes()).unwrap_err().0, 2);
        let newer = text.replacen("\"version\":1", "\"version\":2", 1);
        assert!(parse(newer.as_bytes()).unwrap_err().1.contains("version 2"));
        let headless = text.split_once('\n').unwrap().1;
        assert_eq!(parse(headless.as_bytes()).unwrap_err().0, 1);
    }
}
