//! `${VAR}` and `${VAR:-default}` in the strings of the file. `$${` stands for `${` itself.

use super::Variables;
use super::keys::path_of;
use super::mistake::{Report, nearest};
use super::node::{Node, Origin, Value};

/// Replaces the variables in every string of the file. Values of the environment stay as they are:
/// whoever set them could have written what is meant, and a password may hold anything.
pub fn resolve(node: &mut Node, path: &str, variables: &Variables, report: &Report) {
    match &mut node.value {
        Value::Text(_) if matches!(node.origin, Origin::Variable(_)) => {}
        Value::Text(text) => match replace(text, variables) {
            Ok(replaced) => *text = replaced,
            Err(fault) => {
                let (what, near, expected) = fault.words(variables);
                report.add_near(&node.origin, path, what, near, expected);
                node.value = Value::Refused;
            }
        },
        Value::List(list) => {
            for (index, item) in list.iter_mut().enumerate() {
                resolve(item, &format!("{path}[{index}]"), variables, report);
            }
        }
        Value::Table(table) => {
            for (key, item) in table {
                resolve(item, &path_of(path, key), variables, report);
            }
        }
        Value::Integer(_) | Value::Float(_) | Value::Flag(_) | Value::Refused => {}
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Unset(String),
    NotClosed,
    Nested,
    /// Its text is not kept: it may be a piece of a password that happens to hold `${`.
    Name,
}

impl Fault {
    fn words(&self, variables: &Variables) -> (String, Option<String>, String) {
        match self {
            Fault::Unset(name) => (
                format!("the environment variable {name} is not set"),
                nearest(name, variables.names()).map(str::to_owned),
                format!("{name} in the environment, or \"${{{name}:-VALUE}}\" with a value for when it is not set"),
            ),
            Fault::NotClosed => (
                "\"${\" without a closing \"}\"".to_owned(),
                None,
                "\"${VAR}\", or \"$${\" for the characters themselves".to_owned(),
            ),
            Fault::Nested => (
                "a variable inside the default of another".to_owned(),
                None,
                "\"${VAR:-default}\" with plain text as default".to_owned(),
            ),
            Fault::Name => (
                "between \"${\" and \"}\" stands no name of an environment variable".to_owned(),
                None,
                "\"${VAR}\" or \"${VAR:-default}\", or \"$${\" for the characters themselves".to_owned(),
            ),
        }
    }
}

fn replace(text: &str, variables: &Variables) -> Result<String, Fault> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(escaped) = before.strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let (inside, after) = after.split_once('}').ok_or(Fault::NotClosed)?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if default.is_some_and(|default| default.contains("${")) {
            return Err(Fault::Nested);
        }
        let well_formed = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !well_formed {
            return Err(Fault::Name);
        }
        // As in a shell: with `:-` an empty variable counts as not set.
        match (variables.get(name), default) {
            (Some(value), None) => out.push_str(value),
            (Some(value), Some(_)) if !value.is_empty() => out.push_str(value),
            (_, Some(default)) => out.push_str(default),
            (None, None) => return Err(Fault::Unset(name.to_owned())),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Text so that [`resolve`] gives it back unchanged.
pub fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_into_text() {
        let variables = Variables::from_iter([("A".to_owned(), "1".to_owned()), ("EMPTY".to_owned(), String::new())]);
        let check = |text: &str, expected: Result<&str, Fault>| {
            assert_eq!(replace(text, &variables), expected.map(str::to_owned), "{text}");
        };
        check("plain $HOME }", Ok("plain $HOME }"));
        check("${A}", Ok("1"));
        check("x${A}y${A}z", Ok("x1y1z"));
        check("${B:-two}", Ok("two"));
        check("${B:-}", Ok(""));
        check("${A:-two}", Ok("1"));
        check("${EMPTY}", Ok(""));
        check("${EMPTY:-full}", Ok("full"));
        check("$${A}", Ok("${A}"));
        check("a$${b${A}", Ok("a${b1"));
        check("${B}", Err(Fault::Unset("B".into())));
        check("${A", Err(Fault::NotClosed));
        check("${}", Err(Fault::Name));
        check("${A B}", Err(Fault::Name));
        check("${B:-${A}}", Err(Fault::Nested));
    }

    #[test]
    fn what_is_escaped_comes_back() {
        for text in ["${A}", "a", "$${A}", "$", "${"] {
            assert_eq!(replace(&escape(text), &Variables::default()).as_deref(), Ok(text));
        }
    }
}
