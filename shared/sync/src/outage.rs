//! Outages of a side: the breaker, what an error does to touches, and the probe that finds out when the side
//! answers again.

use crate::pause::{pause, pause_all};
use crate::ports::{Breaker, Clock, PauseCause, PortError, Ports, Salesforce, State};
use crate::pulse::pulse;
use crate::retry::{Disposition, disposition};
use jiff::SignedDuration;
use syncline_engine::{Definition, Side};

/// Touches that were deferred while a side was away come due spread over this time after the side answers
/// again.
const SPREAD: SignedDuration = SignedDuration::from_secs(10);

/// Acts on an error of a run or a scan: counts the error in the breaker of the side, or pauses the sync.
/// Returns the error itself if touches cannot be deferred, because the state store failed or is not set up.
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
        Disposition::RetryAlone => {}
        Disposition::QuotaSpent => {
            let breaker = ports.state().breaker(Side::Salesforce).await?;
            if breaker.open_until.is_none() {
                let breaker = breaker.quota_spent(now, &error.to_string());
                ports.state().put_breaker(Side::Salesforce, &breaker).await?;
            }
        }
        Disposition::Pause(cause) => {
            let way_out = match cause {
                PauseCause::Definition => format!(". Then run `syncline resume {sync}`"),
                _ => String::new(),
            };
            pause(ports, sync, cause, &format!("{error}{way_out}")).await?;
        }
    }
    Ok(())
}

/// True while the breaker of a side is open. Only a successful probe closes the breaker.
pub(crate) async fn any_away<P: Ports>(ports: &P) -> Result<bool, PortError> {
    for side in [Side::Salesforce, Side::Postgres] {
        if ports.state().breaker(side).await?.is_open() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes one call to each side whose breaker has been open for long enough. If the side answers, the breaker
/// is closed and deferred touches come due.
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
            // The side answers, whatever it says.
            Err(PortError::Busy { .. }) => {}
            Err(error @ PortError::Identity { .. }) => {
                pause_all(ports, definitions, PauseCause::OtherIdentity, &error.to_string()).await?;
                ports.state().put_breaker(side, &Breaker::default()).await?;
            }
            Err(error) => ports.state().put_breaker(side, &breaker.failed(now, &error.to_string())).await?,
        }
    }
    Ok(())
}

/// Probes the sides that were away, then advances the pulse. Every poll begins with this.
///
/// # Errors
/// When the database or the state store fails, or the database is not the one that the instance is bound to.
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
