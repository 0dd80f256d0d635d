//! `demo`: the real thing on this machine, between a simulated Salesforce and a private PostgreSQL, with two busy
//! teams and a judge.

mod editors;
mod screen;
mod stage;
mod watch;

use crate::failure::Failure;
use compare::{Ledger, Verdict, judge};
use editors::Team;
use jiff::SignedDuration;
use screen::Screen;
use stage::Stage;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch as signal;
use watch::Watch;

/// How long everything may take to come to rest once nobody edits.
const REST: Duration = Duration::from_secs(90);

/// Runs the demo.
pub(crate) async fn run(duration: SignedDuration, seed: u64) -> Result<ExitCode, Failure> {
    let duration = Duration::try_from(duration)
        .ok()
        .filter(|duration| *duration >= Duration::from_secs(5))
        .ok_or_else(|| Failure::new("--for has to be 5s or longer"))?;
    let screen = Arc::new(Screen::new(duration));
    screen.say("Starting a private PostgreSQL, a simulated Salesforce and Syncline between them …");
    let stage = Stage::set().await?;
    screen.introduce(&stage, seed);
    let ledger = Arc::new(Ledger::create(&stage.ledger())?);
    let (stop, stopped) = signal::channel(false);
    let watch = Arc::new(Watch::new(screen.clone()));
    let mut tasks = tokio::task::JoinSet::new();
    for team in Team::all(&stage, &ledger, &watch, seed).await? {
        let stopped = stopped.clone();
        tasks.spawn(async move { team.work(duration, stopped).await });
    }
    let watcher = tokio::spawn(watch.clone().run(stage.observer().await?, stage.org()));
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let ended = tokio::select! {
        () = tokio::time::sleep(duration) => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminated.recv() => Ok(()),
        failed = first_failure(&mut tasks) => failed,
    };
    let _ = stop.send(true);
    ended?;
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    screen.say("The teams have stopped. Waiting for rest …");
    let rested = tokio::select! {
        rested = come_to_rest(&stage) => rested?,
        _ = tokio::signal::ctrl_c() => return Err(Failure::new("stopped before everything was at rest")),
    };
    watcher.abort();
    screen.say("The judge reads both sides and the ledger …");
    let question = stage.question();
    let verdict: Verdict = tokio::task::spawn_blocking(move || judge(&question)).await??;
    screen.conclude(&verdict, rested);
    stage.strike().await;
    Ok(if rested.is_some() && verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

/// Waits until nothing waits anywhere; answers how long that took.
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
