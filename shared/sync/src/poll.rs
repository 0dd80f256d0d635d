//! Touches from everything that does not call us: the capture log, catch-up, first scans, and what was put off.

use crate::delete_limit::look_ahead;
use crate::enqueue::enqueue;
use crate::outage::{any_away, note_error, pause};
use crate::pace;
use crate::ports::{
    Alert, Alerts, Clock, Cursor, Database, LogBatch, PortError, Ports, Queue, Salesforce, ScanFrom,
    ScannedRow, Settings, State,
};
use crate::touch::{Source, Touch};
use jiff::SignedDuration;
use syncline_engine::{Definition, DeletePolicy};

/// Log rows taken in one transaction, at most.
const LOG_ROWS: usize = 2_000;
/// Rows of a table's first scan, at a time.
const SCAN_ROWS: usize = 2_000;
/// The recycle bin keeps 15 days: a catch-up from longer ago would miss deletes.
const OLDEST_CURSOR: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Touches put off that are taken up, at a time.
const DUE_TOUCHES: usize = 500;

/// Takes touches from the capture log into the queue; answers how many. They leave the log once the queue has
/// them: duplicates at worst, no gap.
///
/// # Errors
/// When the database or the queue fails; the log keeps them.
pub async fn capture_log<P: Ports>(ports: &P, definitions: &[Definition]) -> Result<usize, PortError> {
    let log = ports.database().take_log(LOG_ROWS).await?;
    for (sync, waiting) in log.deletes() {
        let definition = definitions.iter().find(|definition| definition.name == *sync);
        if let Some(definition) =
            definition.filter(|one| one.deletes.from_postgres == DeletePolicy::Propagate)
        {
            look_ahead(ports, definition, *waiting).await?;
        }
    }
    for sync in log.truncated() {
        let message = format!(
            "the table of sync {sync} was truncated; nothing was deleted in Salesforce. Put the rows back, then \
             run `syncline resume {sync}`; records whose rows stay away are held"
        );
        ports.state().put_paused(sync, Some(&message)).await?;
        ports.alerts().raise(Alert { sync: sync.clone(), message }).await;
    }
    if log.touches().is_empty() {
        return log.commit().await.map(|()| 0);
    }
    let sent = enqueue(ports, log.touches().to_vec()).await?;
    log.commit().await?;
    Ok(sent)
}

/// So long after its stamp a record is read once more, by Salesforce's clock: towards the end of the look-back.
pub(crate) fn late(settings: &Settings) -> SignedDuration {
    settings.look_back * 4 / 5
}

/// Two pollers may be so far apart.
const BEATS_APART: u64 = 20;

/// Advances the pulse on both ends. Where the database is behind the state store, or far ahead of it, one of them
/// was restored: everything pauses before anything is written, for yesterday's values would be legal changes.
///
/// # Errors
/// When either end fails, or the database is not the one that the instance is bound to.
pub async fn pulse<P: Ports>(ports: &P, definitions: &[Definition]) -> Result<(), PortError> {
    let known = ports.state().pulse().await?;
    let beat = match ports.database().beat().await {
        Err(error @ PortError::Identity { .. }) => {
            for definition in definitions {
                pause(ports, &definition.name, &error.to_string()).await?;
            }
            return Err(error);
        }
        other => other?,
    };
    if beat > known && (known == 0 || beat - known <= BEATS_APART) {
        return ports.state().put_pulse(beat).await;
    }
    let message = format!(
        "the pulse in the database is {beat} and the one in the state store is {known}: one of them was restored to an earlier time, and its values would count as changes. Nothing is written. Restore the other one to the same time, or run `syncline state rebuild`, which forgets what was agreed on and compares every record as at the first link"
    );
    for definition in definitions {
        pause(ports, &definition.name, &message).await?;
    }
    Err(PortError::Identity { message })
}

/// Takes up what was put off and is due.
///
/// # Errors
/// When the state store or the queue fails; nothing is lost.
pub async fn due<P: Ports>(ports: &P) -> Result<usize, PortError> {
    let due = ports.state().due(ports.clock().now(), DUE_TOUCHES).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let mut touches = Vec::new();
    let mut messages = Vec::new();
    let mut tokens = Vec::new();
    for item in due {
        tokens.push(item.token);
        match item.touch {
            Ok(touch) => touches.push(touch),
            Err(message) => messages.push(message),
        }
    }
    let count = touches.len() + messages.len();
    enqueue(ports, touches).await?;
    if !messages.is_empty() {
        for sent in ports.queue().send(messages).await {
            sent?;
        }
    }
    ports.state().drop_due(&tokens).await?;
    Ok(count)
}

