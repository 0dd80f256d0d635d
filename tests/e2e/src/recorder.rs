//! A proxy between the functions and AWS. It records which program made which calls, and causes faults when a
//! test asks for them.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// One kind of call: the program that made it, the IAM action, and the name of the resource.
pub type Call = (String, String, String);

/// The faults that the recorder still has to cause. Each number says how many calls the fault still strikes.
#[derive(Clone, Debug, Default)]
pub struct Strikes {
    /// Calls to DynamoDB that are answered with throttling.
    pub throttled: u32,
    /// BatchGetItem calls that leave half of their keys unprocessed.
    pub unprocessed: u32,
    /// SendMessageBatch calls whose first entry fails.
    pub half_sent: u32,
    /// Calls of any kind that are carried out and whose answer is lost. The caller gets status 500.
    pub answer_lost: u32,
}

#[derive(Default)]
struct Known {
    calls: BTreeSet<Call>,
    strikes: Strikes,
    struck: u32,
}

/// The handle of a recorder. Its clones share one recorder.
#[derive(Clone)]
pub struct Recorder {
    /// The address at which the functions call AWS.
    pub endpoint: String,
    aws: Arc<Mutex<String>>,
    known: Arc<Mutex<Known>>,
    http: reqwest::Client,
}

impl Recorder {
    /// Starts a recorder. It forwards calls once [`Recorder::forward_to`] has set the address of AWS.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start() -> Self {
        syncline_salesforce::install_crypto_provider();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let recorder = Self {
            endpoint,
            aws: Arc::default(),
            known: Arc::default(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        };
        let router = Router::new().fallback(forward).with_state(recorder.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        recorder
    }

    /// Sets the address of the AWS to which calls are forwarded.
    pub fn forward_to(&self, aws: &str) {
        aws.clone_into(&mut self.aws.lock().unwrap());
    }

    /// Every kind of call that was made so far.
    #[must_use]
    pub fn calls(&self) -> BTreeSet<Call> {
        self.known.lock().unwrap().calls.clone()
    }

    /// Sets the faults to cause from the next call on.
    pub fn strike(&self, strikes: Strikes) {
        self.known.lock().unwrap().strikes = strikes;
    }

    /// How many calls were struck by a fault so far.
    #[must_use]
    pub fn struck(&self) -> u32 {
        self.known.lock().unwrap().struck
    }
}

fn answer(status: u16, kind: &str, body: Vec<u8>) -> Response<axum::body::Body> {
    let status = StatusCode::from_u16(status).unwrap();
    Response::builder().status(status).header("content-type", kind).body(body.into()).unwrap()
}

async fn forward(
    State(recorder): State<Recorder>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<axum::body::Body> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let program = text("user-agent").split("app/").nth(1).and_then(|rest| rest.split(' ').next());
    let program = program.unwrap_or("unknown").to_owned();
    let target = text("x-amz-target").to_owned();
    let kind = text("content-type").to_owned();
    let mut sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut failed_entry = None;
    {
        let mut known = recorder.known.lock().unwrap();
        for (action, resource) in actions(&target, &sent, &body) {
            known.calls.insert((program.clone(), action, resource));
        }
        let take = |count: &mut u32| {
            let strikes = *count > 0;
            *count = count.saturating_sub(1);
            strikes
        };
        if target.starts_with("DynamoDB") && take(&mut known.strikes.throttled) {
            known.struck += 1;
            let words = json!({
                "__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException", "message": "slow down",
            });
            return answer(400, "application/x-amz-json-1.0", words.to_string().into_bytes());
        }
        if target.ends_with(".SendMessageBatch") && take(&mut known.strikes.half_sent) {
            known.struck += 1;
            failed_entry = sent["Entries"].as_array_mut().map(|entries| entries.remove(0));
        }
    }
    let mut unprocessed = Vec::new();
    if target.ends_with(".BatchGetItem") {
        let mut known = recorder.known.lock().unwrap();
        if known.strikes.unprocessed > 0 {
            known.strikes.unprocessed -= 1;
            known.struck += 1;
            for table in sent["RequestItems"].as_object_mut().unwrap().values_mut() {
                let keys = table["Keys"].as_array_mut().unwrap();
                unprocessed = keys.split_off(keys.len().div_ceil(2));
            }
        }
    }
    let changed = failed_entry.is_some() || !unprocessed.is_empty();
    if let Some(entry) = &failed_entry
        && sent["Entries"].as_array().is_none_or(Vec::is_empty)
    {
        let id = &entry["Id"];
        let failed =
            json!({"Successful": [], "Failed": [{"Id": id, "SenderFault": false, "Code": "InternalError"}]});
        return answer(200, &kind, failed.to_string().into_bytes());
    }
    let body = if changed { sent.to_string().into_bytes() } else { body.to_vec() };
    let aws = recorder.aws.lock().unwrap().clone();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = recorder.http.request(method, format!("{aws}{path}")).body(body);
    for (name, value) in &headers {
        if !["host", "content-length", "connection", "accept-encoding"].contains(&name.as_str()) {
            request = request.header(name, value);
        }
    }
    let Ok(response) = request.send().await else {
        return answer(503, "text/plain", b"AWS is away".to_vec());
    };
    let status = response.status().as_u16();
    let mut headers = response.headers().clone();
    let mut body = response.bytes().await.unwrap_or_default().to_vec();
    if changed && let Ok(mut said) = serde_json::from_slice::<Value>(&body) {
        if let Some(entry) = failed_entry {
            said["Failed"] = json!([{"Id": entry["Id"], "SenderFault": false, "Code": "InternalError"}]);
        }
        if !unprocessed.is_empty() {
            let tables: Vec<String> = sent["RequestItems"].as_object().unwrap().keys().cloned().collect();
            for table in tables {
                let consistent = sent["RequestItems"][&table]["ConsistentRead"].clone();
                said["UnprocessedKeys"][&table] = json!({"Keys": unprocessed, "ConsistentRead": consistent});
            }
        }
        body = said.to_string().into_bytes();
    }
    {
        let mut known = recorder.known.lock().unwrap();
        if known.strikes.answer_lost > 0 && status == 200 {
            known.strikes.answer_lost -= 1;
            known.struck += 1;
            return answer(500, "application/x-amz-json-1.0", b"{}".to_vec());
        }
    }
    for name in ["content-length", "transfer-encoding", "connection", "x-amz-crc32"] {
        headers.remove(name);
    }
    let mut forwarded = answer(status, "application/json", body);
    *forwarded.headers_mut() = headers;
    forwarded
}

/// The IAM actions that a call needs, each with its resource.
fn actions(target: &str, sent: &Value, body: &[u8]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let last = |value: &Value| text(value).rsplit(['/']).next().unwrap_or_default().to_owned();
    let (service, operation) = target.split_once('.').unwrap_or_default();
    if service.starts_with("DynamoDB") {
        let table = text(&sent["TableName"]);
        return match operation {
            // IAM has no action for a transaction. Each item of the transaction needs the action of its own
            // kind.
            "TransactWriteItems" => {
                let items = sent["TransactItems"].as_array().cloned().unwrap_or_default();
                let of_item = |item: &Value| {
                    let (kind, item) = item.as_object()?.iter().next()?;
                    let action = if kind == "ConditionCheck" {
                        "ConditionCheckItem".into()
                    } else {
                        format!("{kind}Item")
                    };
                    Some((format!("dynamodb:{action}"), text(&item["TableName"])))
                };
                items.iter().filter_map(of_item).collect()
            }
            "BatchGetItem" => {
                let tables = sent["RequestItems"].as_object().cloned().unwrap_or_default();
                tables.keys().map(|table| ("dynamodb:BatchGetItem".to_owned(), table.clone())).collect()
            }
            _ => {
                let index =
                    sent["IndexName"].as_str().map(|index| format!("/index/{index}")).unwrap_or_default();
                vec![(format!("dynamodb:{operation}"), table + &index)]
            }
        };
    }
    match service {
        "AmazonSQS" => {
            vec![(format!("sqs:{}", operation.trim_end_matches("Batch")), last(&sent["QueueUrl"]))]
        }
        "secretsmanager" => vec![(format!("secretsmanager:{operation}"), text(&sent["SecretId"]))],
        _ => {
            let form = String::from_utf8_lossy(body).into_owned();
            let value = |name: &str| {
                let found = form.split('&').find_map(|part| part.strip_prefix(&format!("{name}=")))?;
                Some(found.replace("%3A", ":").rsplit(':').next()?.to_owned())
            };
            match (value("Action"), value("TopicArn")) {
                (Some(action), Some(topic)) => vec![(format!("sns:{action}"), topic)],
                (Some(action), None) => vec![(format!("unknown:{action}"), String::new())],
                _ => vec![],
            }
        }
    }
}
