//! The delete limit. If a sync reaches its limit of deletes within one hour, the sync is paused and a person
//! has to look.

use crate::pause::pause;
use crate::ports::{Clock, PauseCause, PortError, Ports, State};
use jiff::SignedDuration;
use syncline_engine::Definition;

/// The time over which deletes are counted.
pub const DELETE_WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// The name of the counter of a sync's deletes.
#[must_use]
pub fn delete_counter(sync: &str) -> String {
    format!("deletes/{sync}")
}

/// Counts deletes that are about to be carried across, and records that went missing. Answers `false` if the
/// limit does not allow them; the sync is then paused.
pub(crate) async fn take_deletes<P: Ports>(
    ports: &P,
    definition: &Definition,
    count: u64,
) -> Result<bool, PortError> {
    let limit = definition.delete_limit.allowed(ports.state().linked(&definition.name).await?);
    let counter = delete_counter(&definition.name);
    if ports.state().take(&counter, count, limit, ports.clock().now(), DELETE_WINDOW).await? {
        return Ok(true);
    }
    pause_at_limit(ports, definition, limit, count).await?;
    Ok(false)
}

/// Pauses the sync if the deletes that wait in the capture log would exceed the limit. This happens before
/// the first of these deletes is carried across.
pub(crate) async fn look_ahead<P: Ports>(
    ports: &P,
    definition: &Definition,
    waiting: u64,
) -> Result<(), PortError> {
    let limit = definition.delete_limit.allowed(ports.state().linked(&definition.name).await?);
    let counter = delete_counter(&definition.name);
    let taken = ports.state().taken(&counter, ports.clock().now(), DELETE_WINDOW).await?;
    if taken.saturating_add(i64::try_from(waiting).unwrap_or(i64::MAX))
        > i64::try_from(limit).unwrap_or(i64::MAX)
    {
        pause_at_limit(ports, definition, limit, waiting).await?;
    }
    Ok(())
}

async fn pause_at_limit<P: Ports>(
    ports: &P,
    definition: &Definition,
    limit: u64,
    count: u64,
) -> Result<(), PortError> {
    let sync = &definition.name;
    let message = format!(
        "the delete limit of {limit} within an hour is reached: {count} more were deleted or are missing, and none of these was carried across. If they are meant, `syncline resume {sync} --deletes {count}` lets so many more through; if not, put them back, or set deletes = \"keep\" and run `syncline apply`, and then `syncline resume {sync}`"
    );
    pause(ports, sync, PauseCause::DeleteLimit, &message).await
}
