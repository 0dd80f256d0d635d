//! Lookups: the records of other syncs that these records point to, by either name.

use super::record::Read;
use super::{PortError, Ports, Run};
use crate::ports::{RecordRef, State};
use std::collections::{BTreeMap, BTreeSet};
use syncline_engine::{PostgresKey, SalesforceId, Value};

/// Parents of other syncs that are linked, by either name.
#[derive(Default)]
pub(super) struct Parents {
    keys: BTreeMap<(String, SalesforceId), PostgresKey>,
    ids: BTreeMap<(String, PostgresKey), SalesforceId>,
}

impl Parents {
    /// The parent of this Id in this sync is linked.
    pub(super) fn knows(&self, sync: &str, id: &SalesforceId) -> bool {
        self.keys.contains_key(&(sync.to_owned(), id.clone()))
    }

    /// The Id of the parent whose row has this key.
    pub(super) fn id_of(&self, sync: &str, key: &PostgresKey) -> Option<&SalesforceId> {
        self.ids.get(&(sync.to_owned(), key.clone()))
    }

    /// The text of the column that points to a parent. Such a column holds the parent's key, which has one column.
    pub(super) fn column_text(&self, sync: &str, id: &Value) -> Option<String> {
        let id = SalesforceId::parse(&id.text()?).ok()?;
        self.keys.get(&(sync.to_owned(), id))?.columns()?.into_iter().next()
    }
}

impl<P: Ports> Run<'_, P> {
    /// The bases of the parents that any lookup of these records points to.
    pub(super) async fn load_parents(&self, records: &[Read]) -> Result<Parents, PortError> {
        let mut refs: BTreeMap<String, BTreeSet<RecordRef>> = BTreeMap::new();
        for mapping in &self.definition.fields {
            let Some(lookup) = &mapping.lookup else { continue };
            let refs = refs.entry(lookup.sync.clone()).or_default();
            for read in records {
                let remote = read.record().and_then(|record| record.values.get(&mapping.field)?.as_deref());
                if let Some(Ok(id)) = remote.map(SalesforceId::parse) {
                    refs.insert(RecordRef::Id(id));
                }
                let row = read.row.as_ref().and_then(|row| row.values.get(&mapping.field)?.as_deref());
                if let Some(text) = row {
                    refs.insert(RecordRef::Key(PostgresKey::of_columns([text])));
                }
            }
        }
        let mut parents = Parents::default();
        for (sync, refs) in refs {
            let refs: Vec<RecordRef> = refs.into_iter().collect();
            if refs.is_empty() {
                continue;
            }
            for known in self.ports.state().load(&sync, &refs).await? {
                let Some(base) = known.base.filter(|base| base.live) else { continue };
                if let (Some(id), Some(key)) = (base.salesforce_id, base.postgres_key) {
                    parents.keys.insert((sync.clone(), id.clone()), key.clone());
                    parents.ids.insert((sync.clone(), key), id);
                }
            }
        }
        Ok(parents)
    }
}
