//! The editors' own ledger: a file with one JSON line per edit, written as soon as its side has confirmed the
//! edit.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// One edit of one field, or one delete, that its side confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The number of the edit in the ledger, from 1. [`Ledger::write`] sets it.
    pub n: u64,
    /// When the side confirmed the edit, in milliseconds since 1970.
    pub at_ms: i64,
    /// The side on which the edit was made: `salesforce` or `postgres`.
    pub side: String,
    /// The Salesforce object that the record belongs to.
    pub object: String,
    /// The editors' own id of the record, which a mapped field holds on both sides.
    pub record: String,
    /// What was done: `create`, `update` or `delete`.
    pub op: String,
    /// The Salesforce name of the field that was edited; empty for a delete.
    pub field: String,
    /// The new value. No other edit of the field uses it, so that the value identifies the edit. Empty for a
    /// delete.
    pub value: String,
    /// The value that the editor read in the field before the edit. `None` if the field was empty or the
    /// record is new.
    pub saw: Option<String>,
    /// `confirmed`. The judge ignores an edit with any other outcome.
    pub outcome: String,
}

/// A ledger that edits are being written to.
pub struct Ledger {
    file: Mutex<(File, u64)>,
}

impl Ledger {
    /// Creates an empty ledger, and overwrites a file that is there.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: Mutex::new((File::create(path)?, 0)) })
    }

    /// Numbers the edits and writes them to the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, edits: &mut [Edit]) -> std::io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = String::new();
        for edit in edits {
            file.1 += 1;
            edit.n = file.1;
            lines.push_str(&serde_json::to_string(edit)?);
            lines.push('\n');
        }
        file.0.write_all(lines.as_bytes())?;
        file.0.flush()
    }
}
