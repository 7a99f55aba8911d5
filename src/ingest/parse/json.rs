//! Lines that are a JSON object: which of its members are columns, and what is left for `Fields`.

use std::borrow::Cow;

use super::columns::{self, Named, WITHIN};
use super::object::{Json, Members, Unfit, read};
use super::{Context, Field, level, timestamp, traceback};
use crate::ingest::options::Zone;
use crate::record::Nanos;

/// Longest line that is read as JSON, in bytes: a value of a longer one could take hundreds of times its bytes in memory.
pub const JSON_MAX_BYTES: usize = 1024 * 1024;
/// Longest string within `Fields`, in bytes: search engines index a value as one term of at most 32,766 bytes.
pub const FIELD_STRING_MAX_BYTES: usize = 30_000;
/// Longest key within `Fields`, in bytes.
pub(super) const FIELD_KEY_MAX_BYTES: usize = 1_000;
/// Deepest nesting within `Fields`: Elasticsearch's `flattened` takes 20 levels.
const FIELD_DEPTH_MAX: usize = 18;

pub(super) const TIME: &[&str] = &["timestamp", "time", "ts", "asctime", "@timestamp"];
pub(super) const LEVEL: &[&str] = &["level", "levelname", "severity", "log.level"];
pub(super) const LOGGER: &[&str] = &["logger", "name", "logger_name", "agent_name", "service"];
pub(super) const MESSAGE: &[&str] = &["message", "msg"];
pub(super) const EVENT_TYPE: &[&str] = &["event_type", "event"];
pub(super) const TRACE_ID: &[&str] = &["trace_id", "correlation_id"];
pub(super) const SPAN_ID: &[&str] = &["span_id"];
pub(super) const EXCEPTION: &[&str] = &["exception", "exc_info", "stack_trace", "traceback"];
pub(super) const RUN_ID: &[&str] = &["run_id", "execution_id", "hal_run_id"];
pub(super) const TASK_ID: &[&str] = &["task_id", "hal_task_id"];

/// Columns that take text, and those that take a number as well.
pub(super) const TEXT_COLUMNS: [(&str, &[&str]); 3] =
    [("EventType", EVENT_TYPE), ("TraceID", TRACE_ID), ("SpanID", SPAN_ID)];
pub(super) const ID_COLUMNS: [(&str, &[&str]); 2] = [("RunID", RUN_ID), ("TaskID", TASK_ID)];

/// What a JSON line says.
#[derive(Debug, Default, PartialEq)]
pub struct Parsed {
    pub time: Option<Nanos>,
    pub level: Option<String>,
    pub logger: Option<String>,
    pub message: Option<String>,
    pub exception: Option<Exception>,
    pub duration_ms: Option<f64>,
    /// Text columns: EventType, TraceID, SpanID, and RunID and TaskID where the origin has none.
    pub columns: Vec<(&'static str, String)>,
    /// Columns that only some lines have.
    pub named: Vec<Named>,
    /// The rest as a JSON object, `{…}`; empty where there is none.
    pub fields: Vec<u8>,
    /// Why the line is kept as text instead.
    pub unfit: Option<Unfit>,
}

/// Type, message and stack of an exception that stood in a string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    pub kind: String,
    pub message: String,
    pub stack: String,
}

/// Reads a line that should be one JSON object; `None` where it is not. `around`: fields of what the line was wrapped in.
pub fn parse(line: &[u8], around: &[Field<'_>], context: Context<'_>) -> Option<Parsed> {
    let (mut object, altered) = read(line)?;
    let is_once = add(&mut object, around.iter()).is_some();
    let altered = altered.or((!is_once).then_some(Unfit::RepeatedKey));
    Some(columns(object, altered, Said::default(), context))
}

/// What the head of a line has said already: the spellings of these in the object then stay in `Fields`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    pub(super) time: bool,
    pub(super) level: bool,
    pub(super) logger: bool,
    pub(super) message: bool,
}

impl Said {
    pub(super) fn says(self, column: &str) -> bool {
        match column {
            "Level" => self.level,
            "LoggerName" => self.logger,
            "Message" => self.message,
            _ => false,
        }
    }
}

