//! What the servers hold of a run, read back: exact figures only, no approximations and no partial answers. It asks;
//! what the answers mean is for `verify`. Of `Fields` only `_source` is used: not every server indexes it.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Options;
use super::endpoints::{Body, Effect, Endpoints, Reply, Request};
use crate::sink::http;
use crate::sink::stored::{ManifestDocument, Question, ReadError, Sequence, Slice, StoredOrigin};

/// Manifest records of one page; each has about 1 KB.
const MANIFESTS_PAGE: usize = 2_000;

/// Buckets of one page of counts; servers allow 65,536 in an answer, three levels included.
const COUNTS_PAGE: usize = 5_000;

/// How many Seq are looked at together.
const WINDOW_SEQS: u64 = 10_000;

/// Windows whose fill is asked for at once: 500 million records.
const WINDOWS_AT_ONCE: u64 = 50_000;

/// Pauses before a read that no server answered is asked again.
const READ_PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// Columns that are asked about, and that a server without our template keeps as text with a `.keyword` beside it.
const COLUMNS: [&str; 5] = ["RunID", "Origin", "EventType", "Source", "VMName"];

/// Reads from the servers of one sink.
#[derive(Debug)]
pub struct Reader {
    endpoints: Endpoints,
    pattern: String,
    /// The pattern is one name, so an index that is not there shows.
    fixed: bool,
}

/// An index that is there, freshly searchable.
#[derive(Debug)]
pub struct Search<'a> {
    reader: &'a Reader,
    /// Field to search by for each of [`COLUMNS`]; `None`: no document has it.
    fields: [Option<String>; COLUMNS.len()],
}

impl Reader {
    /// Builds the client; opens nothing on the network.
    ///
    /// # Errors
    /// As [`super::Elasticsearch::new`].
    pub fn new(options: &Options, user_agent: &str) -> Result<Self, http::BuildError> {
        Ok(Reader {
            endpoints: Endpoints::new(options, user_agent)?,
            pattern: options.index.pattern(),
            fixed: options.index.fixed().is_some(),
        })
    }

    /// Name or pattern of what is read, for messages.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Makes all that was stored searchable; `None` where there is no index yet.
    ///
    /// # Errors
    /// No server answers, or it refuses.
    pub async fn open(&self) -> Result<Option<Search<'_>>, ReadError> {
        let refresh = self.call(Method::POST, "_refresh", "", None).await?;
        match refresh.status.as_u16() {
            404 => return Ok(None),
            // Whoever may only read sees what the server has made searchable by itself, which takes it a second.
            403 => tracing::debug!(answer = refresh.describe(), "the index cannot be refreshed"),
            _ => drop(success(refresh)?),
        }
        let names: Vec<String> =
            COLUMNS.iter().flat_map(|name| [(*name).to_owned(), format!("{name}.keyword")]).collect();
        let query = format!("fields={}", names.join(","));
        let reply = self.call(Method::GET, "_field_caps", &query, None).await?;
        if reply.status.as_u16() == 404 {
            return Ok(None);
        }
        let caps: Value = read(&success(reply)?)?;
        let fields = COLUMNS.map(|name| field(&caps, name));
        Ok(Some(Search { reader: self, fields }))
    }

    async fn call(&self, method: Method, what: &str, query: &str, body: Option<Value>) -> Result<Reply, ReadError> {
        let path = [self.pattern.as_str(), what];
        let body = body.as_ref().map(Body::json);
        let request = Request { method, path: &path, query, body, effect: Effect::Repeatable };
        let mut pauses = READ_PAUSES.iter();
        loop {
            match (self.endpoints.call(&request).await, pauses.next()) {
                (Ok(reply), _) => return Ok(reply),
                (Err(failure), None) => return Err(ReadError { reason: failure.to_string(), passing: true }),
                // A connection that was kept may be closed just as it is used again.
                (Err(failure), Some(pause)) => {
                    tracing::debug!(%failure, "a read is asked again");
                    tokio::time::sleep(*pause).await;
                }
            }
        }
    }

    async fn search<T: for<'de> Deserialize<'de>>(&self, body: Value) -> Result<T, ReadError> {
        #[derive(Deserialize)]
        struct Whole {
            #[serde(default)]
            timed_out: bool,
        }
        // A closed index of a fixed name is an error; of a pattern the open ones are read.
        let query = if self.fixed {
            "allow_partial_search_results=false"
        } else {
            "allow_partial_search_results=false&ignore_unavailable=true"
        };
        let reply = success(self.call(Method::POST, "_search", query, Some(body)).await?)?;
        let whole: Whole = read(&reply)?;
        if whole.timed_out {
            return Err(ReadError { reason: format!("{}: the search took too long", reply.endpoint), passing: true });
        }
        read(&reply)
    }
}

