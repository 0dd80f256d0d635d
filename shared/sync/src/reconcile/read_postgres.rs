//! Step 3: records are locked and their rows are read.

use super::fate::{Exits, Fate, Stepped};
use super::match_row::{Match, match_row};
use super::record::{InRun, Read, SalesforceRead};
use super::{Backoff, PortError, Ports, Run};
use crate::ports::{Database, HistoryOutcome, Row, RowRef, RowUnreadable, Transaction};
use crate::touch::Touch;
use syncline_engine::{BaseKey, Op, PostgresKey, SalesforceId, Side};

/// The transaction of an instance's database.
pub(super) type TransactionOf<'a, P> = <<P as Ports>::Database as Database>::Transaction<'a>;

/// The Postgres transaction in which rows are locked, read and written.
pub(super) struct Opened<'a, P: Ports + 'a> {
    pub(super) transaction: TransactionOf<'a, P>,
    /// It closed history rows of interrupted runs, so that it has to be committed though no row is written.
    pub(super) closed_history: bool,
}

/// Records, for each the row that an interrupted run wrote, and how its row is looked up.
#[derive(Default)]
struct Sought {
    records: Vec<SalesforceRead>,
    landed: Vec<Option<PostgresKey>>,
    refs: Vec<RowRef>,
}

/// What was [`Sought`], as far as it can be read, and the rows that were found.
type Found = (Vec<SalesforceRead>, Vec<Option<PostgresKey>>, Vec<RowRef>, Vec<Vec<Row>>);

/// Reads rows that this transaction has read or written before.
///
/// # Errors
/// When the database fails, or one of the rows cannot be read.
pub(super) async fn read_again<T: Transaction>(
    transaction: &mut T,
    refs: &[RowRef],
) -> Result<Vec<Vec<Row>>, PortError> {
    let rows = transaction.read(refs).await?.into_iter().collect::<Result<_, RowUnreadable>>();
    rows.map_err(|RowUnreadable { code, message }| PortError::Busy {
        side: Side::Postgres,
        message: format!("a row cannot be read: {message} ({code})"),
    })
}

impl<'a, P: Ports> Run<'a, P> {
    /// Step 3. Locks the records, also those that have no row, and reads their rows. A record whose lock another run
    /// holds is tried again.
    pub(super) async fn read_postgres(
        &mut self,
        records: Vec<SalesforceRead>,
    ) -> Result<(Opened<'a, P>, Stepped<Read>), PortError> {
        let mut exits = Exits::default();
        let mut transaction = self.ports.database().begin(self.definition).await?;
        self.summary.reached_postgres = true;
        let records = exits.sort(self.lock(&mut transaction, records).await?);
        let records = exits.sort(self.lock_moved(&mut transaction, records).await?);
        let (landed, closed_history) = self.landed_in_postgres(&mut transaction, &records).await?;
        let sought = |(record, landed): (&SalesforceRead, &Option<PostgresKey>)| RowRef {
            key: landed.clone().or_else(|| record.key()),
            id: record.id(),
        };
        let refs: Vec<RowRef> = records.iter().zip(&landed).map(sought).collect();
        let (records, landed, refs, mut rows) =
            self.readable(&mut transaction, Sought { records, landed, refs }, &mut exits).await?;
        self.find_by_replaced(&mut transaction, &records, &mut rows).await?;
        let mut ready = Vec::new();
        for (((record, landed), rows), sought) in records.into_iter().zip(landed).zip(rows).zip(refs) {
            let found: Vec<PostgresKey> = rows.iter().map(|row| row.key.clone()).collect();
            match match_row(record, landed, rows) {
                Match::Row { read, mut others } => {
                    others.extend(unsought(&read, &sought, &found));
                    others.into_iter().for_each(|touch| exits.touch(self.again(touch, Backoff::Contention)));
                    ready.push(*read);
                }
                Match::Others { record, touches } => {
                    let again = |touch| self.again(touch, Backoff::Contention);
                    let touches = touches.into_iter().map(again).collect();
                    exits.replace(record, touches);
                }
                Match::Reject { record, code, message } => {
                    let rejected = self.rejected(&record, Side::Postgres, code, message, vec![]);
                    exits.leave(record, Fate::Rejected(rejected));
                }
            }
        }
        let ready = exits.sort(self.reject_rows_of_others(&mut transaction, ready).await?);
        let ready = exits.sort(self.follow_origins(&mut transaction, ready).await?);
        Ok((Opened { transaction, closed_history }, exits.with(ready)))
    }