/// Adds fields to an object. A name that then stood twice would be one member too many: such a line is kept as it is.
pub(super) fn add<'f>(object: &mut Members<'f>, fields: impl Iterator<Item = &'f Field<'f>>) -> Option<()> {
    for field in fields {
        if !object.add(Cow::Borrowed(&*field.name), json_value(&field.value)?) {
            return None;
        }
    }
    Some(())
}

pub(super) fn json_value<'v>(value: &'v super::Value<'_>) -> Option<Json<'v>> {
    match value {
        super::Value::Text(text) => Some(Json::Text(Cow::Borrowed(std::str::from_utf8(text).ok()?))),
        super::Value::Literal(literal) => Json::read(literal),
    }
}

/// Sorts the members of an object into columns and `Fields`; `altered`: it cannot give back its text.
pub(super) fn columns(mut object: Members<'_>, altered: Option<Unfit>, said: Said, context: Context<'_>) -> Parsed {
    let text = |value: &Json<'_>| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let is_nested = columns::is_nested(&object);
    let nested = if is_nested { columns::nested(&object) } else { Vec::new() };
    let mut named = columns::take_own(&mut object, said, context);
    let mut own = |column| columns::remove(&mut named, column);
    let mut parsed = Parsed {
        time: if said.time { None } else { take(&mut object, is_nested, TIME, |value| time_of(value, context.zone)) },
        level: if said.level { None } else { own("Level").or_else(|| take(&mut object, is_nested, LEVEL, level_of)) },
        logger: if said.logger {
            None
        } else {
            own("LoggerName").or_else(|| take(&mut object, is_nested, LOGGER, text))
        },
        message: match said.message {
            true => None,
            false => own("Message")
                .or_else(|| take(&mut object, is_nested, MESSAGE, |value| value.as_str().map(str::to_owned))),
        },
        exception: take(&mut object, is_nested, EXCEPTION, |value| text(value).map(|stack| exception_of(&stack))),
        duration_ms: own("DurationMs")
            .and_then(|number| number.parse().ok())
            .or_else(|| take(&mut object, is_nested, &["duration_ms"], |value| value.as_f64()))
            .or_else(|| take(&mut object, is_nested, &["duration_seconds"], milliseconds)),
        ..Parsed::default()
    };
    if parsed.message.is_none() && !said.message {
        parsed.message = take(&mut object, is_nested, &["event"], text);
    }
    // What the origin knows, and what the user named, comes first; another value then stays in Fields.
    let is_open =
        |column: &str, named: &[Named]| !columns::has(named, column) && context.constants.get(column).is_none();
    for (column, spellings) in TEXT_COLUMNS {
        if is_open(column, &named)
            && let Some(value) = take(&mut object, is_nested, spellings, text)
        {
            parsed.columns.push((column, value));
        }
    }
    for (column, spellings) in ID_COLUMNS {
        if is_open(column, &named)
            && let Some(value) = take(&mut object, is_nested, spellings, id_of)
        {
            parsed.columns.push((column, value));
        }
    }
    columns::add_agent(&object, &mut named, context);
    columns::lift(&mut object, &nested);
    parsed.named = named;
    let texts = parsed.columns.iter().map(|(_, value)| value).chain(parsed.named.iter().map(|named| &named.text));
    let is_long = |text: &String| text.len() > FIELD_STRING_MAX_BYTES;
    parsed.unfit = altered
        .or(texts.chain(&parsed.logger).chain(&parsed.level).any(is_long).then_some(Unfit::Length))
        .or_else(|| object.iter().find_map(|(key, value)| unfit(key, value, 1)));
    if !object.is_empty() && parsed.unfit.is_none() {
        parsed.fields = serde_json::to_vec(&object).unwrap_or_default();
    }
    parsed
}

fn milliseconds(seconds: &Json<'_>) -> Option<f64> {
    seconds.as_f64().map(|seconds| seconds * 1000.0).filter(|milliseconds| milliseconds.is_finite())
}

