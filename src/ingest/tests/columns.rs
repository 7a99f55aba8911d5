//! Which field of a line becomes which column, in every format that has fields; and what becomes of what does not fit.

use super::*;
use crate::ingest::parse::json::JSON_MAX_BYTES;

/// Every spelling of a column, in the order in which they win, with a value and what the column then holds.
fn spellings() -> Vec<(&'static str, Vec<&'static str>, Value, Value)> {
    let text = |column, spellings| (column, spellings, json!("some text"), json!("some text"));
    vec![
        ("Level", vec!["level", "levelname", "severity", "log.level"], json!("warn"), json!("WARNING")),
        text("LoggerName", vec!["logger", "name", "logger_name", "agent_name", "service"]),
        text("Message", vec!["message", "msg", "event"]),
        text("EventType", vec!["event_type"]),
        text("TraceID", vec!["trace_id", "correlation_id"]),
        text("SpanID", vec!["span_id"]),
        ("DurationMs", vec!["duration_ms"], json!(1500), json!(1500.0)),
        ("DurationMs", vec!["duration_seconds"], json!(1.5), json!(1500.0)),
        text("RunID", vec!["run_id", "execution_id", "hal_run_id"]),
        text("TaskID", vec!["task_id", "hal_task_id"]),
        text("ModelName", vec!["model_name"]),
        ("PromptTokens", vec!["prompt_tokens"], json!(120), json!(120)),
        ("CompletionTokens", vec!["completion_tokens"], json!(30), json!(30)),
        ("TotalTokens", vec!["total_tokens"], json!(150), json!(150)),
        ("Cost", vec!["cost"], json!(0.0012), json!(0.0012)),
        text("Status", vec!["status"]),
        text("ErrorType", vec!["error_type"]),
    ]
}

/// Records of lines of an origin that knows nothing of itself.
fn parsed(own: &[(&str, &str)], text: &str) -> Vec<Value> {
    let own = own.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned())).collect();
    let options = Options { columns: Arc::new(OwnColumns::new(own)), ..(*options(Parser::Auto, Vec::new())).clone() };
    let info = Arc::new(OriginInfo { id: OriginId([7; 16]), descriptor: Vec::new(), constants: Vec::new() });
    let mut ingest = Ingest::new(Arc::new(options), info, Constants::default(), 0, Counters::default());
    all(&mut ingest, text.as_bytes()).into_iter().map(|record| record.columns).collect()
}

fn one(own: &[(&str, &str)], line: &str) -> Value {
    let mut records = parsed(own, line);
    assert_eq!(records.len(), 1, "{line}");
    records.remove(0)
}

/// Whether a column leaves its field in `Fields`, as those of agent runs do.
fn leaves_its_field(column: &str) -> bool {
    !["Level", "LoggerName", "Message", "EventType", "TraceID", "SpanID", "DurationMs", "RunID", "TaskID"]
        .contains(&column)
}

/// A value as it stands in a line of pairs.
fn pair(name: &str, value: &Value) -> String {
    format!("{name}={value}")
}

#[test]
fn every_spelling_is_found_at_the_top_and_in_extra_context_and_metadata() {
    for (column, names, value, expected) in spellings() {
        for name in names {
            for within in ["", "extra", "context", "metadata"] {
                let mut object = json!({"time": "2026-11-20T00:00:00Z"});
                match within {
                    "" => object[name] = value.clone(),
                    _ => object[within][name] = value.clone(),
                }
                let mut record = json!({column: expected});
                if leaves_its_field(column) {
                    record["Fields"] = json!({ name: value });
                }
                assert_eq!(one(&[], &object.to_string()), record, "{object}");
                // A name with a dot is one name in pairs too; a message there is what makes them a log line.
                if name == "log.level" || column == "Message" {
                    continue;
                }
                let dot = if within.is_empty() { "" } else { "." };
                let named = pair(&format!("{within}{dot}{name}"), &value);
                let line = format!("time=2026-11-20T00:00:00Z {named} msg=m");
                record["Message"] = json!("m");
                assert_eq!(one(&[], &line), record, "{line}");
            }
        }
    }
}

