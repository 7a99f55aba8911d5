//! What a workspace holds of a run, read back: exact figures only. It asks; what the answers mean is for `verify`.
//!
//! Azure Monitor stores a record twice where a delivery had to be repeated, so records are told apart by their EventID and
//! those that are there again are only counted. An answer has at most 500,000 rows and about 100 MB (Azure Monitor service
//! limits, log queries): what may be more is counted first and then asked for in parts, each far below that.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::Options;
use super::kql::{self, Part};
use super::workspace::{Failure, Workspace};
use crate::azure::credential;
use crate::sink::http;
use crate::sink::stored::{ManifestDocument, Question, ReadError, Sequence, Slice, StoredOrigin};

/// Manifest records of one part; each has about 1 KB.
const PART_MANIFESTS: u64 = 10_000;

/// Origins of one part; each is a row of about 150 bytes.
const PART_ORIGINS: u64 = 50_000;

/// Records that one part counts: what the service must hold in memory for it.
const PART_RECORDS: u64 = 5_000_000;

/// Most parts of one question; with more the run is too large to be read.
const PARTS_MAX: u64 = 4_096;

/// How much smaller parts become where one is larger than the service gives out.
const PARTS_FACTOR: u64 = 8;

/// Seq that are looked at together: even if every second one is missing, the spans stay under 500,000 rows.
const WINDOW_SEQS: u64 = 400_000;

/// Reads from the workspace behind one sink.
#[derive(Debug)]
pub struct Reader {
    workspace: Workspace,
}

impl Reader {
    /// Opens nothing on the network. Token requests go where [`credential::AUTHORITY_VARIABLE`] says, if it is set.
    ///
    /// # Errors
    /// No `workspace_id`, no name of a table, an endpoint that a token must not be sent to, a CA file, certificate or proxy
    /// that cannot be used.
    pub fn new(options: &Options, user_agent: &str) -> Result<Self, http::BuildError> {
        Self::with_authority(options, user_agent, credential::authority_from_environment()?)
    }

    /// The same, with an imitation of Entra and IMDS at a loopback URL.
    ///
    /// # Errors
    /// As [`Self::new`]; also where `authority` is no loopback URL.
    pub fn with_authority(
        options: &Options,
        user_agent: &str,
        authority: Option<Url>,
    ) -> Result<Self, http::BuildError> {
        let bad = |what: &'static str, reason: &str| http::BuildError::Value { what, reason: reason.to_owned() };
        let Some(id) = &options.workspace_id else {
            return Err(bad("workspace_id", "is missing: the id of the Log Analytics workspace behind the rule"));
        };
        let of_stream = options.stream.strip_prefix("Custom-").unwrap_or(&options.stream);
        let table = options.table.as_deref().unwrap_or(of_stream);
        if !kql::is_table_name(table) {
            return Err(bad("table", &format!("is missing: no table can be named {table} as the stream is")));
        }
        let workspace = Workspace::new(options, id, table, user_agent, authority)?;
        Ok(Reader { workspace })
    }

    /// Every manifest record of the run.
    ///
    /// # Errors
    /// The workspace cannot be reached, does not answer whole, or may not be read.
    pub async fn manifests(&self, question: &Question<'_>) -> Result<Vec<ManifestDocument>, ReadError> {
        let table = self.workspace.table();
        let count: Count = self.one(&kql::manifest_count(table, question)).await?;
        let parts = count.row_count.div_ceil(PART_MANIFESTS);
        let query = |part: Part| kql::manifests(table, question, part);
        let rows = self.in_parts(parts, count.row_count, query, |_: &ManifestRow| 1).await?;
        Ok(rows.into_iter().map(ManifestRow::document).collect())
    }

    /// How many records of each origin the run has, manifests apart; by origin.
    ///
    /// # Errors
    /// As [`Self::manifests`].
    pub async fn counts(&self, question: &Question<'_>) -> Result<Vec<StoredOrigin>, ReadError> {
        let table = self.workspace.table();
        let count: Count = self.one(&kql::record_count(table, question)).await?;
        let parts = count.origin_count.div_ceil(PART_ORIGINS).max(count.row_count.div_ceil(PART_RECORDS));
        let query = |part: Part| kql::counts(table, question, part);
        let mut rows = self.in_parts(parts, count.row_count, query, |row: &CountRow| row.row_count).await?;
        rows.sort_by(|a, b| (&a.origin, &a.vm_name).cmp(&(&b.origin, &b.vm_name)));
        let mut all: Vec<StoredOrigin> = Vec::new();
        for row in rows {
            let (slice, doubles) = (row.slice(), row.row_count.saturating_sub(row.record_count));
            match all.last_mut() {
                Some(stored) if stored.origin == row.origin => {
                    stored.slices.push(slice);
                    stored.doubles += doubles;
                }
                _ => all.push(StoredOrigin { origin: row.origin, vm_name: row.vm_name, slices: vec![slice], doubles }),
            }
        }
        Ok(all)
    }

