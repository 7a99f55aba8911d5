//! Layers on top of each other, through the `config` crate: a table is merged key by key, any other value replaced.

use config::{Config, ConfigError, Map, Source, Value as Merged, ValueKind};

use super::node::{Node, Origin, Value};

/// Name of the one key under which a layer's tree hangs: `config` reads names on the top level as paths.
const ROOT: &str = "root";

/// Merges layers, the last one on top. Every value keeps its origin; a table has that of the topmost layer
/// that has it and is not the default one.
pub fn merge(layers: &[&Node]) -> Node {
    let mut builder = Config::builder();
    for layer in layers {
        builder = builder.add_source(Layer((*layer).clone()));
    }
    // A layer is a tree in memory: collecting it cannot fail, and without layers there is nothing to merge.
    // (`Config::get` would give values without their origins.)
    let merged = builder.build().and_then(|config| config.collect()).ok().and_then(|mut map| map.remove(ROOT));
    let found: Vec<Option<&Node>> = layers.iter().copied().map(Some).collect();
    merged.map_or_else(|| Node::empty(Origin::Default), |merged| from_merged(&merged, &found))
}

/// One layer, as the `config` crate wants it.
#[derive(Clone, Debug)]
struct Layer(Node);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Merged>, ConfigError> {
        Ok(Map::from([(ROOT.to_owned(), to_merged(&self.0))]))
    }
}

fn to_merged(node: &Node) -> Merged {
    let origin = encode(&node.origin);
    let kind = match &node.value {
        Value::Text(text) => ValueKind::String(text.clone()),
        Value::Integer(number) => ValueKind::I64(*number),
        Value::Float(number) => ValueKind::Float(*number),
        Value::Flag(flag) => ValueKind::Boolean(*flag),
        Value::List(list) => ValueKind::Array(list.iter().map(to_merged).collect()),
        Value::Table(table) => {
            ValueKind::Table(table.iter().map(|(name, node)| (name.clone(), to_merged(node))).collect())
        }
        Value::Refused => ValueKind::Nil,
    };
    Merged::new(Some(&origin), kind)
}

/// `layers`: what each layer has at this place.
fn from_merged(merged: &Merged, layers: &[Option<&Node>]) -> Node {
    let value = match &merged.kind {
        ValueKind::String(text) => Value::Text(text.clone()),
        ValueKind::I64(number) => Value::Integer(*number),
        ValueKind::Float(number) => Value::Float(*number),
        ValueKind::Boolean(flag) => Value::Flag(*flag),
        ValueKind::Array(list) => Value::List(list.iter().map(|item| from_merged(item, &[])).collect()),
        ValueKind::Table(table) => {
            let mut nodes: Vec<(String, Node)> = table
                .iter()
                .map(|(name, item)| {
                    let below: Vec<_> = layers.iter().map(|layer| layer.and_then(|node| node.get(name))).collect();
                    (name.clone(), from_merged(item, &below))
                })
                .collect();
            nodes.sort_by(|a, b| order(a).cmp(&order(b)));
            Value::Table(nodes)
        }
        // No layer has other kinds.
        ValueKind::Nil | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => Value::Refused,
    };
    let given = layers.iter().flatten().map(|node| &node.origin).find(|origin| **origin != Origin::Default);
    let origin = match (&value, merged.origin().map(decode)) {
        (Value::Table(_), found) => given.cloned().or(found).unwrap_or(Origin::Default),
        (_, found) => found.unwrap_or(Origin::Default),
    };
    Node { origin, value }
}

/// The order of the file; then what only the environment has, then what only the defaults have, both by name.
fn order((name, node): &(String, Node)) -> (u8, usize, &str) {
    match node.origin {
        Origin::File { offset, .. } => (0, offset, name),
        Origin::Variable(_) => (1, 0, name),
        Origin::Default => (2, 0, name),
    }
}

/// `config` carries an origin as text.
fn encode(origin: &Origin) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::File { offset, line } => format!("file {offset} {line}"),
        Origin::Variable(name) => format!("variable {name}"),
    }
}

fn decode(text: &str) -> Origin {
    if let Some(name) = text.strip_prefix("variable ") {
        return Origin::Variable(name.to_owned());
    }
    let place = text.strip_prefix("file ").and_then(|place| place.split_once(' '));
    match place.and_then(|(offset, line)| Some((offset.parse().ok()?, line.parse().ok()?))) {
        Some((offset, line)) => Origin::File { offset, line },
        None => Origin::Default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document;

    fn layer(text: &str) -> Node {
        document::parse(text).expect("TOML")
    }

    #[test]
    fn tables_merge_key_by_key_and_lists_are_replaced() {
        let low = layer("a = 1\nl = [1, 2]\n[t]\nx = 1\ny = 1\n");
        let high = document::value("{ t = { y = 2, z = 2 }, l = [3] }", &Origin::Variable("V".into())).expect("TOML");
        let merged = merge(&[&low, &high]);
        let expected = layer("a = 1\nl = [3]\n[t]\nx = 1\ny = 2\nz = 2\n");
        assert!(merged.same_value(&expected), "{merged:#?}");
        let origin = |path: &[&str]| {
            let node = path.iter().try_fold(&merged, |node, key| node.get(key));
            node.expect("it is there").origin.clone()
        };
        assert!(matches!(origin(&["t", "x"]), Origin::File { line: 4, .. }));
        assert_eq!(origin(&["t", "y"]), Origin::Variable("V".into()));
        assert!(matches!(origin(&["t"]), Origin::File { line: 3, .. }));
    }

    #[test]
    fn names_are_never_read_as_paths_and_keep_their_case_and_order() {
        let text = "\"z.y[0]\" = 1\nUpper = 2\na = 3\nm = { q = 1, b = 2 }\n";
        let merged = merge(&[&layer(text)]);
        let names: Vec<&str> = merged.table().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["z.y[0]", "Upper", "a", "m"]);
        let inner: Vec<&str> = merged.get("m").expect("m").table().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(inner, ["q", "b"]);
    }
}
