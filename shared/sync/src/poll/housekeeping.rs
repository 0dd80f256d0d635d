//! Housekeeping: what is deleted and created now and then.

use crate::ports::{Clock, Database, PortError, Ports, State};
use jiff::SignedDuration;
use syncline_engine::Definition;

/// How long tombstones, ended bases and counters are kept: 30 days, so that an undelete finds its row. A
/// state store may forget counters earlier.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Housekeeping: creates the next partitions of history, installs capture on new partitions of synced tables,
/// and deletes tombstones, former keys of rows, ended bases and counters that are older than 30 days.
///
/// # Errors
/// When the database or the state store fails.
pub async fn housekeeping<P: Ports>(ports: &P, definitions: &[Definition]) -> Result<(), PortError> {
    let before = ports.clock().now() - KEPT;
    ports.database().housekeeping(definitions, before).await?;
    ports.state().forget(before).await
}
