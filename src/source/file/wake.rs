//! What rouses the file thread: control messages and hints about paths that changed. Carries no data of files.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::source::Control;

/// Most changed paths that are remembered between two turns; beyond it everything is looked at.
pub const CHANGED_MAX: usize = 8192;

/// What is known about a path that changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// The path leads to another file than before, or to none: created, renamed or removed.
    pub moved: bool,
    /// A file was created there.
    pub created: bool,
}

impl Hint {
    /// Something else is there than before.
    pub const MOVED: Hint = Hint { moved: true, created: false };

    /// Adds what a later hint about the same path says.
    pub fn add(&mut self, later: Hint) {
        self.moved |= later.moved;
        self.created |= later.created;
    }
}

/// Everything that happened since the last look.
#[derive(Debug, Default)]
pub struct Signals {
    pub controls: VecDeque<Control>,
    pub changed: HashMap<PathBuf, Hint>,
    /// Old and new name of each rename, in the order in which they happened; at most [`CHANGED_MAX`].
    pub renames: Vec<(PathBuf, PathBuf)>,
    /// Hints were lost: everything is to be looked at.
    pub all_changed: bool,
    /// Nobody is left who could send a control message.
    pub closed: bool,
    /// The closing was told; it ends no further wait.
    told: bool,
    /// The thread has ended: nothing is taken any more.
    ended: bool,
}

impl Signals {
    fn pending(&self) -> bool {
        !self.controls.is_empty() || !self.changed.is_empty() || self.all_changed || (self.closed && !self.told)
    }
}

/// The bell that the notify callback and the senders of control messages ring.
#[derive(Debug, Default)]
pub struct Wake {
    signals: Mutex<Signals>,
    bell: Condvar,
}

impl Wake {
    /// Signals are plain data that stays sound where a thread panicked over it.
    fn lock(&self) -> MutexGuard<'_, Signals> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something happened or it is `until`; takes what happened.
    pub fn wait(&self, until: Instant) -> Signals {
        let mut signals = self.lock();
        while !signals.pending() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            signals = match self.bell.wait_timeout(signals, left) {
                Ok((signals, _)) => signals,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let kept = Signals { closed: signals.closed, told: signals.closed, ended: signals.ended, ..Signals::default() };
        std::mem::replace(&mut *signals, kept)
    }

    /// A hint: this path changed.
    pub fn changed(&self, path: PathBuf, hint: Hint) {
        let mut signals = self.lock();
        if signals.ended || signals.all_changed {
            return;
        }
        let quiet = !signals.pending();
        if signals.changed.len() >= CHANGED_MAX {
            signals.changed.clear();
            signals.all_changed = true;
        } else {
            signals.changed.entry(path).or_default().add(hint);
        }
        if quiet {
            self.bell.notify_one();
        }
    }

    /// A hint: a file got another name. Both names are hinted at, too.
    pub fn renamed(&self, from: PathBuf, to: PathBuf) {
        let mut signals = self.lock();
        if !signals.ended && signals.renames.len() < CHANGED_MAX {
            signals.renames.push((from, to));
        }
    }

    /// A hint: anything may have changed.
    pub fn all_changed(&self) {
        let mut signals = self.lock();
        if !signals.ended {
            signals.changed.clear();
            signals.all_changed = true;
            self.bell.notify_one();
        }
    }

    /// The thread ends: what waits is dropped, what comes later is refused.
    pub fn end(&self) {
        let dropped = {
            let mut signals = self.lock();
            signals.ended = true;
            std::mem::take(&mut signals.controls)
        };
        // Whoever waits for an answer learns from the closed channel that none comes.
        drop(dropped);
    }
}

/// Sends control messages to the file thread; when the last clone is dropped, the thread ends.
#[derive(Clone, Debug)]
pub struct FileControl {
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    wake: Arc<Wake>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.wake.lock().closed = true;
        self.wake.bell.notify_one();
    }
}

impl FileControl {
    pub(super) fn new(wake: Arc<Wake>) -> Self {
        FileControl { line: Arc::new(Line { wake }) }
    }

    /// Hands over a message; never waits.
    ///
    /// # Errors
    /// The message, where the thread has ended.
    pub fn send(&self, control: Control) -> Result<(), Control> {
        let mut signals = self.line.wake.lock();
        if signals.ended {
            return Err(control);
        }
        signals.controls.push_back(control);
        self.line.wake.bell.notify_one();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    fn drain() -> (Control, oneshot::Receiver<crate::source::Drained>) {
        let (done, answer) = oneshot::channel();
        (Control::Drain { settle: Duration::ZERO, deadline: None, done }, answer)
    }

    #[test]
    fn a_wait_ends_at_once_when_something_has_happened() {
        let wake = Arc::new(Wake::default());
        wake.changed("/a".into(), Hint::MOVED);
        wake.changed("/a".into(), Hint::default());
        let signals = wake.wait(Instant::now() + Duration::from_secs(60));
        assert_eq!(signals.changed.get(&PathBuf::from("/a")), Some(&Hint::MOVED));
        assert!(wake.wait(Instant::now()).changed.is_empty(), "taken once");
    }

    #[test]
    fn another_thread_rouses_the_waiting_one() {
        let wake = Arc::new(Wake::default());
        let control = FileControl::new(Arc::clone(&wake));
        let sender = std::thread::spawn(move || control.send(drain().0).is_ok());
        let signals = wake.wait(Instant::now() + Duration::from_secs(60));
        assert!(sender.join().expect("sender"));
        // The message and the closing of the line may come together or one after the other.
        assert!(signals.controls.len() == 1 || signals.closed);
    }

    #[test]
    fn too_many_paths_become_one_look_at_everything() {
        let wake = Wake::default();
        for n in 0..=CHANGED_MAX {
            wake.changed(format!("/{n}").into(), Hint::default());
        }
        let signals = wake.wait(Instant::now());
        assert!(signals.all_changed && signals.changed.is_empty());
    }

    #[test]
    fn after_the_end_messages_come_back_and_waiting_ones_are_dropped() {
        let wake = Arc::new(Wake::default());
        let control = FileControl::new(Arc::clone(&wake));
        let (first, mut answer) = drain();
        assert!(control.send(first).is_ok());
        wake.end();
        assert!(answer.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert!(control.send(drain().0).is_err());
        drop(control);
        assert!(wake.wait(Instant::now()).closed);
    }
}
