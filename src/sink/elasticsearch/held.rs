//! Which records the sink holds already, after an attempt whose outcome is unknown.
//!
//! A plain index refuses an id that it holds, so nothing has to be asked. A data stream keeps ids for each backing index
//! only: a record that arrived in one is stored again by the next one after a rollover. So the write index is noted
//! before a batch is first sent; after a lost answer the backing indices from the noted one on are asked for the ids.
//! The newest is asked too, though it would refuse them: it could be rolled over before the batch is sent again.

use reqwest::Method;
use serde::Deserialize;

use super::Elasticsearch;
use super::endpoints::{Body, Effect, Failure, Reply, Request};
use crate::record::EventId;
use crate::sink::{Asked, SendOutcome};

/// Most ids in one question; 150 KB of request, 250 KB of answer.
const ASK_IDS: usize = 5_000;

/// Backing indices of data streams begin so, on Elasticsearch and on OpenSearch.
const BACKING_PREFIX: &str = ".ds-";

/// A concrete index behind a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Concrete {
    /// Milliseconds since 1970.
    created: u64,
    name: String,
}

/// Why the indices behind a name are not known.
#[derive(Debug)]
enum Unread {
    /// We may not look, or the server has no such question.
    Refused(String),
    /// It may answer later.
    Failed(Box<SendOutcome>),
}

pub(super) async fn note(sink: &Elasticsearch) -> Result<Vec<u8>, SendOutcome> {
    let Some(name) = sink.index.fixed() else { return Ok(Vec::new()) };
    if let Some(known) = sink.known_write_index() {
        return Ok(known.as_bytes().to_vec());
    }
    let behind = match behind(sink, name).await {
        Ok(behind) => behind,
        Err(Unread::Refused(reason)) => {
            tracing::debug!(index = name, reason, "the write index cannot be read");
            return Ok(Vec::new());
        }
        Err(Unread::Failed(outcome)) => return Err(*outcome),
    };
    let Some(newest) = behind.last() else { return Ok(Vec::new()) };
    let mut current = newest.name.clone();
    if behind.len() > 1 && !current.starts_with(BACKING_PREFIX) {
        current = alias_write_index(sink, name).await?.unwrap_or(current);
    }
    sink.learn(Some(&current));
    Ok(current.into_bytes())
}

pub(super) async fn ask(sink: &Elasticsearch, ids: &[EventId], note: &[u8]) -> Asked {
    let Some(name) = sink.index.fixed() else { return Asked::SafeToSend };
    if ids.is_empty() || note == name.as_bytes() {
        return Asked::SafeToSend;
    }
    let behind = match behind(sink, name).await {
        Ok(behind) => behind,
        Err(Unread::Refused(reason)) => return Asked::CannotTell { reason },
        Err(Unread::Failed(outcome)) => return Asked::Failed { reason: format!("{name}: {}", reason_of(*outcome)) },
    };
    let noted = std::str::from_utf8(note).unwrap_or_default();
    let indices = to_search(name, &behind, noted);
    if indices.is_empty() {
        return Asked::SafeToSend;
    }
    match search(sink, &indices, ids).await {
        // It has not been rolled over: what it holds it refuses.
        Asked::CannotTell { .. } if indices == [noted] => Asked::SafeToSend,
        asked => asked,
    }
}

/// The indices that may hold a record of a batch that was first sent when `noted` was written to, newest first.
/// Empty where none can: a plain index refuses what it holds.
fn to_search<'a>(name: &str, behind: &'a [Concrete], noted: &'a str) -> Vec<&'a str> {
    if behind.is_empty() || matches!(behind, [only] if only.name == name) {
        return Vec::new();
    }
    let since = behind.iter().find(|index| index.name == noted);
    let mut indices: Vec<&str> = behind
        .iter()
        .rev()
        .filter(|index| since.is_none_or(|since| *index >= since))
        .map(|index| index.name.as_str())
        .collect();
    // Where the noted index left the stream (shrunk, restored under another name, deleted) all are asked, and itself.
    if since.is_none() && !noted.is_empty() {
        indices.push(noted);
    }
    indices
}

/// The concrete indices behind a name, oldest first; none where it does not exist.
async fn behind(sink: &Elasticsearch, name: &str) -> Result<Vec<Concrete>, Unread> {
    let request = Request {
        method: Method::GET,
        path: &[name, "_settings", "index.creation_date"],
        query: "flat_settings=true",
        body: None,
        effect: Effect::Repeatable,
    };
    let reply = sink.endpoints.call(&request).await.map_err(failed)?;
    match reply.status.as_u16() {
        200 => read_behind(&reply.body).map_err(|reason| {
            Unread::Failed(Box::new(SendOutcome::NotSent { reason: format!("{}: {reason}", reply.endpoint) }))
        }),
        404 => Ok(Vec::new()),
        _ => Err(unread(&reply)),
    }
}

