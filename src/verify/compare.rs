//! The comparison: manifests and counts to a verdict. Pure; what is to be looked through it says first, what was seen
//! comes in with the second call.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::manifest::{Manifest, Manifests, OriginRecord, SinkFigures};
use crate::sink::stored::{Sequence, Spans, StoredOrigin};

/// Most findings that a verdict lists; the rest is counted.
pub const FINDINGS_MAX: usize = 1_000;

/// Most spans of Seq that all findings list together; the rest is counted.
pub const SPANS_IN_ALL_MAX: usize = 1_000;

/// How a note begins that is no fault: the drain found its sources going on.
const NOTE_STILL_RUNNING: &str = "still running";

/// An origin that its figures do not settle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    pub origin: String,
    /// Highest Seq that is expected.
    pub until: u64,
    /// Also windows that are full must be looked at: something may be there twice.
    pub every: bool,
    /// No manifest names it: its columns are wanted too.
    pub unlisted: bool,
    /// It may turn out to be whole; otherwise only the numbers of what is missing are to be found.
    pub open: bool,
}

/// What was seen of one origin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub sequence: Sequence,
    pub columns: BTreeMap<String, String>,
}

/// What a manifest promises of one origin in one sink.
#[derive(Clone, Copy, Debug)]
struct Promise {
    last_seq: u64,
    figures: SinkFigures,
}

impl Promise {
    fn of(record: &OriginRecord, sink: &str) -> Option<Promise> {
        let figures = *record.sinks.get(sink)?;
        Some(Promise { last_seq: record.last_seq, figures })
    }

    /// Every record goes to this sink, so a hole in Seq is a record that is missing.
    fn is_gapless(&self) -> bool {
        self.figures.routed == self.last_seq
    }

    /// Whether the figures alone say that all is there. Records that were still in the buffer may have come since.
    fn is_settled_by(&self, stored: Option<&StoredOrigin>) -> bool {
        let (records, last) = stored.map_or((0, 0), |stored| (stored.records(), stored.last_seq()));
        if self.is_gapless() && self.figures.lost() == 0 {
            return stored.map_or(self.last_seq == 0, |stored| stored.is_exactly(self.last_seq));
        }
        let clean = stored.is_none_or(|stored| !stored.overlaps()) && last <= self.last_seq;
        clean
            && (records == self.figures.expected()
                || records == self.figures.routed - self.figures.lost().min(self.figures.routed))
    }
}

/// Which origins must be looked through, those first that may still turn out whole.
pub fn plan(manifests: &Manifests, stored: &BTreeMap<String, StoredOrigin>, sink: &str) -> Vec<Scan> {
    let mut scans = Vec::new();
    for record in manifests.origins() {
        let Some(promise) = Promise::of(record, sink) else { continue };
        let held = stored.get(&record.origin);
        let names_holes = promise.is_gapless() && promise.figures.lost() > 0;
        if promise.is_settled_by(held) && !names_holes {
            continue;
        }
        let records = held.map_or(0, StoredOrigin::records);
        let every = held.is_some_and(|held| held.overlaps() || held.records() >= promise.figures.expected());
        let open = records >= promise.figures.expected() || held.is_none();
        scans.push(Scan { origin: record.origin.clone(), until: promise.last_seq, every, unlisted: false, open });
    }
    for held in stored.values().filter(|held| !manifests.names(&held.origin)) {
        let (origin, until) = (held.origin.clone(), held.last_seq());
        scans.push(Scan { origin, until, every: held.overlaps(), unlisted: true, open: false });
    }
    scans.sort_by_key(|scan| !scan.open);
    scans
}

