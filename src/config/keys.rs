//! Every key of the configuration with its default: the one table that unknown names, the default layer,
//! `config show` and the example are checked against. Types and bounds stand where the key is read.

use super::document;
use super::node::{self, Node, Origin, Value};

/// One key of a table.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// As TOML; `None`: there is none, the key is required or absent.
    pub default: Option<&'static str>,
}

/// What stands behind a key.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// One value.
    Plain,
    /// A list of values, or one.
    List,
    /// A value that is never shown.
    Secret,
    /// A URL whose user and password are never shown.
    Url,
    /// A table with keys of ours.
    Table(Group),
    /// An array of tables with keys of ours.
    Entries(Group),
    /// `[sinks.NAME]`: tables with names of the user's, keys by their type.
    Sinks,
    /// A table with names of the user's.
    Map,
    /// The same with values that are never shown.
    SecretMap,
    /// A table with names of the user's and a list of texts, or of regular expressions, for each.
    MapOfLists,
}

/// The keys of one table, in one or several parts.
pub type Group = &'static [&'static [Key]];

const fn key(name: &'static str, default: &'static str) -> Key {
    Key { name, kind: Kind::Plain, default: Some(default) }
}

const fn list(name: &'static str, default: &'static str) -> Key {
    Key { name, kind: Kind::List, default: Some(default) }
}

const fn bare(name: &'static str, kind: Kind, default: Option<&'static str>) -> Key {
    Key { name, kind, default }
}

const RUN: Group = &[&[
    key("run_id", "\"${RUN_ID:-}\""),
    key("task_id", "\"${TASK_ID:-}\""),
    key("benchmark", "\"${BENCHMARK:-}\""),
    key("vm_name", "\"auto\""),
    bare("fields", Kind::Map, Some("{}")),
]];

const STATE: Group = &[&[key("dir", "\"/var/lib/logferry\"")]];

const BUFFER: Group = &[&[key("max_bytes", "\"4GiB\""), key("when_full", "\"block\""), key("sync", "\"200ms\"")]];

const SOURCES: Group =
    &[&[bare("file", Kind::Entries(SOURCE_FILE), None), bare("docker", Kind::Entries(SOURCE_DOCKER), None)]];

/// Keys of a source that are about its lines.
const LINES: &[Key] = &[
    key("parser", "\"auto\""),
    key("pattern", "\"\""),
    key("ansi", "\"strip\""),
    key("multiline", "\"auto\""),
    key("timezone", "\"UTC\""),
    key("max_line", "\"1MiB\""),
    bare("rate_limit", Kind::Table(RATE_LIMIT), None),
];

const RATE_LIMIT: Group = &[&[key("per_second", "0"), key("burst", "10000"), key("then_keep_one_in", "100")]];

const SOURCE_FILE: Group = &[
    &[
        key("name", "\"files\""),
        bare("include", Kind::List, None),
        list("exclude", "[]"),
        key("start_at", "\"beginning\""),
        key("ignore_older", "\"\""),
    ],
    LINES,
];

const SOURCE_DOCKER: Group = &[
    &[
        key("name", "\"containers\""),
        key("host", "\"auto\""),
        bare("include", Kind::Table(DOCKER_INCLUDE), None),
        bare("exclude", Kind::Table(DOCKER_EXCLUDE), None),
        bare("columns", Kind::Map, Some("{}")),
    ],
    LINES,
];

const DOCKER_INCLUDE: Group = &[&[list("names", "[\"*\"]"), list("images", "[]"), list("labels", "[]")]];
const DOCKER_EXCLUDE: Group = &[&[list("names", "[]"), list("images", "[]"), list("labels", "[\"logferry.skip\"]")]];

const RECORD: Group = &[&[
    bare("columns", Kind::Map, Some("{}")),
    bare("redact", Kind::Entries(REDACT), None),
    list("redact_off", "[]"),
    bare("drop", Kind::Entries(DROP), None),
    bare("sample", Kind::Entries(SAMPLE), None),
    bare("metric", Kind::Entries(METRIC), None),
]];

const REDACT: Group = &[&[bare("pattern", Kind::Plain, None), key("kind", "\"custom\"")]];

const METRIC: Group = &[&[
    bare("name", Kind::Plain, None),
    key("help", "\"\""),
    bare("kind", Kind::Plain, None),
    key("op", "\"\""),
    bare("value", Kind::Plain, None),
    bare("when", Kind::MapOfLists, None),
    bare("labels", Kind::Map, None),
    list("buckets", "[]"),
]];

const DROP: Group = &[&[key("name", "\"\""), bare("when", Kind::MapOfLists, None)]];

const SAMPLE: Group = &[&[
    key("name", "\"\""),
    bare("when", Kind::MapOfLists, None),
    bare("keep", Kind::Plain, None),
    list("by", "[\"TraceID\", \"TaskID\"]"),
]];

