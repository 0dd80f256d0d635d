//! `syncline`, the command-line program. It sets an instance up, runs the instance as one process, and lets
//! an operator look at and steer the instance, whether its state is in the synced database or in a stack in
//! AWS.
//!
//! Not in this crate: reconciling (`syncline-sync` and `syncline-engine`), the handlers that `syncline serve`
//! calls (`functions/`), and the clients of both sides and of AWS (`shared/`).
//!
//! Begin with `run` in this file, which starts each command, then read `target`, which hides where an
//! instance's state is. The running process is in `serve`.
//!
//! # Layout
//!
//! - `main.rs`: the command line with its help texts, and the start of each command.
//! - `failure`: why a command failed, as one message for its user.
//! - `target`: an instance, with the same methods wherever its state is: in its database (`here`), or in a
//!   `stack` in AWS.
//! - `stack` (feature `aws`): an instance in a stack in AWS.
//! - `inspect`: what `apply` finds out without changing anything.
//! - `setup`: `apply`, `state rebind` and `state rebuild`.
//! - `serve`: `serve`, with its HTTP server and its loops.
//! - `runtime`: the ports of `syncline-sync` for `serve`.
//! - `operate`: `pause`, `resume` and `dead-letters`.
//! - `show`: `status`, `conflicts`, `rejected` and `history`, as tables.
//! - `demo`: `demo`, with its teams, its screen and the usual script beside Syncline.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

#[cfg(feature = "demo")]
mod demo;
mod failure;
mod here;
mod inspect;
mod operate;
mod runtime;
mod serve;
mod setup;
mod show;
#[cfg(feature = "aws")]
mod stack;
mod target;

use clap::{Parser, Subcommand};
use failure::Failure;
use std::path::PathBuf;
use std::process::ExitCode;
use syncline_config::Config;
use syncline_process::{LogFormat, init_telemetry};
use target::{Home, Target};

