//! Pauses a sync with a cause, and raises one alert.

use crate::ports::{Alert, Alerts, Pause, PauseCause, PortError, Ports, State};
use syncline_engine::Definition;

/// Pauses a sync and raises an alert. A sync that is paused already keeps its first cause and raises no
/// second alert.
pub(crate) async fn pause<P: Ports>(
    ports: &P,
    sync: &str,
    cause: PauseCause,
    message: &str,
) -> Result<(), PortError> {
    if ports.state().paused(sync).await?.is_some() {
        return Ok(());
    }
    let message = message.to_owned();
    ports.state().put_paused(sync, Some(&Pause { cause, message: message.clone() })).await?;
    ports.alerts().raise(Alert { sync: sync.to_owned(), message }).await;
    Ok(())
}

/// Pauses every sync of the instance.
pub(crate) async fn pause_all<P: Ports>(
    ports: &P,
    definitions: &[Definition],
    cause: PauseCause,
    message: &str,
) -> Result<(), PortError> {
    for definition in definitions {
        pause(ports, &definition.name, cause, message).await?;
    }
    Ok(())
}
