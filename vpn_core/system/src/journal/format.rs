//! The journal's text: one JSON value a line with its checksum, a header first. Pure, so that damage can be tested anywhere.
//!
//! A flipped bit may turn one change into another that is just as valid, and undoing what was never made does harm. So each line
//! ends with a checksum; a single bit is put right by it, and what cannot be read is told and passed over.

use serde::{Deserialize, Serialize};

use super::Change;

/// The version of the format that this program writes. Version 1, without checksums, is read as well.
const VERSION: u32 = 2;
/// Hexadecimal digits of a checksum.
const CHECKSUM_DIGITS: usize = 16;
/// Most bytes in which a single wrong bit is looked for: the time grows with the square.
const MAX_MENDED: usize = 4096;
/// Entries are counted from 0, so a number from here on is none of ours; bounds what is added to it.
const FIRST_IMPOSSIBLE_ID: u64 = 1 << 48;
/// Most characters of a line that cannot be read that are shown.
const MAX_SHOWN: usize = 400;

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
    /// What a header says whose checksum is wrong: by more than one bit, or because somebody has edited it.
    pub claimed: Option<SystemId>,
    /// What is made and not undone, oldest first.
    pub outstanding: Vec<(EntryId, Change)>,
    /// The next entry's number.
    pub next: u64,
    /// Bytes up to the end of the last complete line.
    pub complete: usize,
    /// What cannot be read.
    pub damage: Vec<Damage>,
    /// Whether the file is not as this program writes it: damaged, or of an earlier version.
    pub is_stale: bool,
    /// Whether a line without a checksum is damaged. Version 1 has none.
    needs_checksums: bool,
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
    /// As much of it as can be shown.
    pub text: String,
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
    let text = serde_json::to_string(line).expect("journal lines are plain structs");
    format!("{text} {}\n", checksum(text.as_bytes()))
}

fn checksum(text: &[u8]) -> String {
    blake3::hash(text).to_hex()[..CHECKSUM_DIGITS].to_owned()
}

/// Reads a journal. A last line without its end was being written when the process died, before its change was made:
/// it is passed over. Any other line that cannot be read is told in [`Contents::damage`].
pub(super) fn parse(bytes: &[u8]) -> Contents {
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    let mut contents =
        Contents { needs_checksums: lines.iter().any(|raw| is_of_this_version(raw)), ..Contents::default() };
    let mut at = 0;
    while let Some(raw) = lines.get(at) {
        if let Ok((line, checked)) = contents.read_line(raw) {
            contents.is_stale |= !checked;
            contents.take(line, at + 1, raw);
            at += 1;
        } else {
            // Of two lines that became one, or one that became two, the neighbours are unreadable as well.
            let unreadable = lines[at..].iter().take_while(|raw| contents.read_line(raw).is_err()).count();
            contents.take_unreadable(&lines[at..at + unreadable], at + 1);
            at += unreadable;
        }
    }
    let torn = bytes.rsplit(|&byte| byte == b'\n').next().map_or(0, <[u8]>::len);
    contents.complete = bytes.len() - torn;
    contents
}

impl Contents {
    fn take(&mut self, line: Line, number: usize, raw: &[u8]) {
        match line {
            Line::Journal { version, system } => {
                if version == 0 || version > VERSION {
                    self.tell(number, format!("format version {version}; this program knows {VERSION}"), raw);
                } else if number > 1 {
                    self.tell(number, "a second header".to_owned(), raw);
                    return;
                }
                self.system = Some(system);
            }
            Line::Made { id, .. } if id.0 >= FIRST_IMPOSSIBLE_ID => {
                self.tell(number, format!("entry {} cannot be", id.0), raw);
            }
            Line::Made { id, change } => {
                self.next = self.next.max(id.0 + 1);
                self.outstanding.push((id, change));
            }
            Line::Undone { id } => self.outstanding.retain(|(made, _)| *made != id),
        }
    }

    /// Takes lines of which none can be read as it is.
    fn take_unreadable(&mut self, lines: &[&[u8]], number: usize) {
        // All of them together first, then without the last, which may be torn, then each by itself.
        let whole = mend(&lines.concat()).or_else(|| mend(&lines[..lines.len() - 1].concat()));
        let texts = match whole {
            Some(text) => vec![Ok(text)],
            None => lines.iter().map(|raw| mend(raw).ok_or(*raw)).collect(),
        };
        for (offset, text) in texts.into_iter().enumerate() {
            match text {
                Ok(text) => {
                    self.is_stale = true;
                    for raw in text.split_inclusive(|&byte| byte == b'\n') {
                        match self.read_line(raw) {
                            Ok((line, _)) => self.take(line, number + offset, raw),
                            Err(reason) => self.tell(number + offset, reason, raw),
                        }
                    }
                }
                Err(raw) if raw.ends_with(b"\n") => {
                    let reason = self.read_line(raw).err().unwrap_or_default();
                    if number + offset == 1 {
                        self.claimed = header_without_checksum(raw);
                    }
                    self.tell(number + offset, reason, raw);
                }
                Err(_) => {} // Torn.
            }
        }
    }

