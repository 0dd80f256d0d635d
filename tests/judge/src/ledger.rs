//! The editors' own ledger: one JSON line per edit, on disk once its side has confirmed it.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// One edit of one field that its side confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Counts up.
    pub n: u64,
    /// When its side confirmed it, in milliseconds since 1970.
    pub at_ms: i64,
    /// `salesforce` or `postgres`.
    pub side: String,
    /// The object.
    pub object: String,
    /// The editors' own id of the record, in a mapped field.
    pub record: String,
    /// `create` or `update`.
    pub op: String,
    /// The field.
    pub field: String,
    /// The value, used by no other edit of the field.
    pub value: String,
    /// What the editor read there before.
    pub saw: Option<String>,
    /// `confirmed`, or the words of a refusal.
    pub outcome: String,
}

/// A ledger under way.
pub struct Ledger {
    file: Mutex<(File, u64)>,
}

impl Ledger {
    /// A new, empty ledger.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: Mutex::new((File::create(path)?, 0)) })
    }

    /// Writes edits down; their numbers are given here.
    ///
    /// # Errors
    /// When the disk refuses.
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
