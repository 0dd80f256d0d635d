//! The world of a test.

use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use salesforce_sim::{Simulator, SimulatorConfig, Stored, User};
use secrecy::SecretString;
use std::collections::BTreeMap;
use support::cluster::TestDatabase;
use support::{NoSteps, RecordedAlerts, SteppedClock, fingerprint_key};
use syncline_embedded::{EmbeddedOperator, EmbeddedQueue, EmbeddedState, install};
use syncline_engine::{Definition, DeleteLimit, DeletePolicy, Deletes, Direction, FirstLink, Side};
use syncline_postgres::{
    Instance, Pool, PostgresDatabase, Settings as DatabaseSettings, add_link, add_link_table, describe_table,
    install_capture, install_schema, read_identity,
};
use syncline_salesforce::{Client, Credentials};
use syncline_sync::define::{Wanted, WantedField, define};
use syncline_sync::describe::ObjectDescription;
use syncline_sync::reconcile::Summary;
use syncline_sync::{Clock, Operator as _, Ports, Queue, Random, Settings};

/// One sync of a test.
#[derive(Clone)]
pub struct SyncOptions {
    /// Its name, which is also its table's.
    pub name: &'static str,
    /// Its object.
    pub object: &'static str,
    /// (field, column, lookup).
    pub fields: Vec<(&'static str, &'static str, Option<&'static str>)>,
    /// The winner of conflicts.
    pub primary: Side,
    /// Which way.
    pub direction: Direction,
    /// What deletes lead to.
    pub deletes: Deletes,
    /// How many within an hour.
    pub delete_limit: DeleteLimit,
    /// The link is kept in a table of Syncline's.
    pub link_table: bool,
}

impl SyncOptions {
    /// Contact and `contacts`, with these fields and columns.
    #[must_use]
    pub fn contacts(fields: &[(&'static str, &'static str)]) -> Self {
        Self::new("contacts", "Contact", fields)
    }

    /// An object and its table.
    #[must_use]
    pub fn new(name: &'static str, object: &'static str, fields: &[(&'static str, &'static str)]) -> Self {
        Self {
            name,
            object,
            fields: fields.iter().map(|(field, column)| (*field, *column, None)).collect(),
            primary: Side::Salesforce,
            direction: Direction::Both,
            deletes: Deletes::default(),
            delete_limit: DeleteLimit::default(),
            link_table: false,
        }
    }

    /// The same, with deletes carried across from either side.
    #[must_use]
    pub fn propagating(self) -> Self {
        let policy = DeletePolicy::Propagate;
        Self { deletes: Deletes { from_salesforce: policy, from_postgres: policy }, ..self }
    }
}

/// How a test's world is made.
pub struct Options {
    /// The app's tables.
    pub sql: &'static str,
    /// The syncs.
    pub syncs: Vec<SyncOptions>,
    /// How long an intent keeps others away.
    pub lease: SignedDuration,
}

/// The system's clock, or one that a test moves.
#[derive(Default)]
pub struct TestClock(Option<SteppedClock>);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.0.as_ref().map_or_else(Timestamp::now, Clock::now)
    }
}

/// The system's randomness.
pub struct TestRandom(SystemRandom);

impl Random for TestRandom {
    fn bits(&self) -> u128 {
        let mut bytes = [0; 16];
        self.0.fill(&mut bytes).unwrap();
        u128::from_le_bytes(bytes)
    }
}

/// A whole Syncline.
pub struct World {
    /// The app's database.
    pub database: TestDatabase,
    /// Salesforce.
    pub simulator: Simulator,
    /// The applied definitions.
    pub definitions: Vec<Definition>,
    /// What was raised.
    pub alerts: RecordedAlerts,
    /// Syncline's connections.
    pub pool: Pool,
    client: Client,
    postgres: PostgresDatabase,
    state: EmbeddedState,
    queue: EmbeddedQueue,
    clock: TestClock,
    random: TestRandom,
    settings: Settings,
}

impl World {
    /// Makes the app's tables, starts Salesforce, applies the syncs.
    ///
    /// # Panics
    /// When any of it fails.
    pub async fn new(options: Options) -> Self {
        Self::through(options, str::to_owned).await
    }

    /// The same, with Syncline's connections to another address than the app's.
    ///
    /// # Panics
    /// When any of it fails.
    pub async fn through(options: Options, address: impl Fn(&str) -> String) -> Self {
        Self::inside(TestDatabase::new().await, options, address).await
    }

