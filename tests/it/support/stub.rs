//! A `_bulk` server that answers as its script says: late, wrong, cut off, or not at all.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::http1::{self, Request};

/// One answer to a `_bulk` call.
#[derive(Clone, Debug)]
pub enum Reply {
    /// 201 for each record.
    Stored,
    /// A whole answer.
    Whole(u16, Vec<(&'static str, &'static str)>, String),
    /// A head that promises more bytes than these, then the end.
    Cut(String),
    /// The request is read, then the connection is reset.
    Reset,
    /// The request is read, then nothing happens.
    Hang,
    /// This answer without reading the body, then the connection ends.
    Early(u16),
}

impl Reply {
    pub fn status(status: u16, body: &str) -> Self {
        Reply::Whole(status, Vec::new(), body.to_owned())
    }
}

/// The server; it ends with the test's runtime.
pub struct Stub {
    pub url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    script: Mutex<VecDeque<Reply>>,
    /// What comes after the script; none: [`Reply::Stored`].
    behind: Mutex<Option<Reply>>,
    /// Answers to anything but `_bulk`, by the beginning of `METHOD path`.
    others: Vec<(&'static str, Reply)>,
    seen: Mutex<Vec<Request>>,
    /// Which of `seen` were answered with [`Reply::Stored`].
    stored: Mutex<Vec<usize>>,
}

impl Stub {
    /// Answers `_bulk` calls by `script`, then as a server that stores everything; anything else with 404.
    pub async fn new(script: impl IntoIterator<Item = Reply>) -> Self {
        Self::with(script, Vec::new()).await
    }

    pub async fn with(script: impl IntoIterator<Item = Reply>, others: Vec<(&'static str, Reply)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(State { script: Mutex::new(script.into_iter().collect()), others, ..State::default() });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                // A client that goes away in the middle is what some tests are about.
                tokio::spawn(async move { state.serve(stream).await.ok() });
            }
        });
        Stub { url, state }
    }

    /// Answers every `_bulk` call behind the script with this from now on.
    pub fn answer(&self, reply: Reply) {
        *self.state.behind.lock().expect("no panic") = Some(reply);
    }

    /// The `_bulk` calls until now that were answered with [`Reply::Stored`].
    pub fn stored(&self) -> Vec<Request> {
        let seen = self.state.seen.lock().expect("no panic");
        self.state.stored.lock().expect("no panic").iter().map(|at| seen[*at].clone()).collect()
    }

    /// Every request until now.
    pub fn seen(&self) -> Vec<Request> {
        self.state.seen.lock().expect("no panic").clone()
    }

    /// The `_bulk` calls until now.
    pub fn bulk_calls(&self) -> Vec<Request> {
        self.seen().into_iter().filter(|request| request.path().ends_with("/_bulk")).collect()
    }
}

impl State {
    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut rest = Vec::new();
        while let Some(mut request) = http1::read_head(&mut stream, &mut rest).await? {
            let reply = self.reply(&request);
            if let Reply::Early(status) = reply {
                self.seen.lock().expect("no panic").push(request);
                stream.write_all(&http1::response(status, &[("connection", "close")], b"")).await?;
                return stream.shutdown().await;
            }
            http1::read_body(&mut stream, &mut rest, &mut request).await?;
            let records = request.text().lines().count() / 2;
            let at = {
                let mut seen = self.seen.lock().expect("no panic");
                seen.push(request);
                seen.len() - 1
            };
            match reply {
                Reply::Stored => {
                    self.stored.lock().expect("no panic").push(at);
                    let items = vec![r#"{"create":{"_index":"stub-000001","status":201}}"#; records].join(",");
                    let body = format!(r#"{{"errors":false,"items":[{items}]}}"#);
                    stream.write_all(&http1::response(200, &[], body.as_bytes())).await?;
                }
                Reply::Whole(status, headers, body) => {
                    stream.write_all(&http1::response(status, &headers, body.as_bytes())).await?;
                }
                Reply::Cut(body) => {
                    let mut whole = http1::response(200, &[], format!("{body}{body}").as_bytes());
                    whole.truncate(whole.len() - body.len());
                    stream.write_all(&whole).await?;
                    return stream.shutdown().await;
                }
                Reply::Reset => return stream.set_zero_linger(),
                Reply::Hang => std::future::pending().await,
                Reply::Early(_) => {}
            }
        }
        Ok(())
    }

    fn reply(&self, request: &Request) -> Reply {
        if request.path().ends_with("/_bulk") {
            let scripted = self.script.lock().expect("no panic").pop_front();
            let behind = || self.behind.lock().expect("no panic").clone();
            return scripted.or_else(behind).unwrap_or(Reply::Stored);
        }
        let call = format!("{} {}", request.method, request.path());
        let known = self.others.iter().find(|(start, _)| call.starts_with(start));
        known.map_or_else(|| Reply::status(404, "{}"), |(_, reply)| reply.clone())
    }
}

/// The URL of a port where nobody listens.
pub async fn dead_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}
