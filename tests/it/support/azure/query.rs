//! The query API of Log Analytics: `POST /v1/workspaces/{id}/query` with `{"query": "…"}`. It runs the few shapes of
//! queries that [`super::kql`] knows, over what the ingestion has stored.
//!
//! Documented: the shape of errors, 200 with an empty body for a request without JSON or content type, 200 with an error
//! beside the rows for what went wrong on the way, 401 without a token, 403 for a bad one.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use super::Service;
use super::connection::Connection;
use super::identity::with_retry_after;
use super::kql;

/// Most bytes of a request.
const BODY_MAX_BYTES: usize = 1024 * 1024;

/// What a query meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryFault {
    /// This status in the service's own words; `Retry-After` in whole seconds.
    Status(u16, Option<Duration>),
    /// A web page, as a proxy answers.
    Html(u16),
    /// The connection ends without an answer.
    Drop,
    /// 200 with half of the rows and an error beside them.
    Partial,
    /// 200 with the start of the answer alone.
    Cut,
    /// 200 with an empty body.
    Empty,
    /// 204: a workspace without any data.
    NoData,
}

/// Why there is no result.
pub struct Refusal {
    status: u16,
    error: Value,
}

impl Refusal {
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Refusal { status, error: json!({"message": message.into(), "code": code}) }
    }

    /// A query that cannot be run: `kind` is SyntaxError or SemanticError.
    pub fn of_query(kind: &str, code: &str, message: impl Into<String>) -> Self {
        let innermost = json!({"code": code, "message": message.into()});
        let inner = json!({"code": kind, "message": format!("A {kind} occurred."), "innererror": innermost});
        let error = json!({"message": "The request had some invalid properties", "code": "BadArgumentError",
            "correlationId": "00000000-0000-0000-0000-000000000000", "innererror": inner});
        Refusal { status: 400, error }
    }

    fn scripted(status: u16) -> Self {
        let code = match status {
            401 => "AuthenticationFailed",
            403 => "InsufficientAccessError",
            404 => "PathNotFoundError",
            429 => "ThrottledError",
            504 => "GatewayTimeout",
            _ => "InternalServerError",
        };
        Refusal::new(status, code, format!("Scripted answer {status}."))
    }
}

pub async fn serve(service: &Arc<Service>, connection: &Connection, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_MAX_BYTES).await.unwrap_or_default();
    let fault = {
        let mut state = service.lock();
        state.query_faults.pop_front().or(state.query_fault)
    };
    match fault {
        Some(QueryFault::Drop) => {
            count(service, 0);
            return connection.drop_without_answer();
        }
        Some(QueryFault::Html(status)) => {
            count(service, status);
            return super::page(status);
        }
        Some(QueryFault::Empty) => return empty(service, 200),
        Some(QueryFault::NoData) => return empty(service, 204),
        Some(QueryFault::Status(status, retry_after)) => {
            return with_retry_after(refused(service, Refusal::scripted(status)), retry_after);
        }
        Some(QueryFault::Partial | QueryFault::Cut) | None => {}
    }
    let result = match answer(service, &parts.method, &parts.uri, &parts.headers, &body) {
        Ok(Some(result)) => result,
        Ok(None) => return empty(service, 200),
        Err(refusal) => return refused(service, refusal),
    };
    count(service, 200);
    let answer = result_json(result, service.settings.query_max_rows, fault == Some(QueryFault::Partial));
    if fault == Some(QueryFault::Cut) {
        let text = answer.to_string();
        let half: String = text.chars().take(text.chars().count() / 2).collect();
        return Response::builder()
            .header("content-type", "application/json; charset=utf-8")
            .body(Body::from(half))
            .expect("response");
    }
    super::json(200, &answer)
}

fn count(service: &Service, status: u16) {
    service.note(|ledger| *ledger.query_answers.entry(status).or_default() += 1);
}

fn empty(service: &Service, status: u16) -> Response {
    count(service, status);
    Response::builder().status(status).body(Body::empty()).expect("response")
}

fn refused(service: &Service, refusal: Refusal) -> Response {
    service.note(|ledger| {
        *ledger.query_answers.entry(refusal.status).or_default() += 1;
        ledger.last_refusal = format!("{} {}", refusal.status, refusal.error);
    });
    super::json(refusal.status, &json!({"error": refusal.error}))
}

