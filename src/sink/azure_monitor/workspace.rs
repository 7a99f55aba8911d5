//! One query to a Log Analytics workspace and its answer: whole rows or an error, never a part. It knows no KQL.
//!
//! What the query API is documented to do, and what follows from it
//! (MicrosoftDocs/azure-monitor-docs, articles/azure-monitor/logs/api/):
//! - an error after rows were found is a 200 with the rows that there are and an `error` beside them (response-format.md):
//!   such rows are thrown away;
//! - a request that it does not understand is a 200 with an empty body (errors.md): no answer;
//! - a workspace without any data is a 204 (errors.md): no rows;
//! - a bad token is a 401, or a 403 with a code of its own (errors.md): one new token is tried;
//! - a query may run for 3 minutes, for 10 where `Prefer: wait=` asks for it, then it is a 504 (timeouts.md);
//! - without `timespan` all data is looked at (request-format.md), so none is sent.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use url::Url;

use super::{Options, url_below};
use crate::azure::credential::{Api, Cloud, Credentials, Transport};
use crate::sink::http;
use crate::sink::stored::ReadError;

/// How long the service may work on one query; it allows ten minutes.
const QUERY_WAIT: Duration = Duration::from_secs(300);

/// Most bytes that are read of an answer. The service gives no more than about 100 MiB.
const ANSWER_MAX_BYTES: usize = 128 * 1024 * 1024;

/// Wait after a 429 without `Retry-After`: it counts queries in windows of 30 s.
const THROTTLED_PAUSE: Duration = Duration::from_secs(10);

/// Least wait after a 429, whatever it asks for.
const THROTTLED_PAUSE_MIN: Duration = Duration::from_secs(1);

/// Longest wait of one query for the service to take it, all 429 together.
const THROTTLED_MAX: Duration = Duration::from_secs(120);

/// Begins the codes of a 403 that is about the token and not about rights.
const BAD_TOKEN: &str = "InvalidAuthenticationToken";

/// How deep errors within errors are read.
const ERROR_DEPTH_MAX: usize = 8;

/// In the words of an error where a result has more rows or bytes than the service gives out.
const TOO_LARGE: &str = "E_QUERY_RESULT_SET_TOO_LARGE";

/// A query without a whole result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The result is larger than the service gives out, or than is read: ask for less at once.
    TooLarge(ReadError),
    Other(ReadError),
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TooLarge(error) | Failure::Other(error) => error,
        }
    }
}

fn failed<T>(passing: bool, reason: String) -> Result<T, Failure> {
    Err(Failure::Other(ReadError { reason, passing }))
}

/// One workspace, as one identity.
#[derive(Debug)]
pub(super) struct Workspace {
    client: reqwest::Client,
    url: Url,
    host: String,
    id: String,
    table: String,
    audience: &'static str,
    timeout: Duration,
    credentials: Credentials,
}

impl Workspace {
    /// Opens nothing on the network. `authority`: an imitation of Entra and IMDS, for tests.
    pub(super) fn new(
        options: &Options,
        id: &str,
        table: &str,
        user_agent: &str,
        authority: Option<Url>,
    ) -> Result<Self, http::BuildError> {
        let cloud = Cloud::of_host(options.endpoint.host_str().unwrap_or_default());
        let audience = cloud.audience(Api::LogsQuery);
        let bad = |reason: String| http::BuildError::Value { what: "query_endpoint", reason };
        let endpoint = match &options.query_endpoint {
            Some(endpoint) => endpoint.clone(),
            None => Url::parse(audience).map_err(|error| bad(error.to_string()))?,
        };
        let transport = Transport::new(&options.http, user_agent, authority)?;
        Ok(Workspace {
            client: http::client(&options.http, user_agent)?,
            url: url_below(&endpoint, "query_endpoint", &["v1", "workspaces", id, "query"])?,
            host: endpoint.host_str().unwrap_or_default().to_owned(),
            id: id.to_owned(),
            table: table.to_owned(),
            audience,
            timeout: QUERY_WAIT + options.http.timeout,
            credentials: Credentials::new(&options.credential, cloud, Api::LogsQuery, transport),
        })
    }

    pub(super) fn table(&self) -> &str {
        &self.table
    }

