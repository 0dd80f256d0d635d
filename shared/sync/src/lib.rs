//! The use cases of Syncline, and the ports that they need.
//!
//! Whatever happens on either side becomes a [`Touch`], and touches are queued.
//! [`reconcile`](reconcile::reconcile) reads both sides, lets the engine plan, and carries the plan out.
//!
//! This crate does not change what a plan decided. It does not know HTTP, SQL or a runtime: it spawns no task
//! and uses no timer and no channel, so that a simulation can drive it step by step.
//!
//! # Layout
//!
//! Begin with `touch.rs` (what a touch is) and `consume.rs` (what happens to a message), then read
//! `reconcile/mod.rs` (the steps of a run). The types that all of them use are in `ports`.
//!
//! - `touch.rs`: touches, and how touches of one record are folded.
//! - `enqueue.rs`: puts touches into the queue.
//! - `poll`: makes touches from the capture log, from scans, and from deferred touches that are due; deletes
//!   what is older than 30 days.
//! - `consume.rs`: takes messages from the queue, and starts runs.
//! - `reconcile`: one run over the touches of one sync.
//! - `ports`: the traits that the adapters implement: the two sides, the state store, the queue, the clock
//!   and more.
//! - `process_memory`: what a process remembers between its runs: what catch-up has queued, and how fast runs are.
//! - `refusals.rs`: what a refusal of Salesforce is about: a record, the definition, the quota or the moment.
//! - `retry.rs`: what an error leads to, the back-off, and how long a breaker stays open.
//! - `outage.rs`: the breaker of a side that is away, and the probe that finds out when the side answers
//!   again.
//! - `pulse.rs`: finds out whether the database or the state store was restored.
//! - `pause.rs`: pauses a sync and raises an alert.
//! - `pace.rs`: the budget of Salesforce calls.
//! - `delete_limit.rs`: pauses a sync that deletes too many records within an hour.
//! - `define.rs`: makes a definition from the configuration and from the descriptions in `describe.rs`.
//! - `view.rs`: what a person's commands show.

pub mod consume;
pub mod define;
mod delete_limit;
pub mod describe;
pub mod enqueue;
mod outage;
mod pace;
mod pause;
pub mod poll;
mod ports;
pub mod process_memory;
pub mod pulse;
pub mod reconcile;
mod refusals;
mod retry;
mod touch;
mod view;

pub use delete_limit::{DELETE_WINDOW, delete_counter};
pub use outage::watch;
pub use ports::{
    Alert, Alerts, Binding, Breaker, CallUsage, Cleared, Clock, Conflict, Cursor, DailyCalls, Database,
    DatabaseIdentity, Deferred, DeletedRecord, Delivery, Due, FoundRecord, HasPorts, HeldRecord,
    HistoryOutcome, HistoryRow, KnownRecord, LogBatch, MessageBody, NewRecord, NoSteps, Operator, Origin,
    Outcomes, Pause, PauseCause, PortError, PortSet, Ports, Put, Queue, Random, ReadAnswer, ReadOutcome,
    RecordRef, RecordUpdate, Rejected, RemoteRecord, Row, RowOutcome, RowRef, RowUnreadable, RowWrite,
    Salesforce, ScanFrom, ScanPage, ScannedRow, Settings, State, Step, Steps, Transaction, WriteAnswer,
    WriteOutcome, longest_call,
};
pub use refusals::Concern;
pub use retry::{Backoff, Disposition, disposition};
pub use touch::{DeleteEvidence, Source, TOUCH_FORM, Touch, fold};
pub use view::{DeadLetter, Overview, ShownConflict, WaitingRecord};
