//! `[teardown]`: how the end of the VM is met, and what Azure is asked about it.

use std::time::Duration;

use ::url::Url;

use super::mistake::nearest;
use super::node::quoted;
use super::table::Table;
use super::url;
use crate::azure::imds::EventKind;

/// Bounds of `teardown.deadline`.
pub const DEADLINE_MIN: Duration = Duration::from_millis(1);
pub const DEADLINE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Longest `teardown.wait_containers`; 0 does not wait.
pub const WAIT_CONTAINERS_MAX: Duration = DEADLINE_MAX;

/// Longest `teardown.margin`: the longest notice that Azure gives of a deletion.
pub const MARGIN_MAX: Duration = Duration::from_secs(15 * 60);

/// `[teardown]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Teardown {
    /// Most time that a stop may take.
    pub deadline: Duration,
    /// How much of it a stop waits for running containers to end.
    pub wait_containers: Duration,
    pub scheduled_events: ScheduledEvents,
    /// Kinds of announced events that are drained for; never Freeze.
    pub events: Vec<EventKind>,
    pub approve: Approve,
    /// Be done this long before an announced event may begin.
    pub margin: Duration,
    /// Where IMDS is; also for what else is asked of it.
    pub imds: Url,
}

/// Whether Azure's announcements are polled. What this VM is, IMDS is asked on Azure in any case, at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduledEvents {
    /// Where the machine is an Azure VM.
    Auto,
    On,
    Off,
}

/// When an announced event is let begin before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approve {
    /// Once containers have ended and all is delivered.
    WhenIdle,
    Never,
}

pub fn teardown(table: Table<'_>) -> Teardown {
    let scheduled_events = table.choice(
        "scheduled_events",
        &[("auto", ScheduledEvents::Auto), ("off", ScheduledEvents::Off), ("on", ScheduledEvents::On)],
    );
    let approve = table.choice("approve", &[("when_idle", Approve::WhenIdle), ("never", Approve::Never)]);
    Teardown {
        deadline: table.duration("deadline", DEADLINE_MIN..=DEADLINE_MAX),
        wait_containers: table.duration("wait_containers", Duration::ZERO..=WAIT_CONTAINERS_MAX),
        // Where a value is wrong the configuration is not used.
        scheduled_events: scheduled_events.unwrap_or(ScheduledEvents::Off),
        events: events(&table),
        approve: approve.unwrap_or(Approve::Never),
        margin: table.duration("margin", Duration::ZERO..=MARGIN_MAX),
        imds: imds(&table),
    }
}

/// Kinds of events that are worth a drain.
fn drained() -> impl Iterator<Item = (&'static str, EventKind)> + Clone {
    EventKind::NAMES.into_iter().filter(|(_, kind)| *kind != EventKind::Freeze)
}

fn events(table: &Table<'_>) -> Vec<EventKind> {
    let words: Vec<String> = drained().map(|(name, _)| quoted(name)).collect();
    let expected = format!("some of {}", words.join(", "));
    let mut kinds = Vec::new();
    for given in table.list("events", &expected) {
        match drained().find(|(name, _)| *name == given.text) {
            Some((_, kind)) if !kinds.contains(&kind) => kinds.push(kind),
            Some(_) => given.mistake("stands there twice", None, "each once"),
            None if EventKind::of(&given.text) == EventKind::Freeze => {
                given.mistake("is an event that loses nothing and is never drained for", None, expected.clone());
            }
            None => {
                let near = drained().find(|(name, _)| name.eq_ignore_ascii_case(&given.text)).map(|(name, _)| name);
                let near = near.or_else(|| nearest(&given.text, drained().map(|(name, _)| name)));
                given.mistake("is no kind of event", near.map(quoted), expected.clone());
            }
        }
    }
    kinds
}

fn imds(table: &Table<'_>) -> Url {
    let expected = "a URL such as \"http://169.254.169.254\"";
    let given = table.required("imds", expected).and_then(|given| url::imds(&given, expected));
    // Where it is wrong the configuration is not used.
    given.unwrap_or_else(crate::azure::imds::address)
}
