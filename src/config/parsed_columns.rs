//! `record.columns`: which field of a line fills which column.

use super::column::{GIVEN_BY_PATH, check_own, same_letters};
use super::node::quoted;
use super::table::{Given, Table};
use crate::azure::whereabouts;
use crate::ingest::OwnColumns;
use crate::ingest::parse::columns::{OWN_MAX, PATH_DEPTH_MAX, PATH_MAX_BYTES};
use crate::record::column::{AzureType, COLUMNS, Filled};

/// What stands before the name of a field elsewhere, such as in `record.metric`; it may stand here too.
const FIELDS: &str = "Fields.";

const EXPECTED: &str =
    "the name of a field in quotes, with dots where it is nested, such as \"user_id\" or \"usage.total_tokens\"";

/// Whether a column of ours may be filled by any field: one that comes out of a line, and is text or a number.
fn is_open(name: &str) -> bool {
    let is_value = |azure| matches!(azure, AzureType::String | AzureType::Long | AzureType::Real);
    let of_line = |column: &&crate::record::column::Column| column.filled == Filled::Line && is_value(column.azure);
    GIVEN_BY_PATH.contains(&name) || COLUMNS.iter().filter(of_line).any(|column| column.name == name)
}

/// Reads the table `columns`; `constant`: columns of `[run.fields]`, which have a value already.
pub fn columns(table: &Table<'_>, constant: &[(String, whereabouts::Value)]) -> OwnColumns {
    let mut columns: Vec<(String, String)> = Vec::new();
    for (name, given) in table.map("columns", EXPECTED) {
        let named = check_name(&name, &given, constant);
        let Some(path) = path(&given) else { continue };
        if let Some((other, _)) = columns.iter().find(|(_, taken)| taken == path) {
            given.mistake(&format!("goes to the column {other} already"), None, "each field once");
        } else if named {
            columns.push((name, path.to_owned()));
        }
    }
    if columns.len() > OWN_MAX {
        table.mistake("columns", format!("has {} columns", columns.len()), format!("at most {OWN_MAX}"));
    }
    OwnColumns::new(columns)
}

/// Reports a name that no field can fill.
fn check_name(name: &str, given: &Given<'_>, constant: &[(String, whereabouts::Value)]) -> bool {
    if is_open(name) {
        return true;
    }
    if constant.iter().any(|(known, _)| known == name) {
        let what = format!("the column {} has its value from run.fields already", quoted(name));
        given.mistake_unseen(&what, None, "another name, or no such column in run.fields");
        return false;
    }
    check_own(name, &mut |what, near| {
        let near = near.or_else(|| same_letters(name).map(str::to_owned)).filter(|near| is_open(near));
        let open: Vec<&str> = COLUMNS.iter().map(|column| column.name).filter(|name| is_open(name)).collect();
        let expected = format!("a name of your own, or {}", open.join(", "));
        given.mistake_unseen(&format!("the name {} {what}", quoted(name)), near, expected);
    })
}

/// The path of a field, as ingest takes it.
fn path<'g>(given: &'g Given<'_>) -> Option<&'g str> {
    let path = given.text.strip_prefix(FIELDS).unwrap_or(&given.text);
    let names = path.split('.').count();
    let what = match () {
        () if given.text.is_empty() => "is empty".to_owned(),
        () if path.split('.').any(str::is_empty) => "has a name of no letters".to_owned(),
        () if path.len() > PATH_MAX_BYTES => format!("has {} bytes: at most {PATH_MAX_BYTES}", path.len()),
        () if names > PATH_DEPTH_MAX => format!("goes through {names} names: at most {PATH_DEPTH_MAX}"),
        () => return Some(path),
    };
    match given.text.is_empty() {
        true => given.mistake_unseen(&what, None, EXPECTED),
        false => given.mistake(&what, None, EXPECTED),
    }
    None
}
