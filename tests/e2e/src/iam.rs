//! Compares the calls that the functions made with the calls that their roles allow. The local AWS enforces
//! no policy, so the tests have to compare.

use crate::recorder::Call;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Actions that AWS performs with a function's role outside the function's own code: Lambda receives the
/// messages of the queue and writes the log.
const BY_THE_SERVICE: [&str; 5] = [
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
];

/// The calls that no statement of the caller's role allows, in words.
#[must_use]
pub fn not_allowed(calls: &BTreeSet<Call>, policies: &str) -> Vec<String> {
    problems(calls, policies).into_iter().filter(|problem| !problem.contains("never did")).collect()
}

/// The calls that no statement of the caller's role allows, the allowed actions that no call used, and the
/// calls of unknown programs, in words. `policies` has the statements of each function's role as deployed, as
/// JSON.
///
/// # Panics
/// When `policies` is not JSON, or lacks a function.
#[must_use]
pub fn problems(calls: &BTreeSet<Call>, policies: &str) -> Vec<String> {
    let policies: BTreeMap<String, Vec<Value>> = serde_json::from_str(policies).unwrap();
    let mut problems = Vec::new();
    for (program, logical) in [
        ("syncline-ingest", "IngestFunction"),
        ("syncline-poll", "PollFunction"),
        ("syncline-applier", "ApplierFunction"),
    ] {
        let statements = policies.iter().find(|(name, _)| name.contains(logical)).map(|(_, found)| found);
        let statements = statements.unwrap_or_else(|| panic!("no policies of {logical}"));
        let allowed: Vec<(String, String)> = statements.iter().flat_map(pairs).collect();
        let made: Vec<&Call> = calls.iter().filter(|(by, ..)| by == program).collect();
        for (_, action, resource) in &made {
            if !allowed.iter().any(|(of, on)| of == action && names(on, resource)) {
                problems
                    .push(format!("{program} calls {action} on {resource}, which its role does not allow"));
            }
        }
        for (action, on) in &allowed {
            let used = made.iter().any(|(_, of, resource)| of == action && names(on, resource));
            if !used && !BY_THE_SERVICE.contains(&action.as_str()) {
                problems.push(format!("{program} may call {action} on {on} and never did"));
            }
        }
    }
    let known = ["syncline-ingest", "syncline-poll", "syncline-applier"];
    let unknown = calls.iter().filter(|(by, ..)| !known.contains(&by.as_str()));
    problems.extend(unknown.map(|call| format!("nobody knows who called {call:?}")));
    problems
}

/// Each action of a statement with each of its resources.
fn pairs(statement: &Value) -> Vec<(String, String)> {
    let texts = |value: &Value| match value {
        Value::Array(list) => list.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
        one => vec![one.as_str().unwrap_or_default().to_owned()],
    };
    let resources: Vec<String> = texts(&statement["Resource"]);
    let actions: Vec<String> = texts(&statement["Action"]);
    actions.iter().flat_map(|action| resources.iter().map(|on| (action.clone(), on.clone()))).collect()
}

/// True if the ARN belongs to the resource that a call named, by its name or by its ARN. The policies
/// compared here have no wildcards.
fn names(arn: &str, resource: &str) -> bool {
    !resource.is_empty()
        && (arn == resource
            || arn.ends_with(&format!(":{resource}"))
            || arn.ends_with(&format!("/{resource}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(program: &str, action: &str, resource: &str) -> Call {
        (program.to_owned(), action.to_owned(), resource.to_owned())
    }

    const POLICIES: &str = r#"{
        "x-IngestFunction-1": [{"Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:us-east-1:0:touches.fifo"}],
        "x-PollFunction-1": [],
        "x-ApplierFunction-1": [{"Action": ["dynamodb:GetItem", "dynamodb:Query"], "Resource": "arn:aws:dynamodb:us-east-1:0:table/t"}]
    }"#;

    #[test]
    fn what_is_not_allowed_and_what_is_not_used_are_both_found() {
        let calls = BTreeSet::from([
            call("syncline-ingest", "sqs:SendMessage", "touches.fifo"),
            call("syncline-applier", "dynamodb:GetItem", "t"),
            call("syncline-applier", "dynamodb:Query", "t/index/listed"),
            call("syncline-poll", "sns:Publish", "alerts"),
        ]);
        let problems = problems(&calls, POLICIES);
        assert_eq!(problems.len(), 3, "{problems:#?}");
        assert!(problems.iter().any(|one| one.contains("syncline-poll calls sns:Publish")));
        assert!(problems.iter().any(|one| one.contains("dynamodb:Query on t/index/listed")));
        assert!(problems.iter().any(|one| one.contains("may call dynamodb:Query on arn")));
    }
}
