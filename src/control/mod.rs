//! The control socket: how `drain`, `replay`, `status` and `tap` ask the running daemon. It carries questions and answers
//! and decides nothing.
//!
//! A stream socket, `state.dir/control.sock`, for its owner alone. The client sends one JSON object on a line, the daemon
//! answers with lines: `{"progress":…}` from time to time while a drain or replay is under way, and at last one of
//! `{"done":…}`, `{"status":…}` or `{"error":"…"}`. A tap has no last line: after `{"tapping":…}` there comes
//! `{"record":…}` for each record and `{"left_out":…}` where some are missing, until one of both goes.

mod client;
mod server;
mod tap;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

pub use client::{ClientError, TapStep, ask, tap};
pub use server::{CONNECTIONS_MAX, REQUEST_MAX_BYTES, Server};
pub use tap::{LeftOut, Tapped};

/// Where the socket of a state folder is.
pub fn socket(state_dir: &Path) -> PathBuf {
    state_dir.join("control.sock")
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Deliver all that was written until now. Without a deadline: `teardown.deadline`.
    Drain {
        deadline_ms: Option<u64>,
    },
    Status,
    /// Send dead letters again: of these sinks, of all where none is named. Without a deadline: `teardown.deadline`.
    Replay {
        deadline_ms: Option<u64>,
        sinks: Vec<String>,
    },
    /// Live records of what this sink gets, without one of what any gets, until the connection is closed.
    Tap {
        sink: Option<String>,
    },
}

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Progress(Progress),
    Done(Outcome),
    Status(Value),
    Error(String),
    /// Every record from now on follows; the number of the daemon's process.
    Tapping(u32),
    LeftOut(LeftOut),
}

/// How far a drain or replay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The sources are still on their way to the target.
    pub reading: bool,
    /// Bytes of the buffer up to the target that a sink has not passed, about: of the sink that has most of them. Of a
    /// replay: bytes of dead letters.
    pub left_bytes: u64,
}

/// How a drain or replay ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub exit_code: u8,
    /// The report, for people.
    pub report: String,
}

/// A request on its way to whoever runs the pipeline.
#[derive(Debug)]
pub enum Asked {
    Drain {
        deadline_ms: Option<u64>,
        progress: mpsc::Sender<Progress>,
        done: oneshot::Sender<Result<Outcome, String>>,
    },
    Status {
        done: oneshot::Sender<Value>,
    },
    Replay {
        deadline_ms: Option<u64>,
        sinks: Vec<String>,
        progress: mpsc::Sender<Progress>,
        done: oneshot::Sender<Result<Outcome, String>>,
    },
    Tap {
        sink: Option<String>,
        done: oneshot::Sender<Result<mpsc::Receiver<Tapped>, String>>,
    },
}
