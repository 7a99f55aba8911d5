//! What a sink holds of containers, against what they printed and against what the manifest names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde_json::{Map, Value};

use super::load::{Job, STREAMS};

/// Most differences that a message names.
const NAMED_MAX: usize = 5;

/// Messages of each container and stream, in the order of the origins' first times, then of Seq. A record that is stored
/// again under its EventID counts once.
pub type Held = BTreeMap<(String, String), Vec<String>>;

/// Records of lines: those of a stream. Others tell something about the container.
pub fn held(records: &[Value]) -> Held {
    let lines: Vec<&Value> = records.iter().filter(|record| !record["Stream"].is_null()).collect();
    let mut begins: HashMap<&str, &str> = HashMap::new();
    for record in &lines {
        let time = text(record, "@timestamp");
        let begin = begins.entry(text(record, "Origin")).or_insert(time);
        *begin = time.min(begin);
    }
    let place = |record: &Value| {
        let origin = text(record, "Origin");
        (begins[origin].to_owned(), origin.to_owned(), record["Seq"].as_u64().expect("a number"))
    };
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut once: Vec<&Value> = lines.into_iter().filter(|record| seen.insert(text(record, "EventID"))).collect();
    once.sort_by_cached_key(|record| place(record));
    let mut held = Held::new();
    for record in once {
        let of = (text(record, "Container").to_owned(), text(record, "Stream").to_owned());
        held.entry(of).or_default().push(text(record, "Message").to_owned());
    }
    held
}

/// Origins of which a Seq up to the highest is not there.
fn holes(records: &[Value]) -> Vec<String> {
    let mut seqs: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for record in records {
        seqs.entry(text(record, "Origin")).or_default().insert(record["Seq"].as_u64().expect("a number"));
    }
    let has_hole = |seqs: &BTreeSet<u64>| seqs.iter().copied().ne(1..=seqs.len() as u64);
    seqs.iter().filter(|(_, seqs)| has_hole(seqs)).map(|(origin, _)| (*origin).to_owned()).collect()
}

fn text<'a>(record: &'a Value, column: &str) -> &'a str {
    record[column].as_str().unwrap_or_else(|| panic!("no {column}: {record}"))
}

/// What is wrong with what a sink holds; whole where all is empty.
#[derive(Debug, Default)]
pub struct Verdict {
    pub lines: usize,
    /// Container to its lines.
    pub missing: BTreeMap<String, Vec<String>>,
    pub twice: Vec<String>,
    /// Never printed, or not on this stream.
    pub strange: Vec<String>,
    /// Streams whose lines are not in the order in which they were printed.
    pub disordered: Vec<String>,
    /// Origins whose Seq does not go up to its highest without a hole.
    pub holes: Vec<String>,
}

pub fn judge(jobs: &[Job], records: &[Value]) -> Verdict {
    let mut held = held(records);
    let mut verdict = Verdict { holes: holes(records), ..Verdict::default() };
    for job in jobs {
        for stream in STREAMS {
            let found = held.remove(&(job.name.clone(), stream.to_owned())).unwrap_or_default();
            verdict.add(&job.name, stream, &job.expected(stream), &found);
        }
    }
    verdict.strange.extend(held.into_values().flatten());
    verdict
}

impl Verdict {
    /// Takes in one stream of one container.
    pub fn add(&mut self, container: &str, stream: &str, expected: &[String], found: &[String]) {
        let numbers: HashMap<&str, usize> = expected.iter().enumerate().map(|(n, line)| (line.as_str(), n)).collect();
        assert_eq!(numbers.len(), expected.len(), "lines that cannot be told apart");
        let mut times = vec![0; expected.len()];
        let mut order = Vec::with_capacity(found.len());
        for line in found {
            match numbers.get(line.as_str()) {
                Some(number) => {
                    times[*number] += 1;
                    order.push(*number);
                }
                None => self.strange.push(line.clone()),
            }
        }
        self.lines += expected.len();
        let with = |wanted: fn(i32) -> bool| {
            let times = times.clone();
            expected.iter().zip(times).filter(move |(_, times)| wanted(*times)).map(|(line, _)| line.clone())
        };
        self.twice.extend(with(|times| times > 1));
        let missing: Vec<String> = with(|times| times == 0).collect();
        if !missing.is_empty() {
            self.missing.entry(container.to_owned()).or_default().extend(missing);
        }
        if !order.is_sorted() {
            self.disordered.push(format!("{container} {stream}"));
        }
    }

    pub fn missing_lines(&self) -> usize {
        self.missing.values().map(Vec::len).sum()
    }

    pub fn assert_whole(&self) {
        self.assert_nothing_twice();
        assert!(self.missing.is_empty(), "{self}");
    }

    pub fn assert_nothing_twice(&self) {
        assert!(self.twice.is_empty() && self.strange.is_empty() && self.disordered.is_empty(), "{self}");
        assert!(self.holes.is_empty(), "Seq has holes in {} origins: {:?}", self.holes.len(), first(&self.holes));
    }

    /// Every container of which a line is missing stands among those with a gap.
    pub fn assert_missing_is_named(&self, gaps: &Map<String, Value>) {
        let unnamed: Vec<(&String, usize)> = self
            .missing
            .iter()
            .filter(|(container, _)| !gaps.contains_key(*container))
            .map(|(container, lines)| (container, lines.len()))
            .collect();
        assert!(
            unnamed.is_empty(),
            "lines are missing of {} containers that no manifest names with a gap: {:?}; {self}; named: {gaps:?}",
            unnamed.len(),
            unnamed.iter().take(NAMED_MAX).collect::<Vec<_>>()
        );
    }
}

/// The first of many, without what fills them up.
fn first(lines: &[String]) -> Vec<&str> {
    lines.iter().take(NAMED_MAX).map(|line| line.trim_end_matches('x')).collect()
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing: Vec<String> = self.missing.values().flatten().cloned().collect();
        write!(
            out,
            "of {} lines {} are missing, of {} containers {:?}; {} twice {:?}; {} strange {:?}; out of order: {:?}",
            self.lines,
            missing.len(),
            self.missing.len(),
            first(&missing),
            self.twice.len(),
            first(&self.twice),
            self.strange.len(),
            first(&self.strange),
            first(&self.disordered)
        )
    }
}

/// Containers that manifests name with a gap, each with the kinds, from the file of the last stop and from the records
/// of origins in a sink; of several records of one origin the highest incarnation holds.
pub fn gaps(manifest: &Value, sunk: &[Value]) -> Map<String, Value> {
    let told = manifest["origin_records"].as_array().expect("origins").iter();
    let sunk = sunk.iter().filter(|record| record["EventType"] == "logferry.manifest.origin");
    let mut newest: BTreeMap<&str, &Value> = BTreeMap::new();
    for fields in told.chain(sunk.map(|record| &record["Fields"])) {
        let known = newest.entry(fields["origin"].as_str().expect("an origin")).or_insert(fields);
        if known["incarnation"].as_u64() < fields["incarnation"].as_u64() {
            *known = fields;
        }
    }
    let with_gap = newest.into_values().filter(|fields| fields["gaps"].as_u64() > Some(0));
    with_gap
        .filter_map(|fields| Some((fields["columns"]["Container"].as_str()?.to_owned(), fields["gap_kinds"].clone())))
        .collect()
}