    /// Which Seq of an origin are there, up to `until` and past it. `last`: the highest that the count has seen.
    ///
    /// # Errors
    /// As [`Self::manifests`].
    pub async fn sequence(&self, origin: &str, until: u64, last: u64) -> Result<Sequence, ReadError> {
        let mut sequence = Sequence::new(until);
        let table = self.workspace.table();
        let mut first = 1;
        while first <= last {
            let window_last = first.saturating_add(WINDOW_SEQS - 1);
            let spans: Vec<SpanRow> = self.workspace.rows(&kql::spans(table, origin, first, window_last)).await?;
            let is_empty = spans.is_empty();
            for span in spans {
                if span.last_seq < span.first_seq || span.first_seq < first || span.last_seq > window_last {
                    let reason = format!("the spans of Seq of {origin} are not those that were asked for");
                    return Err(ReadError { reason, passing: false });
                }
                if span.id_count == 1 {
                    sequence.take_all(span.first_seq, span.last_seq);
                } else {
                    (span.first_seq..=span.last_seq).for_each(|seq| sequence.take(seq, span.id_count));
                }
            }
            let Some(next) = window_last.checked_add(1) else { break };
            first = next;
            if is_empty && first <= last {
                // Over what may be a very long hole in one step.
                let found: NextRow = self.one(&kql::next_seq(table, origin, first)).await?;
                let Some(next) = found.first_seq else { break };
                first = first.max(next);
            }
        }
        Ok(sequence.finish())
    }

    /// The columns of one record of an origin; an empty object where there is none.
    ///
    /// # Errors
    /// As [`Self::manifests`].
    pub async fn columns(&self, origin: &str, columns: &[&str]) -> Result<Value, ReadError> {
        let query = kql::columns(self.workspace.table(), origin, columns);
        let rows: Vec<Value> = self.workspace.rows(&query).await?;
        Ok(rows.into_iter().next().unwrap_or_else(|| Value::Object(serde_json::Map::new())))
    }

    /// The row of a query that gives one; its default where the workspace has no data at all.
    async fn one<T: DeserializeOwned + Default>(&self, query: &str) -> Result<T, ReadError> {
        let rows: Vec<T> = self.workspace.rows(query).await?;
        Ok(rows.into_iter().next().unwrap_or_default())
    }

    /// All rows of a question that is asked in `parts`; in smaller ones where one is too large. `weight`: how many stored
    /// rows a row stands for; together no fewer than the `count` before, or a part has fallen between two queries.
    async fn in_parts<T: DeserializeOwned>(
        &self,
        parts: u64,
        count: u64,
        query: impl Fn(Part) -> String,
        weight: impl Fn(&T) -> u64,
    ) -> Result<Vec<T>, ReadError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut of = parts.max(1);
        loop {
            if of > PARTS_MAX {
                let reason = format!("{count} records of one run are more than can be read in {PARTS_MAX} parts");
                return Err(ReadError { reason, passing: false });
            }
            let Some(rows) = self.all_parts(of, &query).await? else {
                of = of.saturating_mul(PARTS_FACTOR);
                continue;
            };
            let found: u64 = rows.iter().map(&weight).sum();
            if found < count {
                let reason = format!("of {count} records that were counted the workspace gave {found}: ask again");
                return Err(ReadError { reason, passing: true });
            }
            return Ok(rows);
        }
    }

    /// `None`: one of the parts is too large, and more of them may help.
    async fn all_parts<T: DeserializeOwned>(
        &self,
        of: u64,
        query: &impl Fn(Part) -> String,
    ) -> Result<Option<Vec<T>>, ReadError> {
        let mut all = Vec::new();
        for number in 0..of {
            match self.workspace.rows(&query(Part { number, of })).await {
                Ok(rows) => all.extend(rows),
                Err(Failure::TooLarge(_)) if of.saturating_mul(PARTS_FACTOR) <= PARTS_MAX => return Ok(None),
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(Some(all))
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Count {
    row_count: u64,
    origin_count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestRow {
    event_type: String,
    origin: String,
    #[serde(rename = "VMName")]
    vm_name: String,
    fields: String,
}

impl ManifestRow {
    /// Fields that are no JSON are null: the comparison names a record that it cannot read.
    fn document(self) -> ManifestDocument {
        let fields = serde_json::from_str(&self.fields).unwrap_or_default();
        ManifestDocument { event_type: self.event_type, origin: self.origin, vm_name: self.vm_name, fields }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CountRow {
    origin: String,
    #[serde(rename = "VMName")]
    vm_name: String,
    row_count: u64,
    record_count: u64,
    /// Null where no record has a Seq.
    first_seq: Option<i64>,
    last_seq: Option<i64>,
    seq_sum: Option<i64>,
}

impl CountRow {
    fn slice(&self) -> Slice {
        let whole = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
        Slice {
            records: self.record_count,
            first_seq: whole(self.first_seq),
            last_seq: whole(self.last_seq),
            seq_sum: self.seq_sum.unwrap_or(0) as f64,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SpanRow {
    first_seq: u64,
    last_seq: u64,
    id_count: u64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NextRow {
    first_seq: Option<u64>,
}
