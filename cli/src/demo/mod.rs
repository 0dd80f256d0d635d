//! `demo`: Syncline at work on this machine, between a simulated Salesforce and a private PostgreSQL. Two
//! busy teams edit both sides, and at the end the judge decides what became of every edit. Beside Syncline,
//! the usual script syncs a second world with the same edits, and the same judge judges it.
//!
//! The modules: `stage` starts everything that the demo needs; `world` is one of the two worlds that are
//! edited; `mapping` says what is synced; `editors` are the teams; `watch` sees edits arrive; `script` is the usual
//! script; `screen` prints; `number` writes numbers; `keys` reads the keyboard.

mod editors;
mod keys;
mod mapping;
mod number;
mod screen;
mod script;
mod stage;
mod watch;
mod world;

use crate::failure::Failure;
use editors::{Shared, Team};
use jiff::SignedDuration;
use judge::{Ledger, Question, Verdict, judge};
use keys::Key;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use screen::Screen;
use stage::Stage;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch as signal;
use watch::Watch;
use world::World;

/// How long Syncline may take to come to rest after the last edit, before the demo fails.
const REST: Duration = Duration::from_secs(120);
/// How long the script may take to come to rest after that.
const SCRIPT_REST: Duration = Duration::from_secs(30);
/// How long Salesforce answers 503 after the key `s`.
const OUTAGE: SignedDuration = SignedDuration::from_secs(20);
/// The longest demo that takes the tour. In a longer demo, only the user presses keys.
const LONGEST_TOUR: Duration = Duration::from_secs(600);
/// The tour: keys that the demo presses by itself, each with the share of the duration after which it is
/// pressed. The kill follows the last burst, which begins at 0.7.
const TOUR: [(f64, Key); 3] = [(0.25, Key::Conflict), (0.706, Key::Kill), (0.78, Key::Outage)];

