//! `record.columns`: which names and paths are taken, and what is said about the others.

use super::*;
use crate::ingest::parse::columns::{OWN_MAX, PATH_MAX_BYTES};

fn columns(record: &str) -> Vec<String> {
    let config = good(&format!("{MINIMAL}[record]\n{record}"), &[]).config;
    assert!(Arc::ptr_eq(&config.columns, &config.files[0].ingest.columns), "every source has them");
    config.columns.names().map(str::to_owned).collect()
}

#[test]
fn names_of_ones_own_and_the_columns_of_a_line_can_be_filled() {
    assert_eq!(columns(""), [""; 0]);
    let text = "columns = { TraceID = \"trace_id\", UserID = \"user_id\", Tokens = \"usage.total_tokens\" }\n";
    assert_eq!(columns(text), ["TraceID", "UserID", "Tokens"]);
    let ours = [
        "LoggerName",
        "Level",
        "Message",
        "EventType",
        "SpanID",
        "DurationMs",
        "TotalTokens",
        "Cost",
        "RunID",
        "TaskID",
        "Benchmark",
    ];
    let text: String = ours.iter().map(|name| format!("columns.{name} = \"Fields.{name}_of_mine\"\n")).collect();
    assert_eq!(columns(&text), ours);
}

#[test]
fn a_rule_and_a_variable_may_name_them() {
    let text = "[[sources.file]]\ninclude = [\"/l/{Agent}/*.log\"]\n[record]\ncolumns = { Steam = \"steam\", Agent = \"a\" }\n\
                [sinks.console]\nwhen = { Steam = \"x*\", Cost = \"0\" }\n";
    let loaded = good(text, &[("LOGFERRY__RECORD__COLUMNS__STEAM", "boiler.steam")]);
    let names: std::collections::BTreeSet<&str> = loaded.config.columns.names().collect();
    assert!(names.iter().eq(&["Agent", "Steam"]), "{names:?}");
    assert!(loaded.config.sinks[0].when.is_some());
}

#[test]
fn what_no_field_can_fill_is_said() {
    let long = "x".repeat(PATH_MAX_BYTES + 1);
    let text = format!(
        r#"
[run]
fields = {{ Team = "evals" }}
[[sources.file]]
include = ["/l/*.log"]
[record.columns]
trace_id = "t"
Seq = "s"
EventId = "e"
Exception = "x"
Source = "src"
Team = "team"
"a-b" = "ab"
Good = "one.two"
Again = "Fields.one.two"
Empty = ""
Dots = "a..b"
Deep = "a.b.c.d.e.f.g.h.i"
Long = "{long}"
Number = 5
[sinks.console]
"#
    );
    let expected = "a name of your own, or RunID, TaskID, Benchmark, LoggerName, Level, Message, EventType, TraceID, \
                    SpanID, DurationMs, ModelName, PromptTokens, CompletionTokens, TotalTokens, Cost, Status, ErrorType";
    let field =
        "the name of a field in quotes, with dots where it is nested, such as \"user_id\" or \"usage.total_tokens\"";
    let shown = "x".repeat(80);
    assert_eq!(
        message(&text, &[]),
        format!(
            r#"f.toml:7: record.columns.trace_id: the name "trace_id" differs only in its spelling from a column that logferry fills
    did you mean: TraceID
    expected: {expected}

f.toml:8: record.columns.Seq: the name "Seq" is a column that logferry fills itself
    expected: {expected}

f.toml:9: record.columns.EventId: the name "EventId" is a column that logferry fills itself
    expected: {expected}

f.toml:10: record.columns.Exception: the name "Exception" is a column that logferry fills itself
    expected: {expected}

f.toml:11: record.columns.Source: the name "Source" is a column that logferry fills itself
    expected: {expected}

f.toml:12: record.columns.Team: the column "Team" has its value from run.fields already
    expected: another name, or no such column in run.fields

f.toml:13: record.columns.a-b: the name "a-b" must start with a letter and have at most 45 letters, digits and underscores
    expected: {expected}

f.toml:15: record.columns.Again: "Fields.one.two" goes to the column Good already
    expected: each field once

f.toml:16: record.columns.Empty: is empty
    expected: {field}

f.toml:17: record.columns.Dots: "a..b" has a name of no letters
    expected: {field}

f.toml:18: record.columns.Deep: "a.b.c.d.e.f.g.h.i" goes through 9 names: at most 8
    expected: {field}

f.toml:19: record.columns.Long: "{shown}…" has 201 bytes: at most 200
    expected: {field}

f.toml:20: record.columns.Number: is a number
    expected: {field}

13 mistakes in f.toml"#
        )
    );
}

#[test]
fn more_than_can_be_looked_for_in_every_line_are_refused() {
    let text: String = (0..=OWN_MAX).map(|n| format!("columns.Own{n} = \"own{n}\"\n")).collect();
    let said = message(&format!("{MINIMAL}[record]\n{text}"), &[]);
    assert!(said.contains("record.columns: has 65 columns") && said.contains("at most 64"), "{said}");
}
