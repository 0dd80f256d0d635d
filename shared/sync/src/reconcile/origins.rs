//! Step 3, where a nameless row comes from: a row without link and base is new, or it is a known record's whose key
//! changed or whose link was emptied.

use super::fate::{Exits, Fate, Stepped};
use super::owners::{GivenBack, has_replaced, stands_for_nothing};
use super::read_postgres::{TransactionOf, read_again};
use super::record::{InRun, Read};
use super::{Backoff, PortError, Ports, Run};
use crate::ports::{Origin, RecordRef, RowRef, Transaction};
use syncline_engine::{Base, BaseKey, PostgresKey, SalesforceId};

/// Who a nameless row belongs to.
enum Claim {
    /// Nobody.
    Nobody,
    /// That is not decided yet.
    Waits,
    /// The record of this Id, whose row had this key before.
    Holds(Option<SalesforceId>, Option<PostgresKey>),
    /// The record that came back: this base was to get another record in its stead, and did not get one.
    GivesBack(Box<Base>),
}

/// A row whose owner is sought.
struct Nameless<'r> {
    key: PostgresKey,
    /// What its link column shows.
    link: Option<&'r str>,
    /// The record that its link names stands in Salesforce.
    came_back: bool,
}

/// The key of a row that has no base, or of one that was deleted since and whose record is not known.
fn nameless_key(read: &Read) -> Option<PostgresKey> {
    match (read.base(), &read.row) {
        (Some(_), _) => None,
        (None, Some(row)) => Some(row.key.clone()),
        (None, None) if read.touch().evidence.pg_deleted && read.record().is_none() => {
            read.touch().key.clone()
        }
        (None, None) => None,
    }
}

impl<'a, P: Ports> Run<'a, P> {
    /// A row without link and base is new, or its key changed or its link was emptied while its record was under way:
    /// nothing but the notes of that tell. The same is true of a row that was deleted after that, and of a row whose
    /// link still names the deleted record in whose stead another record is created.
    pub(super) async fn follow_origins(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        records: Vec<Read>,
    ) -> Result<Stepped<Read>, PortError> {
        let mut exits = Exits::default();
        let keys: Vec<PostgresKey> = records.iter().filter_map(nameless_key).collect();
        if keys.is_empty() {
            return Ok(exits.with(records));
        }
        let mut origins = transaction.origins(&keys).await?.into_iter();
        let mut ready = Vec::new();
        for read in records {
            let Some(key) = nameless_key(&read) else {
                ready.push(read);
                continue;
            };
            let origin = origins.next().unwrap_or_default();
            // The record may have been created since bases were loaded. Then the delete is that record's.
            if read.row.is_none()
                && let Some(base) = self.base_of(RecordRef::Key(key.clone())).await?
                && (base.live || base.intent.is_some())
            {
                let again = self.again(read.touch().clone(), Backoff::Contention);
                exits.leave(read, Fate::Again(again));
                continue;
            }
            let claim = self.first_claim(transaction, &read, &key, origin).await?;
            ready.extend(self.follow(read, key, claim, &mut exits));
        }
        Ok(exits.with(ready))
    }

    /// The first of a row's former names under which somebody claims it.
    async fn first_claim(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        read: &Read,
        key: &PostgresKey,
        origin: Origin,
    ) -> Result<Claim, PortError> {
        let row = Nameless {
            key: key.clone(),
            link: read.shown_link(),
            came_back: read.record().is_some() && read.id().is_some(),
        };
        let inserted_for = origin.inserted_for.map(RecordRef::Id);
        let names = inserted_for.into_iter().chain(origin.former_keys.into_iter().map(RecordRef::Key));
        for name in names {
            match self.claim(transaction, name, &row).await? {
                Claim::Nobody => {}
                claim => return Ok(claim),
            }
        }
        Ok(Claim::Nobody)
    }

    /// What a claim means for the record that was read: it goes on as a new row's, or it leaves.
    fn follow(&self, mut read: Read, key: PostgresKey, claim: Claim, exits: &mut Exits) -> Option<Read> {
        match claim {
            Claim::Nobody => return Some(read),
            Claim::Waits => {}
            Claim::GivesBack(base) => {
                let base = Base { postgres_key: Some(key), ..*base };
                let touch = read.retouch();
                exits.give_back(GivenBack { owner: base, touch }, read);
                return None;
            }
            Claim::Holds(id, old) => {
                // The record that the link names has come back: it stands for itself.
                if read.record().is_some()
                    && let Some(back) = read.id().filter(|back| Some(back) != id.as_ref())
                {
                    exits.touch(self.again(read.touch().alone_of_id(back), Backoff::Contention));
                }
                let touch = &mut read.salesforce.loaded.touch;
                touch.id = id;
                touch.old_key = old;
            }
        }
        let mut touch = read.touch().clone();
        touch.key = Some(key);
        let again = self.again(touch, Backoff::Contention);
        exits.leave(read, Fate::Again(again));
        None
    }

    /// Whether a row is that of the record that is, or was, known by this name.
    async fn claim(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        name: RecordRef,
        row: &Nameless<'_>,
    ) -> Result<Claim, PortError> {
        if let RecordRef::Key(old) = &name {
            // Whoever creates the record under its old key holds this lock until its intent is saved.
            if transaction.lock(&[BaseKey::of_row(old).0]).await? != [true] {
                return Ok(Claim::Waits);
            }
        }
        let Some(base) = self.base_of(name).await? else { return Ok(Claim::Nobody) };
        if row.link.is_some_and(|link| !has_replaced(&base, link)) {
            return Ok(Claim::Nobody);
        }
        if base.intent.is_some() {
            return Ok(Claim::Waits);
        }
        let known = base.postgres_key.clone().filter(|known| *known != row.key);
        if let Some(known) = &known {
            let refs = [RowRef { key: Some(known.clone()), id: base.salesforce_id.clone() }];
            if read_again(transaction, &refs).await?.iter().any(|rows| !rows.is_empty()) {
                return Ok(Claim::Nobody);
            }
        }
        if row.came_back && row.link.is_some() && stands_for_nothing(&base) {
            return Ok(Claim::GivesBack(Box::new(base)));
        }
        // A record that was about to be created anew, and was not, is still waited for.
        if !base.live && row.link.is_none() {
            return Ok(Claim::Nobody);
        }
        Ok(Claim::Holds(base.salesforce_id, known))
    }
}
