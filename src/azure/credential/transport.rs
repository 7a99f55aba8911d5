//! How azure_identity reaches Entra and IMDS: one request, never retried, never through a proxy to IMDS, its failure in
//! words that a reader can act on. It reads answers no further than to see that they can be a token.
//!
//! **Test seam**: [`AUTHORITY_VARIABLE`] sends every token request to an imitation instead, on a loopback address only.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Method, Request, StatusCode};
use serde_json::Value;
use url::Url;

use super::TOKEN_TIMEOUT;
use crate::http;

/// Names a base URL (`http://127.0.0.1:PORT`) that gets every token request, so that the program can be tested against
/// an imitation of Entra and IMDS. Refused for any address but a loopback one; not part of the configuration.
pub const AUTHORITY_VARIABLE: &str = "LOGFERRY_TEST_AZURE_AUTHORITY";

/// Most time for a connection to IMDS: it is on this machine's host, and where it does not exist packets just vanish.
const IMDS_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Most time for one request; longer than the limit of the whole fetch, which says better what happened.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2 * TOKEN_TIMEOUT.as_secs());

/// Most bytes that are read of an answer; a token has a few thousand.
const ANSWER_MAX_BYTES: usize = 256 * 1024;

/// What a failed token request came to, in the end of a sentence.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{host} does not answer: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("{host} answered {status}: {reason}")]
    Refused {
        host: String,
        status: u16,
        reason: String,
        /// The answer has the shape that Entra and IMDS give to errors.
        in_azures_words: bool,
    },
    #[error("{host} answered {status} with {what}, which is no token")]
    NoToken { host: String, status: u16, what: String },
}

/// The HTTP side of azure_identity.
pub struct Transport {
    /// Entra, by the sink's proxy and certificate authorities.
    entra: reqwest::Client,
    /// IMDS and its kin, which are on this machine: no proxy.
    machine: reqwest::Client,
    /// Gets every request instead, see [`AUTHORITY_VARIABLE`].
    imitation: Option<Url>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("imitation", &self.imitation).finish_non_exhaustive()
    }
}

/// The imitation that the environment names, if any.
///
/// # Errors
/// It is no URL of a loopback address.
pub fn authority_from_environment() -> Result<Option<Url>, http::BuildError> {
    match std::env::var(AUTHORITY_VARIABLE) {
        Ok(text) if !text.is_empty() => loopback_url(&text).map(Some),
        _ => Ok(None),
    }
}

fn loopback_url(text: &str) -> Result<Url, http::BuildError> {
    let bad = |reason: &str| http::BuildError::Value { what: AUTHORITY_VARIABLE, reason: reason.to_owned() };
    let url = Url::parse(text).map_err(|e| bad(&e.to_string()))?;
    if url.scheme() == "http" && is_loopback(&url) {
        Ok(url)
    } else {
        Err(bad("it is for tests only and must be http to a loopback address, http://127.0.0.1:PORT"))
    }
}

/// Whether the URL's host is this machine by its name or number.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(url::Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

