//! The side of the control socket that asks.

use std::io::{self, BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::tap::record_of;
use super::{Answer, LeftOut, Progress, Request, socket};

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
    let io_error = |source: io::Error| ClientError::Io { dir: state_dir.to_owned(), source };
    for line in send(state_dir, request)?.lines() {
        let line = line.map_err(io_error)?;
        match serde_json::from_str(&line).map_err(|error| io_error(error.into()))? {
            Answer::Progress(step) => progress(step),
            Answer::Error(error) => return Err(ClientError::Refused(error)),
            last => return Ok(last),
        }
    }
    Err(ClientError::Ended { dir: state_dir.to_owned() })
}

/// One thing that a tap gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapStep<'a> {
    /// The process with this number sends its records from now on.
    Tapping(u32),
    /// One record as a JSON object, without an end of line.
    Record(&'a [u8]),
    LeftOut(LeftOut),
    /// There is nothing more to read at the moment.
    Pause,
}

/// Taps the daemon of a state folder until it ends, or until `each` breaks.
///
/// # Errors
/// [`ClientError`]. That the daemon ended is none.
pub fn tap(
    state_dir: &Path,
    sink: Option<String>,
    mut each: impl FnMut(TapStep<'_>) -> ControlFlow<()>,
) -> Result<(), ClientError> {
    let io_error = |source: io::Error| ClientError::Io { dir: state_dir.to_owned(), source };
    let mut stream = send(state_dir, &Request::Tap { sink })?;
    let mut line = Vec::new();
    let mut is_tapping = false;
    loop {
        if stream.buffer().is_empty() && is_tapping && each(TapStep::Pause).is_break() {
            return Ok(());
        }
        line.clear();
        let read = stream.read_until(b'\n', &mut line);
        match read {
            Ok(_) if line.last() == Some(&b'\n') => {}
            // What a daemon that is killed leaves is a torn line, or a connection that is reset.
            Ok(_) | Err(_) if is_tapping => return Ok(()),
            Ok(_) => return Err(ClientError::Ended { dir: state_dir.to_owned() }),
            Err(error) => return Err(io_error(error)),
        }
        let step = match record_of(&line) {
            Some(record) => TapStep::Record(record),
            None => match serde_json::from_slice(&line).map_err(|error| io_error(error.into()))? {
                Answer::Tapping(process) => {
                    is_tapping = true;
                    TapStep::Tapping(process)
                }
                Answer::LeftOut(left_out) => TapStep::LeftOut(left_out),
                Answer::Error(error) => return Err(ClientError::Refused(error)),
                _ => continue,
            },
        };
        if each(step).is_break() {
            return Ok(());
        }
    }
}

/// Connects, and says what is wanted.
fn send(state_dir: &Path, request: &Request) -> Result<BufReader<UnixStream>, ClientError> {
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
    Ok(BufReader::new(stream))
}
