//! Asks the judge: the question, the verdict, and the call of the Python program.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The source of the judge's program. It is part of the binary, so that no file has to be found at run time.
const PROGRAM: &str = include_str!("../judge.py");

/// One sync that is judged.
#[derive(Clone, Debug, Serialize)]
pub struct JudgedSync {
    /// The Salesforce object.
    pub object: String,
    /// The table, with its schema if it has one.
    pub table: String,
    /// The column that holds the Salesforce Id.
    pub link: String,
    /// The Salesforce field that holds the editors' own id of a record.
    pub editor_field: String,
    /// The column that holds the editors' own id of a row.
    pub editor_column: String,
    /// The fields that are compared. The key is the Salesforce field; the value is an SQL expression for the
    /// same value in the row.
    pub fields: BTreeMap<String, String>,
    /// The lookups among the fields. The key is the field; the value is the parent's object. The judge
    /// compares the editors' own ids of the parents.
    pub lookups: BTreeMap<String, String>,
}

/// A table in DynamoDB.
#[derive(Clone, Debug, Serialize)]
pub struct DynamoTable {
    /// The address of a DynamoDB that checks no signatures, as the local AWS does.
    pub endpoint: String,
    /// The table's name.
    pub table: String,
}

/// What the judge needs to know.
#[derive(Clone, Debug, Serialize)]
pub struct Question {
    /// The connection URL of the database.
    pub database: String,
    /// The base URL of the simulated Salesforce.
    pub salesforce: String,
    /// The client id with which the judge signs in to Salesforce.
    pub client_id: String,
    /// The client secret that belongs to `client_id`.
    pub client_secret: String,
    /// The client id in Salesforce, and the application name in PostgreSQL, under which Syncline writes. The
    /// judge tells Syncline's writes from those of people by this name.
    pub syncline: String,
    /// The file with the editors' ledger.
    pub ledger: PathBuf,
    /// Syncline's schema in the database, which holds the conflicts. `None` if a stack in AWS keeps the
    /// conflicts, or if a program that keeps no conflicts is judged.
    pub schema: Option<String>,
    /// The state table of a stack in AWS. The judge reads conflicts there if `schema` is `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamodb: Option<DynamoTable>,
    /// The table in which triggers of the judge record every change of the synced tables.
    pub audit: String,
    /// The syncs that are judged.
    pub syncs: Vec<JudgedSync>,
}

/// How long edits took from their confirmation on one side until they arrived on the other side, in
/// milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Latency {
    /// How many edits were measured.
    pub count: u64,
    /// The median: half of the edits took no longer.
    pub p50: i64,
    /// 95 of 100 edits took no longer.
    pub p95: i64,
    /// 99 of 100 edits took no longer.
    pub p99: i64,
}

/// What the judge decided.
#[derive(Clone, Debug, Deserialize)]
pub struct Verdict {
    /// How many confirmed edits the ledger has, without the deletes.
    pub edits: u64,
    /// How many of `edits` are the final value on both sides.
    pub stands: u64,
    /// How many of `edits` were replaced by a later edit of the same field.
    pub overwritten: u64,
    /// How many of `edits` were deleted with their record on a side that held them.
    pub deleted: u64,
    /// How many of `edits` fell between Syncline's read and its write of the same field, and were
    /// overwritten. Syncline does not promise to keep such an edit.
    pub window: u64,
    /// How many of `edits` lost to the other side and are kept in the conflict log.
    pub conflict: u64,
    /// The edits for which none of this holds. Only the first 20 are listed.
    pub lost: Vec<String>,
    /// How many edits are lost, including those that `lost` does not list.
    pub lost_count: u64,
    /// How many deletes the ledger has.
    pub deletes: u64,
    /// Deleted records that a side has again, although no edit won over the delete. Only the first 20 are
    /// listed.
    pub revived: Vec<String>,
    /// How many differences there are between the sides, including those that `unequal` does not list.
    pub unequal_count: u64,
    /// How many values flipped back, including those that `flipped` does not list.
    pub flipped_count: u64,
    /// How many records both sides have.
    pub records: u64,
    /// Differences between the sides. Only the first 20 are listed.
    pub unequal: Vec<String>,
    /// Records that one side has twice. Only the first 20 are listed.
    pub doubled: Vec<String>,
    /// Conflicts that are not between two differing edits. Only the first 20 are listed.
    pub false_conflicts: Vec<String>,
    /// Values that Syncline put back after they had been replaced. Only the first 20 are listed.
    pub flipped: Vec<String>,
    /// Records that are rejected or held, and syncs that are paused. Only the first 20 are listed.
    pub left: Vec<String>,
    /// How long edits from Salesforce took to arrive in Postgres.
    pub to_postgres: Latency,
    /// How long edits from Postgres took to arrive in Salesforce.
    pub to_salesforce: Latency,
    /// How many calls Syncline made to Salesforce, by kind.
    pub calls: BTreeMap<String, u64>,
}

impl Verdict {
    /// How many edits the judge can account for: all but the lost ones.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        self.stands + self.overwritten + self.deleted + self.window + self.conflict
    }

    /// True if the ledger has edits, each of them is accounted for, and the judge found nothing wrong.
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
    /// `python3` could not be started.
    #[error("python3 does not run: {0}; the judge is written in it")]
    Python(#[source] std::io::Error),
    /// The judge's program failed, or its answer could not be read.
    #[error("the judge failed: {0}")]
    Failed(String),
}

/// Runs the judge's program with the question and returns its verdict.
///
/// # Errors
/// When Python does not run, or when the program answers no verdict.
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
