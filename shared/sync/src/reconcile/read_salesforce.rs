//! Step 2: Salesforce is read.

use super::fate::{Exits, Fate, Stepped};
use super::record::{InRun, Loaded, Remote, SalesforceRead};
use super::{Backoff, PortError, Ports, Run};
use crate::ports::{RecordRef, Salesforce, State};
use jiff::{SignedDuration, Timestamp};
use syncline_engine::{Base, Op, SalesforceId, Side, Stamp};

/// A read that looks older than our last write, or older than what a scan has seen, or that bears another marker, is
/// believed once Salesforce's clock is this far past that write or that stamp.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// How often a process asks for the Ids of an object's fields, at most.
const FIELDS_ASKED_EVERY: SignedDuration = SignedDuration::from_secs(5);

impl<P: Ports> Run<'_, P> {
    /// Step 2. Reads Salesforce. An answer that is older than what the base knows is never merged: the record is read
    /// again later.
    pub(super) async fn read_salesforce(
        &mut self,
        records: Vec<Loaded>,
    ) -> Result<Stepped<SalesforceRead>, PortError> {
        let mut exits = Exits::default();
        let records = self.find_created(records).await?;
        let ids: Vec<SalesforceId> = records.iter().filter_map(InRun::id).collect();
        if ids.is_empty() {
            return Ok(exits.with(records));
        }
        self.read_begun = Some(self.now());
        let answer = self.ports.salesforce().read(self.definition, &ids).await?;
        self.summary.reached_salesforce = true;
        let mut outcomes = answer.outcomes.into_iter();
        let mut ready = Vec::new();
        for mut record in records {
            if record.id().is_some() {
                record.remote = outcomes.next().map_or(Remote::Absent, Remote::from);
                record.read_at = Some(answer.date);
                record.landed = self.landed_in_salesforce(&record);
                self.recall_create(&mut record);
                if self.is_stale(&record) {
                    let again = self.again(record.retouch(), Backoff::Contention);
                    exits.leave(record, Fate::Again(again));
                    continue;
                }
            }
            ready.push(record);
        }
        self.check_fields(&ready).await?;
        let ready = exits.sort(self.match_open_creates(ready).await?);
        Ok(exits.with(ready))
    }

    /// A custom field that is deleted and created again under its name is another field, and empty in every record. So
    /// before an empty value is believed that was not empty before, the fields are asked for their Ids.
    ///
    /// # Errors
    /// [`PortError::Definition`] if a field is not the one that was applied.
    async fn check_fields(&self, records: &[SalesforceRead]) -> Result<(), PortError> {
        let emptied = self.definition.fields.iter().any(|mapping| {
            mapping.field_id.is_some()
                && records.iter().any(|record| self.was_emptied(record, &mapping.field))
        });
        let (object, now) = (&self.definition.object, self.now());
        let look = format!("fields of {object}");
        if !emptied || !self.ports.process_memory().looks().is_due(&look, now, FIELDS_ASKED_EVERY) {
            return Ok(());
        }
        let ids = self.ports.salesforce().field_ids(object).await?;
        let replaced = self.definition.fields.iter().find(|mapping| {
            let now = ids.get(&mapping.field);
            mapping.field_id.is_some() && now.is_some() && mapping.field_id.as_ref() != now
        });
        if let Some(mapping) = replaced {
            return Err(PortError::Definition {
                side: Side::Salesforce,
                message: format!(
                    "field {} of {object} is not the field that was applied: that one was deleted, and this one was \
                     created under its name. Run `syncline apply`; an empty value of the new field then overwrites nothing",
                    mapping.field
                ),
            });
        }
        self.ports.process_memory().looks().done(&look, now);
        Ok(())
    }

    /// The field is empty, and what both sides agreed on last was not.
    fn was_emptied(&self, record: &SalesforceRead, field: &str) -> bool {
        let Remote::Present(remote) = &record.remote else { return false };
        let agreed =
            record.loaded.base.as_ref().filter(|base| base.live).and_then(|base| base.fields.get(field));
        remote.values.get(field) == Some(&None)
            && agreed.is_some_and(|agreed| Some(agreed.fingerprint) != self.fingerprint_of(field, None))
    }

    /// A create of ours of which it is not known whether it landed is looked for by its external Id, among deleted
    /// records too.
    async fn find_created(&mut self, records: Vec<Loaded>) -> Result<Vec<SalesforceRead>, PortError> {
        let lost = |record: &Loaded| {
            let base = record.base.as_ref()?;
            base.external_id.clone().filter(|_| !base.open_creates().is_empty())
        };
        let external_ids: Vec<String> = records.iter().filter_map(lost).collect();
        let mut found = Vec::new().into_iter();
        if !external_ids.is_empty() {
            found = self.ports.salesforce().find(self.definition, &external_ids).await?.into_iter();
            self.summary.reached_salesforce = true;
        }
        let unread = |loaded: Loaded| {
            let landed = lost(&loaded).and_then(|_| found.next().flatten()).map(|found| found.id);
            SalesforceRead { loaded, remote: Remote::Unknown, read_at: None, landed }
        };
        Ok(records.into_iter().map(unread).collect())
    }

    /// Whether the write of an interrupted run landed in this record. A delete of ours did if the record is in the
    /// recycle bin; an update of ours did if the record bears its marker, or, where no marker is installed, if a value
    /// stands there that only we were about to write.
    fn landed_in_salesforce(&self, record: &SalesforceRead) -> Option<SalesforceId> {
        let found = record.landed.clone();
        let Some(base) = &record.loaded.base else { return found };
        let Some(intent) = &base.intent else { return found };
        let Some(side) = intent.salesforce.as_ref().filter(|side| side.op != Op::Create) else {
            return found;
        };
        let marked = |marker: &Option<String>| marker.as_deref() == Some(&intent.id);
        let landed = match (&self.definition.marker, &record.remote) {
            (_, remote) if side.op == Op::Delete => matches!(remote, Remote::Deleted(_)),
            (Some(_), Remote::Present(record)) => marked(&record.marker),
            (Some(_), Remote::Deleted(record)) => marked(&record.marker),
            (None, Remote::Present(record)) => side.fields.iter().any(|(name, intended)| {
                base.fields.get(name) != Some(intended)
                    && record.values.get(name).is_some_and(|raw| {
                        self.fingerprint_of(name, raw.as_deref()) == Some(intended.fingerprint)
                    })
            }),
            _ => false,
        };
        if landed { base.salesforce_id.clone() } else { found }
    }

    /// A record was found that we created. Which of our tries did it tells what is agreed on.
    fn recall_create(&self, record: &mut SalesforceRead) {
        let marker = match &record.remote {
            Remote::Present(remote) => &remote.marker,
            Remote::Deleted(remote) => &remote.marker,
            Remote::Unknown | Remote::Absent => return,
        };
        let (Some(base), Some(id)) = (&mut record.loaded.base, &record.landed) else { return };
        match base.open_creates().as_slice() {
            [] => {}
            // Without a marker, the only try is known to be the one that landed.
            [only] if self.definition.marker.is_none() => {
                base.recall_create(id.clone(), Some(&only.marker));
            }
            _ => base.recall_create(id.clone(), marker.as_deref()),
        }
    }

    /// Whether Salesforce answered an older image than one that Syncline knows of.
    fn is_stale(&self, record: &SalesforceRead) -> bool {
        let Some(stamp) = record.remote_stamp() else { return false };
        let patience_over = |since: Timestamp| record.read_at.is_some_and(|date| date > since + PATIENCE);
        if record.loaded.touch.at_least.is_some_and(|seen| stamp < seen && !patience_over(seen)) {
            return true;
        }
        let Some(base) = &record.loaded.base else { return false };
        if record.landed.is_some() {
            return false;
        }
        match base.stamp {
            None => false,
            Some(Stamp::Read(seen)) => stamp < seen,
            Some(Stamp::Written { after, until }) => {
                let other_marker = self.definition.marker.is_some()
                    && base.live
                    && base.marker.is_some()
                    && record.record().is_some_and(|record| record.marker != base.marker)
                    && stamp <= until;
                (stamp < after || other_marker) && !patience_over(until)
            }
        }
    }

    /// A Salesforce record without base that bears an external Id of ours was created for the row of that create: it
    /// belongs to that row, not into a new one.
    async fn match_open_creates(
        &self,
        records: Vec<SalesforceRead>,
    ) -> Result<Stepped<SalesforceRead>, PortError> {
        let mut exits = Exits::default();
        let prefix = format!("{}:{}:", self.ports.settings().instance, self.definition.name);
        let ours = |record: &SalesforceRead| {
            let found = record.record().filter(|_| record.loaded.base.is_none())?;
            let external_id = found.external_id.clone()?;
            external_id.starts_with(&prefix).then_some(RecordRef::ExternalId(external_id))
        };
        let refs: Vec<RecordRef> = records.iter().filter_map(ours).collect();
        if refs.is_empty() {
            return Ok(exits.with(records));
        }
        let mut known = self.ports.state().load(&self.definition.name, &refs).await?.into_iter();
        let (mut ready, mut nobodys) = (Vec::new(), Vec::new());
        for mut record in records {
            if ours(&record).is_none() {
                ready.push(record);
                continue;
            }
            match known.next().and_then(|known| known.base) {
                // No run waits for that create any more: a restore forgot it, or it counts as lost. The record is that
                // base's all the same.
                Some(base) if base.intent.is_none() && base.salesforce_id.is_none() && !base.live => {
                    if !base.lost_creates.is_empty() {
                        record.landed = record.id();
                    }
                    record.loaded.base = Some(Base { salesforce_id: record.id(), ..base });
                    self.recall_create(&mut record);
                    ready.push(record);
                }
                Some(base) => {
                    let mut touch = record.loaded.touch.clone();
                    touch.id = base.salesforce_id;
                    touch.key = base.postgres_key;
                    let fate = match base.intent {
                        Some(intent) => Fate::Waiting(self.after_lease(touch, intent.lease_until)),
                        None => Fate::Again(self.again(touch, Backoff::Contention)),
                    };
                    exits.leave(record, fate);
                }
                None => nobodys.push(record),
            }
        }
        ready.extend(self.read_again(nobodys).await?);
        Ok(exits.with(ready))
    }

    /// Records that bear an external Id of ours, but no base of ours knows it: the base may have been given to another
    /// record since the read, because this one was deleted.
    async fn read_again(&self, records: Vec<SalesforceRead>) -> Result<Vec<SalesforceRead>, PortError> {
        let ids: Vec<SalesforceId> = records.iter().filter_map(InRun::id).collect();
        if ids.is_empty() {
            return Ok(records);
        }
        let answer = self.ports.salesforce().read(self.definition, &ids).await?;
        let mut outcomes = answer.outcomes.into_iter();
        let anew = |record| SalesforceRead {
            remote: outcomes.next().map_or(Remote::Absent, Remote::from),
            read_at: Some(answer.date),
            ..record
        };
        Ok(records.into_iter().map(anew).collect())
    }
}
