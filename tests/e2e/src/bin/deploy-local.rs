//! `deploy-local up` starts a local AWS with the whole stack, a database and a simulated Salesforce. They run
//! until `deploy-local down`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

use e2e::local_aws::{client_environment, root};
use e2e::world::{STACK, World};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

fn folder() -> PathBuf {
    root().join("target/deploy-local")
}

fn running() -> Option<u32> {
    let process: u32 = std::fs::read_to_string(folder().join("pid")).ok()?.trim().parse().ok()?;
    let command = std::fs::read(format!("/proc/{process}/cmdline")).ok()?;
    String::from_utf8_lossy(&command).contains("deploy-local").then_some(process)
}

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("up") => up(),
        Some("down") => down(),
        Some("run") => run(),
        _ => {
            eprintln!("deploy-local up | down");
            ExitCode::FAILURE
        }
    }
}

/// Starts `deploy-local run` as a process of its own and waits until the stack can be used.
#[expect(clippy::zombie_processes, reason = "it goes on when this process has ended")]
fn up() -> ExitCode {
    if running().is_some() {
        println!("{}", std::fs::read_to_string(folder().join("ready")).unwrap_or_default());
        println!("It runs already; `make deploy-local-down` ends it.");
        return ExitCode::SUCCESS;
    }
    let _ = std::fs::remove_dir_all(folder());
    std::fs::create_dir_all(folder()).unwrap();
    let log = std::fs::File::create(folder().join("log")).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("run")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0)
        .spawn()
        .unwrap();
    std::fs::write(folder().join("pid"), child.id().to_string()).unwrap();
    println!("deploying; this takes half a minute");
    let started = Instant::now();
    loop {
        if let Ok(text) = std::fs::read_to_string(folder().join("ready")) {
            println!("{text}");
            return ExitCode::SUCCESS;
        }
        if matches!(child.try_wait(), Ok(Some(_))) || started.elapsed() > Duration::from_secs(300) {
            eprintln!("{}", std::fs::read_to_string(folder().join("log")).unwrap_or_default());
            return ExitCode::FAILURE;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn down() -> ExitCode {
    let Some(process) = running() else {
        println!("it does not run");
        return ExitCode::SUCCESS;
    };
    let _ = Command::new("kill").args(["-TERM", &process.to_string()]).status();
    let started = Instant::now();
    while running().is_some() {
        if started.elapsed() > Duration::from_secs(30) {
            eprintln!("process {process} does not end; see {}", folder().join("log").display());
            return ExitCode::FAILURE;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = std::fs::remove_dir_all(folder());
    println!("ended");
    ExitCode::SUCCESS
}

#[tokio::main]
async fn run() -> ExitCode {
    let world = World::deploy().await;
    world.send_messages().await;
    world.poll_now().await;
    let environment: Vec<String> = client_environment(&world.aws.endpoint)
        .into_iter()
        .map(|(name, value)| format!("export {name}={value}"))
        .collect();
    let file = folder().join("environment");
    std::fs::write(&file, environment.join("\n") + "\n").unwrap();
    let text = format!(
        "AWS         {}  (. {})\nstack       {STACK}\nPostgreSQL  psql {}  (table contacts)\nSalesforce  {}  (client_credentials: sales / sales-secret)\n\n\
         syncline --stack {STACK} --config {} status",
        world.aws.endpoint,
        file.display(),
        world.cluster.url("app"),
        world.simulator.url,
        world.folder().join("syncline.toml").display(),
    );
    std::fs::write(folder().join("ready.new"), text).unwrap();
    std::fs::rename(folder().join("ready.new"), folder().join("ready")).unwrap();
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate()).unwrap(), signal(SignalKind::interrupt()).unwrap());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    drop(world);
    ExitCode::SUCCESS
}