    /// Every row of the result of `query`.
    pub(super) async fn rows<T: DeserializeOwned>(&self, query: &str) -> Result<Vec<T>, Failure> {
        let mut waited = Duration::ZERO;
        let mut token_replaced = false;
        loop {
            let token = match self.credentials.token().await {
                Ok(token) => token,
                Err(error) => return failed(true, error.to_string()),
            };
            let answer = self.post(query, &token).await?;
            match self.read(&answer)? {
                Read::Rows(body) => return self.parse(body),
                Read::TokenRefused(reason) => {
                    self.credentials.forget(&token).await;
                    if token_replaced {
                        return failed(false, reason);
                    }
                    token_replaced = true;
                }
                Read::Throttled(reason) => {
                    let pause = answer.retry_after.unwrap_or(THROTTLED_PAUSE).max(THROTTLED_PAUSE_MIN);
                    waited += pause;
                    if waited > THROTTLED_MAX {
                        return failed(true, reason);
                    }
                    tracing::debug!(seconds = pause.as_secs(), reason, "waiting to query again");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn post(&self, query: &str, token: &http::Secret) -> Result<Answer, Failure> {
        tracing::debug!(query, "asking Log Analytics");
        let request = self
            .client
            .post(self.url.clone())
            .timeout(self.timeout)
            .header(CONTENT_TYPE, "application/json")
            .header("prefer", format!("wait={}", QUERY_WAIT.as_secs()))
            .body(json!({"query": query}).to_string());
        let sent = http::authenticate(request, &http::Auth::Bearer(token.clone())).send().await;
        let mut answer = match sent {
            Ok(answer) => answer,
            Err(error) => {
                let reason = http::plain_reason(&error.without_url());
                return failed(true, format!("{}: {reason}", self.host));
            }
        };
        let (body, whole) = http::read_body(&mut answer, ANSWER_MAX_BYTES).await;
        let status = answer.status().as_u16();
        if let (Err(why), true) = (&whole, status == 200) {
            let error = ReadError { reason: format!("{}: the answer {why}", self.host), passing: true };
            let too_large = body.len() == ANSWER_MAX_BYTES;
            return Err(if too_large { Failure::TooLarge(error) } else { Failure::Other(error) });
        }
        Ok(Answer { status, retry_after: http::retry_after(answer.headers()), body })
    }

    /// What an answer means, as far as its status says.
    fn read<'a>(&self, answer: &'a Answer) -> Result<Read<'a>, Failure> {
        let status = answer.status;
        if status == 200 && !answer.body.is_empty() {
            return Ok(Read::Rows(&answer.body));
        }
        if status == 204 {
            return Ok(Read::Rows(b""));
        }
        if status == 200 {
            return failed(true, format!("{} answered 200 without a result", self.host));
        }
        let refusal: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let words = match words(&refusal["error"]) {
            words if words.is_empty() => http::excerpt(&answer.body),
            words => words,
        };
        let advice = self.advice(status, &words);
        let reason = format!("{} answered {status}: {words}{advice}", self.host);
        match status {
            401 => Ok(Read::TokenRefused(reason)),
            403 if words.starts_with(BAD_TOKEN) => Ok(Read::TokenRefused(reason)),
            429 | 503 => Ok(Read::Throttled(reason)),
            _ if words.contains(TOO_LARGE) => Err(Failure::TooLarge(ReadError { reason, passing: false })),
            _ => failed(matches!(status, 408 | 500..), reason),
        }
    }

    /// What to do about a status; empty where the service's own words say all there is.
    fn advice(&self, status: u16, words: &str) -> String {
        let Workspace { id, table, audience, .. } = self;
        match status {
            401 | 403 if status == 401 || words.starts_with(BAD_TOKEN) => format!(
                "; the token was refused: it must be for {audience}, so `query_endpoint` and `endpoint` must belong to \
                 the cloud of the credential's tenant"
            ),
            403 => format!(
                "; the identity may not read the workspace {id}: give it the role Log Analytics Reader on the workspace \
                 (a new assignment may take an hour)"
            ),
            404 => format!(
                "; no workspace {id} at this address: `workspace_id` is the GUID that the workspace's overview page \
                 shows, not its name, and `query_endpoint` belongs to its cloud"
            ),
            400 if words.contains("Failed to resolve") => format!(
                "; the workspace {id} must have a table {table} with the columns of a record: `table` names the one that \
                 the data collection rule writes the stream to"
            ),
            429 => "; others query this workspace with the same identity: try again later".to_owned(),
            504 => format!("; the query took longer than {} s: try again later", QUERY_WAIT.as_secs()),
            _ => String::new(),
        }
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<Vec<T>, Failure> {
        if body.is_empty() {
            return Ok(Vec::new());
        }
        let unreadable = |why: &str| ReadError {
            reason: format!("{}: the answer cannot be read ({why})", self.host),
            passing: false,
        };
        let result: QueryResult =
            serde_json::from_slice(body).map_err(|error| Failure::Other(unreadable(&error.to_string())))?;
        if let Some(error) = result.error {
            let words = words(&error);
            let reason = format!("{} gave only a part of the result: {words}", self.host);
            let too_large = words.contains(TOO_LARGE);
            let error = ReadError { reason, passing: !too_large };
            return Err(if too_large { Failure::TooLarge(error) } else { Failure::Other(error) });
        }
        let mut tables = result.tables.into_iter();
        let Some(table) = tables.find(|table| table.name == "PrimaryResult") else {
            return Err(Failure::Other(unreadable("it has no table PrimaryResult")));
        };
        let names: Vec<String> = table.columns.into_iter().map(|column| column.name).collect();
        let row = |values: Vec<Value>| {
            if values.len() != names.len() {
                return Err(unreadable("a row has not as many values as there are columns"));
            }
            let members: Map<String, Value> = names.iter().cloned().zip(values).collect();
            serde_json::from_value(Value::Object(members)).map_err(|error| unreadable(&error.to_string()))
        };
        table.rows.into_iter().map(row).collect::<Result<_, ReadError>>().map_err(Failure::Other)
    }
}

/// Status, wait and body.
struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

/// What to do with an answer.
enum Read<'a> {
    Rows(&'a [u8]),
    TokenRefused(String),
    Throttled(String),
}

#[derive(Deserialize)]
struct QueryResult {
    #[serde(default)]
    tables: Vec<Table>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Table {
    name: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
}

/// The words of an error as the service writes it, `CODE: message; CODE: message`, the outermost first: each has its cause
/// within, or several.
fn words(error: &Value) -> String {
    let mut all = Vec::new();
    gather(error, ERROR_DEPTH_MAX, &mut all);
    let words = all.join("; ");
    // What was too large stands innermost, behind all that may be cut.
    let cut = http::excerpt(words.as_bytes());
    if words.contains(TOO_LARGE) && !cut.contains(TOO_LARGE) { format!("{cut} ({TOO_LARGE})") } else { cut }
}

fn gather(error: &Value, depth: usize, all: &mut Vec<String>) {
    let code = match error.get("code") {
        Some(Value::String(code)) => code.clone(),
        Some(Value::Number(code)) => code.to_string(),
        _ => String::new(),
    };
    let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
    let words = match (code.is_empty(), message.is_empty()) {
        (true, _) => message.to_owned(),
        (false, true) => code,
        (false, false) => format!("{code}: {message}"),
    };
    if !words.is_empty() && !all.contains(&words) {
        all.push(words);
    }
    let Some(depth) = depth.checked_sub(1) else { return };
    let details = error.get("details").and_then(Value::as_array).into_iter().flatten();
    error.get("innererror").into_iter().chain(details).for_each(|within| gather(within, depth, all));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_lies_within_it() {
        let check = |text: &str, expected: &str| {
            let error: Value = serde_json::from_str(text).expect(text);
            assert_eq!(words(&error), expected);
        };
        check(r#"{"code":"PathNotFoundError"}"#, "PathNotFoundError");
        check(r#"{"message":"m","correlationId":"1"}"#, "m");
        check(
            r#"{"code":"BadArgumentError","message":"The request had some invalid properties","innererror":
                {"code":"SemanticError","message":"A semantic error occurred.","innererror":
                {"code":"SEM0100","message":"'where' operator: Failed to resolve table"}}}"#,
            "BadArgumentError: The request had some invalid properties; SemanticError: A semantic error occurred.; \
             SEM0100: 'where' operator: Failed to resolve table",
        );
        let long = "x".repeat(1_000);
        let error = json!({"code": "PartialError", "message": long, "details":
            [{"code": -2133196797, "message": format!("over the limit ({TOO_LARGE}; see)")}]});
        assert!(words(&error).ends_with(&format!("… ({TOO_LARGE})")), "{}", words(&error));
    }
}
