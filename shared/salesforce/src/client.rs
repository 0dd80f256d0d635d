//! The HTTP client of one org. It keeps the session, repeats calls that only read, and knows the org's clock
//! and its daily allowance of calls.

use crate::credentials::{Credentials, Session, unreachable};
use crate::error::SalesforceError;
use crate::records::COLLECTION_RECORDS;
use jiff::Timestamp;
use reqwest::{Method, RequestBuilder, StatusCode, header};
use secrecy::ExposeSecret;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use syncline_sync::Concern;

/// The longest time-out of a call. The time-out is two thirds of the lease if that is shorter, which is the
/// case for a lease under 90 seconds.
pub const LONGEST_CALL: Duration = Duration::from_secs(60);
/// How many milliseconds the client waits before each repetition of a call that only reads. Together the
/// waits take less than two seconds.
const RETRY_WAITS_MS: [u64; 3] = [100, 400, 1_200];

/// How many of the calls that the org may make within 24 hours are used, by the last header
/// `Sforce-Limit-Info`. Both numbers are 0 before the first answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The number of calls that are used.
    pub used: u64,
    /// The number of calls that are allowed.
    pub allowed: u64,
    /// The number of calls that are allowed to this program alone, in an org that limits it.
    pub allowed_to_app: Option<u64>,
}

impl Usage {
    /// Reads a header such as `api-usage=18/5000` or `api-usage=25/5000; per-app-api-usage=17/250(appName=sample)`.
    /// `None` if it has no `api-usage` that can be read. Source: Limit Info Header (REST API Developer Guide), which
    /// separates the parts by `;`. Older releases wrote `,`.
    fn parse(header: &str) -> Option<Self> {
        let part = |name: &str| {
            let parts = header.split([';', ',']).filter_map(|part| part.trim().split_once('='));
            let (_, numbers) = parts.into_iter().find(|(found, _)| *found == name)?;
            let (used, allowed) = numbers.split_once('/')?;
            let allowed = allowed.split('(').next().unwrap_or(allowed);
            Some((used.trim().parse().ok()?, allowed.trim().parse().ok()?))
        };
        let (used, allowed) = part("api-usage")?;
        let allowed_to_app = part("per-app-api-usage").map(|(_, allowed): (u64, u64)| allowed);
        Some(Self { used, allowed, allowed_to_app })
    }
}

#[derive(Default)]
struct Known {
    session: Option<Arc<Session>>,
    date: Option<Timestamp>,
    usage: Usage,
    calls: u64,
    /// How many of `calls` the last `take_calls` had counted.
    told: u64,
    organization_id: Option<String>,
    /// True once Salesforce has refused a sign-in.
    refused: bool,
    /// True once a header `Sforce-Limit-Info` could not be read.
    warned: bool,
    /// The objects that have no field `IsDeleted`, such as `User`.
    without_is_deleted: BTreeSet<String>,
    /// How many records a call that writes to an object has, where Apex code took fewer than the most.
    batch_sizes: BTreeMap<String, usize>,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// The most records in one call, from 1 to 200.
    pub batch_size: usize,
    /// What becomes of a record that a duplicate rule of the org with the action *Allow* and an alert finds.
    pub duplicates: Duplicates,
}

/// What becomes of a record that a duplicate rule finds, if the rule allows a user to save it after an alert. Source:
/// Sforce-Duplicate-Rule-Header (REST API Developer Guide). A rule that blocks refuses the record either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duplicates {
    /// The record is saved.
    #[default]
    Save,
    /// The record is refused, and shown.
    Refuse,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { batch_size: COLLECTION_RECORDS, duplicates: Duplicates::Save }
    }
}

/// A client that makes the calls to one org.
pub struct Client {
    http: reqwest::Client,
    login_url: String,
    api_version: String,
    credentials: Credentials,
    options: WriteOptions,
    known: Mutex<Known>,
}

/// The body of an answer, and the time in its `Date` header.
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    pub(crate) date: Timestamp,
}

