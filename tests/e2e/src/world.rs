//! The world of a test: a deployed stack and everything around it.

use crate::built::{binaries, package, template};
use crate::local_aws::{LocalAws, client_environment, root, tool};
use crate::recorder::Recorder;
use crate::traffic::{FIELDS, Traffic};
use judge::{JudgedSync, Question, Verdict, judge};
use salesforce_sim::{OutboundMessage, Simulator, SimulatorConfig};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::cluster::{Cluster, free_port};
use syncline_aws::{DynamoState, SqsQueue, Stack, StackOperator};
use syncline_sync::Operator as _;

/// SQL that creates the app's table, and the table in which the judge's triggers record every change.
const SQL: &str = include_str!("app.sql");
/// The name of the stack.
pub const STACK: &str = "syncline-test";
/// The database role that Syncline works as. It has only the grants that it needs.
const LEAST: &str = "least";

/// A deployed stack, with the AWS, the Salesforce and the database that belong to it.
pub struct World {
    // The fields are dropped in this order: what writes goes before what is written to.
    /// The local AWS.
    pub aws: LocalAws,
    /// The proxy between the functions and AWS.
    pub recorder: Recorder,
    /// The simulated Salesforce.
    pub simulator: Simulator,
    /// The database server.
    pub cluster: Cluster,
    /// The deployed stack, with its outputs.
    pub stack: Stack,
    /// The state store, the queue and the dead letters, as the commands see them.
    pub operator: StackOperator,
    /// The path of the command line, `syncline`.
    pub cli: PathBuf,
    folder: tempfile::TempDir,
}

impl World {
    /// Starts everything, and packages and deploys the functions and the template of this build.
    ///
    /// # Panics
    /// When any of it fails.
    pub async fn deploy() -> Self {
        let folder = tempfile::Builder::new().prefix("syncline-e2e-").tempdir().unwrap();
        let packaged = package(&binaries(), &template(), &folder.path().join("head"));
        Self::deploy_packaged(folder, &packaged, &binaries().join("syncline")).await
    }

