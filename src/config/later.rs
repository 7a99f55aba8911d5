//! The one table of what is configured for stages that are not built yet.

use super::document;
use super::keys::{Group, Kind, ROOT, find, path_of};
use super::mistake::Report;
use super::node::{Node, Origin, Value, quoted};

/// What of a key has to wait.
#[derive(Clone, Copy, Debug)]
enum Later {
    /// All of it: only the default and these values, which switch the stage off, are taken.
    Key { off: &'static [&'static str] },
}

/// Key and what of it has to wait; `*` stands for any one name or entry.
const LATER: &[(&str, Later)] = &[
    ("record.columns", Later::Key { off: &[] }),
    ("record.drop", Later::Key { off: &[] }),
    ("record.sample", Later::Key { off: &[] }),
    ("record.metric", Later::Key { off: &[] }),
];

/// Reports every value that has to wait and takes it out of the tree.
pub fn refuse(tree: &mut Node, report: &Report) {
    for (path, later) in LATER {
        let segments: Vec<&str> = path.split('.').collect();
        visit(tree, &segments, "", &mut |node, shown| {
            let Some((what, expected)) = refusal(node, *later, default_of(&segments).as_ref()) else { return };
            let origin = match &node.value {
                // A list of tables has no line of its own worth showing; its first entry has.
                Value::List(list) if matches!(node.origin, Origin::File { .. }) => {
                    list.first().map_or(&node.origin, |first| &first.origin)
                }
                _ => &node.origin,
            };
            report.add(origin, shown, what, expected);
            node.value = Value::Refused;
        });
    }
}

/// What is wrong with a value and what would be right; `None`: it can be taken.
fn refusal(node: &Node, later: Later, default: Option<&Node>) -> Option<(String, String)> {
    let text = match &node.value {
        Value::Refused => return None,
        Value::Text(text) => Some(text.as_str()),
        _ => None,
    };
    match later {
        Later::Key { off } => {
            let is_default = default.is_some_and(|default| node.same_value(default));
            let is_off = text.is_some_and(|text| off.contains(&text));
            if is_default || is_off {
                return None;
            }
            let mut words: Vec<String> = default.and_then(words_of).into_iter().collect();
            words.extend(off.iter().filter(|text| !text.is_empty()).map(|text| quoted(text)));
            let expected = match words.is_empty() {
                true => "nothing: leave it out".to_owned(),
                false => format!("{}, or leave it out", words.join(" or ")),
            };
            Some(("is not available yet".to_owned(), expected))
        }
    }
}

/// A default as a user would write it; `None` where it is an empty table or list.
fn words_of(default: &Node) -> Option<String> {
    match &default.value {
        Value::Text(text) => Some(quoted(text)),
        Value::List(list) if !list.is_empty() => {
            Some(format!("[{}]", list.iter().filter_map(words_of).collect::<Vec<_>>().join(", ")))
        }
        _ => None,
    }
}

/// Calls `each` for every value that the path means, with the path as the user sees it.
fn visit(node: &mut Node, segments: &[&str], shown: &str, each: &mut dyn FnMut(&mut Node, &str)) {
    let Some((segment, rest)) = segments.split_first() else { return each(node, shown) };
    let Value::Table(table) = &mut node.value else { return };
    for (name, child) in table {
        if *segment == "*" || segment == name {
            visit(child, rest, &path_of(shown, name), each);
        }
    }
}

/// The default of the key with this path.
fn default_of(segments: &[&str]) -> Option<Node> {
    let mut group: Group = ROOT;
    for segment in segments {
        if *segment == "*" {
            continue;
        }
        let key = find(group, segment)?;
        match key.kind {
            Kind::Table(inner) | Kind::Entries(inner) => group = inner,
            _ => return key.default.and_then(|text| document::value(text, &Origin::Default)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_table_is_a_key_with_a_default() {
        for (path, _) in LATER {
            let segments: Vec<&str> = path.split('.').collect();
            assert!(default_of(&segments).is_some(), "{path}");
        }
    }

    #[test]
    fn what_has_to_wait_is_refused_and_defaults_and_off_are_not() {
        let check = |text: &str, expected: &[&str]| {
            let mut tree = document::parse(text).expect("TOML");
            let report = Report::default();
            refuse(&mut tree, &report);
            let mistakes = report.finish("f");
            let keys: Vec<&str> = mistakes.iter().map(|mistake| mistake.key.as_str()).collect();
            assert_eq!(keys, expected, "{text}");
        };
        check("buffer = { when_full = \"drop_oldest\" }", &[]);
        check("buffer = { when_full = \"block\" }", &[]);
        check("[record]\ncolumns = {}\n", &[]);
        check("[record]\ncolumns = { A = \"a\" }\n[[record.drop]]\nx = 1\n", &["record.columns", "record.drop"]);
    }
}
