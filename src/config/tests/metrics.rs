//! `[[record.metric]]`: what it is read as, and what is said about a wrong one.

use super::wrong::check;
use super::*;
use crate::ingest::metric::Kind;
use crate::record::histogram::SECONDS;

/// Name, kind and labels of each family.
fn families(metrics: &str) -> Vec<(String, Kind, Vec<String>)> {
    let config = good(&format!("{MINIMAL}{metrics}"), &[]).config;
    assert!(config.files.iter().all(|file| Arc::ptr_eq(&file.ingest.metrics, &config.metrics)));
    let family = |one: &crate::ingest::metric::Shown<'_>| {
        (one.family.name.clone(), one.family.kind.clone(), one.family.labels.clone())
    };
    config.metrics.shown().iter().map(family).collect()
}

#[test]
fn metrics_are_read_with_their_labels_in_one_order() {
    let counter = "[[record.metric]]\nname = \"calls_total\"\nkind = \"counter\"\n\
                   labels = { b = \"Fields.a.b\", a = \"Level\", c = \"Exception.Type\" }\n";
    let labels = ["a", "b", "c"].map(str::to_owned).to_vec();
    assert_eq!(families(counter), [("calls_total".to_owned(), Kind::Counter, labels)]);
    let histogram = "[[record.metric]]\nname = \"x_seconds\"\nkind = \"histogram\"\nvalue = \"DurationMs\"\n";
    assert_eq!(families(histogram)[0].1, Kind::Histogram(SECONDS.to_vec()));
    let bounds = format!("{histogram}buckets = [0.5, 1, \"2\"]\n");
    assert_eq!(families(&bounds)[0].1, Kind::Histogram(vec![0.5, 1.0, 2.0]));
    let gauge = |op: &str| format!("[[record.metric]]\nname = \"active\"\nkind = \"gauge\"\nop = \"{op}\"\n");
    assert_eq!(families(&(gauge("inc") + &gauge("dec"))), [("active".to_owned(), Kind::Gauge, Vec::new())]);
    assert!(families("").is_empty() && families("[record]\nmetric = []\n").is_empty());
}

#[test]
fn wrong_names_and_values() {
    check(
        &format!(
            "{MINIMAL}{}",
            r#"[[record.metric]]
kind = "counter"
[[record.metric]]
name = "2nd"
kind = "count"
[[record.metric]]
name = "logferry_lines_total"
kind = "counter"
op = "inc"
buckets = [1]
labels = { "task-type" = "level", overflow = "Fields.", ok = "" }
[[record.metric]]
name = "a"
kind = "histogram"
buckets = [1, 1]
[[record.metric]]
name = "b"
kind = "gauge"
value = "EventID"
"#
        ),
        &[],
        r#"
f.toml:4: record.metric[0].name: is missing
    expected: letters, digits, _ and :, no digit first, such as "task_latency_seconds"

f.toml:7: record.metric[1].name: "2nd" is no name of a metric
    expected: letters, digits, _ and :, no digit first, such as "task_latency_seconds", up to 200 bytes

f.toml:8: record.metric[1].kind: "count" is none of the values
    did you mean: "counter"
    expected: one of "counter", "gauge", "histogram"

f.toml:10: record.metric[2].name: "logferry_lines_total" is kept for logferry and Prometheus
    expected: a name of your own: not up, and none that begins with logferry_ or process_ or scrape_

f.toml:12: record.metric[2].op: "inc" is without effect
    expected: kind = "gauge" beside it

f.toml:13: record.metric[2].buckets: are without effect
    expected: kind = "histogram" beside them

f.toml:14: record.metric[2].labels.task-type: "task-type" is no name of a label
    expected: letters, digits and _, no digit and no __ first, such as task_type

f.toml:14: record.metric[2].labels.task-type: "level" is no column
    did you mean: "Level"
    expected: a column or a member of Fields, such as "Level" or "Fields.task_type"

f.toml:14: record.metric[2].labels.overflow: the label "overflow" is kept for logferry
    expected: another name

f.toml:14: record.metric[2].labels.overflow: "Fields." is an object: a member of it can be asked for
    expected: a column or a member of Fields, such as "Level" or "Fields.task_type"

f.toml:14: record.metric[2].labels.ok: is empty
    expected: a column or a member of Fields, such as "Level" or "Fields.task_type"

f.toml:15: record.metric[3].value: is missing
    expected: a column or a member of Fields that holds a number, such as "DurationMs" or "Fields.latency"

f.toml:18: record.metric[3].buckets: do not ascend
    expected: upper bounds that ascend, such as [0.1, 0.5, 1, 5, 30]; infinity is added

f.toml:19: record.metric[4].op: is missing
    expected: one of "set", "inc", "dec"

f.toml:22: record.metric[4].value: "EventID" is not known before a record is sent
    expected: a column or a member of Fields that holds a number, such as "DurationMs" or "Fields.latency"

15 mistakes in f.toml
"#,
    );
}

#[test]
fn one_name_has_one_form() {
    check(
        &format!(
            "{MINIMAL}{}",
            r#"[[record.metric]]
name = "a"
kind = "counter"
labels = { x = "Level" }
[[record.metric]]
name = "a"
kind = "gauge"
op = "inc"
labels = { y = "Level" }
[[record.metric]]
name = "h"
kind = "histogram"
value = "DurationMs"
[[record.metric]]
name = "h"
kind = "histogram"
value = "DurationMs"
buckets = [1, 2]
[[record.metric]]
name = "h_count"
kind = "counter"
[[record.metric]]
name = "a_total"
kind = "counter"
"#
        ),
        &[],
        r#"
f.toml:10: record.metric[1].kind: "gauge" differs from "counter" of record.metric[0], which has the same name
    expected: one kind for each name

f.toml:12: record.metric[1].labels: are y, but x in record.metric[0], which has the same name
    expected: one set of labels for each name

f.toml:21: record.metric[3].buckets: differ from those of record.metric[2], which has the same name
    expected: one set of bounds for each name

f.toml:23: record.metric[4].name: "h_count" clashes with "h" of record.metric[2]
    expected: names that differ in more than an end like _total, _sum, _count or _bucket

f.toml:26: record.metric[5].name: "a_total" clashes with "a" of record.metric[0]
    expected: names that differ in more than an end like _total, _sum, _count or _bucket

5 mistakes in f.toml
"#,
    );
}
