//! How the reading of a container begins: what it is, whether it is ours to read, and whether we can be attached to it before
//! it starts.
//!
//! The engine removes a container with `--rm` together with its log when it ends, so that one that lives for some
//! milliseconds is gone before its log can be asked for. Such a container is attached to on its `create` event. The event
//! does not say whether it will be removed: so every new container is attached to first, and let go where its log will
//! stay. One whose log driver gives no log stays attached, too: there is no other way to its lines.
//!
//! **Attached in time** is proven, or it does not count: either the engine says after it joined us that the container was
//! never started, or it was started later than we were joined. Engines hold a lock on the container while they start it, and
//! join nobody meanwhile, so there is nothing in between. Both clocks are the same: only engines on this machine
//! are attached to. Podman never is: it makes a container that has ended ready to start anew for whoever attaches, and forgets
//! how it ended.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::chronicle::Chronicle;
use super::container::{Candidate, Container, Exit, is_unborn};
use super::driver::{Pieces, Risk};
use super::engine::{Engine, EngineError, Streamed};
use super::frame::Stream;
use super::gone::EXIT_WAIT;
use super::held::{self, Held};
use super::reader::Reader;
use super::signal::{Left, Signal};
use super::stats::{Gap, GapReason};
use super::{Error, Shared, timestamp};
use crate::buffer::LiveOrigin;
use crate::record::{Nanos, time};

/// Pause before an engine that does not answer is asked again for a container.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How long, and how often, the engine is asked about a container that its list has and it does not know.
const EARLY_MAX: Duration = Duration::from_secs(3);
const EARLY_POLL: Duration = Duration::from_millis(50);

/// What comes of a container that we are attached to.
pub(super) struct Attachment {
    pub(super) stream: Streamed<(Stream, Bytes)>,
    /// Since before the start.
    pub(super) is_whole: bool,
}

/// A container that was found.
pub(super) struct Found {
    pub(super) candidate: Candidate,
    /// An event has just said that it was created: it may not have been started yet.
    pub(super) is_new: bool,
    /// It stands in the engine's list as created, which it does a moment before the engine can be asked about it.
    pub(super) is_listed_new: bool,
    /// The engine's data folder, where it can be read.
    pub(super) data_folder: Option<PathBuf>,
    pub(super) live: Vec<LiveOrigin>,
}

/// What became of it.
pub(super) enum Ending {
    /// It is gone, or the source has ended.
    Done,
    /// It is not ours to read.
    NotSelected,
}

/// Reads a container until it is gone or the source ends.
///
/// # Errors
/// [`Error`]: the buffer has stopped, or there are no random ids.
pub(super) async fn read(
    shared: Arc<Shared>,
    engine: Engine,
    found: Found,
    mut signals: mpsc::Receiver<Signal>,
) -> Result<Ending, Error> {
    let Found { candidate, is_new, is_listed_new, data_folder, live } = found;
    let is_new =
        (is_new || is_listed_new) && live.is_empty() && engine.may_attach() && candidate.is_selected(&shared.options);
    let mut held =
        data_folder.as_ref().filter(|_| is_new).map(|folder| Held::new(held::log_path(folder, &candidate.id)));
    let attached = if is_new { attach(&engine, &candidate.id).await } else { None };
    let mut told = false;
    let patience = Instant::now() + EARLY_MAX;
    let container = loop {
        match engine.inspect(&candidate.id).await {
            Ok(Some(inspected)) => {
                let mut container = Container::of_inspect(&candidate.id, inspected);
                if engine.is_podman() {
                    container.driver.pieces = Pieces::Untold;
                }
                break Some(container);
            }
            Ok(None) if is_listed_new && Instant::now() < patience => sleep(EARLY_POLL).await,
            Ok(None) => break None,
            Err(error) => {
                if matches!(error, EngineError::Refused { .. }) && !std::mem::replace(&mut told, true) {
                    let name = &candidate.name;
                    tracing::warn!(container = name, %error, "the engine does not say what the container is: it is asked again");
                } else {
                    tracing::debug!(id = candidate.id, %error, "container could not be inspected");
                }
                if !ask_again(&mut signals).await {
                    return Ok(Ending::Done);
                }
            }
        }
    };
    let Some(container) = container else {
        if attached.is_none() && held.as_ref().is_none_or(Held::is_empty) {
            if live.is_empty() {
                missed(&shared, candidate, is_listed_new, &mut signals).await?;
            } else {
                gone(&shared, &candidate.id, live).await?;
            }
            return Ok(Ending::Done);
        }
        // Gone already. What the engine gave while it was there is all that there is: whether that is all of it, nobody knows
        // but the file.
        let container = Container::of_candidate(candidate);
        let mut reader = Reader::new(shared, engine, container, live, signals)?;
        reader.attached = attached.map(|(stream, _)| Attachment { stream, is_whole: false });
        reader.held = held;
        reader.run().await?;
        return Ok(Ending::Done);
    };
    if !container.candidate.is_selected(&shared.options) {
        end(&shared, live).await?;
        return Ok(Ending::NotSelected);
    }
    let attached = attached.filter(|(_, since)| {
        let started = timestamp::parse_alone(&container.life.started_at);
        let in_time = is_unborn(&container.life.started_at) || started.is_some_and(|started| *since < started);
        let is_needed = container.auto_remove || container.driver.risk == Risk::Unreadable;
        is_needed && !container.terminal && in_time
    });
    if !container.auto_remove {
        held = None;
    } else if held.is_none() && data_folder.is_some() {
        held = container.log_path.clone().map(Held::new);
    }
    let mut reader = Reader::new(shared, engine, container, live, signals)?;
    reader.attached = attached.map(|(stream, _)| Attachment { stream, is_whole: true });
    reader.held = held;
    reader.run().await?;
    Ok(Ending::Done)
}

