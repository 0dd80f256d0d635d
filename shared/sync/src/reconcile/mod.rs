//! Reconciling touches, hundreds of records at a time. Each record has a fate of its own.
//!
//! # Flow
//!
//! Each step is a function from one phase's records to the next phase's ([`record`] has the types). It returns the
//! records that go on, and for every other record its fate:
//!
//! 1. [`load`]: the bases are loaded.
//! 2. [`read_salesforce`]: Salesforce is read.
//! 3. [`read_postgres`]: a Postgres transaction begins; records are locked, rows are read and matched ([`match_row`],
//!    [`owners`], [`origins`]).
//! 4. [`plan`], with [`presence`] and [`parents`]: what an interrupted run left is resolved, and
//! 5. the engine plans.
//! 6. [`intents`]: intents are saved by compare-and-set, with the conflicts.
//! 7. [`write_postgres`]: rows and their [`history`] are written, and the transaction is committed.
//! 8. [`write_salesforce`]: records are written; [`finish`]: links and outcomes are written.
//! 9. [`settle`]: every fate is stored, and the bases ([`bases`]) are saved.
//!
//! # Guarantees
//!
//! No row is locked while anything but Postgres is waited for. A run whose lease has ended commits nothing and sends
//! nothing. A run that ends anywhere leaves a state from which the next run ends where this one would have. Every touch
//! that enters a run leaves it with exactly one [`fate`].
//!
//! # Caveats
//!
//! If a step fails as a whole, because a side or the state store is away, no fate is stored: the caller defers all
//! touches of the run.

mod bases;
mod fate;
mod finish;
mod held;
mod history;
mod intents;
mod load;
mod match_row;
mod origins;
mod owners;
mod parents;
mod plan;
mod presence;
mod read_postgres;
mod read_salesforce;
mod record;
mod refusal;
mod settle;
mod summary;
mod write_postgres;
mod write_salesforce;

pub use fate::FateKind;
pub use settle::Tally;
pub use summary::Summary;

use crate::ports::{Clock, PortError, Ports, Put, Step, Steps};
use crate::retry::Backoff;
use crate::touch::Touch;
use fate::{Entrance, Exits};
use jiff::Timestamp;
use syncline_engine::Definition;

/// One run over touches of one sync.
struct Run<'a, P: Ports> {
    ports: &'a P,
    definition: &'a Definition,
    summary: Summary,
    /// Our own clock when the run began.
    begun: Timestamp,
    /// Our own clock when the read of Salesforce began.
    read_begun: Option<Timestamp>,
}

/// Reconciles touches of one sync.
///
/// # Errors
/// When a side or the state store is not available. Nothing is lost: the caller defers the touches, and whatever was
/// written stands under its intent.
pub async fn reconcile<P: Ports>(
    ports: &P,
    definition: &Definition,
    touches: Vec<Touch>,
) -> Result<Summary, PortError> {
    let begun = ports.clock().now();
    let mut run = Run { ports, definition, summary: Summary::default(), begun, read_begun: None };
    let (mut entrance, mut exits) = (Entrance::default(), Exits::default());

    let loaded = exits.sort(run.load(touches, &mut entrance).await?);
    run.at(Step::Loaded).await;
    let read = exits.sort(run.read_salesforce(loaded).await?);
    run.at(Step::ReadSalesforce).await;
    if !read.is_empty() {
        let (transaction, read) = run.read_postgres(read).await?;
        let read = exits.sort(read);
        run.at(Step::ReadPostgres).await;
        let planned = exits.sort(run.plan(read).await?);
        let intended = exits.sort(run.save_intents(planned).await?);
        run.at(Step::SavedIntents).await;
        let intended = exits.sort(run.write_postgres(transaction, intended).await?);
        run.at(Step::CommittedPostgres).await;
        let written = exits.sort(run.write_salesforce(intended).await);
        run.at(Step::WroteSalesforce).await;
        exits.sort(run.finish(written).await?);
        run.at(Step::Finished).await;
    }
    run.settle(entrance, exits).await
}

impl<P: Ports> Run<'_, P> {
    async fn at(&self, step: Step) {
        self.ports.steps().at(step).await;
    }

    fn now(&self) -> Timestamp {
        self.ports.clock().now()
    }
}
