//! What sinks and token requests share of HTTP: options, client, authentication, bodies. It knows no sink.

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// How logferry names itself to servers.
pub const USER_AGENT: &str = concat!("logferry/", env!("CARGO_PKG_VERSION"));

/// A value that must never be seen: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// How a sink is told who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    None,
    /// `Authorization: ApiKey …`, the encoded form.
    ApiKey(Secret),
    Basic {
        username: String,
        password: Secret,
    },
    Bearer(Secret),
}

/// Compression of request bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
}

/// Transport options of one sink.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most time for one request, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// Proxy for every request; without one `HTTPS_PROXY` and its kin apply.
    pub proxy: Option<String>,
    /// Added to each request; values may be secrets.
    pub headers: Vec<(String, Secret)>,
    /// PEM file of further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// PEM file with our certificate and its key.
    pub client_cert_file: Option<PathBuf>,
}

/// A client that cannot be built, with the file or value at fault.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{what} {path:?} cannot be used: {reason}")]
    File { what: &'static str, path: PathBuf, reason: String },
    #[error("{what}: {reason}")]
    Value { what: &'static str, reason: String },
}

/// Longest wait for a connection, TLS included.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// Refuses credentials that no header can carry; they often end in a line break that came with a file.
///
/// # Errors
/// Which of them, not its value.
pub fn check_auth(auth: &Auth) -> Result<(), BuildError> {
    let (what, text) = match auth {
        Auth::None | Auth::Basic { .. } => return Ok(()),
        Auth::ApiKey(key) => ("api_key", key.expose()),
        Auth::Bearer(token) => ("bearer_token", token.expose()),
    };
    if text.is_empty() || !text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        let reason = "it must be one line of printable ASCII characters".to_owned();
        return Err(BuildError::Value { what, reason });
    }
    Ok(())
}

/// Builds the client of one sink.
///
/// # Errors
/// A file that cannot be read or parsed, a proxy or header that is not well formed.
pub fn client(options: &Options, user_agent: &str) -> Result<reqwest::Client, BuildError> {
    let mut headers = reqwest::header::HeaderMap::new();
    for (name, value) in &options.headers {
        let bad = |reason: String| BuildError::Value { what: "headers", reason: format!("{name:?}: {reason}") };
        let name = reqwest::header::HeaderName::try_from(name.as_str()).map_err(|e| bad(e.to_string()))?;
        let mut value = reqwest::header::HeaderValue::try_from(value.expose()).map_err(|e| bad(e.to_string()))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let mut builder = reqwest::Client::builder()
        .user_agent(user_agent)
        .timeout(options.timeout)
        // Shorter than the request's, so that a server that never answers a connection counts as one that got nothing.
        .connect_timeout((options.timeout / 2).min(CONNECT_TIMEOUT_MAX))
        .redirect(reqwest::redirect::Policy::none())
        .pool_idle_timeout(Duration::from_secs(50))
        .tcp_nodelay(true)
        .http1_only()
        .default_headers(headers);
    if let Some(proxy) = &options.proxy {
        let proxy = reqwest::Proxy::all(proxy)
            .map_err(|e| BuildError::Value { what: "proxy", reason: plain_reason(&e.without_url()) })?;
        builder = builder.proxy(proxy);
    }
    if let Some(path) = &options.ca_file {
        let bad = |reason: String| BuildError::File { what: "ca_file", path: path.clone(), reason };
        let pem = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| bad(plain_reason(&e)))?;
        if certificates.is_empty() {
            return Err(bad("it holds no PEM certificate".to_owned()));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    if let Some(path) = &options.client_cert_file {
        let bad = |reason: String| BuildError::File { what: "client_cert_file", path: path.clone(), reason };
        let pem = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
        builder = builder.identity(reqwest::Identity::from_pem(&pem).map_err(|e| bad(plain_reason(&e)))?);
    }
    builder.build().map_err(|e| BuildError::Value { what: "client", reason: plain_reason(&e) })
}

/// An error with its causes in one line; reqwest names the outermost only.
pub fn plain_reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Adds the credentials to a request.
pub fn authenticate(request: reqwest::RequestBuilder, auth: &Auth) -> reqwest::RequestBuilder {
    let sensitive = |text: String| {
        let mut value = reqwest::header::HeaderValue::try_from(text)
            .unwrap_or_else(|_| reqwest::header::HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    };
    match auth {
        Auth::None => request,
        Auth::ApiKey(key) => {
            request.header(reqwest::header::AUTHORIZATION, sensitive(format!("ApiKey {}", key.expose())))
        }
        Auth::Basic { username, password } => request.basic_auth(username, Some(password.expose())),
        Auth::Bearer(token) => request.bearer_auth(token.expose()),
    }
}

/// Longest wait that a server may ask of us; a longer `Retry-After` is cut to it.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Reads `Retry-After` in seconds or as an HTTP date.
pub fn retry_after(headers: &reqwest::header::HeaderMap) -> Option<Duration> {
    let text = headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            let now = jiff::Timestamp::now();
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Longest piece of a server's answer that stands in a reason, in bytes.
const EXCERPT_BYTES: usize = 300;

/// The start of an answer on one line, for a reason.
pub fn excerpt(body: &[u8]) -> String {
    let cut = &body[..body.len().min(EXCERPT_BYTES)];
    let text: String = String::from_utf8_lossy(cut).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = text.trim();
    if body.len() > EXCERPT_BYTES { format!("{text}…") } else { text.to_owned() }
}

/// Most memory that is taken on the word of a server, in bytes.
const ANNOUNCED_MAX_BYTES: u64 = 2 * 1024 * 1024;

/// Reads the body of an answer up to `max` bytes: what was read, and why it is not the whole.
pub async fn read_body(response: &mut reqwest::Response, max: usize) -> (Vec<u8>, Result<(), String>) {
    // What the server announces, as far as it is believed before it has come.
    let announced = response.content_length().unwrap_or(0).min(ANNOUNCED_MAX_BYTES) as usize;
    let mut body = Vec::with_capacity(announced.min(max));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = max - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    return (body, Err(format!("is longer than {max} bytes")));
                }
            }
            Ok(None) => return (body, Ok(())),
            Err(error) => return (body, Err(format!("broke off: {}", plain_reason(&error.without_url())))),
        }
    }
}

