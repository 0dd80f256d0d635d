//! The Salesforce in memory, as Syncline sees it.

use crate::org::MemoryOrg;
use crate::yielding::yield_now;
use syncline_engine::{Definition, SalesforceId};
use syncline_sync::{
    Clock, DeletedRecord, FoundRecord, NewRecord, PortError, ReadAnswer, ReadOutcome, RecordUpdate,
    RemoteRecord, Salesforce, ScanFrom, ScanPage, ScannedRow, WriteAnswer,
};

impl MemoryOrg {
    /// What a read answers for a record. If the record is `stale`, the answer shows it before the changes of
    /// its last second.
    #[must_use]
    pub fn outcome(&self, definition: &Definition, id: &SalesforceId, stale: bool) -> ReadOutcome {
        let inner = self.inner.lock().unwrap();
        let stood = if stale { inner.earlier.get(id) } else { None };
        match stood.or_else(|| inner.records.get(id)).filter(|record| record.object == definition.object) {
            None => ReadOutcome::Absent,
            Some(_) if inner.hidden.contains(id) => ReadOutcome::Absent,
            Some(record) if record.deleted => ReadOutcome::Deleted(DeletedRecord {
                stamp: record.stamp,
                marker: record.marker.clone(),
                master: record.master.clone(),
            }),
            Some(record) => {
                let record = self.shown(&inner, record.clone());
                ReadOutcome::Record(RemoteRecord {
                    id: id.clone(),
                    stamp: record.stamp,
                    marker: record.marker.filter(|_| definition.marker.is_some()),
                    external_id: record.external_id,
                    values: record.values,
                })
            }
        }
    }
}

impl Salesforce for MemoryOrg {
    async fn scan(&self, object: &str, from: ScanFrom) -> Result<ScanPage, PortError> {
        yield_now().await;
        self.call()?;
        let inner = self.inner.lock().unwrap();
        let mut rows: Vec<ScannedRow> = inner
            .records
            .iter()
            .filter(|(id, record)| record.object == object && !inner.hidden.contains(*id))
            .map(|(id, record)| ScannedRow { id: id.clone(), stamp: record.stamp, deleted: record.deleted })
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
        Ok(ScanPage { rows, date: self.second(), last })
    }

    async fn read(&self, definition: &Definition, ids: &[SalesforceId]) -> Result<ReadAnswer, PortError> {
        yield_now().await;
        self.call()?;
        let now = self.clock.now();
        let mut inner = self.inner.lock().unwrap();
        let task = inner.task;
        for id in ids {
            if let Some(values) = inner.records.get(id).map(|record| record.values.clone()) {
                inner.seen.insert((task, id.clone()), (values, now));
            }
        }
        let stale = inner.stale;
        drop(inner);
        let outcomes = ids.iter().map(|id| self.outcome(definition, id, stale)).collect();
        Ok(ReadAnswer { outcomes, date: self.second() })
    }

    async fn find(
        &self,
        definition: &Definition,
        external_ids: &[String],
    ) -> Result<Vec<Option<FoundRecord>>, PortError> {
        yield_now().await;
        self.call()?;
        let inner = self.inner.lock().unwrap();
        let find = |external_id: &String| {
            let mut of_object = inner.records.iter().filter(|(_, record)| record.object == definition.object);
            let found = of_object.find(|(_, record)| record.external_id.as_ref() == Some(external_id));
            found.map(|(id, record)| FoundRecord { id: id.clone(), deleted: record.deleted })
        };
        Ok(external_ids.iter().map(find).collect())
    }

    async fn create(&self, definition: &Definition, records: &[NewRecord]) -> Result<WriteAnswer, PortError> {
        self.send(&definition.object, records.to_vec(), vec![], vec![]).await
    }

    async fn update(
        &self,
        definition: &Definition,
        records: &[RecordUpdate],
    ) -> Result<WriteAnswer, PortError> {
        self.send(&definition.object, vec![], records.to_vec(), vec![]).await
    }

    async fn delete(&self, definition: &Definition, ids: &[SalesforceId]) -> Result<WriteAnswer, PortError> {
        self.send(&definition.object, vec![], vec![], ids.to_vec()).await
    }

    async fn probe(&self) -> Result<(), PortError> {
        yield_now().await;
        self.call()
    }

    fn take_usage(&self) -> (u64, Option<u64>) {
        let mut inner = self.inner.lock().unwrap();
        let (calls, told) = (inner.calls, inner.told);
        inner.told = calls;
        (calls - told, self.allowance)
    }
}
