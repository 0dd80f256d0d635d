//! Moves touches from the capture log into the queue.

use crate::delete_limit::look_ahead;
use crate::enqueue::enqueue;
use crate::pause::pause;
use crate::ports::{Database, LogBatch, PauseCause, PortError, Ports};
use syncline_engine::{Definition, DeletePolicy};

/// The maximum number of log rows taken in one transaction.
const LOG_ROWS: usize = 2_000;

/// Moves touches from the capture log into the queue and answers how many. The rows leave the log only after
/// the queue has accepted the touches. So a touch may be queued twice, but none is lost.
///
/// # Errors
/// When the database or the queue fails. The touches stay in the log.
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
