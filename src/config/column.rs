//! Names of columns in the configuration, and in rules over them.

use super::mistake::nearest;
use super::node::quoted;
use super::table::Given;
use crate::ingest::lookup;
use crate::ingest::parse::level;
use crate::record::column::{COLUMNS, Filled, check_own_name};

/// Columns that a path capture may give a value, besides the user's own.
pub const GIVEN_BY_PATH: &[&str] = &["RunID", "TaskID", "Benchmark"];

/// Columns that a source may give a value, besides the user's own.
const GIVEN_BY_SOURCE: &[&str] = &["RunID", "TaskID", "Benchmark", "VMName"];

/// The levels of records.
const LEVELS: &str = "TRACE, DEBUG, INFO, WARNING, ERROR or CRITICAL";

/// Reports a name that a source cannot fill as a column.
pub fn check_source_column(name: &str, given: &Given<'_>) -> bool {
    if GIVEN_BY_SOURCE.contains(&name) {
        return true;
    }
    check_own(name, &mut |what, near| {
        let expected = format!("{} or a name of your own", GIVEN_BY_SOURCE.join(", "));
        given.mistake_unseen(&format!("{} {what}", quoted(name)), near, expected);
    })
}

/// The column that a path may give, of which the text of a pattern has another spelling: `RunID` for `/r/{runid}/*`.
pub fn near_capture(pattern: &str) -> Option<&'static str> {
    let names = pattern.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    names
        .filter_map(|(name, _)| same_letters(name).filter(|near| *near != name))
        .find(|near| GIVEN_BY_PATH.contains(near))
}

/// Reports a name that cannot be a column of the user's.
pub fn check_own(name: &str, report: &mut dyn FnMut(&str, Option<String>)) -> bool {
    let near = same_letters(name).map(str::to_owned);
    match check_own_name(name) {
        Err(what) => report(&what, near.filter(|near| near != name)),
        Ok(()) if near.is_some() => report("differs only in its spelling from a column that logferry fills", near),
        Ok(()) => return true,
    }
    false
}

/// The column of ours that a name spells otherwise: `run_id` for RunID.
pub fn same_letters(name: &str) -> Option<&'static str> {
    let letters = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
    COLUMNS.iter().map(|column| column.name).find(|column| letters(column) == letters(name))
}

/// What is wrong with a name in a rule, and the one that was probably meant: columns, `Exception.Type` and its like, and
/// members of `Fields` by their path can be asked for. `own`: columns that the configuration defines.
pub fn wrong_in_rule(name: &str, own: &[String]) -> Option<(String, Option<String>)> {
    if own.iter().any(|column| column == name) || lookup::EXCEPTION_MEMBERS.contains(&name) {
        return None;
    }
    let is_object = || "is an object: a member of it can be asked for".to_owned();
    match name {
        "Fields" | "Fields." => return Some((is_object(), None)),
        "Exception" => return Some((is_object(), Some("Exception.Type".to_owned()))),
        "Part" | "Parts" => return Some(("is not known before a long message is split".to_owned(), None)),
        _ if name.starts_with(lookup::FIELDS) => return None,
        _ if name.starts_with("Exception.") => {
            let near = nearest(name, lookup::EXCEPTION_MEMBERS.iter().copied()).map(str::to_owned);
            return Some(("is no member of Exception".to_owned(), near));
        }
        _ => {}
    }
    if let Some(column) = COLUMNS.iter().find(|column| column.name == name) {
        let late = column.filled == Filled::Sink;
        return late.then(|| ("is not known before a record is sent".to_owned(), None));
    }
    let usable = COLUMNS.iter().filter(|column| column.filled != Filled::Sink).map(|column| column.name);
    let near = same_letters(name).or_else(|| nearest(name, usable).filter(|column| one_letter_off(name, column)));
    match (near, check_own_name(name)) {
        (Some(near), _) => Some(("is no column".to_owned(), Some(near.to_owned()))),
        (None, Err(what)) => Some((what, None)),
        (None, Ok(())) => None,
    }
}

fn one_letter_off(name: &str, column: &str) -> bool {
    strsim::osa_distance(&name.to_ascii_lowercase(), &column.to_ascii_lowercase()) == 1
}

/// How records spell a level.
pub fn level_of_records(text: &str) -> String {
    level::known(text.as_bytes()).map_or_else(|| text.to_ascii_uppercase(), str::to_owned)
}

/// Levels of records are capitals of a known set: a rule with another spelling would never match.
pub fn check_level(glob: &Given<'_>) {
    let mapped = level_of_records(&glob.text);
    if mapped != glob.text {
        let expected = format!("{LEVELS} (what a log calls otherwise is mapped to these), or a glob in capitals");
        glob.mistake("never matches: it is not how records spell their level", Some(quoted(&mapped)), expected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_rules() {
        let own = ["Steam".to_owned()];
        let check = |name: &str, expected: Option<Option<&str>>| {
            let found = wrong_in_rule(name, &own).map(|(_, near)| near);
            assert_eq!(found.as_ref().map(Option::as_deref), expected, "{name}");
        };
        check("Level", None);
        check("Team", None);
        check("Steam", None);
        check("level", Some(Some("Level")));
        check("Levels", Some(Some("Level")));
        check("logger_name", Some(Some("LoggerName")));
        check("Sream", Some(Some("Stream")));
        check("EventID", Some(None));
        check("Fields.x", None);
        check("Fields.usage.tokens", None);
        check("Fields", Some(None));
        check("Exception", Some(Some("Exception.Type")));
        check("Exception.Type", None);
        check("Exception.type", Some(Some("Exception.Type")));
        check("DurationMs", None);
        check("Parts", Some(None));
    }

    #[test]
    fn another_spelling_of_a_captured_column_is_known() {
        let check = |pattern: &str, expected: Option<&str>| assert_eq!(near_capture(pattern), expected, "{pattern}");
        check("/r/{runid}/*.log", Some("RunID"));
        check("/r/{RunID}/{task_id}.log", Some("TaskID"));
        check("/r/{message}/*.log", None);
        check("/r/{Seq}/*.log", None);
        check("/r/{RunID}/{", None);
    }

    #[test]
    fn own_columns_must_not_look_like_ours() {
        let check = |name: &str, good: bool, near: Option<&str>| {
            let mut said = None;
            assert_eq!(check_own(name, &mut |_, near| said = near), good, "{name}");
            assert_eq!(said.as_deref(), near, "{name}");
        };
        check("Team", true, None);
        check("run_id", false, Some("RunID"));
        check("level", false, Some("Level"));
        check("1a", false, None);
    }
}
