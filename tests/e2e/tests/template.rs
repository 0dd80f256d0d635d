//! `template.yaml` passes the linters, and keeps rules that no linter has.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::built::{FUNCTIONS, template as text};
use e2e::local_aws::{REGION, root, tool};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::LazyLock;
use syncline_aws::Metric;

/// The template as JSON, with CloudFormation's functions in their long form (`Fn::GetAtt`).
static TEMPLATE: LazyLock<Value> = LazyLock::new(|| {
    let program =
        "import json; from cfnlint.decode import cfn_yaml; print(json.dumps(cfn_yaml.load('template.yaml')))";
    let output = Command::new(tool("python")).args(["-c", program]).current_dir(root()).output().unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
});

fn resources() -> &'static Map<String, Value> {
    TEMPLATE["Resources"].as_object().unwrap()
}

fn of_type(kind: &str) -> Vec<(&'static str, &'static Value)> {
    let found = resources().iter().filter(|(_, one)| one["Type"] == kind);
    found.map(|(name, one)| (name.as_str(), one)).collect()
}

fn functions() -> Vec<(&'static str, &'static Value)> {
    of_type("AWS::Serverless::Function")
}

/// How many alarms watch this metric of this resource.
fn alarms(metric: &str, of: &str) -> usize {
    let found = of_type("AWS::CloudWatch::Alarm").into_iter().filter(|(_, alarm)| {
        let properties = &alarm["Properties"];
        properties["MetricName"] == metric
            && properties["Dimensions"].to_string().contains(&format!("\"{of}"))
    });
    found.count()
}

