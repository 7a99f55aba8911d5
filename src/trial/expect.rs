//! What a configuration expects of lines, `[[test]]`, and where the records that came are something else.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::pretty::left_out;
use super::{Trial, Tried, TriedRecord};
use crate::ingest::{self, Flush};
use crate::source::RunColumns;

/// Longest value that a failure shows, in characters.
const SHOWN_MAX_CHARS: usize = 300;

/// Most records that a failure lists.
const LISTED_MAX: usize = 20;

/// Similarity from which on one name is taken for a misspelling of another (Jaro-Winkler, 0 to 1).
const SIMILAR_MIN: f64 = 0.86;

/// One `[[test]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    pub name: String,
    /// Line of the configuration; `None`: it stands in the environment.
    pub line: Option<usize>,
    /// `None`: the one that reads the path, or the first one.
    pub source: Option<String>,
    /// The file that the lines would stand in, for the columns that it gives.
    pub path: Option<PathBuf>,
    /// Each without its line end.
    pub lines: Vec<String>,
    /// One for each record; `None`: only the sinks are looked at.
    pub expect: Option<Vec<Expected>>,
    /// The sinks that get the records; `None`: not looked at.
    pub sinks: Option<Vec<String>>,
}

/// What one record must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    pub line: Option<usize>,
    pub columns: Vec<ExpectedColumn>,
}

/// A column, or a member of one.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedColumn {
    /// `Level`, `Fields.retry.count`.
    pub path: String,
    /// An empty text: it must not be there.
    pub value: Value,
    pub line: Option<usize>,
}

/// Something that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Line of the configuration.
    pub line: Option<usize>,
    /// What, as the rest of a sentence.
    pub what: String,
    /// Where the same value, or a column of nearly this name, is.
    pub nearest: Option<String>,
    pub expected: String,
    pub found: String,
}

/// Lets the lines of a test become records, as those of the source `name`; says what is not as expected. `sinks`: names of
/// all sinks, in the order of their route bits.
pub fn run(test: &Test, options: &ingest::Options, name: &str, run: &RunColumns, sinks: &[Arc<str>]) -> Vec<Failure> {
    let text: String = test.lines.iter().map(|line| format!("{line}\n")).collect();
    let mut groups = Vec::new();
    let taken = Trial::new(options, name, run).take(text.as_bytes(), Flush::All, |tried| {
        groups.push(tried);
        ControlFlow::Continue(())
    });
    if let Err(unreadable) = taken {
        return vec![failure(test.line, unreadable.to_string(), "text", "UTF-16")];
    }
    let mut failures = Vec::new();
    if let Some(expected) = &test.expect {
        compare(test, expected, &groups, &mut failures);
    }
    if let Some(names) = &test.sinks {
        compare_sinks(test, names, sinks, &groups, &mut failures);
    }
    failures
}

impl Failure {
    /// The path of a test is none of its source.
    pub fn of_path(test: &Test, source: &str) -> Self {
        let path = test.path.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
        let expected = format!("a path that the source {source} includes");
        failure(test.line, "its source does not read this path".to_owned(), expected, path)
    }
}

fn failure(line: Option<usize>, what: String, expected: impl Into<String>, found: impl Into<String>) -> Failure {
    Failure { line, what, nearest: None, expected: expected.into(), found: found.into() }
}

fn records(groups: &[Tried]) -> impl Iterator<Item = &TriedRecord> {
    groups.iter().flat_map(|group| &group.records)
}

fn columns(record: &TriedRecord) -> Map<String, Value> {
    serde_json::from_slice(&record.document).unwrap_or_default()
}

fn compare(test: &Test, expected: &[Expected], groups: &[Tried], failures: &mut Vec<Failure>) {
    let came = records(groups).count();
    if came != expected.len() {
        let what = format!("the lines become {}", counted(came));
        failures.push(failure(test.line, what, counted(expected.len()), listed(groups)));
        return;
    }
    for (index, (expected, record)) in expected.iter().zip(records(groups)).enumerate() {
        let columns = columns(record);
        for column in &expected.columns {
            failures.extend(
                compare_column(column, &columns)
                    .map(|failure| Failure { what: format!("record {}: {}", index + 1, failure.what), ..failure }),
            );
        }
    }
}

fn counted(count: usize) -> String {
    match count {
        0 => "no record".to_owned(),
        1 => "1 record".to_owned(),
        n => format!("{n} records"),
    }
}

