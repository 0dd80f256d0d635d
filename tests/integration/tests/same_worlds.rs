//! The worlds of the simulation on real parts. What people did in memory is done to PostgreSQL and, over
//! HTTP, to the simulator, and everything has to come to rest in the same states. The ports in memory behave
//! as their authors believe that PostgreSQL and Salesforce behave; this test checks that belief.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use integration::{Options, SyncOptions, World};
use jiff::{SignedDuration, Timestamp};
use salesforce_sim::Stored;
use simulation::Features;
use simulation::deeds::{Deed, Group, Noted, Played, Rest, Seen, conflict, facts, held, play};
use simulation::world::{ACCOUNTS, CONTACTS, PARENT, object, set_rules};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use support::cluster::TestDatabase;
use support::{SteppedClock, Values, key_of_text, key_text, name_of};
use syncline_engine::{Definition, PostgresKey, SalesforceId};
use syncline_sync::{Clock, HeldRecord, Ports, Queue, Rejected, Source, Touch, enqueue};

/// How many seeds run, from 0 on. `SYNCLINE_SAME_WORLDS=START+COUNT` sets other seeds.
const SEEDS: u64 = 60;

/// How often a touch that waits for its parent is tried before it counts as waiting for good.
const TRIES_FOR_PARENTS: usize = 6;

fn tables(features: &Features) -> String {
    let mut sql = "CREATE SEQUENCE keys START 100000;
        CREATE TABLE accounts (id bigint PRIMARY KEY DEFAULT nextval('keys'), name text, industry text, site text);
        CREATE TABLE contacts (id bigint PRIMARY KEY DEFAULT nextval('keys'), first_name text, last_name text,
            title text, phone text, email text, department text, description text, account_id bigint);"
        .to_owned();
    if let Some(cascades) = features.foreign_key {
        let on_delete = if cascades { "CASCADE" } else { "SET NULL" };
        let _ = write!(
            sql,
            "ALTER TABLE contacts ADD FOREIGN KEY (account_id) REFERENCES accounts
                 ON UPDATE CASCADE ON DELETE {on_delete};"
        );
    }
    if features.before_trigger {
        sql.push_str(
            "ALTER TABLE contacts ADD CONSTRAINT title_begins_with_a_letter CHECK (title NOT LIKE '?%');
             CREATE FUNCTION lower_email() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN NEW.email := lower(NEW.email); RETURN NEW; END $$;
             CREATE TRIGGER lower_email BEFORE INSERT OR UPDATE ON contacts
                 FOR EACH ROW EXECUTE FUNCTION lower_email();",
        );
    }
    if features.after_trigger {
        sql.push_str(
            "CREATE FUNCTION note_site() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF TG_OP = 'INSERT' AND NEW.first_name IS NULL THEN RETURN NULL; END IF;
                 IF TG_OP = 'UPDATE' AND NEW.first_name IS NOT DISTINCT FROM OLD.first_name THEN RETURN NULL; END IF;
                 UPDATE accounts SET site = 'of ' || NEW.first_name WHERE id = NEW.account_id;
                 RETURN NULL; END $$;
             CREATE TRIGGER note_site AFTER INSERT OR UPDATE ON contacts
                 FOR EACH ROW EXECUTE FUNCTION note_site();",
        );
    }
    sql
}

fn sync(definition: &Definition) -> SyncOptions {
    let name = if definition.name == ACCOUNTS { ACCOUNTS } else { CONTACTS };
    let fields = definition.fields.iter().map(|mapping| {
        let lookup = mapping.lookup.as_ref().map(|_| ACCOUNTS);
        (&*mapping.field.clone().leak(), &*mapping.column.clone().leak(), lookup)
    });
    SyncOptions {
        fields: fields.collect(),
        primary: definition.primary,
        deletes: definition.deletes,
        delete_limit: definition.delete_limit,
        ..SyncOptions::new(name, object(name), &[])
    }
}

/// Real sides, to which the deeds of a seed are done.
struct Real {
    world: World,
    clock: SteppedClock,
    /// The Salesforce Id here for each Id in memory.
    ids: BTreeMap<SalesforceId, String>,
    /// The key here for each key in memory.
    keys: BTreeMap<PostgresKey, PostgresKey>,
    messages: Vec<Touch>,
}

