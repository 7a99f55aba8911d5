//! What the sinks hold after a round, against what was written and against what the manifest says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::writer::is_error;
use crate::support::azure::AzureServer;
use crate::support::engine::Engine;
use crate::support::ferry::Ferry;
use crate::support::search::{documents, manifests, messages};

/// Requests that a sink has under way at a time, by default.
const IN_FLIGHT: u64 = 2;
/// The file sink's file.
pub const ERRORS: &str = "out/errors.ndjson";
/// Most differences that a message names.
const NAMED_MAX: usize = 5;

/// What the sinks hold, without manifests.
pub struct Held {
    engine: Vec<Value>,
    /// Manifest records of single origins in the engine.
    origins: Vec<Value>,
    azure: Vec<Value>,
    errors: Vec<Value>,
    /// Calls that Azure stored, or may have, without an answer.
    unanswered: u64,
    /// Most records of one call to Azure.
    call_records_max: u64,
}

impl Held {
    pub async fn read(engine: &Engine, index: &str, azure: &AzureServer, ferry: &Ferry, run: &str) -> Held {
        let origins = manifests(engine, index, run, "logferry.manifest.origin").await;
        let (unanswered, call_records_max) = azure.read(|ledger| (ledger.answered(0), ledger.max_call_records));
        Held {
            engine: documents(engine, index, json!({ "match_all": {} })).await,
            origins,
            azure: azure.records().into_iter().map(Value::Object).collect(),
            errors: ferry.records(ERRORS),
            unanswered,
            call_records_max,
        }
    }

    /// Records that Azure holds more than once.
    pub fn twice_in_azure(&self) -> u64 {
        (self.azure.len() - event_ids(&self.azure).len()) as u64
    }

    /// Every line once in the engine; at least once elsewhere, with one EventID; in Azure no more twice than could have
    /// been under way.
    pub fn against(&self, expected: &[String], kills: usize) -> Vec<String> {
        let mut wrong = Vec::new();
        let found = messages(&self.engine);
        let twice: Vec<&String> = found.iter().filter(|(_, n)| **n > 1).map(|(message, _)| message).collect();
        if !twice.is_empty() {
            wrong.push(format!("{} twice in the engine: {:?}", twice.len(), named(&twice)));
        }
        let errors: Vec<String> = expected.iter().filter(|message| is_error(message)).cloned().collect();
        for (name, records, expected) in [
            ("the engine", &self.engine, expected),
            ("Azure", &self.azure, expected),
            ("the file", &self.errors, &errors),
        ] {
            let found = messages(records);
            let missing: Vec<&String> = expected.iter().filter(|message| !found.contains_key(*message)).collect();
            if !missing.is_empty() {
                wrong.push(format!("{} missing in {name}: {:?}", missing.len(), named(&missing)));
            }
            if found.len() > expected.len() {
                let known: BTreeSet<&String> = expected.iter().collect();
                let strange: Vec<&String> = found.keys().filter(|message| !known.contains(message)).collect();
                wrong.push(format!("{} never written in {name}: {:?}", strange.len(), named(&strange)));
            }
            if event_ids(records).len() != found.len() {
                wrong.push(format!("{} EventIDs for {} lines in {name}", event_ids(records).len(), found.len()));
            }
        }
        let bound = (self.unanswered + kills as u64 * IN_FLIGHT) * self.call_records_max;
        if self.twice_in_azure() > bound {
            wrong.push(format!("{} twice in Azure, {bound} could have been under way", self.twice_in_azure()));
        }
        wrong
    }

    /// The manifest of the last stop is complete, adds up and says of every origin what the sinks hold.
    pub fn against_manifest(&self, ferry: &Ferry, run: &str) -> Vec<String> {
        let text = std::fs::read_to_string(ferry.path(&format!("state/manifests/{run}.json"))).unwrap_or_default();
        let Ok(manifest) = serde_json::from_str::<Value>(&text) else { return vec![format!("no manifest: {text:?}")] };
        let mut wrong = Vec::new();
        if manifest["complete"] != true {
            wrong.push(format!("the manifest is not complete: {manifest}"));
        }
        let number = |value: &Value, name: &str| value[name].as_u64().unwrap_or(u64::MAX);
        let mut check = |what: &str, told: u64, held: usize| {
            if told != held as u64 {
                wrong.push(format!("{what}: the manifest says {told}, {held} are there"));
            }
        };
        check("records", number(&manifest, "records"), self.engine.len());
        check("lines", number(&manifest, "lines"), self.engine.len());
        for (sink, records) in
            [("elasticsearch", &self.engine), ("azure_monitor", &self.azure), ("errors", &self.errors)]
        {
            let of_sink = &manifest["sinks"][sink];
            check(sink, number(of_sink, "routed"), event_ids(records).len());
            for gone in ["buffered", "dead_lettered", "evicted", "abandoned"] {
                check(&format!("{sink}, {gone}"), number(of_sink, gone), 0);
            }
        }
        let told = newest(&self.origins);
        let held = by_origin(&self.engine);
        check("origins", number(&manifest, "origins"), told.len());
        for (origin, seqs) in &held {
            let fields = told.get(origin.as_str()).copied().unwrap_or(&Value::Null);
            check(&format!("{origin}, routed"), number(&fields["sinks"]["elasticsearch"], "routed"), seqs.len());
            if seqs.iter().copied().ne(1..=seqs.len() as u64) {
                check(&format!("{origin}, highest Seq"), seqs.last().copied().unwrap_or(0), seqs.len());
            }
        }
        wrong
    }
}

fn named<'a>(all: &[&'a String]) -> Vec<&'a str> {
    all.iter().take(NAMED_MAX).map(|message| message.split(" x").next().unwrap_or(message)).collect()
}

fn event_ids(records: &[Value]) -> BTreeSet<&str> {
    records.iter().filter_map(|record| record["EventID"].as_str()).collect()
}

/// Seqs of each origin, each once.
fn by_origin(records: &[Value]) -> BTreeMap<String, BTreeSet<u64>> {
    let mut origins: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for record in records {
        let origin = record["Origin"].as_str().unwrap_or_default().to_owned();
        origins.entry(origin).or_default().insert(record["Seq"].as_u64().unwrap_or(0));
    }
    origins
}

/// Fields of the manifest record with the highest incarnation, of each origin.
fn newest(records: &[Value]) -> BTreeMap<&str, &Value> {
    let mut newest: BTreeMap<&str, &Value> = BTreeMap::new();
    for record in records {
        let fields = &record["Fields"];
        let known = newest.entry(fields["origin"].as_str().unwrap_or_default()).or_insert(fields);
        if known["incarnation"].as_u64() < fields["incarnation"].as_u64() {
            *known = fields;
        }
    }
    newest
}