/// The field by which exact values of a column are found.
fn field(caps: &Value, column: &str) -> Option<String> {
    let keyword = format!("{column}.keyword");
    [column, &keyword]
        .into_iter()
        .find(|name| {
            let kinds = caps.get("fields").and_then(|fields| fields.get(name)).and_then(Value::as_object);
            kinds.is_some_and(|kinds| {
                let mut known = kinds.iter().filter(|(kind, _)| *kind != "unmapped").peekable();
                known.peek().is_some() && known.all(|(_, caps)| caps.get("aggregatable") == Some(&Value::Bool(true)))
            })
        })
        .map(str::to_owned)
}

fn success(reply: Reply) -> Result<Reply, ReadError> {
    if reply.status.is_success() {
        return Ok(reply);
    }
    let status = reply.status.as_u16();
    let advice = match status {
        401 => ": the credentials are not accepted",
        403 => ": these credentials must be allowed to read the index (privileges read and view_index_metadata)",
        _ => "",
    };
    Err(ReadError { reason: format!("{}{advice}", reply.describe()), passing: matches!(status, 408 | 429 | 500..) })
}

fn read<T: for<'de> Deserialize<'de>>(reply: &Reply) -> Result<T, ReadError> {
    serde_json::from_slice(&reply.body).map_err(|error| ReadError {
        reason: format!("{}: the answer cannot be read ({error})", reply.endpoint),
        passing: false,
    })
}

