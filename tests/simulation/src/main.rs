//! `cargo run --release -p simulation -- --seeds 1000 [--start N]`, `--seed N` for one with its trace, `--planted all`
//! for the table of planted bugs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a command-line program of tests"
)]

use clap::Parser;
use simulation::coverage::EXPECTED;
use simulation::shrink::broken;
use simulation::{Coverage, Op, Options, PLANTED, Planted, check, run_script, script, shrink};
use simulation::{deeds, interleavings};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Random schedules over the real use cases.
#[derive(Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Replays one seed, with its trace; a failing one is shrunk first.
    #[arg(long)]
    seed: Option<u64>,
    /// Replays a seed as it is.
    #[arg(long)]
    whole: bool,
    /// Prints the hash of each seed and no more.
    #[arg(long)]
    hashes: bool,
    /// Writes the hashes of the recorded seeds into this file, and one hash over those of the first 20,000 seeds.
    #[arg(long, value_name = "FILE")]
    record: Option<std::path::PathBuf>,
    /// Switches a planted bug on: its name, or `all` for the table of all of them.
    #[arg(long)]
    planted: Option<String>,
    /// Writes the table of planted bugs into this file, between its marks.
    #[arg(long)]
    write: Option<std::path::PathBuf>,
    /// Threads side by side; as many as there are cores by default.
    #[arg(long)]
    threads: Option<usize>,
    /// Fails unless every expected case came up.
    #[arg(long)]
    covered: bool,
    /// Runs every interleaving of small worlds with up to so many deviations, instead of seeds.
    #[arg(long, value_name = "DEVIATIONS")]
    interleavings: Option<usize>,
    /// Plays a seed as real parts do, group by group, with its trace.
    #[arg(long, value_name = "SEED")]
    deeds: Option<u64>,
    /// Runs so many generated cases of the planner alone, instead of seeds.
    #[arg(long, value_name = "CASES")]
    planner: Option<u64>,
}

impl Arguments {
    fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().ok().map(std::num::NonZero::get);
        self.threads.or_else(cores).unwrap_or(1)
    }
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    let planted = match arguments.planted.as_deref() {
        None => None,
        Some("all") => return table(&arguments),
        Some(name) => match Planted::named(name) {
            Some(planted) => Some(planted),
            None => {
                println!("no planted bug is called {name}; there are:");
                for (_, name, what) in PLANTED {
                    println!("  {name}: {what}");
                }
                return std::process::ExitCode::from(2);
            }
        },
    };
    if let Some(seed) = arguments.seed {
        return replay(seed, planted, arguments.whole);
    }
    if let Some(deviations) = arguments.interleavings {
        return every_interleaving(deviations, planted);
    }
    if let Some(seed) = arguments.deeds {
        deeds::trace(seed).iter().for_each(|line| println!("{line}"));
        return std::process::ExitCode::SUCCESS;
    }
    if let Some(cases) = arguments.planner {
        return planner_alone(&arguments, cases);
    }
    if let Some(path) = &arguments.record {
        return record_into(&arguments, path);
    }
    if arguments.hashes {
        for seed in arguments.start..arguments.start + arguments.seeds {
            println!("{seed} {:016x}", simulation::run(seed).hash());
        }
        return std::process::ExitCode::SUCCESS;
    }
    many(&arguments, planted)
}

/// Writes what the first seeds write to both sides, as hashes, for the test that nothing of it changes.
fn record_into(arguments: &Arguments, path: &std::path::Path) -> std::process::ExitCode {
    let recording = simulation::record(arguments.threads());
    recording.lines().filter(|line| line.starts_with('#')).for_each(|line| println!("{line}"));
    match std::fs::write(path, recording) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            println!("{}: {error}", path.display());
            std::process::ExitCode::from(2)
        }
    }
}

fn of_seed(seed: u64, planted: Option<Planted>) -> (Options, Vec<Op>) {
    let options = Options { planted, ..Options::of_seed(seed) };
    (options, script(seed, &options))
}

/// One seed, shrunk if it fails, with everything that happened.
fn replay(seed: u64, planted: Option<Planted>, whole: bool) -> std::process::ExitCode {
    let (mut options, mut steps) = of_seed(seed, planted);
    let fails = !broken(seed, options, &steps).is_empty();
    if fails && !whole {
        let before = steps.len();
        (options, steps) = shrink(seed, options, &steps);
        println!("seed {seed} fails; {before} steps are shrunk to {}", steps.len());
    }
    println!("{options:#?}");
    let report = run_script(seed, options, &steps, true);
    let broken = check(&report);
    for line in report.ports.shared.trace.lines() {
        println!("{line}");
    }
    let memory = &report.ports.memory;
    for (id, record) in memory.salesforce.records() {
        println!("{id} {record:?}");
    }
    for (key, row) in memory.database.rows() {
        println!("{key} {row:?}");
    }
    for definition in &report.definitions {
        for base in memory.state.bases(&definition.name) {
            println!("{base:?}");
        }
    }
    for line in &broken {
        println!("{line}");
    }
    println!("hash {:016x}", report.hash());
    std::process::ExitCode::from(u8::from(!broken.is_empty()))
}

