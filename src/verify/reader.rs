//! Asks a sink for what the comparison needs: manifests, counts, then the origins that these leave in doubt.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::compare::{self, Scan, Seen, Verdict};
use super::manifest::Manifests;
use crate::manifest::{EVENT_ORIGIN, EVENT_SUMMARY, SOURCE};
use crate::sink::stored::{ManifestDocument, Question, ReadError, Sequence, StoredOrigin};
use crate::sink::{azure_monitor, elasticsearch};

/// Most origins that are looked through for one verdict; of others only the count is known.
pub const SCANS_MAX: usize = 1_000;

/// Columns that say what an origin is.
const COLUMNS: [&str; 6] = ["VMName", "TaskID", "Source", "FilePath", "Container", "Stream"];

/// Azure Monitor answers queries from what it has stored, minutes after it took it.
const LAG: &str = "Azure Monitor shows records some minutes after it took them, up to 15 where the table is new: \
                   --wait 15m reads again until it is equal";

/// A sink that can be read.
#[derive(Debug)]
pub enum Reader {
    Elasticsearch(elasticsearch::Reader),
    AzureMonitor(azure_monitor::Reader),
}

/// A sink that is being read.
enum Search<'a> {
    Elasticsearch(elasticsearch::Search<'a>),
    AzureMonitor(&'a azure_monitor::Reader),
}

impl Reader {
    /// `None` where there is nothing yet that could be read.
    async fn open(&self) -> Result<Option<Search<'_>>, ReadError> {
        match self {
            Reader::Elasticsearch(reader) => Ok(reader.open().await?.map(Search::Elasticsearch)),
            Reader::AzureMonitor(reader) => Ok(Some(Search::AzureMonitor(reader))),
        }
    }

    /// What is to be said where [`Self::open`] has found nothing.
    fn nothing_there(&self) -> Option<String> {
        match self {
            Reader::Elasticsearch(reader) => Some(format!("there is no index {}", reader.pattern())),
            Reader::AzureMonitor(_) => None,
        }
    }

    /// Why a record that was delivered may not be there yet.
    fn lag(&self) -> Option<&'static str> {
        match self {
            Reader::Elasticsearch(_) => None,
            Reader::AzureMonitor(_) => Some(LAG),
        }
    }
}

impl Search<'_> {
    async fn manifests(&self, question: &Question<'_>) -> Result<Vec<ManifestDocument>, ReadError> {
        match self {
            Search::Elasticsearch(search) => search.manifests(question).await,
            Search::AzureMonitor(reader) => reader.manifests(question).await,
        }
    }

    async fn counts(&self, question: &Question<'_>) -> Result<Vec<StoredOrigin>, ReadError> {
        match self {
            Search::Elasticsearch(search) => search.counts(question).await,
            Search::AzureMonitor(reader) => reader.counts(question).await,
        }
    }

    async fn sequence(&self, scan: &Scan, held: Option<&StoredOrigin>) -> Result<Sequence, ReadError> {
        match self {
            Search::Elasticsearch(search) => search.sequence(&scan.origin, scan.until, scan.every).await,
            Search::AzureMonitor(reader) => {
                let last = held.map_or(0, StoredOrigin::last_seq);
                reader.sequence(&scan.origin, scan.until, last).await
            }
        }
    }

    async fn columns(&self, origin: &str) -> Result<Value, ReadError> {
        match self {
            Search::Elasticsearch(search) => search.columns(origin, &COLUMNS).await,
            Search::AzureMonitor(reader) => reader.columns(origin, &COLUMNS).await,
        }
    }
}

/// The verdict on one run, from what the sink holds now. `scans_max`: how many origins may be looked through; with
/// fewer a verdict that is not equal names less.
///
/// # Errors
/// The sink cannot be reached, or may not be read.
pub async fn take(reader: &Reader, run_id: &str, sink: &str, scans_max: usize) -> Result<Verdict, ReadError> {
    let question = Question { run_id, own_source: SOURCE, manifest_events: &[EVENT_ORIGIN, EVENT_SUMMARY] };
    let Some(search) = reader.open().await? else {
        let mut verdict = compare::compare(run_id, sink, &Manifests::default(), &BTreeMap::new(), &HashMap::new());
        verdict.notes.extend(reader.nothing_there());
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
        let sequence = search.sequence(&scan, stored.get(&scan.origin)).await?;
        let columns = if scan.unlisted { search.columns(&scan.origin).await? } else { Value::Null };
        seen.insert(scan.origin, Seen { sequence, columns: texts(&columns) });
    }
    let mut verdict = compare::compare(run_id, sink, &manifests, &stored, &seen);
    if elsewhere > 0 {
        verdict.notes.push(format!(
            "{elsewhere} origins name this run in their lines only: verify --run-id '' holds them against their manifest"
        ));
    }
    if !verdict.equal {
        verdict.notes.extend(reader.lag().map(str::to_owned));
    }
    Ok(verdict)
}

fn texts(columns: &Value) -> BTreeMap<String, String> {
    let members = columns.as_object().into_iter().flatten();
    members.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}
