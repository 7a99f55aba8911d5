//! Columns that only some lines have: those of agent runs, and the user's own (`record.columns`). Which of a line's
//! fields fills one, and which values it takes; what every line may have stands in [`super::json`] and [`super::pairs`].

use std::borrow::Cow;

use super::json::{Said, json_value, level_of};
use super::object::{Json, Members};
use super::{Context, Field, Text};
use crate::record::column::COLUMNS;

/// Objects of a line that are searched after its top level, in this order.
pub(super) const WITHIN: [&str; 3] = ["extra", "context", "metadata"];

/// Most columns in `record.columns`: each is looked for in every line.
pub const OWN_MAX: usize = 64;

/// Longest path of a field in `record.columns`, in bytes.
pub const PATH_MAX_BYTES: usize = 200;

/// Most names that such a path goes through.
pub const PATH_DEPTH_MAX: usize = 8;

/// Which values a column takes. Any other stays in `Fields`: so no record is refused for the type of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// Text, a number, `true` or `false`.
    Scalar,
    Text,
    /// Text that begins with a letter: the number of an HTTP status is none.
    Word,
    /// A whole number of 64 bits.
    Whole,
    Number,
}

/// From here on a double holds no longer every whole number: 2 to the 53rd.
const WHOLE_LIMIT: f64 = 9_007_199_254_740_992.0;

/// Columns of agent runs, and the name of the field that fills each.
const AGENT: &[(&str, &str, Takes)] = &[
    ("ModelName", "model_name", Takes::Text),
    ("PromptTokens", "prompt_tokens", Takes::Whole),
    ("CompletionTokens", "completion_tokens", Takes::Whole),
    ("TotalTokens", "total_tokens", Takes::Whole),
    ("Cost", "cost", Takes::Number),
    ("Status", "status", Takes::Word),
    ("ErrorType", "error_type", Takes::Text),
];

/// Names of agent runs that have one place in `Fields`, if they stand there: at its top level, also where they stood in an
/// object of [`WITHIN`].
const ONE_PLACE: &[&str] = &[
    "execution_id",
    "agent_name",
    "crew_name",
    "model_name",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cost",
    "duration_seconds",
    "attempt",
    "status",
    "error_type",
    "event_type",
    "severity",
    "task_id",
    "priority",
    "correlation_id",
];

/// A column with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub name: Cow<'static, str>,
    pub text: String,
    /// The text is a number, `true` or `false`, and stands in JSON as it stands here.
    pub is_literal: bool,
}

/// `record.columns`: names of columns and the path of the field that fills each, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnColumns(Vec<(String, String)>);

impl OwnColumns {
    /// `columns`: name and path; a path is the name of a field, or names joined by dots.
    pub fn new(columns: Vec<(String, String)>) -> Self {
        OwnColumns(columns)
    }

    /// The names, columns of the contract among them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Those that may be taken: the column of the contract, if it is one, and path. What the origin knows comes first.
    fn open<'c>(&'c self, context: Context<'c>) -> impl Iterator<Item = (&'c str, Option<&'static str>, &'c str)> {
        let open = self.0.iter().filter(move |(name, _)| context.constants.get(name).is_none());
        open.map(|(name, path)| {
            let known = COLUMNS.iter().map(|column| column.name).find(|known| known == name);
            (name.as_str(), known, path.as_str())
        })
    }
}

/// Which values a column of the contract takes that is neither a level nor an id.
fn takes(column: &str) -> Takes {
    match column {
        "DurationMs" => Takes::Number,
        _ => AGENT.iter().find(|(name, ..)| *name == column).map_or(Takes::Text, |(.., takes)| *takes),
    }
}

/// Takes what `record.columns` names out of an object; `said`: columns that are filled already.
pub(super) fn take_own(object: &mut Members<'_>, said: Said, context: Context<'_>) -> Vec<Named> {
    let wanted = context.own.open(context).filter(|(name, ..)| !said.says(name));
    wanted.filter_map(|(name, known, path)| take_path(object, path, |value| own_value(name, known, value))).collect()
}

/// The value as that of a column of `record.columns`; `known`: it is one of the contract.
fn own_value(name: &str, known: Option<&'static str>, value: &Json<'_>) -> Option<Named> {
    match known {
        None => read(Takes::Scalar, name.to_owned(), value),
        Some("Level") => level_of(value).map(|text| Named { name: "Level".into(), text, is_literal: false }),
        // A number that is an id is text, as in every record.
        Some(column @ ("RunID" | "TaskID")) => {
            read(Takes::Scalar, column, value).map(|id| Named { is_literal: false, ..id })
        }
        Some(column) => read(takes(column), column, value),
    }
}

