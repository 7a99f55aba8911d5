//! The index template: installed once, so that clashing types are no refused records. Never touches one that is there.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::endpoints::{Body, Effect, Failure, Reply, Request};
use super::{Elasticsearch, IndexName};
use crate::record::column::{AzureType, COLUMNS};
use crate::record::{rule, time};
use crate::sink::SendOutcome;

/// Lowest priority of our template. Those that Elasticsearch brings along (`logs-*-*`) have 100.
pub const PRIORITY_MIN: u64 = 200;

/// Stands in the template's `_meta`, raised with each change of the mapping.
pub const TEMPLATE_VERSION: u32 = 2;

/// Longest string that is indexed as a keyword, in characters; Lucene takes terms of 32,766 bytes.
/// A longer one is stored and shown, but not found by its value.
const KEYWORD_MAX_CHARS: u32 = 8_191;

/// The same for a value under `Fields`, whose term holds the path too.
const FIELDS_MAX_CHARS: u32 = 4_096;

/// How deep `Fields` may nest before Elasticsearch refuses the record; its default is 20.
const FIELDS_DEPTH_MAX: u32 = 100;

/// Under which name a column of the user's own that holds numbers can be summed.
const OWN_NUMBER: &str = "number";

/// Names that Kibana's log views look for, and our columns behind them.
const ALIASES: [(&str, &str); 4] =
    [("message", "Message"), ("log.level", "Level"), ("service.name", "LoggerName"), ("host.name", "VMName")];

/// Kinds of field that `Fields` can be, best first: one whose values are all found and never clash (Elasticsearch,
/// then OpenSearch), at last one that is only stored. What a server has not got it refuses.
fn fields_mappings() -> [Value; 3] {
    [
        json!({"type": "flattened", "ignore_above": FIELDS_MAX_CHARS, "depth_limit": FIELDS_DEPTH_MAX}),
        json!({"type": "flat_object"}),
        json!({"type": "object", "enabled": false}),
    ]
}

/// What came of seeing to the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It is there.
    There,
    /// It cannot be seen to. That is the last word only of a server that takes records: what answers may be a page that
    /// wants a password, or a proxy without its server.
    Refused,
}

/// Sees to it that a template for the name is there. Done once; what we may not do is said once, and not tried again
/// once records were accepted ([`settle`]).
///
/// # Errors
/// No answer, or one that may be another later: the attempt ends here, nothing was sent.
pub(super) async fn ensure(sink: &Elasticsearch) -> Result<(), SendOutcome> {
    let seen = sink.template.get_or_try_init(|| async {
        match install(sink).await {
            Ok(Seen::There) => Ok(()),
            Ok(Seen::Refused) => Err(None),
            Err(outcome) => Err(Some(outcome)),
        }
    });
    match seen.await {
        Ok(()) | Err(None) => Ok(()),
        Err(Some(outcome)) => Err(outcome),
    }
}

/// The server has taken records: what it says about templates is final.
pub(super) fn settle(sink: &Elasticsearch) {
    if !sink.template.initialized() {
        // Another call may have been faster, or is just asking: that is as good.
        let _ = sink.template.set(());
    }
}

async fn install(sink: &Elasticsearch) -> Result<Seen, SendOutcome> {
    let pattern = sink.index.pattern();
    let list = Request {
        method: Method::GET,
        path: &["_index_template"],
        query: "filter_path=index_templates.name,index_templates.index_template.index_patterns,\
                index_templates.index_template.priority,index_templates.index_template._meta.managed",
        body: None,
        effect: Effect::Repeatable,
    };
    let reply = sink.endpoints.call(&list).await.map_err(not_sent)?;
    if let Some(outcome) = passing(&reply) {
        return Err(outcome);
    }
    let existing: Vec<Existing> = match (reply.status.as_u16(), serde_json::from_slice::<List>(&reply.body)) {
        (404, _) => Vec::new(),
        (200, Ok(list)) => list.index_templates,
        _ => {
            if sink.says_template_refused() {
                let answer = reply.describe();
                tracing::warn!(pattern, answer, "index templates cannot be read; going on without one");
            }
            return Ok(Seen::Refused);
        }
    };
    if let Some(template) = existing.iter().find(|template| template.covers(&sink.index)) {
        tracing::debug!(pattern, template = template.name, "an index template is there");
        return Ok(Seen::There);
    }
    put(sink, &pattern, free_priority(&existing)).await
}

