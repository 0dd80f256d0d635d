//! The judge of a run: it decides what became of every edit, from the editors' own ledger and from what both
//! sides hold at the end.
//!
//! During a test or the demo, the editors write each edit that a side confirmed into a [`Ledger`]. After the
//! run, [`judge()`] starts `judge.py`. That program reads both sides by raw SQL and raw REST, and answers a
//! [`Verdict`]. It shares no code with Syncline, so a mistake in Syncline cannot hide itself from the judge.
//!
//! Begin with [`Verdict`], which shows what is judged. Then read the beginning of `judge.py`.

mod ledger;
mod verdict;

pub use ledger::{Edit, Ledger};
pub use verdict::{DynamoTable, JudgeError, JudgedSync, Latency, Question, Verdict, judge};
