//! What manifest records and the manifest file say: figures to JSON. Pure; knows no log and no sink.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::LOGGER;
use crate::record::{Constants, Counters, OriginId, json as members};

/// EventType of the record of one origin.
pub const EVENT_ORIGIN: &str = "logferry.manifest.origin";

/// EventType of the summary.
pub const EVENT_SUMMARY: &str = "logferry.manifest";

/// What became of records in one sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkFigures {
    pub routed: u64,
    pub dead_lettered: u64,
    pub evicted: u64,
    pub abandoned: u64,
    pub buffered: u64,
}

impl SinkFigures {
    fn add(&mut self, other: SinkFigures) {
        self.routed += other.routed;
        self.dead_lettered += other.dead_lettered;
        self.evicted += other.evicted;
        self.abandoned += other.abandoned;
        self.buffered += other.buffered;
    }

    fn is_delivered(self) -> bool {
        self.dead_lettered == 0 && self.evicted == 0 && self.abandoned == 0 && self.buffered == 0
    }
}

/// One origin at the moment of the manifest.
#[derive(Clone, Debug)]
pub struct OriginFigures {
    pub id: OriginId,
    pub columns: Constants,
    pub counters: Counters,
    pub ended: bool,
    /// By route bit.
    pub sinks: Vec<SinkFigures>,
    /// Sinks that are not configured any more, by name.
    pub removed: BTreeMap<String, SinkFigures>,
}

impl OriginFigures {
    /// Every record is accepted by every sink, and no line is known to be missing.
    pub fn is_complete(&self) -> bool {
        self.counters.gaps == 0 && self.sinks.iter().chain(self.removed.values()).all(|sink| sink.is_delivered())
    }

    /// The object `Fields` of its record.
    pub fn fields(&self, incarnation: u64, sinks: &[String]) -> Value {
        let columns = self.columns.iter().filter(|(name, _)| *name != "Origin");
        let columns: Map<String, Value> = columns.map(|(name, value)| (name.to_owned(), value.into())).collect();
        let mut fields = json!({
            "incarnation": incarnation,
            "origin": self.id.to_string(),
            "complete": self.is_complete(),
            "ended": self.ended,
            "columns": columns,
            "first_seq": u64::from(self.counters.records > 0),
            "last_seq": self.counters.records,
            "gap_kinds": self.counters.gap_words(),
            "sinks": sinks_object(sinks, &self.sinks, &self.removed),
        });
        put_counters(&mut fields, &self.counters);
        fields
    }

    /// One sentence for people.
    pub fn message(&self) -> String {
        let what = ["FilePath", "Container", "Source"].iter().find_map(|name| self.columns.get(name));
        let stream = self.columns.get("Stream").map(|stream| format!(" {stream}")).unwrap_or_default();
        let Counters { lines, records, gaps, .. } = self.counters;
        let left_out = left_out(&self.counters);
        let verdict = if self.is_complete() { "complete" } else { "not complete" };
        let gaps = if gaps > 0 { format!(", {gaps} gaps") } else { String::new() };
        format!("{}{stream}: {lines} lines in {records} records{left_out}{gaps}: {verdict}", what.unwrap_or("?"))
    }
}

/// The sum over all origins of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub run_id: String,
    pub vm_name: String,
    pub origins: u64,
    pub retired: u64,
    pub counters: Counters,
    pub sinks: Vec<SinkFigures>,
    /// Sinks that are not configured any more, by name.
    pub removed: BTreeMap<String, SinkFigures>,
    /// Why it is not complete although the figures are, in words.
    pub faults: Vec<String>,
    pub notes: Vec<String>,
}

impl Summary {
    pub fn add(&mut self, counters: &Counters, sinks: &[SinkFigures], removed: &BTreeMap<String, SinkFigures>) {
        self.counters.add(counters);
        if self.sinks.len() < sinks.len() {
            self.sinks.resize(sinks.len(), SinkFigures::default());
        }
        for (sum, one) in self.sinks.iter_mut().zip(sinks) {
            sum.add(*one);
        }
        for (name, one) in removed {
            self.removed.entry(name.clone()).or_default().add(*one);
        }
    }

    /// All up to the target is accepted by every sink, without gap, eviction or dead letter.
    pub fn is_complete(&self) -> bool {
        let mut sinks = self.sinks.iter().chain(self.removed.values());
        self.counters.gaps == 0 && self.faults.is_empty() && sinks.all(|sink| sink.is_delivered())
    }

