//! Public clients, unmodified, take the simulator for Salesforce.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use salesforce_sim::{CERTIFICATE, Simulator, SimulatorConfig};
use std::path::PathBuf;
use std::process::Command;

/// Where `infra/clients.sh` puts them.
fn clients() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/clients"))
}

async fn run(program: &str, script: &str, installed: &str) {
    assert!(
        clients().join(installed).exists(),
        "{installed} is not installed: run `sh infra/clients.sh`, or `make test`"
    );
    let simulator =
        Simulator::start(SimulatorConfig { tls: true, ..SimulatorConfig::default() }).await.unwrap();
    let certificate = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&certificate, CERTIFICATE).unwrap();
    let mut command = Command::new(program);
    command
        .arg(format!("{}/clients/{script}", env!("CARGO_MANIFEST_DIR")))
        .env("SIMULATOR", &simulator.url)
        .env("SIMULATOR_TLS", simulator.tls_url.as_deref().unwrap())
        .env("SIMULATOR_CERTIFICATE", certificate.path())
        .env("PYTHONPATH", clients().join("python"))
        .env("CLIENTS", clients().join("node"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}{words}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simple_salesforce_works_unmodified() {
    run("python3", "with_simple_salesforce.py", "python/simple_salesforce").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jsforce_works_unmodified() {
    run("node", "with_jsforce.mjs", "node/node_modules/jsforce").await;
}
