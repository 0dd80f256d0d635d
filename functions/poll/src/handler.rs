//! What a schedule calls: one look at the capture log, one at the scans, and housekeeping.

use syncline_engine::Definition;
pub use syncline_sync::poll::housekeeping;
use syncline_sync::{PortError, Ports, poll, watch};

/// How often [`poll_log`] reads the capture log in one call, at most.
const LOG_ROUNDS: usize = 10;

/// Queues touches for the rows in the capture log and for the deferred touches that are due. Answers how many
/// touches it queued.
///
/// # Errors
/// When the database, the state store or the queue fails. Nothing is lost: what was not queued stays in the
/// capture log or stays deferred.
pub async fn poll_log<P: Ports>(ports: &P, definitions: &[Definition]) -> Result<usize, PortError> {
    let mut touched = 0;
    // The number of rounds is limited, so that deferred touches have their turn under a load that never
    // pauses.
    for _ in 0..LOG_ROUNDS {
        let taken = poll::capture_log(ports, definitions).await?;
        touched += taken;
        if taken == 0 {
            break;
        }
    }
    Ok(touched + poll::due(ports).await?)
}

/// Probes a side that was away, advances the pulse (which checks the database's identity), looks once a
/// minute whether capture is whole, then reads the next page of every sync's first scan or catch-up. Answers how many touches it queued, and whether a scan
/// has further pages. A sync whose scan fails does not stop the others.
///
/// # Errors
/// When the database or the state store fails before the scans, is not the one that the instance is bound to,
/// or was restored alone: nothing is scanned then. When a scan fails: the last failure, after every sync had
/// its turn.
pub async fn poll_scans<P: Ports>(ports: &P, definitions: &[Definition]) -> Result<(usize, bool), PortError> {
    watch(ports, definitions).await?;
    let (mut touched, mut more, mut failure) = (0, false, None);
    if let Err(error) = poll::check_capture(ports, definitions).await {
        tracing::warn!(%error, "whether capture is whole could not be looked at; the next poll tries it again");
        failure = Some(error);
    }
    for definition in definitions {
        match poll::scan(ports, definition).await {
            Ok((count, waits)) => {
                touched += count;
                more |= waits;
            }
            Err(error) => {
                tracing::warn!(
                    sync = %definition.name,
                    %error,
                    "the scan of a sync failed; the next poll tries it again"
                );
                failure = Some(error);
            }
        }
    }
    failure.map_or(Ok((touched, more)), Err)
}
