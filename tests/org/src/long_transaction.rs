//! Long transactions: a save that is under way for a while, with its record locked.

use crate::org::{Org, User};
use crate::save::Fields;
use crate::validate::SaveError;
use crate::value::Stored;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// The longest time that a transaction may take. Salesforce ends a transaction that takes longer.
const LONGEST: SignedDuration = SignedDuration::from_mins(5);

/// A save that is not committed yet. Its stamp will be that of its beginning.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    object: &'static str,
    fields: Fields,
    user: User,
    begun: Timestamp,
}

impl Org {
    /// Begins a transaction that updates a record. Until it is committed, nobody sees the new values, and no
    /// other save of the record succeeds.
    ///
    /// # Errors
    /// With Salesforce's code and words.
    pub fn begin(
        &mut self,
        object: &str,
        id: &str,
        fields: &BTreeMap<String, Option<Stored>>,
        user: &User,
    ) -> Result<(), Vec<SaveError>> {
        let schema = self.known(object)?;
        let id = self.living(&schema, id)?;
        self.check_lock(&schema, &id)?;
        let fields = self.checked(&schema, fields, Some(&id))?;
        let open = Open { object: schema.name, fields, user: user.clone(), begun: self.now() };
        self.open.insert(id, open);
        Ok(())
    }

    /// Commits the open transactions, but for those that took longer than Salesforce allows.
    pub fn commit(&mut self) {
        let now = self.now();
        for (id, open) in std::mem::take(&mut self.open) {
            let Ok(schema) = self.known(open.object) else { continue };
            if now.duration_since(open.begun) <= LONGEST && self.living(&schema, &id).is_ok() {
                self.set(&schema, &id, open.fields, &open.user, open.begun);
            }
        }
    }

    /// Refuses a save of a record that another transaction has locked.
    pub(crate) fn check_lock(
        &mut self,
        schema: &crate::ObjectSchema,
        id: &str,
    ) -> Result<(), Vec<SaveError>> {
        if self.open.contains_key(id) {
            return Err(vec![SaveError::locked(schema)]);
        }
        self.strike_lock(schema)
    }
}
