//! `serve`: the one-process mode. One process has an HTTP server for outbound messages, workers that
//! reconcile, and loops that poll. Each of them calls the same handler as the Lambda function for its work.

mod ports;

use crate::commands::FirstLinks;
use crate::failure::Failure;
use crate::instance::{Connected, OneProcess, Target};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use ingest::{BODY_LIMIT, Caller, Door};
use ports::{Runtime, runtime};
use std::sync::Arc;
use std::time::Duration;
use syncline_config::Config;
use syncline_embedded::{EmbeddedOperator, instance_row};
use syncline_engine::Definition;
use syncline_postgres::Pool;
use syncline_sync::{Operator as _, Ports, Queue, Settings};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};

/// The time between two looks at the capture log and at the deferred touches that are due.
const LOG_INTERVAL: Duration = Duration::from_millis(200);
/// The longest time after which an idle worker looks at the queue. It is woken earlier by whatever this
/// process sends, but not by messages of another process.
const QUEUE_INTERVAL: Duration = Duration::from_millis(500);
/// The time between two looks at whether a scan is due.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// The time between two looks at whether something was applied.
const DEFINITIONS_INTERVAL: Duration = Duration::from_secs(5);
/// The most messages that one run takes.
const MESSAGES: usize = 4;

struct Shared {
    runtime: Runtime,
    /// The definitions of the syncs that are served, as they were applied last.
    definitions: watch::Sender<Arc<Vec<Definition>>>,
    operator: EmbeddedOperator,
    caller: Option<Caller>,
    /// Wakes idle workers: messages were sent, or groups of the queue became free.
    sent: Notify,
    pool: Pool,
}

impl Shared {
    /// The definitions at this moment. A run works with the same ones until its end.
    fn definitions(&self) -> Arc<Vec<Definition>> {
        self.definitions.borrow().clone()
    }
}

/// Checks that the configuration is what is applied, then serves until SIGTERM or SIGINT. With `apply`, the
/// configuration is applied first.
pub(crate) async fn run(config: Config, apply: Option<FirstLinks>) -> Result<(), Failure> {
    let listener = TcpListener::bind(config.serve.listen).await.map_err(|error| {
        let words = format!(
            "serve cannot listen on {}: {error}; set serve.listen in the configuration to another address and port",
            config.serve.listen
        );
        Failure::about(words, error)
    })?;
    let secret = config.ingest.as_ref().map(|ingest| ingest.secret.read()).transpose();
    let secret = secret.map_err(|error| Failure::about(format!("ingest.secret: {error}"), error))?;
    let connected = Connected::connect(Target::new(config, OneProcess)).await?;
    let inspected = connected.inspect().await?;
    if let Some(first_links) = apply {
        for line in connected.install(&inspected, first_links).await? {
            tracing::info!("{line}");
        }
    }
    let connection = connected.pool.get().await?;
    let Some(row) = instance_row(&connection, &connected.target.instance).await? else {
        return Err(Failure::new(
            "nothing is applied in this database yet; run `syncline apply`, or `syncline serve --apply`",
        ));
    };
    connected.check_binding(connected.target.operator().await?.binding().await?.as_ref()).await?;
    let operator = connected.target.operator().await?;
    let stored = operator.definitions().await?;
    drop(connection);
    let mut different: Vec<String> = inspected
        .definitions
        .iter()
        .filter(|wanted| {
            let known = stored.iter().find(|known| known.name == wanted.name);
            known.is_none_or(|known| (*wanted).clone().following(known).version != known.version)
        })
        .map(|wanted| wanted.name.clone())
        .collect();
    let lacks = |known: &&Definition| inspected.definitions.iter().all(|wanted| wanted.name != known.name);
    different.extend(stored.iter().filter(lacks).map(|known| format!("{} (not in the file)", known.name)));
    if !different.is_empty() {
        return Err(Failure::new(format!(
            "the configuration file differs from what is applied for these syncs: {}; run `syncline apply`, or `syncline serve --apply`",
            different.join(", ")
        )));
    }
    connected.client.bind(&row.organization_id);
    let settings = Settings {
        daily_calls: Some(connected.target.config.salesforce.daily_calls),
        instance: connected.target.config.instance.clone(),
        lease: connected.target.config.timing.lease,
        look_back: connected.target.config.timing.look_back,
        key: row.key,
    };
    let workers = connected.target.config.serve.workers;
    let caller = secret.map(|secret| Caller::new(secret, connected.organization_id.clone()));
    let shared = Arc::new(Shared {
        runtime: runtime(
            connected.client,
            &connected.pool,
            &connected.target.instance,
            row.identity,
            settings,
        ),
        definitions: watch::Sender::new(Arc::new(stored)),
        operator,
        caller,
        sent: Notify::new(),
        pool: connected.pool,
    });
    work(shared, listener, workers).await
}