/// Whether a column is among these.
pub(super) fn has(named: &[Named], column: &str) -> bool {
    named.iter().any(|named| named.name == column)
}

/// Takes the value of a column out of these.
pub(super) fn remove(named: &mut Vec<Named>, column: &str) -> Option<String> {
    let at = named.iter().position(|named| named.name == column)?;
    Some(named.remove(at).text)
}

/// Adds the columns of agent runs that are not among `named`. Their fields stay: rules and queries that name them in
/// `Fields` hold, and search engines cannot sum what stands there.
pub(super) fn add_agent(object: &Members<'_>, named: &mut Vec<Named>, context: Context<'_>) {
    let within = WITHIN.map(|within| object.get(within).and_then(Json::as_object));
    for (column, spelling, takes) in AGENT {
        let values =
            std::iter::once(object).chain(within.into_iter().flatten()).filter_map(|place| place.get(spelling));
        if let Some(value) = values.filter_map(|value| read(*takes, *column, value)).next()
            && !has(named, column)
            && context.constants.get(column).is_none()
        {
            named.push(value);
        }
    }
}

/// Whether there is an object of [`WITHIN`].
pub(super) fn is_nested(object: &Members<'_>) -> bool {
    WITHIN.iter().any(|within| object.get(within).is_some_and(|value| value.as_object().is_some()))
}

/// Where the names of agent runs stand that stand first in an object of [`WITHIN`].
pub(super) fn nested(object: &Members<'_>) -> Vec<(&'static str, &'static str)> {
    let within = WITHIN.map(|within| (within, object.get(within).and_then(Json::as_object)));
    let place = |name: &'static str| {
        if object.contains(name) {
            return None;
        }
        let (within, _) = within.iter().find(|(_, inner)| inner.is_some_and(|inner| inner.contains(name)))?;
        Some((name, *within))
    };
    ONE_PLACE.iter().filter_map(|name| place(name)).collect()
}

/// Moves what is left of them to the top level.
pub(super) fn lift(object: &mut Members<'_>, nested: &[(&'static str, &'static str)]) {
    for (name, within) in nested {
        let Some(inner) = object.object_mut(within) else { continue };
        let Some(value) = inner.remove(name) else { continue };
        if inner.is_empty() {
            object.remove(within);
        }
        object.add(Cow::Borrowed(name), value);
    }
}

/// The value as that of a column, where the column takes it.
fn read(takes: Takes, name: impl Into<Cow<'static, str>>, value: &Json<'_>) -> Option<Named> {
    let (text, is_literal) = match (takes, value) {
        (Takes::Scalar | Takes::Text, Json::Text(text)) if !text.is_empty() => (text.clone().into_owned(), false),
        (Takes::Word, Json::Text(text)) if text.starts_with(|first: char| first.is_alphabetic()) => {
            (text.clone().into_owned(), false)
        }
        (Takes::Scalar, Json::Bool(value)) => (value.to_string(), true),
        (Takes::Scalar | Takes::Number, Json::Number(number)) => (number.to_string(), true),
        (Takes::Whole, Json::Number(number)) => {
            let whole = || number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < WHOLE_LIMIT);
            (number.as_i64().or_else(|| whole().map(|number| number as i64))?.to_string(), true)
        }
        _ => return None,
    };
    Some(Named { name: name.into(), text, is_literal })
}

/// Takes what stands at a path whose value `read` accepts: at the top level, then in the objects of [`WITHIN`]. A dot may
/// also be part of a name.
fn take_path<T>(object: &mut Members<'_>, path: &str, read: impl Fn(&Json<'_>) -> Option<T>) -> Option<T> {
    take_below(object, path, &read).or_else(|| {
        WITHIN.iter().find_map(|within| {
            let inner = object.object_mut(within)?;
            let found = take_below(inner, path, &read)?;
            if inner.is_empty() {
                object.remove(within);
            }
            Some(found)
        })
    })
}

