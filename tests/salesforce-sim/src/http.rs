//! The sockets: what every answer bears, and the clock that sends outbound messages.

use crate::outbound::{acknowledges, envelope};
use crate::tls::TlsListener;
use crate::{control, oauth, rest};
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, patch, post};
use axum::serve::Listener as _;
use org::{ApiCall, Faults, Org, User};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How a simulator starts.
#[derive(Clone, Debug, Default)]
pub struct SimulatorConfig {
    /// The port; 0 takes a free one.
    pub port: u16,
    /// The public key (DER, PKCS#1) against which JWT assertions are verified.
    pub jwt_public_key: Option<Vec<u8>>,
    /// Also listens with TLS, with a certificate of its own for 127.0.0.1 and localhost.
    pub tls: bool,
}

#[derive(Default)]
pub(crate) struct Tokens {
    pub(crate) living: BTreeMap<String, User>,
    pub(crate) issued: u64,
}

/// What every handler shares.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) org: Arc<Mutex<Org>>,
    pub(crate) tokens: Arc<Mutex<Tokens>>,
    pub(crate) pages: Arc<Mutex<BTreeMap<String, rest::Page>>>,
    pub(crate) base_url: String,
    pub(crate) jwt_public_key: Option<Vec<u8>>,
}

/// A form body.
pub(crate) struct Form(pub(crate) BTreeMap<String, String>);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        axum::Form::from_request(request, state)
            .await
            .map(|axum::Form(map)| Self(map))
            .map_err(IntoResponse::into_response)
    }
}