    /// [`read_line`], but for lines without a checksum among those that have one.
    fn read_line(&self, raw: &[u8]) -> Result<(Line, bool), String> {
        match read_line(raw)? {
            (_, false) if self.needs_checksums => Err("its checksum is missing".to_owned()),
            read => Ok(read),
        }
    }

    fn tell(&mut self, line: usize, reason: String, raw: &[u8]) {
        self.is_stale = true;
        let text = String::from_utf8_lossy(raw).trim_end().escape_debug().take(MAX_SHOWN).collect();
        self.damage.push(Damage { line, reason, text });
    }
}

/// Reads one line with its end; also tells whether it had a checksum.
fn read_line(raw: &[u8]) -> Result<(Line, bool), String> {
    let text = raw.strip_suffix(b"\n").ok_or("its end is missing")?;
    let json = verified(text)?;
    let line = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    Ok((line, json.len() < text.len()))
}

/// Whether a line shows that its journal is of the version with checksums: it has one, or says so as the header.
fn is_of_this_version(raw: &[u8]) -> bool {
    match read_line(raw) {
        Ok((Line::Journal { version, .. }, checked)) => checked || version == VERSION,
        Ok((Line::Made { .. } | Line::Undone { .. }, checked)) => checked,
        Err(_) => false,
    }
}

fn header_without_checksum(raw: &[u8]) -> Option<SystemId> {
    let mut values = serde_json::Deserializer::from_slice(raw).into_iter();
    match values.next()?.ok()? {
        Line::Journal { system, .. } => Some(system),
        Line::Made { .. } | Line::Undone { .. } => None,
    }
}

/// A line without its checksum, which is right; or the whole line of an earlier version, which has none.
fn verified(text: &[u8]) -> Result<&[u8], String> {
    let Some(at) = text.len().checked_sub(CHECKSUM_DIGITS + 1) else { return Ok(text) };
    let (json, digits) = (&text[..at], &text[at + 1..]);
    if text[at] != b' ' || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Ok(text);
    }
    if digits == checksum(json).as_bytes() { Ok(json) } else { Err("its checksum is wrong".to_owned()) }
}

