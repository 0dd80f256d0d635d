//! The Lambda function `poll`: makes the function once per process, then answers its invocations.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use syncline_aws::Function;
use syncline_process::{LogFormat, init_telemetry};

#[tokio::main]
async fn main() -> Result<(), Error> {
    init_telemetry(LogFormat::Json);
    let function = Function::new("syncline-poll").await?;
    let call = |event: LambdaEvent<_>| poll::lambda::call(&function, event);
    lambda_runtime::run(service_fn(call)).await
}