impl Transport {
    /// Opens nothing. Of the sink's options, proxy and CA file hold for Entra too; headers and client certificate do not.
    ///
    /// # Errors
    /// A CA file or proxy that cannot be used, an `imitation` that is no loopback URL.
    pub fn new(options: &http::Options, user_agent: &str, imitation: Option<Url>) -> Result<Self, http::BuildError> {
        if let Some(url) = &imitation {
            loopback_url(url.as_str())?;
        }
        let entra =
            http::Options { timeout: REQUEST_TIMEOUT, headers: Vec::new(), client_cert_file: None, ..options.clone() };
        let machine = reqwest::Client::builder()
            .user_agent(user_agent)
            .no_proxy()
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(IMDS_CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .build()
            .map_err(|e| http::BuildError::Value { what: "client", reason: http::plain_reason(&e) })?;
        Ok(Transport { entra: http::client(&entra, user_agent)?, machine, imitation })
    }

    async fn exchange(&self, request: &Request) -> Result<(u16, Vec<u8>), Failure> {
        let mut url = request.url().clone();
        let host = url.host_str().unwrap_or_default().to_owned();
        // The identity endpoints of a machine speak plain http, Entra never does.
        let mut client = if url.scheme() == "http" { &self.machine } else { &self.entra };
        if let Some(imitation) = &self.imitation {
            let mut redirected = imitation.clone();
            redirected.set_path(url.path());
            redirected.set_query(url.query());
            (url, client) = (redirected, &self.machine);
        }
        let method = match request.method() {
            Method::Get => reqwest::Method::GET,
            _ => reqwest::Method::POST,
        };
        let mut sent = client.request(method, url);
        for (name, value) in request.headers().iter() {
            sent = sent.header(name.as_str(), value.as_str());
        }
        let form = match request.body() {
            Body::Bytes(bytes) => bytes.clone(),
            Body::SeekableStream(_) => Default::default(),
        };
        let unreachable = |error: reqwest::Error| Failure::Unreachable {
            host: host.clone(),
            reason: http::plain_reason(&error.without_url()),
        };
        let mut answer = sent.body(form.clone()).send().await.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > ANSWER_MAX_BYTES {
                let what = format!("more than {ANSWER_MAX_BYTES} bytes");
                return Err(Failure::NoToken { host, status, what });
            }
            body.extend_from_slice(&chunk);
        }
        if !answer.status().is_success() {
            return Err(refused(host, status, &body, &form));
        }
        match token_answer(&body) {
            Some(body) => Ok((status, body)),
            None => {
                // Not quoted: what is no token in our eyes could still hold one.
                let kind = answer.headers().get(reqwest::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
                let what = format!("{} bytes of {}", body.len(), kind.unwrap_or("no content type"));
                Err(Failure::NoToken { host, status, what })
            }
        }
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        match self.exchange(request).await {
            Ok((status, body)) => {
                let mut headers = Headers::new();
                headers.insert(HeaderName::from_static("content-type"), HeaderValue::from_static("application/json"));
                Ok(AsyncRawResponse::from_bytes(StatusCode::from(status), headers, body))
            }
            // This kind is not retried by any policy of azure_core, unlike `Io` and `Connection`.
            Err(failure) => Err(azure_core::Error::new(ErrorKind::Credential, failure)),
        }
    }
}

/// Reads an error of Entra or IMDS: `{"error":"invalid_client","error_description":"AADSTS7000215: …"}`.
fn refused(host: String, status: u16, body: &[u8], form: &[u8]) -> Failure {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
    let words = match (text("error"), text("error_description")) {
        ("", "") if body.is_empty() => "without a word".to_owned(),
        ("", "") => String::from_utf8_lossy(body).into_owned(),
        (code, "") => code.to_owned(),
        // What follows the first line are trace ids and a time stamp.
        (code, description) => format!("{code}: {}", description.lines().next().unwrap_or_default()),
    };
    let in_azures_words = !text("error").is_empty();
    Failure::Refused { host, status, reason: http::excerpt(without_secrets(words, form).as_bytes()), in_azures_words }
}

/// Takes out what must not be seen, should somebody between us and Entra send our own form back.
fn without_secrets(mut words: String, form: &[u8]) -> String {
    for (name, value) in url::form_urlencoded::parse(form) {
        if matches!(name.as_ref(), "client_secret" | "client_assertion") && !value.is_empty() {
            let encoded: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            words = words.replace(value.as_ref(), "[secret]").replace(&encoded, "[secret]");
        }
    }
    words
}

/// The answer as azure_identity takes it: `expires_on`, where it is there, as a string. `None`: no token in it.
fn token_answer(body: &[u8]) -> Option<Vec<u8>> {
    let mut answer: serde_json::Map<String, Value> = serde_json::from_slice(body).ok()?;
    answer.get("access_token")?.as_str().filter(|token| !token.is_empty())?;
    let Some(number) = answer.get("expires_on").and_then(Value::as_i64) else { return Some(body.to_vec()) };
    answer.insert("expires_on".to_owned(), Value::String(number.to_string()));
    serde_json::to_vec(&answer).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seam_for_tests_reaches_no_other_machine() {
        let check = |text: &str, expected: bool| assert_eq!(loopback_url(text).is_ok(), expected, "{text}");
        check("http://127.0.0.1:8080", true);
        check("http://[::1]:8080", true);
        check("http://localhost:1", true);
        check("https://127.0.0.1", false);
        check("http://169.254.169.254", false);
        check("http://localhost.example.com", false);
        check("127.0.0.1:80", false);
    }

    #[test]
    fn a_refusal_says_what_entra_said_in_one_line_and_never_our_secret() {
        let check = |body: &str, expected: &str| {
            let form = b"client_id=me&client_secret=a%2Fb%2Bc%7Ed";
            assert_eq!(refused("login".into(), 401, body.as_bytes(), form).to_string(), expected);
        };
        check(
            "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: Invalid secret.\\r\\nTrace ID: 1\"}",
            "login answered 401: invalid_client: AADSTS7000215: Invalid secret.",
        );
        check("{\"error\":\"nope\"}", "login answered 401: nope");
        check("<html>\nsign in", "login answered 401: <html> sign in");
        check("", "login answered 401: without a word");
        check("you sent a/b+c~d or a%2Fb%2Bc%7Ed", "login answered 401: you sent [secret] or [secret]");
    }

    #[test]
    fn an_answer_is_a_token_only_with_a_token_and_its_expiry_becomes_text() {
        let check = |body: &str, expected: Option<&str>| {
            let text = token_answer(body.as_bytes()).map(|bytes| String::from_utf8(bytes).expect("text"));
            assert_eq!(text.as_deref(), expected, "{body}");
        };
        check(r#"{"access_token":"t","expires_in":5}"#, Some(r#"{"access_token":"t","expires_in":5}"#));
        check(r#"{"access_token":"t","expires_on":7}"#, Some(r#"{"access_token":"t","expires_on":"7"}"#));
        check(r#"{"access_token":"t","expires_on":"7"}"#, Some(r#"{"access_token":"t","expires_on":"7"}"#));
        check(r#"{"access_token":""}"#, None);
        check("[]", None);
        check("<html>", None);
    }
}
