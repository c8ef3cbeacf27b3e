//! Reading one TOML file into typed values while every fault is collected with its place.
//!
//! Why not serde: a derived deserializer stops at the first fault, and its errors quote the source line, which may
//! hold a key.

use super::fault::{Complaint, Fault, Position};
use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    str::FromStr,
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// One file: its text, and what was found wrong with it so far.
pub(super) struct Source<'t> {
    pub(super) file: &'t Path,
    text: &'t str,
    /// Where each line begins, in bytes: found once, because every peer asks for several positions.
    lines: Vec<usize>,
    /// Only its owner can read it, so it may hold secrets.
    pub(super) private: bool,
    pub(super) faults: Vec<Fault>,
}

/// One table of a file, from which keys are taken one by one; what is left at the end is unknown.
pub(super) struct Table<'t> {
    /// As a person sees it: `[interface]`, `[[peer]]`, or `` for the top of the file.
    title: &'static str,
    span: Range<usize>,
    entries: BTreeMap<&'t str, (Range<usize>, &'t Spanned<DeValue<'t>>)>,
    known: Vec<&'static str>,
}

/// A value with its key and place.
#[derive(Clone)]
pub(super) struct Value<'t> {
    pub(super) key: &'static str,
    pub(super) span: Range<usize>,
    content: &'t DeValue<'t>,
}

impl Value<'_> {
    /// Whether it is written in quotes: for keys that take a word or something else.
    pub(super) fn is_string(&self) -> bool {
        self.content.is_str()
    }
}