fn read_behind(body: &[u8]) -> Result<Vec<Concrete>, String> {
    #[derive(Deserialize)]
    struct Index {
        settings: Settings,
    }
    #[derive(Deserialize)]
    struct Settings {
        #[serde(rename = "index.creation_date")]
        created: String,
    }
    let indices: std::collections::BTreeMap<String, Index> =
        serde_json::from_slice(body).map_err(|error| format!("the settings of the index cannot be read ({error})"))?;
    let mut behind: Vec<Concrete> = indices
        .into_iter()
        .map(|(name, index)| Concrete { created: index.settings.created.parse().unwrap_or(0), name })
        .collect();
    behind.sort();
    Ok(behind)
}

/// The index that an alias writes to, where it says so.
async fn alias_write_index(sink: &Elasticsearch, name: &str) -> Result<Option<String>, SendOutcome> {
    #[derive(Deserialize)]
    struct Index {
        #[serde(default)]
        aliases: std::collections::BTreeMap<String, Alias>,
    }
    #[derive(Deserialize)]
    struct Alias {
        #[serde(default)]
        is_write_index: bool,
    }
    let request = Request {
        method: Method::GET,
        path: &["_alias", name],
        query: "filter_path=*.aliases.*.is_write_index",
        body: None,
        effect: Effect::Repeatable,
    };
    let reply = sink.endpoints.call(&request).await.map_err(Failure::into_outcome)?;
    if !reply.status.is_success() {
        return Ok(None);
    }
    let indices: std::collections::BTreeMap<String, Index> = serde_json::from_slice(&reply.body).unwrap_or_default();
    Ok(indices
        .into_iter()
        .find(|(_, index)| index.aliases.get(name).is_some_and(|alias| alias.is_write_index))
        .map(|(index, _)| index))
}

/// Asks each index for the ids that no earlier one holds.
async fn search(sink: &Elasticsearch, indices: &[&str], ids: &[EventId]) -> Asked {
    let mut holds = vec![false; ids.len()];
    for index in indices {
        let mut missing: Vec<(usize, EventId)> = Vec::new();
        missing.extend(ids.iter().copied().enumerate().filter(|(at, _)| !holds.get(*at).copied().unwrap_or(true)));
        for chunk in missing.chunks(ASK_IDS) {
            let found = match ask_index(sink, index, chunk).await {
                Ok(found) => found,
                Err(asked) => return asked,
            };
            for (&(at, _), found) in chunk.iter().zip(found) {
                if let Some(hold) = holds.get_mut(at) {
                    *hold = found;
                }
            }
        }
    }
    Asked::Holds(holds)
}

/// Whether `index` holds each of these ids; a read by id sees what is not searchable yet.
async fn ask_index(sink: &Elasticsearch, index: &str, ids: &[(usize, EventId)]) -> Result<Vec<bool>, Asked> {
    let texts: Vec<String> = ids.iter().map(|(_, id)| id.to_string()).collect();
    let request = Request {
        method: Method::POST,
        path: &[index, "_mget"],
        query: "_source=false&filter_path=docs._id,docs.found,docs.error.type",
        body: Some(Body::json(&serde_json::json!({ "ids": texts }))),
        effect: Effect::Repeatable,
    };
    let reply = sink.endpoints.call(&request).await.map_err(|e| Asked::Failed { reason: e.to_string() })?;
    match reply.status.as_u16() {
        200 => read_found(&reply.body, &texts, index),
        404 => Ok(vec![false; ids.len()]),
        _ => Err(match unread(&reply) {
            Unread::Refused(reason) => Asked::CannotTell { reason },
            Unread::Failed(outcome) => Asked::Failed { reason: reason_of(*outcome) },
        }),
    }
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    docs: Vec<FoundDoc>,
}

#[derive(Deserialize)]
struct FoundDoc {
    #[serde(rename = "_id", default)]
    id: String,
    #[serde(default)]
    found: bool,
    error: Option<FoundError>,
}

#[derive(Deserialize)]
struct FoundError {
    #[serde(rename = "type", default)]
    kind: String,
}

