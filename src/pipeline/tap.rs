//! Live records for whoever watches: read from the log behind the sinks' backs, so that the pipeline has no code for it
//! and nothing in it waits.
//!
//! A reader of its own goes through the log and fills a bounded queue; when the queue is full it waits, as the log is
//! the better queue, but no further behind than [`LAG_MAX_BYTES`]: then it goes on at the end of the log and says how
//! many records it left out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use crate::buffer::{self, Behind, Frame};
use crate::delivery;
use crate::sink::file;

/// Most taps at a time; a further one is refused.
pub const TAPS_MAX: usize = 4;

/// Most bytes of encoded records that wait for whoever taps; one more record may pass it. The tap's own reader waits.
pub const QUEUE_MAX_BYTES: usize = 1024 * 1024;

/// Most bytes of the log that a tap with a full queue stays behind its end; beyond it records are left out.
pub const LAG_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Records as they come, in the order of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tapped {
    /// NDJSON: whole lines.
    pub lines: Vec<u8>,
    /// Records behind `lines` that were left out.
    pub left_out: u64,
    /// And more of them, which nobody could count: their segment was deleted or is damaged.
    pub uncounted: bool,
    /// The log cannot be read, for this reason: nothing more comes.
    pub failure: Option<String>,
}

impl Tapped {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && !self.leaves_out() && self.failure.is_none()
    }

    fn leaves_out(&self) -> bool {
        self.left_out > 0 || self.uncounted
    }
}

/// Starts taps.
#[derive(Clone)]
pub(super) struct Taps {
    /// Any sink's, as it knows where the log is; `None` where there is no sink.
    log: Option<Behind>,
    sinks: Vec<Arc<str>>,
    room: Arc<Semaphore>,
}

/// A running tap; it ends with this value.
pub struct Tap {
    queue: Arc<Queue>,
    reading: AbortHandle,
    _permit: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Queue {
    held: Mutex<Tapped>,
    /// The reader has put something in, or has ended.
    filled: Notify,
    /// Someone has taken all out.
    room: Notify,
    /// The reader has ended.
    ended: AtomicBool,
    /// Nobody taps any more.
    gone: AtomicBool,
}

impl Taps {
    pub fn new(log: Option<Behind>, sinks: Vec<Arc<str>>) -> Self {
        Taps { log, sinks, room: Arc::new(Semaphore::new(TAPS_MAX)) }
    }

    /// Begins at the end of the log.
    ///
    /// # Errors
    /// What is wrong and what to do, in one line.
    pub async fn start(&self, sink: Option<String>) -> Result<Tap, String> {
        if let Some(name) = sink.as_ref().filter(|name| !self.sinks.iter().any(|sink| **sink == **name)) {
            return Err(format!("there is no sink {name}; there is {}", self.sinks.join(", ")));
        }
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            return Err(format!("{TAPS_MAX} taps are open already: end one of them"));
        };
        let log = self.log.clone().ok_or("there is no sink, so nothing is kept")?;
        let opened = tokio::task::spawn_blocking(move || log.tap(sink.as_deref())).await;
        let opened = opened.map_err(|error| error.to_string())?;
        let log = opened.map_err(|error| format!("the buffer cannot be read: {error}"))?;
        let queue = Arc::new(Queue::default());
        let reading = tokio::spawn(read(log, Arc::clone(&queue))).abort_handle();
        Ok(Tap { queue, reading, _permit: permit })
    }
}

impl Tap {
    /// What has come since the last call; waits for it. `None`: the log has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Tapped> {
        loop {
            // Looked at first: what was put in before the end is seen below.
            let ended = self.queue.ended.load(Ordering::Acquire);
            let taken = std::mem::take(&mut *self.queue.held());
            if !taken.is_empty() {
                self.queue.room.notify_one();
                return Some(taken);
            }
            if ended {
                return None;
            }
            self.queue.filled.notified().await;
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.queue.gone.store(true, Ordering::Relaxed);
        self.reading.abort();
    }
}

/// Why a filling has stopped.
enum Stopped {
    /// The queue is full.
    Full,
    /// All that is synced has been read.
    AtEnd,
    Over,
}

/// The log, and the frame that does not fit the queue as a whole.
struct Source {
    log: buffer::Tap,
    frame: Option<Frame>,
    memory: Vec<u8>,
}

async fn read(log: buffer::Tap, queue: Arc<Queue>) {
    let mut source = Source { log, frame: None, memory: Vec::new() };
    // The log is read once more after it has ended.
    let mut is_last = false;
    loop {
        let filling = Arc::clone(&queue);
        let filled = tokio::task::spawn_blocking(move || {
            let stopped = filling.fill(&mut source);
            (source, stopped)
        });
        let Ok((back, stopped)) = filled.await else { break };
        source = back;
        queue.filled.notify_one();
        let goes_on = match stopped {
            Stopped::Over => false,
            Stopped::AtEnd if is_last => false,
            Stopped::AtEnd => source.log.more().await,
            Stopped::Full if is_last => {
                queue.room.notified().await;
                true
            }
            Stopped::Full => tokio::select! {
                () = queue.room.notified() => true,
                more = source.log.more() => more,
            },
        };
        if !goes_on {
            if is_last || matches!(stopped, Stopped::Over) {
                break;
            }
            is_last = true;
        }
    }
    queue.ended.store(true, Ordering::Release);
    queue.filled.notify_one();
}

impl Queue {
    fn held(&self) -> MutexGuard<'_, Tapped> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that fit; none behind a gap, so that a reader sees it where it is.
    fn room_bytes(&self) -> usize {
        let held = self.held();
        if held.leaves_out() { 0 } else { QUEUE_MAX_BYTES.saturating_sub(held.lines.len()) }
    }

    /// Moves records from the log to the queue.
    fn fill(&self, source: &mut Source) -> Stopped {
        // Once it is too far behind it goes to the end, so that one long gap stands in the place of many.
        let mut skips = false;
        while !self.gone.load(Ordering::Relaxed) {
            let Some(frame) = &mut source.frame else {
                match source.log.try_next(std::mem::take(&mut source.memory)) {
                    Ok(Ok(frame)) => source.frame = Some(frame),
                    Ok(Err(memory)) => {
                        source.memory = memory;
                        return Stopped::AtEnd;
                    }
                    Err(error) => {
                        self.held().failure = Some(error.to_string());
                        return Stopped::Over;
                    }
                }
                if source.log.take_missed() {
                    self.held().uncounted = true;
                }
                continue;
            };
            let room = self.room_bytes();
            skips |= room == 0 && source.log.lag_bytes() > LAG_MAX_BYTES;
            if room == 0 && !skips {
                return Stopped::Full;
            }
            let (lines, left_out, is_whole) = take(frame, if skips { 0 } else { room }, skips);
            {
                let mut held = self.held();
                held.lines.extend_from_slice(&lines);
                held.left_out += left_out;
            }
            if is_whole && let Some(frame) = source.frame.take() {
                source.memory = frame.into_bytes();
            }
            self.filled.notify_one();
        }
        Stopped::Over
    }
}

/// Encodes records of a frame up to `room` bytes, or counts all of its rest. Also whether that was the rest.
fn take(frame: &mut Frame, room: usize, only_count: bool) -> (Vec<u8>, u64, bool) {
    let mut lines = Vec::new();
    let mut left_out = 0;
    while only_count || lines.len() < room {
        let Some(record) = frame.next_record() else { return (lines, left_out, true) };
        if only_count {
            left_out += 1;
            continue;
        }
        file::encode_ndjson(&delivery::view(&record), &mut lines);
    }
    (lines, left_out, false)
}
