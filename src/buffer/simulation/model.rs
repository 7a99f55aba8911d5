//! What the log was told and what it has promised, in plain maps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Violation;
use crate::buffer::format::RetiredSum;
use crate::buffer::section::RecordHeader;
use crate::buffer::{CursorState, LiveOrigin, LogPosition, OriginInfo, Records, Section};
use crate::record::{Constants, Counters, EventId, GapKind, OriginId, RouteBits};

pub const SINKS: [&str; 2] = ["a", "b"];
/// The origin that never ends, as that of manifests: retirements come with its sections.
pub const LASTING: usize = 0;

/// A section as it was appended.
#[derive(Clone, Debug)]
pub struct Appended {
    pub counters: Counters,
    pub position: Vec<u8>,
    pub ended: bool,
    first_seq: u64,
    records: Vec<(RouteBits, String)>,
    /// Origins that retire with it, and their dead letters.
    retire: Vec<(usize, Vec<u64>)>,
    /// End of its frame, once it was written.
    end: Option<LogPosition>,
    /// It was promised.
    durable: bool,
}

#[derive(Debug)]
pub struct Origin {
    pub info: Arc<OriginInfo>,
    pub sections: Vec<Appended>,
}

impl Origin {
    pub fn ended(&self) -> bool {
        self.sections.last().is_some_and(|section| section.ended)
    }

    fn counters(&self) -> Counters {
        self.sections.last().map(|section| section.counters.clone()).unwrap_or_default()
    }

    fn record(&self, seq: u64) -> Option<(&Appended, &(RouteBits, String))> {
        let section = self.sections.iter().find(|s| (s.first_seq..=s.counters.records).contains(&seq))?;
        section.records.get((seq - section.first_seq) as usize).map(|record| (section, record))
    }
}

/// What a sink holds, and where its cursor may be after a start.
#[derive(Debug, Default)]
struct SinkModel {
    delivered: BTreeSet<(usize, u64)>,
    /// States since the last one that was synced, that one first, and whether each was written without a fault.
    cursors: Vec<(CursorState, bool)>,
}

/// What the log says of itself in the end.
pub struct Standing<'a> {
    pub retired: &'a [RetiredSum],
    pub dead_lettered: Vec<HashMap<OriginId, u64>>,
}

#[derive(Debug, Default)]
pub struct Model {
    pub origins: Vec<Origin>,
    sinks: [SinkModel; SINKS.len()],
    /// Sections that wait for the writer: origin and place.
    queued: Vec<(usize, usize)>,
    lives: u64,
}

/// Whether a sink refuses a record for good.
pub fn is_poison(sink: usize, payload: &str) -> bool {
    payload.len() % 7 == sink
}

impl Model {
    pub fn records(&self) -> u64 {
        self.origins.iter().map(|origin| origin.counters().records).sum()
    }

    pub fn retired(&self) -> u64 {
        self.retirements().count() as u64
    }

    fn retirements(&self) -> impl Iterator<Item = &(usize, Vec<u64>)> {
        self.origins.get(LASTING).into_iter().flat_map(|origin| &origin.sections).flat_map(|section| &section.retire)
    }

    pub fn is_retiring(&self, origin: usize) -> bool {
        self.retirements().any(|(other, _)| *other == origin)
    }

