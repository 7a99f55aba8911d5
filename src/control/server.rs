//! The daemon's side of the control socket.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{Answer, Asked, Outcome, Progress, Request, socket};

/// Longest request, in bytes.
pub const REQUEST_MAX_BYTES: u64 = 64 * 1024;

/// Most clients at a time; further ones wait.
pub const CONNECTIONS_MAX: usize = 16;

/// Longest that a client may take to say what it wants, or to take an answer.
const CLIENT_MAX: Duration = Duration::from_secs(10);

/// Longest that the end of the daemon waits for clients to take the rest of their answers.
const END_MAX: Duration = Duration::from_millis(500);

/// The listening socket; removed with this value.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    task: JoinHandle<()>,
    room: Arc<Semaphore>,
}

impl Server {
    /// Listens in a state folder that this process holds: a socket that is there already is that of a process that was
    /// killed. Requests go to `asked`.
    ///
    /// # Errors
    /// The socket cannot be made, for example because its path is too long.
    pub fn start(state_dir: &Path, asked: mpsc::Sender<Asked>) -> io::Result<Self> {
        let path = socket(state_dir);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let task = tokio::spawn(accept(listener, asked, Arc::clone(&room)));
        Ok(Server { path, task, room })
    }

    /// Takes no more clients, and gives those that are there a moment for the rest of their answers.
    pub async fn end(self) {
        self.task.abort();
        let told = self.room.acquire_many(CONNECTIONS_MAX as u32);
        if tokio::time::timeout(END_MAX, told).await.is_err() {
            tracing::debug!("a client of the control socket did not take the rest of its answer");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        // What stays behind is replaced by the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept(listener: UnixListener, asked: mpsc::Sender<Asked>, room: Arc<Semaphore>) {
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let asked = asked.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    if let Err(error) = serve(stream, asked).await {
                        tracing::debug!(%error, "a client of the control socket went away");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket cannot take a client");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, asked: mpsc::Sender<Asked>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let mut read = BufReader::new(read.take(REQUEST_MAX_BYTES));
    tokio::time::timeout(CLIENT_MAX, read.read_until(b'\n', &mut line)).await??;
    let request: Request = match serde_json::from_slice(&line) {
        Ok(request) => request,
        Err(error) => return put(&mut write, &Answer::Error(format!("this is no request: {error}"))).await,
    };
    let stopping = || Answer::Error("the daemon is stopping".to_owned());
    let last = match request {
        Request::Tap { sink } => {
            let (done, answer) = oneshot::channel();
            let _ = asked.send(Asked::Tap { sink, done }).await;
            match answer.await {
                Ok(Ok(records)) => {
                    put(&mut write, &Answer::Tapping(std::process::id())).await?;
                    return super::tap::serve(read.into_inner().into_inner(), write, records).await;
                }
                Ok(Err(error)) => Answer::Error(error),
                Err(_) => stopping(),
            }
        }
        Request::Status => {
            let (done, answer) = oneshot::channel();
            // Who runs the pipeline may have stopped to listen: then the answer does not come either.
            let _ = asked.send(Asked::Status { done }).await;
            answer.await.map_or_else(|_| stopping(), Answer::Status)
        }
        Request::Drain { deadline_ms } => {
            let (progress, steps) = mpsc::channel(1);
            let (done, answer) = oneshot::channel();
            let _ = asked.send(Asked::Drain { deadline_ms, progress, done }).await;
            follow(&mut write, steps, answer).await?.unwrap_or_else(stopping)
        }
        Request::Replay { deadline_ms, sinks } => {
            let (progress, steps) = mpsc::channel(1);
            let (done, answer) = oneshot::channel();
            let _ = asked.send(Asked::Replay { deadline_ms, sinks, progress, done }).await;
            follow(&mut write, steps, answer).await?.unwrap_or_else(stopping)
        }
    };
    put(&mut write, &last).await
}

/// Passes progress on until there is an outcome; `None`: there will be none.
async fn follow(
    write: &mut (impl AsyncWriteExt + Unpin),
    mut steps: mpsc::Receiver<Progress>,
    mut answer: oneshot::Receiver<Result<Outcome, String>>,
) -> io::Result<Option<Answer>> {
    loop {
        tokio::select! {
            Some(step) = steps.recv() => put(write, &Answer::Progress(step)).await?,
            outcome = &mut answer => return Ok(match outcome {
                Ok(Ok(outcome)) => Some(Answer::Done(outcome)),
                Ok(Err(error)) => Some(Answer::Error(error)),
                Err(_) => None,
            }),
        }
    }
}

pub(super) async fn put(write: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    tokio::time::timeout(CLIENT_MAX, write.write_all(&line)).await?
}