impl Search<'_> {
    fn field(&self, column: &str) -> Option<&str> {
        let at = COLUMNS.iter().position(|name| *name == column)?;
        self.fields.get(at)?.as_deref()
    }

    /// Query of what belongs to the run, and is ours or is not.
    fn of_run(&self, question: &Question<'_>, own: bool) -> Option<Value> {
        let mut filter = Vec::new();
        let mut must_not = Vec::new();
        match (self.field("RunID"), question.run_id.is_empty()) {
            (Some(field), false) => filter.push(json!({"term": {field: question.run_id}})),
            (Some(field), true) => must_not.push(json!({"exists": {"field": field}})),
            (None, false) => return None,
            (None, true) => {}
        }
        let source = self.field("Source").map(|field| json!({"term": {field: question.own_source}}));
        match (source, own) {
            (Some(source), true) => {
                filter.push(source);
                filter.push(json!({"terms": {self.field("EventType")?: question.manifest_events}}));
            }
            (None, true) => return None,
            (Some(source), false) => must_not.push(source),
            (None, false) => {}
        }
        Some(json!({"bool": {"filter": filter, "must_not": must_not}}))
    }

    /// Every manifest record of the run.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub async fn manifests(&self, question: &Question<'_>) -> Result<Vec<ManifestDocument>, ReadError> {
        let (Some(query), Some(origin)) = (self.of_run(question, true), self.field("Origin")) else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        let mut after: Option<Value> = None;
        loop {
            // A record that is there twice may be skipped at the end of a page: once is enough here.
            let mut body = json!({
                "size": MANIFESTS_PAGE, "track_total_hits": false, "query": query,
                "sort": [{origin: "asc"}, {"Seq": "asc"}],
                "_source": ["EventType", "Origin", "VMName", "Fields"],
            });
            if let (Some(after), Some(body)) = (after.take(), body.as_object_mut()) {
                body.insert("search_after".to_owned(), after);
            }
            let page: Page = self.reader.search(body).await?;
            let hits = page.hits.hits;
            let full = hits.len() == MANIFESTS_PAGE;
            after = hits.last().map(|hit| hit.sort.clone());
            all.extend(hits.into_iter().map(|hit| hit.source).map(|source| ManifestDocument {
                event_type: source.event_type,
                origin: source.origin,
                vm_name: source.vm_name,
                fields: source.fields,
            }));
            if !full {
                return Ok(all);
            }
        }
    }

    /// How many documents of each origin the run has, manifests apart; by origin.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub async fn counts(&self, question: &Question<'_>) -> Result<Vec<StoredOrigin>, ReadError> {
        let (Some(query), Some(origin)) = (self.of_run(question, false), self.field("Origin")) else {
            return Ok(Vec::new());
        };
        let mut sources = vec![json!({"origin": {"terms": {"field": origin}}})];
        if let Some(vm) = self.field("VMName") {
            sources.push(json!({"vm": {"terms": {"field": vm, "missing_bucket": true}}}));
        }
        sources.push(json!({"index": {"terms": {"field": "_index"}}}));
        let mut all: Vec<StoredOrigin> = Vec::new();
        let mut after: Option<Value> = None;
        loop {
            let mut composite = json!({"size": COUNTS_PAGE, "sources": sources});
            if let (Some(after), Some(composite)) = (after.take(), composite.as_object_mut()) {
                composite.insert("after".to_owned(), after);
            }
            let aggregations = json!({"found": {"composite": composite, "aggs": {"seq": {"stats": {"field": "Seq"}}}}});
            let body = json!({"size": 0, "track_total_hits": false, "query": query, "aggs": aggregations});
            let answer: Answer<Composite<CountKey>> = self.reader.search(body).await?;
            let Some(Found { found }) = answer.aggregations else { return Ok(all) };
            let full = found.buckets.len() == COUNTS_PAGE;
            for bucket in found.buckets {
                take_bucket(&mut all, bucket);
            }
            after = found.after_key;
            if !full || after.is_none() {
                return Ok(all);
            }
        }
    }

    /// Which Seq of an origin are there, up to `until` and past it. `every`: looks at each window of Seq, also at
    /// those that are as full as they should be, since one that is there twice may hide one that is missing.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub async fn sequence(&self, origin: &str, until: u64, every: bool) -> Result<Sequence, ReadError> {
        let mut sequence = Sequence::new(until);
        let Some(field) = self.field("Origin") else { return Ok(sequence.finish()) };
        let of_origin = json!({"term": {field: origin}});
        let mut from = 0;
        loop {
            let span = WINDOWS_AT_ONCE * WINDOW_SEQS;
            let windows = self.windows(&of_origin, from, from.saturating_add(span)).await?;
            for (start, records) in windows {
                let (first, last) = (start, start + WINDOW_SEQS - 1);
                if records == WINDOW_SEQS && !every && first > 0 {
                    sequence.take_all(first, last);
                } else {
                    self.look(&of_origin, first, last, &mut sequence).await?;
                }
            }
            from = from.saturating_add(span);
            if from == u64::MAX || self.windows_above(&of_origin, from).await? == 0 {
                return Ok(sequence.finish());
            }
        }
    }

    /// Start and fill of each window that is not empty, rising.
    async fn windows(&self, of_origin: &Value, from: u64, to: u64) -> Result<Vec<(u64, u64)>, ReadError> {
        let body = json!({
            "size": 0, "track_total_hits": false,
            "query": {"bool": {"filter": [of_origin, {"range": {"Seq": {"gte": from, "lt": to}}}]}},
            "aggs": {"found": {"histogram": {"field": "Seq", "interval": WINDOW_SEQS, "min_doc_count": 1}}},
        });
        let answer: Answer<Histogram> = self.reader.search(body).await?;
        let buckets = answer.aggregations.map(|found| found.found.buckets).unwrap_or_default();
        Ok(buckets.into_iter().map(|bucket| (bucket.key as u64, bucket.doc_count)).collect())
    }

    async fn windows_above(&self, of_origin: &Value, from: u64) -> Result<usize, ReadError> {
        let body = json!({
            "size": 1, "track_total_hits": false, "_source": false,
            "query": {"bool": {"filter": [of_origin, {"range": {"Seq": {"gte": from}}}]}},
        });
        let page: Page = self.reader.search(body).await?;
        Ok(page.hits.hits.len())
    }

    async fn look(&self, of_origin: &Value, from: u64, to: u64, sequence: &mut Sequence) -> Result<(), ReadError> {
        let body = json!({
            "size": 0, "track_total_hits": false,
            "query": {"bool": {"filter": [of_origin, {"range": {"Seq": {"gte": from, "lte": to}}}]}},
            "aggs": {"found": {"composite": {"size": WINDOW_SEQS, "sources": [{"seq": {"terms": {"field": "Seq"}}}]}}},
        });
        let answer: Answer<Composite<SeqKey>> = self.reader.search(body).await?;
        let buckets = answer.aggregations.map(|found| found.found.buckets).unwrap_or_default();
        for bucket in buckets {
            sequence.take(bucket.key.seq, bucket.doc_count);
        }
        Ok(())
    }

    /// The columns of one document of an origin; an empty object where there is none.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub async fn columns(&self, origin: &str, columns: &[&str]) -> Result<Value, ReadError> {
        let Some(field) = self.field("Origin") else { return Ok(json!({})) };
        let query = json!({"term": {field: origin}});
        let body = json!({"size": 1, "track_total_hits": false, "query": query, "_source": columns});
        let mut answer: Value = self.reader.search(body).await?;
        let source = answer.pointer_mut("/hits/hits/0/_source").map(Value::take);
        Ok(source.unwrap_or_else(|| json!({})))
    }
}

