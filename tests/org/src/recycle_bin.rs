//! The recycle bin: deletes, undeletes and merges, and what they do to the records that look up to a record.

use crate::org::{Change, Org, User};
use crate::schema::{FieldType, ObjectSchema};
use crate::validate::SaveError;
use crate::value::Stored;
use jiff::Timestamp;

impl Org {
    /// Puts a record into the recycle bin. Lookups to it become empty; the children of a cascading relation go
    /// with it.
    ///
    /// # Errors
    /// With Salesforce's code and words.
    pub fn delete(&mut self, object: &str, id: &str, user: &User) -> Result<String, Vec<SaveError>> {
        let schema = self.known(object)?;
        let id = self.living(&schema, id)?;
        self.check_lock(&schema, &id)?;
        let now = self.now();
        self.set_deleted(&schema, &id, true, user, now, false);
        for (child, field) in self.children_by_cascade(&schema) {
            for one in self.looking_up(&child, field, &id, |record| !record.deleted) {
                self.open.remove(&one);
                self.set_deleted(&child, &one, true, user, now, true);
            }
        }
        self.repoint(&schema, std::slice::from_ref(&id), None, user, now);
        self.show_in_children(&schema, &id);
        Ok(id)
    }

    /// Takes a record out of the recycle bin. Its Id stays, and the children that were deleted with it come back.
    ///
    /// # Errors
    /// With Salesforce's code and words, if the record is not in the recycle bin or was merged into another.
    pub fn undelete(&mut self, object: &str, id: &str, user: &User) -> Result<String, Vec<SaveError>> {
        let schema = self.known(object)?;
        let now = self.now();
        let record = self.record(schema.name, id);
        let Some(record) =
            record.filter(|record| record.deleted && !record.values.contains_key("MasterRecordId"))
        else {
            let message = "entity is not in the recycle bin";
            return Err(vec![SaveError::new("UNDELETE_FAILED", message, &[])]);
        };
        let stamp = record.stamp();
        self.set_deleted(&schema, id, false, user, now, false);
        for (child, field) in self.children_by_cascade(&schema) {
            for one in self.looking_up(&child, field, id, |record| record.deleted && record.stamp() == stamp)
            {
                self.set_deleted(&child, &one, false, user, now, true);
            }
        }
        self.show_in_children(&schema, id);
        Ok(id.to_owned())
    }

    /// Removes a record from the recycle bin. After that, nothing tells of the record any more.
    pub fn purge(&mut self, object: &str, id: &str) -> bool {
        let Ok(schema) = self.known(object) else { return false };
        let records = self.records.entry(schema.name).or_default();
        let deleted = records.get(id).is_some_and(|record| record.deleted);
        deleted && records.remove(id).is_some()
    }

    /// Merges records into one: the others are deleted and name it, and what looked up to them looks up to it.
    /// The automations of the children do not run.
    ///
    /// # Errors
    /// With Salesforce's code and words.
    pub fn merge(
        &mut self,
        object: &str,
        master: &str,
        others: &[String],
        user: &User,
    ) -> Result<(), Vec<SaveError>> {
        let schema = self.known(object)?;
        let master = self.living(&schema, master)?;
        let others = others.iter().map(|other| self.living(&schema, other)).collect::<Result<Vec<_>, _>>()?;
        for id in others.iter().chain([&master]) {
            self.check_lock(&schema, id)?;
        }
        let now = self.now();
        self.repoint(&schema, &others, Some(&master), user, now);
        for other in others {
            self.delete(object, &other, user)?;
            if let Some(record) = self.record_mut(schema.name, &other) {
                record.values.insert("MasterRecordId", Stored::Text(master.clone()));
            }
        }
        self.set(&schema, &master, crate::Fields::new(), user, now);
        Ok(())
    }

    fn set_deleted(
        &mut self,
        schema: &ObjectSchema,
        id: &str,
        deleted: bool,
        user: &User,
        now: Timestamp,
        cascaded: bool,
    ) {
        let Some(record) = self.record_mut(schema.name, id) else { return };
        record.begin_change(now, now);
        record.deleted = deleted;
        record.values.insert("IsDeleted", Stored::Boolean(deleted));
        let change = Change {
            before: Some(Stored::Boolean(!deleted)),
            after: Some(Stored::Boolean(deleted)),
            cascaded,
            ..self.change(schema.name, id, "IsDeleted", now, user)
        };
        self.history.push(change);
    }

    /// The relations by which records go into the recycle bin with a record of this object.
    fn children_by_cascade(
        &self,
        parent: &ObjectSchema,
    ) -> Vec<(std::sync::Arc<ObjectSchema>, &'static str)> {
        let of_parent = |relation: &&crate::Relation| {
            let field = self.schema(relation.object).and_then(|child| child.field(relation.field));
            field.is_some_and(|field| field.kind == FieldType::Reference(parent.name))
        };
        let relations = self.cascades.iter().filter(of_parent);
        relations.filter_map(|one| Some((self.known(one.object).ok()?, one.field))).collect()
    }

    fn looking_up(
        &self,
        child: &ObjectSchema,
        field: &str,
        id: &str,
        like: impl Fn(&crate::Record) -> bool,
    ) -> Vec<String> {
        let names = |record: &crate::Record| matches!(record.values.get(field), Some(Stored::Text(named)) if named == id);
        let records = self.records.get(child.name).into_iter().flatten();
        records.filter(|(_, record)| like(record) && names(record)).map(|(id, _)| id.clone()).collect()
    }

    /// Living records that look up to any of these look up to another one, or to none. Their automations do not
    /// run.
    fn repoint(
        &mut self,
        parent: &ObjectSchema,
        from: &[String],
        to: Option<&String>,
        user: &User,
        now: Timestamp,
    ) {
        for child in self.schemas.clone() {
            let lookups = child
                .fields
                .iter()
                .filter(|field| field.writable && field.kind == FieldType::Reference(parent.name));
            for field in lookups {
                for id in from {
                    for one in self.looking_up(&child, field.name, id, |record| !record.deleted) {
                        let Some(record) = self.record_mut(child.name, &one) else { continue };
                        record.begin_change(now, now);
                        let after = to.cloned().map(Stored::Text);
                        let before = match after.clone() {
                            Some(after) => record.values.insert(field.name, after),
                            None => record.values.remove(field.name),
                        };
                        let change = self.change(child.name, &one, field.name, now, user);
                        self.history.push(Change { before, after, cascaded: true, ..change });
                        self.show_formulas(&child, &one);
                    }
                }
            }
        }
    }
}
