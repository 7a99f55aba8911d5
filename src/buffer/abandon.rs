//! A sink that is not configured any more: what it had not accepted is counted, and holds no segment from then on.
//!
//! The counts go with the origins into the table that the start begins its first segment with. Until that one is on disk
//! they stand in the cursor file, which is set aside only then: a crash in between finds them there.

use std::io;
use std::sync::Arc;

use super::format::RemovedSink;
use super::queue::Shared;
use super::reader::Reader;
use super::recovery::{Found, cursor_path};
use super::storage::{Storage, is_full};
use super::{Cursor, CursorFile, CursorState, LogPosition, Setup};

/// Counts what `sink` missed of the log before `end`, and adds all that became of its records to their origins.
///
/// # Errors
/// The log or the cursor cannot be read, or the cursor cannot be written.
pub(super) fn abandon(
    setup: &Setup,
    storage: &Arc<dyn Storage>,
    found: &mut Found,
    sink: &str,
    end: LogPosition,
) -> io::Result<()> {
    let Some(bit) = found.sinks.iter().position(|name| name == sink) else { return Ok(()) };
    let first = found.closed.keys().next().copied().unwrap_or(end.segment);
    let start = Cursor { at: LogPosition { segment: first, offset: 0 }, record: 0 };
    let (mut file, mut state, reset) = CursorFile::open(Arc::clone(storage), &cursor_path(setup, sink), start)?;
    if reset {
        tracing::error!(
            sink,
            "the cursor of a sink that is not configured any more was unreadable: it counts as behind"
        );
    }
    let shared = Arc::new(Shared::new(&setup.options, end, Vec::new()));
    let reader = Reader::new(shared, Arc::clone(storage), &setup.dir, sink, bit, state.cursor);
    let (missed, _) = reader.behind().count(state.cursor, end, None).map_err(io::Error::other)?;
    for (origin, count) in missed {
        *state.abandoned.entry(origin).or_default() += count;
    }
    state.cursor = state.cursor.max(Cursor { at: end, record: 0 });
    match file.write(&state).and_then(|()| file.sync()) {
        Err(error) if is_full(&error) => {
            tracing::warn!(sink, %error, "no room to write down what a removed sink had not accepted: free some disk");
        }
        other => other?,
    }
    let records = state.abandoned.values().sum::<u64>();
    if records > 0 {
        tracing::error!(
            sink,
            records,
            "this sink is not configured any more: what it had not accepted is abandoned, and the manifest says so"
        );
    } else {
        tracing::info!(sink, "this sink is not configured any more; it had accepted everything");
    }
    add(found, sink, bit, &state);
    Ok(())
}

fn add(found: &mut Found, sink: &str, bit: usize, state: &CursorState) {
    for (id, live) in &mut found.live {
        let count = |counts: &std::collections::HashMap<_, u64>| counts.get(id).copied().unwrap_or(0);
        let removed = RemovedSink {
            name: sink.to_owned(),
            routed: live.counters.routed_to(bit),
            dead_lettered: count(&state.dead_lettered),
            evicted: count(&state.evicted),
            abandoned: count(&state.abandoned),
        };
        if removed.routed > 0 {
            removed.add_to(&mut live.removed);
        }
    }
    for sum in &mut found.retired {
        let of = |counts: &[u64]| counts.get(bit).copied().unwrap_or(0);
        let removed = RemovedSink {
            name: sink.to_owned(),
            routed: sum.counters.routed_to(bit),
            dead_lettered: of(&sum.dead_lettered),
            evicted: of(&sum.evicted),
            abandoned: 0,
        };
        if removed.routed > 0 {
            removed.add_to(&mut sum.removed);
        }
    }
}
