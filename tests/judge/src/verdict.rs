//! Asking the judge.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The judge's program.
const PROGRAM: &str = include_str!("../judge.py");

/// One sync that is judged.
#[derive(Clone, Debug, Serialize)]
pub struct JudgedSync {
    /// The object.
    pub object: String,
    /// The table.
    pub table: String,
    /// The link column.
    pub link: String,
    /// The field that holds the editors' id.
    pub editor_field: String,
    /// Its column.
    pub editor_column: String,
    /// Each field with the SQL of its column's value.
    pub fields: BTreeMap<String, String>,
    /// Lookups: the field, and the object whose editors' id is compared.
    pub lookups: BTreeMap<String, String>,
}

/// A table in DynamoDB.
#[derive(Clone, Debug, Serialize)]
pub struct DynamoTable {
    /// AWS's address, which asks for no signature.
    pub endpoint: String,
    /// The table's name.
    pub table: String,
}

/// What the judge is asked.
#[derive(Clone, Debug, Serialize)]
pub struct Question {
    /// The database's address.
    pub database: String,
    /// Salesforce's address.
    pub salesforce: String,
    /// The client id to sign in with.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The client id and application name that Syncline writes under.
    pub syncline: String,
    /// The ledger.
    pub ledger: PathBuf,
    /// Syncline's schema; none where something else syncs, which keeps no conflicts.
    pub schema: Option<String>,
    /// The table of a stack in AWS, which keeps conflicts where no schema does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamodb: Option<DynamoTable>,
    /// The judge's own record of what happened in the tables.
    pub audit: String,
    /// The syncs.
    pub syncs: Vec<JudgedSync>,
}

/// Milliseconds from an edit's confirmation to its arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Latency {
    /// Edits measured.
    pub count: u64,
    /// Half of them.
    pub p50: i64,
    /// 95 of 100.
    pub p95: i64,
    /// 99 of 100.
    pub p99: i64,
}

/// What the judge decided.
#[derive(Clone, Debug, Deserialize)]
pub struct Verdict {
    /// Edits in the ledger that were confirmed.
    pub edits: u64,
    /// Of these: the final value on both sides.
    pub stands: u64,
    /// Of these: replaced by a later edit of that field.
    pub overwritten: u64,
    /// Of these: went with a record that was deleted where they stood.
    pub deleted: u64,
    /// Of these: overwritten between Syncline's read and its write of that very field, which is not promised.
    pub window: u64,
    /// Of these: lost to the other side, and kept in the conflict log.
    pub conflict: u64,
    /// Of these: none of it.
    pub lost: Vec<String>,
    /// How many that are, for only some are listed.
    pub lost_count: u64,
    /// Records that somebody deleted.
    pub deletes: u64,
    /// Deleted records that stand again, though nobody's edit won over the delete.
    pub revived: Vec<String>,
    /// How many differences there are between the sides.
    pub unequal_count: u64,
    /// How many values came back.
    pub flipped_count: u64,
    /// Records on both sides.
    pub records: u64,
    /// Differences between the sides.
    pub unequal: Vec<String>,
    /// Records that stand twice.
    pub doubled: Vec<String>,
    /// Conflicts without two differing edits.
    pub false_conflicts: Vec<String>,
    /// Values that came back.
    pub flipped: Vec<String>,
    /// Records rejected or held, and paused syncs.
    pub left: Vec<String>,
    /// Salesforce's edits into Postgres.
    pub to_postgres: Latency,
    /// Postgres's edits into Salesforce.
    pub to_salesforce: Latency,
    /// Syncline's Salesforce calls, by kind.
    pub calls: BTreeMap<String, u64>,
}

impl Verdict {
    /// Edits of which it is known what became of them.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        self.stands + self.overwritten + self.deleted + self.window + self.conflict
    }

    /// Everything holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.edits > 0
            && self.accounted() == self.edits
            && [
                &self.lost,
                &self.revived,
                &self.unequal,
                &self.doubled,
                &self.false_conflicts,
                &self.flipped,
                &self.left,
            ]
            .iter()
            .all(|list| list.is_empty())
    }
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// Python does not run.
    #[error("python3 does not run: {0}; the judge is written in it")]
    Python(#[source] std::io::Error),
    /// The judge failed.
    #[error("the judge failed: {0}")]
    Failed(String),
}

/// Asks the judge.
///
/// # Errors
/// When it does not answer.
pub fn judge(question: &Question) -> Result<Verdict, JudgeError> {
    let failed = |error: &dyn std::fmt::Display| JudgeError::Failed(error.to_string());
    let question = serde_json::to_vec(question).map_err(|error| failed(&error))?;
    let mut child = Command::new("python3")
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(JudgeError::Python)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&question).map_err(|error| failed(&error))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(&error))?;
    if !output.status.success() {
        return Err(JudgeError::Failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(&error))
}