    /// Reads the rows. A record whose row cannot be read leaves the run, with the words of the database.
    async fn readable(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        sought: Sought,
        exits: &mut Exits,
    ) -> Result<Found, PortError> {
        let Sought { records, landed, refs } = sought;
        let answers = transaction.read(&refs).await?;
        let (mut readable, mut rows) = (Sought::default(), Vec::new());
        for (((record, landed), wanted), answer) in records.into_iter().zip(landed).zip(refs).zip(answers) {
            match answer {
                Ok(found) => {
                    readable.records.push(record);
                    readable.landed.push(landed);
                    readable.refs.push(wanted);
                    rows.push(found);
                }
                Err(RowUnreadable { code, message }) => {
                    let message = format!("the row cannot be read: {message}");
                    exits.touch(self.after_refusal(record.retouch()));
                    let rejected = self.rejected(&record, Side::Postgres, &code, message, vec![]);
                    exits.leave(record, Fate::Rejected(rejected));
                }
            }
        }
        Ok((readable.records, readable.landed, readable.refs, rows))
    }

    async fn lock(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        records: Vec<SalesforceRead>,
    ) -> Result<Stepped<SalesforceRead>, PortError> {
        let names: Vec<String> = records.iter().map(|record| record.base_key().0).collect();
        let locked = transaction.lock(&names).await?;
        Ok(self.those_locked(records, &locked))
    }

    /// A row that was given another key is locked under that key as well: a run that does not know yet whose row it is
    /// locks it under that key alone.
    async fn lock_moved(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        records: Vec<SalesforceRead>,
    ) -> Result<Stepped<SalesforceRead>, PortError> {
        let moved_to = |record: &SalesforceRead| record.loaded.moved_to();
        let names: Vec<String> =
            records.iter().filter_map(|record| Some(BaseKey::of_row(&moved_to(record)?).0)).collect();
        if names.is_empty() {
            return Ok(Exits::default().with(records));
        }
        let mut locked = transaction.lock(&names).await?.into_iter();
        let locked: Vec<bool> = records
            .iter()
            .map(|record| moved_to(record).is_none() || locked.next().unwrap_or_default())
            .collect();
        Ok(self.those_locked(records, &locked))
    }

    fn those_locked(&self, records: Vec<SalesforceRead>, locked: &[bool]) -> Stepped<SalesforceRead> {
        let mut exits = Exits::default();
        let mut ready = Vec::new();
        for (record, locked) in records.into_iter().zip(locked) {
            if *locked {
                ready.push(record);
            } else {
                let again = self.again(record.retouch(), Backoff::Contention);
                exits.leave(record, Fate::Again(again));
            }
        }
        exits.with(ready)
    }

    /// The rows to which the writes of interrupted runs came, by the history that was committed with them; and whether
    /// the open history rows of such runs are closed in this transaction.
    async fn landed_in_postgres(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        records: &[SalesforceRead],
    ) -> Result<(Vec<Option<PostgresKey>>, bool), PortError> {
        let intent = |record: &SalesforceRead| record.loaded.base.as_ref()?.intent.clone();
        let intents: Vec<String> = records.iter().filter_map(|record| Some(intent(record)?.id)).collect();
        if intents.is_empty() {
            return Ok((vec![None; records.len()], false));
        }
        let landed = transaction.landed(&intents).await?;
        let row_of = |record: &SalesforceRead| {
            let (base, intent) = (record.loaded.base.as_ref()?, intent(record)?);
            let creates = intent.postgres.as_ref().is_some_and(|side| side.op == Op::Create);
            // A row that stood before may have got another key since it was written.
            let known = base.postgres_key.clone().filter(|_| !creates);
            landed.get(&intent.id).map(|key| known.unwrap_or_else(|| key.clone()))
        };
        let rows = records.iter().map(row_of).collect();
        let outcomes: Vec<(String, HistoryOutcome, Option<SalesforceId>)> =
            records.iter().filter_map(outcome_of_interrupted).collect();
        if !outcomes.is_empty() {
            transaction.close(&outcomes).await?;
        }
        Ok((rows, !outcomes.is_empty()))
    }
}

/// What became of the write to Salesforce of a run that did not finish, for history.
fn outcome_of_interrupted(record: &SalesforceRead) -> Option<(String, HistoryOutcome, Option<SalesforceId>)> {
    let intent = record.loaded.base.as_ref()?.intent.as_ref()?;
    intent.salesforce.as_ref()?;
    let outcome = match &record.landed {
        Some(_) => HistoryOutcome::Written,
        None => HistoryOutcome::Refused,
    };
    Some((intent.id.clone(), outcome, record.landed.clone()))
}

/// A touch of the row under the touch's key, where the record is known by another key and the row under this one was
/// not looked at: it may be somebody else's by now.
fn unsought(read: &Read, sought: &RowRef, found: &[PostgresKey]) -> Option<Touch> {
    let known = read.base()?.postgres_key.as_ref();
    let is_unsought =
        |key: &PostgresKey| Some(key) != known && Some(key) != sought.key.as_ref() && !found.contains(key);
    let key = read.touch().key.clone().filter(is_unsought)?;
    Some(read.touch().alone_of_row(key))
}