    /// The same, in a database that has none of its tables.
    ///
    /// # Panics
    /// When any of it fails.
    pub async fn inside(database: TestDatabase, options: Options, address: impl Fn(&str) -> String) -> Self {
        database.run(options.sql).await;
        let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
        let call = std::time::Duration::from_secs(60);
        let client = Client::new(&simulator.url, "62.0", credentials(), call).unwrap();
        let pool = Pool::new(&DatabaseSettings::parse(&address(&database.url), None).unwrap(), 10).unwrap();
        let instance = Instance("default".into());
        let organization_id = client.organization_id().await.unwrap();
        let mut connection = pool.get().await.unwrap();
        install_schema(&mut connection, &instance).await.unwrap();
        let identity = read_identity(&connection, "127.0.0.1").await.unwrap();
        install(&mut connection, &instance, &organization_id, &identity, [42; 32]).await.unwrap();
        client.bind(&organization_id);
        let operator = EmbeddedOperator::new(pool.clone(), &instance);
        let mut definitions = Vec::new();
        for sync in &options.syncs {
            let kind = describe_table(&connection, "public", sync.name).await.unwrap().unwrap().kind;
            if sync.link_table {
                add_link_table(&connection, &instance, sync.name).await.unwrap();
            } else {
                let partitioned = kind == "p";
                add_link(&mut connection, "public", sync.name, "salesforce_id", false, partitioned)
                    .await
                    .unwrap();
            }
            let object = ObjectDescription::from(&client.describe(sync.object).await.unwrap());
            let table = describe_table(&connection, "public", sync.name).await.unwrap().unwrap();
            let parents =
                options.syncs.iter().map(|one| (one.name.to_owned(), one.object.to_owned(), 1)).collect();
            let fields = sync.fields.iter().map(|(field, column, lookup)| WantedField {
                field: (*field).to_owned(),
                column: (*column).to_owned(),
                direction: Direction::Both,
                lookup: lookup.map(str::to_owned),
            });
            let wanted = Wanted {
                name: sync.name.to_owned(),
                object: sync.object.to_owned(),
                schema: "public".to_owned(),
                table: sync.name.to_owned(),
                link: "salesforce_id".to_owned(),
                primary: sync.primary,
                direction: sync.direction,
                on_first_link: FirstLink::FillEmpty,
                deletes: sync.deletes,
                delete_limit: sync.delete_limit,
                link_table: sync.link_table,
                external_id: "Syncline_Id__c".to_owned(),
                marker: "Syncline_Write__c".to_owned(),
                poll_interval_s: 3_600,
                fields: fields.collect(),
                table_shared: false,
                parents,
            };
            let (definition, _) =
                define(&wanted, &object, &table).unwrap_or_else(|problems| panic!("{problems:?}"));
            install_capture(&mut connection, &instance, &definition).await.unwrap();
            definitions.push(operator.put_definition(&definition).await.unwrap());
        }
        drop(connection);
        let visibility = SignedDuration::from_secs(20);
        Self {
            postgres: PostgresDatabase::new(pool.clone(), instance.clone()).bound_to(identity),
            state: EmbeddedState::new(pool.clone(), &instance),
            queue: EmbeddedQueue::new(pool.clone(), &instance, "test".into(), visibility),
            clock: TestClock::default(),
            random: TestRandom(SystemRandom::new()),
            settings: Settings {
                instance: instance.0,
                lease: options.lease,
                look_back: SignedDuration::from_mins(10),
                daily_calls: None,
                key: fingerprint_key(),
            },
            alerts: RecordedAlerts::default(),
            database,
            simulator,
            definitions,
            pool,
            client,
        }
    }

    /// The same by a clock that its test moves.
    #[must_use]
    pub fn by_clock(self, clock: SteppedClock) -> Self {
        Self { clock: TestClock(Some(clock)), ..self }
    }

    /// The caller that Salesforce is.
    #[must_use]
    pub fn caller(&self) -> ingest::Caller {
        let organization_id = self.simulator.org.lock().unwrap().organization_id.clone();
        ingest::Caller::new(SecretString::from("s3cret"), organization_id)
    }

    /// A person of the sales team.
    #[must_use]
    pub fn sales(&self) -> User {
        self.simulator.org.lock().unwrap().users[1].clone()
    }

    /// A person creates a record in Salesforce.
    ///
    /// # Panics
    /// When Salesforce refuses it.
    pub fn create(&self, object: &str, fields: &[(&str, &str)]) -> String {
        let user = self.sales();
        self.simulator.org.lock().unwrap().create(object, &stored(fields), &user).unwrap()
    }

    /// A person deletes a record in Salesforce.
    ///
    /// # Panics
    /// When Salesforce refuses it.
    pub fn delete(&self, object: &str, id: &str) {
        let user = self.sales();
        self.simulator.org.lock().unwrap().delete(object, id, &user).unwrap();
    }

    /// A person edits a record in Salesforce.
    ///
    /// # Panics
    /// When Salesforce refuses it.
    pub fn edit(&self, object: &str, id: &str, fields: &[(&str, &str)]) {
        let user = self.sales();
        self.simulator.org.lock().unwrap().update(object, id, &stored(fields), &user).unwrap();
    }