/// Runs the demo. Answers success only if Syncline came to rest and the judge finds nothing wrong.
pub(crate) async fn run(duration: SignedDuration, seed: u64, kills: u32) -> Result<ExitCode, Failure> {
    let duration = Duration::try_from(duration)
        .ok()
        .filter(|duration| *duration >= Duration::from_secs(5))
        .ok_or_else(|| Failure::new("--for must be 5s or longer, such as --for 60s"))?;
    let screen = Arc::new(Screen::new(duration));
    screen.say("Starting a private PostgreSQL, a simulated Salesforce and Syncline between them …");
    let mut stage = Stage::set().await?;
    screen.introduce(&stage, seed);
    let (stop, stopped) = signal::channel(false);
    let watch = Arc::new(Watch::new(screen.clone()));
    let ours = Ledger::create(&stage.ledger("syncline"))?;
    let theirs = Ledger::create(&stage.ledger("script"))?;
    let shared = Arc::new(Shared::new(vec![
        World::enter(stage.salesforce(), ours, Some(watch.clone())).await?,
        World::enter(stage.other_salesforce(), theirs, None).await?,
    ]));
    let apps = vec![stage.apps().await?, stage.apps().await?, stage.apps().await?];
    let mut tasks = tokio::task::JoinSet::new();
    for team in Team::all(&shared, apps, seed) {
        let stopped = stopped.clone();
        tasks.spawn(async move { team.work(duration, stopped).await });
    }
    let watcher = tokio::spawn(watch.clone().run(stage.observer().await?, stage.org()));
    let ended = if kills > 0 {
        torment(&mut stage, &screen, &mut tasks, duration, seed, kills).await
    } else {
        perform(&mut stage, &screen, &shared, &mut tasks, duration).await
    };
    let _ = stop.send(true);
    ended?;
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    screen.say("The teams have stopped. Waiting for rest …");
    let rested = tokio::select! {
        rested = come_to_rest(&stage) => rested?,
        _ = tokio::signal::ctrl_c() => {
            return Err(Failure::new(
                "the demo was interrupted before everything was at rest, so the judge was not asked",
            ));
        }
    };
    watcher.abort();
    script_rests(&stage).await?;
    screen.say("The judge reads both sides and the ledger, of Syncline and of the script …");
    let verdict = ask(stage.question()).await?;
    let script = ask(stage.question_about_the_script()).await?;
    screen.conclude(&verdict, &script, rested);
    stage.strike().await;
    Ok(if rested.is_some() && verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn ask(question: Question) -> Result<Verdict, Failure> {
    Ok(tokio::task::spawn_blocking(move || judge(&question)).await??)
}

/// Does what the keys and the tour ask for, until the time is over, the user ends the demo, or a team fails.
async fn perform(
    stage: &mut Stage,
    screen: &Screen,
    shared: &Shared,
    tasks: &mut tokio::task::JoinSet<Result<(), Failure>>,
    duration: Duration,
) -> Result<(), Failure> {
    let mut keys = keys::listen();
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let started = Instant::now();
    // A long demo shows how Syncline works when nothing is broken on purpose.
    let tour = if duration <= LONGEST_TOUR { TOUR.as_slice() } else { &[] };
    let mut tour = tour.iter().copied().peekable();
    let mut gauge = tokio::time::interval(Duration::from_secs(60));
    loop {
        let left = duration.saturating_sub(started.elapsed());
        let next =
            tour.peek().map_or(left, |(share, _)| duration.mul_f64(*share).saturating_sub(started.elapsed()));
        let key = tokio::select! {
            () = tokio::time::sleep(next.min(left)) => match tour.next() {
                Some((_, key)) if next < left => key,
                _ => return Ok(()),
            },
            Some(key) = keys.recv() => key,
            _ = gauge.tick() => {
                stage.gauge(started.elapsed()).await?;
                continue;
            }
            _ = tokio::signal::ctrl_c() => return Ok(()),
            _ = terminated.recv() => return Ok(()),
            failed = first_failure(tasks) => return failed,
        };
        match key {
            Key::Quit => return Ok(()),
            Key::Conflict => {
                screen.event("c: two people edit the same title at the same moment");
                shared.conflict.notify_one();
            }
            Key::Outage => {
                screen.event("s: Salesforce answers Syncline 503 for 20 seconds; people work on");
                stage.outage(OUTAGE);
            }
            Key::Kill => {
                screen.event("k: SIGKILL for Syncline, in the middle of whatever it does …");
                let begun = Instant::now();
                stage.kill().await?;
                screen.event(&format!("… and it serves again after {} ms", begun.elapsed().as_millis()));
            }
        }
    }
}

/// Sends Syncline this many SIGKILLs at random moments, also while it starts, spread over the duration.
async fn torment(
    stage: &mut Stage,
    screen: &Screen,
    tasks: &mut tokio::task::JoinSet<Result<(), Failure>>,
    duration: Duration,
    seed: u64,
    kills: u32,
) -> Result<(), Failure> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let started = Instant::now();
    for number in 1..=kills {
        let left = duration.saturating_sub(started.elapsed()) / (kills - number + 1);
        // The pause is a random time between zero and twice the mean, counted in thousandths of the mean.
        let thousandths = u32::try_from(random.next_u64() % 2_000).unwrap_or(1_000);
        let pause = left * thousandths / 1_000;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            failed = first_failure(tasks) => return failed,
        }
        stage.kill_at_once().await?;
        if number.is_multiple_of(20) {
            screen.event(&format!("{number} times SIGKILL so far"));
        }
    }
    stage.wait_until_healthy().await
}

async fn first_failure(tasks: &mut tokio::task::JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    loop {
        match tasks.join_next().await {
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(failure))) => return Err(failure),
            Some(Err(error)) => return Err(error.into()),
            None => std::future::pending().await,
        }
    }
}

/// Waits until nothing has been waiting anywhere for one second. Answers how long it took until nothing was
/// waiting, or `None` if that did not happen in time.
async fn come_to_rest(stage: &Stage) -> Result<Option<Duration>, Failure> {
    let started = Instant::now();
    let mut quiet_since: Option<Instant> = None;
    while started.elapsed() < REST {
        if stage.waiting().await? == 0 {
            let since = *quiet_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= Duration::from_secs(1) {
                return Ok(Some(since.duration_since(started)));
            }
        } else {
            quiet_since = None;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(None)
}

/// Waits until the script has written nothing for three of its rounds, for [`SCRIPT_REST`] at most: it may
/// write for ever.
async fn script_rests(stage: &Stage) -> Result<(), Failure> {
    let started = Instant::now();
    let mut before = stage.script_changes().await?;
    let mut quiet = 0;
    while quiet < 3 && started.elapsed() < SCRIPT_REST {
        tokio::time::sleep(Duration::from_millis(2_200)).await;
        let now = stage.script_changes().await?;
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
    Ok(())
}
