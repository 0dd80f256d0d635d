//! The Salesforce in memory, as Syncline sees it.

use super::MemoryOrg;
use super::record::{master_of, values_of};
use super::requests::Write;
use crate::yielding::yield_now;
use org::{Org, Record};
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use syncline_engine::{Definition, SalesforceId};
use syncline_sync::{
    CallUsage, Clock, DeletedRecord, FoundRecord, NewRecord, PortError, ReadAnswer, ReadOutcome,
    RecordUpdate, RemoteRecord, Salesforce, ScanFrom, ScanPage, ScannedRow, WriteAnswer,
};

impl MemoryOrg {
    /// Counts a call.
    pub(super) fn call(&self) -> Result<(), PortError> {
        let mut inner = self.inner.lock().unwrap();
        inner.calls += 1;
        inner.down.clone().map_or(Ok(()), Err)
    }

    /// What a read would answer for a record that it shows as it was before the changes of its last second.
    #[must_use]
    pub fn earlier_outcome(&self, definition: &Definition, id: &SalesforceId) -> ReadOutcome {
        let inner = self.inner.lock().unwrap();
        self.outcome(&inner.org, definition, id, |record| record.earlier().unwrap_or(record))
    }

    fn outcome(
        &self,
        org: &Org,
        definition: &Definition,
        id: &SalesforceId,
        shown: impl for<'r> FnOnce(&'r Record) -> &'r Record,
    ) -> ReadOutcome {
        let record = org.record(&definition.object, id.as_str());
        let Some(record) = record.filter(|_| !org.hides(id.as_str(), &self.syncline)).map(shown) else {
            return ReadOutcome::Absent;
        };
        let text = |field: &Option<String>| record.text(field.as_ref()?);
        if record.deleted {
            return ReadOutcome::Deleted(DeletedRecord {
                stamp: record.stamp(),
                marker: text(&definition.marker),
                master: master_of(record),
            });
        }
        let values = definition.fields.iter().map(|mapping| &mapping.field);
        ReadOutcome::Record(RemoteRecord {
            id: id.clone(),
            stamp: record.stamp(),
            marker: text(&definition.marker),
            external_id: text(&definition.external_id),
            values: values.map(|field| (field.clone(), record.text(field))).collect(),
            undecodable: BTreeSet::new(),
        })
    }
}

impl Salesforce for MemoryOrg {
    async fn scan(&self, object: &str, from: ScanFrom) -> Result<ScanPage, PortError> {
        yield_now().await;
        self.call()?;
        let org = &self.inner.lock().unwrap().org;
        let records = org.records.get(object).into_iter().flatten();
        let mut rows: Vec<ScannedRow> = records
            .filter(|(id, _)| !org.hides(id, &self.syncline))
            .filter_map(|(id, record)| Some((id, org.visible(record)?)))
            .map(|(id, record)| ScannedRow {
                id: SalesforceId::parse(id).unwrap(),
                stamp: record.stamp(),
                deleted: record.deleted,
            })
            .collect();
        match from {
            ScanFrom::Id(after) => rows.retain(|row| after.as_ref().is_none_or(|after| row.id > *after)),
            ScanFrom::Stamp { stamp, id } => {
                rows.retain(|row| {
                    row.stamp > stamp || row.stamp == stamp && id.as_ref().is_none_or(|id| row.id > *id)
                });
                rows.sort_by(|a, b| (a.stamp, &a.id).cmp(&(b.stamp, &b.id)));
            }
        }
        let last = rows.len() <= self.page;
        rows.truncate(self.page);
        Ok(ScanPage { rows, date: self.second(org), last })
    }

    async fn read(&self, definition: &Definition, ids: &[SalesforceId]) -> Result<ReadAnswer, PortError> {
        yield_now().await;
        self.call()?;
        let now = self.clock.now();
        let inner = &mut *self.inner.lock().unwrap();
        for id in ids {
            if let Some(record) = inner.org.record(&definition.object, id.as_str()) {
                inner.seen.insert((inner.task, id.clone()), (values_of(record), now));
            }
        }
        let org = &inner.org;
        let outcome = |id| self.outcome(org, definition, id, |record| org.as_read(record));
        Ok(ReadAnswer { outcomes: ids.iter().map(outcome).collect(), date: self.second(org) })
    }

    async fn find(
        &self,
        definition: &Definition,
        external_ids: &[String],
    ) -> Result<Vec<Option<FoundRecord>>, PortError> {
        yield_now().await;
        self.call()?;
        let Some(field) = &definition.external_id else { return Ok(vec![None; external_ids.len()]) };
        let org = &self.inner.lock().unwrap().org;
        let find = |external_id: &String| {
            let records = org.records.get(definition.object.as_str()).into_iter().flatten();
            let mut seen = records
                .filter(|(id, _)| !org.hides(id, &self.syncline))
                .filter_map(|(id, record)| Some((id, org.visible(record)?)));
            let found = seen.find(|(_, record)| record.text(field).as_ref() == Some(external_id));
            found.map(|(id, record)| FoundRecord {
                id: SalesforceId::parse(id).unwrap(),
                deleted: record.deleted,
            })
        };
        Ok(external_ids.iter().map(find).collect())
    }

    async fn create(&self, definition: &Definition, records: &[NewRecord]) -> Result<WriteAnswer, PortError> {
        self.send(definition, Write::Create(records.to_vec())).await
    }

    async fn update(
        &self,
        definition: &Definition,
        records: &[RecordUpdate],
    ) -> Result<WriteAnswer, PortError> {
        self.send(definition, Write::Update(records.to_vec())).await
    }

    async fn delete(&self, definition: &Definition, ids: &[SalesforceId]) -> Result<WriteAnswer, PortError> {
        self.send(definition, Write::Delete(ids.to_vec())).await
    }

    async fn probe(&self) -> Result<(), PortError> {
        yield_now().await;
        self.call()
    }

    async fn field_ids(&self, object: &str) -> Result<BTreeMap<String, String>, PortError> {
        yield_now().await;
        self.call()?;
        Ok(self.inner.lock().unwrap().org.field_ids(object))
    }

    fn take_usage(&self) -> CallUsage {
        let mut inner = self.inner.lock().unwrap();
        let (calls, told) = (inner.calls, inner.told);
        inner.told = calls;
        CallUsage { calls: calls - told, answered: calls > 0, org: self.allowance, app: None }
    }
}
