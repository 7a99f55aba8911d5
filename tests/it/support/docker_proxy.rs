//! A proxy in front of the Docker engine of the tests: on a socket, by TCP or TLS, that lets through what it is told to.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::auth_proxy::{Authority, serve_each};
use super::http1;

/// A call of the API: method, and path with `{id}` for a container's id.
pub type Call = (String, String);

/// The proxy; it ends with the test's runtime.
pub struct DockerProxy {
    /// As for `DOCKER_HOST`.
    pub host: String,
    state: Arc<State>,
}

struct State {
    engine: String,
    /// `None`: everything.
    allowed: Option<Vec<Call>>,
    let_through: Mutex<Vec<Call>>,
    refused: Mutex<Vec<Call>>,
    versions: Mutex<Vec<String>>,
}

impl DockerProxy {
    /// On a socket of this path.
    pub fn on_socket(path: &Path, allowed: Option<Vec<Call>>) -> Self {
        let listener = UnixListener::bind(path).expect("a socket");
        let state = State::new(allowed);
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&shared).serve(stream));
            }
        });
        DockerProxy { host: format!("unix://{}", path.display()), state }
    }

    /// By TCP; with TLS that asks clients for a certificate, where there is an authority.
    pub async fn by_tcp(authority: Option<&Authority>, allowed: Option<Vec<Call>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = format!("tcp://{}", listener.local_addr().expect("an address"));
        let acceptor = authority.map(|authority| authority.acceptor(true));
        let state = State::new(allowed);
        let shared = Arc::clone(&state);
        serve_each(listener, acceptor, move |stream| Arc::clone(&shared).serve(stream));
        DockerProxy { host, state }
    }

    /// Calls that went through, each once.
    pub fn let_through(&self) -> Vec<Call> {
        self.state.let_through.lock().expect("no panic").clone()
    }

    /// Calls that were answered with 403, each once.
    pub fn refused(&self) -> Vec<Call> {
        self.state.refused.lock().expect("no panic").clone()
    }

    /// Versions of the API that paths began with, each once; empty for those without one.
    pub fn versions(&self) -> Vec<String> {
        self.state.versions.lock().expect("no panic").clone()
    }
}

impl State {
    fn new(allowed: Option<Vec<Call>>) -> Arc<State> {
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        let engine = host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned();
        let (let_through, refused, versions) = Default::default();
        Arc::new(State { engine, allowed, let_through, refused, versions })
    }

    /// One request a connection, as its client does it.
    async fn serve(self: Arc<Self>, mut near: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut rest = Vec::new();
        let Some(request) = http1::read_head(&mut near, &mut rest).await? else { return Ok(()) };
        let (version, path) = split_version(request.path());
        note(&self.versions, version.to_owned());
        let call = (request.method.clone(), generic(path));
        if self.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&call)) {
            note(&self.refused, call);
            let body = br#"{"message":"forbidden by the proxy"}"#;
            near.write_all(&http1::response(403, &[("connection", "close")], body)).await?;
            return near.shutdown().await;
        }
        note(&self.let_through, call);
        let mut far = UnixStream::connect(&self.engine).await?;
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        for (name, value) in &request.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        far.write_all(head.as_bytes()).await?;
        far.write_all(&rest).await?;
        copy_bidirectional(&mut near, &mut far).await?;
        Ok(())
    }
}

fn note<T: PartialEq>(list: &Mutex<Vec<T>>, one: T) {
    let mut list = list.lock().expect("no panic");
    if !list.contains(&one) {
        list.push(one);
    }
}

/// `/v1.41/path` as `v1.41` and `/path`.
fn split_version(path: &str) -> (&str, &str) {
    let first = path.strip_prefix('/').and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let is_version = first.strip_prefix('v').is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()));
    if is_version { (first, &path[first.len() + 1..]) } else { ("", path) }
}

fn generic(path: &str) -> String {
    let is_id = |part: &str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    path.split('/').map(|part| if is_id(part) { "{id}" } else { part }).collect::<Vec<_>>().join("/")
}
