//! The HTTP listener of a daemon: a few small pages for probes. It knows pages, not what stands on them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::exposition::Format;

/// Connections at once; further ones wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 32;

/// Most bytes of the head of a request.
const HEAD_MAX_BYTES: usize = 8 * 1024;

/// Longest wait for the head of a request, also of a further one on the same connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest life of a connection: who does not read its answer does not hold it for ever.
const CONNECTION_MAX: Duration = Duration::from_secs(60);

/// Pause after a failed accept: mostly too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// `/healthz`: the process is alive.
    Health,
    /// `/readyz`: sources run and sinks accept.
    Ready,
    /// `/status`: how it does, as JSON.
    Status,
    /// `/metrics`: the figures, for Prometheus.
    Metrics(Format),
}

/// What a page says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(status: u16, text: &str) -> Self {
        Answer { status, content_type: "text/plain; charset=utf-8", body: text.as_bytes().to_vec() }
    }

    pub fn json(value: &serde_json::Value) -> Self {
        let body = format!("{value:#}\n").into_bytes();
        Answer { status: 200, content_type: "application/json", body }
    }
}

impl Page {
    /// `accept`: what the client would like to read.
    fn of(path: &str, accept: Option<&HeaderValue>) -> Option<Self> {
        match path {
            "/healthz" => Some(Page::Health),
            "/readyz" => Some(Page::Ready),
            "/status" => Some(Page::Status),
            "/metrics" => {
                let accept = accept.and_then(|value| value.to_str().ok());
                Some(Page::Metrics(Format::wanted(accept.unwrap_or_default())))
            }
            _ => None,
        }
    }
}

/// Serves pages, for as long as it is awaited.
pub async fn serve<F, A>(listener: TcpListener, answer: F)
where
    F: Fn(Page) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = answer.clone();
                connections.spawn(async move {
                    let _permit = permit;
                    if tokio::time::timeout(CONNECTION_MAX, connection(stream, answer)).await.is_err() {
                        tracing::debug!("an HTTP connection was open for too long");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no HTTP connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<F, A>(stream: TcpStream, answer: F)
where
    F: Fn(Page) -> A,
    A: Future<Output = Answer>,
{
    let service = service_fn(|request| respond(request, &answer));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "an HTTP connection broke off");
    }
}

async fn respond<F, A>(request: Request<Incoming>, answer: &F) -> Result<Response<Full<Bytes>>, Infallible>
where
    F: Fn(Page) -> A,
    A: Future<Output = Answer>,
{
    let page = Page::of(request.uri().path(), request.headers().get(ACCEPT));
    let answer = match (page, request.method()) {
        (Some(page), &Method::GET | &Method::HEAD) => answer(page).await,
        (Some(_), _) => Answer::text(405, "only GET\n"),
        (None, _) => Answer::text(404, "there is /metrics, /healthz, /readyz and /status\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if answer.status == 405 {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn start() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve(listener, |page| async move { Answer::text(200, &format!("{page:?}")) }));
        address
    }

    async fn talk(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(request).await.expect("write");
        let mut answer = String::new();
        // A refused request may end in a reset: what came before it counts.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn pages_are_served_and_anything_else_is_refused() {
        let address = start().await;
        let check = async |request: &str, status: &str, end: &str| {
            let request = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            let answer = talk(address, request.as_bytes()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.ends_with(end), "{answer}");
        };
        check("GET /healthz", "200", "Health").await;
        check("GET /readyz?verbose", "200", "Ready").await;
        check("HEAD /status", "200", "\r\n\r\n").await;
        check("POST /status", "405", "only GET\n").await;
        check("GET /metrics", "200", "Metrics(Text)").await;
        let open =
            "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept: application/openmetrics-text\r\n\r\n";
        assert!(talk(address, open.as_bytes()).await.ends_with("Metrics(OpenMetrics)"));
        check("GET /", "404", "/status\n").await;
    }

    #[tokio::test]
    async fn what_is_no_request_or_too_long_is_refused() {
        let address = start().await;
        assert!(talk(address, b"nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
        let long = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(HEAD_MAX_BYTES * 2));
        assert!(talk(address, long.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    }
}
