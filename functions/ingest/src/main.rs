//! The Lambda function `ingest`: makes the function once per process, then answers its invocations.

use ingest::lambda::Ingest;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use syncline_aws::Function;
use syncline_process::{LogFormat, init_telemetry};

#[tokio::main]
async fn main() -> Result<(), Error> {
    init_telemetry(LogFormat::Json);
    let ingest = Ingest::new(Function::new("syncline-ingest").await?);
    let call = |event: LambdaEvent<_>| ingest.call(event);
    lambda_runtime::run(service_fn(call)).await
}
