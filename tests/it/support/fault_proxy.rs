//! A plain HTTP proxy in front of a real engine that refuses, loses and delays on demand.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::http1;

/// What happens to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    Pass,
    /// This status, without asking the engine.
    Status(u16),
    /// The connection ends, the engine was not asked.
    DropBefore,
    /// The engine has answered, and the connection ends.
    DropAfter,
    /// These bytes, without asking the engine.
    Instead(Vec<u8>),
    /// The engine has answered, and these bytes come.
    InsteadAfter(Vec<u8>),
    /// Nothing happens, before or after the engine has answered.
    HangBefore,
    HangAfter,
    /// The engine's answer, but in such small pieces that it never ends.
    DripAfter,
    /// Half of the engine's answer, then a reset.
    CutAfter,
    /// The engine's answer, so much later.
    DelayAfter(Duration),
}

type Rule = Box<dyn FnMut(&http1::Request, u64) -> Fault + Send>;

struct State {
    upstream: String,
    rule: Mutex<Rule>,
    /// Connections are refused (accepted and closed at once, and open ones are cut).
    down: AtomicBool,
    requests: AtomicU64,
}

/// The proxy; it ends with the test's runtime.
pub struct FaultProxy {
    pub url: String,
    state: Arc<State>,
}

impl FaultProxy {
    /// `upstream`: `http://HOST:PORT`. `rule` is asked for each request with its number, from 0.
    pub async fn new(upstream: &str, rule: impl FnMut(&http1::Request, u64) -> Fault + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(State {
            upstream: upstream.trim_start_matches("http://").to_owned(),
            rule: Mutex::new(Box::new(rule)),
            down: AtomicBool::new(false),
            requests: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                if !accepting.down.load(Ordering::SeqCst) {
                    let state = Arc::clone(&accepting);
                    // A connection that breaks is what this is for.
                    tokio::spawn(async move { drop(serve(stream, &state).await) });
                }
            }
        });
        FaultProxy { url, state }
    }

    pub fn set_down(&self, down: bool) {
        self.state.down.store(down, Ordering::SeqCst);
    }

    pub fn set_rule(&self, rule: impl FnMut(&http1::Request, u64) -> Fault + Send + 'static) {
        *self.state.rule.lock().expect("no panic") = Box::new(rule);
    }

    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut rest = Vec::new();
    while let Some(mut request) = http1::read_head(&mut stream, &mut rest).await? {
        http1::read_body(&mut stream, &mut rest, &mut request).await?;
        let number = state.requests.fetch_add(1, Ordering::SeqCst);
        let fault = (state.rule.lock().expect("no panic"))(&request, number);
        match &fault {
            _ if state.down.load(Ordering::SeqCst) => return Ok(()),
            Fault::DropBefore => return Ok(()),
            Fault::HangBefore => std::future::pending().await,
            Fault::Status(status) => {
                stream.write_all(&http1::response(*status, &[], b"scripted")).await?;
                continue;
            }
            Fault::Instead(bytes) => {
                stream.write_all(bytes).await?;
                return stream.shutdown().await;
            }
            _ => {}
        }
        let mut answer = http1::forward(&request, &state.upstream).await?;
        match fault {
            Fault::DropAfter => return Ok(()),
            Fault::HangAfter => std::future::pending().await,
            Fault::InsteadAfter(bytes) => answer = bytes,
            Fault::DripAfter => return drip(stream, &answer).await,
            Fault::CutAfter => {
                stream.write_all(&answer[..answer.len() / 2]).await?;
                // What was written must have gone out before the reset takes it back.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return stream.set_zero_linger();
            }
            Fault::DelayAfter(time) => tokio::time::sleep(time).await,
            _ => {}
        }
        stream.write_all(&answer).await?;
        // The engine's connection was for one request: so is this one.
        stream.shutdown().await?;
        return Ok(());
    }
    Ok(())
}

/// All but the last byte, each some time after the one before.
async fn drip(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    for byte in answer.iter().take(answer.len() - 1) {
        stream.write_all(&[*byte]).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::future::pending().await
}
