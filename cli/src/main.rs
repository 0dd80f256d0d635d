//! `syncline`: Salesforce objects and PostgreSQL tables, kept the same.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

mod demo;
mod failure;
mod operate;
mod place;
mod runtime;
mod serve;
mod setup;
mod show;
#[cfg(feature = "aws")]
mod stack;

use clap::{Parser, Subcommand};
use failure::Failure;
use std::path::PathBuf;
use std::process::ExitCode;
use syncline_config::{Config, LogFormat, init_telemetry};

/// Keeps Salesforce objects and PostgreSQL tables the same, in both directions, field by field.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// The configuration file.
    #[arg(long, short, global = true, default_value = "syncline.toml", env = "SYNCLINE_CONFIG")]
    config: PathBuf,

    /// How log lines look: human or json. They go to standard error and never hold record values.
    #[arg(long, global = true, default_value = "human", env = "SYNCLINE_LOG_FORMAT")]
    log_format: LogFormat,

    /// The stack in AWS that the command is about; without it, the one-process mode.
    ///
    /// The stack's own secrets count then, not those that the file names.
    #[cfg(feature = "aws")]
    #[arg(long, global = true, value_name = "NAME", env = "SYNCLINE_STACK")]
    stack: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks the configuration file without connecting to anything; names every problem at once.
    ///
    /// Secrets are named, never written, in the file: env:NAME, file:PATH, or secretsmanager:NAME for a stack in AWS,
    /// which reads its own. The Salesforce secret is JSON: for
    /// auth = "jwt" {"client_id": "…", "username": "…", "private_key": "-----BEGIN PRIVATE KEY-----…"}, for
    /// auth = "client-credentials" {"client_id": "…", "client_secret": "…"}, for auth = "refresh-token"
    /// {"client_id": "…", "refresh_token": "…"}, for auth = "password" {"client_id": "…", "client_secret": "…",
    /// "username": "…", "password": "…"}. The Postgres secret is an address,
    /// postgres://user:password@host:5432/database.
    Validate,

    /// Makes what the configuration asks for: Syncline's schema, tables and columns that are missing, capture.
    ///
    /// Connects to both sides, checks every sync, and changes nothing unless all of them fit. Run again, it
    /// changes nothing that stands already.
    Apply,

    /// Runs Syncline as one process: takes outbound messages in, polls, and keeps both sides the same.
    ///
    /// Starts only syncs whose applied definition is the file's. Stops cleanly on SIGTERM; killed, it loses
    /// nothing.
    Serve {
        /// Applies the configuration first.
        #[arg(long)]
        apply: bool,
    },

    /// Shows how much is linked, waiting, in conflict, rejected, held or paused.
    Status,

    /// Shows fields that both sides changed: both values, and which one stands.
    Conflicts {
        /// How many, newest first.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },

    /// Shows records that a side refused, in its own words, and records that are held.
    Rejected {
        /// How many, newest first.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },

    /// Shows why a record has the values it has: everything that Syncline wrote.
    History {
        /// The record: its Salesforce Id, or its row's key.
        record: String,
    },

    /// Goes on with a sync that was paused.
    Resume {
        /// The sync.
        sync: String,

        /// Lets so many more deletes through within the next hour than delete_limit does.
        #[arg(long, value_name = "N")]
        deletes: Option<u64>,
    },

    /// Prints the address that Salesforce's outbound messages go to. It holds a secret.
    Endpoint,

    /// Stops a sync: its touches wait and fold until it is resumed.
    Pause {
        /// The sync.
        sync: String,
    },

    /// Shows messages whose runs crashed five times, and sends them again.
    DeadLetters {
        /// Sends all of them again.
        #[arg(long)]
        redrive: bool,
    },

    /// What the instance remembers.
    State {
        #[command(subcommand)]
        command: StateCommand,
    },

    /// Shows Syncline at work on this machine: a simulated Salesforce, a private PostgreSQL, two busy teams.
    ///
    /// Afterwards a judge that shares no code with Syncline decides from the teams' own ledger whether every edit
    /// stands, was overwritten by a later one, or is in the conflict log. Exits with 0 only if all of it holds.
    Demo {
        /// How long the teams edit, such as 60s or 5m.
        #[arg(long = "for", default_value = "60s")]
        duration: jiff::SignedDuration,

        /// Repeats what the teams of an earlier run chose to do; how it interleaves is the machine's.
        #[arg(long, default_value_t = 1)]
        seed: u64,

        /// Sends Syncline so many SIGKILLs at random moments, instead of the tour.
        #[arg(long, default_value_t = 0, value_name = "N")]
        kills: u32,
    },
}

#[derive(Subcommand)]
enum StateCommand {
    /// Binds the instance to the org and the database that the configuration leads to.
    ///
    /// A restored, copied or failed-over database and a refreshed sandbox stop Syncline before it writes. If the one
    /// it stopped at is the one to be synced from now on, this says so, and shows what was and what is.
    Rebind,

    /// Forgets what both sides agreed on last: every record is compared anew, as at the first link.
    ///
    /// Empty never overwrites filled; where both sides are filled and differ, the primary wins and the other value
    /// stands in the conflict log. Stop serve first.
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
            ExitCode::FAILURE
        }
    }
}

