//! The judge of a run: what two teams of editors did is in a ledger; `judge.py`, which shares no code with
//! Syncline, reads both sides by raw SQL and raw REST and decides what became of every edit.

mod ledger;
mod verdict;

pub use ledger::{Edit, Ledger};
pub use verdict::{DynamoTable, JudgeError, JudgedSync, Latency, Question, Verdict, judge};
