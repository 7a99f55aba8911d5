//! Drains and stops: everything that stood in the files at one moment is taken up, then it is answered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::engine::Engine;
use super::roster::TailId;
use super::tail::{Condition, Place, State, Tail};
use crate::buffer::Closed;
use crate::ingest::Flush;
use crate::record::time;
use crate::source::{Control, Drained};

/// How often progress is looked at while there is a target.
pub const TARGET_POLL: Duration = Duration::from_millis(20);

/// How long before its deadline a stop takes unfinished lines as they are.
pub const STOP_MARGIN: Duration = Duration::from_millis(100);

/// What was asked for and how much of it is left.
pub(super) struct Target {
    stop: bool,
    settle: Duration,
    deadline: Option<Instant>,
    done: oneshot::Sender<Drained>,
    /// Offset up to which each file is to be taken up; those that are there are taken out.
    goals: BTreeMap<TailId, u64>,
    origins: u64,
}

/// How a file stands to its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Reached,
    /// Only something held back is left, and it is settled.
    Settled,
    Waiting,
    /// It cannot be read: nobody waits for it.
    Unreadable,
}

impl Engine {
    /// Sets the goals of a control message to what stands in the files now. Everything was walked over just before.
    pub fn begin_target(&mut self, control: Control) -> Result<(), Closed> {
        let (stop, settle, deadline, done) = match control {
            Control::Drain { settle, deadline, done } => (false, settle, deadline, done),
            Control::Stop { settle, deadline, done } => (true, settle, deadline, done),
        };
        for id in self.roster.ids() {
            let Some(tail) = self.roster.get_mut(id) else { continue };
            if matches!(tail.state, State::Fresh | State::Held { .. } | State::Live) {
                tail.check = true;
                if tail.inspect().is_ok_and(|condition| condition == Condition::Rewritten) {
                    self.rewritten(id)?;
                }
            }
        }
        let mut goals = BTreeMap::new();
        for id in self.roster.ids() {
            let Some(tail) = self.roster.get_mut(id) else { continue };
            match tail.state {
                State::Skipped | State::Done => {}
                State::Truncated { .. } => {
                    goals.insert(id, tail.read_to());
                }
                State::Fresh | State::Held { .. } | State::Live => {
                    // A new generation has not been looked at yet.
                    let _ = tail.inspect();
                    goals.insert(id, tail.size.max(tail.read_to()));
                    self.queue(id);
                }
            }
        }
        let origins = goals.len() as u64;
        let deadline = deadline.map(tokio::time::Instant::into_std);
        self.targets.push(Target { stop, settle, deadline, done, goals, origins });
        Ok(())
    }

    /// A tail that goals are about has (other) bytes to be read up to `size`.
    pub fn raise_goals(&mut self, id: TailId, size: u64) {
        for target in &mut self.targets {
            if let Some(goal) = target.goals.get_mut(&id) {
                *goal = (*goal).max(size);
            }
        }
    }

    /// Looks how far the targets are and answers those that are met. True: a stop is, the thread is to end.
    pub fn meet_targets(&mut self) -> Result<bool, Closed> {
        if self.targets.is_empty() {
            return Ok(false);
        }
        let mut stopped = false;
        for mut target in std::mem::take(&mut self.targets) {
            let waiting = self.progress(&mut target)?;
            let now = Instant::now();
            let near = target.deadline.is_some_and(|deadline| now + STOP_MARGIN >= deadline);
            let over = target.deadline.is_some_and(|deadline| now >= deadline);
            if waiting && near && target.stop {
                // Where the queue is full an append would wait, and there is no time for that.
                if self.desk.appender.docker_may_read() {
                    self.take_as_it_is(&mut target)?;
                }
            } else if waiting && !over {
                self.targets.push(target);
                continue;
            }
            if target.stop {
                if self.desk.appender.docker_may_read() {
                    self.end_deleted()?;
                }
                stopped = true;
            }
            self.answer(target);
        }
        Ok(stopped)
    }

