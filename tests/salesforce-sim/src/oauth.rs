//! Sign-in: client credentials, JWT bearer, name and password, refresh token, and login() by SOAP.

use crate::http::{App, Form};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use org::User;
use serde_json::{Value, json};

fn refuse(error: &str, description: &str) -> Response {
    let body = axum::Json(json!({"error": error, "error_description": description}));
    (StatusCode::BAD_REQUEST, body).into_response()
}

/// `POST /services/oauth2/token`.
pub(crate) async fn token(State(app): State<App>, headers: HeaderMap, Form(form): Form) -> Response {
    let field = |name: &str| form.get(name).cloned().unwrap_or_default();
    let mut org = app.org.lock().unwrap();
    let user = match field("grant_type").as_str() {
        "client_credentials" => {
            let (id, secret) = basic(&headers).unwrap_or((field("client_id"), field("client_secret")));
            let Some(user) = org.users.iter().find(|user| user.client_id == id) else {
                return refuse("invalid_client_id", "client identifier invalid");
            };
            if user.client_secret != secret {
                return refuse("invalid_client", "invalid client credentials");
            }
            user.clone()
        }
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
            let claims = match verified(&app, &field("assertion")) {
                Ok(claims) => claims,
                Err(description) => return refuse("invalid_grant", description),
            };
            let issuer = claims["iss"].as_str().unwrap_or_default();
            match org.users.iter().find(|user| user.client_id == issuer) {
                Some(user) => user.clone(),
                None => return refuse("invalid_client_id", "client identifier invalid"),
            }
        }
        "password" => {
            let user = org.users.iter().find(|user| user.username == field("username"));
            match user.filter(|user| signs_in(user, &field("password"))) {
                Some(user) => user.clone(),
                None => return refuse("invalid_grant", "authentication failure - Invalid Password"),
            }
        }
        "refresh_token" => match org.users.iter().find(|user| user.refresh_token == field("refresh_token")) {
            Some(user) => user.clone(),
            None => return refuse("invalid_grant", "expired access/refresh token"),
        },
        _ => return refuse("unsupported_grant_type", "grant type not supported"),
    };
    let token = session(&app, &org.organization_id, &user);
    let issued_at = org.now().as_millisecond().to_string();
    let id = format!("{}/id/{}/{}", app.base_url, org.organization_id, user.id);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, user.client_secret.as_bytes());
    let signature = STANDARD.encode(ring::hmac::sign(&key, format!("{id}{issued_at}").as_bytes()));
    *org.calls
        .entry(crate::ApiCall { client: user.client_id, kind: "sign-in (not counted)".to_owned() })
        .or_default() += 0;
    axum::Json(json!({
        "access_token": token, "instance_url": app.base_url, "id": id, "issued_at": issued_at,
        "signature": signature, "token_type": "Bearer", "scope": "api",
    }))
    .into_response()
}

/// The password, with or without the security token after it.
fn signs_in(user: &User, given: &str) -> bool {
    given == user.password || given == format!("{}TOKEN", user.password)
}

fn session(app: &App, organization_id: &str, user: &User) -> String {
    let mut tokens = app.tokens.lock().unwrap();
    tokens.issued += 1;
    let token = format!("{}!{}.{}", &organization_id[..15], user.client_id, tokens.issued);
    tokens.living.insert(token.clone(), user.clone());
    token
}

/// `POST /services/oauth2/revoke`.
pub(crate) async fn revoke(State(app): State<App>, Form(form): Form) -> StatusCode {
    let token = form.get("token").cloned().unwrap_or_default();
    match app.tokens.lock().unwrap().living.remove(&token) {
        Some(_) => StatusCode::OK,
        None => StatusCode::BAD_REQUEST,
    }
}

/// Who the caller is.
pub(crate) async fn identity(State(app): State<App>, headers: HeaderMap) -> Response {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = token.rsplit(' ').next().unwrap_or_default();
    let user = app.tokens.lock().unwrap().living.get(token).cloned();
    let Some(user) = user else { return (StatusCode::FORBIDDEN, "Bad_OAuth_Token").into_response() };
    let organization_id = app.org.lock().unwrap().organization_id.clone();
    let id = format!("{}/id/{organization_id}/{}", app.base_url, user.id);
    let urls = json!({"rest": format!("{}/services/data/v{{version}}/", app.base_url)});
    axum::Json(json!({
        "id": id, "user_id": user.id, "organization_id": organization_id, "username": user.username,
        "display_name": user.client_id, "active": true, "urls": urls,
    }))
    .into_response()
}