    /// Starts everything, deploys the template `packaged`, and applies the syncs with the command line `cli`.
    /// Both may be of an earlier release.
    ///
    /// # Panics
    /// When any of it fails.
    pub async fn deploy_packaged(folder: tempfile::TempDir, packaged: &Path, cli: &Path) -> Self {
        let recorder = Recorder::start().await;
        let seen = recorder.endpoint.clone();
        let aws = tokio::task::spawn_blocking(move || LocalAws::start(None, Some(&seen))).await.unwrap();
        recorder.forward_to(&aws.endpoint);
        let cluster = Cluster::start(&root().join("target"), false).unwrap();
        let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
        simulator.org.lock().unwrap().allowance = 5_000_000;
        run_sql(&cluster.url("postgres"), "CREATE ROLE app_owner").await;
        run_sql(&cluster.url("postgres"), &format!("CREATE ROLE {LEAST} LOGIN")).await;
        prepare_database(&cluster, "app").await;
        let config = aws.config().await;
        let secrets = aws_sdk_secretsmanager::Client::new(&config);
        let mut arns = Vec::new();
        for (name, text) in [
            ("salesforce", r#"{"client_id": "syncline", "client_secret": "syncline-secret"}"#.to_owned()),
            // The secret has the form of the JSON that RDS writes.
            (
                "postgres",
                format!(
                    r#"{{"engine": "postgres", "host": "127.0.0.1", "port": {}, "username": "{LEAST}", "password": "unused", "dbname": "app"}}"#,
                    cluster.port()
                ),
            ),
        ] {
            let made = secrets.create_secret().name(name).secret_string(text).send().await.unwrap();
            arns.push(made.arn.unwrap());
        }
        let parameters = [
            format!("SalesforceSecretArn={}", arns[0]),
            format!("PostgresSecretArn={}", arns[1]),
            "Architecture=x86_64".to_owned(),
            "ApplierTimeout=10".to_owned(),
            "LogInterval=1".to_owned(),
            "LogLevel=info".to_owned(),
        ];
        std::fs::write(folder.path().join("parameters"), parameters.join("\n")).unwrap();
        sam_deploy(&aws.endpoint, packaged, &parameters).await;
        let stack = Stack::find(&config, STACK).await.unwrap();
        let queue =
            |output: &str| SqsQueue::new(aws_sdk_sqs::Client::new(&config), stack.output(output).unwrap());
        let world = Self {
            operator: StackOperator {
                state: DynamoState::new(
                    aws_sdk_dynamodb::Client::new(&config),
                    stack.output("StateTable").unwrap(),
                ),
                queue: queue("TouchQueueUrl"),
                dead: queue("DeadLetterQueueUrl"),
            },
            aws,
            recorder,
            simulator,
            cluster,
            stack,
            cli: cli.to_owned(),
            folder,
        };
        world.configure("");
        let applied = world.syncline(&["apply"]).await;
        assert!(applied.status.success(), "{}", said(&applied));
        // `apply` needed the rights of the table's owner. From here on, Syncline works without them.
        run_sql(&world.cluster.url("app"), &format!("REVOKE app_owner FROM {LEAST}")).await;
        world
    }

    /// Deploys another template over the stack, with the same parameters.
    pub async fn deploy_again(&self, packaged: &Path) {
        let parameters = std::fs::read_to_string(self.folder.path().join("parameters")).unwrap();
        let parameters: Vec<String> = parameters.lines().map(str::to_owned).collect();
        sam_deploy(&self.aws.endpoint, packaged, &parameters).await;
    }

    /// The folder of this world, in which a test may put files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes `syncline.toml`, which works in both modes. `more` is added to the section of the sync.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn configure(&self, more: &str) {
        let fields: Vec<String> =
            FIELDS.iter().map(|(field, column)| format!("{field} = \"{column}\"")).collect();
        // The lease has its old name, `serve.lease`, because releases from before the section [timing] know
        // no other.
        let text = format!(
            "[salesforce]\nlogin_url = \"{}\"\nauth = \"client-credentials\"\nsecret = \"env:SALESFORCE\"\ndaily_calls = 1000000\n\
             [postgres]\nsecret = \"env:DATABASE_URL\"\n\
             [ingest]\nsecret = \"env:SYNCLINE_INGEST\"\n\
             [serve]\nlisten = \"127.0.0.1:{}\"\nlease = \"4s\"\n\
             [sync.contacts]\nobject = \"Contact\"\ntable = \"contacts\"\npoll_interval = \"2s\"\n{more}\n\
             [sync.contacts.fields]\nLastName = \"last_name\"\nEditor_Id__c = \"editor_id\"\n{}\n",
            self.simulator.url,
            free_port().unwrap(),
            fields.join("\n")
        );
        std::fs::write(self.folder.path().join("syncline.toml"), text).unwrap();
    }

    /// Runs the command line against the stack.
    pub async fn syncline(&self, arguments: &[&str]) -> Output {
        self.command(&[arguments, &["--stack", STACK]].concat()).await
    }

