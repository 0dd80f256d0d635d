//! The pure core of Syncline: canonical values, fingerprints, three-way merge and the plan of a record.
//!
//! **Invariant:** nothing here does I/O, reads a clock, draws a random number or awaits. What happens to a
//! record is a function of its base, its two images and its definition; everything else only carries it out.

mod base;
mod definition;
mod fingerprint;
mod id;
mod merge;
mod oscillation;
mod plan;
mod resolve;
mod types;
mod value;

pub use base::{Absence, BASE_FORM, Base, FieldBase, Gone, Intent, IntentSide, Op, Stamp, Swing};
pub use definition::{
    Definition, DeleteLimit, DeletePolicy, Deletes, Direction, FieldMapping, FirstLink, Lookup,
};
pub use fingerprint::{Fingerprint, FingerprintKey};
pub use id::{BaseKey, FieldName, InvalidSalesforceId, PostgresKey, SalesforceId, Side, SyncName};
pub use merge::{Decision, FieldConflict, Reason, merge_field};
pub use oscillation::{OSCILLATING, oscillating, swings};
pub use plan::{Action, Cell, FieldWrite, Held, Image, Parent, Presence, RecordPlan, plan};
pub use resolve::{Evidence, resolve};
pub use types::{PostgresType, SalesforceType, UnsupportedPair, pair};
pub use value::{Rule, RuleKind, Value, ValueError};