    /// Takes the goals that are reached out of a target. True where some are left that are worth waiting for.
    fn progress(&mut self, target: &mut Target) -> Result<bool, Closed> {
        let mut waiting = false;
        let may_read = self.desk.appender.files_may_read();
        for (id, goal) in target.goals.clone() {
            let Some(tail) = self.roster.get_mut(id) else {
                target.goals.remove(&id);
                continue;
            };
            match progress(tail, goal, target.settle) {
                Progress::Reached => {
                    if may_read {
                        tail.tell_left_out(&self.desk)?;
                    }
                    target.goals.remove(&id);
                }
                Progress::Settled if may_read => {
                    // Unless it has changed since it was last looked at.
                    if tail.inspect().is_ok_and(|condition| condition == Condition::Intact) && tail.at_end() {
                        tail.flush(Flush::All, &self.desk)?;
                        target.goals.remove(&id);
                    } else {
                        self.queue(id);
                        waiting = true;
                    }
                    self.retime(id);
                }
                Progress::Settled => waiting = true,
                Progress::Waiting => {
                    if !tail.at_end() || tail.state == State::Fresh {
                        self.queue(id);
                    }
                    waiting = true;
                }
                Progress::Unreadable => {}
            }
        }
        Ok(waiting)
    }

    /// The deadline is near: what was read is taken up as it is.
    fn take_as_it_is(&mut self, target: &mut Target) -> Result<(), Closed> {
        for (id, goal) in target.goals.clone() {
            let Some(tail) = self.roster.get_mut(id) else { continue };
            if matches!(tail.state, State::Truncated { .. }) {
                self.give_up_generation(id)?;
                continue;
            }
            tail.flush(Flush::All, &self.desk)?;
            if tail.taken() >= goal {
                target.goals.remove(&id);
            }
        }
        Ok(())
    }

    /// A stop closes the handles: deleted files that were read to their end are over.
    fn end_deleted(&mut self) -> Result<(), Closed> {
        for id in self.roster.ids() {
            let Some(tail) = self.roster.get_mut(id) else { continue };
            let deleted = matches!(tail.place, Place::Deleted { .. }) && tail.state == State::Live;
            if deleted && tail.at_end() && tail.held_back() == 0 {
                tail.end(&self.desk)?;
            }
        }
        Ok(())
    }

    fn answer(&self, target: Target) {
        let left =
            |(id, goal): (&TailId, &u64)| self.roster.get(*id).map_or(0, |tail| goal.saturating_sub(tail.taken()));
        let left_bytes = target.goals.iter().map(left).sum::<u64>() + self.refused.values().sum::<u64>();
        // Whoever asked may have gone: the work is done all the same.
        let _ = target.done.send(Drained { origins: target.origins, left_bytes });
    }
}

/// How a file stands to its goal; pure but for the clocks.
fn progress(tail: &Tail, goal: u64, settle: Duration) -> Progress {
    match tail.state {
        State::Done | State::Skipped => Progress::Reached,
        State::Truncated { .. } => Progress::Waiting,
        _ if tail.trouble => Progress::Unreadable,
        State::Held { .. } => Progress::Waiting,
        State::Fresh | State::Live => {
            // There is nothing to read in a hole at the end.
            let goal = if tail.is_hollow() { goal.min(tail.size) } else { goal };
            if tail.taken() >= goal {
                Progress::Reached
            } else if tail.read_to() >= goal && tail.at_end() && is_settled(tail, settle) {
                Progress::Settled
            } else {
                Progress::Waiting
            }
        }
    }
}

/// Whether a file has been unchanged for `settle`: since it was last read, or by its own time of change.
fn is_settled(tail: &Tail, settle: Duration) -> bool {
    let age = time::now().saturating_sub(tail.changed);
    tail.grown.elapsed() >= settle || u128::try_from(age).is_ok_and(|age| age >= settle.as_nanos())
}
