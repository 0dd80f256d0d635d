//! Reconciling touches: nine steps, for hundreds of records at a time, each with its own outcome.
//!
//! Bases are loaded, Salesforce is read, a Postgres transaction begins, locks and reads; the engine resolves what
//! an interrupted run left and plans; intents are saved by compare-and-set; Postgres is written and committed;
//! Salesforce is written; links and history are finished; bases are saved. No row is locked while anything but
//! Postgres is waited for. A run that ends anywhere leaves a state from which the next one ends where this one
//! would have.

mod image;
mod intents;
mod owners;
mod read;
mod rows;
mod work;
mod write_postgres;
mod write_salesforce;

use crate::ports::{Clock, Deferred, Outcomes, PortError, Ports, Put, Random, Rejected, State, Step, Steps};
use crate::retry::Backoff;
use crate::touch::Touch;
use jiff::{SignedDuration, Timestamp};
use syncline_engine::{Action, Definition, Side};
use work::Work;

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Touches that ended without a read of Salesforce.
    pub skipped: usize,
    /// Records on which both sides were equal already.
    pub equal: usize,
    /// Touches put off.
    pub put_off: usize,
    /// Rows inserted.
    pub rows_inserted: usize,
    /// Rows updated.
    pub rows_updated: usize,
    /// Rows deleted.
    pub rows_deleted: usize,
    /// Salesforce records created.
    pub records_created: usize,
    /// Salesforce records updated.
    pub records_updated: usize,
    /// Salesforce records deleted.
    pub records_deleted: usize,
    /// Conflicts recorded.
    pub conflicts: usize,
    /// Records rejected.
    pub rejected: usize,
    /// Records held.
    pub held: usize,
    /// Salesforce answered.
    pub reached_salesforce: bool,
    /// Postgres answered.
    pub reached_postgres: bool,
    /// An outage that came after the first write; its records are put off already.
    pub outage: Option<PortError>,
}

impl Summary {
    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        self.skipped += other.skipped;
        self.equal += other.equal;
        self.put_off += other.put_off;
        self.rows_inserted += other.rows_inserted;
        self.rows_updated += other.rows_updated;
        self.rows_deleted += other.rows_deleted;
        self.records_created += other.records_created;
        self.records_updated += other.records_updated;
        self.records_deleted += other.records_deleted;
        self.conflicts += other.conflicts;
        self.rejected += other.rejected;
        self.held += other.held;
        self.reached_salesforce |= other.reached_salesforce;
        self.reached_postgres |= other.reached_postgres;
        if self.outage.is_none() {
            self.outage.clone_from(&other.outage);
        }
    }

    /// True if the side answered in this run.
    #[must_use]
    pub fn reached(&self, side: Side) -> bool {
        match side {
            Side::Salesforce => self.reached_salesforce,
            Side::Postgres => self.reached_postgres,
        }
    }
}

/// One run over touches of one sync.
struct Run<'a, P: Ports> {
    ports: &'a P,
    definition: &'a Definition,
    outcomes: Outcomes,
    puts: Vec<(Put, Touch, bool)>,
    summary: Summary,
    /// Our own clock when the read of Salesforce began.
    read_begun: Option<Timestamp>,
    /// The Postgres transaction holds outcomes of interrupted runs.
    history_closed: bool,
}

/// Reconciles touches of one sync.
///
/// # Errors
/// When a side or the store is not available. Nothing is lost: the caller puts the touches off, and whatever was
/// written stands under its intent.
pub async fn reconcile<P: Ports>(
    ports: &P,
    definition: &Definition,
    touches: Vec<Touch>,
) -> Result<Summary, PortError> {
    let mut run = Run {
        ports,
        definition,
        outcomes: Outcomes { begun: ports.clock().now(), ..Outcomes::default() },
        puts: Vec::new(),
        summary: Summary::default(),
        read_begun: None,
        history_closed: false,
    };
    let works = run.load(touches).await?;
    run.at(Step::Loaded).await;
    let works = run.read_salesforce(works).await?;
    run.at(Step::ReadSalesforce).await;
    if !works.is_empty() {
        run.write_sides(works).await?;
    }
    run.store_refusals().await?;
    run.save_bases().await?;
    run.at(Step::SavedBases).await;
    let outcomes = std::mem::take(&mut run.outcomes);
    run.summary.put_off = outcomes.deferred.len();
    if !outcomes.is_empty() {
        ports.state().store(&definition.name, outcomes).await?;
    }
    Ok(run.summary)
}

