//! After step 8: links of new records are written into their rows, and history gets its outcomes.

use super::fate::{Exits, Stepped};
use super::read_postgres::{TransactionOf, read_again};
use super::record::{InRun, Intended};
use super::{PortError, Ports, Run};
use crate::ports::{Database, HistoryOutcome, Row, RowOutcome, RowRef, RowWrite, Transaction};
use std::collections::BTreeMap;
use std::convert::Infallible;
use syncline_engine::{PostgresKey, SalesforceId};

/// A link to write into the row of a record that was just created.
struct NewLink {
    record: String,
    key: PostgresKey,
    id: SalesforceId,
    /// What the column may still show.
    replaced: Vec<SalesforceId>,
}

impl<'a, P: Ports> Run<'a, P> {
    /// Writes the link of what was just created in Salesforce into its row, under the same lock, and closes the history
    /// of these writes. After that every record leaves: its base is ready to be saved.
    pub(super) async fn finish(&self, mut records: Vec<Intended>) -> Result<Stepped<Infallible>, PortError> {
        let mut exits = Exits::default();
        if records.is_empty() {
            return Ok(exits.with(Vec::new()));
        }
        let mut transaction = self.ports.database().begin(self.definition).await?;
        let links: Vec<NewLink> = records.iter().filter_map(new_link).collect();
        if !links.is_empty() {
            for (record, key) in self.write_links(&mut transaction, links).await? {
                let moved = records.iter_mut().find(|intended| intended.base.key.0 == record);
                moved.into_iter().for_each(|intended| intended.base.postgres_key = Some(key.clone()));
            }
        }
        let closed: Vec<(String, HistoryOutcome, Option<SalesforceId>)> = records
            .iter()
            .filter_map(|intended| Some((intended.intent().to_owned(), intended.outcome?, intended.id())))
            .collect();
        transaction.close(&closed).await?;
        transaction.commit().await?;
        for mut intended in records {
            match (intended.outcome, intended.decided.take()) {
                // Its intent stays: the next run finds out what became of the write.
                (Some(HistoryOutcome::Unknown), Some(fate)) => exits.leave(intended, fate),
                (_, decided) => {
                    intended.decided = decided;
                    exits.leave_with(self.leave_written(intended));
                }
            }
        }
        Ok(exits.with(Vec::new()))
    }

    /// Answers the records whose rows have another key by now.
    async fn write_links(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        links: Vec<NewLink>,
    ) -> Result<Vec<(String, PostgresKey)>, PortError> {
        let names: Vec<String> = links.iter().map(|link| link.record.clone()).collect();
        let locked = transaction.lock(&names).await?;
        let mut links: Vec<NewLink> =
            links.into_iter().zip(locked).filter(|(_, locked)| *locked).map(|(link, _)| link).collect();
        let refs: Vec<RowRef> =
            links.iter().map(|link| RowRef { key: Some(link.key.clone()), id: None }).collect();
        let mut before: Vec<Option<Row>> =
            read_again(transaction, &refs).await?.into_iter().map(|rows| rows.into_iter().next()).collect();
        let mut moved = Vec::new();
        for (row, link) in before.iter_mut().zip(&mut links).filter(|(row, _)| row.is_none()) {
            *row = self.linked_to_replaced(transaction, &link.record, &link.replaced).await?;
            if let Some(row) = row {
                link.key = row.key.clone();
                moved.push((link.record.clone(), row.key.clone()));
            }
        }
        let unlinked: Vec<(RowWrite, Row)> =
            before.into_iter().zip(&links).filter_map(|(row, link)| link_write(row?, link)).collect();
        self.write_unlinked(transaction, unlinked).await?;
        Ok(moved)
    }

    async fn write_unlinked(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        unlinked: Vec<(RowWrite, Row)>,
    ) -> Result<(), PortError> {
        let writes: Vec<RowWrite> = unlinked.iter().map(|(write, _)| write.clone()).collect();
        if writes.is_empty() {
            return Ok(());
        }
        let outcomes = transaction.write(&writes).await?;
        let key_of = |write: &RowWrite| write.row.as_ref().map(|(key, _)| key.clone());
        let refs: Vec<RowRef> = writes.iter().map(|write| RowRef { key: key_of(write), id: None }).collect();
        let after = read_again(transaction, &refs).await?;
        let mut echoes = Vec::new();
        for (((write, before), outcome), after) in unlinked.iter().zip(outcomes).zip(after) {
            let same = after.first().is_some_and(|row| {
                row.values == before.values
                    && row.link.as_deref() == write.link.as_ref().map(SalesforceId::as_str)
            });
            if let (RowOutcome::Written(key), true) = (outcome, same) {
                echoes.push(key);
            }
        }
        if !self.definition.table_shared {
            transaction.drop_own_log(&echoes, &[]).await?;
        }
        Ok(())
    }
}

fn new_link(intended: &Intended) -> Option<NewLink> {
    if !intended.is_created() {
        return None;
    }
    Some(NewLink {
        record: intended.base.key.0.clone(),
        key: intended.key()?,
        id: intended.landed.salesforce.clone()?,
        replaced: intended.base.replaced.clone(),
    })
}

/// A row that names another record by now is left alone.
fn link_write(row: Row, link: &NewLink) -> Option<(RowWrite, Row)> {
    let replaced = |shown: &str| link.replaced.iter().any(|id| id.as_str() == shown);
    if !row.link.as_deref().is_none_or(replaced) {
        return None;
    }
    let write = RowWrite {
        row: Some((link.key.clone(), row.row_version.clone())),
        delete: false,
        key: None,
        link: Some(link.id.clone()),
        fields: BTreeMap::new(),
        history: vec![],
    };
    Some((write, row))
}
