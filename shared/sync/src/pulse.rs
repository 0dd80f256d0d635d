//! The pulse: a counter that the database and the state store both keep. If the two numbers differ, one of
//! the two was restored to an earlier time.

use crate::pause::pause_all;
use crate::ports::{Database, PauseCause, PortError, Ports, State};
use syncline_engine::Definition;

/// How far the pulse in the database may be ahead of the one in the state store, because pollers may run at
/// the same time or fail between the two.
const BEATS_APART: u64 = 20;

/// Advances the pulse in the database and in the state store. If the database's pulse is behind that of the
/// state store, or far ahead of it, one of the two was restored. Then all syncs are paused before anything is
/// written, because restored values would look like changes.
///
/// # Errors
/// When either of the two fails, or the database is not the one that the instance is bound to.
pub async fn pulse<P: Ports>(ports: &P, definitions: &[Definition]) -> Result<(), PortError> {
    let known = ports.state().pulse().await?;
    let beat = match ports.database().beat().await {
        Err(error @ PortError::Identity { .. }) => {
            pause_all(ports, definitions, PauseCause::OtherIdentity, &error.to_string()).await?;
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
    pause_all(ports, definitions, PauseCause::Restored, &message).await?;
    Err(PortError::Identity { message })
}
