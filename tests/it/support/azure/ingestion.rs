//! The Logs Ingestion API: `POST /dataCollectionRules/{id}/streams/{stream}?api-version=2023-01-01`.

use std::io::Read as _;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use serde_json::json;

use super::connection::Connection;
use super::fault::Fault;
use super::identity::with_retry_after;
use super::schema::Row;
use super::{Record, Service};

/// Most bytes of a body as it is sent.
pub const WIRE_MAX_BYTES: usize = 1_048_576;

/// A larger body inflated is answered 204 and lost.
pub const INFLATED_MAX_BYTES: usize = 50 * 1024 * 1024;

/// logferry's own promise for bodies before compression.
pub const PROMISED_RAW_BYTES: usize = 1_000_000;

/// Most seconds of `TimeGenerated` that a call for a table of the Auxiliary plan may span.
const AUXILIARY_SPAN_SECONDS: i64 = 30 * 60;

/// How much of a body the server reads before it gives up; well over all limits, so that it can say which was passed.
const READ_MAX_BYTES: usize = 64 * 1024 * 1024;

/// A call that stores nothing.
struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

fn refuse<T>(status: u16, code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { status, code, message: message.into() })
}

impl Refusal {
    fn response(&self) -> Response {
        let body = json!({"error": {"code": self.code, "message": self.message}});
        let mut response = super::json(self.status, &body);
        response.headers_mut().insert("x-ms-error-code", self.code.parse().expect("header"));
        response
    }

    fn scripted(status: u16) -> Self {
        let code = match status {
            400 => "InvalidPayload",
            401 => "InvalidToken",
            403 => "OperationFailed",
            404 => "NotFound",
            413 => "ContentLengthLimitExceeded",
            429 => "TooManyRequests",
            _ => "InternalServerError",
        };
        Refusal { status, code, message: format!("Scripted answer {status}.") }
    }
}

pub async fn serve(service: &Arc<Service>, connection: &Connection, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let fault = service.lock().ingestion_faults.next();
    match fault {
        Some(Fault::Hang) => {
            count(service, 0);
            return std::future::pending().await;
        }
        Some(Fault::DropConnectionBefore) => {
            count(service, 0);
            return connection.drop_without_answer();
        }
        Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
        _ => {}
    }
    // Read whole before it is refused: a client that still writes would see a broken connection, not the answer.
    let body = axum::body::to_bytes(body, READ_MAX_BYTES).await.unwrap_or_default();
    match fault {
        Some(Fault::Html(status)) => {
            count(service, status);
            return super::page(status);
        }
        Some(Fault::Status(status, retry_after)) => {
            let response = answer(service, Err(Refusal::scripted(status)));
            return with_retry_after(response, retry_after);
        }
        _ => {}
    }
    let result = take(service, &parts.method, &parts.uri, &parts.headers, &body);
    match fault {
        Some(Fault::DropAfterStore) => {
            count(service, 0);
            connection.drop_without_answer()
        }
        Some(Fault::HangAfterStore) => {
            count(service, 0);
            std::future::pending().await
        }
        _ => answer(service, result),
    }
}

fn count(service: &Service, status: u16) {
    service.note(|ledger| *ledger.answers.entry(status).or_default() += 1);
}

fn answer(service: &Service, result: Result<(), Refusal>) -> Response {
    match result {
        Ok(()) => {
            count(service, 204);
            Response::builder().status(204).body(Body::empty()).expect("response")
        }
        Err(refusal) => {
            service.note(|ledger| {
                *ledger.answers.entry(refusal.status).or_default() += 1;
                ledger.last_refusal = format!("{} {}: {}", refusal.status, refusal.code, refusal.message);
            });
            refusal.response()
        }
    }
}

