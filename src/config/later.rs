//! The one table of what is configured for stages that are not built yet.

use super::keys::path_of;
use super::mistake::Report;
use super::node::{Node, Value};

/// Keys of which a table as their value has to wait; `*` stands for any one name or entry.
const LATER: &[&str] = &["sources.file.*.multiline", "sources.docker.*.multiline"];

/// Reports every value that has to wait and takes it out of the tree.
pub fn refuse(tree: &mut Node, report: &Report) {
    for path in LATER {
        let segments: Vec<&str> = path.split('.').collect();
        visit(tree, &segments, "", &mut |node, shown| {
            if is_table(node) {
                report.add(&node.origin, shown, "a table here is not available yet", "\"auto\" or \"none\"");
                node.value = Value::Refused;
            }
        });
    }
}

fn is_table(node: &Node) -> bool {
    match &node.value {
        Value::Table(_) => true,
        Value::Text(text) => text.starts_with('{'),
        _ => false,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document;

    #[test]
    fn what_has_to_wait_is_refused_and_a_word_is_not() {
        let check = |text: &str, expected: &[&str]| {
            let mut tree = document::parse(text).expect("TOML");
            let report = Report::default();
            refuse(&mut tree, &report);
            let mistakes = report.finish("f");
            let keys: Vec<&str> = mistakes.iter().map(|mistake| mistake.key.as_str()).collect();
            assert_eq!(keys, expected, "{text}");
        };
        check("[sources.file.0]\nmultiline = \"none\"\n", &[]);
        check("[sources.file.0]\nmultiline = { start = \"x\" }\nparser = \"auto\"\n", &["sources.file[0].multiline"]);
        check("[sources.docker.0]\nmultiline = \"{ start = 'x' }\"\n", &["sources.docker[0].multiline"]);
    }
}