/// A test's `source` is the first one where it is left out.
const TEST: Group = &[&[
    bare("name", Kind::Plain, None),
    key("source", "\"\""),
    key("path", "\"\""),
    bare("lines", Kind::List, None),
    bare("expect", Kind::List, None),
    bare("sinks", Kind::List, None),
]];

const TEARDOWN: Group = &[&[
    key("deadline", "\"4m\""),
    key("wait_containers", "\"30s\""),
    key("scheduled_events", "\"auto\""),
    list("events", "[\"Terminate\", \"Preempt\", \"Redeploy\", \"Reboot\"]"),
    key("approve", "\"when_idle\""),
    key("margin", "\"10s\""),
    key("imds", "\"http://169.254.169.254\""),
]];

const HTTP: Group = &[&[key("listen", "\"127.0.0.1:9577\"")]];
const LOG: Group = &[&[key("level", "\"info\""), key("format", "\"text\"")]];

/// The sections of the file, in the order in which they are documented.
pub const ROOT: Group = &[&[
    bare("run", Kind::Table(RUN), None),
    bare("state", Kind::Table(STATE), None),
    bare("buffer", Kind::Table(BUFFER), None),
    bare("sources", Kind::Table(SOURCES), None),
    bare("record", Kind::Table(RECORD), None),
    bare("sinks", Kind::Sinks, None),
    bare("teardown", Kind::Table(TEARDOWN), None),
    bare("http", Kind::Table(HTTP), None),
    bare("log", Kind::Table(LOG), None),
    bare("test", Kind::Entries(TEST), None),
]];

/// Keys of every sink that say how batches are cut; a remote sink can take several requests at once.
const REMOTE_BATCHES: &[Key] =
    &[key("compression", "\"gzip\""), key("batch_bytes", "\"5MiB\""), key("in_flight", "2"), key("max_age", "\"1s\"")];
/// Azure Monitor takes 1,000,000 bytes before compression.
const AZURE_BATCHES: &[Key] = &[
    key("compression", "\"gzip\""),
    key("batch_bytes", "\"976KiB\""),
    key("in_flight", "2"),
    key("max_age", "\"1s\""),
];
/// One writer keeps the order of records.
const STREAM_BATCHES: &[Key] =
    &[key("compression", "\"gzip\""), key("batch_bytes", "\"5MiB\""), key("in_flight", "1"), key("max_age", "\"1s\"")];

/// Keys of every type of sink, for finding one whose type is not known yet.
pub const ANY_SINK: Group = &[TYPE, ELASTICSEARCH, AZURE_MONITOR, FILE, CONSOLE, REMOTE_BATCHES, TRANSPORT];

/// Keys of every sink about its transport and who we are to it; without effect where there is none.
const TRANSPORT: &[Key] = &[
    key("timeout", "\"30s\""),
    bare("proxy", Kind::Url, Some("\"\"")),
    bare("headers", Kind::SecretMap, Some("{}")),
    key("ca_file", "\"\""),
    key("client_cert_file", "\"\""),
    bare("api_key", Kind::Secret, Some("\"\"")),
    key("api_key_file", "\"\""),
    key("username", "\"\""),
    bare("password", Kind::Secret, Some("\"\"")),
    key("password_file", "\"\""),
    bare("bearer_token", Kind::Secret, Some("\"\"")),
    key("bearer_token_file", "\"\""),
    bare("when", Kind::MapOfLists, None),
];

const TYPE: &[Key] = &[bare("type", Kind::Plain, None)];

const CREDENTIAL: Group = &[&[
    key("kind", "\"auto\""),
    key("tenant_id", "\"\""),
    key("client_id", "\"\""),
    bare("client_secret", Kind::Secret, Some("\"\"")),
    key("client_secret_file", "\"\""),
]];

const ELASTICSEARCH: &[Key] = &[bare("endpoints", Kind::List, None), key("index", "\"logs-benchmark-default\"")];

const AZURE_MONITOR: &[Key] = &[
    bare("endpoint", Kind::Plain, None),
    bare("dcr_id", Kind::Plain, None),
    bare("stream", Kind::Plain, None),
    key("workspace_id", "\"\""),
    key("table", "\"\""),
    key("query_endpoint", "\"\""),
    bare("credential", Kind::Table(CREDENTIAL), None),
];

const FILE: &[Key] =
    &[key("path", "\"/var/log/logferry/records.ndjson\""), key("max_bytes", "\"100MiB\""), key("keep", "0")];

const CONSOLE: &[Key] = &[key("format", "\"pretty\"")];