async fn put(sink: &Elasticsearch, pattern: &str, priority: u64) -> Result<Seen, SendOutcome> {
    let name = template_name(pattern);
    let mut refusal = String::new();
    for fields in fields_mappings() {
        let body = Body::json(&template(pattern, priority, sink.index.names_data_stream(), fields));
        let request = Request {
            method: Method::PUT,
            path: &["_index_template", &name],
            query: "create=true",
            body: Some(body),
            effect: Effect::Repeatable, // `create` makes a repetition harmless
        };
        let reply = sink.endpoints.call(&request).await.map_err(not_sent)?;
        if let Some(outcome) = passing(&reply) {
            return Err(outcome);
        }
        if reply.status.is_success() {
            tracing::info!(pattern, template = name, "index template installed");
            return Ok(Seen::There);
        }
        // Another logferry was faster.
        if contains(&reply.body, b"already exists") {
            return Ok(Seen::There);
        }
        refusal = reply.describe();
        if reply.status.as_u16() != 400 {
            break;
        }
    }
    if sink.says_template_refused() {
        tracing::warn!(
            pattern,
            template = name,
            answer = refusal,
            "no index template could be installed; going on without one: columns whose type differs from record to \
             record may be refused, have `logferry setup elasticsearch` run by somebody who may manage index templates"
        );
    }
    Ok(Seen::Refused)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

/// An answer that is worth another attempt: credentials, overload, a fault of the server.
fn passing(reply: &Reply) -> Option<SendOutcome> {
    let status = reply.status.as_u16();
    matches!(status, 401 | 408 | 429 | 500..).then(|| reply.refused())
}

/// The records of the attempt were not sent, whatever became of the template.
fn not_sent(failure: Failure) -> SendOutcome {
    SendOutcome::NotSent { reason: failure.to_string() }
}

/// Name of our template for a pattern. An asterisk is not allowed there.
fn template_name(pattern: &str) -> String {
    format!("logferry-{}", pattern.replace('*', "any"))
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    index_templates: Vec<Existing>,
}

#[derive(Deserialize)]
struct Existing {
    #[serde(default)]
    name: String,
    #[serde(default)]
    index_template: Content,
}

#[derive(Default, Deserialize)]
struct Content {
    #[serde(default)]
    index_patterns: Vec<String>,
    #[serde(default)]
    priority: u64,
    #[serde(rename = "_meta", default)]
    meta: Meta,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default)]
    managed: bool,
}

impl Existing {
    /// Whether somebody has decided already how indices of this name look. What the product brings along for every
    /// `logs-*-*` is no such decision: ours goes before it and leaves it as it is.
    fn covers(&self, index: &IndexName) -> bool {
        let brought_along = self.index_template.meta.managed && self.index_template.priority < PRIORITY_MIN;
        let mut sample = Vec::new();
        index.write(time::now(), "run", &mut sample);
        !brought_along
            && self.index_template.index_patterns.iter().any(|glob| rule::glob_matches(glob.as_bytes(), &sample))
    }
}

/// Two templates that could both match must not have the same priority: the lowest that none has.
fn free_priority(existing: &[Existing]) -> u64 {
    (PRIORITY_MIN..)
        .find(|priority| existing.iter().all(|template| template.index_template.priority != *priority))
        .unwrap_or(PRIORITY_MIN)
}

/// The whole template as Elasticsearch takes it.
fn template(pattern: &str, priority: u64, data_stream: bool, fields: Value) -> Value {
    let mut body = json!({
        "index_patterns": [pattern],
        "priority": priority,
        "template": {"mappings": mappings(fields)},
        "_meta": {"created_by": "logferry", "version": TEMPLATE_VERSION},
    });
    if let (true, Some(body)) = (data_stream, body.as_object_mut()) {
        body.insert("data_stream".to_owned(), json!({}));
    }
    body
}

