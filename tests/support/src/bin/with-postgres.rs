//! `with-postgres COMMAND…`: starts a private PostgreSQL, runs a command with it, and stops it afterwards.
#![allow(clippy::print_stderr, reason = "a command-line program")]

use std::path::Path;
use std::process::{Command, ExitCode};
use support::cluster::{CLUSTER_URL, Cluster};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: with-postgres COMMAND [ARGUMENT…]");
        return ExitCode::from(2);
    };
    let cluster = match Cluster::start(Path::new("target"), false) {
        Ok(cluster) => cluster,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let url = cluster.url("");
    match Command::new(&program).args(arguments).env(CLUSTER_URL, url.trim_end_matches('/')).status() {
        Ok(status) => {
            status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Err(error) => {
            eprintln!("{}: {error}", program.display());
            ExitCode::FAILURE
        }
    }
}