/// Keeps Salesforce objects and PostgreSQL tables the same, in both directions, field by field.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// The configuration file.
    #[arg(long, short, global = true, default_value = "syncline.toml", env = "SYNCLINE_CONFIG")]
    config: PathBuf,

    /// The format of log lines: human or json. Log lines go to standard error and never hold values of
    /// records.
    #[arg(long, global = true, default_value = "human", env = "SYNCLINE_LOG_FORMAT")]
    log_format: LogFormat,

    /// Works with an instance in the stack of this name in AWS. Without --stack, a command works with an
    /// instance in the one-process mode, whose state is in the synced database.
    ///
    /// With --stack, a command uses the secrets with which the stack was deployed, not those that the
    /// configuration file names. The commands validate, serve and demo ignore --stack.
    #[cfg(feature = "aws")]
    #[arg(long, global = true, value_name = "NAME", env = "SYNCLINE_STACK")]
    stack: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks the configuration file and names every problem at once. Connects to nothing.
    ///
    /// The file says where a secret is and never contains the secret itself: env:NAME is an environment
    /// variable, file:PATH is a file, and secretsmanager:NAME is a secret in AWS Secrets Manager, for a stack
    /// in AWS.
    ///
    /// The Salesforce secret is JSON. Its form depends on auth in the section [salesforce]:
    ///
    /// auth = "jwt": {"client_id": "…", "username": "…", "private_key": "-----BEGIN PRIVATE KEY-----…"}
    ///
    /// auth = "client-credentials": {"client_id": "…", "client_secret": "…"}
    ///
    /// auth = "refresh-token": {"client_id": "…", "refresh_token": "…"}
    ///
    /// auth = "password": {"client_id": "…", "client_secret": "…", "username": "…", "password": "…"}
    ///
    /// The Postgres secret is the database's address: postgres://user:password@host:5432/database
    ///
    /// The file syncline.example.toml in Syncline's repository shows every section and key.
    Validate,

    /// Sets up what the configuration asks for: Syncline's schema, missing tables and link columns, and
    /// capture.
    ///
    /// Connects to both sides and checks every sync. If one sync does not fit, apply changes nothing and
    /// names every problem. It can be run again at any time and leaves alone what exists already.
    Apply,

    /// Runs Syncline as one process, which receives outbound messages, polls, and keeps both sides the same.
    ///
    /// Starts only if each sync in the configuration file is as it was applied last. On SIGTERM or SIGINT,
    /// the process finishes the runs that have begun, then ends. If it is killed, nothing is lost.
    Serve {
        /// Applies the configuration before serving, as the command apply does.
        #[arg(long)]
        apply: bool,
    },

    /// Shows how many records are linked, waiting, in conflict, rejected or held, and which syncs are paused.
    Status,

    /// Shows conflicts: fields that both sides changed, with both values and the value that won.
    Conflicts {
        /// How many conflicts to show, newest first.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },

    /// Shows rejected records with the error of the side that refused them, and held records with the reason.
    Rejected {
        /// How many rejected records and how many held records to show, newest first.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },

    /// Shows everything that Syncline wrote to a record, and why.
    History {
        /// The Salesforce Id of the record, or the key of its row.
        record: String,
    },

    /// Resumes a paused sync at the point where it stopped.
    Resume {
        /// The name of the sync, as in [sync.NAME].
        sync: String,

        /// Allows N more deletes within the next hour than delete_limit allows.
        #[arg(long, value_name = "N")]
        deletes: Option<u64>,
    },

    /// Prints the address to which Salesforce has to send its outbound messages. The address contains a
    /// secret.
    Endpoint,

    /// Pauses a sync. Its touches are kept, one for each record, until the sync is resumed.
    Pause {
        /// The name of the sync, as in [sync.NAME].
        sync: String,
    },

    /// Shows dead letters, which are messages whose runs crashed five times, or sends them again.
    DeadLetters {
        /// Sends all dead letters again.
        #[arg(long)]
        redrive: bool,
    },

    /// Changes what the instance remembers of both sides.
    State {
        #[command(subcommand)]
        command: StateCommand,
    },

    /// Shows Syncline at work on this machine, with a simulated Salesforce, a private PostgreSQL and two busy
    /// teams.
    ///
    /// At the end the judge, which shares no code with Syncline, reads both sides and the teams' own ledger.
    /// It decides of each edit whether its value is final, was overwritten by a later edit, or is in the
    /// conflict log. The exit code is 0 only if everything comes to rest and the judge finds nothing wrong.
    #[cfg(feature = "demo")]
    Demo {
        /// How long the teams edit, such as 60s or 5m; 5s or longer.
        #[arg(long = "for", default_value = "60s")]
        duration: jiff::SignedDuration,

        /// Selects which edits the teams make. The same seed makes the same choices; their timing depends on
        /// the machine.
        #[arg(long, default_value_t = 1)]
        seed: u64,

        /// Sends Syncline N SIGKILLs at random moments, instead of one conflict, one kill and one outage.
        #[arg(long, default_value_t = 0, value_name = "N")]
        kills: u32,
    },
}

#[derive(Subcommand)]
enum StateCommand {
    /// Binds the instance to the org and the database to which the configuration connects.
    ///
    /// Syncline stops before it writes when the database was restored, copied or failed over, or when the
    /// sandbox was refreshed. Run this command if the org and the database that Syncline meets now are the
    /// ones to be synced from now on. The command prints to what the instance was bound and to what it is
    /// bound now.
    Rebind,

    /// Forgets the bases, which are what both sides agreed on last. Every record is compared again, as at the
    /// first link.
    ///
    /// With on_first_link = "fill-empty", an empty value never overwrites a filled one. Where both sides hold
    /// different values, the primary wins and the other value is kept in the conflict log. In the one-process
    /// mode, stop serve before you run this command.
    Rebuild,
}

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
        Command::Serve { apply } => {
            Box::pin(serve::run(config, *apply)).await?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    #[cfg(feature = "aws")]
    if let Some(name) = &arguments.stack {
        let stack = stack::OpenStack::open(&config, name).await?;
        return Box::pin(about(Target::new(config, stack), arguments.command)).await;
    }
    Box::pin(about(Target::new(config, here::Here), arguments.command)).await
}

/// Runs a command about an instance.
async fn about<H: Home>(target: Target<H>, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Apply => {
            let setup = setup::Setup::connect(target).await?;
            let inspected = setup.inspect().await?;
            for line in setup.install(&inspected).await? {
                println!("{line}");
            }
        }
        Command::Status => show::status(&target).await?,
        Command::Conflicts { limit } => show::conflicts(&target, limit).await?,
        Command::Rejected { limit } => show::rejected(&target, limit).await?,
        Command::History { record } => show::history(&target, &record).await?,
        Command::Resume { sync, deletes } => operate::resume(&target, &sync, deletes).await?,
        Command::Pause { sync } => operate::pause(&target, &sync).await?,
        Command::Endpoint => println!("{}", target.home.endpoint(&target.config).await?),
        Command::DeadLetters { redrive } => operate::dead_letters(&target, redrive).await?,
        Command::State { command: StateCommand::Rebind } => {
            for line in setup::Setup::connect(target).await?.rebind().await? {
                println!("{line}");
            }
        }
        Command::State { command: StateCommand::Rebuild } => {
            let forgotten = setup::Setup::connect(target).await?.rebuild().await?;
            println!("{forgotten} bases are forgotten; every record is compared again, as at the first link");
        }
        Command::Validate | Command::Serve { .. } => {}
        #[cfg(feature = "demo")]
        Command::Demo { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        super::Arguments::command().debug_assert();
    }
}