    /// Runs the command line.
    pub async fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.cli);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .envs(client_environment(&self.aws.endpoint))
            .stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// Starts the one-process mode from the same file, with a database of its own.
    ///
    /// # Panics
    /// When the process does not start.
    pub async fn serve_in_another_database(&self) -> Child {
        prepare_database(&self.cluster, "one").await;
        let address = self.cluster.url("one").replace("//syncline@", &format!("//{LEAST}@"));
        let mut command = Command::new(&self.cli);
        command
            .args(["serve", "--apply"])
            .current_dir(self.folder.path())
            .env("SALESFORCE", r#"{"client_id": "syncline", "client_secret": "syncline-secret"}"#)
            .env("DATABASE_URL", address)
            .env("SYNCLINE_INGEST", "s3cret")
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// From this call on, Salesforce sends outbound messages to the function URL.
    ///
    /// # Panics
    /// When the stack has no function URL.
    pub async fn send_messages(&self) {
        let printed = self.syncline(&["endpoint"]).await;
        let address = String::from_utf8(printed.stdout).unwrap();
        let fields = vec!["Id".to_owned(), "SystemModstamp".to_owned()];
        let endpoint = self.reachable(address.trim());
        let message = OutboundMessage { object: "Contact".to_owned(), endpoint, fields };
        self.simulator.org.lock().unwrap().add_message(message);
    }

    /// The local AWS recognises a function URL by its host name, which no resolver knows, or by a path.
    /// Returns the address with the path.
    #[must_use]
    pub fn reachable(&self, address: &str) -> String {
        let rest = address.split_once("://").unwrap().1;
        let (host, path) = rest.split_once('/').unwrap();
        let id = host.split('.').next().unwrap();
        format!("{}/_aws/lambda-url/{id}/{path}", self.aws.endpoint)
    }

    /// People who edit both sides of this world.
    pub async fn traffic(&self, seed: u64) -> Traffic {
        Traffic::new(&self.simulator.url, self.app().await, &self.ledger(), seed).await
    }

    /// A connection to the app's database, as the app has it.
    pub async fn app(&self) -> tokio_postgres::Client {
        connect(&self.cluster.url("app"), "editors").await
    }

    fn ledger(&self) -> PathBuf {
        self.folder.path().join("ledger.jsonl")
    }

    /// The name of the Lambda function that has this logical id in the template.
    pub async fn function(&self, logical: &str) -> String {
        let listed = aws_cli(&self.aws.endpoint, &["list-functions"]).await;
        let name = listed.lines().find(|name| name.contains(logical));
        name.unwrap_or_else(|| panic!("no function {logical} in {listed}")).to_owned()
    }

    /// Starts a run of poll at once, besides the schedule.
    pub async fn poll_now(&self) {
        let name = self.function("PollFunction").await;
        aws_cli(&self.aws.endpoint, &["invoke", &name]).await;
    }

    /// Waits until no log row, deferred touch, queued message or outbound message is left, four times in a
    /// row.
    ///
    /// # Panics
    /// When that takes longer than `limit`.
    pub async fn to_rest(&self, limit: Duration) {
        let started = Instant::now();
        let mut calm = 0;
        let observer = connect(&self.cluster.url("app"), "observer").await;
        let mut waiting = String::new();
        while calm < 4 {
            assert!(
                started.elapsed() < limit,
                "it does not come to rest: {waiting}\n{}",
                self.status().await
            );
            let log: i64 = observer.query_one("SELECT count(*) FROM syncline.log", &[]).await.unwrap().get(0);
            let overview = self.operator.overview(&["contacts".to_owned()]).await.unwrap();
            let queue = overview.queue;
            let outbox = self.simulator.org.lock().unwrap().outbox.waiting();
            waiting = format!("log {log}, deferred {}, queue {queue}, outbox {outbox}", overview.deferred);
            let rests = log == 0 && overview.deferred == 0 && queue == 0 && outbox == 0;
            // Four rounds take 3.2 seconds, longer than the poll interval of two seconds, so that a catch-up
            // runs within them.
            calm = if rests { calm + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(800)).await;
        }
    }

    /// What the functions have logged.
    pub async fn logs(&self) -> String {
        aws_cli(&self.aws.endpoint, &["logs"]).await
    }

    /// Makes the simulated Salesforce cause this fault `count` times.
    pub async fn fault(&self, fault: &str, count: u32) {
        let url = format!("{}/sim/faults", self.simulator.url);
        let body = serde_json::json!({"fault": fault, "count": count});
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.post(url).json(&body).send().await.unwrap().error_for_status().unwrap();
    }

    /// Does by hand what an operator does with AWS's own client: runs `by_hand.py` and returns what it
    /// prints.
    pub async fn by_hand(&self, arguments: &[&str]) -> String {
        aws_cli(&self.aws.endpoint, arguments).await
    }

    /// Runs a command against the stack that has to succeed. Returns what it printed.
    ///
    /// # Panics
    /// When the command fails.
    pub async fn run(&self, arguments: &[&str]) -> String {
        let output = self.syncline(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs SQL in the app's database as its owner.
    pub async fn sql(&self, sql: &str) {
        run_sql(&self.cluster.url("app"), sql).await;
    }

    /// What `syncline status` prints.
    pub async fn status(&self) -> String {
        said(&self.syncline(&["status"]).await)
    }

    /// Asks the judge about everything so far.
    ///
    /// # Panics
    /// When the judge does not answer.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut fields: BTreeMap<String, String> =
            FIELDS.iter().map(|(field, column)| ((*field).to_owned(), (*column).to_owned())).collect();
        fields.insert("LastName".into(), "last_name".into());
        fields.insert("Editor_Id__c".into(), "editor_id".into());
        judge(&Question {
            database: self.cluster.url("app"),
            salesforce: self.simulator.url.clone(),
            client_id: "sales".to_owned(),
            client_secret: "sales-secret".to_owned(),
            syncline: "syncline".to_owned(),
            ledger: self.ledger(),
            schema: None,
            dynamodb: Some(judge::DynamoTable {
                endpoint: self.aws.endpoint.clone(),
                table: self.stack.output("StateTable").unwrap().to_owned(),
            }),
            audit: "judge.audit".to_owned(),
            syncs: vec![JudgedSync {
                object: "Contact".to_owned(),
                table: "contacts".to_owned(),
                link: "salesforce_id".to_owned(),
                editor_field: "Editor_Id__c".to_owned(),
                editor_column: "editor_id".to_owned(),
                fields,
                lookups: BTreeMap::new(),
            }],
        })
        .unwrap()
    }

    /// Waits until everything has come to rest, asks the judge, and prints how many edits are accounted for.
    /// `scenario` says in messages what was tested.
    ///
    /// # Panics
    /// When it does not come to rest within `limit`, or when the judge finds anything wrong.
    pub async fn holds(&self, limit: Duration, scenario: &str) {
        let started = Instant::now();
        self.to_rest(limit).await;
        let verdict = self.verdict();
        assert!(verdict.holds(), "{scenario}: {verdict:#?}");
        let seconds = started.elapsed().as_secs();
        println!("{scenario}: {} edits accounted for, at rest and judged after {seconds} s", verdict.edits);
    }
}

/// What a command printed: its standard output, then its errors.
#[must_use]
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

async fn prepare_database(cluster: &Cluster, database: &str) {
    run_sql(&cluster.url("postgres"), &format!("CREATE DATABASE {database}")).await;
    run_sql(&cluster.url(database), SQL).await;
    let (role, named) = (format!("role={LEAST}"), format!("database={database}"));
    let grants = Command::new("psql")
        .args(["-X", "-q", &cluster.url(database), "-v", &role, "-v", &named])
        .args(["-v", "owner=app_owner", "-v", "tables=contacts", "-f"])
        .arg(root().join("infra/postgres/grants.sql"))
        .output()
        .unwrap();
    assert!(grants.status.success(), "{}", said(&grants));
}

async fn run_sql(url: &str, sql: &str) {
    connect(url, "owner").await.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// Opens a connection under this application name.
///
/// # Panics
/// When the database refuses.
pub async fn connect(url: &str, application: &str) -> tokio_postgres::Client {
    let mut config: tokio_postgres::Config = url.parse().unwrap();
    config.application_name(application);
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

async fn sam_deploy(endpoint: &str, template: &Path, parameters: &[String]) {
    let mut command = Command::new(tool("sam"));
    command
        .args(["deploy", "--stack-name", STACK, "--resolve-s3", "--capabilities", "CAPABILITY_IAM"])
        .args(["--no-confirm-changeset", "--no-progressbar", "--no-fail-on-empty-changeset"])
        .arg("--template-file")
        .arg(template)
        .arg("--parameter-overrides")
        .args(parameters)
        .current_dir(template.parent().unwrap())
        .envs(client_environment(endpoint))
        .env("SAM_CLI_TELEMETRY", "0")
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "sam deploy: {}", said(&output));
}

/// Runs `by_hand.py`, for calls to AWS that neither the functions nor the command line make. It uses AWS's
/// own client for Python.
async fn aws_cli(endpoint: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(tool("python"));
    command
        .arg(root().join("tests/e2e/by_hand.py"))
        .args(arguments)
        .envs(client_environment(endpoint))
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}
