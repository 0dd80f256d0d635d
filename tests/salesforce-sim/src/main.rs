//! `salesforce-sim --port N`: a Salesforce that runs on this machine.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use salesforce_sim::{Simulator, SimulatorConfig};
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut port = 0;
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next().and_then(|value| value.parse().ok())) {
            ("--port", Some(number)) => port = number,
            _ => {
                eprintln!("usage: salesforce-sim [--port N]   (N from 0 to 65535; 0 takes a free port)");
                return ExitCode::from(2);
            }
        }
    }
    match Simulator::start(SimulatorConfig { port, tls: true, jwt_public_key: None }).await {
        Ok(simulator) => {
            println!("listening on {}", simulator.url);
            if let Some(url) = &simulator.tls_url {
                println!("and with TLS on {url}");
            }
            println!("sign in with client credentials: syncline / syncline-secret, sales / sales-secret");
            simulator.wait().await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("port {port} cannot be listened on: {error}; choose another with --port");
            ExitCode::FAILURE
        }
    }
}