/// What came of each group, shortly.
fn listed(groups: &[Tried]) -> String {
    let mut words: Vec<String> = Vec::new();
    for group in groups {
        if group.records.is_empty() {
            words.push(format!("line {} {}", group.lines.0, left_out(group.seen.outcome)));
        }
        for record in &group.records {
            let columns = columns(record);
            words.push(columns.get("Message").map_or_else(|| "a record without Message".to_owned(), shown));
        }
    }
    let more = words.len().saturating_sub(LISTED_MAX);
    words.truncate(LISTED_MAX);
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

fn compare_column(column: &ExpectedColumn, record: &Map<String, Value>) -> Option<Failure> {
    let ExpectedColumn { path, value, line } = column;
    let found = lookup(record, path);
    let must_be_absent = matches!(value, Value::String(text) if text.is_empty());
    match found {
        Some(found) if equal(value, found) => None,
        None if must_be_absent => None,
        Some(found) if must_be_absent => {
            Some(failure(*line, format!("{path} is there"), "nothing: \"\" means that it is not there", shown(found)))
        }
        Some(found) => {
            let nearest = same_value(record, path, value);
            Some(Failure { nearest, ..failure(*line, format!("{path} is another"), shown(value), shown(found)) })
        }
        None => {
            let nearest = same_value(record, path, value).or_else(|| similar_name(record, path));
            Some(Failure { nearest, ..failure(*line, format!("{path} is not there"), shown(value), "nothing") })
        }
    }
}

/// The value behind a path; a name may hold dots itself.
fn lookup<'v>(record: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    if let Some(value) = record.get(path) {
        return Some(value);
    }
    path.match_indices('.').find_map(|(at, _)| {
        let (name, rest) = path.split_at(at);
        lookup(record.get(name)?.as_object()?, rest.get(1..)?)
    })
}

/// Whether both are the same, numbers by their value.
fn equal(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b)))
        }
        (a, b) => a == b,
    }
}

/// Every value that is no object, with its path.
fn leaves<'v>(columns: &'v Map<String, Value>, path: &str, each: &mut dyn FnMut(String, &'v Value)) {
    for (name, value) in columns {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Object(members) if !members.is_empty() => leaves(members, &path, each),
            value => each(path, value),
        }
    }
}

/// Another place that holds the value.
fn same_value(record: &Map<String, Value>, path: &str, value: &Value) -> Option<String> {
    let mut found = None;
    leaves(record, "", &mut |place, here| {
        if found.is_none() && place != path && equal(value, here) {
            found = Some(format!("{place} is {}", shown(here)));
        }
    });
    found
}

/// A place whose name is nearly this.
fn similar_name(record: &Map<String, Value>, path: &str) -> Option<String> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let mut best: Option<(f64, String)> = None;
    leaves(record, "", &mut |place, here| {
        let similarity = strsim::jaro_winkler(&last(path), &last(&place));
        if similarity >= SIMILAR_MIN && best.as_ref().is_none_or(|(known, _)| similarity > *known) {
            best = Some((similarity, format!("{place} is {}", shown(here))));
        }
    });
    best.map(|(_, said)| said)
}

fn compare_sinks(test: &Test, names: &[String], sinks: &[Arc<str>], groups: &[Tried], failures: &mut Vec<Failure>) {
    let quoted = |names: &[&str]| match names {
        [] => "no sink".to_owned(),
        names => names.join(", "),
    };
    // In the order of the configuration.
    let expected: Vec<&str> = sinks.iter().map(|sink| &**sink).filter(|sink| names.iter().any(|n| n == sink)).collect();
    if records(groups).next().is_none() && !names.is_empty() {
        failures.push(failure(test.line, "no record goes to a sink".to_owned(), quoted(&expected), listed(groups)));
    }
    for (index, record) in records(groups).enumerate() {
        let gets = sinks.iter().enumerate().filter(|(bit, _)| record.route >> bit & 1 == 1);
        let gets: Vec<&str> = gets.map(|(_, sink)| &**sink).collect();
        if gets != expected {
            let what = format!("record {}: other sinks get it", index + 1);
            failures.push(failure(test.line, what, quoted(&expected), quoted(&gets)));
        }
    }
}