/// Why an origin, a manifest or a run is not equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There is no manifest record of the run at all.
    NoManifest,
    /// Records of the manifest are missing, or do not fit together.
    ManifestShort,
    /// The manifest says itself that something is missing.
    Incomplete,
    /// The manifest says nothing about this sink.
    SinkUnknown,
    /// Documents of the origin are missing.
    Missing,
    /// Documents are there more than once.
    Doubled,
    /// More documents are there than were ever sent there, by the manifest.
    More,
    /// Documents are there that were written after the manifest.
    Past,
    /// The origin has documents and stands in no manifest.
    Unlisted,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Finding {
    pub reasons: BTreeSet<Reason>,
    #[serde(rename = "VMName")]
    pub vm_name: String,
    /// Columns of the origin; empty where the finding is about a manifest or the run.
    pub columns: BTreeMap<String, String>,
    #[serde(rename = "Origin")]
    pub origin: String,
    /// Documents that must be there.
    pub expected: u64,
    pub found: u64,
    pub missing: u64,
    /// Seq that are not there; empty in a sink with `when`, where Seq has holes by its nature, or where
    /// `not_looked_through`.
    pub holes: Spans,
    pub doubled: Spans,
    /// Seq above the manifest's last one.
    pub past: Spans,
    /// Too many origins are short for this one to be looked through.
    pub not_looked_through: bool,
    /// Sentences.
    pub why: Vec<String>,
}

/// One VM of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Vm {
    #[serde(rename = "VMName")]
    pub vm_name: String,
    /// Manifests of it: one for each state folder.
    pub manifests: u64,
    /// Origins in them.
    pub origins: u64,
    /// Origins with documents that stand in none.
    pub unlisted: u64,
    pub expected: u64,
    pub found: u64,
    pub equal: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    pub run_id: String,
    pub sink: String,
    pub equal: bool,
    pub vms: Vec<Vm>,
    pub findings: Vec<Finding>,
    /// Findings that are not listed.
    pub more_findings: u64,
    /// Sentences about what is worth knowing and no fault.
    pub notes: Vec<String>,
}

/// The verdict on a run. `seen` holds what was looked through of [`plan`].
pub fn compare(
    run_id: &str,
    sink: &str,
    manifests: &Manifests,
    stored: &BTreeMap<String, StoredOrigin>,
    seen: &HashMap<String, Seen>,
) -> Verdict {
    let mut work = Work { sink, stored, seen, vms: BTreeMap::new(), findings: Vec::new(), doubles: 0 };
    if manifests.of.is_empty() {
        work.findings.push(Finding {
            reasons: BTreeSet::from([Reason::NoManifest]),
            why: vec!["the sink holds no manifest of this run".to_owned()],
            ..Finding::default()
        });
    }
    for (origin, manifest) in &manifests.of {
        work.manifest(origin, manifest);
    }
    for held in stored.values().filter(|held| !manifests.names(&held.origin)) {
        work.unlisted(held, manifests);
    }
    let notes = match work.doubles {
        0 => Vec::new(),
        doubles => {
            vec![format!("{doubles} documents are there twice, as deliveries that had to be repeated leave them")]
        }
    };
    let mut verdict = Verdict {
        run_id: run_id.to_owned(),
        sink: sink.to_owned(),
        equal: work.findings.is_empty(),
        vms: work.vms.into_values().collect(),
        findings: work.findings,
        more_findings: 0,
        notes,
    };
    for vm in &mut verdict.vms {
        vm.equal = vm.manifests > 0 && !verdict.findings.iter().any(|finding| finding.vm_name == vm.vm_name);
    }
    shorten(&mut verdict);
    verdict
}

/// In order, and no longer than anybody reads.
fn shorten(verdict: &mut Verdict) {
    verdict.findings.sort_by(|a, b| {
        let key = |finding: &Finding| (!finding.origin.is_empty(), finding.vm_name.clone(), finding.columns.clone());
        key(a).cmp(&key(b)).then_with(|| a.origin.cmp(&b.origin))
    });
    verdict.more_findings = verdict.findings.len().saturating_sub(FINDINGS_MAX) as u64;
    verdict.findings.truncate(FINDINGS_MAX);
    let mut left = SPANS_IN_ALL_MAX;
    for finding in &mut verdict.findings {
        for spans in [&mut finding.holes, &mut finding.doubled, &mut finding.past] {
            spans.shorten(left);
            left -= spans.spans.len();
        }
    }
}

