//! The use cases of Syncline and the ports they need.
//!
//! Whatever happens on either side becomes a [`Touch`]; touches are queued; [`reconcile`](reconcile::reconcile)
//! reads both sides, lets the engine plan, and carries the plan out. Nothing here decides what a plan decided,
//! and nothing here knows HTTP, SQL or a runtime: no spawn, no timer, no channel, so that a simulation can
//! drive it step by step.

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
pub mod pulse;
pub mod reconcile;
mod retry;
mod touch;
mod view;

pub use delete_limit::{DELETE_WINDOW, delete_counter};
pub use outage::watch;
pub use ports::{
    Alert, Alerts, Binding, Breaker, Cleared, Clock, Conflict, Cursor, DailyCalls, Database,
    DatabaseIdentity, Deferred, DeletedRecord, Delivery, Due, FoundRecord, HeldRecord, HistoryOutcome,
    HistoryRow, KnownRecord, LogBatch, MessageBody, NewRecord, Operator, Origin, Outcomes, Pause, PauseCause,
    PortError, Ports, Put, Queue, Random, ReadAnswer, ReadOutcome, RecordRef, RecordUpdate, Rejected,
    RemoteRecord, Row, RowOutcome, RowRef, RowWrite, Salesforce, ScanFrom, ScanPage, ScannedRow, Settings,
    State, Step, Steps, Transaction, WriteAnswer, WriteOutcome, longest_call,
};
pub use retry::{Backoff, Disposition, disposition};
pub use touch::{DeleteEvidence, Source, TOUCH_FORM, Touch, fold};
pub use view::{DeadLetter, Overview, ShownConflict};