#[test]
fn the_first_spelling_and_the_first_place_win_and_the_others_stay_where_they_are() {
    for (column, names, value, expected) in spellings() {
        let other = if value.is_number() { json!(7) } else { json!("other") };
        for pair in names.windows(2).filter(|pair| pair[1] != "event") {
            let record = one(&[], &json!({pair[1]: other, pair[0]: value}).to_string());
            assert_eq!((&record[column], &record["Fields"]), (&expected, &json!({pair[1]: other})), "{pair:?}");
        }
        let places = [("", "extra"), ("extra", "context"), ("context", "metadata"), ("", "metadata")];
        for (first, second) in places {
            let name = names[0];
            let mut object = json!({second: {name: other}, "n": 1});
            match first {
                "" => object[name] = value.clone(),
                _ => object[first] = json!({name: value}),
            }
            let record = one(&[], &object.to_string());
            assert_eq!(record[column], expected, "{object}");
            let mut left = json!({second: {name: other}, "n": 1});
            if leaves_its_field(column) {
                left[name] = value.clone();
            }
            assert_eq!(record["Fields"], left, "{object}");
        }
    }
}

#[test]
fn what_of_an_agent_run_stands_in_fields_has_one_place_there() {
    let check = |line: Value, expected: Value| assert_eq!(one(&[], &line.to_string())["Fields"], expected, "{line}");
    for within in ["extra", "context", "metadata"] {
        check(
            json!({"msg": "m", within: {"crew_name": "c", "priority": 2, "attempt": 3, "tool": "t"}}),
            json!({within: {"tool": "t"}, "crew_name": "c", "attempt": 3, "priority": 2}),
        );
        // Of a type that its column does not take.
        check(json!({"msg": "m", within: {"total_tokens": "n/a"}}), json!({"total_tokens": "n/a"}));
        check(json!({"msg": "m", within: {"status": 200}}), json!({"status": 200}));
        // Its column is another's.
        check(json!({"msg": "m", "logger": "l", within: {"agent_name": "a"}}), json!({"agent_name": "a"}));
    }
    check(
        json!({"msg": "m", "extra": {"attempt": 1}, "context": {"attempt": 2}}),
        json!({"context": {"attempt": 2}, "attempt": 1}),
    );
    check(
        json!({"msg": "m", "attempt": 1, "metadata": {"attempt": 2}}),
        json!({"attempt": 1, "metadata": {"attempt": 2}}),
    );
    let line = "level=info msg=m metadata.priority=2 extra.attempt=1 context.attempt=2 extra.total_tokens=n/a";
    let fields = json!({"priority": 2, "attempt": 1, "context.attempt": 2, "total_tokens": "n/a"});
    assert_eq!(one(&[], line)["Fields"], fields);
    let clash = one(&[], "level=info msg=m model_name=a extra.model_name=b");
    let fields = json!({"model_name": "a", "extra.model_name": "b"});
    assert_eq!((&clash["ModelName"], &clash["Fields"]), (&json!("a"), &fields));
    // The column takes what it can, wherever that stands.
    let later = one(&[], &json!({"total_tokens": "n/a", "extra": {"total_tokens": 5}}).to_string());
    assert_eq!(later, json!({"TotalTokens": 5, "Fields": {"total_tokens": "n/a", "extra": {"total_tokens": 5}}}));
    let later = one(&[], "level=info msg=m total_tokens=n/a extra.total_tokens=5");
    assert_eq!(later["TotalTokens"], 5);
}