/// One page of whatever scan of the sync is due: first all of Salesforce by Id, then all of the table by key,
/// then, every poll interval, what changed in Salesforce. Answers the touches queued and whether more waits.
///
/// # Errors
/// When a side, the state store or the queue fails; the cursor has not moved.
pub async fn scan<P: Ports>(ports: &P, definition: &Definition) -> Result<(usize, bool), PortError> {
    if ports.state().paused(&definition.name).await?.is_some()
        || any_away(ports).await?
        || pace::draw(ports).await?.is_some()
    {
        return Ok((0, false));
    }
    let scanned = page(ports, definition).await;
    if let Err(error) = &scanned {
        note_error(ports, &definition.name, error).await?;
    }
    scanned
}

async fn page<P: Ports>(ports: &P, definition: &Definition) -> Result<(usize, bool), PortError> {
    let mut cursor = ports.state().cursor(&definition.name).await?;
    if !cursor.salesforce_scanned {
        return first_scan_of_salesforce(ports, definition, cursor).await;
    }
    if !cursor.postgres_scanned {
        return first_scan_of_postgres(ports, definition, cursor).await;
    }
    let now = ports.clock().now();
    if cursor.next.is_some_and(|next| next > now) {
        return Ok((0, false));
    }
    let Some(stamp) = cursor.stamp else {
        cursor.salesforce_scanned = false;
        ports.state().put_cursor(&definition.name, &cursor).await?;
        return Ok((0, true));
    };
    let from = ScanFrom::Stamp { stamp, id: cursor.id.clone() };
    let page = ports.salesforce().scan(&definition.object, from).await?;
    if cursor.scan_started.is_none() && page.date.duration_since(stamp) > OLDEST_CURSOR {
        // What was deleted that long ago is out of the recycle bin: every record is looked at.
        let fresh = Cursor { form: 1, ..Cursor::default() };
        ports.state().put_cursor(&definition.name, &fresh).await?;
        return Ok((0, true));
    }
    let started = *cursor.scan_started.get_or_insert(page.date);
    let mut touches = scanned(ports, definition, &page.rows, Source::CatchUp);
    for touch in &mut touches {
        touch.late = touch.stamp.is_some_and(|stamp| page.date >= stamp + late(ports.settings()));
    }
    let sent = enqueue(ports, touches).await?;
    if page.last {
        // Rows become visible minutes after their stamp: the next scan looks back behind this one's beginning.
        cursor.stamp = Some(started - ports.settings().look_back);
        cursor.id = None;
        cursor.scan_started = None;
        cursor.next = Some(now + SignedDuration::from_secs(i64::from(definition.poll_interval_s)));
    } else if let Some(row) = page.rows.last() {
        cursor.stamp = Some(row.stamp);
        cursor.id = Some(row.id.clone());
    }
    ports.state().put_cursor(&definition.name, &cursor).await?;
    Ok((sent, !page.last))
}

async fn first_scan_of_salesforce<P: Ports>(
    ports: &P,
    definition: &Definition,
    mut cursor: Cursor,
) -> Result<(usize, bool), PortError> {
    let page = ports.salesforce().scan(&definition.object, ScanFrom::Id(cursor.scan_id.clone())).await?;
    let started = *cursor.scan_started.get_or_insert(page.date);
    let living: Vec<ScannedRow> = page.rows.iter().filter(|row| !row.deleted).cloned().collect();
    let mut touches = scanned(ports, definition, &living, Source::FirstScan);
    for touch in &mut touches {
        touch.stamp = None;
    }
    let sent = enqueue(ports, touches).await?;
    cursor.scan_id = page.rows.last().map(|row| row.id.clone()).or(cursor.scan_id);
    if page.last {
        cursor.salesforce_scanned = true;
        cursor.scan_id = None;
        cursor.scan_started = None;
        cursor.stamp = Some(started - ports.settings().look_back);
    }
    cursor.form = 1;
    ports.state().put_cursor(&definition.name, &cursor).await?;
    Ok((sent, true))
}

async fn first_scan_of_postgres<P: Ports>(
    ports: &P,
    definition: &Definition,
    mut cursor: Cursor,
) -> Result<(usize, bool), PortError> {
    let rows = ports.database().scan(definition, cursor.scan_key.as_ref(), SCAN_ROWS).await?;
    let last = rows.len() < SCAN_ROWS;
    let now = ports.clock().now();
    cursor.scan_key = rows.last().map(|(key, _)| key.clone()).or(cursor.scan_key);
    let touches = rows
        .into_iter()
        .map(|(key, id)| Touch { id, ..Touch::of_key(&definition.name, key, Source::FirstScan, now) })
        .collect();
    let sent = enqueue(ports, touches).await?;
    if last {
        cursor.postgres_scanned = true;
        cursor.scan_key = None;
    }
    ports.state().put_cursor(&definition.name, &cursor).await?;
    Ok((sent, !last))
}

fn scanned<P: Ports>(ports: &P, definition: &Definition, rows: &[ScannedRow], source: Source) -> Vec<Touch> {
    let now = ports.clock().now();
    rows.iter()
        .map(|row| {
            let mut touch = Touch::of_id(&definition.name, row.id.clone(), source, now);
            touch.stamp = Some(row.stamp);
            touch.evidence.sf_deleted = row.deleted;
            touch
        })
        .collect()
}