impl<'t> Source<'t> {
    pub(super) fn new(file: &'t Path, text: &'t str, private: bool) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file, text, lines, private, faults: Vec::new() }
    }

    /// Takes in what the parser said; its own rendering is not used because it quotes the line.
    pub(super) fn syntax_faults(&mut self, errors: &[toml::de::Error]) {
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            self.fault(&span, Complaint::new(error.message(), "correct the TOML syntax here"));
        }
    }

    pub(super) fn fault(&mut self, span: &Range<usize>, complaint: impl Into<Complaint>) {
        let at = self.position(span);
        self.faults.push(complaint.into().at(self.file, Some(at)));
    }

    pub(super) fn position(&self, span: &Range<usize>) -> Position {
        let at = span.start.min(self.text.len());
        let line = self.lines.partition_point(|begin| *begin <= at); // The first begins at 0: at least 1.
        let column = self.text.get(self.lines[line - 1]..at).unwrap_or_default().chars().count() + 1;
        Position { line, column }
    }

    /// A path as written in this file: relative ones start from the file's own folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// The value as a string.
    pub(super) fn string(&mut self, value: &Value<'t>) -> Option<&'t str> {
        self.typed(value, "a string in quotes", DeValue::as_str)
    }

    /// The value as a string that `T` can be read from.
    pub(super) fn parsed<T: FromStr<Err: Into<Complaint>>>(&mut self, value: &Value<'t>) -> Option<T> {
        let text = self.string(value)?;
        self.accept(&value.span, text.parse().map_err(Into::into))
    }

    /// The value as true or false.
    pub(super) fn boolean(&mut self, value: &Value<'t>) -> Option<bool> {
        self.typed(value, "true or false, without quotes", DeValue::as_bool)
    }

    /// The value as a whole number in `range`.
    pub(super) fn number(&mut self, value: &Value<'t>, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let (low, high) = (*range.start(), *range.end());
        let wanted = format!("a whole number from {low} to {high}");
        self.typed(value, &wanted, |value| {
            let number = value.as_integer()?;
            i64::from_str_radix(number.as_str(), number.radix()).ok().filter(|number| range.contains(number))
        })
    }

    /// The value as a calendar date.
    pub(super) fn date(&mut self, value: &Value<'t>) -> Option<jiff::civil::Date> {
        self.typed(value, "a date such as 2027-01-31, without quotes", |value| {
            let stamp = value.as_datetime()?;
            let date = stamp.date.filter(|_| stamp.time.is_none() && stamp.offset.is_none())?;
            let number = |number: u8| i8::try_from(number).ok();
            jiff::civil::Date::new(i16::try_from(date.year).ok()?, number(date.month)?, number(date.day)?)
                .ok()
        })
    }

    /// The value as strings with their places.
    pub(super) fn strings(&mut self, value: &Value<'t>) -> Vec<Value<'t>> {
        let Some(array) = value.content.as_array() else {
            let remedy = format!("write {} = [\"…\", \"…\"]", value.key);
            self.fault(&value.span, Complaint::new(format!("`{}` is a list of strings", value.key), remedy));
            return Vec::new();
        };
        array
            .iter()
            .map(|item| Value { key: value.key, span: item.span(), content: item.get_ref() })
            .collect()
    }

    /// As [`Source::strings`], and a single string is a list of one.
    pub(super) fn one_or_more_strings(&mut self, value: &Value<'t>) -> Vec<Value<'t>> {
        if value.is_string() { vec![value.clone()] } else { self.strings(value) }
    }

    /// Unwraps a result, noting the complaint at its place.
    pub(super) fn accept<T>(&mut self, span: &Range<usize>, result: Result<T, Complaint>) -> Option<T> {
        result.map_err(|complaint| self.fault(span, complaint)).ok()
    }

    fn typed<T>(
        &mut self,
        value: &Value<'t>,
        wanted: &str,
        read: impl FnOnce(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<T> {
        let read = read(value.content);
        if read.is_none() {
            let message = format!("`{}` has a value that it cannot have", value.key);
            self.fault(&value.span, Complaint::new(message, format!("write {wanted}")));
        }
        read
    }
}

impl<'t> Table<'t> {
    pub(super) fn new(title: &'static str, span: Range<usize>, table: &'t DeTable<'t>) -> Self {
        let entries =
            table.iter().map(|(key, value)| (key.get_ref().as_ref(), (key.span(), value))).collect();
        Self { title, span, entries, known: Vec::new() }
    }

    /// Where the table begins.
    pub(super) const fn span(&self) -> &Range<usize> {
        &self.span
    }

    /// Takes a key, when present.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value<'t>> {
        self.known.push(key);
        self.entries.remove(key).map(|(_, value)| Value { key, span: value.span(), content: value.get_ref() })
    }

    /// Takes a key whose absence is a fault.
    pub(super) fn require(
        &mut self,
        source: &mut Source<'t>,
        key: &'static str,
        example: &str,
    ) -> Option<Value<'t>> {
        let value = self.take(key);
        if value.is_none() {
            let complaint =
                Complaint::new(format!("{} has no `{key}`", self.title), format!("add {key} = {example}"));
            source.fault(&self.span, complaint);
        }
        value
    }

    /// Takes a sub-table written as `[key]`.
    pub(super) fn take_table(
        &mut self,
        source: &mut Source<'t>,
        key: &'static str,
        title: &'static str,
    ) -> Option<Table<'t>> {
        self.known.push(key);
        let (key_span, value) = self.entries.remove(key)?;
        let Some(table) = value.get_ref().as_table() else {
            source.fault(&key_span, Complaint::new(format!("`{key}` is a table"), format!("write {title}")));
            return None;
        };
        Some(Table::new(title, key_span, table))
    }

    /// Takes the tables written as `[[key]]`, in their order.
    pub(super) fn take_tables(
        &mut self,
        source: &mut Source<'t>,
        key: &'static str,
        title: &'static str,
    ) -> Vec<Table<'t>> {
        self.known.push(key);
        let Some((key_span, value)) = self.entries.remove(key) else { return Vec::new() };
        let tables: Option<Vec<_>> = value.get_ref().as_array().and_then(|array| {
            array
                .iter()
                .map(|item| Some(Table::new(title, item.span(), item.get_ref().as_table()?)))
                .collect()
        });
        tables.unwrap_or_else(|| {
            let complaint =
                Complaint::new(format!("`{key}` is a list of tables"), format!("write {title} above each"));
            source.fault(&key_span, complaint);
            Vec::new()
        })
    }

    /// Reports the keys that nobody took.
    pub(super) fn finish(self, source: &mut Source<'t>) {
        for (key, (span, _)) in &self.entries {
            let remedy = match suggestion(key, &self.known) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("remove it, or use one of: {}", self.known.join(", ")),
            };
            let place = if self.title.is_empty() { String::new() } else { format!(" in {}", self.title) };
            source.fault(span, Complaint::new(format!("unknown key `{key}`{place}"), remedy));
        }
    }
}

/// The known key that was probably meant: a few edits away, or what `key` begins with.
fn suggestion(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let (edits, nearest) = known.iter().map(|known| (distance(key, known), *known)).min()?;
    if edits <= 1 + nearest.len() / 4 {
        return Some(nearest);
    }
    known.iter().copied().filter(|known| key.starts_with(known)).max_by_key(|known| known.len())
}

/// Edits (insert, remove, replace) from `a` to `b`; an underscore and a hyphen are the same.
fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| text.to_lowercase().replace('-', "_").chars().collect::<Vec<_>>();
    let (a, b) = (letters(a), letters(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replace = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distance_counts_edits_and_ignores_the_kind_of_dash() {
        for (a, b, edits) in [
            ("listen", "listen", 0),
            ("lisen", "listen", 1),
            ("allowed-ips", "allowed_ips", 0),
            ("", "abc", 3),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "a = 1\n# ü\nbü = 2\n";
        let source = Source::new(Path::new("x"), text, true);
        assert_eq!(source.position(&(0..1)), Position { line: 1, column: 1 });
        let at = text.find("= 2").expect("is there");
        assert_eq!(source.position(&(at..at + 1)), Position { line: 3, column: 4 });
        let end = text.len();
        for (at, line, column) in [(5, 1, 6), (6, 2, 1), (end - 1, 3, 7), (end, 4, 1), (end + 9, 4, 1)] {
            assert_eq!(source.position(&(at..at)), Position { line, column }, "byte {at}");
        }
    }
}
