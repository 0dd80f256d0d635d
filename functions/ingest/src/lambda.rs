//! Ingest in Lambda: requests to a function URL, or to an HTTP API of API Gateway with payload format 2.0.
//!
//! Both send the same event (AWS Lambda developer guide, invoking function URLs).

use crate::handler::{Answer, Caller, Door, handle};
use aws_lambda_events::event::lambda_function_urls::{LambdaFunctionUrlRequest, LambdaFunctionUrlResponse};
use base64::Engine as _;
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Error, LambdaEvent};
use std::sync::Arc;
use syncline_aws::{AppliedConfig, Function};
use syncline_sync::NoSteps;
use tokio::sync::Mutex;

/// The path that Salesforce calls, followed by the secret.
const PATH: &str = "/salesforce/outbound/";

/// How long the secret is kept before it is read again. After a rotation the old secret is accepted for this
/// long.
const SECRET_KEPT: SignedDuration = SignedDuration::from_secs(60);

/// What a process of ingest keeps between calls: the function, and what was applied when it looked last.
pub struct Ingest {
    function: Function,
    known: Mutex<Option<Known>>,
}

/// What is applied, who may call, and when the secret was read.
struct Known {
    applied: Arc<AppliedConfig>,
    caller: Arc<Caller>,
    read: Timestamp,
}

impl Ingest {
    /// Ingest in one process; reads nothing yet.
    #[must_use]
    pub fn new(function: Function) -> Self {
        Self { function, known: Mutex::default() }
    }

    /// Answers one call.
    ///
    /// # Errors
    /// Never: a failure becomes a response with another status than 200, after which Salesforce sends the
    /// message again.
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
            Ok(None) => {
                return Answer::refused(503, "nothing is applied yet; run `syncline apply --stack NAME`");
            }
            Err(error) => {
                tracing::error!(%error, "a call was refused, because settings or secret could not be read");
                return Answer::refused(
                    503,
                    "this message cannot be accepted now; Salesforce sends it again",
                );
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

    /// What is applied at this moment and who may call; `None` where nothing was applied yet.
    async fn known(&self) -> Result<Option<(Arc<AppliedConfig>, Arc<Caller>)>, syncline_sync::PortError> {
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
