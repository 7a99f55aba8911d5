//! The announced events of a VM and its neighbours, and how they go on.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::{Value, json};

/// An event as a test announces it.
#[derive(Clone, Debug)]
pub struct Announced {
    pub id: String,
    pub event_type: String,
    pub resources: Vec<String>,
    /// `None`: it has begun already, as where hardware failed.
    pub not_before: Option<Timestamp>,
}

impl Announced {
    /// An event that begins so long from now; dates of IMDS have whole seconds, so it is up to one less.
    pub fn new(id: &str, event_type: &str, resources: &[&str], notice: Duration) -> Self {
        let at = Timestamp::try_from(SystemTime::now() + notice).expect("a time");
        Announced { not_before: Some(at), ..Self::begun(id, event_type, resources) }
    }

    /// An event that comes without notice.
    pub fn begun(id: &str, event_type: &str, resources: &[&str]) -> Self {
        let resources = resources.iter().map(|&name| name.to_owned()).collect();
        Announced { id: id.into(), event_type: event_type.into(), resources, not_before: None }
    }

    fn document(&self) -> Value {
        let not_before = self.not_before.map(|at| at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
        json!({
            "EventId": self.id,
            "EventStatus": if not_before.is_some() { "Scheduled" } else { "Started" },
            "EventType": self.event_type,
            "ResourceType": "VirtualMachine",
            "Resources": self.resources,
            "NotBefore": not_before.unwrap_or_default(),
            "Description": "",
            "EventSource": "User",
            "DurationInSeconds": -1,
        })
    }
}

/// What is announced now.
#[derive(Default)]
pub struct Events {
    changes: i64,
    events: Vec<Announced>,
}

impl Events {
    pub fn announce(&mut self, event: Announced) {
        self.changes += 1;
        self.events.push(event);
    }

    pub fn replace(&mut self, event: Announced) {
        self.changes += 1;
        self.events.retain(|known| known.id != event.id);
        self.events.push(event);
    }

    pub fn withdraw(&mut self, id: &str) {
        self.changes += 1;
        self.events.retain(|event| event.id != id);
    }

    /// Whether there is such an event.
    pub fn begin(&mut self, id: &str) -> bool {
        let Some(event) = self.events.iter_mut().find(|event| event.id == id) else { return false };
        self.changes += i64::from(event.not_before.take().is_some());
        true
    }

    pub fn contains(&self, id: &str) -> bool {
        self.events.iter().any(|event| event.id == id)
    }

    /// The document; events whose time has come have begun.
    pub fn document(&mut self) -> Value {
        let now = Timestamp::now();
        for event in self.events.iter_mut().filter(|event| event.not_before.is_some_and(|at| at <= now)) {
            event.not_before = None;
            self.changes += 1;
        }
        let events: Vec<Value> = self.events.iter().map(Announced::document).collect();
        json!({"DocumentIncarnation": self.changes + 1, "Events": events})
    }
}
