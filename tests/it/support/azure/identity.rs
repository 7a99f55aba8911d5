//! Where tokens come from: Entra (`POST /{tenant}/oauth2/v2.0/token`) and IMDS (`GET /metadata/identity/oauth2/token`).
//! azure_identity asks for nothing else: no discovery, no metadata of the tenant.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use serde_json::{Value, json};

use super::connection::Connection;
use super::fault::Fault;
use super::{Service, Token};

pub const IMDS_PATH: &str = "/metadata/identity/oauth2/token";

/// Most bytes of a token request.
const FORM_MAX_BYTES: usize = 64 * 1024;

/// Status, body and `Retry-After` of an answer.
type Answer = (u16, Value);

pub async fn serve(service: &Arc<Service>, connection: &Connection, request: Request) -> Response {
    let fault = service.lock().token_faults.next();
    let imds = request.uri().path() == IMDS_PATH;
    match fault {
        Some(Fault::Hang) => {
            count(service, 0);
            return std::future::pending().await;
        }
        Some(Fault::DropConnectionBefore) => {
            count(service, 0);
            return connection.drop_without_answer();
        }
        Some(Fault::Html(status)) => {
            count(service, status);
            return super::page(status);
        }
        Some(Fault::Status(status, retry_after)) => {
            count(service, status);
            let error = refusal("temporarily_unavailable", 90033, "A transient error has occurred. Please try again.");
            return with_retry_after(super::json(status, &error), retry_after);
        }
        Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
        Some(Fault::DropAfterStore | Fault::HangAfterStore) | None => {}
    }
    let (status, body) = if imds { from_imds(service, &request) } else { from_entra(service, request).await };
    match fault {
        Some(Fault::DropAfterStore) => {
            count(service, 0);
            connection.drop_without_answer()
        }
        Some(Fault::HangAfterStore) => {
            count(service, 0);
            std::future::pending().await
        }
        _ => {
            count(service, status);
            super::json(status, &body)
        }
    }
}

fn count(service: &Service, status: u16) {
    service.note(|ledger| *ledger.token_answers.entry(status).or_default() += 1);
}

/// Adds the header in whole seconds.
pub fn with_retry_after(mut response: Response, retry_after: Option<Duration>) -> Response {
    if let Some(wait) = retry_after {
        response.headers_mut().insert("retry-after", wait.as_secs().into());
    }
    response
}

fn refusal(error: &str, number: u32, words: &str) -> Value {
    json!({
        "error": error,
        "error_description": format!("AADSTS{number}: {words}\r\nTrace ID: 00000000\r\nTimestamp: 2026-11-20 23:00:00Z"),
        "error_codes": [number],
        "timestamp": "2026-11-20 23:00:00Z",
    })
}

async fn from_entra(service: &Service, request: Request) -> Answer {
    let settings = &service.settings;
    let refuse = |status, error, number, words: &str| (status, refusal(error, number, words));
    let tenant = request.uri().path().trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
    let is_form = request.headers().get("content-type").is_some_and(|v| v == "application/x-www-form-urlencoded");
    if request.method() != Method::POST {
        return refuse(405, "invalid_request", 900561, "The endpoint only accepts POST requests.");
    }
    if request.uri().path() != format!("/{tenant}/oauth2/v2.0/token") || !is_form {
        return refuse(400, "invalid_request", 900144, "The request body must be a form.");
    }
    let body = axum::body::to_bytes(request.into_body(), FORM_MAX_BYTES).await.unwrap_or_default();
    let form: HashMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if tenant != settings.tenant_id {
        return refuse(400, "invalid_request", 90002, &format!("Tenant '{tenant}' not found."));
    }
    if field("grant_type") != "client_credentials" {
        return refuse(400, "unsupported_grant_type", 70003, "The grant type is not supported.");
    }
    if field("client_id") != settings.client_id {
        return refuse(400, "unauthorized_client", 700016, "Application was not found in the directory.");
    }
    let by_secret = field("client_secret") == settings.client_secret;
    let by_assertion = field("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        && settings.federated_token.as_deref() == Some(field("client_assertion"));
    if !by_secret && !by_assertion {
        return refuse(401, "invalid_client", 7000215, "Invalid client secret provided.");
    }
    let scope = field("scope");
    let known = |audience: &&str| [settings.audience.as_str(), &settings.query_audience].contains(audience);
    let Some(audience) = scope.strip_suffix("/.default").filter(known) else {
        return refuse(400, "invalid_scope", 70011, &format!("The scope {scope} is not valid."));
    };
    let (token, lifetime) = issue(service, audience);
    let seconds = lifetime.as_secs();
    (200, json!({"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token}))
}

fn from_imds(service: &Service, request: &Request) -> Answer {
    let settings = &service.settings;
    let refuse = |status: u16, words: &str| (status, json!({"error": "invalid_request", "error_description": words}));
    let headers = request.headers();
    if request.method() != Method::GET {
        return refuse(405, "Method not allowed");
    }
    if headers.get("metadata").is_none_or(|v| !v.as_bytes().eq_ignore_ascii_case(b"true")) {
        return refuse(400, "Required metadata header not specified");
    }
    if headers.contains_key("x-forwarded-for") {
        return refuse(400, "Requests through a proxy are not supported");
    }
    let pairs: Vec<(String, String)> =
        url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    let query = |name: &str| pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).unwrap_or_default();
    if pairs.iter().enumerate().any(|(at, (name, _))| pairs.iter().take(at).any(|(earlier, _)| earlier == name)) {
        return refuse(400, "Duplicate query parameters");
    }
    let known = [settings.audience.as_str(), &settings.query_audience].contains(&query("resource"));
    if query("api-version") != "2019-08-01" || !known {
        return refuse(400, "Bad api-version or resource");
    }
    if settings.managed_identity.as_deref() != Some(query("client_id")) {
        return refuse(400, "Identity not found");
    }
    let (token, lifetime) = issue(service, query("resource"));
    let expires_on = (SystemTime::now() + lifetime).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let expires_on = if settings.numeric_expires_on { json!(expires_on) } else { json!(expires_on.to_string()) };
    let body = json!({
        "access_token": token,
        "client_id": query("client_id"),
        "expires_in": lifetime.as_secs().to_string(),
        "expires_on": expires_on,
        "not_before": "0",
        "resource": query("resource"),
        "token_type": "Bearer",
    });
    (200, body)
}

fn issue(service: &Service, audience: &str) -> (String, Duration) {
    let now = service.now();
    let mut state = service.lock();
    let lifetime = state.token_lifetime;
    let audience = service.settings.token_audience.clone().unwrap_or_else(|| audience.to_owned());
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).expect("random bytes");
    let text = format!("token-{:016x}", u64::from_le_bytes(random));
    state.tokens.insert(text.clone(), Token { audience, expires: now + lifetime });
    (text, lifetime)
}
