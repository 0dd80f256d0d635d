//! `syncline`, the command-line program. It sets an instance up, runs the instance as one process, and lets
//! an operator look at and steer the instance, whether its state is in the synced database or in a stack in
//! AWS.
//!
//! Not in this crate: reconciling (`syncline-sync` and `syncline-engine`), the handlers that `syncline serve`
//! calls (`functions/`), and the clients of both sides and of AWS (`shared/`).
//!
//! Begin with `run` in this file, which starts each command, then read `instance`, which hides where an
//! instance's state is. The running process is in `serve`.
//!
//! # Layout
//!
//! - `main.rs`: the start of each command.
//! - `arguments`: the command line with its help texts.
//! - `commands`: one file for each command that is about an instance; `inspect` is what `apply` finds out without
//!   changing anything.
//! - `instance`: an instance, with the same methods wherever its state is: `one_process` (in the synced database)
//!   or `stack` (in AWS; feature `aws`). `connected` is an instance with connections to both sides.
//! - `serve`: `serve`, with its HTTP server, its loops and its ports.
//! - `output`: how tables, records and values are printed.
//! - `failure`: why a command failed, as one message for its user.
//! - `demo`: `demo`, with its teams, its screen and the usual script beside Syncline.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

mod arguments;
mod commands;
#[cfg(feature = "demo")]
mod demo;
mod failure;
mod instance;
mod output;
mod serve;

use arguments::{Arguments, Command, StateCommand};
use clap::Parser as _;
use commands::FirstLinks;
use failure::Failure;
use instance::{Connected, Home, OneProcess, Target};
use std::path::PathBuf;
use std::process::ExitCode;
use syncline_config::Config;
use syncline_process::init_telemetry;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    init_telemetry(arguments.log_format);
    syncline_salesforce::install_crypto_provider();
    match run(arguments).await {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {failure}");
            for cause in failure.causes() {
                tracing::debug!("caused by: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

fn read_config(path: &PathBuf) -> Result<Config, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let words =
            format!("file {} cannot be read: {error}; name another file with --config PATH", path.display());
        Failure::about(words, error)
    })?;
    let config = Config::parse(&text).map_err(|error| {
        let lines: Vec<String> = error.problems.iter().map(|problem| format!("  {problem}")).collect();
        Failure::new(format!(
            "file {} has problems; correct them, then run `syncline validate`:\n{}",
            path.display(),
            lines.join("\n")
        ))
    })?;
    for notice in &config.notices {
        eprintln!("note: {}: {notice}", path.display());
    }
    Ok(config)
}

async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    #[cfg(feature = "demo")]
    if let Command::Demo { duration, seed, kills } = arguments.command {
        return Box::pin(demo::run(duration, seed, kills)).await;
    }
    let config = read_config(&arguments.config)?;
    match &arguments.command {
        Command::Validate => {
            println!(
                "{}: no problems found, {} sync(s) configured",
                arguments.config.display(),
                config.syncs.len()
            );
            return Ok(ExitCode::SUCCESS);
        }
        Command::Serve { apply, create_on_both_sides } => {
            let apply = apply.then(|| first_links(*create_on_both_sides));
            Box::pin(serve::run(config, apply)).await?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    #[cfg(feature = "aws")]
    if let Some(name) = &arguments.stack {
        let stack = instance::OpenStack::open(&config, name).await?;
        return Box::pin(about(Target::new(config, stack), arguments.command)).await;
    }
    Box::pin(about(Target::new(config, OneProcess), arguments.command)).await
}

/// What `--create-on-both-sides` says.
fn first_links(create_on_both_sides: bool) -> FirstLinks {
    if create_on_both_sides { FirstLinks::Create } else { FirstLinks::Stop }
}

/// Runs a command about an instance.
async fn about<H: Home>(target: Target<H>, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Apply { create_on_both_sides } => {
            let connected = Connected::connect(target).await?;
            let inspected = connected.inspect().await?;
            for line in connected.install(&inspected, first_links(create_on_both_sides)).await? {
                println!("{line}");
            }
        }
        Command::Status { json, check } => {
            let all_is_well = commands::status(&target, json).await?;
            return Ok(if check && !all_is_well { ExitCode::from(3) } else { ExitCode::SUCCESS });
        }
        Command::Conflicts { limit } => commands::conflicts(&target, limit).await?,
        Command::Rejected { limit } => commands::rejected(&target, limit).await?,
        Command::History { record, sync } => commands::history(&target, &record, sync.as_deref()).await?,
        Command::Resume { sync, deletes } => commands::resume(&target, &sync, deletes).await?,
        Command::Pause { sync } => commands::pause(&target, &sync).await?,
        Command::Endpoint => println!("{}", target.home.endpoint(&target.config).await?),
        Command::DeadLetters { redrive } => commands::dead_letters(&target, redrive).await?,
        Command::State { command: StateCommand::Rebind } => {
            for line in Connected::connect(target).await?.rebind().await? {
                println!("{line}");
            }
        }
        Command::State { command: StateCommand::Rebuild } => {
            let forgotten = Connected::connect(target).await?.rebuild().await?;
            println!("{forgotten} bases are forgotten; every record is compared again, as at the first link");
        }
        Command::Validate | Command::Serve { .. } => {}
        #[cfg(feature = "demo")]
        Command::Demo { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}
