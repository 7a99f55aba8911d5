//! Reading a whole index back.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::engine::Engine;

/// Documents of one page.
const PAGE: usize = 10_000;

/// The documents that match a query, without the manifests that logferry writes itself.
fn of_sources(query: Value) -> Value {
    json!({ "bool": { "must": [query], "must_not": [{ "term": { "Source": "logferry" } }] } })
}

/// The manifest documents of one run and EventType, in the order of `Origin` and `Seq`.
pub async fn manifests(engine: &Engine, index: &str, run: &str, event: &str) -> Vec<Value> {
    let query = json!({ "bool": { "filter": [{ "term": { "RunID": run } }, { "term": { "EventType": event } }] } });
    sorted(engine, index, query).await
}

/// How many documents match a query, without manifests.
pub async fn count(engine: &Engine, index: &str, query: Value) -> u64 {
    let query = of_sources(query);
    let (status, _) = engine.call("POST", &format!("{index}/_refresh"), None).await;
    if status == 404 {
        return 0;
    }
    let answer = engine.ok("POST", &format!("{index}/_count"), Some(json!({ "query": query }))).await;
    answer["count"].as_u64().expect("a count")
}

/// Every document that matches, without manifests, in the order of `Origin` and `Seq`.
pub async fn documents(engine: &Engine, index: &str, query: Value) -> Vec<Value> {
    sorted(engine, index, of_sources(query)).await
}

async fn sorted(engine: &Engine, index: &str, query: Value) -> Vec<Value> {
    engine.ok("POST", &format!("{index}/_refresh"), None).await;
    let mut all = Vec::new();
    let mut after: Option<Value> = None;
    loop {
        let mut body = json!({ "query": query, "size": PAGE, "sort": [{ "Origin": "asc" }, { "Seq": "asc" }] });
        if let Some(after) = &after {
            body["search_after"] = after.clone();
        }
        let answer = engine.ok("POST", &format!("{index}/_search"), Some(body)).await;
        let hits = answer["hits"]["hits"].as_array().expect("hits").clone();
        let full = hits.len() == PAGE;
        after = hits.last().map(|hit| hit["sort"].clone());
        all.extend(hits.into_iter().map(|mut hit| hit["_source"].take()));
        if !full {
            return all;
        }
    }
}

/// How often each message stands in the documents.
pub fn messages(documents: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for document in documents {
        *counts.entry(document["Message"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    counts
}

/// Asserts that exactly these messages stand there, each once; names the first that do not.
pub fn assert_each_once(documents: &[Value], expected: impl IntoIterator<Item = String>) {
    let mut found = messages(documents);
    let mut missing = Vec::new();
    for message in expected {
        if found.remove(&message).is_none() {
            missing.push(message);
        } else {
            continue;
        }
    }
    let counts = messages(documents);
    let doubled: Vec<_> = counts.iter().filter(|(_, n)| **n > 1).take(5).collect();
    let extra: Vec<_> = found.keys().take(5).collect();
    assert!(
        missing.is_empty() && doubled.is_empty() && extra.is_empty(),
        "{} missing: {:?}; twice: {doubled:?}; not expected: {extra:?}",
        missing.len(),
        missing.iter().take(5).collect::<Vec<_>>()
    );
}