/// Types of a sink and the keys of each.
pub const SINK_TYPES: &[(&str, Group)] = &[
    ("elasticsearch", &[TYPE, ELASTICSEARCH, REMOTE_BATCHES, TRANSPORT]),
    ("azure_monitor", &[TYPE, AZURE_MONITOR, AZURE_BATCHES, TRANSPORT]),
    ("file", &[TYPE, FILE, STREAM_BATCHES, TRANSPORT]),
    ("console", &[TYPE, CONSOLE, STREAM_BATCHES, TRANSPORT]),
];

/// The type of a sink: its key `type`, else its name where that is one. `None`: it has no valid type.
pub fn sink_type(name: &str, sink: &Node) -> Option<&'static (&'static str, Group)> {
    let given = match sink.get("type").map(|node| &node.value) {
        Some(Value::Text(text)) => text,
        Some(_) => return None,
        None => name,
    };
    SINK_TYPES.iter().find(|(known, _)| *known == given)
}

/// All keys of a group.
pub fn keys(group: Group) -> impl Iterator<Item = &'static Key> {
    group.iter().flat_map(|part| part.iter())
}

/// The key of this name in a group.
pub fn find(group: Group, name: &str) -> Option<&'static Key> {
    keys(group).find(|key| key.name == name)
}

/// The path of a key as the user sees it: entries of an array of tables have their number in brackets.
pub fn path_of(path: &str, key: &str) -> String {
    let is_entries = find_entries(ROOT, path.split('.'));
    if is_entries && key.parse::<usize>().is_ok() { format!("{path}[{key}]") } else { node::join(path, key) }
}

fn find_entries<'a>(group: Group, mut path: impl Iterator<Item = &'a str>) -> bool {
    let Some(key) = path.next().and_then(|name| find(group, name)) else { return false };
    match key.kind {
        Kind::Table(inner) => find_entries(inner, path),
        Kind::Entries(_) => path.next().is_none(),
        _ => false,
    }
}

/// The default of every key, entry by entry for the sources and sinks that `given` has.
pub fn defaults(group: Group, given: Option<&Node>) -> Node {
    let mut table = Vec::new();
    for key in keys(group) {
        let present = given.and_then(|node| node.get(key.name));
        let node = match key.kind {
            Kind::Table(inner) => Some(defaults(inner, present)),
            Kind::Entries(inner) => {
                let entries = present.map(Node::table).unwrap_or_default();
                Some(named(entries.iter().map(|(index, entry)| (index.clone(), defaults(inner, Some(entry))))))
            }
            Kind::Sinks => {
                let sinks = present.map(Node::table).unwrap_or_default();
                Some(named(sinks.iter().filter_map(|(name, sink)| {
                    let (kind, inner) = sink_type(name, sink)?;
                    let mut table = defaults(inner, Some(sink));
                    if let Value::Table(keys) = &mut table.value {
                        let kind = Value::Text((*kind).to_owned());
                        keys.push(("type".to_owned(), Node { origin: Origin::Default, value: kind }));
                    }
                    Some((name.clone(), table))
                })))
            }
            _ => key.default.and_then(|text| document::value(text, &Origin::Default)),
        };
        table.extend(node.map(|node| (key.name.to_owned(), node)));
    }
    Node { origin: Origin::Default, value: Value::Table(table) }
}

fn named(nodes: impl Iterator<Item = (String, Node)>) -> Node {
    Node { origin: Origin::Default, value: Value::Table(nodes.collect()) }
}

/// Gives the entries of `[[sources.…]]` the keys `0`, `1`, …, so that layers merge them one by one.
pub fn number_entries(node: &mut Node, group: Group) {
    for key in keys(group) {
        let Some(child) = node.get_mut(key.name) else { continue };
        match key.kind {
            Kind::Table(inner) => number_entries(child, inner),
            Kind::Entries(_) => {
                if let Value::List(list) = &mut child.value {
                    let entries = std::mem::take(list).into_iter().enumerate();
                    child.value = Value::Table(entries.map(|(index, entry)| (index.to_string(), entry)).collect());
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(group: Group, check: &mut dyn FnMut(&Key)) {
        let mut names = Vec::new();
        for key in keys(group) {
            assert!(!names.contains(&key.name), "{} stands twice", key.name);
            names.push(key.name);
            check(key);
            if let Kind::Table(inner) | Kind::Entries(inner) = key.kind {
                each(inner, check);
            }
        }
    }

    #[test]
    fn every_default_is_toml_and_no_name_stands_twice_in_a_table() {
        let mut check = |key: &Key| {
            if let Some(text) = key.default {
                assert!(document::value(text, &Origin::Default).is_some(), "{} = {text}", key.name);
            }
        };
        each(ROOT, &mut check);
        for (_, group) in SINK_TYPES {
            each(group, &mut check);
        }
    }
}