#[test]
fn linters_find_nothing() {
    for (program, arguments) in [("cfn-lint", &["template.yaml"][..]), ("sam", &["validate", "--lint"])] {
        let output = Command::new(tool(program))
            .args(arguments)
            .current_dir(root())
            .env("SAM_CLI_TELEMETRY", "0")
            .env("AWS_DEFAULT_REGION", REGION)
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{program}: {words}{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn every_queue_has_dead_letters_of_its_kind_and_alarms() {
    let queues = of_type("AWS::SQS::Queue");
    let is_target = |name: &str| {
        queues.iter().any(|(_, queue)| {
            queue["Properties"]["RedrivePolicy"].to_string().contains(&format!("\"{name}\""))
        })
    };
    for (name, queue) in &queues {
        let properties = &queue["Properties"];
        assert_eq!(properties["FifoQueue"], true, "{name}");
        assert_eq!(properties["MessageRetentionPeriod"], 14 * 86_400, "{name}");
        if is_target(name) {
            assert_eq!(alarms("ApproximateNumberOfMessagesVisible", name), 1, "{name}");
            continue;
        }
        assert_eq!(properties["RedrivePolicy"]["maxReceiveCount"], 5, "{name}");
        let target = properties["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0].as_str().unwrap();
        // The local AWS accepts any queue here. AWS accepts only a FIFO queue for the dead letters of a FIFO
        // queue.
        assert_eq!(resources()[target]["Properties"]["FifoQueue"], true, "{target}");
        assert_eq!(alarms("ApproximateAgeOfOldestMessage", name), 1, "{name}");
    }
}

#[test]
fn every_queue_trigger_reports_failed_messages_singly_and_limits_its_concurrency() {
    let mut mappings = 0;
    for (name, function) in functions() {
        let Some(events) = function["Properties"]["Events"].as_object() else { continue };
        for event in events.values().filter(|event| event["Type"] == "SQS") {
            let properties = &event["Properties"];
            assert_eq!(properties["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]), "{name}");
            assert!(properties["ScalingConfig"]["MaximumConcurrency"].is_object(), "{name}");
            assert!(
                properties["BatchSize"].as_u64().unwrap() <= 10,
                "{name}: a FIFO queue gives ten at most"
            );
            assert!(properties["MaximumBatchingWindowInSeconds"].is_null(), "{name}: a FIFO queue has none");
            mappings += 1;
        }
    }
    assert_eq!(mappings, 1);
}

#[test]
fn a_message_stays_invisible_for_one_and_a_half_times_the_applier_time_out() {
    let allowed = TEMPLATE["Parameters"]["ApplierTimeout"]["AllowedValues"].as_array().unwrap();
    for seconds in allowed {
        let visible = &TEMPLATE["Mappings"]["Visibility"][seconds.to_string()]["Seconds"];
        let (seconds, visible) = (seconds.as_u64().unwrap(), visible.as_u64().unwrap());
        assert!(visible * 2 >= seconds * 3, "a message of {seconds}s comes again after {visible}s");
    }
    let of = |name: &str| resources()[name]["Properties"]["Timeout"].clone();
    assert_eq!(of("ApplierFunction"), json!({"Ref": "ApplierTimeout"}));
    assert!(of("PollFunction").as_u64().unwrap() >= 75, "a run takes 55 seconds and a look may take longer");
    assert!(of("IngestFunction").as_u64().unwrap() <= 29, "Salesforce and API Gateway wait no longer");
}

#[test]
fn every_function_has_a_role_a_log_group_and_alarms_of_its_own() {
    let mut roles = BTreeSet::new();
    for (name, function) in functions() {
        let properties = &function["Properties"];
        let group = properties["LoggingConfig"]["LogGroup"]["Ref"].as_str().unwrap();
        assert_eq!(
            resources()[group]["Properties"]["RetentionInDays"],
            json!({"Ref": "LogRetention"}),
            "{name}"
        );
        let role = properties["Role"]["Fn::GetAtt"][0].as_str().unwrap();
        assert!(roles.insert(role), "{role} is of two functions");
        let policies = resources()[role]["Properties"]["Policies"].to_string();
        assert!(policies.contains(&format!("${{{group}.Arn}}")), "{name} may not write its log");
        for metric in ["Errors", "Throttles"] {
            assert_eq!(alarms(metric, name), 1, "{name}: {metric}");
        }
    }
    for (name, role) in of_type("AWS::IAM::Role") {
        assert!(
            role["Properties"]["PermissionsBoundary"].is_object(),
            "{name} takes no permissions boundary"
        );
        assert!(
            role["Properties"]["ManagedPolicyArns"].is_null(),
            "{name}: managed policies allow more than is used"
        );
    }
}

#[test]
fn no_star_stands_without_a_written_reason() {
    let mut starred = 0;
    for line in
        text().lines().filter(|line| line.contains("'*'") || line.contains("\"*\"") || line.contains(":*"))
    {
        starred += 1;
        assert!(line.contains("# "), "no reason: {line}");
    }
    assert_eq!(starred, 3, "a star that this test did not see");
    for (name, role) in of_type("AWS::IAM::Role") {
        assert!(!role.to_string().contains(":*\""), "{name} allows all actions of a service");
    }
}

#[test]
fn nothing_that_is_remembered_goes_with_the_stack_or_a_change() {
    for kind in ["AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::SecretsManager::Secret"] {
        let found = of_type(kind);
        assert!(!found.is_empty(), "{kind}");
        for (name, one) in found {
            // What a stack that could not be created leaves behind would keep the next try from its name.
            assert_eq!(one["DeletionPolicy"], "RetainExceptOnCreate", "{name}");
            assert_eq!(one["UpdateReplacePolicy"], "Retain", "{name}");
        }
    }
    let (_, table) = of_type("AWS::DynamoDB::Table")[0];
    let properties = &table["Properties"];
    assert_eq!(properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true);
    assert_eq!(properties["TimeToLiveSpecification"], json!({"AttributeName": "ttl", "Enabled": true}));
    assert_eq!(properties["BillingMode"], "PAY_PER_REQUEST");
}

#[test]
fn each_function_is_built_from_the_crate_of_its_name_and_has_a_short_main() {
    let built: BTreeSet<String> = functions()
        .iter()
        .map(|(_, function)| function["Metadata"]["BuildProperties"]["Binary"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(built, FUNCTIONS.map(str::to_owned).into());
    for function in FUNCTIONS {
        let folder = root().join("functions").join(function);
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        assert_eq!(
            manifest.matches(&format!("name = \"{function}\"")).count(),
            2,
            "crate and binary are {function}"
        );
        let main = std::fs::read_to_string(folder.join("src/main.rs")).unwrap();
        assert!(main.lines().count() < 60, "{function}");
    }
}

#[test]
fn alarms_and_dashboard_name_metrics_that_there_are() {
    let known: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name().0).collect();
    let own = of_type("AWS::CloudWatch::Alarm")
        .into_iter()
        .filter(|(_, one)| one["Properties"]["Namespace"] == "Syncline");
    let mut named: Vec<String> =
        own.map(|(_, alarm)| alarm["Properties"]["MetricName"].as_str().unwrap().to_owned()).collect();
    assert!(
        ["Lag", "SignInFailures", "QuotaUsed", "Paused"]
            .iter()
            .all(|name| named.contains(&(*name).to_owned()))
    );
    let body = resources()["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"].as_str().unwrap();
    let widgets: Value = serde_json::from_str(body).unwrap();
    for widget in widgets["widgets"].as_array().unwrap() {
        let metrics = widget["properties"]["metrics"].as_array().unwrap().iter();
        let own = metrics.filter(|metric| metric[0] == "Syncline");
        named.extend(own.map(|metric| metric[1].as_str().unwrap().to_owned()));
    }
    for name in &named {
        assert!(known.contains(&name.as_str()), "nobody emits {name}");
    }
    for name in known {
        assert!(named.contains(&name.to_owned()), "{name} is on no dashboard and in no alarm");
    }
}

#[test]
fn the_template_has_every_output_that_the_command_line_reads() {
    let source = std::fs::read_to_string(root().join("cli/src/instance/stack.rs")).unwrap()
        + &std::fs::read_to_string(root().join("cli/src/instance/one_process.rs")).unwrap();
    let mut asked = 0;
    for call in ["output(\"", "optional(\"", "secret(\""] {
        for rest in source.split(call).skip(1) {
            let name = rest.split('"').next().unwrap();
            assert!(TEMPLATE["Outputs"][name].is_object(), "the template has no output {name}");
            asked += 1;
        }
    }
    assert!(asked >= 8, "{asked}");
}
