//! The environment as a layer: `LOGFERRY__SECTION__KEY`, e.g. `LOGFERRY__SINKS__ELASTICSEARCH__IN_FLIGHT=4`,
//! `LOGFERRY__SOURCES__FILE__0__INCLUDE=/a/*.log,/b/*.log`. Finds the key that is meant; its type is checked later.

use std::collections::BTreeMap;
use std::fmt;

use super::document;
use super::keys::{ANY_SINK, Kind, ROOT, find, keys, path_of};
use super::mistake::Report;
use super::node::{Node, Origin, Value};
use crate::record::column::COLUMNS;

/// What every variable of this layer begins with.
pub const PREFIX: &str = "LOGFERRY__";

/// Most entries that one kind of source may have.
pub const SOURCES_MAX: usize = 100;

/// The environment variables that a configuration may speak of.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, String>);

/// Names only: values may be secrets.
impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Variables {
    /// Those of this process; one that is not UTF-8 counts as not set.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Variables(pairs.into_iter().collect())
    }
}

/// The layer of the environment. `file`: names that the user gave there are found again in any case,
/// with `_` for `-`.
pub fn layer(variables: &Variables, file: &Node, report: &Report) -> Node {
    let mut root = Node::empty(Origin::Default);
    for (name, text) in &variables.0 {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let origin = Origin::Variable(name.clone());
        let (path, kind) = locate(rest, file);
        let shown = path.iter().fold(String::new(), |shown, key| path_of(&shown, key));
        let value = match kind {
            Some(Kind::Table(_) | Kind::Map | Kind::SecretMap | Kind::MapOfLists | Kind::Sinks) => {
                match document::value(text, &origin).filter(|node| matches!(node.value, Value::Table(_))) {
                    Some(node) => node.value,
                    None => {
                        report.add(
                            &origin,
                            &shown,
                            "is no table",
                            "an inline table of TOML, such as { key = \"value\" }",
                        );
                        continue;
                    }
                }
            }
            Some(Kind::Entries(_)) => {
                let expected = format!("one variable for each key: {name}__0__NAME and so on");
                report.add(&origin, &shown, "cannot be set as a whole", expected);
                continue;
            }
            Some(Kind::List) => match list(text, &origin) {
                Some(list) => Value::List(list),
                None => {
                    report.add(&origin, &shown, "is no TOML array", "a,b or [\"a\", \"b\"]");
                    Value::Refused
                }
            },
            Some(Kind::Plain | Kind::Secret | Kind::Url) | None => Value::Text(text.clone()),
        };
        if insert(&mut root, &path, Node { origin: origin.clone(), value }).is_err() {
            report.add(&origin, &shown, "another variable sets a key above or below it", "only one of them");
        }
    }
    root
}

/// The key that a variable means, and what stands behind it (`None`: there is no such key).
fn locate(rest: &str, file: &Node) -> (Vec<String>, Option<Kind>) {
    let mut path = Vec::new();
    let mut kind = Some(Kind::Table(ROOT));
    let mut at = Some(file);
    for segment in rest.split("__") {
        let given: Vec<&str> =
            at.map(|node| node.table().iter().map(|(name, _)| name.as_str()).collect()).unwrap_or_default();
        let chosen = match kind {
            Some(Kind::Table(group)) => {
                let names = keys(group).map(|key| key.name);
                names.chain(given).find(|name| means(segment, name)).map(str::to_owned)
            }
            Some(Kind::Map | Kind::SecretMap | Kind::MapOfLists) => {
                let columns = COLUMNS.iter().map(|column| column.name);
                let named = given.into_iter().chain(columns).find(|name| means(segment, name));
                Some(named.unwrap_or(segment).to_owned())
            }
            _ => given.into_iter().find(|name| means(segment, name)).map(str::to_owned),
        }
        .unwrap_or_else(|| segment.to_ascii_lowercase());
        kind = match kind {
            Some(Kind::Table(group)) => find(group, &chosen).map(|key| key.kind),
            Some(Kind::Entries(group)) => Some(Kind::Table(group)),
            Some(Kind::Sinks) => Some(Kind::Table(ANY_SINK)),
            Some(Kind::Map) => Some(Kind::Plain),
            Some(Kind::SecretMap) => Some(Kind::Secret),
            Some(Kind::MapOfLists) => Some(Kind::List),
            _ => None,
        };
        at = at.and_then(|node| node.get(&chosen));
        path.push(chosen);
    }
    (path, kind)
}

