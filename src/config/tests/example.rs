//! The annotated example: complete, right as it stands, and true about the defaults.

use super::*;
use crate::config::keys::{Group, Kind, ROOT, SINK_TYPES, keys};
use crate::config::node::Node;

/// The example with everything switched on that stands behind a `#`.
fn all_of_it() -> String {
    let uncommented = example().lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with('[') || rest.starts_with(|c: char| c.is_ascii_lowercase()) => rest,
        _ => line,
    });
    uncommented.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_right_as_it_stands() {
    let config = good(example(), &[]).config;
    assert_eq!((config.files.len(), config.docker.len(), config.sinks.len()), (1, 0, 1));
}

#[test]
fn the_example_is_right_with_everything_switched_on() {
    let config = good(&all_of_it(), &[]).config;
    let names: Vec<&str> = config.sinks.iter().map(|sink| &*sink.name).collect();
    assert_eq!(names, ["console", "elasticsearch", "azure_monitor", "file", "archive"]);
    assert_eq!(config.docker.len(), 1);
}

/// Compares every key that has a default with what the example says; `seen`: keys that stand in another sink's table.
fn compare(group: Group, node: &Node, path: &str, elsewhere: &[&str]) {
    for key in keys(group) {
        let path = format!("{path}.{}", key.name);
        let Some(given) = node.get(key.name) else {
            assert!(elsewhere.contains(&key.name), "{path} is not in the example");
            continue;
        };
        match key.kind {
            Kind::Table(inner) => compare(inner, given, &path, &[]),
            Kind::Entries(inner) => given.table().iter().for_each(|(_, entry)| compare(inner, entry, &path, &[])),
            _ => {
                let default = key.default.and_then(|text| document::value(text, &Origin::Default));
                if let Some(default) = default {
                    assert!(given.same_value(&default), "{path}: {given:?} is not {default:?}");
                }
            }
        }
    }
}

#[test]
fn every_key_stands_in_the_example_with_its_default() {
    let mut tree = document::parse(&all_of_it()).expect("TOML");
    keys::number_entries(&mut tree, ROOT);
    compare(ROOT, &tree, "", &[]);
    // The keys of every sink stand once, with Elasticsearch.
    let common: Vec<&str> = SINK_TYPES[0].1.iter().flat_map(|part| part.iter()).map(|key| key.name).collect();
    let sinks = tree.get("sinks").expect("sinks");
    for (name, group) in SINK_TYPES {
        let elsewhere: &[&str] = if *name == "elasticsearch" { &["type"] } else { &common };
        compare(group, sinks.get(name).expect(name), name, elsewhere);
    }
}

#[test]
fn the_example_for_agents_is_right_and_has_their_four_metrics() {
    let config = good(include_str!("../../../config/agent-metrics.toml"), &[]).config;
    let shown = config.metrics.shown();
    let names: Vec<&str> = shown.iter().map(|one| one.family.name.as_str()).collect();
    assert_eq!(names, ["active_tasks", "errors_encountered_total", "task_latency_seconds", "tasks_dispatched_total"]);
}