fn mappings(fields: Value) -> Value {
    let keyword = json!({"type": "keyword", "ignore_above": KEYWORD_MAX_CHARS});
    let mut properties = Map::new();
    properties.insert("@timestamp".to_owned(), json!({"type": "date_nanos"}));
    for column in COLUMNS {
        let mapping = match (column.name, column.azure) {
            (_, AzureType::Datetime) => continue,
            ("Message", _) => json!({"type": "text"}),
            ("Exception", _) => json!({"properties": {
                "Type": keyword, "Message": {"type": "text"}, "Stack": {"type": "text", "norms": false},
            }}),
            (_, AzureType::Dynamic) => fields.clone(),
            (_, AzureType::String) => keyword.clone(),
            (_, AzureType::Int) => json!({"type": "integer"}),
            (_, AzureType::Long) => json!({"type": "long"}),
            (_, AzureType::Real) => json!({"type": "double"}),
        };
        properties.insert(column.name.to_owned(), mapping);
    }
    for (name, path) in ALIASES {
        let alias = json!({"type": "alias", "path": path});
        match name.split_once('.') {
            Some((parent, child)) => properties.insert(parent.to_owned(), json!({"properties": {child: alias}})),
            None => properties.insert(name.to_owned(), alias),
        };
    }
    // A column of the user's own takes whatever comes first for its type; as keywords a number and a word never clash.
    // One that begins with a number can be summed as `NAME.number`, which passes over words.
    let number = json!({"type": "double", "ignore_malformed": true});
    let counted = json!({"type": "keyword", "ignore_above": KEYWORD_MAX_CHARS, "fields": {OWN_NUMBER: number}});
    let kinds = [("string", &keyword), ("long", &counted), ("double", &counted), ("boolean", &keyword)];
    let dynamic = kinds.map(|(kind, mapping)| json!({kind: {"match_mapping_type": kind, "mapping": mapping}}));
    json!({"date_detection": false, "dynamic_templates": dynamic, "properties": properties})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn existing(glob: &str, priority: u64, managed: bool) -> Existing {
        serde_json::from_value(json!({"name": "t", "index_template": {
            "index_patterns": [glob], "priority": priority, "_meta": {"managed": managed}}}))
        .expect("a template")
    }

    #[test]
    fn a_template_of_somebody_else_is_enough_and_one_that_came_with_the_product_is_not() {
        let check = |glob: &str, priority: u64, managed: bool, index: &str, expected: bool| {
            let index = IndexName::parse(index).expect(index);
            assert_eq!(existing(glob, priority, managed).covers(&index), expected, "{glob} for {index:?}");
        };
        check("logs-bench-default", 0, false, "logs-bench-default", true);
        check("logs-*", 50, false, "logs-bench-default", true);
        check("logs-*-*", 100, true, "logs-bench-default", false);
        check("logs-bench*", 250, true, "logs-bench-default", true);
        check("metrics-*", 500, false, "logs-bench-default", false);
        check("runs-*", 1, false, "runs-{RunID}-%Y", true);
        check("runs-42-*", 1, false, "runs-{RunID}-%Y", false);
    }

    #[test]
    fn our_priority_is_above_the_products_own_and_nobody_elses() {
        let check = |taken: &[u64], expected: u64| {
            let list: Vec<Existing> = taken.iter().map(|p| existing("x", *p, false)).collect();
            assert_eq!(free_priority(&list), expected);
        };
        check(&[], 200);
        check(&[100, 0, 500], 200);
        check(&[200, 202, 201], 203);
    }

    #[test]
    fn every_column_has_its_type_and_every_alias_a_column_behind_it() {
        let body = template("logs-a-b", 200, true, json!({"type": "flattened"}));
        assert_eq!(body["data_stream"], json!({}));
        let properties = body["template"]["mappings"]["properties"].as_object().expect("properties");
        let check = |name: &str, kind: &str| assert_eq!(properties[name]["type"], kind, "{name}");
        check("@timestamp", "date_nanos");
        check("RunID", "keyword");
        check("Message", "text");
        check("Fields", "flattened");
        check("Seq", "long");
        check("Part", "integer");
        check("DurationMs", "double");
        check("TotalTokens", "long");
        check("ModelName", "keyword");
        let dynamic = body["template"]["mappings"]["dynamic_templates"].as_array().expect("templates");
        for (kind, has_number) in [("string", false), ("long", true), ("double", true), ("boolean", false)] {
            let of_kind = dynamic.iter().find_map(|template| template.get(kind)).expect(kind);
            assert_eq!(of_kind["mapping"]["type"], "keyword", "{kind}");
            assert_eq!(of_kind["mapping"]["fields"][OWN_NUMBER]["type"] == "double", has_number, "{kind}");
        }
        assert!(!properties.contains_key("TimeGenerated") && !properties.contains_key("EventTime"));
        assert_eq!(properties["log"]["properties"]["level"]["path"], "Level");
        for (_, path) in ALIASES {
            assert!(properties.contains_key(path), "{path}");
        }
        assert!(template("x", 200, false, json!({})).get("data_stream").is_none());
    }

    #[test]
    fn a_templates_name_holds_no_asterisk() {
        assert_eq!(template_name("runs-*-*"), "logferry-runs-any-any");
    }
}