/// `None`: not a request in the service's eyes.
fn answer(
    service: &Service,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Option<kql::Result>, Refusal> {
    let settings = &service.settings;
    check_token(service, headers)?;
    let parts: Vec<&str> = uri.path().split('/').collect();
    let ["", "v1", "workspaces", id, "query"] = parts.as_slice() else {
        return Err(Refusal::new(404, "PathNotFoundError", "The requested path does not exist"));
    };
    if method != Method::POST || uri.query().is_some() {
        return Err(Refusal::new(404, "PathNotFoundError", "The requested path does not exist"));
    }
    if *id != settings.workspace_id {
        return Err(Refusal::new(404, "WorkspaceNotFoundError", format!("The workspace {id} could not be found")));
    }
    if !service.lock().may_query {
        let message = "The provided credentials have insufficient access to perform the requested operation";
        return Err(Refusal::new(403, "InsufficientAccessError", message));
    }
    let is_json = headers.get("content-type").is_some_and(|value| value == "application/json");
    let Ok(request) = serde_json::from_slice::<Value>(body) else { return Ok(None) };
    if !is_json {
        return Ok(None);
    }
    let Some(query) = request.get("query").and_then(Value::as_str) else {
        return Err(Refusal::of_query("SyntaxError", "SYN0002", "Query is missing"));
    };
    if request.as_object().is_none_or(|members| members.len() != 1) {
        return Err(Refusal::of_query("SyntaxError", "SYN0002", "Only query is known to this imitation"));
    }
    let state = service.lock();
    let table = settings.stream.trim_start_matches("Custom-");
    let visible = state.visible.unwrap_or(usize::MAX).min(state.ledger.records.len());
    let table = state.has_table.then_some(table);
    let result = kql::run(query, table, &service.schema, &state.ledger.records[..visible])?;
    drop(state);
    service.note(|ledger| ledger.queries.push(query.to_owned()));
    Ok(Some(result))
}

fn check_token(service: &Service, headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get_all("authorization").iter().collect::<Vec<_>>();
    let token = match given.as_slice() {
        [one] => one.to_str().ok().and_then(|given| given.strip_prefix("Bearer ")),
        _ => None,
    };
    let Some(token) = token else {
        let message = "Authentication failed. The 'Authorization' header is missing.";
        return Err(Refusal::new(401, "AuthenticationFailed", message));
    };
    let now = service.now();
    let state = service.lock();
    match state.tokens.get(token) {
        None => Err(Refusal::new(403, "InvalidAuthenticationToken", "The access token is invalid.")),
        Some(token) if token.audience != service.settings.query_audience => {
            let message =
                format!("The access token has been obtained from wrong audience or resource '{}'.", token.audience);
            Err(Refusal::new(403, "InvalidAuthenticationTokenAudience", message))
        }
        Some(token) if token.expires <= now => {
            Err(Refusal::new(401, "ExpiredAuthenticationToken", "The access token has expired."))
        }
        Some(_) => Ok(()),
    }
}

/// The answer with as many rows as it may have.
fn result_json(mut result: kql::Result, max_rows: usize, partial: bool) -> Value {
    let columns: Vec<Value> = result.columns.iter().map(|(name, kind)| json!({"name": name, "type": kind})).collect();
    let error = |code: &str, message: String| {
        json!({"code": "PartialError", "message": "There were some errors when processing your query.", "details": [
            {"code": "EngineError", "message": "Something went wrong processing your query on the server.",
            "innererror": {"code": code, "message": message, "severity": 2, "severityName": "Error"}}]})
    };
    let error = if result.rows.len() > max_rows {
        result.rows.truncate(max_rows);
        let message = format!(
            "The results of this query exceed the set limit of {max_rows} records, so not all records were returned \
             (E_QUERY_RESULT_SET_TOO_LARGE, 0x80DA0003). See https://aka.ms/kustoquerylimits."
        );
        Some(error("-2133196797", message))
    } else if partial {
        result.rows.truncate(result.rows.len() / 2);
        Some(error("-2133196799", "A part of the data could not be reached (E_SCRIPTED).".to_owned()))
    } else {
        None
    };
    let mut answer = json!({"tables": [{"name": "PrimaryResult", "columns": columns, "rows": result.rows}]});
    if let (Some(error), Some(answer)) = (error, answer.as_object_mut()) {
        answer.insert("error".to_owned(), error);
    }
    answer
}