impl Real {
    async fn new(played: &Played, database: TestDatabase) -> Self {
        let old = "DROP SCHEMA IF EXISTS syncline CASCADE; DROP TABLE IF EXISTS contacts, accounts CASCADE;
                   DROP SEQUENCE IF EXISTS keys; DROP FUNCTION IF EXISTS lower_email, note_site;";
        database.run(old).await;
        let options = Options {
            sql: tables(&played.features).leak(),
            syncs: played.definitions.iter().map(sync).collect(),
            lease: SignedDuration::from_secs(30),
        };
        let clock = SteppedClock::at(1_700_000_000);
        let mut world = World::inside(database, options, str::to_owned).await.by_clock(clock.clone());
        for (definition, known) in world.definitions.iter_mut().zip(&played.definitions) {
            definition.poll_interval_s = known.poll_interval_s;
        }
        set_rules(&mut world.simulator.org.lock().unwrap(), &played.features);
        Self { world, clock, ids: BTreeMap::new(), keys: BTreeMap::new(), messages: Vec::new() }
    }

    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        self.world.simulator.org.lock().unwrap().set_clock(now);
        now
    }

    fn id(&self, id: &SalesforceId) -> String {
        self.ids.get(id).cloned().unwrap_or_else(|| panic!("{id} has no counterpart"))
    }

    fn key(&self, key: &PostgresKey) -> PostgresKey {
        self.keys.get(key).cloned().unwrap_or_else(|| panic!("{key} has no counterpart"))
    }

    fn told(&mut self, id: &str) {
        let at = self.now();
        let sync = if id.starts_with("001") { ACCOUNTS } else { CONTACTS };
        let id = SalesforceId::parse(id).unwrap();
        self.messages.push(Touch::of_id(sync, id, Source::OutboundMessage, at));
    }

    fn stored(&self, values: &Values) -> BTreeMap<String, Option<Stored>> {
        let stored = |field: &str, text: &str| match field {
            PARENT => Stored::Text(self.id(&SalesforceId::parse(text).unwrap())),
            _ => Stored::Text(text.to_owned()),
        };
        let one = |(field, value): (&String, &Option<String>)| {
            (field.clone(), value.as_deref().map(|text| stored(field, text)))
        };
        values.iter().map(one).collect()
    }

    fn columns(&self, sync: &str, values: &Values) -> Vec<(String, Option<String>)> {
        let definition = self.world.definitions.iter().find(|one| one.name == sync).unwrap();
        let column = |(field, value): (&String, &Option<String>)| {
            let column = definition.field(field).unwrap().column.clone();
            let value = match value {
                Some(text) if field == PARENT => {
                    let known = self.keys.get(&key_of_text(text)).map(key_text);
                    Some(known.unwrap_or_else(|| text.clone()))
                }
                other => other.clone(),
            };
            (column, value)
        };
        values.iter().map(column).collect()
    }

    async fn run(&self, sql: &str) {
        self.world.database.run(sql).await;
    }

    async fn does(&mut self, deed: &Deed) {
        let user = self.world.sales();
        self.now();
        let org = self.world.simulator.org.clone();
        match deed {
            Deed::InsertRecord { sync, id, values } => {
                let stored = self.stored(values);
                let real = org.lock().unwrap().create(object(sync), &stored, &user).unwrap();
                self.ids.insert(id.clone(), real.clone());
                self.told(&real);
            }
            Deed::EditRecord { id, values } => {
                let (real, stored) = (self.id(id), self.stored(values));
                let kind = org.lock().unwrap().object_of(&real).unwrap();
                org.lock().unwrap().update(kind, &real, &stored, &user).unwrap();
                self.told(&real);
            }
            Deed::DeleteRecord { id } => {
                let real = self.id(id);
                let kind = org.lock().unwrap().object_of(&real).unwrap();
                org.lock().unwrap().delete(kind, &real, &user).unwrap();
            }
            Deed::Undelete { id } => {
                let real = self.id(id);
                let kind = org.lock().unwrap().object_of(&real).unwrap();
                org.lock().unwrap().undelete(kind, &real, &user).unwrap();
                self.told(&real);
            }
            Deed::Merge { loser, master } => {
                let (loser, master) = (self.id(loser), self.id(master));
                org.lock().unwrap().merge("Contact", &master, &[loser], &user).unwrap();
                self.told(&master);
            }
            Deed::Hide { id, hidden } => {
                let real = self.id(id);
                if *hidden {
                    org.lock().unwrap().hidden.insert(real);
                } else {
                    org.lock().unwrap().hidden.remove(&real);
                    self.told(&real);
                }
            }
            Deed::InsertRow { sync, key, link, values } => {
                let link = link.as_ref().map(|id| self.id(&SalesforceId::parse(id).unwrap()));
                // Somebody may insert the row again under a key that a row of Syncline's had here.
                let real = self.keys.get(key).unwrap_or(key).clone();
                let mut columns = self.columns(sync, values);
                columns.push(("id".to_owned(), Some(key_text(&real))));
                columns.push(("salesforce_id".to_owned(), link));
                let names: Vec<&str> = columns.iter().map(|(column, _)| column.as_str()).collect();
                let values: Vec<String> =
                    columns.iter().map(|(_, value)| literal(value.as_deref())).collect();
                let (names, values) = (names.join(", "), values.join(", "));
                self.run(&format!("INSERT INTO {sync} ({names}) VALUES ({values})")).await;
                self.keys.insert(key.clone(), real);
            }
            Deed::EditRows { sync, keys, values } => {
                let sets = self.columns(sync, values).into_iter();
                let sets: Vec<String> =
                    sets.map(|(column, value)| format!("{column} = {}", literal(value.as_deref()))).collect();
                let keys: Vec<String> = keys.iter().map(|key| key_text(&self.key(key))).collect();
                let (sets, keys) = (sets.join(", "), keys.join(", "));
                self.run(&format!("UPDATE {sync} SET {sets} WHERE id IN ({keys})")).await;
            }
            Deed::DeleteRow { sync, key } => {
                self.run(&format!("DELETE FROM {sync} WHERE id = {}", key_text(&self.key(key)))).await;
            }
            Deed::ChangeKey { sync, old, new } => {
                let (before, after) = (key_text(&self.key(old)), key_text(new));
                self.run(&format!("UPDATE {sync} SET id = {after} WHERE id = {before}")).await;
                self.keys.insert(new.clone(), new.clone());
            }
            Deed::ClearLink { sync, key } => {
                let key = key_text(&self.key(key));
                self.run(&format!("UPDATE {sync} SET salesforce_id = NULL WHERE id = {key}")).await;
            }
        }
    }

    /// Runs Syncline until everything that it knows of has come to rest.
    async fn settle(&mut self) {
        let (mut caught_up, mut tries) = (None, 0);
        for _ in 0..600 {
            self.now();
            enqueue::enqueue(&self.world, std::mem::take(&mut self.messages)).await.unwrap();
            poll::poll_log(&self.world, &self.world.definitions).await.unwrap();
            self.world.scan().await;
            let mut worked = false;
            loop {
                let deliveries = self.world.queue().receive(10).await.unwrap();
                if deliveries.is_empty() {
                    break;
                }
                worked = true;
                let applied = applier::handle(&self.world, &self.world.definitions, &deliveries, None).await;
                self.world.queue().done(&applied.done).await.unwrap();
                self.world.queue().release(&applied.release).await.unwrap();
            }
            self.clock.advance(SignedDuration::from_millis(200));
            if worked {
                continue;
            }
            // What is refused because of its parent waits for the parent as well, and what is refused or hidden is tried
            // again for ever.
            let due = "SELECT count(*) FILTER (WHERE cardinality(waits_for) = 0
                              AND coalesce((touch::jsonb ->> 'refusals')::int, 0) = 0 AND NOT EXISTS (
                                  SELECT FROM syncline.rejected refused
                                  WHERE refused.body::jsonb ->> 'code'
                                        IN ('23503', 'INVALID_CROSS_REFERENCE_KEY', 'ENTITY_IS_DELETED')
                                    AND (refused.body::jsonb ->> 'salesforce_id' = touch::jsonb ->> 'id'
                                         OR refused.body::jsonb ->> 'postgres_key' = touch::jsonb ->> 'key')))
                              || ' ' || count(*) || ' ' ||
                              coalesce(ceil(extract(epoch FROM min(due)) * 1000)::bigint, 0)
                       FROM syncline.deferred";
            let due = self.world.database.text(due).await.unwrap();
            let due: Vec<i64> = due.split(' ').map(|number| number.parse().unwrap()).collect();
            let written = self.written();
            match (due[0], due[1]) {
                (0, waiting) if waiting == 0 || tries >= TRIES_FOR_PARENTS => {
                    if caught_up == Some(written) {
                        return;
                    }
                    caught_up = Some(written);
                    self.clock.advance(SignedDuration::from_secs(61));
                }
                (others, _) => {
                    tries += usize::from(others == 0);
                    self.clock.advance_to(Timestamp::from_millisecond(due[2]).unwrap());
                }
            }
        }
        let left = "SELECT string_agg(touch, ' ') FROM syncline.deferred";
        let bases = "SELECT string_agg(body, ' ') FROM syncline.base";
        let (left, bases) = (self.world.database.text(left).await, self.world.database.text(bases).await);
        panic!("it does not come to rest: {left:?}\nrows {:?}\nbases {bases:?}", self.rows().await);
    }

    fn written(&self) -> usize {
        self.world.simulator.org.lock().unwrap().history.len()
    }

    /// All rows by key, with their links, and with their values by field.
    async fn rows(&self) -> BTreeMap<PostgresKey, Seen> {
        let mut rows = BTreeMap::new();
        for definition in &self.world.definitions {
            let pairs = definition.fields.iter().map(|one| format!("'{}', {}::text", one.field, one.column));
            let sql = format!(
                "SELECT id::text, salesforce_id, json_build_object({})::text FROM {}",
                pairs.collect::<Vec<_>>().join(", "),
                definition.name
            );
            for row in self.world.database.client.query(&sql, &[]).await.unwrap() {
                let values: Values = serde_json::from_str(row.get(2)).unwrap();
                let seen = Seen { sync: definition.name.clone(), values, deleted: false, link: row.get(1) };
                rows.insert(key_of_text(row.get(0)), seen);
            }
        }
        rows
    }

    fn records(&self) -> BTreeMap<String, Seen> {
        let org = self.world.simulator.org.lock().unwrap();
        let mut records = BTreeMap::new();
        for definition in &self.world.definitions {
            for (id, record) in org.records.get(definition.object.as_str()).into_iter().flatten() {
                let fields = definition.fields.iter().map(|one| one.field.clone());
                let values = fields.map(|field| {
                    let value = record.values.get(field.as_str()).map(Stored::text);
                    (field, value)
                });
                let (sync, values) = (definition.name.clone(), values.collect());
                records.insert(id.clone(), Seen { sync, values, deleted: record.deleted, link: None });
            }
        }
        records
    }

    async fn bodies<T: serde::de::DeserializeOwned>(&self, table: &str) -> Vec<T> {
        let sql = format!("SELECT body FROM syncline.{table}");
        let rows = self.world.database.client.query(&sql, &[]).await.unwrap();
        rows.iter().map(|row| serde_json::from_str(row.get(0)).unwrap()).collect()
    }

    async fn rest(&self) -> Rest {
        let mut noted = Vec::new();
        for one in self.bodies::<Rejected>("rejected").await {
            let what = format!("rejected by {} with {}", one.side, one.code);
            noted.push(Noted { id: one.salesforce_id, key: one.postgres_key, what });
        }
        for one in self.bodies::<HeldRecord>("held").await {
            noted.push(Noted { id: one.salesforce_id, key: one.postgres_key, what: held(&one.held) });
        }
        let sql = "SELECT field, salesforce, postgres, winner, reason, salesforce_id, postgres_key
                   FROM syncline.conflict";
        for row in self.world.database.client.query(sql, &[]).await.unwrap() {
            let (field, winner, reason): (&str, &str, &str) = (row.get(0), row.get(3), row.get(4));
            noted.push(Noted {
                id: row.get::<_, Option<&str>>(5).map(|id| SalesforceId::parse(id).unwrap()),
                key: row.get::<_, Option<String>>(6).map(PostgresKey),
                what: conflict(field, row.get(1), row.get(2), winner, reason),
            });
        }
        facts(&self.records(), &self.rows().await, &noted)
    }

    /// Finds the counterparts of what Syncline itself created on either side: by the link, or by the name if
    /// there is no link.
    async fn learn(&mut self, group: &Group) {
        let (rows, records) = (self.rows().await, self.records());
        for _ in 0..2 {
            for (key, link, name) in &group.rows {
                let link = link.as_deref().and_then(|link| SalesforceId::parse(link).ok());
                if let Some(real) = self.keys.get(key).and_then(|key| rows.get(key)) {
                    if let (Some(id), Some(link)) = (&real.link, link) {
                        self.ids.entry(link).or_insert_with(|| id.clone());
                    }
                    continue;
                }
                let id = link.as_ref().and_then(|link| self.ids.get(link));
                let taken: Vec<&PostgresKey> = self.keys.values().collect();
                let linked = rows.iter().find(|(_, row)| id.is_some() && row.link.as_ref() == id);
                let named =
                    rows.iter().find(|(key, row)| name_of(&row.values) == *name && !taken.contains(key));
                if let Some((real, _)) = linked.or(named) {
                    self.keys.insert(key.clone(), real.clone());
                }
            }
            for (id, name) in &group.records {
                let taken: Vec<&String> = self.ids.values().collect();
                let named =
                    |(id, record): &(&String, &Seen)| name_of(&record.values) == *name && !taken.contains(id);
                if let (false, Some((real, _))) = (self.ids.contains_key(id), records.iter().find(named)) {
                    self.ids.insert(id.clone(), real.clone());
                }
            }
        }
    }
}