#[derive(Deserialize)]
struct ErrorItem {
    #[serde(rename = "errorCode", default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Client {
    /// Makes a client, which signs in at its first call. A call without an answer is given up after
    /// `call_timeout`. That time has to be well shorter than the lease of an intent.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(
        login_url: &str,
        api_version: &str,
        credentials: Credentials,
        call_timeout: Duration,
    ) -> Result<Self, SalesforceError> {
        crate::install_crypto_provider();
        let http = reqwest::Client::builder()
            .timeout(call_timeout)
            .connect_timeout(call_timeout.min(Duration::from_secs(10)))
            .user_agent(concat!("syncline/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| unreachable(login_url, &error))?;
        Ok(Self {
            http,
            login_url: login_url.trim_end_matches('/').to_owned(),
            api_version: api_version.trim_start_matches('v').to_owned(),
            credentials,
            options: WriteOptions::default(),
            known: Mutex::default(),
        })
    }

    /// The same client with these options.
    #[must_use]
    pub fn with(self, options: WriteOptions) -> Self {
        Self { options, ..self }
    }

    /// True unless Salesforce said that the object has no field `IsDeleted`.
    pub(crate) fn has_is_deleted(&self, object: &str) -> bool {
        !self.known().without_is_deleted.contains(object)
    }

    /// Remembers that the object has no field `IsDeleted`.
    pub(crate) fn note_without_is_deleted(&self, object: &str) {
        self.known().without_is_deleted.insert(object.to_owned());
    }

    /// How many records the next call that writes to this object has.
    pub(crate) fn batch_size(&self, object: &str) -> usize {
        let most = self.options.batch_size.clamp(1, COLLECTION_RECORDS);
        self.known().batch_sizes.get(object).map_or(most, |size| (*size).min(most))
    }

    /// Remembers what a call with this many records met. After a limit of Apex code, calls have half as many; after a call
    /// that met none, they grow by a tenth.
    pub(crate) fn note_batch(&self, object: &str, count: usize, met_limit: bool) {
        let size = self.batch_size(object);
        let most = self.options.batch_size.clamp(1, COLLECTION_RECORDS);
        let next = match met_limit {
            true => (count / 2).clamp(1, size),
            false if count >= size => size + (size / 10).max(1),
            false => return,
        };
        let mut known = self.known();
        if next >= most {
            known.batch_sizes.remove(object);
        } else {
            known.batch_sizes.insert(object.to_owned(), next);
        }
    }

    /// The numbers in the last header `Sforce-Limit-Info`.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.known().usage
    }

    /// True once Salesforce has refused a sign-in. Then the secret may have been rotated.
    #[must_use]
    pub fn was_refused(&self) -> bool {
        self.known().refused
    }

    /// Binds the client to this org. A later sign-in that leads to another org is an error. A sandbox that
    /// was refreshed is another org.
    pub fn bind(&self, organization_id: &str) {
        self.known().organization_id = Some(organization_id.to_owned());
    }

    /// Asks for the resources of the API version, to find out whether Salesforce answers. Every user of the API may ask
    /// for them, and the answer is small. The call is not repeated.
    pub(crate) async fn ask_version(&self) -> Result<(), SalesforceError> {
        self.once(Method::GET, &self.version_path(), &[], None).await.map(|_| ())
    }

    /// The number of calls that were made since this method was called last.
    pub(crate) fn take_calls(&self) -> u64 {
        let mut known = self.known();
        let calls = known.calls - known.told;
        known.told = known.calls;
        calls
    }

    /// The number of calls that this client has made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.known().calls
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Id of the org, in 18 characters. Signs in if there is no session.
    ///
    /// # Errors
    /// When the sign-in fails.
    pub async fn organization_id(&self) -> Result<String, SalesforceError> {
        Ok(self.session().await?.organization_id.clone())
    }

    async fn session(&self) -> Result<Arc<Session>, SalesforceError> {
        if let Some(session) = self.known().session.clone() {
            return Ok(session);
        }
        let signed_in = self.credentials.sign_in(&self.http, &self.login_url).await;
        if matches!(signed_in, Err(SalesforceError::SignIn { .. })) {
            self.known().refused = true;
        }
        let session = Arc::new(signed_in?);
        let expected = self.known().organization_id.clone();
        if let Some(expected) = expected.filter(|expected| *expected != session.organization_id) {
            return Err(SalesforceError::OtherOrg { expected, found: session.organization_id.clone() });
        }
        self.known().session = Some(session.clone());
        Ok(session)
    }

    /// The time in the `Date` header of the last answer; `None` before the first.
    pub(crate) fn last_date(&self) -> Option<Timestamp> {
        self.known().date
    }

    /// The path of the API version of this client. It answers the version's resources.
    pub(crate) fn version_path(&self) -> String {
        format!("/services/data/v{}", self.api_version)
    }

    /// The path of a resource in the API version of this client.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("{}/{rest}", self.version_path())
    }

    /// Makes a call that only reads. A call without a usable answer is repeated up to three times. The waits
    /// before the repetitions take less than two seconds together.
    pub(crate) async fn read(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, SalesforceError> {
        let mut waits = RETRY_WAITS_MS.into_iter();
        loop {
            let error = match self.once(method.clone(), path, query, body).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let transient =
                matches!(error, SalesforceError::Unreachable { .. } | SalesforceError::Unanswered { .. });
            match waits.next().filter(|_| transient) {
                Some(wait) => tokio::time::sleep(Duration::from_millis(wait)).await,
                None => return Err(error),
            }
        }
    }

    /// Makes a call that writes. It is never repeated, with one exception: if the session had expired, the
    /// client signs in again and repeats the call once, because nothing was written under the expired
    /// session.
    pub(crate) async fn write(
        &self,
        method: Method,
        path: &str,
        body: &[u8],
    ) -> Result<Answer, SalesforceError> {
        self.once(method, path, &[], Some(body)).await
    }

    /// Makes a call that deletes the records in its query. It is repeated only after an expired session, like
    /// `write`.
    pub(crate) async fn remove(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, SalesforceError> {
        self.once(Method::DELETE, path, query, None).await
    }

    async fn once(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, SalesforceError> {
        let mut signed_in_again = false;
        loop {
            let session = self.session().await?;
            let url = format!("{}{path}", session.instance_url);
            let mut request: RequestBuilder = self
                .http
                .request(method.clone(), &url)
                .bearer_auth(session.token.expose_secret())
                .header("Sforce-Call-Options", "client=syncline")
                .header("Sforce-Auto-Assign", "FALSE");
            if self.options.duplicates == Duplicates::Save && method != Method::GET {
                request = request.header("Sforce-Duplicate-Rule-Header", "allowSave=true");
            }
            if !query.is_empty() {
                request = request.query(query);
            }
            if let Some(body) = body {
                request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_vec());
            }
            self.known().calls += 1;
            let answer = request.send().await.map_err(|error| unreachable(&url, &error))?;
            let status = answer.status();
            let date = self.note_headers(answer.headers());
            let body = answer.bytes().await.map_err(|error| unreachable(&url, &error))?;
            if status.is_success() {
                return Ok(Answer { body: body.to_vec(), date });
            }
            if status == StatusCode::UNAUTHORIZED && !signed_in_again {
                signed_in_again = true;
                let mut known = self.known();
                if known.session.as_ref().is_some_and(|known| Arc::ptr_eq(known, &session)) {
                    known.session = None;
                }
                continue;
            }
            return Err(refusal(&url, status, &body));
        }
    }

    /// Remembers the `Date` and the `Sforce-Limit-Info` of an answer. Returns the answer's `Date`, or the
    /// last one known if it has none, or the time of this machine if none is known.
    fn note_headers(&self, headers: &header::HeaderMap) -> Timestamp {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let date = text("date")
            .and_then(|date| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
        let limit_info = text("sforce-limit-info");
        let usage = limit_info.and_then(Usage::parse);
        let mut known = self.known();
        if usage.is_none()
            && let Some(header) = limit_info
            && !std::mem::replace(&mut known.warned, true)
        {
            tracing::warn!(
                %header,
                "the header Sforce-Limit-Info cannot be read, so it is not known how many calls the org allows"
            );
        }
        known.date = date.or(known.date);
        known.usage = usage.unwrap_or(known.usage);
        known.date.unwrap_or_else(Timestamp::now)
    }
}

fn refusal(url: &str, status: StatusCode, body: &[u8]) -> SalesforceError {
    let items: Vec<ErrorItem> = serde_json::from_slice(body).unwrap_or_default();
    let item = items.into_iter().next();
    let url = url.split('?').next().unwrap_or(url).to_owned();
    match (status, item) {
        (_, Some(item)) if Concern::of_call(&item.code, &item.message) == Concern::Quota => {
            SalesforceError::QuotaSpent(item.message)
        }
        (status, item) if status.is_server_error() => {
            let words = item.map(|item| format!("{}: {}", item.code, item.message));
            SalesforceError::Unanswered { url, message: words.unwrap_or_else(|| status.to_string()) }
        }
        (_, Some(item)) => SalesforceError::Refused { code: item.code, message: item.message },
        // The API answers errors in JSON. Anything else comes from a proxy, a firewall or a page in between, so it is not
        // known whether Salesforce carried the call out.
        (status, None) => {
            SalesforceError::Unanswered { url, message: format!("{status}, without an error of the API") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowance_is_read_from_every_form_of_the_header() {
        for (header, allowed, allowed_to_app) in [
            ("api-usage=18/5000", 5_000, None),
            ("api-usage=10018/100000; api-bursts=1/750", 100_000, None),
            ("api-usage=25/5000; per-app-api-usage=17/250(appName=sample-connected-app)", 5_000, Some(250)),
            ("per-app-api-usage=17/250(appName=x),api-usage=25/5000", 5_000, Some(250)),
        ] {
            let usage = Usage::parse(header).unwrap();
            assert_eq!((usage.allowed, usage.allowed_to_app), (allowed, allowed_to_app), "{header}");
        }
        for header in ["", "api-usage", "api-usage=1", "api-usage=a/b", "api-bursts=1/750"] {
            assert_eq!(Usage::parse(header), None, "{header}");
        }
    }

    #[test]
    fn calls_become_half_as_large_after_a_limit_and_grow_again_by_a_tenth() {
        let credentials = Credentials::ClientCredentials {
            client_id: "syncline".into(),
            client_secret: secrecy::SecretString::from("secret"),
        };
        let client = Client::new("http://127.0.0.1:9", "62.0", credentials, Duration::from_secs(1)).unwrap();
        let client = client.with(WriteOptions { batch_size: 100, ..WriteOptions::default() });
        let size = || client.batch_size("Contact");
        assert_eq!(size(), 100);
        client.note_batch("Contact", 100, true);
        assert_eq!((size(), client.batch_size("Account")), (50, 100));
        client.note_batch("Contact", 30, false);
        assert_eq!(size(), 50, "a smaller call says nothing of a larger one");
        client.note_batch("Contact", 50, false);
        assert_eq!(size(), 55);
        for _ in 0..10 {
            client.note_batch("Contact", size(), false);
        }
        assert_eq!(size(), 100, "never more than the setting");
        client.note_batch("Contact", 1, true);
        assert_eq!(size(), 1, "never none");
    }

    #[test]
    fn a_page_in_html_is_no_refusal_of_salesforce() {
        for status in [StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS] {
            let error = refusal("http://x/y", status, b"<html>blocked</html>");
            assert!(matches!(error, SalesforceError::Unanswered { .. }), "{error}");
        }
        let long =
            br#"[{"message":"ConcurrentPerOrgLongTxn Limit exceeded","errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#;
        assert!(!matches!(
            refusal("http://x/y", StatusCode::FORBIDDEN, long),
            SalesforceError::QuotaSpent(_)
        ));
    }

    #[test]
    fn a_refusal_is_read_from_salesforces_list() {
        let body = br#"[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#;
        let error = refusal("http://x/y?q=secret", StatusCode::FORBIDDEN, body);
        assert_eq!(error, SalesforceError::QuotaSpent("TotalRequests Limit exceeded.".into()));
        let error = refusal("http://x/y?q=secret", StatusCode::BAD_GATEWAY, b"<html>");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
