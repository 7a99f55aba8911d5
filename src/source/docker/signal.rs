//! What the source tells the task of a container, and what that answers.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::container::Exit;

/// What the source tells a container's task. All but `Drain` are hints: it looks for itself.
#[derive(Debug)]
pub(super) enum Signal {
    /// The container was started.
    Started,
    /// It ended, in this way; its stream should, too.
    Died(Exit),
    /// Events may have been missed.
    Look,
    Drain(Target),
}

/// One container's part of a drain.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) settle: Duration,
    pub(super) deadline: Option<Instant>,
    pub(super) done: oneshot::Sender<Left>,
}

/// What a container's task could not do of a drain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Left {
    pub(super) origins: u64,
    pub(super) bytes: u64,
}
