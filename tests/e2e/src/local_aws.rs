//! A local AWS: a process on a port of its own. It ends when its handle is dropped.

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::config::Region;
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::cluster::free_port;
use syncline_aws::SdkConfig;

/// The AWS region of everything here.
pub const REGION: &str = "us-east-1";

/// The root folder of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The path of a program that `infra/aws-tools.sh` installs.
///
/// # Panics
/// When the program is not installed.
#[must_use]
pub fn tool(name: &str) -> PathBuf {
    let tool = root().join("target/tools/venv/bin").join(name);
    assert!(tool.exists(), "{} is not there; run `make test`, or `sh infra/aws-tools.sh`", tool.display());
    tool
}

/// The environment variables with which a client reaches the AWS at this address.
#[must_use]
pub fn client_environment(endpoint: &str) -> BTreeMap<String, String> {
    [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", REGION),
        ("AWS_DEFAULT_REGION", REGION),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The handle of a local AWS.
pub struct LocalAws {
    server: Child,
    /// The address of the local AWS.
    pub endpoint: String,
    folder: tempfile::TempDir,
}

impl Drop for LocalAws {
    fn drop(&mut self) {
        // The processes of the functions are in the process group of the server.
        let group = format!("-{}", self.server.id());
        let _ = Command::new("kill").args(["-TERM", "--", &group]).stderr(Stdio::null()).status();
        std::thread::sleep(Duration::from_millis(300));
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.server.wait();
    }
}

impl LocalAws {
    /// Starts a local AWS on `port`, or on a free port. Its functions reach AWS at the address
    /// `seen_by_functions`, or at the server's own address.
    ///
    /// # Panics
    /// When the server does not start within 30 seconds.
    #[must_use]
    pub fn start(port: Option<u16>, seen_by_functions: Option<&str>) -> Self {
        let port = port.unwrap_or_else(|| free_port().unwrap());
        let folder = tempfile::Builder::new().prefix("syncline-aws-").tempdir().unwrap();
        let endpoint = format!("http://127.0.0.1:{port}");
        let log = std::fs::File::create(folder.path().join("server.log")).unwrap();
        let mut environment = client_environment(seen_by_functions.unwrap_or(&endpoint));
        environment.extend(
            [
                ("BIND_HOST", "127.0.0.1".to_owned()),
                ("GATEWAY_PORT", port.to_string()),
                ("MINISTACK_HOST", "localhost".to_owned()),
                ("TMPDIR", folder.path().display().to_string()),
                ("LOG_LEVEL", "WARNING".to_owned()),
                ("IOT_MTLS_ENABLED", "0".to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let server = Command::new(tool("python"))
            .arg(root().join("tests/e2e/launch.py"))
            .envs(environment)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        let mut aws = Self { server, endpoint, folder };
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = matches!(aws.server.try_wait(), Ok(Some(_)));
            assert!(
                !ended && started.elapsed() < Duration::from_secs(30),
                "it does not start:\n{}",
                aws.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        aws
    }

    /// The SDK configuration with which this process calls the local AWS.
    pub async fn config(&self) -> SdkConfig {
        let credentials = Credentials::new("test", "test", None, None, "the local AWS");
        syncline_aws::sdk_config("syncline-test")
            .await
            .into_builder()
            .endpoint_url(&self.endpoint)
            .region(Region::new(REGION))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build()
    }

    /// What the server has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// The process ids of a function that are running at the moment.
    #[must_use]
    pub fn processes(&self, function: &str) -> Vec<u32> {
        let named = format!("AWS_LAMBDA_FUNCTION_NAME={function}");
        let own = format!("GATEWAY_PORT={}", self.endpoint.rsplit(':').next().unwrap_or_default());
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        processes
            .filter(|process| {
                let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
                let mut variables = environment.split(|byte| *byte == 0);
                variables.clone().any(|one| one == named.as_bytes())
                    && variables.any(|one| one == own.as_bytes())
            })
            .collect()
    }

    /// Sends SIGKILL to every process of a function. Returns how many processes there were.
    #[must_use]
    pub fn kill(&self, function: &str) -> usize {
        let processes = self.processes(function);
        for process in &processes {
            let _ = Command::new("kill").args(["-KILL", &process.to_string()]).stderr(Stdio::null()).status();
        }
        processes.len()
    }
}