    pub fn new_origin(&mut self) -> usize {
        let n = self.origins.len();
        let constants = Constants::new([("RunID".to_owned(), format!("run-{}", n % 2))]);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(n as u64 + 1).to_le_bytes());
        let descriptor = format!("origin {n}").into_bytes();
        let constants = constants.members().to_vec();
        let info = Arc::new(OriginInfo { id: OriginId(id), descriptor, constants });
        self.origins.push(Origin { info, sections: Vec::new() });
        n
    }

    fn find(&self, id: OriginId) -> Option<usize> {
        self.origins.iter().position(|origin| origin.info.id == id)
    }

    /// Notes a section of these records, and makes it.
    pub fn append(
        &mut self,
        n: usize,
        routes: &[RouteBits],
        len: usize,
        ended: bool,
        retire: Vec<(usize, Vec<u64>)>,
    ) -> Section {
        let origin = &mut self.origins[n];
        let mut counters = origin.counters();
        let first_seq = counters.records + 1;
        let mut records = Records::default();
        let mut appended = Vec::new();
        counters.lines += 1;
        // As a start gives them back: one for each sink.
        counters.routed.resize(SINKS.len(), 0);
        for (place, &route) in routes.iter().enumerate() {
            counters.records += 1;
            counters.recorded_lines += 1;
            counters.count_route(route);
            let text = format!("{}:{}:{}", self.lives, counters.records, "x".repeat((len + place * 31) % 700));
            let event_id = EventId::new(origin.info.id, counters.records, 0, 0);
            let header = RecordHeader { time: 0, event_id, begin: 0, extent: 1, route };
            records.push(&header, |out| out.extend_from_slice(text.as_bytes()));
            appended.push((route, text));
        }
        if len.is_multiple_of(11) {
            counters.count_gap(GapKind::Truncated, len as u64);
        }
        let position = format!("{}/{}", counters.lines, self.lives).into_bytes();
        origin.sections.push(Appended {
            counters: counters.clone(),
            position: position.clone(),
            ended,
            first_seq,
            records: appended,
            retire,
            end: None,
            durable: false,
        });
        self.queued.push((n, origin.sections.len() - 1));
        Section { origin: Arc::clone(&origin.info), position, counters, ended, first_seq, base: 0, records }
    }

    pub fn waits(&self) -> bool {
        !self.queued.is_empty()
    }

    /// The writer has written so many sections; their frame ends there.
    pub fn written(&mut self, count: usize, end: LogPosition) {
        for (origin, place) in self.queued.drain(..count) {
            self.origins[origin].sections[place].end = Some(end);
        }
    }

    /// From now on all up to there must survive.
    pub fn synced(&mut self, to: LogPosition) {
        let sections = self.origins.iter_mut().flat_map(|origin| &mut origin.sections);
        for section in sections.filter(|section| section.end.is_some_and(|end| end <= to)) {
            section.durable = true;
        }
    }

    /// A sink was given a record; true where it takes it, false where it refuses it for good.
    pub fn given(&mut self, sink: usize, id: OriginId, seq: u64, payload: &[u8]) -> Result<bool, Violation> {
        let name = SINKS[sink];
        let n = self.find(id).ok_or_else(|| format!("{name} was given a record of an unknown origin {id}"))?;
        let Some((section, (route, text))) = self.origins[n].record(seq) else {
            return Err(format!("{name} was given Seq {seq} of origin {n}, which was never appended"));
        };
        if text.as_bytes() != payload {
            let given = String::from_utf8_lossy(payload);
            return Err(format!("{name} was given {given:?} for Seq {seq} of origin {n}, which is {text:?}"));
        }
        if !section.durable {
            return Err(format!("{name} was given Seq {seq} of origin {n}, which is not on disk for sure"));
        }
        if route & (1 << sink) == 0 {
            return Err(format!("{name} was given Seq {seq} of origin {n}, which is not for it"));
        }
        if is_poison(sink, text) {
            return Ok(false);
        }
        self.sinks[sink].delivered.insert((n, seq));
        Ok(true)
    }

    /// `whole`: without a fault. A write that failed may be there all the same.
    pub fn cursor_written(&mut self, sink: usize, state: &CursorState, whole: bool) {
        let cursors = &mut self.sinks[sink].cursors;
        if !whole {
            // It may have torn those that were not synced yet.
            cursors.iter_mut().skip(1).for_each(|(_, whole)| *whole = false);
        }
        cursors.push((state.clone(), whole));
    }

    pub fn cursor_synced(&mut self, sink: usize) {
        let cursors = &mut self.sinks[sink].cursors;
        let last = cursors.iter().rposition(|(_, whole)| *whole).unwrap_or(0);
        cursors.drain(..last);
    }

    /// The origins that have ended and that all sinks have passed: they may retire.
    pub fn may_retire(&self, lowest: LogPosition) -> Vec<usize> {
        let passed = |origin: &Origin| {
            origin.ended() && origin.sections.last().and_then(|last| last.end).is_some_and(|end| end <= lowest)
        };
        (0..self.origins.len()).filter(|&n| n != LASTING && passed(&self.origins[n]) && !self.is_retiring(n)).collect()
    }

    /// What a start found must be what was promised or more. What did not survive is forgotten: it is appended again.
    pub fn recovered(&mut self, live: &[LiveOrigin], retired: &[RetiredSum]) -> Result<(), Violation> {
        self.lives += 1;
        self.queued.clear();
        let found: BTreeMap<OriginId, &LiveOrigin> = live.iter().map(|origin| (origin.info.id, origin)).collect();
        if let Some(strange) = found.keys().find(|id| self.find(**id).is_none()) {
            return Err(format!("the log holds an origin {strange} that nobody appended"));
        }
        if let Some(lasting) = self.origins.get_mut(LASTING) {
            survive(LASTING, lasting, found.get(&lasting.info.id).copied())?;
        }
        let retiring: BTreeSet<usize> = self.retirements().map(|(origin, _)| *origin).collect();
        for (n, origin) in self.origins.iter_mut().enumerate() {
            let found = found.get(&origin.info.id).copied();
            match (retiring.contains(&n), found) {
                (true, None) => {}
                (true, Some(_)) => return Err(format!("origin {n} has retired and is there again")),
                (false, found) => survive(n, origin, found)?,
            }
        }
        self.check_retired(retired)
    }

    fn check_retired(&self, found: &[RetiredSum]) -> Result<(), Violation> {
        let mut expected: BTreeMap<String, RetiredSum> = BTreeMap::new();
        for (n, dead_lettered) in self.retirements() {
            let run_id = format!("run-{}", n % 2);
            let sum = expected.entry(run_id.clone()).or_insert_with(|| RetiredSum { run_id, ..RetiredSum::default() });
            sum.origins += 1;
            sum.counters.add(&self.origins[*n].counters());
            sum.dead_lettered.resize(SINKS.len(), 0);
            sum.dead_lettered.iter_mut().zip(dead_lettered).for_each(|(all, one)| *all += one);
        }
        let sorted: BTreeMap<String, RetiredSum> = found.iter().map(|sum| (sum.run_id.clone(), sum.clone())).collect();
        for (run, expected) in &expected {
            let found = sorted.get(run).cloned().unwrap_or_default();
            let same = found.origins == expected.origins
                && found.counters.records == expected.counters.records
                && found.counters.lines == expected.counters.lines
                && found.counters.gaps == expected.counters.gaps
                && (0..SINKS.len()).all(|bit| found.counters.routed_to(bit) == expected.counters.routed_to(bit))
                && found.dead_lettered == expected.dead_lettered;
            if !same {
                return Err(format!("the sums of {run} are {found:?}, not {expected:?}"));
            }
        }
        if sorted.len() > expected.len() {
            return Err(format!("sums of runs that nothing retired of: {sorted:?}"));
        }
        Ok(())
    }

    /// A cursor after a start is one that was written, no older than the last that was synced.
    pub fn cursor_recovered(&mut self, sink: usize, state: &CursorState) -> Result<(), Violation> {
        let live = |id: &OriginId| self.find(*id).is_some_and(|n| !self.is_retiring(n));
        let cursors = &self.sinks[sink].cursors;
        let fits = cursors.iter().any(|(written, _)| {
            let mut dead_lettered = written.dead_lettered.clone();
            dead_lettered.retain(|id, _| live(id));
            written.cursor == state.cursor && dead_lettered == state.dead_lettered
        });
        // Of a log that is empty any place will do.
        let empty = self.origins.iter().all(|origin| origin.sections.is_empty());
        if !cursors.is_empty() && !fits && !empty {
            return Err(format!("the cursor of {} is {state:?}, none of {cursors:?}", SINKS[sink]));
        }
        self.sinks[sink].cursors = vec![(state.clone(), true)];
        Ok(())
    }

    /// All sinks have read all: routed is delivered and dead-lettered, record by record and in the counts.
    pub fn check_whole(&self, standing: Standing<'_>) -> Result<(), Violation> {
        self.check_retired(standing.retired)?;
        for (sink, name) in SINKS.iter().enumerate() {
            for (n, origin) in self.origins.iter().enumerate() {
                let of_sink = |record: &&(RouteBits, String)| record.0 & (1 << sink) != 0;
                let mut refused = 0;
                for section in &origin.sections {
                    for (place, (_, text)) in section.records.iter().enumerate().filter(|(_, r)| of_sink(r)) {
                        let seq = section.first_seq + place as u64;
                        if is_poison(sink, text) {
                            refused += 1;
                        } else if !self.sinks[sink].delivered.contains(&(n, seq)) {
                            return Err(format!("{name} never got Seq {seq} of origin {n}"));
                        }
                    }
                }
                let retired = self.retirements().find(|(other, _)| *other == n).map(|(_, dead)| dead[sink]);
                let of_cursor = standing.dead_lettered[sink].get(&origin.info.id).copied().unwrap_or(0);
                let counted = retired.unwrap_or(of_cursor);
                if counted != refused {
                    return Err(format!("{name} refused {refused} records of origin {n}, {counted} are counted"));
                }
            }
        }
        Ok(())
    }
}

/// Cuts an origin back to what a start found of it.
fn survive(n: usize, origin: &mut Origin, found: Option<&LiveOrigin>) -> Result<(), Violation> {
    let promised = origin.sections.iter().rposition(|section| section.durable).map_or(0, |last| last + 1);
    let Some(found) = found else {
        if promised > 0 {
            return Err(format!("origin {n} is gone, with {promised} sections that were on disk"));
        }
        origin.sections.clear();
        return Ok(());
    };
    if found.info != origin.info {
        return Err(format!("origin {n} is described as {:?}", found.info));
    }
    let same = |section: &Appended| {
        section.counters == found.counters && section.position == found.position && section.ended == found.ended
    };
    let Some(last) = origin.sections.iter().rposition(same) else {
        return Err(format!("origin {n} is at {found:?}, where it never was"));
    };
    if last + 1 < promised {
        return Err(format!("origin {n} is back at section {}, {promised} were on disk", last + 1));
    }
    origin.sections.truncate(last + 1);
    for section in &mut origin.sections {
        // What a start accepts it has made durable.
        section.durable = true;
    }
    Ok(())
}