#[test]
fn what_the_origin_knows_comes_before_a_parsed_value_which_then_has_its_place() {
    // The origin of these tests knows its TaskID.
    let records = columns(
        Parser::Auto,
        "{\"msg\":\"m\",\"metadata\":{\"task_id\":\"t\",\"x\":1}}\nlevel=info msg=m metadata.task_id=t\n",
    );
    assert_eq!(records[0], json!({"Message": "m", "Fields": {"metadata": {"x": 1}, "task_id": "t"}}));
    assert_eq!(records[1], json!({"Level": "INFO", "Message": "m", "Fields": {"task_id": "t"}}));
    let own = OwnColumns::new(vec![("TaskID".to_owned(), "job".to_owned())]);
    let options = Options { columns: Arc::new(own), ..(*options(Parser::Auto, Vec::new())).clone() };
    let record = all(&mut ingest(Arc::new(options)), b"{\"job\":\"j\"}").remove(0).columns;
    assert_eq!(record, json!({"Fields": {"job": "j"}}));
}

#[test]
fn numbers_of_agent_runs_take_numbers_alone() {
    for (value, tokens, cost) in [
        (json!(5), Some(json!(5)), Some(json!(5))),
        (json!(0), Some(json!(0)), Some(json!(0))),
        (json!(120.0), Some(json!(120)), Some(json!(120.0))),
        (json!(0.5), None, Some(json!(0.5))),
        (json!(u64::MAX), None, Some(json!(u64::MAX))),
        (json!("5"), None, None),
        (json!(null), None, None),
        (json!([5]), None, None),
        (json!({"n": 5}), None, None),
        (json!(true), None, None),
    ] {
        for (name, column, expected) in [("total_tokens", "TotalTokens", &tokens), ("cost", "Cost", &cost)] {
            let record = one(&[], &json!({ name: value }).to_string());
            assert_eq!(record.get(column), expected.as_ref(), "{name} {value}");
            assert_eq!(record["Fields"], json!({ name: value }), "{name} {value}: the field stays what it was");
        }
    }
}

