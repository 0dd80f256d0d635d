//! A private PostgreSQL cluster, and databases in it.
//!
//! The cluster listens on loopback only, on a free port, and trusts every local connection. It is stopped and
//! its data is removed when the cluster is dropped. If the tests run as root, the cluster runs as the user
//! `postgres`, or as `nobody` if there is no such user.

use std::fmt;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The environment variable that holds the address of the cluster of a test run.
pub const CLUSTER_URL: &str = "SYNCLINE_TEST_POSTGRES";
/// The role that owns everything in the cluster.
const ROLE: &str = "syncline";

/// Why no cluster is running.
#[derive(Debug)]
pub struct ClusterError(String);

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ClusterError {}

fn failed(message: impl Into<String>) -> ClusterError {
    ClusterError(message.into())
}

/// A running cluster.
pub struct Cluster {
    server: Child,
    folder: PathBuf,
    port: u16,
    program: PathBuf,
    user: Option<(u32, u32)>,
    arguments: Vec<String>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGINT asks PostgreSQL for a fast shutdown.
        let _ = Command::new("kill").args(["-INT", &self.server.id().to_string()]).status();
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(10) {
            if matches!(self.server.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Cluster {
    /// Starts a cluster whose data is a new folder in `parent`. Set `durable` to `false` if no data has to
    /// survive a crash.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start. The error holds PostgreSQL's message.
    pub fn start(parent: &Path, durable: bool) -> Result<Self, ClusterError> {
        Self::start_with(parent, durable, false)
    }

    /// Starts a cluster that also speaks TLS, as `localhost`, with a certificate that `authority()` signed.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start. The error holds PostgreSQL's message.
    pub fn start_with_tls(parent: &Path) -> Result<Self, ClusterError> {
        Self::start_with(parent, false, true)
    }

    fn start_with(parent: &Path, durable: bool, tls: bool) -> Result<Self, ClusterError> {
        let programs = programs()?;
        let user = unprivileged_user()?;
        let parent = std::path::absolute(parent).map_err(|error| failed(error.to_string()))?;
        let mut folder = make_folder(&parent, user)?;
        if let Some((uid, gid)) = user
            && !reachable(&folder, uid, gid)
        {
            let _ = std::fs::remove_dir_all(&folder);
            folder = make_folder(&std::env::temp_dir(), user)?;
        }
        let data = folder.join("data");
        let made = as_user(&programs.join("initdb"), user, &folder)
            .args(["--username", ROLE, "--auth", "trust", "--encoding", "UTF8", "--no-sync", "--pgdata"])
            .arg(&data)
            .output()
            .map_err(|error| failed(format!("initdb does not run: {error}")))?;
        if !made.status.success() {
            let words = String::from_utf8_lossy(&made.stderr).into_owned();
            let _ = std::fs::remove_dir_all(&folder);
            return Err(failed(format!("initdb failed: {words}")));
        }
        let port = free_port()?;
        let durable = if durable { "on" } else { "off" };
        let tls = if tls { tls_settings(&folder, user)? } else { Vec::new() };
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            format!("port={port}"),
            "max_connections=200".to_owned(),
            "wal_level=replica".to_owned(),
            format!("fsync={durable}"),
            format!("synchronous_commit={durable}"),
            "autovacuum_naptime=5s".to_owned(),
            "max_prepared_transactions=10".to_owned(),
        ];
        settings.extend(tls);
        let mut arguments = vec!["-D".to_owned(), data.display().to_string()];
        arguments.extend(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]));
        let program = programs.join("postgres");
        let server = spawn(&program, user, &folder, &arguments)?;
        let mut cluster = Self { server, folder: folder.clone(), port, program, user, arguments };
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// Stops the server with a fast shutdown, which ends all connections, and starts it again.
    ///
    /// # Errors
    /// When the server does not start again. The error holds PostgreSQL's message.
    pub fn restart(&mut self) -> Result<(), ClusterError> {
        let _ = Command::new("kill").args(["-INT", &self.server.id().to_string()]).status();
        self.server.wait().map_err(|error| failed(error.to_string()))?;
        self.server = spawn(&self.program, self.user, &self.folder, &self.arguments)?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<(), ClusterError> {
        let started = Instant::now();
        loop {
            let ready = Command::new(self.program.with_file_name("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", ROLE])
                .status()
                .is_ok_and(|status| status.success());
            if ready {
                return Ok(());
            }
            let ended = matches!(self.server.try_wait(), Ok(Some(_)));
            if ended || started.elapsed() > Duration::from_secs(30) {
                let words = std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
                return Err(failed(format!("PostgreSQL does not start: {words}")));
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// The address of a database in this cluster.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{ROLE}@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on which the cluster listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// A command that runs one of PostgreSQL's programs, as a user that may run it.
fn as_user(program: &Path, user: Option<(u32, u32)>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command.current_dir(folder).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
    command
}

fn spawn(
    program: &Path,
    user: Option<(u32, u32)>,
    folder: &Path,
    arguments: &[String],
) -> Result<Child, ClusterError> {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("server.log"));
    as_user(program, user, folder)
        .args(arguments)
        // The cluster ignores a Ctrl-C in the terminal. The process that started the cluster handles it.
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(log.map_err(|error| failed(error.to_string()))?)
        .spawn()
        .map_err(|error| failed(format!("postgres does not run: {error}")))
}

/// The certificate of the authority that signed the server's certificate.
#[must_use]
pub fn authority() -> PathBuf {
    fixtures().join("authority.pem")
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// PostgreSQL accepts a private key only from a file that no other user may read.
fn tls_settings(folder: &Path, user: Option<(u32, u32)>) -> Result<Vec<String>, ClusterError> {
    let place = |name: &str| -> std::io::Result<String> {
        let file = folder.join(name);
        std::fs::copy(fixtures().join(name), &file)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
        if let Some((uid, gid)) = user {
            chown(&file, Some(uid), Some(gid))?;
        }
        Ok(file.display().to_string())
    };
    let settings = || -> std::io::Result<Vec<String>> {
        let (certificate, key) = (place("localhost.pem")?, place("localhost.key")?);
        Ok(vec!["ssl=on".into(), format!("ssl_cert_file={certificate}"), format!("ssl_key_file={key}")])
    };
    settings().map_err(|error| failed(format!("the server's certificate cannot be placed: {error}")))
}

/// The folder with PostgreSQL's programs: the one that `pg_config` names, otherwise the newest under
/// /usr/lib/postgresql.
fn programs() -> Result<PathBuf, ClusterError> {
    let configured = Command::new("pg_config").arg("--bindir").output().ok();
    let configured = configured.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    if let Some(folder) = configured.filter(|folder| folder.join("initdb").exists()) {
        return Ok(folder);
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let folder = entry.path().join("bin");
            folder.join("initdb").exists().then_some((version, folder))
        })
        .max();
    newest.map(|(_, folder)| folder).ok_or_else(|| {
        failed("PostgreSQL's server programs are not installed; install them (Debian: apt-get install postgresql)")
    })
}

/// The user to run PostgreSQL as, if the present user is root. PostgreSQL does not run as root.
fn unprivileged_user() -> Result<Option<(u32, u32)>, ClusterError> {
    let number = |flag: &str, name: Option<&str>| -> Option<u32> {
        let output = Command::new("id").arg(flag).args(name).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    if number("-u", None) != Some(0) {
        return Ok(None);
    }
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| Some((number("-u", Some(name))?, number("-g", Some(name))?)))
        .map(Some)
        .ok_or_else(|| failed("PostgreSQL does not run as root, and there is no user postgres or nobody"))
}

fn make_folder(parent: &Path, user: Option<(u32, u32)>) -> Result<PathBuf, ClusterError> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = parent.join(format!("postgres-{}-{number}", std::process::id()));
    let make = || -> std::io::Result<()> {
        std::fs::create_dir_all(&folder)?;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid))?;
        }
        Ok(())
    };
    make().map_err(|error| failed(format!("{} cannot be made: {error}", folder.display())))?;
    Ok(folder)
}

fn reachable(folder: &Path, uid: u32, gid: u32) -> bool {
    let status = Command::new("test").arg("-w").arg(folder).uid(uid).gid(gid).status();
    status.is_ok_and(|status| status.success())
}

/// Finds a port on which nobody listens.
///
/// # Errors
/// When there is no free port.
pub fn free_port() -> Result<u16, ClusterError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| failed(error.to_string()))?;
    Ok(listener.local_addr().map_err(|error| failed(error.to_string()))?.port())
}

