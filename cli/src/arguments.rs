//! The command line: its commands, their options and their help texts.

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use syncline_process::LogFormat;

/// Keeps Salesforce objects and PostgreSQL tables the same, in both directions, field by field.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// The configuration file.
    #[arg(long, short, global = true, default_value = "syncline.toml", env = "SYNCLINE_CONFIG")]
    pub(crate) config: PathBuf,

    /// The format of log lines: human or json. Log lines go to standard error and never hold values of
    /// records.
    #[arg(long, global = true, default_value = "human", env = "SYNCLINE_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,

    /// Works with an instance in the stack of this name in AWS. Without --stack, a command works with an
    /// instance in the one-process mode, whose state is in the synced database.
    ///
    /// With --stack, a command uses the secrets with which the stack was deployed, not those that the
    /// configuration file names. The commands validate, serve and demo ignore --stack.
    #[cfg(feature = "aws")]
    #[arg(long, global = true, value_name = "NAME", env = "SYNCLINE_STACK")]
    pub(crate) stack: Option<String>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
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
    ///
    /// A sync that is applied for the first time, with records on both sides that are not linked, is refused,
    /// because nothing tells which of them are the same: each side would get all those of the other.
    Apply {
        /// Applies such a sync all the same.
        #[arg(long)]
        create_on_both_sides: bool,
    },

    /// Runs Syncline as one process, which receives outbound messages, polls, and keeps both sides the same.
    ///
    /// Starts only if each sync in the configuration file is as it was applied last. On SIGTERM or SIGINT,
    /// the process finishes the runs that have begun, then ends. If it is killed, nothing is lost.
    Serve {
        /// Applies the configuration before serving, as the command apply does.
        #[arg(long)]
        apply: bool,

        /// With --apply, the option of apply of this name.
        #[arg(long, requires = "apply")]
        create_on_both_sides: bool,
    },

    /// Shows how many records are linked, waiting, in conflict, rejected or held, and which syncs are paused.
    Status {
        /// Prints the numbers as JSON.
        #[arg(long)]
        json: bool,

        /// Exits with code 3 if a sync is paused, a side is away, capture is not whole, or there are dead letters.
        #[arg(long)]
        check: bool,
    },

    /// Shows conflicts: fields that both sides changed, with both values and the value that won.
    Conflicts {
        /// How many conflicts to show, newest first.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },

    /// Shows rejected records with the error of the side that refused them, held records with the reason, and
    /// records whose lookup waits for its parent.
    Rejected {
        /// How many records of each kind to show, the newest first.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },

    /// Shows everything that Syncline wrote to a record, and why.
    History {
        /// The Salesforce Id of the record, or the key of its row.
        record: String,

        /// The name of the sync, as in [sync.NAME]. Needed if rows of several syncs have this key.
        #[arg(long)]
        sync: Option<String>,
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
pub(crate) enum StateCommand {
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

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        super::Arguments::command().debug_assert();
    }
}
