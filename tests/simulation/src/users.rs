//! The people of a run: what users do on both sides, step by step.

use crate::coverage::Coverage;
use crate::deeds::Deed;
use crate::options::{Dice, Options};
use crate::world::{
    ACCOUNTS, ADOPTED, CONTACTS, OPTIONAL, PARENT, REFUSED_BY_CHECK, REFUSED_BY_PICKLIST, REFUSED_BY_RULE,
    edited_fields, name_field, object,
};
use jiff::Timestamp;
use support::{By, Event, MemoryPorts, MemoryRow, OrgRecord, Values, What, key_text, name_of};
use syncline_engine::{Base, Held, PostgresKey, SalesforceId, Side};
use syncline_sync::{Rejected, Source, Touch};

/// How many records of each sync users create, at most.
const RECORDS: usize = 3;

/// The users of both sides, and what they remember.
#[derive(Clone, Default)]
pub(crate) struct Users {
    /// How many records users have created: contacts, then accounts.
    created: [usize; 2],
    /// Rows that users deleted: sync, key, name and link.
    deleted_rows: Vec<(String, PostgresKey, String, Option<String>)>,
    /// Records whose outbound message is not delivered yet: sync and Id.
    pub messages: Vec<(String, SalesforceId)>,
    /// Those of `messages` that must not be lost, because no scan would find what they tell of: sharing
    /// showed the record, and its stamp did not move.
    sure: Vec<(String, SalesforceId)>,
    /// Records that a user's open transaction has changed.
    slow: Vec<SalesforceId>,
    /// What the users did, so that the same can be done to other sides.
    pub(crate) deeds: Vec<Deed>,
    next: usize,
}

/// One act of a user: the sides, the options, and the random numbers of this act.
struct Act<'a> {
    ports: &'a MemoryPorts,
    options: &'a Options,
    coverage: &'a Coverage,
    dice: Dice,
}

impl Act<'_> {
    fn did(&self, what: &'static str) {
        self.coverage.hit(what);
    }

    /// A random record among those that `like` accepts.
    fn record(&mut self, like: impl Fn(&OrgRecord) -> bool) -> Option<(SalesforceId, OrgRecord)> {
        let mut records: Vec<_> =
            self.ports.salesforce.records().into_iter().filter(|(_, record)| like(record)).collect();
        (!records.is_empty()).then(|| records.swap_remove(self.dice.below(records.len())))
    }

    fn row(&mut self) -> Option<(PostgresKey, MemoryRow)> {
        let mut rows: Vec<_> = self.ports.database.rows().into_iter().collect();
        (!rows.is_empty()).then(|| rows.swap_remove(self.dice.below(rows.len())))
    }

    /// True if a user may edit the record now. A run without the window excludes edits between Syncline's
    /// read and its write.
    fn may_edit(&self, id: &SalesforceId) -> bool {
        self.options.window || !self.ports.salesforce.is_between_read_and_write(id)
    }

    /// The base of a record that Syncline has created and not found since, if this is one: the answer to the
    /// create was lost.
    fn lost_create(&self, record: &OrgRecord) -> Option<Base> {
        let external_id = record.external_id.as_ref()?;
        let syncs = [CONTACTS, ACCOUNTS];
        let mut bases = syncs.into_iter().flat_map(|sync| self.ports.state.bases(sync));
        bases.find(|base| base.salesforce_id.is_none() && base.external_id.as_ref() == Some(external_id))
    }

    /// True if users may do more than edit the record. Until an adopted record is linked, users only edit it:
    /// nobody could carry a delete of it across. The same holds of a record that Syncline has created and cannot
    /// find, because the answer was lost and sharing hides the record.
    fn settled(&self, values: &Values) -> bool {
        let name = name_of(values);
        let mut records = self.ports.salesforce.records().into_iter();
        let lost = records.any(|(id, record)| {
            name_of(&record.values) == name
                && self.ports.salesforce.is_hidden(&id)
                && self.lost_create(&record).is_some()
        });
        if lost {
            return false;
        }
        !name.starts_with(ADOPTED)
            || self.ports.state.bases(CONTACTS).iter().any(|base| {
                let records = self.ports.salesforce.records();
                let record = base.salesforce_id.as_ref().and_then(|id| records.get(id));
                base.live && record.is_some_and(|record| name_of(&record.values) == name)
            })
    }

    /// True if Syncline put the row back, because its delete met an edit in Salesforce. A copy of the touch
    /// of that delete may come late. If the row has lost its key and its link by then, nothing tells it from
    /// a row that stayed deleted.
    fn reborn(&self, values: &Values) -> bool {
        let name = name_of(values);
        let events = self.ports.events.all();
        let of_row =
            |event: &&Event| event.side == Side::Postgres && event.name == name && event.by == By::Sync;
        events.iter().filter(of_row).any(|event| matches!(event.what, What::Born))
            && events.iter().any(|event| {
                event.side == Side::Postgres && event.name == name && matches!(event.what, What::Died(_))
            })
    }

    /// The Id or the key of a random account; `None` if there is none.
    fn parent(&mut self, side: Side) -> Option<String> {
        match side {
            Side::Salesforce => {
                let (id, _) = self.record(|record| record.object == "Account" && !record.deleted)?;
                Some(id.to_string())
            }
            Side::Postgres => {
                let rows = self.ports.database.rows();
                let keys: Vec<_> = rows.iter().filter(|(_, row)| row.sync == ACCOUNTS).collect();
                let (key, _) = keys.get(self.dice.below(keys.len()))?;
                Some(key_text(key))
            }
        }
    }
}