/// The container's streams, and a moment at which we were joined to them.
async fn attach(engine: &Engine, id: &str) -> Option<(Streamed<(Stream, Bytes)>, Nanos)> {
    match engine.attach(id).await {
        Ok(stream) => Some((stream, time::now())),
        Err(error) => {
            tracing::debug!(id, %error, "not attached: the container's log is read");
            None
        }
    }
}

/// Waits before the engine is asked again; false where the source has ended.
async fn ask_again(signals: &mut mpsc::Receiver<Signal>) -> bool {
    let pause = sleep(ASK_AGAIN);
    tokio::pin!(pause);
    loop {
        tokio::select! {
            () = &mut pause => return true,
            signal = signals.recv() => match signal {
                None => return false,
                // Whether it has printed anything is unknown.
                Some(Signal::Drain(target)) => {
                    let _ = target.done.send(Left { origins: 0, bytes: 1 });
                }
                Some(Signal::Started | Signal::Died(_) | Signal::Look) => {}
            },
        }
    }
}

/// A container that was gone before any of it could be read: an origin of its own says so. One that only a list knew, as
/// created, may never have come about: that it ended has to be heard.
async fn missed(
    shared: &Shared,
    candidate: Candidate,
    is_listed_new: bool,
    signals: &mut mpsc::Receiver<Signal>,
) -> Result<(), Error> {
    if !candidate.is_selected(&shared.options) || shared.seen().is_accounted(&candidate.id) {
        return Ok(());
    }
    let mut exit = None;
    let end = Instant::now() + EXIT_WAIT;
    while exit.is_none() {
        match timeout_at(end, signals.recv()).await {
            Ok(Some(Signal::Died(how))) => exit = Some(how),
            Ok(Some(Signal::Started | Signal::Look)) => {}
            Ok(Some(Signal::Drain(target))) => {
                let _ = target.done.send(Left::default());
                break;
            }
            Ok(None) | Err(_) => break,
        }
    }
    match exit {
        None if is_listed_new => Ok(()),
        exit => note_missed(shared, candidate, &exit.unwrap_or_default()).await,
    }
}

async fn note_missed(shared: &Shared, candidate: Candidate, exit: &Exit) -> Result<(), Error> {
    tracing::warn!(
        container = candidate.name,
        id = candidate.id,
        "the container was removed before it could be read: its lines are missing"
    );
    let (id, name) = (candidate.id.clone(), candidate.name.clone());
    shared.seen().account(&id, time::now());
    let container = Container::of_candidate(candidate);
    let mut chronicle = Chronicle::new(shared, &container)?;
    let gap = chronicle.gap(GapReason::Gone);
    let exit = chronicle.exit(&name, exit, None, time::now());
    for section in gap.into_iter().chain(exit).chain([chronicle.end()]) {
        shared.appender.append(section).await.map_err(|_| Error::BufferClosed)?;
    }
    shared.stats.add_gap(Gap { container: id, name, stream: None, reason: GapReason::Gone, after: None });
    Ok(())
}

/// Ends the origins of a container that was removed while nobody listened.
pub(super) async fn gone(shared: &Shared, id: &str, mut live: Vec<LiveOrigin>) -> Result<(), Error> {
    super::containers::note_gone(shared, id, &mut live);
    shared.seen().account(id, time::now());
    end(shared, live).await
}

/// Ends origins as they are.
pub(super) async fn end(shared: &Shared, live: Vec<LiveOrigin>) -> Result<(), Error> {
    for origin in live.into_iter().filter(|origin| !origin.ended) {
        let position = super::position::Position::decode(&origin.position).unwrap_or_default();
        let last = super::stream::Begin { info: origin.info, position, counters: origin.counters };
        shared.appender.append(last.section(true)).await.map_err(|_| Error::BufferClosed)?;
    }
    Ok(())
}