/// Takes the first member with one of the spellings whose value `read` accepts, at the top level or, where it `is_nested`,
/// in an object of [`WITHIN`].
fn take<T>(
    object: &mut Members<'_>,
    is_nested: bool,
    spellings: &[&str],
    read: impl Fn(&Json<'_>) -> Option<T>,
) -> Option<T> {
    for spelling in spellings {
        if let Some(found) = object.get(spelling).and_then(&read) {
            object.remove(spelling);
            return Some(found);
        }
    }
    if !is_nested {
        return None;
    }
    for within in WITHIN {
        let Some(inner) = object.object_mut(within) else { continue };
        for spelling in spellings {
            if let Some(found) = inner.get(spelling).and_then(&read) {
                inner.remove(spelling);
                if inner.is_empty() {
                    object.remove(within);
                }
                return Some(found);
            }
        }
    }
    None
}

pub(super) fn time_of(value: &Json<'_>, zone: &Zone) -> Option<Nanos> {
    match value {
        Json::Text(text) => timestamp::whole(text.as_bytes(), zone),
        Json::Number(number) => match number.as_i64() {
            // Nanoseconds have more digits than a double holds.
            Some(nanos) if (100_000_000_000_000_000..i64::MAX).contains(&nanos) => Some(nanos),
            _ => timestamp::epoch(number.as_f64()?),
        },
        _ => None,
    }
}

pub(super) fn level_of(value: &Json<'_>) -> Option<String> {
    let word = match value {
        Json::Text(text) => {
            let word = text.trim();
            return Some(match level::known(word.as_bytes()) {
                Some(level) => level.to_owned(),
                None => word.to_uppercase(),
            })
            .filter(|level| !level.is_empty());
        }
        // The numbers of bunyan and pino.
        Json::Number(number) => match number.as_u64()? {
            10 => "TRACE",
            20 => "DEBUG",
            30 => "INFO",
            40 => "WARNING",
            50 => "ERROR",
            60 => "CRITICAL",
            _ => return None,
        },
        _ => return None,
    };
    Some(word.to_owned())
}

fn id_of(value: &Json<'_>) -> Option<String> {
    match value {
        Json::Text(text) if !text.is_empty() => Some(text.clone().into_owned()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

pub(super) fn exception_of(stack: &str) -> Exception {
    let (kind, message) = traceback::raised(stack.as_bytes()).unwrap_or_default();
    Exception {
        kind: String::from_utf8_lossy(kind).into_owned(),
        message: String::from_utf8_lossy(message).into_owned(),
        stack: stack.to_owned(),
    }
}

/// Why a member of `Fields` could not be searched, if it could not.
fn unfit(key: &str, value: &Json<'_>, depth: usize) -> Option<Unfit> {
    if key.len() > FIELD_KEY_MAX_BYTES {
        return Some(Unfit::Length);
    }
    if key.contains('\0') {
        return Some(Unfit::Key);
    }
    if depth > FIELD_DEPTH_MAX {
        return Some(Unfit::Depth);
    }
    match value {
        Json::Text(text) => (text.len() > FIELD_STRING_MAX_BYTES).then_some(Unfit::Length),
        Json::List(values) => values.iter().find_map(|value| unfit("", value, depth + 1)),
        Json::Object(object) => object.iter().find_map(|(key, value)| unfit(key, value, depth + 1)),
        Json::Null | Json::Bool(_) | Json::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::parse::columns::OwnColumns;
    use crate::record::Constants;

    fn parsed_with(constants: &Constants, line: &str) -> Option<Parsed> {
        let own = OwnColumns::default();
        parse(line.as_bytes(), &[], Context { zone: &Zone::Utc, near: 0, constants, own: &own })
    }

    fn parsed(line: &str) -> Parsed {
        parsed_with(&Constants::default(), line).expect("an object")
    }

    fn fields(line: &str) -> String {
        String::from_utf8(parsed(line).fields).expect("text")
    }

    #[test]
    fn spellings_become_columns_and_the_rest_stays_in_fields() {
        let p = parsed(
            r#"{"ts":1700000000.5,"level":"warn","agent_name":"planner","msg":"go","event":"step","n":1,"d":{"x":[1,"a"]}}"#,
        );
        assert_eq!(p.time, Some(1_700_000_000_500_000_000));
        assert_eq!((p.level.as_deref(), p.logger.as_deref()), (Some("WARNING"), Some("planner")));
        assert_eq!(p.message.as_deref(), Some("go"));
        assert_eq!(p.columns, [("EventType", "step".to_owned())]);
        assert_eq!(p.fields, br#"{"n":1,"d":{"x":[1,"a"]}}"#);
    }

    #[test]
    fn event_is_the_message_only_where_there_is_no_other() {
        let p = parsed(r#"{"event":"started"}"#);
        assert_eq!((p.message.as_deref(), p.columns.len()), (Some("started"), 0));
        let p = parsed(r#"{"event":"started","event_type":"agent.start"}"#);
        assert_eq!(p.columns, [("EventType", "agent.start".to_owned())]);
    }

    #[test]
    fn the_first_spelling_wins_and_the_others_stay() {
        assert_eq!(fields(r#"{"timestamp":"2026-11-20T00:00:00Z","time":"x","ts":1}"#), r#"{"time":"x","ts":1}"#);
        assert_eq!(fields(r#"{"time":"soon","msg":"m"}"#), r#"{"time":"soon"}"#);
    }

    #[test]
    fn members_of_extra_context_and_metadata_are_found() {
        let p = parsed(r#"{"message":"m","extra":{"task_id":17},"metadata":{"correlation_id":"c","priority":2}}"#);
        assert_eq!(p.columns, [("TraceID", "c".to_owned()), ("TaskID", "17".to_owned())]);
        assert_eq!(p.fields, br#"{"priority":2}"#);
    }

    #[test]
    fn what_the_origin_knows_comes_before_a_parsed_id() {
        let constants = Constants::new([("RunID".to_owned(), "outer".to_owned())]);
        let p = parsed_with(&constants, r#"{"run_id":"inner","task_id":"t"}"#).expect("object");
        assert_eq!(p.columns, [("TaskID", "t".to_owned())]);
        assert_eq!(p.fields, br#"{"run_id":"inner"}"#);
    }

    #[test]
    fn durations_are_milliseconds() {
        assert_eq!(parsed(r#"{"duration_ms":5}"#).duration_ms, Some(5.0));
        assert_eq!(parsed(r#"{"duration_seconds":1.5}"#).duration_ms, Some(1500.0));
    }

    #[test]
    fn an_exception_in_a_string_is_taken_apart() {
        let p = parsed(r#"{"message":"m","exc_info":"Traceback (most recent call last):\n  x\nValueError: bad"}"#);
        let exception = p.exception.expect("exception");
        assert_eq!((exception.kind.as_str(), exception.message.as_str()), ("ValueError", "bad"));
    }

    #[test]
    fn what_a_value_would_alter_is_said() {
        let check = |line: &str, unfit: Option<Unfit>| assert_eq!(parsed(line).unfit, unfit, "{line}");
        check(r#"{"a":1,"b":{"a":1}}"#, None);
        check(r#"{"a":1,"a":1}"#, Some(Unfit::RepeatedKey));
        check(r#"{"b":[{"c":1,"c":2}]}"#, Some(Unfit::RepeatedKey));
        check(r#"{"message":"x","message":"y"}"#, Some(Unfit::RepeatedKey));
        check(r#"{"n":18446744073709551615,"m":-9223372036854775808}"#, None);
        check(r#"{"n":18446744073709551616}"#, Some(Unfit::Number));
        check(r#"{"n":1.5e10}"#, None);
        check(r#"{"duration_seconds":1e306}"#, Some(Unfit::Number));
    }

    #[test]
    fn what_cannot_be_searched_is_said() {
        let deep = format!(r#"{{"a":{}1{}}}"#, r#"{"b":"#.repeat(30), "}".repeat(30));
        assert_eq!(parsed(&deep).unfit, Some(Unfit::Depth));
        let long = "x".repeat(FIELD_STRING_MAX_BYTES + 1);
        assert_eq!(parsed(&format!(r#"{{"a":"{long}"}}"#)).unfit, Some(Unfit::Length));
        assert_eq!(parsed(&format!(r#"{{"message":"{long}"}}"#)).unfit, None);
    }

    #[test]
    fn other_json_is_no_object() {
        for line in [&b""[..], b"1", b"[1]", b"{", br#"{"a":1} x"#, b"{\"a\":\"\xff\"}"] {
            assert!(read(line).is_none(), "{line:?}");
        }
    }
}