/// Lines of which one bit is wrong, put right; `None` where that does not give lines whose checksums are all right.
fn mend(lines: &[u8]) -> Option<Vec<u8>> {
    if lines.len() > MAX_MENDED {
        return None;
    }
    let is_right = |raw: &[u8]| {
        let text = raw.strip_suffix(b"\n").unwrap_or_default();
        verified(text).is_ok_and(|json| json.len() < text.len())
    };
    let mut mended = lines.to_vec();
    for bit in 0..lines.len() * 8 {
        mended[bit / 8] ^= 1 << (bit % 8);
        if mended.split_inclusive(|&byte| byte == b'\n').all(is_right) {
            return Some(mended);
        }
        mended[bit / 8] ^= 1 << (bit % 8);
    }
    None
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
        let contents = parse(text.as_bytes());
        assert_eq!(contents.outstanding, [(EntryId(0), change)]);
        assert_eq!((contents.next, contents.complete), (2, text.len()));
    }

    #[test]
    fn a_journal_torn_at_any_byte_reads_as_its_complete_lines() {
        let (text, _) = sample();
        for cut in 0..text.len() {
            let contents = parse(&text.as_bytes()[..cut]);
            assert!(contents.damage.is_empty(), "{cut}: {contents:?}");
            assert_eq!(contents.complete, text[..cut].rfind('\n').map_or(0, |end| end + 1));
        }
    }

    /// As version 1 wrote it.
    const EARLIER: &str = r#"{"journal":{"version":1,"system":{"boot":"b","namespace":"n"}}}
{"made":{"id":0,"change":{"kind":"policy_rule","family":"v4","priority":31257,"selector":{"not_mark":52000},"table":52000}}}
{"made":{"id":1,"change":{"kind":"policy_rule","family":"v6","priority":31256,"selector":{"suppress_prefix_length":0},"table":254}}}
{"made":{"id":2,"change":{"kind":"route","destination":"0.0.0.0/0","device":"vpn0","table":52000}}}
"#;

    #[test]
    fn rules_and_routes_of_earlier_versions_are_understood() {
        let contents = parse(EARLIER.as_bytes());
        assert!(contents.damage.is_empty() && contents.is_stale, "{contents:?}");
        let texts: Vec<String> = contents.outstanding.iter().map(|(_, change)| change.to_string()).collect();
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
            Change::PolicyRule(PolicyRule { family: Family::V4, priority: 7, selector, table, goto: None })
        };
        let skip = PolicyRule {
            family: Family::V6,
            priority: 7,
            selector: RuleSelector::Marks { mark: 0xc000, mask: 0xffff_c000 },
            table: None,
            goto: Some(9),
        };
        let network = "10.0.0.0/8".parse().unwrap();
        let changes = [
            rule(RuleSelector::Mark(1), None),
            rule(RuleSelector::To(network), Some(254)),
            rule(RuleSelector::Within(network), Some(254)),
            rule(RuleSelector::UdpPorts { source: 68, destination: 67 }, Some(254)),
            rule(RuleSelector::All, None),
            Change::PolicyRule(skip),
        ];
        let text: String = changes.iter().map(|change| made(EntryId(0), change)).collect();
        let contents = parse((header(&SystemId::default()) + &text).as_bytes());
        assert_eq!(contents.outstanding.into_iter().map(|(_, change)| change).collect::<Vec<_>>(), changes);
    }

    #[test]
    fn any_one_flipped_bit_changes_nothing_that_is_undone() {
        let text =
            sample().0 + &made(EntryId(2), &Change::KillSwitch { table: "vpn_vpn0_kill_switch".into() });
        let whole = parse(text.as_bytes());
        assert!(!whole.is_stale);
        let mut bytes = text.into_bytes();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let contents = parse(&bytes);
            assert_eq!(contents.outstanding, whole.outstanding, "bit {bit}");
            assert_eq!((&contents.system, contents.next), (&whole.system, whole.next), "bit {bit}");
            assert!(contents.is_stale && contents.damage.is_empty(), "bit {bit}: {contents:?}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn more_damage_is_named_by_line_and_the_rest_is_read() {
        let (text, change) = sample();
        let damaged = text.replacen("\"made\"", "\"mad\0\0", 1);
        let contents = parse(damaged.as_bytes());
        assert_eq!(contents.outstanding, []);
        let [Damage { line: 2, text: shown, .. }] = contents.damage.as_slice() else {
            panic!("{contents:?}")
        };
        assert!(shown.contains("vpn_vpn0"), "what may have to be undone by hand: {shown}");
        let headless = text.replacen("journal", "j", 1);
        let contents = parse(headless.as_bytes());
        assert_eq!((contents.system.as_ref(), contents.damage[0].line), (None, 1));
        assert_eq!(contents.outstanding, [(EntryId(0), change)]);
        let newer = EARLIER.replacen("\"version\":1", "\"version\":3", 1);
        let contents = parse(newer.as_bytes());
        assert!(contents.damage[0].reason.contains("version 3"), "{contents:?}");
        assert_eq!(contents.outstanding.len(), 3, "what is understood of it");
    }

    #[test]
    fn a_line_without_its_checksum_among_lines_that_have_one_is_damaged() {
        let (text, change) = sample();
        let forged = r#"{"made":{"id":9,"change":{"kind":"mark","mark":1}}}"#;
        let contents = parse(format!("{text}{forged}\n").as_bytes());
        assert_eq!(contents.outstanding, [(EntryId(0), change)]);
        let [Damage { line: 5, reason, .. }] = contents.damage.as_slice() else { panic!("{contents:?}") };
        assert!(reason.contains("checksum is missing"), "{reason}");
        let stripped: String = text.lines().map(|line| line[..line.len() - 17].to_owned() + "\n").collect();
        let contents = parse(stripped.as_bytes());
        assert_eq!((contents.outstanding.len(), contents.damage.len()), (0, 4), "no line of this version");
        assert!(contents.claimed.is_some(), "what the header says is known all the same");
    }

    #[test]
    fn a_journal_of_an_earlier_version_is_read_with_any_one_flipped_bit() {
        let mut bytes = EARLIER.as_bytes().to_vec();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let contents = parse(&bytes);
            assert!(
                !contents.outstanding.is_empty(),
                "bit {bit}: one line, or two that became one, are lost"
            );
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[cfg(test)]
mod random_damage {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_is_undone_that_was_not_recorded(
            at in any::<prop::sample::Index>(), with in prop::collection::vec(any::<u8>(), 1..40), removed in 0..40_usize,
        ) {
            let changes = [1, 2, 3].map(|mark| Change::Mark { mark });
            let entries = changes.iter().enumerate().map(|(id, change)| made(EntryId(id as u64), change));
            let text = header(&SystemId::default()) + &entries.collect::<String>();
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len());
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, with);
            let contents = parse(&bytes);
            prop_assert!(contents.outstanding.iter().all(|(_, change)| changes.contains(change)));
        }
    }
}