fn read_config(path: &PathBuf) -> Result<Config, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(format!("{} cannot be read: {error}; name another file with --config", path.display()))
    })?;
    Config::parse(&text).map_err(|error| {
        let lines: Vec<String> = error.problems.iter().map(|problem| format!("  {problem}")).collect();
        Failure::new(format!("{} is not right:\n{}", path.display(), lines.join("\n")))
    })
}

#[cfg(feature = "aws")]
async fn open(arguments: &Arguments, config: Config) -> Result<place::Place, Failure> {
    match &arguments.stack {
        Some(name) => place::Place::in_stack(config, name).await,
        None => Ok(place::Place::here(config)),
    }
}

#[cfg(not(feature = "aws"))]
async fn open(_: &Arguments, config: Config) -> Result<place::Place, Failure> {
    std::future::ready(Ok(place::Place::here(config))).await
}

async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    if let Command::Demo { duration, seed, kills } = arguments.command {
        return Box::pin(demo::run(duration, seed, kills)).await;
    }
    let config = read_config(&arguments.config)?;
    match &arguments.command {
        Command::Validate => {
            println!("{}: {} sync(s), no problem", arguments.config.display(), config.syncs.len());
            return Ok(ExitCode::SUCCESS);
        }
        Command::Serve { apply } => {
            Box::pin(serve::run(config, *apply)).await?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let place = open(&arguments, config).await?;
    match arguments.command {
        Command::Apply => {
            let setup = setup::Setup::connect(place).await?;
            let inspected = setup.inspect().await?;
            for line in setup.install(&inspected).await? {
                println!("{line}");
            }
        }
        Command::Status => show::status(&place).await?,
        Command::Conflicts { limit } => show::conflicts(&place, limit).await?,
        Command::Rejected { limit } => show::rejected(&place, limit).await?,
        Command::History { record } => show::history(&place, &record).await?,
        Command::Resume { sync, deletes } => operate::resume(&place, &sync, deletes).await?,
        Command::Pause { sync } => operate::pause(&place, &sync).await?,
        Command::Endpoint => println!("{}", place.endpoint().await?),
        Command::DeadLetters { redrive } => operate::dead_letters(&place, redrive).await?,
        Command::State { command: StateCommand::Rebind } => {
            for line in setup::Setup::connect(place).await?.rebind().await? {
                println!("{line}");
            }
        }
        Command::State { command: StateCommand::Rebuild } => {
            let forgotten = setup::Setup::connect(place).await?.rebuild().await?;
            println!("{forgotten} bases are forgotten; every record is compared anew");
        }
        Command::Demo { .. } | Command::Validate | Command::Serve { .. } => {}
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