/// A value as JSON, shortened.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    let cut: String = text.chars().take(SHOWN_MAX_CHARS).collect();
    if cut.len() < text.len() { format!("{cut}… ({} bytes)", text.len()) } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::record::Rule;
    use serde_json::json;

    fn options() -> ingest::Options {
        let errors = Rule::new(vec![("Level".to_owned(), vec!["ERROR".to_owned()])]);
        ingest::Options { routes: Arc::new([None, Some(errors)]), ..ingest::Options::default() }
    }

    fn failures(test: &Test) -> Vec<Failure> {
        run(test, &options(), "s", &RunColumns::default(), &["all".into(), "errors".into()])
    }

    fn test(lines: &[&str], expect: Option<&[Value]>, sinks: Option<&[&str]>) -> Test {
        let expected = |record: &Value| {
            let columns = record.as_object().expect("an object").iter().enumerate();
            let column = |(at, (path, value)): (usize, (&String, &Value))| ExpectedColumn {
                path: path.clone(),
                value: value.clone(),
                line: Some(10 + at),
            };
            Expected { line: Some(9), columns: columns.map(column).collect() }
        };
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Test {
            name: "t".to_owned(),
            line: Some(1),
            source: None,
            path: None,
            lines: owned(lines),
            expect: expect.map(|records| records.iter().map(expected).collect()),
            sinks: sinks.map(owned),
        }
    }

    const LINE: &str = "2026-11-20 10:00:00,123 - app - WARNING - retry 3";
    const JSON: &str =
        r#"{"level":"error","msg":"m","attempts":3,"a.b":1,"o":{"p":[1,2.0],"q":"app"},"duration_ms":1}"#;

    #[test]
    fn what_is_as_expected_gives_nothing() {
        let check = |test: &Test| assert_eq!(failures(test), [], "{test:?}");
        check(&test(&[LINE], Some(&[json!({"Level": "WARNING", "LoggerName": "app", "Message": "retry 3"})]), None));
        check(&test(&[LINE], Some(&[json!({"Level": "WARNING", "TraceID": "", "Fields.x": ""})]), Some(&["all"])));
        let fields = json!({"Fields.attempts": 3.0, "Fields.a.b": 1, "Fields.o.p": [1, 2], "DurationMs": 1, "Seq": 2});
        check(&test(&[LINE, JSON], Some(&[json!({}), fields]), None));
        check(&test(&[JSON], None, Some(&["errors", "all"])));
        check(&test(&[], Some(&[]), Some(&[])));
    }

    #[test]
    fn a_failure_says_what_where_and_what_is_nearest() {
        let check = |test: &Test, line: usize, what: &str, nearest: Option<&str>, expected: &str, found: &str| {
            let failures = failures(test);
            assert_eq!(failures.len(), 1, "{failures:?}");
            let Failure { line: at, what: said, nearest: near, expected: wanted, found: came } = &failures[0];
            assert_eq!((*at, said.as_str(), near.as_deref()), (Some(line), what, nearest));
            assert_eq!((wanted.as_str(), came.as_str()), (expected, found));
        };
        let one = |columns: Value| test(&[LINE], Some(&[columns]), None);
        let level = one(json!({"Message": "retry 3", "Level": "INFO"}));
        check(&level, 11, "record 1: Level is another", None, "\"INFO\"", "\"WARNING\"");
        let logger = one(json!({"Fields.logger": "app"}));
        check(&logger, 10, "record 1: Fields.logger is not there", Some("LoggerName is \"app\""), "\"app\"", "nothing");
        let there = one(json!({"LoggerName": ""}));
        check(&there, 10, "record 1: LoggerName is there", None, "nothing: \"\" means that it is not there", "\"app\"");
        let fields = test(&[JSON], Some(&[json!({"Fields.attempt": 4})]), None);
        check(&fields, 10, "record 1: Fields.attempt is not there", Some("Fields.attempts is 3"), "4", "nothing");
        check(
            &test(&[LINE, "b"], Some(&[json!({})]), None),
            1,
            "the lines become 2 records",
            None,
            "1 record",
            "\"retry 3\", \"b\"",
        );
        check(&test(&[LINE], Some(&[]), None), 1, "the lines become 1 record", None, "no record", "\"retry 3\"");
        check(&test(&[LINE], None, Some(&["errors"])), 1, "record 1: other sinks get it", None, "errors", "all");
        check(&test(&[LINE], None, Some(&[])), 1, "record 1: other sinks get it", None, "no sink", "all");
        check(&test(&[], None, Some(&["all"])), 1, "no record goes to a sink", None, "all", "nothing");
    }
}
