//! What the events that Azure announces mean to this VM: which of them concern it, until when it has to be done, and which
//! may be approved. Pure: it is told what IMDS answered and what time it was, and asks nobody.
//!
//! ```text
//!             appears            approved              disappears
//! Nothing ──────────────▶ Draining ────────▶ Approved ────────────▶ Nothing
//!                            └──────────────── disappears ────────────▲
//! ```
//!
//! - Azure tells an event to every VM of an availability set or placement group: only one that names this VM counts.
//! - An approval holds for every VM that the event names: one that names another VM too is drained for, never approved.
//! - `NotBefore` is a wall time. It becomes a time of the boot clock when it arrives, and whoever sets the wall clock
//!   afterwards moves nothing.
//! - Freeze loses nothing that logferry holds: it is told about, never drained for.
//! - There is no "completed": an event that is over, or called off, is not announced any more.

use std::time::Duration;

use super::imds::{Event, EventKind, EventStatus, ScheduledEvents};
use super::moment::Moment;

/// What is asked for, and of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The names by which events can mean this VM (`imds::Instance::event_names`), never a configured one.
    pub names: Vec<String>,
    /// Kinds that are drained for; Freeze and unknown ones count for nothing.
    pub kinds: Vec<EventKind>,
    /// Be done this long before `NotBefore`.
    pub margin: Duration,
}

/// Where this VM stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing that is to be drained for is announced.
    Nothing,
    /// Deliver, while reading goes on.
    Draining {
        /// The earliest of the events', on the boot clock ([`Moment::boot`]); may have passed. `None`: no event gave a time,
        /// so the configured deadline applies from now.
        deadline: Option<Duration>,
    },
    /// All that is drained for has been approved; it begins at any moment.
    Approved,
}

/// What is made of an event of this VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stance {
    /// It is told about, and nothing is done for it.
    Told,
    /// It is drained for.
    Drained,
    Approved,
}

/// What a poll brought about this VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub what: What,
    /// As it was announced last.
    pub event: Event,
    /// It is drained for; false for Freeze and kinds that are not configured.
    pub drains: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Appeared,
    /// It has another time or names other VMs.
    Altered,
    /// It was scheduled and has begun.
    Started,
    /// It is over, or was called off.
    Disappeared,
}

/// Follows the events of one VM.
#[derive(Debug)]
pub struct Decider {
    options: Options,
    /// Of the last document.
    incarnation: Option<i64>,
    /// The events of the last document that name this VM, in its order.
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    event: Event,
    drains: bool,
    /// On the boot clock.
    deadline: Option<Duration>,
    approved: bool,
}

impl Decider {
    pub fn new(options: Options) -> Self {
        Decider { options, incarnation: None, known: Vec::new() }
    }

    /// Takes what IMDS answered at `now`; gives what is new about events of this VM, disappeared ones first. A poll that
    /// failed is not told: what was announced stays so.
    pub fn polled(&mut self, document: &ScheduledEvents, now: Moment) -> Vec<Change> {
        if self.incarnation == Some(document.incarnation) {
            return Vec::new();
        }
        self.incarnation = Some(document.incarnation);
        let mut before = std::mem::take(&mut self.known);
        let mut after: Vec<Known> = Vec::new();
        let mut changes = Vec::new();
        for event in document.events.iter().filter(|event| self.concerns(event)) {
            if after.iter().any(|known| known.event.id == event.id) {
                continue;
            }
            let old = before.iter().position(|known| known.event.id == event.id).map(|at| before.remove(at));
            let (known, what) = match old {
                None => (self.new_event(event, now), Some(What::Appeared)),
                Some(old) => self.follow(old, event, now),
            };
            changes.extend(what.map(|what| known.change(what)));
            after.push(known);
        }
        self.known = after;
        let mut all: Vec<Change> = before.iter().map(|gone| gone.change(What::Disappeared)).collect();
        all.append(&mut changes);
        all
    }

    /// Where this VM stands after the last poll and approval.
    pub fn state(&self) -> State {
        let drained = || self.known.iter().filter(|known| known.drains);
        if drained().next().is_none() {
            return State::Nothing;
        }
        if drained().all(|known| known.approved) {
            return State::Approved;
        }
        State::Draining { deadline: drained().filter(|known| !known.approved).filter_map(|known| known.deadline).min() }
    }

    /// The events of this VM, as they were announced last.
    pub fn events(&self) -> impl Iterator<Item = (&Event, Stance)> {
        self.known.iter().map(|known| {
            let stance = match known {
                Known { approved: true, .. } => Stance::Approved,
                Known { drains: true, .. } => Stance::Drained,
                Known { .. } => Stance::Told,
            };
            (&known.event, stance)
        })
    }

    /// Ids of the events that may be approved once this VM is done: they wait for it, and for it alone.
    pub fn approvable(&self) -> Vec<String> {
        let waiting = |known: &&Known| {
            let event = &known.event;
            let waits = event.status == EventStatus::Scheduled && !event.not_before_text.is_empty();
            known.drains && !known.approved && waits && self.names_alone(event)
        };
        self.known.iter().filter(waiting).map(|known| known.event.id.clone()).collect()
    }

    /// Whether this event is still announced, and names this VM and no other.
    pub fn is_alone(&self, event_id: &str) -> bool {
        self.known.iter().any(|known| known.event.id == event_id && self.names_alone(&known.event))
    }

    /// The approval of these events was taken.
    pub fn approved(&mut self, event_ids: &[String]) {
        for known in self.known.iter_mut().filter(|known| event_ids.contains(&known.event.id)) {
            known.approved = true;
        }
    }

    fn is_own(&self, name: &str) -> bool {
        // Azure does not tell upper from lower case in names of resources.
        self.options.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    fn names_alone(&self, event: &Event) -> bool {
        event.resources.iter().all(|name| self.is_own(name))
    }

    fn concerns(&self, event: &Event) -> bool {
        event.resources.iter().any(|name| self.is_own(name))
    }

    fn new_event(&self, event: &Event, now: Moment) -> Known {
        let drains = match event.kind {
            EventKind::Freeze | EventKind::Unknown => false,
            kind => self.options.kinds.contains(&kind),
        };
        Known { event: event.clone(), drains, deadline: self.deadline(event, now), approved: false }
    }

    /// The same event in a later document.
    fn follow(&self, old: Known, event: &Event, now: Moment) -> (Known, Option<What>) {
        let started = (old.event.status, event.status) == (EventStatus::Scheduled, EventStatus::Started);
        let deadline = if started {
            // Somebody let it begin, or its time has come: what is not done by now may be too late.
            Some(old.deadline.map_or(now.boot, |deadline| deadline.min(now.boot)))
        } else if old.event.not_before == event.not_before {
            // Not reckoned again: the wall clock may have been set since.
            old.deadline
        } else {
            self.deadline(event, now).or(old.deadline)
        };
        let altered = old.event.not_before_text != event.not_before_text || old.event.resources != event.resources;
        let what = match (started, altered) {
            (true, _) => Some(What::Started),
            (false, true) => Some(What::Altered),
            (false, false) => None,
        };
        (Known { event: event.clone(), deadline, ..old }, what)
    }

    /// Never before now: a time that has passed is a reason to hurry, not to have given up.
    fn deadline(&self, event: &Event, now: Moment) -> Option<Duration> {
        let not_before = now.boot_at(event.not_before?);
        Some(not_before.saturating_sub(self.options.margin).max(now.boot))
    }
}

impl Known {
    fn change(&self, what: What) -> Change {
        Change { what, event: self.event.clone(), drains: self.drains }
    }
}

#[cfg(test)]
mod tests;
