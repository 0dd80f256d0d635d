//! Sign-in: client credentials and JWT bearer.

use crate::http::{App, Form};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
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
        _ => return refuse("unsupported_grant_type", "grant type not supported"),
    };
    app.tokens.lock().unwrap().issued += 1;
    let number = app.tokens.lock().unwrap().issued;
    let token = format!("{}!{}.{number}", &org.organization_id[..15], user.client_id);
    app.tokens.lock().unwrap().living.insert(token.clone(), user.clone());
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