/// The text of an element, by its name without prefix.
fn element(body: &str, name: &str) -> Option<String> {
    let mut reader = quick_xml::Reader::from_str(body);
    let mut inside = false;
    loop {
        match reader.read_event().ok()? {
            quick_xml::events::Event::Start(start) => {
                inside = start.local_name().as_ref() == name;
            }
            quick_xml::events::Event::Text(text) if inside => {
                return quick_xml::escape::unescape(&text).ok().map(std::borrow::Cow::into_owned);
            }
            quick_xml::events::Event::Eof => return None,
            _ => {}
        }
    }
}

/// `POST /services/Soap/u/VERSION`: login() and logout(), as some clients still call them.
pub(crate) async fn soap_session(State(app): State<App>, body: String) -> Response {
    let (name, password) = (element(&body, "username"), element(&body, "password"));
    let org = app.org.lock().unwrap();
    let user = org.users.iter().find(|user| Some(&user.username) == name.as_ref()).cloned();
    let xml = |status: StatusCode, inner: String| {
        let envelope = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns=\"urn:partner.soap.sforce.com\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><soapenv:Body>{inner}</soapenv:Body></soapenv:Envelope>"
        );
        (status, [(header::CONTENT_TYPE, "text/xml;charset=UTF-8")], envelope).into_response()
    };
    if let Some(token) = element(&body, "sessionId") {
        app.tokens.lock().unwrap().living.remove(&token);
        return xml(StatusCode::OK, "<logoutResponse/>".to_owned());
    }
    match user.filter(|user| signs_in(user, &password.unwrap_or_default())) {
        Some(user) => {
            let token = session(&app, &org.organization_id, &user);
            let server = format!("{}/services/Soap/u/62.0/{}", app.base_url, &org.organization_id[..15]);
            xml(StatusCode::OK, format!(
                "<loginResponse><result><metadataServerUrl>{server}</metadataServerUrl><passwordExpired>false</passwordExpired>\
                 <sandbox>false</sandbox><serverUrl>{server}</serverUrl><sessionId>{token}</sessionId><userId>{}</userId>\
                 <userInfo><organizationId>{}</organizationId><userId>{}</userId><userName>{}</userName>\
                 <sessionSecondsValid>7200</sessionSecondsValid></userInfo></result></loginResponse>",
                user.id, org.organization_id, user.id, user.username
            ))
        }
        None => xml(StatusCode::INTERNAL_SERVER_ERROR, "<soapenv:Fault><faultcode>sf:INVALID_LOGIN</faultcode><faultstring>INVALID_LOGIN: Invalid username, password, security token; or user locked out.</faultstring><detail><sf:LoginFault xmlns:sf=\"urn:fault.partner.soap.sforce.com\"><sf:exceptionCode>INVALID_LOGIN</sf:exceptionCode><sf:exceptionMessage>Invalid username, password, security token; or user locked out.</sf:exceptionMessage></sf:LoginFault></detail></soapenv:Fault>".to_owned()),
    }
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

/// The claims of an assertion, if its signature and its claims hold.
fn verified(app: &App, assertion: &str) -> Result<Value, &'static str> {
    let (signed, signature) = assertion.rsplit_once('.').ok_or("invalid assertion")?;
    let (_, claims) = signed.split_once('.').ok_or("invalid assertion")?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "invalid assertion")?;
    let key = app.jwt_public_key.as_ref().ok_or("user hasn't approved this consumer")?;
    ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PKCS1_2048_8192_SHA256, key)
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| "invalid assertion")?;
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| "invalid assertion")?;
    let claims: Value = serde_json::from_slice(&claims).map_err(|_| "invalid assertion")?;
    let audience = claims["aud"].as_str().unwrap_or_default();
    if audience != app.base_url && !audience.ends_with(".salesforce.com") {
        return Err("audience is invalid");
    }
    let now = jiff::Timestamp::now().as_second();
    let expires = claims["exp"].as_i64().unwrap_or_default();
    if expires < now || expires > now + 300 {
        return Err("expired authorization code");
    }
    Ok(claims)
}