impl<P: Ports> Run<'_, P> {
    async fn write_sides(&mut self, works: Vec<Work>) -> Result<(), PortError> {
        let (transaction, works) = self.read_postgres(works).await?;
        self.at(Step::ReadPostgres).await;
        let works = self.plan(works).await?;
        let works = self.save_intents(works).await?;
        self.at(Step::SavedIntents).await;
        let works = self.write_postgres(transaction, works).await?;
        self.at(Step::CommittedPostgres).await;
        let works = self.write_salesforce(works).await;
        self.at(Step::WroteSalesforce).await;
        self.finish(works).await?;
        self.at(Step::Finished).await;
        Ok(())
    }

    async fn at(&self, step: Step) {
        self.ports.steps().at(step).await;
    }

    fn now(&self) -> Timestamp {
        self.ports.clock().now()
    }

    /// Touches a record again, a little later.
    fn again(&mut self, mut touch: Touch, backoff: Backoff) {
        let due = backoff.due(self.now(), touch.attempt, self.ports.random().bits());
        touch.attempt += 1;
        self.defer(touch, due);
    }

    /// Touches a record again that another run holds: soon, for that run is likely to end in a moment, and at its
    /// lease's end at the latest.
    fn after_lease(&mut self, mut touch: Touch, lease_until: Timestamp) {
        let soon = Backoff::Contention.due(self.now(), touch.attempt, self.ports.random().bits());
        touch.attempt += 1;
        self.defer(touch, soon.min(lease_until));
    }

    fn defer(&mut self, touch: Touch, due: Timestamp) {
        self.outcomes.deferred.push(Deferred { touch, due, waits_for: vec![] });
    }

    /// Records that a person has to look at; it is tried again once either side or the definition changes.
    fn reject(&mut self, work: &Work, side: Side, code: &str, message: String, fields: Vec<String>) {
        tracing::warn!(sync = %self.definition.name, record = %work.base_key(), %side, code, "rejected");
        self.summary.rejected += 1;
        // One that is to be created anew has no Id; what becomes of the deleted one does not clear this.
        let anew = matches!(work.plan.salesforce, Action::Create(_));
        let rejected = Rejected {
            v: 1,
            sync: self.definition.name.clone(),
            record: work.base_key().0,
            salesforce_id: work.id().filter(|_| !anew),
            postgres_key: work.key(),
            side,
            code: code.to_owned(),
            message,
            fields,
            images: work.images.clone(),
            definition: self.definition.version,
            // Also where the clock is set back meanwhile: a run does not clear what it refuses itself.
            at: self.now().max(self.outcomes.begun + SignedDuration::from_micros(1)),
        };
        self.outcomes.rejected.push(rejected);
    }

    /// Before the bases, with which others may begin: what they find out later is stored later.
    async fn store_refusals(&mut self) -> Result<(), PortError> {
        let rejected = std::mem::take(&mut self.outcomes.rejected);
        let held = std::mem::take(&mut self.outcomes.held);
        if rejected.is_empty() && held.is_empty() {
            return Ok(());
        }
        let outcomes = Outcomes { rejected, held, ..Outcomes::default() };
        self.ports.state().store(&self.definition.name, outcomes).await
    }

    /// Step 9: bases by compare-and-set; whoever lost touches again.
    async fn save_bases(&mut self) -> Result<(), PortError> {
        let puts = std::mem::take(&mut self.puts);
        if puts.is_empty() {
            return Ok(());
        }
        let (puts, rest): (Vec<Put>, Vec<(Touch, bool)>) =
            puts.into_iter().map(|(put, touch, again)| (put, (touch, again))).unzip();
        let saved = self.ports.state().put(&self.definition.name, puts).await?;
        for (saved, (touch, again)) in saved.into_iter().zip(rest) {
            if !saved || again {
                self.again(touch, Backoff::Contention);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_add_up_count_by_count_and_keep_the_first_outage() {
        let outage = |words: &str| PortError::Outage { side: Side::Salesforce, message: words.to_owned() };
        let counted = |by: usize, told: bool| Summary {
            skipped: by,
            equal: 2 * by,
            put_off: 3 * by,
            rows_inserted: 4 * by,
            rows_updated: 5 * by,
            rows_deleted: 6 * by,
            records_created: 7 * by,
            records_updated: 8 * by,
            records_deleted: 9 * by,
            conflicts: 10 * by,
            rejected: 11 * by,
            held: 12 * by,
            reached_salesforce: told,
            reached_postgres: told,
            outage: told.then(|| outage("first")),
        };
        let mut sum = counted(1, false);
        sum.add(&counted(10, true));
        assert_eq!(sum, counted(11, true));
        sum.add(&Summary { outage: Some(outage("second")), ..counted(100, false) });
        assert_eq!(sum, counted(111, true));
    }

    #[test]
    fn each_side_is_reached_by_itself() {
        let salesforce = Summary { reached_salesforce: true, ..Summary::default() };
        assert!(salesforce.reached(Side::Salesforce) && !salesforce.reached(Side::Postgres));
        let postgres = Summary { reached_postgres: true, ..Summary::default() };
        assert!(!postgres.reached(Side::Salesforce) && postgres.reached(Side::Postgres));
    }
}