fn literal(value: Option<&str>) -> String {
    value.map_or("NULL".to_owned(), |text| format!("'{}'", text.replace('\'', "''")))
}

/// The facts without the difference that is expected: which of two contacts was the last to write the Site of its
/// account is a matter of time.
fn comparable(rest: &Rest) -> Rest {
    let renamed = |fact: &String| {
        let word = |word: &str| if word.starts_with("Site=") { "Site" } else { word }.to_owned();
        let words: Vec<String> =
            fact.split("=of ").collect::<Vec<_>>().join("=of_").split(' ').map(word).collect();
        words.join(" ")
    };
    let mut rest: Rest = rest.iter().map(renamed).collect();
    rest.sort();
    rest
}

async fn same(seed: u64, database: TestDatabase) -> Result<(), String> {
    let played = play(seed);
    let mut real = Real::new(&played, database).await;
    for (number, group) in played.groups.iter().enumerate() {
        for deed in &group.deeds {
            real.does(deed).await;
        }
        real.settle().await;
        let (meant, stands) = (comparable(&group.rest), comparable(&real.rest().await));
        if meant != stands {
            let only = |one: &Rest, other: &Rest| {
                let times = |rest: &Rest, fact: &String| rest.iter().filter(|one| *one == fact).count();
                let lines = one.iter().filter(|fact| times(one, fact) > times(other, fact));
                lines.map(|fact| format!("\n    {fact}")).collect::<String>()
            };
            return Err(format!(
                "seed {seed}, group {number} {:?}\n  in memory only:{}\n  on real parts only:{}",
                group.deeds,
                only(&meant, &stands),
                only(&stands, &meant)
            ));
        }
        real.learn(group).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_deeds_come_to_rest_in_the_same_states_on_real_parts() {
    let setting = std::env::var("SYNCLINE_SAME_WORLDS").unwrap_or_default();
    let (start, count) = setting.split_once('+').unwrap_or(("0", &setting));
    let (start, count): (u64, u64) = (start.parse().unwrap_or(0), count.parse().unwrap_or(SEEDS));
    let begun = std::time::Instant::now();
    let workers = (0..2).map(|worker| {
        tokio::spawn(async move {
            let database = TestDatabase::new().await;
            let mut different = Vec::new();
            for seed in (start..start + count).filter(|seed| seed % 2 == worker) {
                let again = TestDatabase { url: database.url.clone(), client: database.connect().await };
                let run = tokio::spawn(same(seed, again)).await;
                let outcome = run.unwrap_or_else(|panic| Err(format!("seed {seed}: {panic}")));
                different.extend(outcome.err());
            }
            different
        })
    });
    let mut different = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        different.extend(worker.await.unwrap());
    }
    println!("{count} seeds from {start} in {:.1} s", begun.elapsed().as_secs_f64());
    let shown = different.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(different.is_empty(), "{} of {count} seeds rest in other states\n{shown}", different.len());
}
