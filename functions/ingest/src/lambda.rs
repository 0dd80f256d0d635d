//! Lambda's events: calls of a function URL, or of an HTTP API in payload format 2.0, which is the same.

use crate::handler::{Answer, Caller, Door, handle};
use aws_lambda_events::event::lambda_function_urls::{LambdaFunctionUrlRequest, LambdaFunctionUrlResponse};
use base64::Engine as _;
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Error, LambdaEvent};
use std::sync::Arc;
use syncline_aws::{Applied, Function};
use syncline_config::NoSteps;
use tokio::sync::Mutex;

/// Where Salesforce calls; the secret follows.
const PATH: &str = "/salesforce/outbound/";

/// A secret that was rotated counts after so long, and the old one no more.
const SECRET_KEPT: SignedDuration = SignedDuration::from_secs(60);

/// What a process keeps between calls.
pub struct Ingest {
    function: Function,
    known: Mutex<Option<Known>>,
}

/// What is applied, who may call, and when that was read.
struct Known {
    applied: Arc<Applied>,
    caller: Arc<Caller>,
    read: Timestamp,
}

impl Ingest {
    /// A process of this function.
    #[must_use]
    pub fn new(function: Function) -> Self {
        Self { function, known: Mutex::default() }
    }

    /// Answers one call.
    ///
    /// # Errors
    /// Never: what fails is an answer that makes Salesforce send the message again.
    pub async fn call(
        &self,
        event: LambdaEvent<LambdaFunctionUrlRequest>,
    ) -> Result<LambdaFunctionUrlResponse, Error> {
        self.function.begin(event.context.xray_trace_id.clone());
        let answer = self.answer(event.payload).await;
        let mut response = LambdaFunctionUrlResponse::default();
        response.status_code = i64::from(answer.status);
        response.headers.insert("content-type", "text/xml; charset=utf-8".parse()?);
        response.body = Some(answer.body);
        Ok(response)
    }

    async fn answer(&self, request: LambdaFunctionUrlRequest) -> Answer {
        let method = request.request_context.http.method.as_deref().unwrap_or_default();
        let path = request.raw_path.as_deref().unwrap_or_default();
        let Some(secret) = path.strip_prefix(PATH).filter(|_| method == "POST") else {
            return Answer::refused(404, "not found");
        };
        let body = request.body.unwrap_or_default();
        let body = if request.is_base64_encoded {
            match base64::engine::general_purpose::STANDARD.decode(body) {
                Ok(body) => body,
                Err(error) => return Answer::refused(400, error),
            }
        } else {
            body.into_bytes()
        };
        let (applied, caller) = match self.known().await {
            Ok(Some(known)) => known,
            Ok(None) => return Answer::refused(503, "nothing is applied yet; run `syncline apply --stack`"),
            Err(error) => {
                tracing::error!(%error, "a call cannot be answered now");
                return Answer::refused(503, "not now; Salesforce sends this message again by itself");
            }
        };
        let door = Door {
            queue: self.function.queue(),
            steps: &NoSteps,
            now: Timestamp::now(),
            definitions: &applied.definitions,
            caller: &caller,
        };
        handle(door, secret, &body).await
    }

    /// What is applied and who may call, as it is now.
    async fn known(&self) -> Result<Option<(Arc<Applied>, Arc<Caller>)>, syncline_sync::PortError> {
        let mut known = self.known.lock().await;
        let before = known.as_ref().map(|known| known.applied.clone());
        let Some(applied) = self.function.applied(before.clone()).await? else { return Ok(None) };
        if let Some(Known { caller, read, .. }) = &*known
            && *read + SECRET_KEPT > Timestamp::now()
            && before.is_some_and(|before| Arc::ptr_eq(&before, &applied))
        {
            return Ok(Some((applied, caller.clone())));
        }
        let secret = self.function.ingest_secret().await?;
        let caller = Arc::new(Caller::new(secret, applied.settings.organization_id.clone()));
        *known = Some(Known { applied: applied.clone(), caller: caller.clone(), read: Timestamp::now() });
        Ok(Some((applied, caller)))
    }
}