/// Level at which log lines cost least for what they save.
const GZIP_LEVEL: u32 = 1;

/// Bytes that are compressed before other tasks of the thread get their turn; about 2 ms.
const GZIP_TURN_BYTES: usize = 256 * 1024;

/// The body as it goes out. Gives way to other tasks between pieces, as a full batch takes 40 ms.
///
/// # Errors
/// As the encoder; writing to memory does not fail.
pub async fn compress(body: &[u8], compression: Compression) -> std::io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(body.to_vec()),
        Compression::Gzip => {
            let mut encoder = gzip_encoder(body.len());
            for piece in body.chunks(GZIP_TURN_BYTES) {
                encoder.write_all(piece)?;
                tokio::task::yield_now().await;
            }
            encoder.finish()
        }
    }
}

/// Compresses a small body at once.
///
/// # Errors
/// As the encoder; writing to memory does not fail.
pub fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = gzip_encoder(body.len());
    encoder.write_all(body)?;
    encoder.finish()
}

fn gzip_encoder(body_len: usize) -> flate2::write::GzEncoder<Vec<u8>> {
    flate2::write::GzEncoder::new(Vec::with_capacity(body_len / 6), flate2::Compression::new(GZIP_LEVEL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_that_no_header_can_carry_are_refused_without_showing_them() {
        let check = |text: &str, good: bool| {
            for auth in [Auth::ApiKey(Secret::new(text)), Auth::Bearer(Secret::new(text))] {
                match check_auth(&auth) {
                    Ok(()) => assert!(good, "{text:?}"),
                    Err(error) => assert!(!good && (text.is_empty() || !error.to_string().contains(text)), "{error}"),
                }
            }
        };
        check("VuaCfGcBCdbkQm-e5aOx:ui2lp2axTNmsyakw9tvNnw==", true);
        check("key\n", false);
        check("schlüssel", false);
        check("", false);
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt(b"  a\r\nb\0 "), "a  b");
        assert_eq!(excerpt(b""), "");
        let long = excerpt(&[b'x'; 1000]);
        assert_eq!((long.chars().count(), long.ends_with('…')), (EXCERPT_BYTES + 1, true));
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_bounded() {
        let check = |text: &str, expected: Option<Duration>| {
            let mut headers = reqwest::header::HeaderMap::new();
            headers.insert(reqwest::header::RETRY_AFTER, text.parse().expect("a header"));
            assert_eq!(retry_after(&headers), expected, "{text}");
        };
        check("7", Some(Duration::from_secs(7)));
        check("99999", Some(RETRY_AFTER_MAX));
        check("Wed, 21 Oct 2015 07:28:00 GMT", Some(Duration::ZERO));
        check("Wed, 21 Oct 2150 07:28:00 GMT", Some(RETRY_AFTER_MAX));
        check("soon", None);
        assert_eq!(retry_after(&reqwest::header::HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn compressed_bodies_read_back() {
        use std::io::Read as _;
        let body = b"some lines\n".repeat(60_000);
        for packed in [gzip(&body).expect("gzip"), compress(&body, Compression::Gzip).await.expect("gzip")] {
            let mut read = Vec::new();
            flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut read).expect("valid gzip");
            assert_eq!(read, body);
            assert!(packed.len() < body.len() / 10);
        }
        assert_eq!(compress(&body, Compression::None).await.expect("a copy"), body);
    }
}
