//! What is wrong with a configuration: where, what, and what to do about it.

use serde::Serialize;
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// A place in a file; both count from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One thing that is wrong (or, as a warning, one that will surprise). Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The file to edit.
    pub file: PathBuf,
    /// Where in it; `None` when the file as a whole is meant (it is missing, say).
    #[serde(flatten)]
    pub at: Option<Position>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// Whether it is only that whoever asked may not read a file.
    #[serde(skip)]
    pub(super) denied: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display().to_string();
        // A message about the file as a whole begins with its name already.
        if self.at.is_none() && self.message.starts_with(&file) {
            return write!(f, "{}; {}", self.message, self.remedy);
        }
        write!(f, "{file}:")?;
        if let Some(Position { line, column }) = self.at {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}; {}", self.message, self.remedy)
    }
}

/// Everything that is wrong with a configuration, in the order of files and lines.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    faults: Vec<Fault>,
}

impl ConfigError {
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        Self { faults }
    }

    /// The faults; at least one.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Whether a file could not be read for want of privileges: then nothing is known about the configuration.
    pub fn is_not_permitted(&self) -> bool {
        self.faults.iter().any(|fault| fault.denied)
    }
}

impl fmt::Display for ConfigError {
    /// One fault a line, each as `FILE:LINE:COLUMN: what; remedy`, so that editors can jump there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.faults.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

/// What is wrong with one value, before its place is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) message: String,
    pub(super) remedy: String,
    pub(super) denied: bool,
}

impl Complaint {
    pub(super) fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into(), denied: false }
    }

    /// About a file that whoever asked may not read.
    pub(super) fn not_permitted(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { denied: true, ..Self::new(message, remedy) }
    }

    /// The fault that this is at a place.
    pub(super) fn at(self, file: &Path, at: Option<Position>) -> Fault {
        Fault { file: file.to_owned(), at, message: self.message, remedy: self.remedy, denied: self.denied }
    }
}
