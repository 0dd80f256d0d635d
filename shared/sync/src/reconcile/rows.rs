//! Step 3: lock, read rows, and find out whose each of them is.

use super::work::Work;
use super::{Backoff, PortError, Ports, Run, Touch};
use crate::ports::{Database, HistoryOutcome, Row, RowRef, Transaction};
use syncline_engine::{Op, PostgresKey, SalesforceId, Side};

/// The transaction of an instance's database.
pub(super) type TransactionOf<'a, P> = <<P as Ports>::Database as Database>::Transaction<'a>;

/// The outcome of matching a record with the rows that were found.
enum Match {
    /// Matched, or there is none; the touches are of rows that turned out to be others'.
    Row(Vec<Touch>),
    Again(Vec<Touch>),
    Reject {
        code: &'static str,
        message: String,
    },
}

impl<'a, P: Ports> Run<'a, P> {
    /// Step 3. Records are locked, also such as have no row; a refused lock touches again.
    pub(super) async fn read_postgres(
        &mut self,
        works: Vec<Work>,
    ) -> Result<(TransactionOf<'a, P>, Vec<Work>), PortError> {
        let mut transaction = self.ports.database().begin(self.definition).await?;
        self.summary.reached_postgres = true;
        let names: Vec<String> = works.iter().map(|work| work.base_key().0).collect();
        let locked = transaction.lock(&names).await?;
        let works = self.retain_or_again(works, &locked);
        let mut works = self.lock_moved(&mut transaction, works).await?;

        let intents: Vec<String> =
            works.iter().filter_map(|work| Some(work.base.as_ref()?.intent.as_ref()?.id.clone())).collect();
        if !intents.is_empty() {
            let landed = transaction.landed(&intents).await?;
            for work in &mut works {
                let Some(base) = &work.base else { continue };
                let Some(intent) = &base.intent else { continue };
                let creates = intent.postgres.as_ref().is_some_and(|side| side.op == Op::Create);
                // A row that stood before may have got another key since it was written.
                let known = base.postgres_key.clone().filter(|_| !creates);
                work.evidence.postgres =
                    landed.get(&intent.id).map(|key| known.unwrap_or_else(|| key.clone()));
            }
            let found: Vec<(String, HistoryOutcome, Option<SalesforceId>)> =
                works.iter().filter_map(outcome_of_interrupted).collect();
            if !found.is_empty() {
                transaction.close(&found).await?;
                self.history_closed = true;
            }
        }
        let refs: Vec<RowRef> = works
            .iter()
            .map(|work| RowRef { key: work.evidence.postgres.clone().or_else(|| work.key()), id: work.id() })
            .collect();
        let mut rows = transaction.read(&refs).await?;
        self.find_by_replaced(&mut transaction, &works, &mut rows).await?;
        let mut ready = Vec::new();
        for ((mut work, rows), sought) in works.into_iter().zip(rows).zip(refs) {
            let found = rows.iter().map(|row| row.key.clone()).collect::<Vec<_>>();
            match match_row(&mut work, rows) {
                Match::Row(mut others) => {
                    others.extend(unsought(&work, &sought, &found));
                    for touch in others {
                        self.again(touch, Backoff::Contention);
                    }
                    ready.push(work);
                }
                Match::Again(touches) => {
                    for touch in touches {
                        self.again(touch, Backoff::Contention);
                    }
                }
                Match::Reject { code, message } => self.reject(&work, Side::Postgres, code, message, vec![]),
            }
        }
        let ready = self.reject_rows_of_others(&mut transaction, ready).await?;
        let ready = self.follow_origins(&mut transaction, ready).await?;
        Ok((transaction, ready))
    }

    /// A row that was given another key is looked at under that one alone as well, by whoever does not know whose it is.
    async fn lock_moved(
        &mut self,
        transaction: &mut TransactionOf<'a, P>,
        works: Vec<Work>,
    ) -> Result<Vec<Work>, PortError> {
        let names: Vec<String> =
            works.iter().filter_map(|work| Some(format!("p:{}", work.moved_to()?))).collect();
        if names.is_empty() {
            return Ok(works);
        }
        let mut locked = transaction.lock(&names).await?.into_iter();
        let keep: Vec<bool> =
            works.iter().map(|work| work.moved_to().is_none() || locked.next().unwrap_or_default()).collect();
        Ok(self.retain_or_again(works, &keep))
    }

