//! The world of a test.

use jiff::{SignedDuration, Timestamp};
use salesforce_sim::{Simulator, SimulatorConfig, Stored, User};
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use support::cluster::TestDatabase;
use support::{RecordedAlerts, SteppedClock, fingerprint_key};
use syncline_embedded::{EmbeddedOperator, EmbeddedQueue, EmbeddedState, install};
use syncline_engine::{Definition, DeleteLimit, DeletePolicy, Deletes, Direction, FirstLink, Side};
use syncline_postgres::{
    ConnectionSettings, Instance, Pool, PostgresDatabase, add_link, add_link_table, describe_table,
    install_capture, install_schema, read_identity,
};
use syncline_process::SystemRandom;
use syncline_salesforce::{Client, Credentials, WriteOptions};
use syncline_sync::define::{Wanted, WantedField, define};
use syncline_sync::describe::ObjectDescription;
use syncline_sync::process_memory::ProcessMemory;
use syncline_sync::reconcile::Summary;
use syncline_sync::{Clock, HasPorts, Operator as _, PortSet, Queue as _, Settings, Step, Steps};
use tokio::sync::Notify;

/// One sync of a test.
#[derive(Clone)]
pub struct SyncOptions {
    /// The name of the sync and of its table.
    pub name: &'static str,
    /// The Salesforce object.
    pub object: &'static str,
    /// The fields: field, column and, for a lookup, the name of the parent's sync.
    pub fields: Vec<(&'static str, &'static str, Option<&'static str>)>,
    /// The side that wins conflicts.
    pub primary: Side,
    /// The direction of the sync.
    pub direction: Direction,
    /// The delete policy for either side.
    pub deletes: Deletes,
    /// How many deletes may go across within an hour.
    pub delete_limit: DeleteLimit,
    /// The links are kept in a table of Syncline's own, and the app's table gets no column.
    pub link_table: bool,
}

impl SyncOptions {
    /// A sync of Contact with the table `contacts`. `fields` has pairs of a field and its column.
    #[must_use]
    pub fn contacts(fields: &[(&'static str, &'static str)]) -> Self {
        Self::new("contacts", "Contact", fields)
    }

    /// A sync of an object with a table, with the defaults of Syncline. `fields` has pairs of a field and its
    /// column.
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

    /// The same sync, with deletes that go across from either side.
    #[must_use]
    pub fn propagating(self) -> Self {
        let policy = DeletePolicy::Propagate;
        Self { deletes: Deletes { from_salesforce: policy, from_postgres: policy }, ..self }
    }
}

/// What the world of a test is made of.
pub struct Options {
    /// SQL that creates the app's tables.
    pub sql: &'static str,
    /// The syncs.
    pub syncs: Vec<SyncOptions>,
    /// How long an intent keeps other runs away from its record.
    pub lease: SignedDuration,
}

/// The system's clock, or a clock that the test moves.
#[derive(Default)]
pub struct TestClock(Option<SteppedClock>);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.0.as_ref().map_or_else(Timestamp::now, Clock::now)
    }
}

/// Stops a run for ever at one step, if a test says so. The test then drops the run, which has the effect of a
/// kill.
#[derive(Clone, Default)]
pub struct Gallows {
    at: Arc<Mutex<Option<Step>>>,
    reached: Arc<Notify>,
}

impl Gallows {
    /// Runs a future until it ends or reaches the step, where it is dropped. Returns whether it was.
    pub async fn kill_at(&self, step: Step, run: impl Future<Output = ()>) -> bool {
        *self.at.lock().unwrap() = Some(step);
        let killed = tokio::select! {
            () = run => false,
            () = self.reached.notified() => true,
        };
        *self.at.lock().unwrap() = None;
        killed
    }
}