async fn work(shared: Arc<Shared>, listener: TcpListener, workers: usize) -> Result<(), Failure> {
    let (stop, stopped) = watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers {
        tasks.spawn(applier_loop(shared.clone(), stopped.clone()));
    }
    tasks.spawn(log_loop(shared.clone(), stopped.clone()));
    tasks.spawn(scan_loop(shared.clone(), stopped.clone()));
    tasks.spawn(housekeeping_loop(shared.clone(), stopped.clone()));
    tasks.spawn(definitions_loop(shared.clone(), stopped.clone()));
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/salesforce/outbound/{secret}", post(outbound))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(shared.clone());
    let mut server_stopped = stopped.clone();
    tasks.spawn(async move {
        let ended = async move {
            let _ = server_stopped.wait_for(|stopped| *stopped).await;
        };
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(ended).await {
            tracing::error!(%error, "the HTTP server stopped because of an error");
        }
    });
    tracing::info!(%address, syncs = shared.definitions().len(), "serving");
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let failed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = tasks.join_next() => ended,
    };
    if let Some(ended) = failed {
        let words = ended.err().map(|error| error.to_string()).unwrap_or_default();
        return Err(Failure::new(format!(
            "a task of serve ended by itself, which is a bug; start serve again, and report the bug with this: {words}"
        )));
    }
    tracing::info!("stopping: runs that have begun are finished first");
    let _ = stop.send(true);
    shared.sent.notify_waiters();
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// Waits for this time, or until serve stops, or, with `wake`, until something was sent. Answers whether
/// serve stops.
async fn pause(shared: &Shared, stopped: &mut watch::Receiver<bool>, time: Duration, wake: bool) -> bool {
    let sent = async {
        if wake {
            shared.sent.notified().await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = stopped.wait_for(|stopped| *stopped) => {}
        () = tokio::time::sleep(time) => {}
        () = sent => {}
    }
    *stopped.borrow()
}

async fn applier_loop(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let queue = shared.runtime.queue();
        match queue.receive(MESSAGES).await {
            Ok(deliveries) if deliveries.is_empty() => {
                pause(&shared, &mut stopped, QUEUE_INTERVAL, true).await;
            }
            Ok(deliveries) => {
                let applied =
                    applier::handle(&shared.runtime, &shared.definitions(), &deliveries, None).await;
                if let Err(error) = queue.release(&applied.release).await {
                    tracing::warn!(
                        %error,
                        "messages were not released, so the queue delivers them again only after the lease"
                    );
                }
                // The groups of this run's messages are free, so other workers can receive from them.
                shared.sent.notify_waiters();
            }
            Err(error) => {
                tracing::warn!(%error, "no messages could be received; serve tries again in 1 second");
                pause(&shared, &mut stopped, Duration::from_secs(1), false).await;
            }
        }
    }
}

async fn log_loop(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut wait = LOG_INTERVAL;
    while !pause(&shared, &mut stopped, wait, false).await {
        wait = match poll::poll_log(&shared.runtime, &shared.definitions()).await {
            Ok(touched) => {
                if touched > 0 {
                    shared.sent.notify_waiters();
                }
                LOG_INTERVAL
            }
            Err(error) => {
                tracing::warn!(
                    %error,
                    "touches of the capture log or deferred touches were not queued; serve tries again in 1 second"
                );
                Duration::from_secs(1)
            }
        };
    }
}

async fn scan_loop(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut wait = Duration::ZERO;
    while !pause(&shared, &mut stopped, wait, false).await {
        wait = match poll::poll_scans(&shared.runtime, &shared.definitions()).await {
            Ok((touched, more)) => {
                if touched > 0 {
                    shared.sent.notify_waiters();
                }
                if more { Duration::from_millis(10) } else { SCAN_INTERVAL }
            }
            Err(_) => Duration::from_secs(5),
        };
    }
}

async fn housekeeping_loop(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    loop {
        if let Err(error) = poll::housekeeping(&shared.runtime, &shared.definitions()).await {
            tracing::warn!(%error, "housekeeping failed; serve tries it again in 1 hour");
        }
        if pause(&shared, &mut stopped, Duration::from_secs(3_600), false).await {
            return;
        }
    }
}

/// Takes up what `syncline apply` stores: new definitions, and syncs that are added or taken away.
async fn definitions_loop(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    while !pause(&shared, &mut stopped, DEFINITIONS_INTERVAL, false).await {
        match shared.operator.definitions().await {
            Ok(applied) => {
                let served = shared.definitions();
                for line in taken_up(&served, &applied) {
                    tracing::info!("{line}");
                }
                if *served != applied {
                    shared.definitions.send_replace(Arc::new(applied));
                }
            }
            Err(error) => {
                tracing::warn!(
                    %error,
                    "whether something was applied could not be read; serve goes on with what it knows and tries again in 5 seconds"
                );
            }
        }
    }
}

/// What changes when `applied` is served instead of `served`, one line for each sync.
fn taken_up(served: &[Definition], applied: &[Definition]) -> Vec<String> {
    let of = |all: &[Definition], name: &str| all.iter().find(|one| one.name == name).cloned();
    let mut lines = Vec::new();
    for definition in applied {
        let name = &definition.name;
        match of(served, name) {
            None => lines.push(format!("sync {name} was applied and is served from now on")),
            Some(before) if before.version != definition.version => lines.push(format!(
                "definition {} of sync {name} was applied and is taken up; every record is compared under it",
                definition.version
            )),
            Some(_) => {}
        }
    }
    for definition in served.iter().filter(|one| of(applied, &one.name).is_none()) {
        lines.push(format!(
            "sync {} is not in the configuration any more and is no longer served",
            definition.name
        ));
    }
    lines
}

async fn outbound(State(shared): State<Arc<Shared>>, Path(secret): Path<String>, body: Bytes) -> Response {
    let Some(caller) = &shared.caller else {
        return (StatusCode::NOT_FOUND, "no [ingest] is configured\n").into_response();
    };
    let definitions = shared.definitions();
    let door = Door::of(&shared.runtime, &definitions, caller);
    let answer = ingest::handle(door, &secret, &body).await;
    if answer.status == 200 {
        shared.sent.notify_waiters();
    }
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "text/xml; charset=utf-8")], answer.body).into_response()
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    match shared.pool.get().await {
        Ok(_) => (StatusCode::OK, "ok\n").into_response(),
        Err(error) => {
            // Whoever asks may be a stranger. What is wrong is for the log.
            tracing::warn!(%error, "the database cannot be reached, so /healthz answers that serve is unavailable");
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable\n").into_response()
        }
    }
}