impl Users {
    /// One user does one thing on either side.
    pub(crate) fn act(&mut self, ports: &MemoryPorts, options: &Options, coverage: &Coverage, dice: u64) {
        let mut act = Act { ports, options, coverage, dice: Dice::new(dice) };
        let side = if act.dice.below(2) == 0 { Side::Salesforce } else { Side::Postgres };
        let empty = ports.salesforce.records().is_empty() && ports.database.rows().is_empty();
        if empty || self.created.iter().any(|count| *count < RECORDS) && act.dice.below(5) == 0 {
            return self.create(&mut act, side);
        }
        // What is deleted or gets another key while nobody notices is missing, and a person has to say what was meant.
        if ports.database.is_capture_lost() {
            return self.edit(&mut act, side);
        }
        match act.dice.below(60) {
            0..6 => self.delete(&mut act, side),
            6..9 => self.undelete(&mut act),
            9..12 => self.insert_again(&mut act),
            12..14 => self.change_key(&mut act),
            14..16 => self.clear_link(&mut act),
            16..19 if options.features.sharing => self.hide(&mut act),
            19..21 => self.merge(&mut act),
            21..25 if options.features.accounts => self.move_to_another_parent(&mut act, side),
            25..30 if options.features.late_commits => self.begin_transaction(&mut act, side),
            30..33 => self.edit_many(&mut act),
            _ => self.edit(&mut act, side),
        }
    }