fn take_below<T>(object: &mut Members<'_>, path: &str, read: &impl Fn(&Json<'_>) -> Option<T>) -> Option<T> {
    if let Some(found) = object.get(path).and_then(read) {
        object.remove(path);
        return Some(found);
    }
    path.match_indices('.').find_map(|(dot, _)| {
        let (name, below) = (path.get(..dot)?, path.get(dot + 1..)?);
        let inner = object.object_mut(name)?;
        let found = take_below(inner, below, read)?;
        if inner.is_empty() {
            object.remove(name);
        }
        Some(found)
    })
}

/// Where a field of a line of text stands by this name, as it is or behind that of an object of [`WITHIN`]: the lower
/// number is the better place.
fn place(field: &Field<'_>, name: &str) -> Option<usize> {
    let before = field.name.strip_suffix(name)?;
    if before.is_empty() {
        return Some(0);
    }
    let within = before.strip_suffix('.')?;
    WITHIN.iter().position(|known| *known == within).map(|at| at + 1)
}

/// Indices of the fields with one of these names, the best place first.
pub(super) fn places<'n>(fields: &[Field<'_>], names: impl Iterator<Item = &'n str> + Clone) -> Vec<usize> {
    let found = |at: usize, field: &Field<'_>| {
        names.clone().enumerate().find_map(|(rank, name)| Some((place(field, name)?, rank, at)))
    };
    let mut found: Vec<(usize, usize, usize)> =
        fields.iter().enumerate().filter_map(|(at, field)| found(at, field)).collect();
    found.sort_unstable();
    found.into_iter().map(|(.., at)| at).collect()
}

/// Takes a field of this name whose value the column takes.
fn take_field(fields: &mut Vec<Field<'_>>, name: &str, read: impl Fn(&Json<'_>) -> Option<Named>) -> Option<Named> {
    let value = |at: usize| read(&json_value(&fields.get(at)?.value)?);
    let (at, named) = places(fields, std::iter::once(name)).into_iter().find_map(|at| Some((at, value(at)?)))?;
    fields.remove(at);
    Some(named)
}

/// Moves fields of a line of text to the columns that `record.columns` wants them in.
pub(in crate::ingest) fn own_of_text(text: &mut Text<'_>, context: Context<'_>) {
    for (name, known, path) in context.own.open(context) {
        let is_filled = match name {
            "Level" => text.level.is_some(),
            "LoggerName" => text.logger.is_some(),
            "Message" => !text.message.is_empty(),
            "DurationMs" => text.duration_ms.is_some(),
            _ => has(&text.named, name) || text.columns.iter().any(|(column, _)| *column == name),
        };
        if is_filled {
            continue;
        }
        let Some(named) = take_field(&mut text.fields, path, |value| own_value(name, known, value)) else { continue };
        match name {
            "Level" => text.level = Some(Cow::Owned(named.text.into_bytes())),
            "LoggerName" => text.logger = Some(Cow::Owned(named.text.into_bytes())),
            "Message" => text.message = Cow::Owned(named.text.into_bytes()),
            "DurationMs" => text.duration_ms = named.text.parse().ok(),
            _ => text.named.push(named),
        }
    }
}

/// Adds the columns of agent runs to a line of text; their fields stay.
pub(super) fn add_agent_of_text(text: &mut Text<'_>, context: Context<'_>) {
    for (column, spelling, takes) in AGENT {
        if has(&text.named, column) || context.constants.get(column).is_some() {
            continue;
        }
        let fields = &text.fields;
        let value = |at: usize| read(*takes, *column, &json_value(&fields.get(at)?.value)?);
        let named = places(fields, std::iter::once(*spelling)).into_iter().find_map(value);
        text.named.extend(named);
    }
}

/// The names of agent runs that stand first behind that of an object of [`WITHIN`], and how they stand there.
pub(super) fn nested_of_text(fields: &[Field<'_>]) -> Vec<(&'static str, String)> {
    if !fields.iter().any(|field| field.name.contains('.')) {
        return Vec::new();
    }
    let first = |name: &'static str| {
        let field = fields.get(*places(fields, std::iter::once(name)).first()?)?;
        (field.name != name).then(|| (name, field.name.clone().into_owned()))
    };
    ONE_PLACE.iter().filter_map(|name| first(name)).collect()
}

/// Gives what is left of them its own name.
pub(super) fn lift_of_text(fields: &mut [Field<'_>], nested: &[(&'static str, String)]) {
    for (name, stood) in nested {
        if let Some(field) = fields.iter_mut().find(|field| field.name == stood.as_str()) {
            field.name = Cow::Borrowed(name);
        }
    }
}