    /// What a record holds in a field.
    #[must_use]
    pub fn field(&self, object: &str, id: &str, field: &str) -> Option<String> {
        let org = self.simulator.org.lock().unwrap();
        let records = org.records.iter().find(|(name, _)| **name == object)?.1;
        records.get(id)?.values.get(field).map(Stored::text)
    }

    /// How many living records an object has.
    #[must_use]
    pub fn records(&self, object: &str) -> usize {
        let org = self.simulator.org.lock().unwrap();
        org.records.get(object).map_or(0, |records| records.values().filter(|record| !record.deleted).count())
    }

    /// Calls of Syncline's so far, by kind.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let org = self.simulator.org.lock().unwrap();
        let ours = org.calls.iter().filter(|(call, count)| call.client == "syncline" && **count > 0);
        ours.map(|(call, count)| (call.kind.clone(), *count)).collect()
    }

    /// Touches every record by a new catch-up that looks at everything.
    ///
    /// # Panics
    /// When a port fails.
    pub async fn catch_up(&self) {
        self.database.run("DELETE FROM syncline.cursor").await;
        self.scan().await;
    }

    /// Goes on with scans until none waits.
    ///
    /// # Panics
    /// When a port fails.
    pub async fn scan(&self) {
        while poll::poll_scans(self, &self.definitions).await.unwrap().1 {}
    }

    /// Runs Syncline until nothing waits. Touches put off are taken up when they are due, sooner where all that is
    /// left is waiting.
    ///
    /// # Panics
    /// What commands read and change.
    #[must_use]
    pub fn operator(&self) -> EmbeddedOperator {
        EmbeddedOperator::new(self.pool.clone(), &Instance("default".into()))
    }

    /// When it does not come to rest.
    pub async fn to_rest(&self) -> Summary {
        let mut summary = Summary::default();
        for round in 0..400 {
            poll::poll_log(self, &self.definitions).await.unwrap();
            let deliveries = self.queue.receive(10).await.unwrap();
            if deliveries.is_empty() {
                let deferred = self
                    .database
                    .count("SELECT count(*) FROM syncline.deferred WHERE cardinality(waits_for) = 0")
                    .await;
                let messages = self.database.count("SELECT count(*) FROM syncline.queue_message").await;
                let log = self.database.count("SELECT count(*) FROM syncline.log").await;
                if deferred + messages + log == 0 {
                    return summary;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                if round == 399 {
                    let breakers = "SELECT string_agg(body, ' ') FROM (SELECT body FROM syncline.breaker UNION ALL SELECT reason FROM syncline.paused) t";
                    let touches = "SELECT string_agg(touch || ' ' || due - now(), ' ') FROM (SELECT * FROM syncline.deferred LIMIT 3) t";
                    let (breakers, touches) =
                        (self.database.text(breakers).await, self.database.text(touches).await);
                    panic!(
                        "{deferred} put off, {messages} messages, {log} log rows; {breakers:?}; {touches:?}"
                    );
                }
                continue;
            }
            let applied = applier::handle(self, &self.definitions, &deliveries, None).await;
            self.queue.done(&applied.done).await.unwrap();
            self.queue.release(&applied.release).await.unwrap();
            summary.add(&applied.summary);
        }
        panic!("it does not come to rest");
    }
}

fn credentials() -> Credentials {
    Credentials::ClientCredentials {
        client_id: "syncline".into(),
        client_secret: SecretString::from("syncline-secret"),
    }
}

fn stored(fields: &[(&str, &str)]) -> BTreeMap<String, Option<Stored>> {
    let value = |text: &str| match text {
        "" => None,
        "true" | "false" => Some(Stored::Boolean(text == "true")),
        text => match text.strip_prefix('#') {
            Some(number) => Some(Stored::Number(number.to_owned())),
            None => Some(Stored::Text(text.to_owned())),
        },
    };
    fields.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect()
}

impl Ports for World {
    type Salesforce = Client;
    type Database = PostgresDatabase;
    type State = EmbeddedState;
    type Queue = EmbeddedQueue;
    type Clock = TestClock;
    type Random = TestRandom;
    type Alerts = RecordedAlerts;
    type Steps = NoSteps;

    fn salesforce(&self) -> &Client {
        &self.client
    }
    fn database(&self) -> &PostgresDatabase {
        &self.postgres
    }
    fn state(&self) -> &EmbeddedState {
        &self.state
    }
    fn queue(&self) -> &EmbeddedQueue {
        &self.queue
    }
    fn clock(&self) -> &TestClock {
        &self.clock
    }
    fn random(&self) -> &TestRandom {
        &self.random
    }
    fn alerts(&self) -> &RecordedAlerts {
        &self.alerts
    }
    fn steps(&self) -> &NoSteps {
        &NoSteps
    }
    fn settings(&self) -> &Settings {
        &self.settings
    }
}
