//! Lines that are a JSON object: which of its members are columns, and what is left for `Fields`.

use serde_json::{Map, Value};

use super::{level, timestamp, traceback};
use crate::ingest::options::Zone;
use crate::record::{Constants, Nanos};

/// Longest string within `Fields`, in bytes: search engines index a value as one term of at most 32,766 bytes.
pub const FIELD_STRING_MAX_BYTES: usize = 30_000;
/// Longest key within `Fields`, in bytes.
const FIELD_KEY_MAX_BYTES: usize = 1_000;
/// Deepest nesting within `Fields`: Elasticsearch's `flattened` takes 20 levels.
const FIELD_DEPTH_MAX: usize = 18;

const TIME: &[&str] = &["timestamp", "time", "ts", "asctime", "@timestamp"];
const LEVEL: &[&str] = &["level", "levelname", "severity", "log.level"];
const LOGGER: &[&str] = &["logger", "name", "logger_name", "agent_name", "service"];
const MESSAGE: &[&str] = &["message", "msg"];
const EVENT_TYPE: &[&str] = &["event_type", "event"];
const TRACE_ID: &[&str] = &["trace_id", "correlation_id"];
const SPAN_ID: &[&str] = &["span_id"];
const EXCEPTION: &[&str] = &["exception", "exc_info", "stack_trace", "traceback"];
const RUN_ID: &[&str] = &["run_id", "execution_id", "hal_run_id"];
const TASK_ID: &[&str] = &["task_id", "hal_task_id"];
/// Objects that are searched after the top level.
const WITHIN: &[&str] = &["extra", "context", "metadata"];

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
    /// The rest as a JSON object, `{…}`; empty where there is none.
    pub fields: Vec<u8>,
    /// Something in the rest is too long or too deep to be searched: the line is kept as text instead.
    pub unfit: bool,
}

/// Type, message and stack of an exception that stood in a string.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Exception {
    pub kind: String,
    pub message: String,
    pub stack: String,
}

/// Reads a line that should be one JSON object; `None` where it is not.
pub fn parse(line: &[u8], zone: &Zone, constants: &Constants) -> Option<Parsed> {
    let mut object: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let mut parsed = Parsed {
        time: take(&mut object, TIME, |value| time_of(value, zone)),
        level: take(&mut object, LEVEL, level_of),
        logger: take(&mut object, LOGGER, text),
        message: take(&mut object, MESSAGE, |value| value.as_str().map(str::to_owned)),
        exception: take(&mut object, EXCEPTION, |value| text(value).map(|stack| exception_of(&stack))),
        duration_ms: take(&mut object, &["duration_ms"], Value::as_f64)
            .or_else(|| take(&mut object, &["duration_seconds"], |value| value.as_f64().map(|s| s * 1000.0))),
        ..Parsed::default()
    };
    if parsed.message.is_none() {
        parsed.message = take(&mut object, &["event"], text);
    }
    for (column, spellings) in [("EventType", EVENT_TYPE), ("TraceID", TRACE_ID), ("SpanID", SPAN_ID)] {
        if let Some(value) = take(&mut object, spellings, text) {
            parsed.columns.push((column, value));
        }
    }
    // What the origin knows comes first; the parsed value then stays in Fields.
    for (column, spellings) in [("RunID", RUN_ID), ("TaskID", TASK_ID)] {
        if constants.get(column).is_none()
            && let Some(value) = take(&mut object, spellings, id_of)
        {
            parsed.columns.push((column, value));
        }
    }
    parsed.unfit = parsed.columns.iter().any(|(_, value)| value.len() > FIELD_STRING_MAX_BYTES)
        || parsed.logger.as_ref().is_some_and(|logger| logger.len() > FIELD_STRING_MAX_BYTES)
        || parsed.level.as_ref().is_some_and(|level| level.len() > FIELD_STRING_MAX_BYTES)
        || !object.iter().all(|(key, value)| fits(key, value, 1));
    if !object.is_empty() && !parsed.unfit {
        parsed.fields = serde_json::to_vec(&object).unwrap_or_default();
    }
    Some(parsed)
}