/// Checks a call in the order of a gateway and stores its records.
fn take(service: &Service, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Result<(), Refusal> {
    let (dcr_id, stream) = check_url(method, uri)?;
    check_token(service, headers)?;
    check_target(service, dcr_id, stream)?;
    let gzipped = check_headers(headers)?;
    if let Some(id) = headers.get("x-ms-client-request-id") {
        let id = id.to_str().unwrap_or_default().to_owned();
        service.note(|ledger| ledger.request_ids.push(id));
    }
    let most = service.settings.wire_max_bytes;
    if body.len() > most {
        let message = format!(
            "Maximum allowed content length: {most} bytes (1 MB). Provided content length: {} bytes.",
            body.len()
        );
        return refuse(413, "ContentLengthLimitExceeded", message);
    }
    let raw = if gzipped { inflate(body)? } else { body.to_vec() };
    service.note(|ledger| {
        ledger.gzipped += u64::from(gzipped);
        ledger.max_wire_bytes = ledger.max_wire_bytes.max(body.len());
        ledger.max_raw_bytes = ledger.max_raw_bytes.max(raw.len());
        ledger.raw_bytes.push(raw.len());
        ledger.bodies_over_promise += u64::from(raw.len() > PROMISED_RAW_BYTES);
    });
    let rows = parse(&raw)?;
    for row in &rows {
        if let Err(message) = service.schema.check(row) {
            return refuse(400, "InvalidPayload", message);
        }
        if service.lock().poison.as_ref().is_some_and(|poison| poison(row)) {
            return refuse(400, "InvalidPayload", "The payload holds a record that cannot be taken.");
        }
    }
    if service.settings.auxiliary {
        check_times(&rows)?;
    }
    let now = jiff::Timestamp::now();
    service.note(|ledger| {
        if raw.len() > INFLATED_MAX_BYTES {
            ledger.lost_after_204 += rows.len() as u64;
            return;
        }
        ledger.max_call_records = ledger.max_call_records.max(rows.len() as u64);
        for row in rows {
            service.schema.store(row, now, ledger);
        }
    });
    Ok(())
}

/// What a table of the Auxiliary plan wants besides.
fn check_times(rows: &[Record]) -> Result<(), Refusal> {
    let mut range: Option<(jiff::Timestamp, jiff::Timestamp)> = None;
    for row in rows {
        let text = row.get("TimeGenerated").and_then(|value| value.as_str()).unwrap_or_default();
        let digits = text.split_once('.').map(|(_, fraction)| fraction.trim_end_matches('Z').len());
        let Some(time) = text.parse::<jiff::Timestamp>().ok().filter(|_| digits == Some(6)) else {
            return refuse(400, "InvalidPayload", format!("TimeGenerated {text:?} has not six decimals."));
        };
        let (first, last) = range.unwrap_or((time, time));
        range = Some((first.min(time), last.max(time)));
    }
    match range {
        Some((first, last)) if last.as_second() - first.as_second() > AUXILIARY_SPAN_SECONDS => {
            refuse(400, "RecordsTimeRangeIsMoreThan30Minutes", "The time range of the records is too wide.")
        }
        _ => Ok(()),
    }
}

fn check_url<'a>(method: &Method, uri: &'a Uri) -> Result<(&'a str, &'a str), Refusal> {
    let parts: Vec<&str> = uri.path().split('/').collect();
    let ["", "dataCollectionRules", dcr_id, "streams", stream] = parts.as_slice() else {
        return refuse(404, "NotFound", format!("No such path: {}", uri.path()));
    };
    if method != Method::POST {
        return refuse(405, "MethodNotAllowed", "The method is not allowed.");
    }
    if uri.query() != Some("api-version=2023-01-01") {
        return refuse(400, "InvalidApiVersion", "The api-version query parameter is missing or not supported.");
    }
    Ok((dcr_id, stream))
}

fn check_token(service: &Service, headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get_all("authorization").iter().collect::<Vec<_>>();
    let [given] = given.as_slice() else {
        return refuse(401, "MissingToken", "There must be one Authorization header.");
    };
    let Some(text) = given.to_str().ok().and_then(|given| given.strip_prefix("Bearer ")) else {
        return refuse(401, "InvalidToken", "The Authorization header holds no bearer token.");
    };
    let now = service.now();
    let state = service.lock();
    match state.tokens.get(text) {
        None => refuse(401, "InvalidToken", "The token is not known."),
        Some(token) if token.audience != service.settings.audience => {
            refuse(401, "InvalidAudience", format!("The token is for {}.", token.audience))
        }
        Some(token) if token.expires <= now => refuse(401, "ExpiredToken", "The token has expired."),
        Some(_) => Ok(()),
    }
}

fn check_target(service: &Service, dcr_id: &str, stream: &str) -> Result<(), Refusal> {
    if dcr_id != service.settings.dcr_id {
        return refuse(404, "NotFound", format!("Data collection rule with immutable Id '{dcr_id}' not found."));
    }
    if stream != service.settings.stream {
        return refuse(404, "NotFound", format!("Stream '{stream}' was not found in the data collection rule."));
    }
    if !service.lock().has_role {
        let message = format!(
            "The authentication token provided does not have access to ingest data for the data collection rule with \
             immutable Id '{dcr_id}'."
        );
        return refuse(403, "OperationFailed", message);
    }
    Ok(())
}

/// Whether the body is compressed.
fn check_headers(headers: &HeaderMap) -> Result<bool, Refusal> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let media_type = text("content-type").and_then(|value| value.split(';').next()).map(str::trim);
    if media_type != Some("application/json") {
        return refuse(415, "UnsupportedMediaType", "The Content-Type must be application/json.");
    }
    match text("content-encoding") {
        None => Ok(false),
        Some("gzip") => Ok(true),
        Some(other) => refuse(415, "UnsupportedMediaType", format!("Content-Encoding {other} is not supported.")),
    }
}

fn inflate(body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut raw = Vec::new();
    // One byte over the limit is enough to know, but the rows that are lost are counted.
    let mut decoder = flate2::read::GzDecoder::new(body).take(4 * INFLATED_MAX_BYTES as u64);
    match decoder.read_to_end(&mut raw) {
        Ok(_) => Ok(raw),
        Err(error) => refuse(400, "InvalidPayload", format!("The body is not gzip: {error}")),
    }
}

fn parse(raw: &[u8]) -> Result<Vec<Record>, Refusal> {
    match serde_json::from_slice::<Vec<Row>>(raw) {
        Ok(rows) => Ok(rows.into_iter().map(|Row(record)| record).collect()),
        Err(error) => refuse(400, "InvalidPayload", format!("The body is not a JSON array of objects: {error}")),
    }
}
