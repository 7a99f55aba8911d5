//! The side of the control socket that asks.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::{Answer, Progress, Request, socket};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "no daemon is running on state.dir {dir:?}: start one with `logferry run`, or name its configuration with -c"
    )]
    NoDaemon { dir: PathBuf },
    #[error("the daemon on state.dir {dir:?} cannot be asked: {source}")]
    Io { dir: PathBuf, source: io::Error },
    #[error("the daemon on state.dir {dir:?} ended before it answered: its own report says how")]
    Ended { dir: PathBuf },
    #[error("the daemon says: {0}")]
    Refused(String),
}

/// Asks the daemon of a state folder and waits for its last answer; `progress` sees what comes before.
///
/// # Errors
/// [`ClientError`].
pub fn ask(state_dir: &Path, request: &Request, mut progress: impl FnMut(Progress)) -> Result<Answer, ClientError> {
    let dir = || state_dir.to_owned();
    let io_error = |source: io::Error| ClientError::Io { dir: dir(), source };
    let mut stream = match UnixStream::connect(socket(state_dir)) {
        Ok(stream) => stream,
        // A socket that nobody listens at was left behind by a process that was killed.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Err(ClientError::NoDaemon { dir: dir() });
        }
        Err(error) => return Err(io_error(error)),
    };
    let mut line = serde_json::to_vec(request).map_err(|error| io_error(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(io_error)?;
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(io_error)?;
        match serde_json::from_str(&line).map_err(|error| io_error(error.into()))? {
            Answer::Progress(step) => progress(step),
            Answer::Error(error) => return Err(ClientError::Refused(error)),
            last => return Ok(last),
        }
    }
    Err(ClientError::Ended { dir: dir() })
}
