//! Prints the page `docs/configuration.md`.
#![allow(clippy::print_stdout, reason = "an example program")]

fn main() {
    print!("{}", syncline_config::page());
}
