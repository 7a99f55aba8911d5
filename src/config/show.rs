//! `config show`: the configuration that results from all layers, as TOML, with every secret masked.

use super::Loaded;
use super::interpolate::escape;
use super::keys::{Group, Key, Kind, ROOT, keys, sink_type};
use super::node::{Node, Origin, Value, bare_or_quoted, quoted};
use super::table::{MASK, mask_user};

/// The effective configuration; a comment says where each value comes from that is not a default.
pub fn show(loaded: &Loaded) -> String {
    let mut out = format!("# Effective configuration of {}; secrets are shown as {MASK}.\n", loaded.file);
    out.push_str("# A comment names the line or the variable that gives a value; all others are defaults.\n");
    section(&mut out, ROOT, &loaded.effective, "");
    out
}

/// Tables of a group, and its values under the header `path`.
fn section(out: &mut String, group: Group, node: &Node, path: &str) {
    for key in keys(group) {
        let Some(child) = node.get(key.name) else { continue };
        let path = super::node::join(path, key.name);
        match key.kind {
            Kind::Table(inner) if keys(inner).any(is_entries) => {
                if !keys(inner).all(is_entries) {
                    block(out, &format!("[{path}]"), inner, child);
                }
                section(out, inner, child, &path);
            }
            Kind::Table(inner) => block(out, &format!("[{path}]"), inner, child),
            Kind::Entries(inner) => {
                for (_, entry) in child.table() {
                    block(out, &format!("[[{path}]]"), inner, entry);
                }
            }
            Kind::Sinks => {
                for (name, sink) in child.table() {
                    if let Some((_, inner)) = sink_type(name, sink) {
                        block(out, &format!("[{path}.{}]", bare_or_quoted(name)), inner, sink);
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_entries(key: &Key) -> bool {
    matches!(key.kind, Kind::Entries(_))
}

/// A header and one line for each key; entries have headers of their own.
fn block(out: &mut String, header: &str, group: Group, node: &Node) {
    out.push_str(&format!("\n{header}\n"));
    for key in keys(group).filter(|key| !is_entries(key)) {
        let Some(child) = node.get(key.name) else { continue };
        out.push_str(&format!("{} = {}", key.name, value(key.kind, child)));
        let mut origins = Vec::new();
        origins_of(child, &mut origins);
        if let (Origin::Default, Some(default)) = (&child.origin, key.default.filter(|text| text.contains("${"))) {
            origins.push(format!("default {default}"));
        }
        if !origins.is_empty() {
            out.push_str(&format!("  # {}", origins.join(", ")));
        }
        out.push('\n');
    }
}

/// Where a value comes from, in words; nothing for a default.
fn origins_of(node: &Node, found: &mut Vec<String>) {
    let said = match &node.origin {
        Origin::Default => None,
        Origin::File { line, .. } => Some(format!("line {line}")),
        Origin::Variable(name) => Some(name.clone()),
    };
    match &node.value {
        Value::Table(table) if !table.is_empty() => table.iter().for_each(|(_, child)| origins_of(child, found)),
        _ => found.extend(said.filter(|said| !found.contains(said))),
    }
}

fn value(kind: Kind, node: &Node) -> String {
    match (&node.value, kind) {
        (Value::Text(text), Kind::Secret) if !text.is_empty() => quoted(MASK),
        (Value::Text(text), Kind::Url) => quoted(&escape(&mask_user(text))),
        (Value::Text(text), _) => quoted(&escape(text)),
        (Value::Integer(number), Kind::Plain) => number.to_string(),
        (Value::Float(number), Kind::Plain) => format!("{number:?}"),
        (Value::Flag(flag), Kind::Plain) => flag.to_string(),
        (Value::List(list), _) => {
            let kind = if matches!(kind, Kind::List) { Kind::Plain } else { kind };
            format!("[{}]", list.iter().map(|item| value(kind, item)).collect::<Vec<_>>().join(", "))
        }
        (Value::Table(table), _) => {
            let pair = |name: &str, kind, child| format!("{} = {}", bare_or_quoted(name), value(kind, child));
            let pairs: Vec<String> = match kind {
                Kind::Table(group) => {
                    let known = keys(group).filter_map(|key| Some((key, node.get(key.name)?)));
                    known.map(|(key, child)| pair(key.name, key.kind, child)).collect()
                }
                Kind::SecretMap => table.iter().map(|(name, child)| pair(name, Kind::Secret, child)).collect(),
                _ => table.iter().map(|(name, child)| pair(name, Kind::Plain, child)).collect(),
            };
            if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) }
        }
        // Whatever else stands where a secret belongs.
        _ => quoted(MASK),
    }
}