/// Cases of the planner, side by side.
fn planner_alone(arguments: &Arguments, cases: u64) -> std::process::ExitCode {
    let started = Instant::now();
    let failed: Mutex<Vec<u64>> = Mutex::default();
    let threads = arguments.threads() as u64;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let failed = &failed;
            scope.spawn(move || {
                for number in (arguments.start..arguments.start + cases).filter(|one| one % threads == thread)
                {
                    if !planner::check(&planner::case(number)).is_empty() {
                        failed.lock().unwrap().push(number);
                    }
                }
            });
        }
    });
    println!("{cases} cases of the planner in {:.1} s", started.elapsed().as_secs_f64());
    let mut failed = failed.into_inner().unwrap();
    failed.sort_unstable();
    for number in failed.iter().take(3) {
        let case = planner::case(*number);
        println!("case {number}: {case:?}");
        for line in planner::check(&case) {
            println!("  {line}");
        }
    }
    println!("{} of {cases} broke a rule", failed.len());
    std::process::ExitCode::from(u8::from(!failed.is_empty()))
}

/// Small worlds, exhaustively; what fails is told with its trace.
fn every_interleaving(deviations: usize, planted: Option<Planted>) -> std::process::ExitCode {
    let mut failed = false;
    for mut scenario in interleavings::scenarios() {
        scenario.planted = planted;
        let started = Instant::now();
        let explored = interleavings::explore(&scenario, deviations);
        let seconds = started.elapsed().as_secs_f64();
        println!("{:>9} schedules in {seconds:>6.1} s: {}", explored.schedules, scenario.name);
        let Some((deviated, broken)) = explored.violation else { continue };
        failed = true;
        let (report, _) = interleavings::report(&scenario, &deviated, true);
        for line in report.iter().flat_map(|report| report.ports.shared.trace.lines()) {
            println!("{line}");
        }
        println!("{deviated:?}");
        for line in broken {
            println!("{line}");
        }
    }
    std::process::ExitCode::from(u8::from(failed))
}

/// Seeds side by side; what fails is told with its seed.
fn many(arguments: &Arguments, planted: Option<Planted>) -> std::process::ExitCode {
    let started = Instant::now();
    let threads = arguments.threads();
    let next = AtomicU64::new(arguments.start);
    let end = arguments.start + arguments.seeds;
    let failed: Mutex<Vec<(u64, Vec<String>)>> = Mutex::default();
    let coverage = Coverage::default();
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let (options, steps) = of_seed(seed, planted);
                    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        let report = run_script(seed, options, &steps, false);
                        let broken = check(&report);
                        (broken, report)
                    }));
                    match run {
                        Ok((broken, report)) => {
                            coverage.add(&report.ports.shared.coverage);
                            if !broken.is_empty() {
                                failed.lock().unwrap().push((seed, broken));
                            }
                        }
                        Err(_) => failed.lock().unwrap().push((seed, vec!["PANIC".to_owned()])),
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    let seconds = started.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = arguments.seeds as f64 / seconds;
    println!("{} seeds from {} in {seconds:.1} s, {rate:.0} a second", arguments.seeds, arguments.start);
    for (what, count) in coverage.counts() {
        println!("  {count:>10}  {what}");
    }
    for what in coverage.missing() {
        println!("  {:>10}  {what}", "NEVER");
    }
    for (seed, broken) in failed.iter().take(40) {
        println!("seed {seed}:");
        for line in broken.iter().take(4) {
            println!("  {line}");
        }
    }
    println!("{} of {} seeds broke an invariant", failed.len(), arguments.seeds);
    let uncovered = arguments.covered && !coverage.missing().is_empty();
    if uncovered {
        println!("{} of {} expected cases never came up", coverage.missing().len(), EXPECTED.len());
    }
    std::process::ExitCode::from(u8::from(!failed.is_empty() || uncovered))
}

/// After how many seeds each planted bug is caught.
fn table(arguments: &Arguments) -> std::process::ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = false;
    let mut lines =
        vec!["| bug | what it is | caught after | by |".to_owned(), "| --- | --- | --- | --- |".to_owned()];
    for (planted, name, what) in PLANTED {
        let caught = (arguments.start..arguments.start + arguments.seeds).find_map(|seed| {
            let (options, steps) = of_seed(seed, Some(planted));
            let broken = broken(seed, options, &steps);
            Some((seed - arguments.start + 1, broken.first()?.split(':').next()?.to_owned()))
        });
        lines.push(match caught {
            Some((1, by)) => format!("| `{name}` | {what} | 1 seed | {} |", by.to_lowercase()),
            Some((after, by)) => format!("| `{name}` | {what} | {after} seeds | {} |", by.to_lowercase()),
            None => {
                missed = true;
                format!("| `{name}` | {what} | **not within {}** | |", arguments.seeds)
            }
        });
        println!("{}", lines.last().unwrap());
    }
    if let Some(path) = &arguments.write
        && let Err(error) = write_between_marks(path, &lines.join("\n"))
    {
        println!("{}: {error}", path.display());
        return std::process::ExitCode::from(2);
    }
    std::process::ExitCode::from(u8::from(missed))
}

fn write_between_marks(path: &std::path::Path, table: &str) -> Result<(), String> {
    const MARKS: [&str; 2] = ["<!-- planted bugs -->", "<!-- end of planted bugs -->"];
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let [from, to] = MARKS.map(|mark| text.find(mark).ok_or(format!("{mark} is missing")));
    let (from, to) = (from? + MARKS[0].len(), to?);
    let text = format!("{}\n\n{table}\n\n{}", &text[..from], &text[to..]);
    std::fs::write(path, text).map_err(|error| error.to_string())
}