    /// The object `Fields` of its record.
    pub fn fields(&self, incarnation: u64, sinks: &[String]) -> Value {
        let notes: Vec<&String> = self.faults.iter().chain(&self.notes).collect();
        let mut fields = json!({
            "incarnation": incarnation,
            "complete": self.is_complete(),
            "run_id": self.run_id,
            "vm_name": self.vm_name,
            "origins": self.origins,
            "retired": self.retired,
            "records": self.counters.records,
            "gap_kinds": self.counters.gap_words(),
            "sinks": sinks_object(sinks, &self.sinks, &self.removed),
            "notes": notes,
        });
        put_counters(&mut fields, &self.counters);
        fields
    }

    /// One sentence for people.
    pub fn message(&self, sinks: &[String]) -> String {
        let Counters { records, gaps, .. } = self.counters;
        let run = if self.run_id.is_empty() { "no RunID".to_owned() } else { format!("run {}", self.run_id) };
        let of = if self.vm_name.is_empty() { String::new() } else { format!(" on {}", self.vm_name) };
        let head = format!("{run}{of}: {} origins, {records} records{}", self.origins, left_out(&self.counters));
        if self.is_complete() {
            return format!("{head}: complete");
        }
        let mut why = Vec::new();
        for (name, sink) in by_name(sinks, &self.sinks, &self.removed) {
            if sink.buffered > 0 {
                why.push(format!("{} records not yet in {name}", sink.buffered));
            }
            if sink.dead_lettered > 0 {
                why.push(format!("{} dead letters of {name}", sink.dead_lettered));
            }
            if sink.evicted > 0 {
                why.push(format!("{} records evicted before {name} had them", sink.evicted));
            }
            if sink.abandoned > 0 {
                why.push(format!("{} records abandoned with {name}", sink.abandoned));
            }
        }
        if gaps > 0 {
            why.push(format!("{gaps} gaps ({})", self.counters.gap_words().join(", ")));
        }
        why.extend(self.faults.iter().cloned());
        format!("{head}: not complete: {}", why.join("; "))
    }
}

/// How many lines rules left out, where there are some.
fn left_out(counters: &Counters) -> String {
    match counters.filtered_lines + counters.sampled_lines {
        0 => String::new(),
        lines => format!(", {lines} lines left out"),
    }
}

fn put_counters(fields: &mut Value, counters: &Counters) {
    let Counters { lines, bytes, recorded_lines, filtered_lines, sampled_lines, gaps, gap_bytes, .. } = counters;
    fields["lines"] = (*lines).into();
    fields["bytes"] = (*bytes).into();
    fields["recorded_lines"] = (*recorded_lines).into();
    fields["filtered_lines"] = (*filtered_lines).into();
    fields["sampled_lines"] = (*sampled_lines).into();
    fields["gaps"] = (*gaps).into();
    fields["gap_bytes"] = (*gap_bytes).into();
}

/// Every sink that there is or was, with its figures; one that was taken out and came back has the sum of both times.
fn by_name<'a>(
    names: &'a [String],
    sinks: &[SinkFigures],
    removed: &'a BTreeMap<String, SinkFigures>,
) -> Vec<(&'a String, SinkFigures)> {
    let figures = sinks.iter().copied().chain(std::iter::repeat(SinkFigures::default()));
    let mut all: Vec<(&String, SinkFigures)> = names.iter().zip(figures).collect();
    for (name, one) in removed {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => sum.add(*one),
            None => all.push((name, *one)),
        }
    }
    all
}

/// Name of each sink to what became of the records.
fn sinks_object(names: &[String], sinks: &[SinkFigures], removed: &BTreeMap<String, SinkFigures>) -> Value {
    let one = |sink: SinkFigures| {
        let SinkFigures { routed, dead_lettered, evicted, abandoned, buffered } = sink;
        json!({
            "routed": routed,
            "dead_lettered": dead_lettered,
            "evicted": evicted,
            "abandoned": abandoned,
            "buffered": buffered,
        })
    };
    Value::Object(by_name(names, sinks, removed).into_iter().map(|(name, sink)| (name.clone(), one(sink))).collect())
}