    /// Salesforce has an outbound message to send about this record.
    fn told(&mut self, id: &SalesforceId, object: &str) {
        let sync = if object == "Account" { ACCOUNTS } else { CONTACTS };
        self.messages.push((sync.to_owned(), id.clone()));
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn create(&mut self, act: &mut Act<'_>, side: Side) {
        let kind = usize::from(act.options.features.accounts && act.dice.below(3) == 0);
        let sync = [CONTACTS, ACCOUNTS][kind];
        if self.created[kind] >= RECORDS {
            return;
        }
        self.created[kind] += 1;
        let name = format!("{}{}", ["n", "a"][kind], self.created[kind]);
        let mut values = Values::from([(name_field(sync).to_owned(), Some(name))]);
        let value = self.value(act, sync, edited_fields(sync)[0], side);
        values.insert(edited_fields(sync)[0].to_owned(), value);
        if sync == CONTACTS
            && act.options.features.accounts
            && (act.options.features.parent_required && side == Side::Salesforce || act.dice.below(2) == 0)
        {
            values.insert(PARENT.to_owned(), act.parent(side));
        }
        act.did("act: create");
        match side {
            Side::Salesforce => {
                if let Ok(id) = act.ports.salesforce.insert_into(object(sync), values.clone()) {
                    self.told(&id, object(sync));
                    self.deeds.push(Deed::InsertRecord { sync: sync.to_owned(), id, values });
                }
            }
            Side::Postgres => {
                let key = act.ports.database.free_key();
                if act.ports.database.insert_as(sync, &key, None, values.clone()).is_ok() {
                    self.deeds.push(Deed::InsertRow { sync: sync.to_owned(), key, link: None, values });
                }
            }
        }
    }

    /// A value that nobody has typed before. Now and then it is empty, or one that the other side refuses.
    fn value(&mut self, act: &mut Act<'_>, _sync: &str, field: &str, side: Side) -> Option<String> {
        let number = self.number();
        let features = act.options.features;
        match (field, side, act.dice.below(12)) {
            ("FirstName", Side::Postgres, 0) if features.validation => {
                act.did("act: refused by Salesforce's rule later");
                let begin = [REFUSED_BY_RULE, REFUSED_BY_PICKLIST][number % 2];
                Some(format!("{begin}{number}"))
            }
            ("Title", Side::Salesforce, 0) if features.before_trigger => {
                act.did("act: refused by Postgres's check later");
                Some(format!("{REFUSED_BY_CHECK}{number}"))
            }
            (_, _, 1) => {
                act.did("act: empty a field");
                None
            }
            ("Phone", ..) => Some(format!("p{number}")),
            ("Email", ..) => Some(format!("E{number}@acme.example")),
            _ => Some(format!("v{number}")),
        }
    }

    fn edit(&mut self, act: &mut Act<'_>, side: Side) {
        let count = 1 + usize::from(act.dice.below(4) == 0);
        match side {
            Side::Salesforce => {
                let Some((id, record)) = act.record(|record| !record.deleted) else { return };
                let sync = if record.object == "Account" { ACCOUNTS } else { CONTACTS };
                let values = self.values(act, sync, side, count);
                if act.may_edit(&id) && act.ports.salesforce.edit_all(&id, &values) {
                    self.told(&id, &record.object);
                    self.deeds.push(Deed::EditRecord { id, values: values.clone() });
                    act.did(if values.len() > 1 { "act: edit two fields" } else { "act: edit" });
                }
            }
            Side::Postgres => {
                let Some((key, row)) = act.row() else { return };
                let values = self.values(act, &row.sync, side, count);
                if act.ports.database.edit_all(&row.sync, std::slice::from_ref(&key), &values) {
                    let keys = vec![key];
                    self.deeds.push(Deed::EditRows { sync: row.sync, keys, values: values.clone() });
                    act.did(if values.len() > 1 { "act: edit two fields" } else { "act: edit" });
                }
            }
        }
    }

    fn values(&mut self, act: &mut Act<'_>, sync: &str, side: Side, count: usize) -> Values {
        let fields = edited_fields(sync);
        (0..count)
            .map(|_| {
                let field = fields[act.dice.below(fields.len())];
                (field.to_owned(), self.value(act, sync, field, side))
            })
            .collect()
    }

    /// Edits all rows of the table in one statement.
    fn edit_many(&mut self, act: &mut Act<'_>) {
        let rows = act.ports.database.rows();
        let keys: Vec<_> =
            rows.iter().filter(|(_, row)| row.sync == CONTACTS).map(|(key, _)| key.clone()).collect();
        let value = Some(format!("m{}", self.number()));
        let values = Values::from([("FirstName".to_owned(), value)]);
        if !keys.is_empty() && act.ports.database.edit_all(CONTACTS, &keys, &values) {
            self.deeds.push(Deed::EditRows { sync: CONTACTS.to_owned(), keys, values });
            act.did("act: edit many rows");
        }
    }

    fn move_to_another_parent(&mut self, act: &mut Act<'_>, side: Side) {
        let parent = if act.dice.below(4) == 0 { None } else { act.parent(side) };
        let values = Values::from([(PARENT.to_owned(), parent)]);
        let done = match side {
            Side::Salesforce => {
                let found = act.record(|record| record.object == "Contact" && !record.deleted);
                let Some((id, record)) = found else { return };
                let done = act.settled(&record.values)
                    && act.may_edit(&id)
                    && act.ports.salesforce.edit_all(&id, &values);
                if done {
                    self.told(&id, "Contact");
                    self.deeds.push(Deed::EditRecord { id, values });
                }
                done
            }
            Side::Postgres => {
                let Some((key, row)) = act.row() else { return };
                let done = row.sync == CONTACTS
                    && act.settled(&row.values)
                    && act.ports.database.edit_all(CONTACTS, std::slice::from_ref(&key), &values);
                if done {
                    self.deeds.push(Deed::EditRows { sync: CONTACTS.to_owned(), keys: vec![key], values });
                }
                done
            }
        };
        if done {
            act.did("act: move to another parent");
        }
    }

    fn begin_transaction(&mut self, act: &mut Act<'_>, side: Side) {
        let value = Some(format!("l{}", self.number()));
        match side {
            Side::Salesforce => {
                let found = act.record(|record| record.object == "Contact" && !record.deleted);
                let Some((id, _)) = found else { return };
                // Nobody knows when such a transaction commits, so a run without the window cannot keep it
                // out of the window.
                if act.options.window && act.ports.salesforce.begin_edit(&id, "FirstName", value.as_deref()) {
                    // Its outbound message is sent when the transaction commits, or is lost.
                    self.slow.push(id);
                    act.did("act: begin a transaction in Salesforce");
                }
            }
            Side::Postgres => {
                let Some((key, row)) = act.row() else { return };
                if row.sync == CONTACTS
                    && act.ports.database.begin_edit(CONTACTS, &key, "FirstName", value.as_deref())
                {
                    act.did("act: begin a transaction in Postgres");
                }
            }
        }
    }

    fn delete(&mut self, act: &mut Act<'_>, side: Side) {
        match side {
            Side::Salesforce => {
                let Some((id, record)) = act.record(|record| !record.deleted) else { return };
                if !act.settled(&record.values) {
                    return;
                }
                // Salesforce sends no outbound message for a delete. Only a scan finds it.
                if act.may_edit(&id) && act.ports.salesforce.delete(&id) {
                    self.deeds.push(Deed::DeleteRecord { id });
                    act.did("act: delete in Salesforce");
                }
            }
            Side::Postgres => {
                let Some((key, row)) = act.row() else { return };
                if act.settled(&row.values) && act.ports.database.delete(&row.sync, &key) {
                    let name = name_of(&row.values);
                    self.deeds.push(Deed::DeleteRow { sync: row.sync.clone(), key: key.clone() });
                    self.deleted_rows.push((row.sync, key, name, row.link));
                    act.did("act: delete in Postgres");
                }
            }
        }
    }

    fn undelete(&mut self, act: &mut Act<'_>) {
        let Some((id, record)) = act.record(|record| record.deleted) else { return };
        if act.ports.salesforce.undelete(&id) {
            self.told(&id, &record.object);
            self.deeds.push(Deed::Undelete { id });
            act.did("act: undelete");
        }
    }

    fn insert_again(&mut self, act: &mut Act<'_>) {
        let place = act.dice.below(self.deleted_rows.len());
        let Some((sync, key, name, link)) = self.deleted_rows.get(place).cloned() else { return };
        let first = edited_fields(&sync)[0];
        let mut values = Values::from([(name_field(&sync).to_owned(), Some(name))]);
        values.insert(first.to_owned(), Some(format!("v{}", self.number())));
        // Some apps write back every column that they had read, the link included.
        let link = link.filter(|_| act.dice.below(2) == 0);
        // The row that had this key got another key while its record was being created, and is not linked
        // yet. Nothing would tell the new row from it, so nobody inserts one.
        let bases = act.ports.state.bases(&sync);
        let known = bases.iter().any(|base| base.postgres_key.as_ref() == Some(&key));
        if known && act.ports.database.moved_unlinked_from(&key) {
            return;
        }
        let taken = act.ports.database.rows().values().any(|row| link.is_some() && row.link == link);
        if !taken && act.ports.database.insert_as(&sync, &key, link.clone(), values.clone()).is_ok() {
            self.deeds.push(Deed::InsertRow { sync, key, link, values });
            act.did("act: insert again");
        }
    }

    fn merge(&mut self, act: &mut Act<'_>) {
        let living = |record: &OrgRecord| record.object == "Contact" && !record.deleted;
        let (Some((loser, record)), Some((master, _))) = (act.record(living), act.record(living)) else {
            return;
        };
        if act.settled(&record.values) && act.may_edit(&loser) && act.ports.salesforce.merge(&loser, &master)
        {
            self.told(&master, "Contact");
            self.deeds.push(Deed::Merge { loser, master });
            act.did("act: merge");
        }
    }

    fn change_key(&mut self, act: &mut Act<'_>) {
        let Some((key, row)) = act.row() else { return };
        if act.reborn(&row.values) && row.link.is_none() {
            return;
        }
        if act.settled(&row.values)
            && let Some(new) = act.ports.database.change_key(&row.sync, &key)
        {
            self.deeds.push(Deed::ChangeKey { sync: row.sync, old: key, new });
            act.did("act: change key");
        }
    }

    fn clear_link(&mut self, act: &mut Act<'_>) {
        let Some((key, row)) = act.row() else { return };
        if act.reborn(&row.values) {
            return;
        }
        if act.settled(&row.values) && act.ports.database.write_link(&row.sync, &key, None) {
            self.deeds.push(Deed::ClearLink { sync: row.sync, key });
            act.did("act: clear link");
        }
    }

    fn hide(&mut self, act: &mut Act<'_>) {
        let Some((id, record)) = act.record(|_| true) else { return };
        let hidden = !act.ports.salesforce.is_hidden(&id);
        // Once its row is deleted or has another key, a record that was not found yet stays visible.
        let rows = act.ports.database.rows();
        let lost = act.lost_create(&record);
        if hidden && lost.is_some_and(|base| base.postgres_key.is_none_or(|key| !rows.contains_key(&key))) {
            return;
        }
        act.ports.salesforce.hide(&id, hidden);
        self.deeds.push(Deed::Hide { id: id.clone(), hidden });
        act.did(if hidden { "act: hide" } else { "act: show" });
        if !hidden && !is_known_to_be_missing(act.ports, &id) {
            self.told(&id, &record.object);
            self.sure.extend(self.messages.last().cloned());
        }
    }

    /// The open transactions have committed. Their outbound messages are sent, or `lost` says that a message
    /// is lost.
    pub(crate) fn committed(&mut self, mut lost: impl FnMut() -> bool) {
        for id in std::mem::take(&mut self.slow) {
            if !lost() {
                self.told(&id, "Contact");
            }
        }
    }

    /// Sharing shows every hidden record again. An outbound message tells of those that Syncline does not look for by
    /// itself.
    pub(crate) fn show_all(&mut self, ports: &MemoryPorts) {
        for (id, record) in ports.salesforce.records() {
            if ports.salesforce.is_hidden(&id) {
                if !is_known_to_be_missing(ports, &id) {
                    self.told(&id, &record.object);
                }
                ports.salesforce.hide(&id, false);
                self.deeds.push(Deed::Hide { id, hidden: false });
            }
        }
    }

    /// Somebody corrects every value that a side refuses. Returns whether there was such a value.
    pub(crate) fn correct(&mut self, ports: &MemoryPorts, coverage: &Coverage) -> bool {
        let mut corrected = false;
        for (key, row) in ports.database.rows() {
            let first = row.values.get("FirstName").cloned().flatten().unwrap_or_default();
            if first.starts_with(REFUSED_BY_RULE) || first.starts_with(REFUSED_BY_PICKLIST) {
                let value = format!("v{}", self.number());
                let values = Values::from([("FirstName".to_owned(), Some(value))]);
                if ports.database.edit_all(&row.sync, std::slice::from_ref(&key), &values) {
                    self.deeds.push(Deed::EditRows { sync: row.sync, keys: vec![key], values });
                    corrected = true;
                }
            }
        }
        for (id, record) in ports.salesforce.records().into_iter().filter(|(_, record)| !record.deleted) {
            let title = record.values.get("Title").cloned().flatten().unwrap_or_default();
            if title.starts_with(REFUSED_BY_CHECK) {
                let value = format!("v{}", self.number());
                let values = Values::from([("Title".to_owned(), Some(value))]);
                self.told(&id, &record.object);
                if ports.salesforce.edit_all(&id, &values) {
                    self.deeds.push(Deed::EditRecord { id, values });
                    corrected = true;
                }
            }
        }
        if corrected {
            coverage.hit("act: correct a refused value");
        }
        corrected
    }

    /// Somebody edits a record again that Salesforce refused for no reason of the record's own: its row if
    /// there is one, else the record.
    pub(crate) fn save_again(&mut self, ports: &MemoryPorts, rejected: &Rejected) -> bool {
        let number = self.number();
        let value = Some(format!("v{number}"));
        let row = rejected.postgres_key.as_ref().and_then(|key| {
            let rows = ports.database.rows();
            rows.get(key).map(|row| (key.clone(), row.sync.clone()))
        });
        if let Some((key, sync)) = row {
            return ports.database.edit(&sync, &key, edited_fields(&sync)[0], value.as_deref());
        }
        let Some(id) = &rejected.salesforce_id else { return false };
        let done = ports.salesforce.edit(id, edited_fields(&rejected.sync)[0], value.as_deref());
        self.told(id, object(&rejected.sync));
        done
    }

    /// The touch of a waiting outbound message, if there is one. One message in five stays, to be delivered
    /// again.
    pub(crate) fn deliver(&mut self, dice: u64, at: Timestamp) -> Option<Touch> {
        let mut dice = Dice::new(dice);
        let place = dice.below(self.messages.len());
        let (sync, id) = if dice.below(5) == 0 {
            self.messages.get(place)?.clone()
        } else if self.messages.is_empty() {
            return None;
        } else {
            self.messages.swap_remove(place)
        };
        Some(Touch::of_id(&sync, id, Source::OutboundMessage, at))
    }

    /// Outbound messages for which `lost` answers true are never sent.
    pub(crate) fn lose_messages(&mut self, mut lost: impl FnMut() -> bool) {
        self.messages.retain(|message| self.sure.contains(message) || !lost());
    }

    /// After a restore of the database, users remember only the deleted rows that they knew at the time of
    /// the backup.
    pub(crate) fn take_back(&mut self, then: &Self) {
        self.deleted_rows.clone_from(&then.deleted_rows);
    }

    /// The field that changes of the definition drop and map again.
    pub(crate) fn optional() -> &'static str {
        OPTIONAL
    }
}

/// Syncline holds the record because it did not find it, and looks for it again by itself.
fn is_known_to_be_missing(ports: &MemoryPorts, id: &SalesforceId) -> bool {
    let missing = Held::Missing { side: Side::Salesforce };
    ports.state.held().iter().any(|held| held.salesforce_id.as_ref() == Some(id) && held.held == missing)
}
