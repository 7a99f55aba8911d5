//! What can be seen of the announced events from outside: by `status`, and by a stop. It decides nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::azure::imds::{Event, EventKind};
use crate::azure::scheduled_events::Stance;

/// Shared by the task that follows Azure's announcements and whoever looks at it.
#[derive(Debug, Default)]
pub struct Board {
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    /// Why it is not known what is announced.
    fault: Option<String>,
    state: &'static str,
    deadline: Option<Instant>,
    /// The deadline comes from an event.
    is_given: bool,
    events: Vec<Value>,
    /// Events so far, by their kind.
    counts: BTreeMap<&'static str, u64>,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_fault(&self, fault: Option<String>) {
        self.lock().fault = fault;
    }

    pub(super) fn count(&self, kind: EventKind) {
        let name = EventKind::NAMES.iter().find(|(_, known)| *known == kind).map_or("Unknown", |(name, _)| name);
        *self.lock().counts.entry(name).or_default() += 1;
    }

    pub(super) fn show<'a>(
        &self,
        state: &'static str,
        deadline: Option<Instant>,
        is_given: bool,
        events: impl Iterator<Item = (&'a Event, Stance)>,
    ) {
        let one = |(event, stance): (&Event, Stance)| {
            let mut fields = event.fields();
            let stance = match stance {
                Stance::Told => "told",
                Stance::Drained => "drained",
                Stance::Approved => "approved",
            };
            fields.insert("stance".to_owned(), stance.into());
            Value::Object(fields)
        };
        let events = events.map(one).collect();
        let mut shown = self.lock();
        (shown.state, shown.deadline, shown.is_given, shown.events) = (state, deadline, is_given, events);
    }

    /// When what is announced wants all to be delivered; `None`: nothing is drained for that gives a time.
    pub fn deadline(&self) -> Option<Instant> {
        let shown = self.lock();
        shown.deadline.filter(|_| shown.is_given)
    }

    /// Events so far, by their kind; those of documented kinds that there were none of, too.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts: BTreeMap<&'static str, u64> = EventKind::NAMES.iter().map(|(name, _)| (*name, 0)).collect();
        counts.extend(self.lock().counts.iter().map(|(name, count)| (*name, *count)));
        counts
    }

    /// As `logferry status --json` prints it.
    pub fn status(&self) -> Value {
        let shown = self.lock();
        let left = shown.deadline.map(|at| at.saturating_duration_since(Instant::now()).as_secs_f64());
        json!({
            "fault": shown.fault,
            "state": if shown.state.is_empty() { "starting" } else { shown.state },
            "deadline_seconds": left,
            "events": shown.events,
            "events_total": shown.counts,
        })
    }
}