/// Buckets of one origin follow each other.
fn take_bucket(all: &mut Vec<StoredOrigin>, bucket: Bucket<CountKey>) {
    let CountKey { origin, vm } = bucket.key;
    let vm = vm.unwrap_or_default();
    let whole = |number: Option<f64>| number.unwrap_or(0.0).max(0.0) as u64;
    let seq = bucket.seq.unwrap_or_default();
    let slice = Slice {
        records: bucket.doc_count,
        first_seq: whole(seq.min),
        last_seq: whole(seq.max),
        seq_sum: seq.sum.unwrap_or(0.0),
    };
    match all.last_mut() {
        Some(stored) if stored.origin == origin => stored.slices.push(slice),
        _ => all.push(StoredOrigin { origin, vm_name: vm, slices: vec![slice], doubles: 0 }),
    }
}

#[derive(Deserialize)]
struct Page {
    hits: Hits,
}

#[derive(Deserialize)]
struct Hits {
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "_source", default)]
    source: Source,
    #[serde(default)]
    sort: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Source {
    #[serde(rename = "EventType")]
    event_type: String,
    #[serde(rename = "Origin")]
    origin: String,
    #[serde(rename = "VMName")]
    vm_name: String,
    #[serde(rename = "Fields")]
    fields: Value,
}

#[derive(Deserialize)]
struct Answer<T> {
    aggregations: Option<Found<T>>,
}

#[derive(Deserialize)]
struct Found<T> {
    found: T,
}

#[derive(Deserialize)]
struct Composite<K> {
    buckets: Vec<Bucket<K>>,
    after_key: Option<Value>,
}

#[derive(Deserialize)]
struct Bucket<K> {
    key: K,
    doc_count: u64,
    seq: Option<Stats>,
}

#[derive(Default, Deserialize)]
struct Stats {
    min: Option<f64>,
    max: Option<f64>,
    sum: Option<f64>,
}

#[derive(Deserialize)]
struct CountKey {
    origin: String,
    vm: Option<String>,
}

#[derive(Deserialize)]
struct SeqKey {
    seq: u64,
}

#[derive(Deserialize)]
struct Histogram {
    buckets: Vec<HistogramBucket>,
}

#[derive(Deserialize)]
struct HistogramBucket {
    key: f64,
    doc_count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_searched_by_the_field_that_holds_exact_values() {
        let check = |caps: Value, expected: Option<&str>| {
            assert_eq!(field(&json!({"fields": caps}), "Origin").as_deref(), expected, "{caps}");
        };
        let keyword = json!({"keyword": {"aggregatable": true}});
        let text = json!({"text": {"aggregatable": false}});
        check(json!({"Origin": keyword}), Some("Origin"));
        check(
            json!({"Origin": {"keyword": {"aggregatable": true}, "unmapped": {"aggregatable": false}}}),
            Some("Origin"),
        );
        check(json!({"Origin": text, "Origin.keyword": keyword}), Some("Origin.keyword"));
        check(json!({"Origin": text}), None);
        check(json!({}), None);
    }
}
