//! `serve`: the one-process mode.

use crate::failure::Failure;
use crate::place::Place;
use crate::runtime::Runtime;
use crate::setup::Setup;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use ingest::{BODY_LIMIT, Caller, Door};
use std::sync::Arc;
use std::time::Duration;
use syncline_config::Config;
use syncline_embedded::{definitions, instance_row};
use syncline_engine::Definition;
use syncline_postgres::Pool;
use syncline_sync::{Ports, Queue, Settings};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};

/// How often the capture log is looked at.
const LOG_INTERVAL: Duration = Duration::from_millis(200);
/// How often an idle worker looks at the queue without being woken: for what another process sent.
const QUEUE_INTERVAL: Duration = Duration::from_millis(500);
/// How often scans are looked at.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// Messages that one run takes.
const MESSAGES: usize = 4;

struct Shared {
    runtime: Runtime,
    definitions: Vec<Definition>,
    caller: Option<Caller>,
    /// The queue has something.
    sent: Notify,
    pool: Pool,
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(config: Config, apply: bool) -> Result<(), Failure> {
    let listener = TcpListener::bind(config.serve.listen).await.map_err(|error| {
        Failure::new(format!(
            "{} cannot be listened on: {error}; set serve.listen in the configuration",
            config.serve.listen
        ))
    })?;
    let secret = config.ingest.as_ref().map(|ingest| ingest.secret.read()).transpose();
    let secret = secret.map_err(|error| Failure::new(format!("ingest.secret: {error}")))?;
    let setup = Setup::connect(Place::here(config)).await?;
    let inspected = setup.inspect().await?;
    if apply {
        for line in setup.install(&inspected).await? {
            tracing::info!("{line}");
        }
    }
    let connection = setup.pool.get().await?;
    let Some(row) = instance_row(&connection, &setup.place.instance).await? else {
        return Err(Failure::new(
            "nothing is applied yet; run `syncline apply`, or `syncline serve --apply`",
        ));
    };
    setup.check_binding(setup.place.binding().await?.as_ref()).await?;
    let stored = definitions(&connection, &setup.place.instance).await?;
    drop(connection);
    let different: Vec<String> = inspected
        .definitions
        .iter()
        .filter(|wanted| {
            let known = stored.iter().find(|known| known.name == wanted.name);
            known.is_none_or(|known| Definition { version: known.version, ..(*wanted).clone() } != *known)
        })
        .map(|wanted| wanted.name.clone())
        .collect();
    if !different.is_empty() {
        return Err(Failure::new(format!(
            "what is applied differs from the file for {}; run `syncline apply`, or `syncline serve --apply`",
            different.join(", ")
        )));
    }
    let wanted: Vec<Definition> = stored
        .into_iter()
        .filter(|known| inspected.definitions.iter().any(|wanted| wanted.name == known.name))
        .collect();
    setup.client.bind(&row.organization_id);
    let settings = Settings {
        daily_calls: Some(setup.place.config.salesforce.daily_calls),
        instance: setup.place.config.instance.clone(),
        lease: setup.place.config.serve.lease,
        look_back: setup.place.config.serve.look_back,
        key: row.key,
    };
    let workers = setup.place.config.serve.workers;
    let caller = secret.map(|secret| Caller::new(secret, setup.organization_id.clone()));
    let shared = Arc::new(Shared {
        runtime: Runtime::new(setup.client, &setup.pool, &setup.place.instance, row.identity, settings),
        definitions: wanted,
        caller,
        sent: Notify::new(),
        pool: setup.pool,
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
    tasks.spawn(house_loop(shared.clone(), stopped.clone()));
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
            tracing::error!(%error, "the server stopped");
        }
    });
    tracing::info!(%address, syncs = shared.definitions.len(), "serving");
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let failed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = tasks.join_next() => ended,
    };
    if let Some(ended) = failed {
        let words = ended.err().map(|error| error.to_string()).unwrap_or_default();
        return Err(Failure::new(format!("a part of serve ended by itself, which is a bug: {words}")));
    }
    tracing::info!("stopping: runs under way are finished");
    let _ = stop.send(true);
    shared.sent.notify_waiters();
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// Sleeps, or wakes when something was sent or it is time to stop; answers whether it is.
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
                let applied = applier::handle(&shared.runtime, &shared.definitions, &deliveries, None).await;
                if let Err(error) = queue.release(&applied.release).await {
                    tracing::warn!(%error, "messages come again later than they could");
                }
                // What this run held back from others is free now.
                shared.sent.notify_waiters();
            }
            Err(error) => {
                tracing::warn!(%error, "the queue does not answer");
                pause(&shared, &mut stopped, Duration::from_secs(1), false).await;
            }
        }
    }
}

async fn log_loop(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut wait = LOG_INTERVAL;
    while !pause(&shared, &mut stopped, wait, false).await {
        wait = match poll::poll_log(&shared.runtime, &shared.definitions).await {
            Ok(touched) => {
                if touched > 0 {
                    shared.sent.notify_waiters();
                }
                LOG_INTERVAL
            }
            Err(error) => {
                tracing::warn!(%error, "the capture log is looked at again in a moment");
                Duration::from_secs(1)
            }
        };
    }
}

async fn scan_loop(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut wait = Duration::ZERO;
    while !pause(&shared, &mut stopped, wait, false).await {
        wait = match poll::poll_scans(&shared.runtime, &shared.definitions).await {
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

async fn house_loop(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    loop {
        if let Err(error) = poll::keep_house(&shared.runtime, &shared.definitions).await {
            tracing::warn!(%error, "what is out of date could not be dropped, or the next partitions made");
        }
        if pause(&shared, &mut stopped, Duration::from_secs(3_600), false).await {
            return;
        }
    }
}

async fn outbound(State(shared): State<Arc<Shared>>, Path(secret): Path<String>, body: Bytes) -> Response {
    let Some(caller) = &shared.caller else {
        return (StatusCode::NOT_FOUND, "no [ingest] is configured\n").into_response();
    };
    let door = Door::of(&shared.runtime, &shared.definitions, caller);
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
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}
