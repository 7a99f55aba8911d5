//! Asks a sink for what the comparison needs: manifests, counts, then the origins that these leave in doubt.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::compare::{self, Seen, Verdict};
use super::manifest::Manifests;
use crate::manifest::{EVENT_ORIGIN, EVENT_SUMMARY, SOURCE};
use crate::sink::elasticsearch;
use crate::sink::stored::{Question, ReadError, StoredOrigin};

/// Most origins that are looked through for one verdict; of others only the count is known.
pub const SCANS_MAX: usize = 1_000;

/// Columns that say what an origin is.
const COLUMNS: [&str; 6] = ["VMName", "TaskID", "Source", "FilePath", "Container", "Stream"];

/// A sink that can be read.
#[derive(Debug)]
pub enum Reader {
    Elasticsearch(elasticsearch::Reader),
}

/// The verdict on one run, from what the sink holds now. `scans_max`: how many origins may be looked through; with
/// fewer a verdict that is not equal names less.
///
/// # Errors
/// The sink cannot be reached, or may not be read.
pub async fn take(reader: &Reader, run_id: &str, sink: &str, scans_max: usize) -> Result<Verdict, ReadError> {
    let Reader::Elasticsearch(reader) = reader;
    let question = Question { run_id, own_source: SOURCE, manifest_events: &[EVENT_ORIGIN, EVENT_SUMMARY] };
    let Some(search) = reader.open().await? else {
        let mut verdict = compare::compare(run_id, sink, &Manifests::default(), &BTreeMap::new(), &HashMap::new());
        verdict.notes.push(format!("there is no index {}", reader.pattern()));
        return Ok(verdict);
    };
    // Manifests first: what comes in between is past them, and not missing.
    let manifests = Manifests::read(search.manifests(&question).await?);
    let stored = search.counts(&question).await?;
    let mut stored: BTreeMap<String, StoredOrigin> =
        stored.into_iter().map(|held| (held.origin.clone(), held)).collect();
    let mut elsewhere = 0;
    if !run_id.is_empty() && stored.keys().any(|origin| !manifests.names(origin)) {
        // A RunID that stands in the lines alone: their origin is of the manifest without one.
        let without = Manifests::read(search.manifests(&Question { run_id: "", ..question }).await?);
        let before = stored.len();
        stored.retain(|origin, _| manifests.names(origin) || !without.names(origin));
        elsewhere = before - stored.len();
    }
    let mut seen = HashMap::new();
    for scan in compare::plan(&manifests, &stored, sink).into_iter().take(scans_max) {
        let sequence = search.sequence(&scan.origin, scan.until, scan.every).await?;
        let columns = if scan.unlisted { search.columns(&scan.origin, &COLUMNS).await? } else { Value::Null };
        seen.insert(scan.origin, Seen { sequence, columns: texts(&columns) });
    }
    let mut verdict = compare::compare(run_id, sink, &manifests, &stored, &seen);
    if elsewhere > 0 {
        verdict.notes.push(format!(
            "{elsewhere} origins name this run in their lines only: verify --run-id '' holds them against their manifest"
        ));
    }
    Ok(verdict)
}

fn texts(columns: &Value) -> BTreeMap<String, String> {
    let members = columns.as_object().into_iter().flatten();
    members.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}
