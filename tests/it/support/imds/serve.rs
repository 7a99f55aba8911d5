//! Connections, requests and answers of the imitation of IMDS.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::super::http1::{Request, forward, read_body, read_head, response};
use super::{Fault, Service, State, Target};

/// Requests that are served in a second; of tokens, 20.
const REQUESTS_PER_SECOND: usize = 5;

const INSTANCE_VERSIONS: [&str; 4] = ["2025-04-07", "2021-12-13", "2021-02-01", "2020-09-01"];
const EVENTS_VERSIONS: [&str; 2] = ["2020-07-01", "2019-08-01"];

type Answer = (u16, Value);

pub async fn listen(listener: TcpListener, service: Arc<Service>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let service = service.clone();
        // A peer that goes away half-way is no fault of the server's.
        tokio::spawn(async move { converse(stream, &service).await });
    }
}

async fn converse(mut stream: TcpStream, service: &Service) -> std::io::Result<()> {
    let mut rest = Vec::new();
    while let Some(mut request) = read_head(&mut stream, &mut rest).await? {
        read_body(&mut stream, &mut rest, &mut request).await?;
        let target = target(&request);
        let fault = target.and_then(|target| service.lock().fault(target));
        service.note(|ledger| ledger.requests.push((target, request.clone())));
        let bytes = match fault {
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Drop) => return Ok(()),
            Some(Fault::Stall) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n{\"compute\":").await?;
                std::future::pending().await
            }
            Some(Fault::Status(status, retry_after)) => {
                let retry_after = retry_after.map(|wait| wait.as_secs().to_string());
                let mut headers = vec![("content-type", "application/json; charset=utf-8")];
                headers.extend(retry_after.as_deref().map(|wait| ("retry-after", wait)));
                response(status, &headers, json!({"error": "Not now"}).to_string().as_bytes())
            }
            Some(Fault::Html(status)) => {
                response(status, &[("content-type", "text/html")], b"<!DOCTYPE html>\n<html>Please sign in</html>")
            }
            Some(Fault::Redirect(to)) => response(302, &[("location", &to)], b""),
            Some(Fault::Body(body)) => response(200, &[("content-type", "application/json")], &body),
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                answer(service, target, &request).await
            }
            None => answer(service, target, &request).await,
        };
        let status = status_of(&bytes);
        service.note(|ledger| ledger.answers.push((target, status)));
        stream.write_all(&bytes).await?;
    }
    Ok(())
}

fn status_of(response: &[u8]) -> u16 {
    let head = String::from_utf8_lossy(&response[..response.len().min(16)]).into_owned();
    head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status")
}

fn target(request: &Request) -> Option<Target> {
    match (request.path(), request.method.as_str()) {
        ("/metadata/instance", _) => Some(Target::Instance),
        ("/metadata/scheduledevents", "POST") => Some(Target::Approval),
        ("/metadata/scheduledevents", _) => Some(Target::Events),
        ("/metadata/identity/oauth2/token", _) => Some(Target::Identity),
        _ => None,
    }
}

impl State {
    fn fault(&mut self, target: Target) -> Option<Fault> {
        let queue = self.faults.iter_mut().find(|(known, _)| *known == target).map(|(_, queue)| queue);
        if let Some(fault) = queue.and_then(|queue| queue.pop_front()) {
            return Some(fault);
        }
        let now = Instant::now();
        let lasts = |until: &Option<Instant>| until.is_none_or(|until| now < until);
        self.outages
            .iter()
            .find(|(known, _, until)| *known == target && lasts(until))
            .map(|(_, fault, _)| fault.clone())
    }

    /// Whether this request is one too many of this second.
    fn is_too_many(&mut self) -> bool {
        let now = Instant::now();
        while self.recent.front().is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(1)) {
            self.recent.pop_front();
        }
        let too_many = self.is_limited && self.recent.len() >= REQUESTS_PER_SECOND;
        if !too_many {
            self.recent.push_back(now);
        }
        too_many
    }
}

async fn answer(service: &Service, target: Option<Target>, request: &Request) -> Vec<u8> {
    if target == Some(Target::Identity)
        && let Some(identity) = &service.identity
    {
        return forward(request, identity).await.expect("the server of tokens runs");
    }
    let wait = match target {
        Some(Target::Events) if refusal(request, &EVENTS_VERSIONS).is_none() => {
            std::mem::take(&mut service.lock().first_events)
        }
        _ => Duration::ZERO,
    };
    tokio::time::sleep(wait).await;
    let (status, body) = if service.lock().is_too_many() {
        (429, json!({"error": "Too many requests"}))
    } else {
        document(service, target, request)
    };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [("content-type", "application/json; charset=utf-8"), ("server", "IMDS/150.870.65.1854")];
    response(status, &headers, body.as_bytes())
}

fn document(service: &Service, target: Option<Target>, request: &Request) -> Answer {
    let versions: &[&str] = match target {
        Some(Target::Instance) => &INSTANCE_VERSIONS,
        Some(Target::Events | Target::Approval) => &EVENTS_VERSIONS,
        Some(Target::Identity) => {
            return (400, json!({"error": "invalid_request", "error_description": "Identity not found"}));
        }
        None => return (404, json!({"error": "Not found"})),
    };
    if let Some(refusal) = refusal(request, versions) {
        return refusal;
    }
    let mut state = service.lock();
    match (target, request.method.as_str()) {
        (Some(Target::Instance), "GET") => (200, json!({"compute": state.compute, "network": {"interface": []}})),
        (Some(Target::Events), "GET") => (200, state.events.document()),
        (Some(Target::Approval), _) => approve(service, &mut state, request),
        _ => (405, json!({"error": "Method not allowed"})),
    }
}

/// What IMDS refuses whatever is asked for.
fn refusal(request: &Request, versions: &[&str]) -> Option<Answer> {
    let refuse = |words: &str| Some((400, json!({"error": words})));
    if request.header("metadata").is_none_or(|value| !value.eq_ignore_ascii_case("true")) {
        return refuse("Bad request. Required metadata header not specified");
    }
    if request.header("x-forwarded-for").is_some() {
        return refuse("Bad request. Requests through a proxy are not served");
    }
    let query = request.target.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    if pairs.iter().enumerate().any(|(at, (name, _))| pairs.iter().take(at).any(|(earlier, _)| earlier == name)) {
        return refuse("Bad request. Query parameters are not unique");
    }
    let version = pairs.iter().find(|(name, _)| name == "api-version").map(|(_, value)| value.as_str());
    if !version.is_some_and(|version| versions.contains(&version)) {
        let words = "Bad request. api-version is invalid or was not specified in the request.";
        return Some((400, json!({"error": words, "newest-versions": versions})));
    }
    None
}

/// All events of the request, or none.
fn approve(service: &Service, state: &mut State, request: &Request) -> Answer {
    let bad = |words: &str| (400, json!({"error": words}));
    let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
        return bad("Bad request. The body is no JSON");
    };
    let Some(requests) = body.get("StartRequests").and_then(Value::as_array) else {
        return bad("Bad request. StartRequests is missing");
    };
    let ids: Option<Vec<&str>> = requests.iter().map(|request| request.get("EventId")?.as_str()).collect();
    let Some(ids) = ids.filter(|ids| !ids.is_empty()) else { return bad("Bad request. EventId is missing") };
    if !ids.iter().all(|id| state.events.contains(id)) {
        return bad("Bad request. There is no such event");
    }
    for id in ids {
        state.events.begin(id);
        state.ledger.approvals.push((id.to_owned(), service.begun.elapsed()));
    }
    (200, Value::Null)
}
