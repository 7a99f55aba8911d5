//! Names that do not exist and shapes that cannot be: the tree against the table of keys. Types of single values
//! are checked where they are read.

use super::environment::PREFIX;
use super::keys::{Group, Kind, ROOT, SINK_TYPES, find, keys, sink_type};
use super::mistake::{Report, nearest};
use super::node::{Node, Origin, Value, join};

/// Reports and removes every key that does not exist, and tables written as an array or the reverse.
pub fn refuse(node: &mut Node, group: Group, path: &str, report: &Report) {
    let Value::Table(table) = &mut node.value else { return };
    table.retain(|(name, child)| {
        let known = find(group, name).is_some();
        if !known {
            unknown(name, child, group, path, report);
        }
        known
    });
    for (name, child) in table.iter_mut() {
        let Some(key) = find(group, name) else { continue };
        let path = join(path, name);
        match key.kind {
            Kind::Table(inner) => refuse(child, inner, &path, report),
            Kind::Entries(inner) => refuse_in_entries(child, inner, &path, report),
            Kind::Sinks => refuse_in_sinks(child, &path, report),
            _ => {}
        }
    }
}

fn unknown(name: &str, child: &Node, group: Group, path: &str, report: &Report) {
    let near = nearest(name, keys(group).map(|key| key.name)).map(str::to_owned);
    let elsewhere = sections_with(name);
    let mut expected = format!("one of {}", keys(group).map(|key| key.name).collect::<Vec<_>>().join(", "));
    if near.is_none() && !elsewhere.is_empty() {
        expected.push_str(&format!(" ({name} is a key of {})", elsewhere.join(" and ")));
    }
    let what = if path.is_empty() { "is no section of the configuration" } else { "is no key of this table" };
    report.add_near(&child.origin, &join(path, name), what, near, expected);
}

/// Sections that have a key of this name, to point a newcomer there.
fn sections_with(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for section in keys(ROOT) {
        match section.kind {
            Kind::Table(inner) if find(inner, name).is_some() => found.push(format!("[{}]", section.name)),
            Kind::Table(inner) => found.extend(keys(inner).filter_map(|key| match key.kind {
                Kind::Entries(entry) => find(entry, name).map(|_| format!("[[{}.{}]]", section.name, key.name)),
                _ => None,
            })),
            _ => {}
        }
    }
    found
}

fn refuse_in_entries(node: &mut Node, group: Group, path: &str, report: &Report) {
    let Value::Table(table) = &mut node.value else { return };
    let expected = format!("[[{path}]] with two brackets, once for each source");
    if let Some((_, first)) = table.iter().find(|(index, _)| index.parse::<usize>().is_err()) {
        match &first.origin {
            Origin::Variable(_) => report.add(
                &first.origin,
                path,
                "names no entry",
                format!("the number of the entry, counted from 0, after {}", variable_of(path)),
            ),
            _ => report.add(&node.origin, path, "is one table", expected),
        }
        node.value = Value::Refused;
        return;
    }
    table.sort_by_key(|(index, _)| index.parse::<usize>().unwrap_or_default());
    for (place, (index, child)) in table.iter_mut().enumerate() {
        let entry_path = format!("{path}[{index}]");
        if index.parse::<usize>() != Ok(place) {
            let what = format!("there is no entry {place} before it");
            report.add(&child.origin, &entry_path, what, "entries counted from 0, without a gap");
            child.value = Value::Refused;
            return;
        } else if !matches!(child.value, Value::Table(_)) {
            report.add(&child.origin, &entry_path, format!("is {}", child.value.kind()), expected.clone());
            child.value = Value::Refused;
        } else {
            refuse(child, group, &entry_path, report);
        }
    }
}

/// What the variables for a path begin with.
fn variable_of(path: &str) -> String {
    format!("{PREFIX}{}__", path.to_ascii_uppercase().replace('.', "__"))
}

fn refuse_in_sinks(node: &mut Node, path: &str, report: &Report) {
    let Value::Table(table) = &mut node.value else { return };
    for (name, sink) in table {
        let sink_path = join(path, name);
        if !matches!(sink.value, Value::Table(_)) {
            let what = format!("is {}", sink.value.kind());
            report.add(&sink.origin, &sink_path, what, format!("a table: [{sink_path}]"));
            sink.value = Value::Refused;
            continue;
        }
        match sink_type(name, sink) {
            Some((_, group)) => refuse(sink, group, &sink_path, report),
            None => {
                no_type(name, sink, &sink_path, report);
                sink.value = Value::Refused;
            }
        }
    }
}

/// The sink has no type, so nothing is known about its other keys.
fn no_type(name: &str, sink: &Node, path: &str, report: &Report) {
    let types = || SINK_TYPES.iter().map(|(name, _)| *name);
    let listed: Vec<String> = types().map(|name| format!("\"{name}\"")).collect();
    let expected = format!("type = one of {}", listed.join(", "));
    match sink.get("type") {
        Some(Node { value: Value::Refused, .. }) => {}
        Some(Node { origin, value: Value::Text(text) }) => {
            let near = nearest(text, types()).map(|name| format!("{name:?}"));
            report.add_near(origin, &join(path, "type"), format!("{text:?} is no type of sink"), near, expected);
        }
        Some(Node { origin, value }) => {
            report.add(origin, &join(path, "type"), format!("is {}", value.kind()), expected);
        }
        None => {
            let near = nearest(name, types()).map(|name| format!("[sinks.{name}]"));
            let what = format!("has no type, and its name {name:?} is none");
            report.add_near(&sink.origin, path, what, near, expected);
        }
    }
}