    fn retain_or_again(&mut self, works: Vec<Work>, keep: &[bool]) -> Vec<Work> {
        let mut kept = Vec::new();
        for (work, keep) in works.into_iter().zip(keep) {
            if *keep { kept.push(work) } else { self.again(work.retouch(), Backoff::Contention) }
        }
        kept
    }
}

/// What became of the write to Salesforce of a run that did not finish, for history.
fn outcome_of_interrupted(work: &Work) -> Option<(String, HistoryOutcome, Option<SalesforceId>)> {
    let intent = work.base.as_ref()?.intent.as_ref()?;
    intent.salesforce.as_ref()?;
    let landed = work.evidence.salesforce.is_some();
    let outcome = if landed { HistoryOutcome::Written } else { HistoryOutcome::Refused };
    Some((intent.id.clone(), outcome, work.evidence.salesforce.clone()))
}

/// The touch's key, where the record is known by another one and the row under it was not looked at: it may be
/// somebody else's by now.
fn unsought(work: &Work, sought: &RowRef, found: &[PostgresKey]) -> Option<Touch> {
    let known = work.base.as_ref()?.postgres_key.as_ref();
    let key = work
        .touch
        .key
        .clone()
        .filter(|key| Some(key) != known && Some(key) != sought.key.as_ref() && !found.contains(key))?;
    Some(work.touch.alone_of_row(key))
}

/// Finds the row of a record among those that match its key or its Id, and what its link column lacks.
fn match_row(work: &mut Work, mut rows: Vec<Row>) -> Match {
    let id = work.id();
    if rows.len() > 1 {
        if work.base.is_none() {
            // The touch's Id and key lead to two rows: each is looked at for itself.
            return Match::Again(work.touch.apart());
        }
        // A row is sought by Salesforce Id before its key counts: the key may be another row's by now.
        let linked = |row: &Row| {
            let link = row.link.as_deref().and_then(|link| SalesforceId::parse(link).ok());
            link.is_some() && link == id
        };
        if rows.iter().filter(|row| linked(row)).count() == 1 {
            let (ours, others): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(linked);
            work.row = ours.into_iter().next();
            return Match::Row(others.into_iter().map(|row| work.touch.alone_of_row(row.key)).collect());
        }
        let keys = rows.iter().map(|row| row.key.to_string()).collect::<Vec<_>>().join(" and ");
        return Match::Reject {
            code: "AMBIGUOUS",
            message: format!(
                "rows {keys} both stand for this record: one by its key, one by its Salesforce Id"
            ),
        };
    }
    // Another row may have the key by now that this one had before, also where this one's key moved on since.
    let stands_at = rows.first().map(|row| row.key.clone());
    let former =
        work.touch.old_key.clone().filter(|old| work.moved_to().is_some() && Some(old) != stands_at.as_ref());
    let others: Vec<Touch> = former.map(|key| work.touch.alone_of_row(key)).into_iter().collect();
    let Some(row) = rows.pop() else { return Match::Row(others) };
    let linked = match row.link.as_deref().map(SalesforceId::parse) {
        None => None,
        Some(Ok(linked)) => Some(linked),
        Some(Err(error)) => {
            return Match::Reject {
                code: "LINK",
                message: format!("row {}: the link column holds {error}", row.key),
            };
        }
    };
    match (linked, id) {
        (Some(linked), Some(id)) if linked == id => {}
        // The column still shows a record that is gone for good.
        (Some(linked), id) if work.is_replaced(&linked) => {
            if work.record().is_some() {
                work.link = id;
            }
        }
        // Its own row was deleted, and another record's was given its key since.
        (Some(linked), Some(_)) if work.row_was_deleted() => {
            let mut touch = Touch { id: Some(linked), ..work.touch.alone_of_row(row.key) };
            touch.evidence.pg_deleted = false;
            return Match::Row(vec![touch]);
        }
        (Some(linked), Some(id)) if work.base.as_ref().is_some_and(|base| base.salesforce_id.is_some()) => {
            return Match::Reject {
                code: "LINK",
                message: format!("row {} belongs to {id}, but its link column holds {linked}", row.key),
            };
        }
        (Some(linked), _) => {
            let mut touch = work.touch.clone();
            touch.id = Some(linked);
            touch.key = Some(row.key);
            touch.stamp = None;
            return Match::Again(vec![touch]);
        }
        (None, Some(id)) if work.base.is_some() => {
            if work.record().is_some() {
                work.link = Some(id);
            }
        }
        (None, Some(_)) => {
            return Match::Again(work.touch.apart());
        }
        (None, None) => {}
    }
    work.row = Some(row);
    Match::Row(others)
}