/// `a,b` or `["a", "b"]`; `None`: it begins like an array and is none.
fn list(text: &str, origin: &Origin) -> Option<Vec<Node>> {
    if text.trim_start().starts_with('[') {
        return match document::value(text, origin)?.value {
            Value::List(list) => Some(list),
            _ => None,
        };
    }
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    Some(words.map(|word| Node { origin: origin.clone(), value: Value::Text(word.to_owned()) }).collect())
}

fn means(segment: &str, name: &str) -> bool {
    segment.len() == name.len()
        && segment.chars().zip(name.chars()).all(|(a, b)| a.eq_ignore_ascii_case(&b) || (a == '_' && b == '-'))
}

/// Puts a value at its place; `Err` where something stands in its way.
fn insert(node: &mut Node, path: &[String], value: Node) -> Result<(), ()> {
    let Value::Table(table) = &mut node.value else { return Err(()) };
    let Some((key, rest)) = path.split_first() else { return Err(()) };
    if let Some(place) = table.iter().position(|(name, _)| name == key) {
        let Some((_, child)) = table.get_mut(place) else { return Err(()) };
        return if rest.is_empty() { Err(()) } else { insert(child, rest, value) };
    }
    if rest.is_empty() {
        table.push((key.clone(), value));
        return Ok(());
    }
    let mut child = Node::empty(value.origin.clone());
    insert(&mut child, rest, value)?;
    table.push((key.clone(), child));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_finds_the_key_that_is_meant() {
        let file =
            document::parse("[sinks.My-Es]\ntype = \"elasticsearch\"\n[run.fields]\nTeam = \"a\"\n").expect("TOML");
        let check = |name: &str, expected: &str, known: bool| {
            let (path, kind) = locate(name, &file);
            assert_eq!((path.join("/").as_str(), kind.is_some()), (expected, known), "{name}");
        };
        check("BUFFER__MAX_BYTES", "buffer/max_bytes", true);
        check("buffer__max_bytes", "buffer/max_bytes", true);
        check("SINKS__MY_ES__API_KEY", "sinks/My-Es/api_key", true);
        check("SINKS__OTHER__ENDPOINT", "sinks/other/endpoint", true);
        check("SINKS__OTHER__FORMAT", "sinks/other/format", true);
        check("SINKS__OTHER__CREDENTIAL__KIND", "sinks/other/credential/kind", true);
        check("RUN__FIELDS__TEAM", "run/fields/Team", true);
        check("RUN__FIELDS__Owner", "run/fields/Owner", true);
        check("SINKS__OTHER__WHEN__LEVEL", "sinks/other/when/Level", true);
        check("SOURCES__FILE__0__INCLUDE", "sources/file/0/include", true);
        check("BUFER__SYNC", "bufer/sync", false);
    }

    #[test]
    fn one_variable_cannot_stand_in_the_way_of_another() {
        let variables = ["BUFFER={ sync = \"1s\" }", "BUFFER__SYNC=2s", "LOG__LEVEL=warn"];
        let pairs = variables.iter().filter_map(|pair| pair.split_once('='));
        let variables: Variables = pairs.map(|(name, value)| (format!("{PREFIX}{name}"), value.to_owned())).collect();
        let report = Report::default();
        let layer = layer(&variables, &Node::empty(Origin::Default), &report);
        assert!(layer.get("log").is_some_and(|log| log.get("level").is_some()));
        assert!(
            report.finish("f").to_string().starts_with("environment variable LOGFERRY__BUFFER__SYNC: buffer.sync: ")
        );
    }
}