impl Steps for Gallows {
    async fn at(&self, step: Step) {
        let stops = *self.at.lock().unwrap() == Some(step);
        if stops {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// The whole of Syncline, with its database and its Salesforce.
pub struct World {
    /// The app's database.
    pub database: TestDatabase,
    /// The simulated Salesforce.
    pub simulator: Simulator,
    /// The definitions of the syncs, as they were applied.
    pub definitions: Vec<Definition>,
    /// The alerts that Syncline has raised.
    pub alerts: RecordedAlerts,
    /// Syncline's connections to the database.
    pub pool: Pool,
    /// Stops runs at a step.
    pub gallows: Gallows,
    ports: WorldPorts,
}

/// The ports of a [`World`].
pub type WorldPorts = PortSet<
    Client,
    PostgresDatabase,
    EmbeddedState,
    EmbeddedQueue,
    TestClock,
    SystemRandom,
    RecordedAlerts,
    Gallows,
>;

impl World {
    /// Creates the app's tables in a new database, starts Salesforce and applies the syncs.
    ///
    /// # Panics
    /// When any of it fails.
    pub async fn new(options: Options) -> Self {
        Box::pin(Self::through(options, str::to_owned)).await
    }

    /// The same, but Syncline connects to the address that `address` makes of the database's own address.
    ///
    /// # Panics
    /// When any of it fails.
    pub async fn through(options: Options, address: impl Fn(&str) -> String) -> Self {
        Self::inside(TestDatabase::new().await, options, address).await
    }

    /// The same, in a database that is there and has none of the tables yet.
    ///
    /// # Panics
    /// When any of it fails.
    pub async fn inside(database: TestDatabase, options: Options, address: impl Fn(&str) -> String) -> Self {
        database.run(options.sql).await;
        let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
        let call = std::time::Duration::from_secs(60);
        let client = Client::new(&simulator.url, "62.0", credentials(), call).unwrap();
        let pool = Pool::new(&ConnectionSettings::parse(&address(&database.url), None).unwrap(), 10).unwrap();
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
            let object = ObjectDescription::from(&client.describe(sync.object).await.unwrap())
                .identified(&client.custom_field_ids(sync.object).await.unwrap());
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
        let alerts = RecordedAlerts::default();
        let gallows = Gallows::default();
        let ports = PortSet {
            salesforce: client,
            database: PostgresDatabase::new(pool.clone(), instance.clone()).bound_to(identity),
            state: EmbeddedState::new(pool.clone(), &instance),
            queue: EmbeddedQueue::new(pool.clone(), &instance, "test".into(), visibility),
            clock: TestClock::default(),
            random: SystemRandom::new(),
            alerts: alerts.clone(),
            steps: gallows.clone(),
            process_memory: ProcessMemory::default(),
            settings: Settings {
                instance: instance.0,
                lease: options.lease,
                look_back: SignedDuration::from_mins(10),
                daily_calls: None,
                key: fingerprint_key(),
            },
        };
        Self { database, simulator, definitions, alerts, pool, gallows, ports }
    }

    /// The same world, with a clock that the test moves.
    #[must_use]
    pub fn by_clock(mut self, clock: SteppedClock) -> Self {
        self.ports.clock = TestClock(Some(clock));
        self
    }

    /// The same world, in which Syncline writes to Salesforce with these options.
    #[must_use]
    pub fn writing(self, options: WriteOptions) -> Self {
        let salesforce = self.ports.salesforce.with(options);
        Self { ports: PortSet { salesforce, ..self.ports }, ..self }
    }

    /// The caller from whom ingest accepts outbound messages: who knows the secret and belongs to this org.
    #[must_use]
    pub fn caller(&self) -> ingest::Caller {
        let organization_id = self.simulator.org.lock().unwrap().organization_id.clone();
        ingest::Caller::new(SecretString::from("s3cret"), organization_id)
    }

    /// A user of the sales team in Salesforce.
    #[must_use]
    pub fn sales(&self) -> User {
        self.simulator.org.lock().unwrap().users[1].clone()
    }

    /// A user of the sales team creates a record in Salesforce. Returns its Id. An empty text stands for
    /// null, `true` and `false` for a checkbox, and `#` begins a number.
    ///
    /// # Panics
    /// When Salesforce refuses the record.
    pub fn create(&self, object: &str, fields: &[(&str, &str)]) -> String {
        let user = self.sales();
        self.simulator.org.lock().unwrap().create(object, &stored(fields), &user).unwrap()
    }

    /// A user of the sales team deletes a record in Salesforce.
    ///
    /// # Panics
    /// When Salesforce refuses the delete.
    pub fn delete(&self, object: &str, id: &str) {
        let user = self.sales();
        self.simulator.org.lock().unwrap().delete(object, id, &user).unwrap();
    }

    /// A user of the sales team edits a record in Salesforce. The values are written as in [`World::create`].
    ///
    /// # Panics
    /// When Salesforce refuses the edit.
    pub fn edit(&self, object: &str, id: &str, fields: &[(&str, &str)]) {
        let user = self.sales();
        self.simulator.org.lock().unwrap().update(object, id, &stored(fields), &user).unwrap();
    }

    /// The value of a field in Salesforce, as text. `None` if the field is empty or there is no such record.
    #[must_use]
    pub fn field(&self, object: &str, id: &str, field: &str) -> Option<String> {
        let org = self.simulator.org.lock().unwrap();
        let records = org.records.iter().find(|(name, _)| **name == object)?.1;
        records.get(id)?.values.get(field).map(Stored::text)
    }

    /// How many living records of an object Salesforce has.
    #[must_use]
    pub fn records(&self, object: &str) -> usize {
        let org = self.simulator.org.lock().unwrap();
        org.records.get(object).map_or(0, |records| records.values().filter(|record| !record.deleted).count())
    }

    /// How many calls Syncline has made so far, by kind.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let org = self.simulator.org.lock().unwrap();
        let ours = org.calls.iter().filter(|(call, count)| call.client == "syncline" && **count > 0);
        ours.map(|(call, count)| (call.kind.clone(), *count)).collect()
    }

    /// Forgets the cursors and scans: every record of every sync is touched again.
    ///
    /// # Panics
    /// When a port fails.
    pub async fn catch_up(&self) {
        self.database.run("DELETE FROM syncline.cursor").await;
        self.scan().await;
    }

    /// Scans until no scan has further pages.
    ///
    /// # Panics
    /// When a port fails.
    pub async fn scan(&self) {
        while Box::pin(poll::poll_scans(self, &self.definitions)).await.unwrap().1 {}
    }

    /// What a person's commands read and change.
    #[must_use]
    pub fn operator(&self) -> EmbeddedOperator {
        EmbeddedOperator::new(self.pool.clone(), &Instance("default".into()))
    }

    /// Runs poll and applier until no log row, no message and no deferred touch is left. Touches that wait
    /// for a parent, and touches of refused records, may stay deferred. Returns the summary of all runs.
    ///
    /// # Panics
    /// When it does not come to rest within 400 rounds.
    pub async fn to_rest(&self) -> Summary {
        let mut summary = Summary::default();
        for round in 0..400 {
            Box::pin(poll::poll_log(self, &self.definitions)).await.unwrap();
            let deliveries = self.ports.queue.receive(10).await.unwrap();
            if deliveries.is_empty() {
                let deferred = self
                    .database
                    .count(
                        "SELECT count(*) FROM syncline.deferred WHERE cardinality(waits_for) = 0
                           AND coalesce((touch::jsonb ->> 'refusals')::int, 0) = 0",
                    )
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
                        "{deferred} deferred, {messages} messages, {log} log rows; {breakers:?}; {touches:?}"
                    );
                }
                continue;
            }
            let applied = Box::pin(applier::handle(self, &self.definitions, &deliveries, None)).await;
            self.ports.queue.done(&applied.done).await.unwrap();
            self.ports.queue.release(&applied.release).await.unwrap();
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

impl HasPorts for World {
    type Held = WorldPorts;

    fn ports(&self) -> &WorldPorts {
        &self.ports
    }
}
