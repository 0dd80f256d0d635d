//! Touches from the capture log.

use crate::delete_limit::look_ahead;
use crate::enqueue::enqueue;
use crate::pause::pause;
use crate::ports::{Database, LogBatch, PauseCause, PortError, Ports};
use syncline_engine::{Definition, DeletePolicy};

/// Log rows taken in one transaction, at most.
const LOG_ROWS: usize = 2_000;

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
        pause(ports, sync, PauseCause::Truncated, &message).await?;
    }
    if log.touches().is_empty() {
        return log.commit().await.map(|()| 0);
    }
    let sent = enqueue(ports, log.touches().to_vec()).await?;
    log.commit().await?;
    Ok(sent)
}
