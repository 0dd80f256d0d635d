//! Touches from scans. The first scans read everything on both sides; catch-up then reads what changed in
//! Salesforce.

use crate::enqueue::enqueue;
use crate::outage::{any_away, note_error};
use crate::pace;
use crate::ports::{
    Clock, Cursor, Database, PortError, Ports, Salesforce, ScanFrom, ScannedRow, Settings, State,
};
use crate::touch::{Source, Touch};
use jiff::{SignedDuration, Timestamp};
use syncline_engine::Definition;

/// The maximum number of rows that one step of a table's first scan reads.
const SCAN_ROWS: usize = 2_000;
/// The oldest cursor from which catch-up continues. Salesforce's recycle bin keeps records for 15 days, so a
/// catch-up from an older stamp would miss deletes.
const OLDEST_CURSOR: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Stamps are whole seconds, so several saves can have the same one. What is read this much later than a stamp is
/// later than all of them.
pub(crate) const WELL_AFTER: SignedDuration = SignedDuration::from_secs(2);

/// How long after its stamp a record is read once more, by Salesforce's clock: four fifths of the look-back.
pub(crate) fn late(settings: &Settings) -> SignedDuration {
    settings.look_back * 4 / 5
}

/// Reads one page of the scan that is due: first all of Salesforce by Id, then all of the table by key, then,
/// once per poll interval, what changed in Salesforce. Answers the number of touches queued and whether more
/// pages wait.
///
/// # Errors
/// When a side, the state store or the queue fails. The cursor stays where it was.
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
    let stored = ports.state().cursor(&definition.name).await?;
    if stored.definition > definition.version {
        // A newer definition was applied. This process works with it as soon as it has loaded it.
        return Ok((0, false));
    }
    let mut cursor = under(definition, stored.clone());
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
        // Records deleted that long ago have left the recycle bin, so the first scans begin again and read
        // every record.
        ports.state().put_cursor(&definition.name, &stored.anew(definition.version)).await?;
        return Ok((0, true));
    }
    ports.process_memory().queued_by_catch_up().resume(&definition.name, &stored);
    let started = *cursor.scan_started.get_or_insert(page.date);
    let mut touches = scanned(ports, definition, &page.rows, Source::CatchUp);
    for touch in &mut touches {
        touch.late = touch.stamp.is_some_and(|stamp| page.date >= stamp + late(ports.settings()));
    }
    touches.retain(|touch| ports.process_memory().queued_by_catch_up().is_new(touch));
    let sent = enqueue(ports, touches.clone()).await?;
    for touch in touches.iter().filter(|touch| is_complete(touch, page.date)) {
        ports.process_memory().queued_by_catch_up().queued(touch);
    }
    if page.last {
        // Rows can become visible minutes after their stamp. So the next catch-up begins some minutes (the
        // look-back) before this one began.
        cursor.stamp = Some(started - ports.settings().look_back);
        cursor.id = None;
        cursor.scan_started = None;
        cursor.next = Some(now + SignedDuration::from_secs(i64::from(definition.poll_interval_s)));
    } else if let Some(row) = page.rows.last() {
        cursor.stamp = Some(row.stamp);
        cursor.id = Some(row.id.clone());
    }
    if let Some(stored) = ports.state().put_cursor(&definition.name, &cursor).await? {
        ports.process_memory().queued_by_catch_up().stored(&definition.name, &stored);
    }
    Ok((sent, !page.last))
}

/// The cursor from which the scans go on. Under a new definition they begin anew, so that every record is compared
/// under it. `syncline apply` deletes the cursor, but a poll that was under way may have stored it again.
fn under(definition: &Definition, stored: Cursor) -> Cursor {
    match stored.definition {
        0 => Cursor { definition: definition.version, ..stored },
        version if version < definition.version => stored.anew(definition.version),
        _ => stored,
    }
}

/// Whether a read after this moment sees every save with the stamp of the touch, but for those that commit minutes
/// later.
fn is_complete(touch: &Touch, now: Timestamp) -> bool {
    touch.stamp.is_some_and(|stamp| now >= stamp + WELL_AFTER)
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
            touch.at_least = Some(row.stamp);
            touch.evidence.sf_deleted = row.deleted;
            touch
        })
        .collect()
}
