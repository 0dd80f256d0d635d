//! The pure core of Syncline: canonical values, fingerprints, the three-way merge of a field and the plan of
//! a record.
//!
//! **Invariant:** nothing in this crate does I/O, reads a clock, draws a random number or awaits. The plan of
//! a record is a function of the record's definition, the fingerprint key, the record's base and what each
//! side holds. The other crates only carry out plans.
//!
//! Not in this crate: reading and writing records and bases, leases and retries (`syncline-sync`), and the
//! words of `syncline.toml` (`syncline-config`).
//!
//! Begin with [`plan()`]: it makes the [`RecordPlan`] of one record. It calls [`merge_field`] for each field
//! that both sides hold. Then read [`Base`], which says what is remembered of a record between two runs, and
//! [`resolve()`], which brings a base up to date after a run that did not finish. [`Rule`] says how the text
//! of a side becomes a [`Value`].
//!
//! # Layout
//!
//! - `id`: the two sides, and the names and keys of records, rows, bases and fields.
//! - `definition`: what one sync keeps the same, and by which policies.
//! - `types`: the types of both sides, and the rule for each pair of types.
//! - `value`: canonical values, and the rules that make them from text.
//! - `number`: canonical numbers, and how many of their digits count.
//! - `fingerprint`: keyed fingerprints of canonical values.
//! - `base`: the base of a record, with the intent of a run.
//! - `merge`: the three-way merge of one field.
//! - `plan`: makes the plan of one record: creates, updates, deletes, conflicts, and why a record is held.
//! - `record_plan`: the plan itself, which the other crates carry out.
//! - `poorer`: whether a side has kept less of a value than it was given.
//! - `presence`: what one side holds of a record.
//! - `interrupted_writes`: what became of an intent whose run did not finish.
//! - `oscillation`: recognizes two sides that correct each other without end.

mod base;
mod definition;
mod fingerprint;
mod id;
mod interrupted_writes;
mod merge;
mod number;
mod oscillation;
mod plan;
mod poorer;
mod presence;
mod record_plan;
mod types;
mod value;

pub use base::{Absence, BASE_FORM, Base, FieldBase, Gone, Intent, IntentSide, LostCreate, Op, Stamp, Swing};
pub use definition::{
    Definition, DeleteLimit, DeletePolicy, Deletes, Direction, FieldMapping, FirstLink, Lookup,
};
pub use fingerprint::{Fingerprint, FingerprintKey};
pub use id::{BaseKey, FieldName, InvalidSalesforceId, PostgresKey, SalesforceId, Side, SyncName};
pub use interrupted_writes::{Evidence, resolve};
pub use merge::{Decision, FieldConflict, Reason, merge_field};
pub use number::SALESFORCE_DIGITS;
pub use oscillation::{OSCILLATING, oscillating, swings};
pub use plan::plan;
pub use poorer::is_poorer;
pub use presence::{Cell, Image, Parent, Presence};
pub use record_plan::{Action, FieldWrite, Held, RecordPlan, Unreadable};
pub use types::{PostgresType, SalesforceType, UnsupportedPair, pair};
pub use value::{Rule, RuleKind, Value, ValueError};