/// Takes the first member with one of the spellings whose value `read` accepts, at the top level or one below.
fn take<T>(object: &mut Map<String, Value>, spellings: &[&str], read: impl Fn(&Value) -> Option<T>) -> Option<T> {
    for spelling in spellings {
        if let Some(found) = object.get(*spelling).and_then(&read) {
            object.shift_remove(*spelling);
            return Some(found);
        }
    }
    for within in WITHIN {
        let Some(Value::Object(inner)) = object.get_mut(*within) else { continue };
        for spelling in spellings {
            if let Some(found) = inner.get(*spelling).and_then(&read) {
                inner.shift_remove(*spelling);
                if inner.is_empty() {
                    object.shift_remove(*within);
                }
                return Some(found);
            }
        }
    }
    None
}

fn time_of(value: &Value, zone: &Zone) -> Option<Nanos> {
    match value {
        Value::String(text) => timestamp::whole(text.as_bytes(), zone),
        Value::Number(number) => match number.as_i64() {
            // Nanoseconds have more digits than a double holds.
            Some(nanos) if (100_000_000_000_000_000..i64::MAX).contains(&nanos) => Some(nanos),
            _ => timestamp::epoch(number.as_f64()?),
        },
        _ => None,
    }
}

fn level_of(value: &Value) -> Option<String> {
    let word = match value {
        Value::String(text) if !text.is_empty() => {
            return Some(match level::known(text.as_bytes()) {
                Some(level) => level.to_owned(),
                None => text.to_uppercase(),
            });
        }
        // The numbers of bunyan and pino.
        Value::Number(number) => match number.as_u64()? {
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

fn id_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn exception_of(stack: &str) -> Exception {
    let (kind, message) = traceback::raised(stack.as_bytes()).unwrap_or_default();
    Exception {
        kind: String::from_utf8_lossy(kind).into_owned(),
        message: String::from_utf8_lossy(message).into_owned(),
        stack: stack.to_owned(),
    }
}

fn fits(key: &str, value: &Value, depth: usize) -> bool {
    if key.len() > FIELD_KEY_MAX_BYTES || key.contains('\0') || depth > FIELD_DEPTH_MAX {
        return false;
    }
    match value {
        Value::String(text) => text.len() <= FIELD_STRING_MAX_BYTES,
        Value::Array(values) => values.iter().all(|value| fits("", value, depth + 1)),
        Value::Object(object) => object.iter().all(|(key, value)| fits(key, value, depth + 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Parsed {
        parse(line.as_bytes(), &Zone::Utc, &Constants::default()).expect("an object")
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
        assert_eq!(p.fields, br#"{"metadata":{"priority":2}}"#);
    }

    #[test]
    fn what_the_origin_knows_comes_before_a_parsed_id() {
        let constants = Constants::new([("RunID".to_owned(), "outer".to_owned())]);
        let p = parse(br#"{"run_id":"inner","task_id":"t"}"#, &Zone::Utc, &constants).expect("object");
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
    fn what_cannot_be_searched_is_said() {
        let deep = format!(r#"{{"a":{}1{}}}"#, r#"{"b":"#.repeat(30), "}".repeat(30));
        assert!(parsed(&deep).unfit);
        assert!(parsed(&format!(r#"{{"a":"{}"}}"#, "x".repeat(FIELD_STRING_MAX_BYTES + 1))).unfit);
        assert!(!parsed(&format!(r#"{{"message":"{}"}}"#, "x".repeat(FIELD_STRING_MAX_BYTES + 1))).unfit);
    }

    #[test]
    fn other_json_is_no_object() {
        for line in [&b""[..], b"1", b"[1]", b"{", br#"{"a":1} x"#, b"{\"a\":\"\xff\"}"] {
            assert!(parse(line, &Zone::Utc, &Constants::default()).is_none(), "{line:?}");
        }
    }
}