struct Work<'a> {
    sink: &'a str,
    stored: &'a BTreeMap<String, StoredOrigin>,
    seen: &'a HashMap<String, Seen>,
    vms: BTreeMap<String, Vm>,
    findings: Vec<Finding>,
    doubles: u64,
}

impl Work<'_> {
    fn vm(&mut self, name: &str) -> &mut Vm {
        let vm = self.vms.entry(name.to_owned()).or_default();
        name.clone_into(&mut vm.vm_name);
        vm
    }

    fn manifest(&mut self, manifest_origin: &str, manifest: &Manifest) {
        self.vm(&manifest.vm_name).manifests += 1;
        let faults = manifest.faults();
        if !faults.is_empty() {
            self.findings.push(Finding {
                reasons: BTreeSet::from([Reason::ManifestShort]),
                vm_name: manifest.vm_name.clone(),
                origin: manifest_origin.to_owned(),
                why: faults,
                ..Finding::default()
            });
        }
        for record in manifest.origins.values() {
            self.origin(record, &manifest.vm_name);
        }
        if let Some(why) = summary_faults(manifest) {
            self.findings.push(Finding {
                reasons: BTreeSet::from([Reason::Incomplete]),
                vm_name: manifest.vm_name.clone(),
                why,
                ..Finding::default()
            });
        }
    }

    fn origin(&mut self, record: &OriginRecord, vm_name: &str) {
        let held = self.stored.get(&record.origin);
        self.doubles += held.map_or(0, |held| held.doubles);
        let mut finding = Finding {
            vm_name: vm_name.to_owned(),
            columns: record.columns.clone(),
            origin: record.origin.clone(),
            ..Finding::default()
        };
        let found = match Promise::of(record, self.sink) {
            Some(promise) => {
                self.hold_against(&promise, held, &mut finding);
                finding.found
            }
            None => {
                let names: Vec<&str> = record.sinks.keys().map(String::as_str).collect();
                let why = format!("the manifest knows no sink {}: it knows {}", self.sink, listed(&names));
                finding.reasons.insert(Reason::SinkUnknown);
                finding.why.push(why);
                held.map_or(0, StoredOrigin::records)
            }
        };
        incomplete(record, self.sink, &mut finding);
        let vm = self.vm(vm_name);
        vm.origins += 1;
        vm.expected += finding.expected;
        vm.found += found;
        if !finding.reasons.is_empty() {
            self.findings.push(finding);
        }
    }

    /// What is promised against what is there.
    fn hold_against(&self, promise: &Promise, held: Option<&StoredOrigin>, finding: &mut Finding) {
        let records = held.map_or(0, StoredOrigin::records);
        finding.expected = promise.figures.expected();
        finding.found = records;
        let Some(Seen { sequence, .. }) = self.seen.get(&finding.origin) else {
            finding.missing = finding.expected.saturating_sub(records);
            if !promise.is_settled_by(held) {
                finding.not_looked_through = true;
                finding.reasons.insert(Reason::Missing);
            }
            return;
        };
        finding.found = sequence.found;
        // All that was not lost may have come since the manifest was written.
        let may_be = promise.figures.routed.saturating_sub(promise.figures.lost());
        finding.missing = finding.expected.saturating_sub(sequence.found);
        if promise.is_gapless() && (finding.missing > 0 || promise.figures.lost() > 0) {
            finding.holes = sequence.holes.clone();
        }
        if finding.missing > 0 {
            finding.reasons.insert(Reason::Missing);
        } else if sequence.found > may_be && (promise.figures.lost() == 0 || sequence.found > promise.figures.routed) {
            let more = sequence.found - may_be;
            if sequence.found > promise.figures.routed {
                finding.reasons.insert(Reason::More);
            }
            finding.why.push(format!("{more} more than the manifest says"));
        }
        if !sequence.doubled.is_empty() {
            finding.doubled = sequence.doubled.clone();
            finding.reasons.insert(Reason::Doubled);
        }
        if !sequence.past.is_empty() {
            finding.past = sequence.past.clone();
            finding.reasons.insert(Reason::Past);
        }
    }

    fn unlisted(&mut self, held: &StoredOrigin, manifests: &Manifests) {
        let seen = self.seen.get(&held.origin);
        let columns = seen.map(|seen| seen.columns.clone()).unwrap_or_default();
        let knows_vm = manifests.of.values().any(|manifest| manifest.vm_name == held.vm_name);
        let why = if knows_vm { "the origin stands in no manifest" } else { "the VM has no manifest" };
        let (first, last) = (held.first_seq(), held.last_seq());
        let vm = self.vm(&held.vm_name);
        vm.unlisted += 1;
        vm.found += held.records();
        self.findings.push(Finding {
            reasons: BTreeSet::from([Reason::Unlisted]),
            vm_name: held.vm_name.clone(),
            columns,
            origin: held.origin.clone(),
            found: held.records(),
            holes: seen.map(|seen| seen.sequence.holes.clone()).unwrap_or_default(),
            doubled: seen.map(|seen| seen.sequence.doubled.clone()).unwrap_or_default(),
            not_looked_through: seen.is_none(),
            why: vec![format!("{why}: {} records, Seq {first} to {last}", held.records())],
            ..Finding::default()
        });
    }
}

