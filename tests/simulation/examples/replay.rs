//! `cargo run -p simulation --example replay -- SEED`: one seed, with everything that its users did and what is left.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a command-line program of tests")]

use simulation::{Faults, check, run};

fn main() {
    let seed = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    let report = run(seed, Faults::default());
    println!("{:?}, primary {:?}", report.definition.deletes, report.definition.primary);
    for line in &report.users.told {
        println!("{line}");
    }
    for (id, record) in report.ports.org.records() {
        println!("{id} {record:?}");
    }
    for (key, row) in report.ports.database.rows() {
        println!("{key} {row:?}");
    }
    for base in report.ports.state.bases("contacts") {
        println!("{base:?}");
    }
    for broken in check(&report) {
        println!("{broken}");
    }
}