fn read_found(body: &[u8], ids: &[String], index: &str) -> Result<Vec<bool>, Asked> {
    let failed = |reason: String| Asked::Failed { reason: format!("{index} was asked for ids: {reason}") };
    let answer: Found =
        serde_json::from_slice(body).map_err(|error| failed(format!("the answer cannot be read ({error})")))?;
    if answer.docs.len() != ids.len() {
        return Err(failed(format!("{} of {} were answered", answer.docs.len(), ids.len())));
    }
    let mut found = Vec::with_capacity(ids.len());
    for (doc, id) in answer.docs.iter().zip(ids) {
        match doc.error.as_ref().map(|error| error.kind.as_str()) {
            None if doc.id == *id => found.push(doc.found),
            None => return Err(failed("the answers are in another order".to_owned())),
            Some("index_not_found_exception") => found.push(false),
            Some(kind @ ("security_exception" | "index_closed_exception")) => {
                return Err(Asked::CannotTell { reason: format!("{index} cannot be read: {kind}") });
            }
            Some(kind) => return Err(failed(kind.to_owned())),
        }
    }
    Ok(found)
}

/// A question that was answered, but not with what was asked.
fn unread(reply: &Reply) -> Unread {
    let status = reply.status.as_u16();
    // A redirect says nothing about our rights: something stands between us and the server.
    if (300..400).contains(&status) || status == 408 || status == 429 || status >= 500 {
        Unread::Failed(Box::new(reply.refused()))
    } else {
        Unread::Refused(reply.describe())
    }
}

/// A question that may have arrived has changed nothing.
fn failed(failure: Failure) -> Unread {
    Unread::Failed(Box::new(SendOutcome::NotSent { reason: failure.to_string() }))
}

fn reason_of(outcome: SendOutcome) -> String {
    match outcome {
        SendOutcome::Refused { reason, .. } | SendOutcome::Unknown { reason } | SendOutcome::NotSent { reason } => {
            reason
        }
        SendOutcome::Accepted | SendOutcome::Items(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concrete(created: u64, name: &str) -> Concrete {
        Concrete { created, name: name.to_owned() }
    }

    #[test]
    fn the_indices_to_search_are_those_that_may_have_taken_the_batch() {
        let stream = [concrete(1, ".ds-s-1"), concrete(2, ".ds-s-2"), concrete(3, ".ds-s-3")];
        let check = |behind: &[Concrete], noted: &str, expected: &[&str]| {
            assert_eq!(to_search("s", behind, noted), expected, "noted {noted:?}");
        };
        check(&[], "", &[]);
        check(&[], ".ds-s-1", &[]);
        check(&[concrete(1, "s")], "", &[]);
        check(&[concrete(1, "s")], ".ds-s-1", &[]);
        check(&stream, ".ds-s-3", &[".ds-s-3"]);
        check(&stream, ".ds-s-2", &[".ds-s-3", ".ds-s-2"]);
        check(&stream, "", &[".ds-s-3", ".ds-s-2", ".ds-s-1"]);
        check(&stream, ".ds-s-0", &[".ds-s-3", ".ds-s-2", ".ds-s-1", ".ds-s-0"]);
        check(&stream[..1], ".ds-s-1", &[".ds-s-1"]);
    }

    #[test]
    fn indices_are_ordered_by_their_age_not_by_their_name() {
        let body =
            br#"{"b":{"settings":{"index.creation_date":"100"}},"a":{"settings":{"index.creation_date":"2000"}}}"#;
        assert_eq!(read_behind(body), Ok(vec![concrete(100, "b"), concrete(2000, "a")]));
        assert!(read_behind(b"<html>").is_err());
    }

    #[test]
    fn an_answer_about_ids_counts_only_where_each_id_is_answered() {
        let ids = ["a".to_owned(), "b".to_owned()];
        let check =
            |body: &str, expected: Result<Vec<bool>, &str>| match (read_found(body.as_bytes(), &ids, "i"), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{body}"),
                (Err(Asked::Failed { reason } | Asked::CannotTell { reason }), Err(expected)) => {
                    assert!(reason.contains(expected), "{body}: {reason}");
                }
                (got, _) => panic!("{body}: {got:?}"),
            };
        check(r#"{"docs":[{"_id":"a","found":true},{"_id":"b","found":false}]}"#, Ok(vec![true, false]));
        check(r#"{"docs":[{"_id":"a","found":true}]}"#, Err("1 of 2"));
        check(r#"{"docs":[{"_id":"b","found":true},{"_id":"a","found":false}]}"#, Err("order"));
        check(
            r#"{"docs":[{"_id":"a","error":{"type":"index_not_found_exception"}},{"_id":"b","found":true}]}"#,
            Ok(vec![false, true]),
        );
        check(
            r#"{"docs":[{"_id":"a","error":{"type":"security_exception"}},{"_id":"b","found":true}]}"#,
            Err("cannot be read"),
        );
        check(r#"{"docs":[{"_id":"a","error":{"type":"no_shard"}},{"_id":"b","found":true}]}"#, Err("no_shard"));
        check("{}", Err("0 of 2"));
        check("<html>", Err("cannot be read"));
    }
}
