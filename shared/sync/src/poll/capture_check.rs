//! Looks regularly whether capture is whole. Where it was not, changes of rows went unnoticed, and so every record is
//! compared once it is whole again.

use crate::ports::{Alert, Alerts, Clock, Cursor, Database, PortError, Ports, State};
use jiff::SignedDuration;
use syncline_engine::{Definition, Side, SyncName};

/// How often a process looks whether capture is whole.
const EVERY: SignedDuration = SignedDuration::from_secs(60);

/// Looks whether capture is whole on every sync's table, unless this process did so within the last minute. Where it
/// is not, the cursor notes it, an alert is raised, capture is repaired, and the scans begin anew after that.
///
/// The note is stored before the repair, and removed after it. So a process that ends in between leaves the note, and
/// the next look begins the scans anew.
///
/// # Errors
/// When the database or the state store fails. What could not be repaired is no error: it stays noted.
pub async fn check_capture<P: Ports>(ports: &P, definitions: &[Definition]) -> Result<(), PortError> {
    let now = ports.clock().now();
    if !ports.process_memory().looks().is_due("capture", now, EVERY) {
        return Ok(());
    }
    if ports.state().breaker(Side::Postgres).await?.is_open() {
        return Ok(());
    }
    let gaps = ports.database().capture_gaps(definitions).await?;
    for definition in definitions {
        let sync = &definition.name;
        let cursor = ports.state().cursor(sync).await?;
        match (gaps.get(sync), &cursor.capture_gap) {
            (None, None) => {}
            (None, Some(_)) => found_whole(ports, definition, cursor).await?,
            (Some(gap), _) => repair(ports, definition, cursor, gap).await?,
        }
    }
    ports.process_memory().looks().done("capture", now);
    Ok(())
}

/// Notes what is wrong with the capture of a sync, before it is repaired. Both sides are scanned from the beginning once
/// [`note_whole`] was called, or the next poll finds capture whole. A sync that never was scanned needs no note. Answers
/// whether it was noted.
///
/// # Errors
/// When the state store fails.
pub async fn note_gap<S: State>(state: &S, sync: &SyncName, gap: &str) -> Result<bool, PortError> {
    let cursor = state.cursor(sync).await?;
    if cursor == Cursor::default() {
        return Ok(false);
    }
    let noted = Cursor { capture_gap: Some(gap.to_owned()), ..cursor };
    Ok(state.put_cursor(sync, &noted).await?.is_some())
}

/// Notes that capture is whole after a gap: both sides are scanned from the beginning.
///
/// # Errors
/// When the state store fails.
pub async fn note_whole<S: State>(state: &S, sync: &SyncName) -> Result<(), PortError> {
    let cursor = state.cursor(sync).await?;
    if cursor.capture_gap.is_some() {
        let version = cursor.definition;
        state.put_cursor(sync, &Cursor { capture_gap: None, ..cursor.anew(version) }).await?;
    }
    Ok(())
}

async fn repair<P: Ports>(
    ports: &P,
    definition: &Definition,
    cursor: Cursor,
    gap: &str,
) -> Result<(), PortError> {
    let sync = &definition.name;
    let noted = match &cursor.capture_gap {
        Some(_) => cursor,
        None => {
            let noted = Cursor { capture_gap: Some(gap.to_owned()), ..cursor };
            match ports.state().put_cursor(sync, &noted).await? {
                Some(stored) => stored,
                // A scan stored its page meanwhile. The next look finds the gap again.
                None => return Ok(()),
            }
        }
    };
    let message = match ports.database().repair_capture(definition).await {
        Ok(()) => {
            found_whole(ports, definition, noted).await?;
            format!(
                "capture on {}.{}, the table of sync {sync}, was not whole ({gap}). It is repaired, and every record is \
                 compared, because edits in Postgres may have gone unnoticed",
                definition.schema, definition.table
            )
        }
        Err(error) => {
            let words = format!("{gap}; it cannot be repaired: {error}");
            if noted.capture_gap.as_ref() == Some(&words) {
                return Ok(());
            }
            let noted = Cursor { capture_gap: Some(words), ..noted };
            ports.state().put_cursor(sync, &noted).await?;
            format!(
                "capture on {}.{}, the table of sync {sync}, is not whole ({gap}), so edits in Postgres go unnoticed. \
                 It cannot be repaired: {error}. Correct this, then run `syncline apply`; Syncline itself tries again \
                 every minute. Once capture is whole, every record is compared",
                definition.schema, definition.table
            )
        }
    };
    tracing::warn!(%sync, "{message}");
    ports.alerts().raise(Alert { sync: sync.clone(), message }).await;
    Ok(())
}

async fn found_whole<P: Ports>(ports: &P, definition: &Definition, cursor: Cursor) -> Result<(), PortError> {
    let anew = Cursor { capture_gap: None, ..cursor.anew(definition.version) };
    ports.state().put_cursor(&definition.name, &anew).await?;
    Ok(())
}