/// A database for one test, in the cluster of the test run.
pub struct TestDatabase {
    /// The address of the database.
    pub url: String,
    /// A connection as a user of the app.
    pub client: tokio_postgres::Client,
}

impl TestDatabase {
    /// Creates an empty database.
    ///
    /// # Panics
    /// When no cluster is running.
    pub async fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let cluster = std::env::var(CLUSTER_URL).unwrap_or_else(|_| {
            panic!("{CLUSTER_URL} is not set: run `make test`, or `cargo run -p support --bin with-postgres -- COMMAND`")
        });
        let name = format!("t{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let maker = connect(&format!("{cluster}/postgres")).await;
        maker.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let url = format!("{cluster}/{name}");
        let client = connect(&url).await;
        Self { url, client }
    }

    /// Opens another connection.
    pub async fn connect(&self) -> tokio_postgres::Client {
        connect(&self.url).await
    }

    /// Reads the first column of the only row that a query returns.
    ///
    /// # Panics
    /// When there is no such row.
    pub async fn text(&self, sql: &str) -> Option<String> {
        self.client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}")).get(0)
    }

    /// Reads a count.
    ///
    /// # Panics
    /// When there is no such row.
    pub async fn count(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}")).get(0)
    }

    /// Runs statements.
    ///
    /// # Panics
    /// When a statement fails.
    pub async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}
