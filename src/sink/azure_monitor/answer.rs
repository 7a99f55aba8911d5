//! What an answer of the Logs Ingestion API means, in facts for the decision and in words for the reader.

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde::Deserialize;

use crate::sink::SendOutcome;
use crate::sink::http;

/// Most bytes that are read of an error; the service's own have a few hundred.
const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// What the words of a refusal need to name.
#[derive(Debug)]
pub(super) struct Target {
    pub host: String,
    pub dcr_id: String,
    pub stream: String,
    /// What a token must have been issued for.
    pub audience: &'static str,
}

impl Target {
    /// Names the host in the reason of a request that got no answer.
    pub(super) fn at_host(&self, outcome: SendOutcome) -> SendOutcome {
        match outcome {
            SendOutcome::NotSent { reason } => SendOutcome::NotSent { reason: format!("{}: {reason}", self.host) },
            SendOutcome::Unknown { reason } => SendOutcome::Unknown { reason: format!("{}: {reason}", self.host) },
            other => other,
        }
    }

    /// What a status means and what to do about it; empty where the service's own words say all there is.
    fn advice(&self, status: u16) -> String {
        let Target { dcr_id, stream, audience, .. } = self;
        match status {
            401 => format!(
                "the token was refused: it must be for {audience}, so `endpoint` must belong to the cloud of the \
                 credential's tenant; a new token is fetched"
            ),
            403 => format!(
                "the identity may not write to rule {dcr_id}: give it the role Monitoring Metrics Publisher on the rule \
                 (a new assignment takes up to 30 minutes), and check that `endpoint` is the rule's own or that of the \
                 data collection endpoint it is bound to"
            ),
            404 => format!(
                "no stream {stream} in a rule {dcr_id} at this endpoint: `dcr_id` is the rule's immutableId, not its \
                 name, `stream` a key of its streamDeclarations, `endpoint` in the rule's region"
            ),
            _ => String::new(),
        }
    }
}

/// Reads an answer to its end, so that the connection can be used again.
pub(super) async fn read(mut answer: reqwest::Response, target: &Target) -> SendOutcome {
    let status = answer.status();
    let is_page = answer.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/html"));
    if status.is_success() && is_page {
        let reason =
            format!("{} answered {} with a web page: something between us and Azure", target.host, status.as_u16());
        return SendOutcome::Unknown { reason };
    }
    let mut body = Vec::new();
    // A body that breaks off takes nothing from the status.
    while let Ok(Some(chunk)) = answer.chunk().await {
        let room = ANSWER_MAX_BYTES - body.len();
        body.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
        if body.len() == ANSWER_MAX_BYTES {
            break;
        }
    }
    if status.is_success() {
        return SendOutcome::Accepted;
    }
    SendOutcome::Refused {
        status: status.as_u16(),
        retry_after: http::retry_after(answer.headers()),
        reason: refusal(status.as_u16(), answer.headers(), &body, target),
    }
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: ErrorDetail,
}

#[derive(Deserialize)]
struct ErrorDetail {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// `CODE: message; advice`: the code of the body, and that of the header where it is another.
fn refusal(status: u16, headers: &HeaderMap, body: &[u8], target: &Target) -> String {
    let header_code = headers.get("x-ms-error-code").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (code, message) = match serde_json::from_slice::<ErrorAnswer>(body) {
        Ok(ErrorAnswer { error }) => (error.code, http::excerpt(error.message.as_bytes())),
        Err(_) => (String::new(), http::excerpt(body)),
    };
    let codes = match (header_code, code.as_str()) {
        (header, "") => header.to_owned(),
        ("", body) => body.to_owned(),
        (header, body) if header == body => body.to_owned(),
        (header, body) => format!("{header} ({body})"),
    };
    let words = match (codes.is_empty(), message.is_empty()) {
        (true, _) => message,
        (false, true) => codes,
        (false, false) => format!("{codes}: {message}"),
    };
    match (words.is_empty(), target.advice(status)) {
        (true, advice) if advice.is_empty() => "no reason given".to_owned(),
        (true, advice) => advice,
        (false, advice) if advice.is_empty() => words,
        (false, advice) => format!("{words}; {advice}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_code_once_the_message_and_what_to_do() {
        let target = Target {
            host: "h".into(),
            dcr_id: "dcr-1".into(),
            stream: "Custom-S".into(),
            audience: "https://monitor.azure.com",
        };
        let check = |status: u16, header: Option<&'static str>, body: &str, expected: &str| {
            let mut headers = HeaderMap::new();
            if let Some(code) = header {
                headers.insert("x-ms-error-code", code.parse().expect("header"));
            }
            let words = refusal(status, &headers, body.as_bytes(), &target);
            assert!(words.starts_with(expected), "{words}");
            assert_eq!(words.len() > expected.len(), matches!(status, 401 | 403 | 404), "{words}");
        };
        check(400, Some("A"), r#"{"error":{"code":"A","message":"bad"}}"#, "A: bad");
        check(400, Some("A"), r#"{"error":{"code":"B","message":"bad"}}"#, "A (B): bad");
        check(400, None, r#"{"error":{"code":"B"}}"#, "B");
        check(413, Some("A"), "", "A");
        check(502, None, "<html>\nBad gateway", "<html> Bad gateway");
        check(503, None, "", "no reason given");
        check(401, None, "", "the token was refused: it must be for https://monitor.azure.com");
        check(
            403,
            Some("OperationFailed"),
            "",
            "OperationFailed; the identity may not write to rule dcr-1: give it the role",
        );
        check(404, None, r#"{"error":{"code":"N","message":"m"}}"#, "N: m; no stream Custom-S in a rule dcr-1");
    }
}