#[test]
fn a_field_that_is_named_becomes_a_column_in_every_format() {
    let own = [("UserID", "user_id"), ("Tokens", "usage.total_tokens")];
    for (line, user, tokens) in [
        (r#"{"msg":"m","user_id":"u","usage":{"total_tokens":7}}"#, json!("u"), json!(7)),
        (r#"{"msg":"m","extra":{"user_id":17,"usage":{"total_tokens":7.5}}}"#, json!(17), json!(7.5)),
        (r#"{"msg":"m","user_id":true,"usage.total_tokens":7}"#, json!(true), json!(7)),
        (r#"2026-11-20 23:00:33,123 - app - INFO - {"user_id":"u","usage":{"total_tokens":7}}"#, json!("u"), json!(7)),
        ("level=info msg=m user_id=u usage.total_tokens=7", json!("u"), json!(7)),
        ("level=info msg=m context.user_id=007 extra.usage.total_tokens=seven", json!("007"), json!("seven")),
    ] {
        let record = one(&own, line);
        assert_eq!((&record["UserID"], &record["Tokens"]), (&user, &tokens), "{line}: {record}");
        assert!(record.get("Fields").is_none(), "{line}: {record}");
    }
    let pattern = Pattern::new(r"^(?<user_id>\w+) took (?<n>\d+) (?<message>.*)$").expect("a pattern");
    let own = OwnColumns::new(vec![("UserID".to_owned(), "user_id".to_owned()), ("N".to_owned(), "n".to_owned())]);
    let options = Options { columns: Arc::new(own), ..(*options(Parser::Regex(pattern), Vec::new())).clone() };
    let record = all(&mut ingest(Arc::new(options)), b"ann took 5 cakes\n").remove(0).columns;
    assert_eq!(record, json!({"Message": "cakes", "UserID": "ann", "N": 5}));
    // A field of a format that has no pairs.
    let thread = one(&[("Thread", "thread")], "2026-11-20 23:00:33,123 INFO [main] org.x.App: ready");
    assert!(thread["Thread"].is_string() && thread["Fields"]["thread"].is_null(), "{thread}");
}

#[test]
fn a_named_field_that_is_no_value_of_a_column_stays() {
    let own = [
        ("Own", "a.b"),
        ("TraceID", "conversation"),
        ("Level", "sev"),
        ("Cost", "price"),
        ("LoggerName", "part"),
        ("RunID", "job"),
    ];
    for (line, expected) in [
        (json!({"job": 17, "run_id": "r"}), json!({"RunID": "17", "Fields": {"run_id": "r"}})),
        (json!({"job": [17], "run_id": "r"}), json!({"RunID": "r", "Fields": {"job": [17]}})),
        (json!({"a": {"b": {"c": 1}}}), json!({"Fields": {"a": {"b": {"c": 1}}}})),
        (json!({"a": {"b": [1]}}), json!({"Fields": {"a": {"b": [1]}}})),
        (json!({"a": {"b": null, "c": 1}}), json!({"Fields": {"a": {"b": null, "c": 1}}})),
        (json!({"a": {"b": ""}}), json!({"Fields": {"a": {"b": ""}}})),
        (json!({"a": {"b": 1, "c": 1}}), json!({"Own": 1, "Fields": {"a": {"c": 1}}})),
        (json!({"a": 1, "extra": {"a": {"b": 2}}}), json!({"Own": 2, "Fields": {"a": 1}})),
        // The one that was named comes before the usual spellings, and these where it is missing.
        (json!({"conversation": "c", "trace_id": "t"}), json!({"TraceID": "c", "Fields": {"trace_id": "t"}})),
        (json!({"conversation": 5, "trace_id": "t"}), json!({"TraceID": "t", "Fields": {"conversation": 5}})),
        (json!({"sev": "err", "level": "info"}), json!({"Level": "ERROR", "Fields": {"level": "info"}})),
        (json!({"sev": {}, "level": "info"}), json!({"Level": "INFO", "Fields": {"sev": {}}})),
        (json!({"price": "free", "cost": 2}), json!({"Cost": 2, "Fields": {"price": "free", "cost": 2}})),
        (json!({"price": 1, "cost": 2}), json!({"Cost": 1, "Fields": {"cost": 2}})),
        (json!({"part": "p", "logger": "l"}), json!({"LoggerName": "p", "Fields": {"logger": "l"}})),
    ] {
        assert_eq!(one(&own, &line.to_string()), expected, "{line}");
    }
    let line = "level=info sev=err msg=m conversation=c trace_id=t price=1.5 part=p logger=l";
    let fields = json!({"level": "info", "trace_id": "t", "logger": "l"});
    let expected =
        json!({"LoggerName": "p", "Level": "ERROR", "Message": "m", "TraceID": "c", "Cost": 1.5, "Fields": fields});
    assert_eq!(one(&own, line), expected);
}

#[test]
fn a_rule_sees_a_column_of_ones_own_and_a_number_by_its_text() {
    let rule = |name: &str, glob: &str| Some(Rule::new(vec![(name.to_owned(), vec![glob.to_owned()])]));
    let own = OwnColumns::new(vec![("UserID".to_owned(), "user_id".to_owned())]);
    let routes = vec![rule("UserID", "a*"), rule("UserID", "17"), rule("ModelName", "large-*")];
    let options = Options { columns: Arc::new(own), ..(*options(Parser::Auto, routes)).clone() };
    let lines = b"{\"user_id\":\"ann\"}\n{\"user_id\":17}\n{\"extra\":{\"model_name\":\"large-1\"}}\nplain\n";
    let routes: Vec<RouteBits> = all(&mut ingest(Arc::new(options)), lines).iter().map(|record| record.route).collect();
    assert_eq!(routes, [0b001, 0b010, 0b100, 0]);
}

#[test]
fn a_thousand_keys_are_one_column() {
    let many: serde_json::Map<String, Value> = (0..1_000).map(|n| (format!("key{n}"), json!(n))).collect();
    let record = one(&[], &Value::Object(many.clone()).to_string());
    assert_eq!(record, json!({ "Fields": many }));
}

#[test]
fn names_of_columns_in_a_line_stay_fields() {
    let names = ["RunID", "Seq", "EventID", "Message", "Fields", "Part", "TotalTokens", "TimeGenerated"];
    let object: serde_json::Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), json!("x"))).collect();
    assert_eq!(one(&[], &Value::Object(object.clone()).to_string()), json!({ "Fields": object }));
    let pairs: String = names.iter().map(|name| format!(" {name}=x")).collect();
    assert_eq!(one(&[], &format!("level=info msg=m{pairs}"))["Fields"], json!(object));
}

#[test]
fn what_is_said_of_a_text_takes_no_name_of_its_fields() {
    let text = b"level=info msg=\"caf\xe9\" InvalidBytes=7 InvalidBytes_=8\n";
    let record = all(&mut ingest(options(Parser::Auto, Vec::new())), text).remove(0).columns;
    assert_eq!(record["Fields"], json!({"InvalidBytes": 7, "InvalidBytes_": 8, "InvalidBytes__": 1}));
}

#[test]
fn what_cannot_be_taken_apart_is_kept_as_text_and_says_why() {
    let nested = |depth: usize| format!("{}1{}", "{\"d\":".repeat(depth), "}".repeat(depth));
    let lists = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    for (members, why) in [
        (r#""a":1,"a":2"#.to_owned(), "repeated_key"),
        (r#""b":[{"c":1,"c":2}]"#.to_owned(), "repeated_key"),
        (r#""n":123456789012345678901234567890"#.to_owned(), "number"),
        (format!("\"deep\":{}", nested(30)), "depth"),
        (format!("\"deep\":{}", nested(99)), "depth"),
        (format!("\"deep\":{}", nested(100)), "depth"),
        (format!("\"deep\":{}", nested(127)), "depth"),
        (format!("\"deep\":{}", nested(50_000)), "depth"),
        (format!("\"deep\":{}", lists(50_000)), "depth"),
        (format!("\"long\":\"{}\"", "x".repeat(30_001)), "length"),
        (format!("\"{}\":1", "k".repeat(1_001)), "length"),
        (format!("\"task_id\":\"{}\"", "x".repeat(30_001)), "length"),
        (r#""a\u0000b":1"#.to_owned(), "key"),
    ] {
        let line = format!("{{\"level\":\"warn\",\"logger\":\"l\",\"trace_id\":\"t\",\"total_tokens\":5,{members}}}");
        let shown: String = line.chars().take(120).collect();
        let records = parsed(&[("UserID", "user_id")], &line);
        let message: String = records.iter().map(|r| r["Message"].as_str().expect("text")).collect();
        assert!(message == line, "{shown}: the whole line is there");
        for record in &records {
            assert_eq!(record["Fields"], json!({"KeptAsText": why}), "{shown}");
            let found = (&record["Level"], &record["LoggerName"], &record["TraceID"]);
            assert_eq!(found, (&json!("WARNING"), &json!("l"), &json!("t")), "{shown}");
        }
        let counted = records.iter().filter(|record| record["TotalTokens"] == 5).count();
        assert_eq!(counted, 1, "{shown}: a number counts once, however many parts there are");
    }
}

#[test]
fn pairs_that_cannot_be_taken_apart_are_kept_as_text_and_say_why() {
    let long = "x".repeat(30_001);
    for (pairs, why) in [
        ("a=1 a=2".to_owned(), Some("repeated_key")),
        (format!("long={long}"), Some("length")),
        (format!("trace_id={long}"), Some("length")),
        // The first of a spelling is the column, the second a field.
        ("msg=again".to_owned(), None),
        ("total_tokens=6 total_tokens=7".to_owned(), Some("repeated_key")),
    ] {
        let line = format!("level=warn msg=m task_id=t total_tokens=5 {pairs}");
        let record = one(&[], &line);
        assert_eq!((&record["Level"], &record["TaskID"]), (&json!("WARNING"), &json!("t")), "{pairs}");
        match why {
            Some(why) => assert_eq!(record["Message"], line, "{pairs}: {why}"),
            None => assert_eq!((&record["Message"], &record["Fields"]["msg"]), (&json!("m"), &json!("again"))),
        }
        assert_eq!(record["Fields"].get("KeptAsText").and_then(Value::as_str), why, "{pairs}");
        assert_eq!(record["TotalTokens"], 5, "{pairs}");
    }
}

#[test]
fn a_json_line_of_ten_megabytes_is_pieces_or_text_and_nothing_is_lost() {
    let line = format!("{{\"level\":\"info\",\"msg\":\"m\",\"data\":\"{}\"}}", "some words ".repeat(1_000_000));
    let pieces = parsed(&[], &line);
    let message: String = pieces.iter().map(|r| r["Message"].as_str().expect("text")).collect();
    assert!(message == line);
    assert!(pieces.iter().all(|record| record["Fields"]["LinePiece"].is_u64()), "each is marked");
    let long = Options { max_line: 16 * 1024 * 1024, ..(*options(Parser::Auto, Vec::new())).clone() };
    let parts = all(&mut ingest(Arc::new(long.clone())), line.as_bytes());
    let message: String = parts.iter().map(|r| r.columns["Message"].as_str().expect("text")).collect();
    assert!(message == line);
    let kept = json!({"KeptAsText": "length"});
    assert!(parts.iter().all(|record| record.columns["Fields"] == kept && record.columns["Parts"] == parts.len()));
    // The longest that is taken apart.
    let (head, tail) = ("{\"level\":\"info\",\"msg\":\"", "\"}");
    let fitting = format!("{head}{}{tail}", "x".repeat(JSON_MAX_BYTES - head.len() - tail.len()));
    let parts = all(&mut ingest(Arc::new(long)), fitting.as_bytes());
    assert!(parts.iter().all(|record| record.columns["Level"] == "INFO" && record.columns.get("Fields").is_none()));
}

#[test]
fn numbers_and_durations_of_a_long_message_stand_in_its_first_part() {
    let line = json!({"msg": "x".repeat(200_000), "total_tokens": 7, "duration_ms": 5, "model_name": "large-1"});
    let records = parsed(&[("N", "n")], &line.to_string());
    assert!(records.len() > 3);
    for (index, record) in records.iter().enumerate() {
        let first = index == 0;
        assert_eq!(record["ModelName"], "large-1");
        assert_eq!((record.get("TotalTokens").is_some(), record.get("DurationMs").is_some()), (first, first));
    }
}

#[test]
fn a_wrapped_line_with_a_member_named_like_what_it_was_wrapped_in_keeps_its_columns() {
    let inner = r#"{\"level\":\"error\",\"stream\":\"s\",\"msg\":\"m\"}"#;
    let line = format!("{{\"log\":\"{inner}\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-20T23:00:00Z\"}}");
    // Its stream is a column where the origin has none, so nothing clashes.
    let record = one(&[], &line);
    assert_eq!((&record["Stream"], &record["Fields"]), (&json!("stdout"), &json!({"stream": "s"})));
    let constants = Constants::new([("Stream".to_owned(), "stderr".to_owned())]);
    let info = Arc::new(OriginInfo { id: OriginId([7; 16]), descriptor: Vec::new(), constants: Vec::new() });
    let mut ingest = Ingest::new(options(Parser::Auto, Vec::new()), info, constants, 0, Counters::default());
    let record = all(&mut ingest, line.as_bytes()).remove(0).columns;
    assert_eq!(record, json!({"Level": "ERROR", "Message": line, "Fields": {"KeptAsText": "repeated_key"}}));
}
