//! What a schedule calls.

use jiff::SignedDuration;
use syncline_engine::Definition;
use syncline_sync::{Clock, Database, PortError, Ports, State, poll, watch};

/// Looks at the capture log in one call, at most.
const LOG_ROUNDS: usize = 10;

/// Takes what the capture log holds and what was put off and is due; answers the touches queued.
///
/// # Errors
/// When a port fails; nothing is lost.
pub async fn poll_log<P: Ports>(ports: &P, definitions: &[Definition]) -> Result<usize, PortError> {
    let mut touched = 0;
    // Under a load that never pauses, what was put off has its turn too.
    for _ in 0..LOG_ROUNDS {
        let taken = poll::capture_log(ports, definitions).await?;
        touched += taken;
        if taken == 0 {
            break;
        }
    }
    Ok(touched + poll::due(ports).await?)
}

/// Tombstones, ended bases and counters are kept so long: an undelete finds its row.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Makes history's next partitions, captures new partitions, drops what is out of date.
///
/// # Errors
/// When the database or the state store fails.
pub async fn keep_house<P: Ports>(ports: &P, definitions: &[Definition]) -> Result<(), PortError> {
    let before = ports.clock().now() - KEPT;
    ports.database().keep_house(definitions, before).await?;
    ports.state().forget(before).await
}

/// Looks after both sides' availability and identity, then goes on with every sync's first scan or catch-up, a page each; answers the touches queued and whether more
/// waits. A sync whose scan fails does not stop the others.
///
/// # Errors
/// The last failure, once every sync had its turn.
pub async fn poll_scans<P: Ports>(ports: &P, definitions: &[Definition]) -> Result<(usize, bool), PortError> {
    watch(ports, definitions).await?;
    let (mut touched, mut more, mut failure) = (0, false, None);
    for definition in definitions {
        match poll::scan(ports, definition).await {
            Ok((count, waits)) => {
                touched += count;
                more |= waits;
            }
            Err(error) => {
                tracing::warn!(sync = %definition.name, %error, "scan put off");
                failure = Some(error);
            }
        }
    }
    failure.map_or(Ok((touched, more)), Err)
}
