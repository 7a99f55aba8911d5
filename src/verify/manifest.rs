//! Manifest records as they were read back, sorted out: of repeats the highest incarnation. Knows their format, and
//! nothing of what a sink holds.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::manifest::{EVENT_ORIGIN, EVENT_SUMMARY};
use crate::sink::stored::ManifestDocument;

/// What became of records in one sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SinkFigures {
    pub routed: u64,
    pub dead_lettered: u64,
    pub evicted: u64,
    pub abandoned: u64,
    pub buffered: u64,
}

impl SinkFigures {
    /// Records that never come.
    pub fn lost(&self) -> u64 {
        self.dead_lettered.saturating_add(self.evicted).saturating_add(self.abandoned)
    }

    /// Documents that the sink must hold.
    pub fn expected(&self) -> u64 {
        self.routed.saturating_sub(self.lost()).saturating_sub(self.buffered)
    }

    fn add(&mut self, other: &SinkFigures) {
        self.routed = self.routed.saturating_add(other.routed);
        self.dead_lettered = self.dead_lettered.saturating_add(other.dead_lettered);
        self.evicted = self.evicted.saturating_add(other.evicted);
        self.abandoned = self.abandoned.saturating_add(other.abandoned);
        self.buffered = self.buffered.saturating_add(other.buffered);
    }
}

/// Figures of an origin, or their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Figures {
    pub lines: u64,
    pub bytes: u64,
    pub recorded_lines: u64,
    pub filtered_lines: u64,
    pub sampled_lines: u64,
    pub gaps: u64,
    pub gap_bytes: u64,
}

impl Figures {
    fn add(&mut self, other: &Figures) {
        let pairs = [
            (&mut self.lines, other.lines),
            (&mut self.bytes, other.bytes),
            (&mut self.recorded_lines, other.recorded_lines),
            (&mut self.filtered_lines, other.filtered_lines),
            (&mut self.sampled_lines, other.sampled_lines),
            (&mut self.gaps, other.gaps),
            (&mut self.gap_bytes, other.gap_bytes),
        ];
        for (sum, one) in pairs {
            *sum = sum.saturating_add(one);
        }
    }
}

/// `Fields` of the record of one origin.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct OriginRecord {
    pub incarnation: u64,
    pub origin: String,
    pub complete: bool,
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    pub last_seq: u64,
    #[serde(flatten)]
    pub figures: Figures,
    #[serde(default)]
    pub gap_kinds: Vec<String>,
    pub sinks: BTreeMap<String, SinkFigures>,
}

/// `Fields` of a summary.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SummaryRecord {
    pub incarnation: u64,
    pub complete: bool,
    #[serde(default)]
    pub vm_name: String,
    pub origins: u64,
    pub records: u64,
    #[serde(flatten)]
    pub figures: Figures,
    pub sinks: BTreeMap<String, SinkFigures>,
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The manifest of one state folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    pub vm_name: String,
    pub summary: Option<SummaryRecord>,
    /// The highest incarnation of each origin's record, by origin.
    pub origins: BTreeMap<String, OriginRecord>,
    /// Those that the summary was written with, where a later one took their place.
    of_summary: BTreeMap<String, OriginRecord>,
    /// Records that are not as manifest records are.
    pub unreadable: u64,
}

/// Everything that a run's manifests say, by the Origin of the manifest records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifests {
    pub of: BTreeMap<String, Manifest>,
}

impl Manifests {
    /// Sorts out records in any order; repeats do no harm.
    pub fn read(documents: Vec<ManifestDocument>) -> Self {
        let mut of: BTreeMap<String, Manifest> = BTreeMap::new();
        let mut records = Vec::new();
        for document in documents {
            let manifest = of.entry(document.origin.clone()).or_default();
            if !document.vm_name.is_empty() {
                manifest.vm_name = document.vm_name;
            }
            match document.event_type.as_str() {
                EVENT_SUMMARY => match serde_json::from_value::<SummaryRecord>(document.fields) {
                    Ok(summary) => manifest.take_summary(summary),
                    Err(_) => manifest.unreadable += 1,
                },
                EVENT_ORIGIN => match serde_json::from_value::<OriginRecord>(document.fields) {
                    Ok(record) => records.push((document.origin, record)),
                    Err(_) => manifest.unreadable += 1,
                },
                _ => {}
            }
        }
        // What belongs to a summary is known once the last summary is.
        for (origin, record) in records {
            of.entry(origin).or_default().take_origin(record);
        }
        for manifest in of.values_mut() {
            if let (true, Some(summary)) = (manifest.vm_name.is_empty(), &manifest.summary) {
                manifest.vm_name.clone_from(&summary.vm_name);
            }
        }
        Manifests { of }
    }

    /// Every origin that stands in a manifest.
    pub fn origins(&self) -> impl Iterator<Item = &OriginRecord> {
        self.of.values().flat_map(|manifest| manifest.origins.values())
    }

    pub fn names(&self, origin: &str) -> bool {
        self.of.values().any(|manifest| manifest.origins.contains_key(origin))
    }
}

impl Manifest {
    fn take_summary(&mut self, summary: SummaryRecord) {
        if self.summary.as_ref().is_none_or(|known| known.incarnation <= summary.incarnation) {
            self.summary = Some(summary);
        }
    }

    fn take_origin(&mut self, record: OriginRecord) {
        let summary = self.summary.as_ref().map_or(0, |summary| summary.incarnation);
        if record.incarnation <= summary {
            keep_highest(&mut self.of_summary, record.clone());
        }
        keep_highest(&mut self.origins, record);
    }

    /// What is missing of the manifest itself, as sentences.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.unreadable > 0 {
            faults.push(format!("{} manifest records cannot be read", self.unreadable));
        }
        let Some(summary) = &self.summary else {
            faults.push("there are records of origins, and no summary: no drain or stop has ended yet".to_owned());
            return faults;
        };
        let there = self.of_summary.len() as u64;
        if there != summary.origins {
            faults.push(format!("the manifest itself is short: {there} of {} origin records", summary.origins));
        } else if !self.sums_match(summary) {
            faults.push("the sums of the manifest are not those of its origin records".to_owned());
        }
        faults
    }

    fn sums_match(&self, summary: &SummaryRecord) -> bool {
        let mut figures = Figures::default();
        let mut records = 0u64;
        let mut sinks: BTreeMap<&str, SinkFigures> = BTreeMap::new();
        for record in self.of_summary.values() {
            figures.add(&record.figures);
            records = records.saturating_add(record.last_seq);
            for (name, one) in &record.sinks {
                sinks.entry(name).or_default().add(one);
            }
        }
        // A retired origin speaks of the sinks of its time: what came later is zero there. What its sink lost may be
        // counted later, never less.
        let same_routes =
            summary.sinks.iter().all(|(name, sum)| sinks.get(name.as_str()).is_none_or(|own| own.routed == sum.routed));
        figures == summary.figures && records == summary.records && same_routes
    }
}

fn keep_highest(records: &mut BTreeMap<String, OriginRecord>, record: OriginRecord) {
    match records.get(&record.origin) {
        Some(known) if known.incarnation > record.incarnation => {}
        _ => {
            records.insert(record.origin.clone(), record);
        }
    }
}