/// A running simulator. Dropped, it stops.
pub struct Simulator {
    /// The org.
    pub org: Arc<Mutex<Org>>,
    /// Where it listens, as in `http://127.0.0.1:4321`.
    pub url: String,
    /// Where it listens with TLS, if it does.
    pub tls_url: Option<String>,
    address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Simulator {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Simulator {
    /// Starts on loopback.
    ///
    /// # Errors
    /// When the port is in use.
    pub async fn start(config: SimulatorConfig) -> std::io::Result<Self> {
        // An error says that there is a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind(("127.0.0.1", config.port)).await?;
        let address = listener.local_addr()?;
        let url = format!("http://{address}");
        let app = App {
            org: Arc::new(Mutex::new(Org::new(jiff::Timestamp::now))),
            tokens: Arc::default(),
            pages: Arc::default(),
            base_url: url.clone(),
            jwt_public_key: config.jwt_public_key,
        };
        let mut tasks = Vec::new();
        let mut tls_url = None;
        if config.tls {
            let listener = TlsListener::bind().await?;
            let url = format!("https://{}", listener.local_addr()?);
            // Whoever signs in here goes on here.
            let app = App { base_url: url.clone(), ..app.clone() };
            tls_url = Some(url);
            tasks.push(tokio::spawn(async move {
                let _ = axum::serve(listener, router(app)).await;
            }));
        }
        let org = app.org.clone();
        let sender = tokio::spawn(send_messages(app.clone()));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router(app)).await;
        });
        tasks.extend([sender, server]);
        Ok(Self { org, url, tls_url, address, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until it is stopped.
    pub async fn wait(mut self) {
        if let Some(server) = self.tasks.pop() {
            let _ = server.await;
        }
    }
}

/// A route with and without a slash at its end: clients write both.
fn both(router: Router<App>, path: &str, methods: MethodRouter<App>) -> Router<App> {
    router.route(path, methods.clone()).route(&format!("{path}/"), methods)
}

fn router(app: App) -> Router {
    let mut api = Router::new().route("/", get(rest::resources)).fallback(rest::unknown);
    let record = get(rest::read_one).patch(rest::update_one).delete(rest::delete_one);
    let many = post(rest::create_many).patch(rest::update_many).delete(rest::delete_many);
    for (path, methods) in [
        ("/limits", get(rest::limits)),
        ("/sobjects", get(rest::describe_global)),
        ("/sobjects/{object}/describe", get(rest::describe)),
        ("/sobjects/{object}", get(rest::basic_information).post(rest::create_one)),
        ("/sobjects/{object}/updated", get(rest::updated)),
        ("/sobjects/{object}/deleted", get(rest::deleted)),
        ("/sobjects/{object}/{field}/{value}", get(rest::read_by_value).patch(rest::upsert_one)),
        ("/sobjects/{object}/{id}", record),
        ("/query", get(rest::query)),
        ("/queryAll", get(rest::query_all)),
        ("/query/{locator}", get(rest::next_page)),
        ("/queryAll/{locator}", get(rest::next_page)),
        ("/composite/sobjects", many),
        ("/composite/sobjects/{object}", post(rest::read_many)),
        ("/composite/sobjects/{object}/{field}", patch(rest::upsert_many)),
    ] {
        api = both(api, path, methods);
    }
    let api = api.layer(middleware::from_fn_with_state(app.clone(), api_call));
    // The nested router does not take its own root with a slash at its end.
    let root = get(rest::resources).layer(middleware::from_fn_with_state(app.clone(), api_call));
    let whole = both(Router::new(), "/services/data", get(rest::versions));
    let whole = both(whole, "/services/oauth2/token", post(oauth::token));
    let whole = both(whole, "/services/oauth2/revoke", post(oauth::revoke));
    let whole = both(whole, "/services/oauth2/userinfo", get(oauth::identity));
    let whole = both(whole, "/id/{organization}/{user}", get(oauth::identity));
    both(whole, "/services/Soap/u/{version}", post(oauth::soap_session))
        .nest("/services/data/{version}", api)
        .route("/services/data/{version}/", root)
        .nest("/sim", control::routes())
        .layer(middleware::from_fn_with_state(app.clone(), stamped))
        .with_state(app)
}

/// Every answer bears the org's clock.
async fn stamped(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let date = app.org.lock().unwrap().now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = HeaderValue::from_str(&date) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// The kind of a call, for the ledger.
fn kind(method: &str, path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match (method, parts.as_slice()) {
        (_, ["query" | "queryAll", ..]) => "query".to_owned(),
        (_, ["composite", "sobjects", _]) => "retrieve collection".to_owned(),
        ("POST", ["composite", "sobjects"]) => "create collection".to_owned(),
        ("PATCH", ["composite", "sobjects"]) => "update collection".to_owned(),
        ("DELETE", ["composite", "sobjects"]) => "delete collection".to_owned(),
        (_, [.., "describe"] | ["sobjects"]) => "describe".to_owned(),
        (_, ["limits"]) => "limits".to_owned(),
        (method, ["sobjects", ..]) => format!("{} record", method.to_lowercase()),
        _ => "other".to_owned(),
    }
}

/// Who calls, how often, and what goes wrong.
async fn api_call(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token =
        token.and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("OAuth ")));
    let user = token.and_then(|token| app.tokens.lock().unwrap().living.get(token).cloned());
    let Some(user) = user else {
        return rest::refusal(StatusCode::UNAUTHORIZED, "INVALID_SESSION_ID", "Session expired or invalid");
    };
    let writes = request.method() != "GET" && !request.uri().path().contains("/composite/sobjects/");
    // Salesforce applies assignment rules unless it is told not to.
    let assigns = writes
        && request
            .headers()
            .get("Sforce-Auto-Assign")
            .is_none_or(|value| !value.as_bytes().eq_ignore_ascii_case(b"false"));
    let kind = kind(request.method().as_str(), request.uri().path());
    request.extensions_mut().insert(user.clone());
    let (lasting, unavailable, limited, lost, delay, usage) = {
        let mut org = app.org.lock().unwrap();
        *org.calls.entry(ApiCall { client: user.client_id.clone(), kind }).or_default() += 1;
        org.auto_assigned += u64::from(assigns);
        let usage = format!("api-usage={}/{}{}", org.calls_used(), org.allowance, org.more_limits);
        let over = org.calls_used() > org.allowance;
        let delay = Faults::strike(&mut org.faults.slow).then_some(org.faults.delay_ms);
        let away = org
            .faults
            .away
            .as_ref()
            .is_some_and(|(client, until)| *client == user.client_id && jiff::Timestamp::now() < *until);
        let lasting = org.faults.lasting_answer.clone().filter(|answer| answer.client == user.client_id);
        let unavailable = Faults::strike(&mut org.faults.unavailable) || away;
        let limited = Faults::strike(&mut org.faults.request_limit) || over;
        let lost = writes && Faults::strike(&mut org.faults.answer_lost);
        (lasting, unavailable, limited, lost, delay, usage)
    };
    let mut response = if let Some(answer) = lasting {
        let kind = if answer.body.starts_with('[') { "application/json;charset=UTF-8" } else { "text/html" };
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::FORBIDDEN);
        (status, [(header::CONTENT_TYPE, kind)], answer.body).into_response()
    } else if unavailable {
        rest::refusal(StatusCode::SERVICE_UNAVAILABLE, "SERVER_UNAVAILABLE", "Server is unavailable")
    } else if limited {
        rest::refusal(StatusCode::FORBIDDEN, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
    } else {
        next.run(request).await
    };
    if let Some(delay) = delay {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    if lost {
        let cut = futures_util::stream::once(async {
            Err::<Vec<u8>, _>(std::io::Error::other("the connection is cut"))
        });
        response = (StatusCode::OK, Body::from_stream(cut)).into_response();
    }
    if let Ok(usage) = HeaderValue::from_str(&usage) {
        response.headers_mut().insert("Sforce-Limit-Info", usage);
    }
    response
}

/// Sends what waits, every 20 ms.
async fn send_messages(app: App) {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
    loop {
        let request = {
            let mut org = app.org.lock().unwrap();
            let now = org.now();
            let notifications = org.outbox.take_due(now);
            envelope(&org, &app.base_url, &notifications)
                .map(|(endpoint, body)| (endpoint, body, notifications))
        };
        let Some((endpoint, body, notifications)) = request else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let sent = client
            .post(endpoint)
            .header(header::CONTENT_TYPE, "text/xml; charset=utf-8")
            .header("SOAPAction", "\"\"")
            .body(body)
            .send()
            .await;
        let acknowledged = match sent {
            Ok(answer) => {
                let status = answer.status().as_u16();
                acknowledges(status, &answer.text().await.unwrap_or_default())
            }
            Err(_) => false,
        };
        let mut org = app.org.lock().unwrap();
        let now = org.now();
        if acknowledged {
            org.outbox.acknowledged += notifications.len() as u64;
        } else {
            org.outbox.put_back(notifications, now);
        }
    }
}