/// Appends the JSON members of a manifest record.
pub fn encode(out: &mut Vec<u8>, event: &str, message: &str, fields: &Value) {
    let start = out.len();
    let level = if fields["complete"] == true { "INFO" } else { "WARNING" };
    for (name, value) in [("LoggerName", LOGGER), ("Level", level), ("Message", message), ("EventType", event)] {
        members::key(out, start, name);
        members::string(out, value.as_bytes());
    }
    members::key(out, start, "Fields");
    // Writing into a vector does not fail.
    let _ = serde_json::to_writer(&mut *out, fields);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::GapKind;

    fn origin(sinks: Vec<SinkFigures>) -> OriginFigures {
        let column = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        OriginFigures {
            id: OriginId([1; 16]),
            columns: Constants::new([column("RunID", "42"), column("FilePath", "/a.log"), column("Origin", "x")]),
            counters: Counters { lines: 5, records: 4, ..Counters::default() },
            ended: true,
            sinks,
            removed: BTreeMap::new(),
        }
    }

    #[test]
    fn an_origin_is_complete_where_every_sink_has_all_and_no_line_is_missing() {
        let all = SinkFigures { routed: 4, ..SinkFigures::default() };
        let check = |sinks: Vec<SinkFigures>, expected: bool| assert_eq!(origin(sinks).is_complete(), expected);
        check(vec![all, all], true);
        check(vec![all, SinkFigures { buffered: 1, ..all }], false);
        check(vec![SinkFigures { dead_lettered: 1, ..all }, all], false);
        check(vec![SinkFigures { evicted: 1, ..all }, all], false);
        check(vec![all, SinkFigures { abandoned: 1, ..all }], false);
        let mut gap = origin(vec![all]);
        gap.counters.count_gap(GapKind::Truncated, 7);
        assert!(!gap.is_complete());
        let fields = gap.fields(3, &["es".to_owned()]);
        assert_eq!((&fields["gap_kinds"][0], &fields["gap_bytes"]), (&"truncated".into(), &7.into()));
        assert_eq!(fields["columns"], json!({ "RunID": "42", "FilePath": "/a.log" }));
        assert_eq!((&fields["first_seq"], &fields["last_seq"]), (&1.into(), &4.into()));
        assert_eq!(fields["sinks"]["es"]["routed"], 4);
    }

    #[test]
    fn a_summary_says_why_it_is_not_complete() {
        let mut summary = Summary { run_id: "42".into(), vm_name: "vm-7".into(), origins: 2, ..Summary::default() };
        let names = ["es".to_owned(), "az".to_owned()];
        let none = BTreeMap::new();
        summary.add(&origin(Vec::new()).counters, &[SinkFigures { routed: 4, ..SinkFigures::default() }; 2], &none);
        assert_eq!(summary.message(&names), "run 42 on vm-7: 2 origins, 4 records: complete");
        let behind = SinkFigures { buffered: 2, evicted: 5, ..Default::default() };
        let gone = SinkFigures { routed: 4, abandoned: 3, ..Default::default() };
        let removed = BTreeMap::from([("old".to_owned(), gone), ("es".to_owned(), gone)]);
        summary.add(&Counters::default(), &[SinkFigures::default(), behind], &removed);
        summary.faults.push("the disk is on fire".to_owned());
        assert_eq!(
            summary.message(&names),
            "run 42 on vm-7: 2 origins, 4 records: not complete: 3 records abandoned with es; 2 records not yet in az; \
             5 records evicted before az had them; 3 records abandoned with old; the disk is on fire"
        );
        let fields = summary.fields(1, &names);
        assert_eq!(fields["complete"], false);
        assert_eq!((&fields["sinks"]["es"]["routed"], &fields["sinks"]["old"]["abandoned"]), (&8.into(), &3.into()));
    }

    #[test]
    fn a_record_is_json_with_the_columns_of_the_contract() {
        let figures = origin(vec![SinkFigures { buffered: 1, ..SinkFigures::default() }]);
        let fields = figures.fields(1, &["es".to_owned()]);
        let mut out = b"{".to_vec();
        let mut body = Vec::new();
        encode(&mut body, EVENT_ORIGIN, &figures.message(), &fields);
        out.extend_from_slice(&body);
        out.push(b'}');
        let record: Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!((&record["EventType"], &record["Level"]), (&EVENT_ORIGIN.into(), &"WARNING".into()));
        assert_eq!(record["Message"], "/a.log: 5 lines in 4 records: not complete");
        assert_eq!(record["Fields"]["incarnation"], 1);
    }
}