/// What the manifest itself says is missing of an origin.
fn incomplete(record: &OriginRecord, sink: &str, finding: &mut Finding) {
    let mut why = Vec::new();
    if record.figures.gaps > 0 {
        let (gaps, bytes) = (record.figures.gaps, record.figures.gap_bytes);
        why.push(format!("{gaps} gaps ({}), {bytes} bytes", record.gap_kinds.join(", ")));
    }
    // What was not here when the manifest was written may have come since: from the buffer, or by a replay.
    let here = record.sinks.get(sink).copied().unwrap_or_default();
    let has_come = finding.found >= here.routed;
    for (name, figures) in &record.sinks {
        if name == sink && has_come {
            continue;
        }
        let to_come = if name == sink {
            figures.routed.saturating_sub(figures.lost()).saturating_sub(finding.found).min(figures.buffered)
        } else {
            figures.buffered
        };
        let words = [
            (figures.dead_lettered, "dead-lettered"),
            (figures.evicted, "evicted"),
            (figures.abandoned, "abandoned"),
            (to_come, "still buffered"),
        ];
        let of = if name == sink { String::new() } else { format!(" for {name}") };
        why.extend(words.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}{of}")));
    }
    if !record.complete && why.is_empty() && here.lost() == 0 && here.buffered == 0 {
        why.push("the manifest says that it is not complete".to_owned());
    }
    if !why.is_empty() {
        finding.reasons.insert(Reason::Incomplete);
        finding.why.extend(why);
    }
}

/// What a summary says that no origin does: faults of the drain as a whole.
fn summary_faults(manifest: &Manifest) -> Option<Vec<String>> {
    let summary = manifest.summary.as_ref().filter(|summary| !summary.complete)?;
    let faults: Vec<String> =
        summary.notes.iter().filter(|note| !note.starts_with(NOTE_STILL_RUNNING)).cloned().collect();
    let figures_say_why =
        summary.figures.gaps > 0 || summary.sinks.values().any(|figures| figures.lost() > 0 || figures.buffered > 0);
    match (faults.is_empty(), figures_say_why) {
        (false, _) => Some(faults),
        (true, true) => None,
        (true, false) => Some(vec!["the manifest says that it is not complete".to_owned()]),
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
