//! A side that is away: its breaker, what it does to touches, and how it is found out that the side is back.

use crate::pause::{pause, pause_all};
use crate::ports::{Breaker, Clock, PauseCause, PortError, Ports, Salesforce, State};
use crate::pulse::pulse;
use crate::retry::{Disposition, disposition};
use jiff::SignedDuration;
use syncline_engine::{Definition, Side};

/// What was put off while a side was away comes due spread over this time.
const SPREAD: SignedDuration = SignedDuration::from_secs(10);

/// What an error means for the touches to come.
pub(crate) async fn note_error<P: Ports>(ports: &P, sync: &str, error: &PortError) -> Result<(), PortError> {
    let now = ports.clock().now();
    match disposition(error) {
        Disposition::Release => return Err(error.clone()),
        Disposition::Retry(side) => {
            let breaker = ports.state().breaker(side).await?;
            if breaker.open_until.is_none() {
                ports.state().put_breaker(side, &breaker.failed(now, &error.to_string())).await?;
            }
        }
        Disposition::QuotaSpent => {
            let breaker = ports.state().breaker(Side::Salesforce).await?;
            if breaker.open_until.is_none() {
                let breaker = breaker.quota_spent(now, &error.to_string());
                ports.state().put_breaker(Side::Salesforce, &breaker).await?;
            }
        }
        Disposition::Pause(cause) => pause(ports, sync, cause, &error.to_string()).await?,
    }
    Ok(())
}

/// True while a side is left alone. Only a probe finds out that it is back.
pub(crate) async fn any_away<P: Ports>(ports: &P) -> Result<bool, PortError> {
    for side in [Side::Salesforce, Side::Postgres] {
        if ports.state().breaker(side).await?.is_open() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One call to each side that was left alone long enough. Where it answers, what was put off comes due.
async fn probe<P: Ports>(ports: &P, definitions: &[Definition]) -> Result<(), PortError> {
    let now = ports.clock().now();
    for side in [Side::Salesforce, Side::Postgres] {
        let breaker = ports.state().breaker(side).await?;
        if breaker.open_until.is_none_or(|until| until > now) {
            continue;
        }
        let answer = match side {
            Side::Salesforce => ports.salesforce().probe().await,
            Side::Postgres => pulse(ports, definitions).await,
        };
        match answer {
            Ok(()) => {
                ports.state().put_breaker(side, &Breaker::default()).await?;
                ports.state().make_due(now, SPREAD).await?;
                tracing::info!(%side, "answers again");
            }
            Err(error @ PortError::Store { .. }) => return Err(error),
            Err(error @ PortError::QuotaSpent { .. }) => {
                ports.state().put_breaker(side, &breaker.quota_spent(now, &error.to_string())).await?;
            }
            Err(error @ PortError::Identity { .. }) => {
                pause_all(ports, definitions, PauseCause::OtherIdentity, &error.to_string()).await?;
                ports.state().put_breaker(side, &Breaker::default()).await?;
            }
            Err(error) => ports.state().put_breaker(side, &breaker.failed(now, &error.to_string())).await?,
        }
    }
    Ok(())
}

/// What every poll begins with: sides that were away are probed, and the pulse is advanced.
///
/// # Errors
/// When the database or the state store fails, or it is another database.
pub async fn watch<P: Ports>(ports: &P, definitions: &[Definition]) -> Result<(), PortError> {
    probe(ports, definitions).await?;
    if ports.state().breaker(Side::Postgres).await?.is_open() {
        return Ok(());
    }
    let pulse = pulse(ports, definitions).await;
    if let Err(error @ PortError::Outage { .. }) = &pulse {
        note_error(ports, "", error).await?;
    }
    pulse
}
