//! Ingest as a whole: lines in, records out, nothing lost between them.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::buffer::section::split_record;
use crate::record::{EventId, RouteBits};
use crate::record::{OriginId, RECORD_MAX_BYTES, Rule, STRING_MAX_BYTES};

mod columns;
mod multiline;

const READ_TIME: Nanos = 1_000_000_000;

fn options(parser: Parser, routes: Vec<Option<Rule>>) -> Arc<Options> {
    let routes = if routes.is_empty() { vec![None] } else { routes };
    Arc::new(Options { parser, routes: routes.into(), ..Options::default() })
}

fn ingest(options: Arc<Options>) -> Ingest {
    let constants = Constants::new([("TaskID".to_owned(), "17".to_owned())]);
    let members = constants.members().to_vec();
    let info = Arc::new(OriginInfo { id: OriginId([7; 16]), descriptor: Vec::new(), constants: members });
    Ingest::new(options, info, constants, 0, Counters::default())
}

struct Record {
    time: Nanos,
    seq: u64,
    id: EventId,
    route: RouteBits,
    columns: Value,
}

fn records(section: &Section) -> Vec<Record> {
    let mut out = Vec::new();
    let mut rest = section.records.bytes.as_slice();
    while let Some(((header, members), after)) = split_record(rest) {
        let text = format!("{{{}}}", std::str::from_utf8(members).expect("UTF-8"));
        assert!(text.len() < RECORD_MAX_BYTES);
        let columns = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let seq = section.first_seq + out.len() as u64;
        out.push(Record { time: header.time, seq, id: header.event_id, route: header.route, columns });
        rest = after;
    }
    assert_eq!(out.len(), section.records.count as usize);
    out
}

/// All records of a text that ends with it.
fn all(ingest: &mut Ingest, text: &[u8]) -> Vec<Record> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        let fed = ingest.feed(rest, &READ_TIME, Flush::All);
        rest = &rest[fed.consumed..];
        out.extend(ingest.section(Vec::new(), false).iter().flat_map(records));
        if !fed.section_full {
            break;
        }
    }
    assert!(rest.is_empty());
    assert_eq!(ingest.counters().bytes, text.len() as u64);
    assert_eq!(ingest.counters().records, out.len() as u64);
    let ids: HashSet<EventId> = out.iter().map(|record| record.id).collect();
    assert_eq!(ids.len(), out.len(), "each EventID stands once");
    assert!(out.iter().enumerate().all(|(n, record)| record.seq == n as u64 + 1));
    out
}

fn columns(parser: Parser, text: &str) -> Vec<Value> {
    all(&mut ingest(options(parser, Vec::new())), text.as_bytes()).into_iter().map(|record| record.columns).collect()
}

#[test]
fn auto_decides_line_by_line() {
    let text =
        "2026-11-20 23:00:33,123 - agent - WARN - careful\n{\"level\":\"error\",\"msg\":\"j\",\"n\":1}\nplain\n\n";
    let expected = [
        json!({"LoggerName":"agent","Level":"WARNING","Message":"careful"}),
        json!({"Level":"ERROR","Message":"j","Fields":{"n":1}}),
        json!({"Message":"plain"}),
        json!({}),
    ];
    assert_eq!(columns(Parser::Auto, text), expected);
    let raw = columns(Parser::Raw, text);
    assert_eq!(raw[1], json!({"Message":"{\"level\":\"error\",\"msg\":\"j\",\"n\":1}"}));
}

#[test]
fn the_lines_own_time_comes_before_the_time_of_reading() {
    let text = "2026-11-20 00:00:00,500 - a - INFO - m\n{\"ts\":1700000000}\nplain\n2026-11-20T00:00:00Z dated\n";
    let mut ingest = ingest(options(Parser::Auto, Vec::new()));
    let times: Vec<Nanos> = all(&mut ingest, text.as_bytes()).iter().map(|record| record.time).collect();
    let day = 1_795_132_800_000_000_000;
    assert_eq!(times, [day + 500_000_000, 1_700_000_000_000_000_000, READ_TIME, day]);
}

#[test]
fn a_traceback_is_one_record_with_the_line_that_logged_it() {
    let stack = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\nValueError: bad\n";
    let text = format!("2026-11-20 00:00:00,500 - a - ERROR - it broke\n{stack}after\n");
    let bare = columns(Parser::Auto, stack);
    let records = columns(Parser::Auto, &text);
    let exception = json!({"Type":"ValueError","Message":"bad","Stack":stack.trim_end()});
    assert_eq!(
        records,
        [
            json!({"LoggerName":"a","Level":"ERROR","Message":"it broke","Exception":exception}),
            json!({"Message":"after"}),
        ]
    );
    assert_eq!(bare, [json!({"Level":"ERROR","Message":"ValueError: bad","Exception":exception})]);
}

#[test]
fn indented_lines_stay_in_the_message() {
    let records = columns(Parser::Auto, "2026-11-20 00:00:00,500 - a - INFO - one\n  two\n\tthree\n");
    assert_eq!(records, [json!({"LoggerName":"a","Level":"INFO","Message":"one\n  two\n\tthree"})]);
}

#[test]
fn a_long_message_becomes_parts_that_give_it_back() {
    let long = "ä\"x".repeat(60_000);
    for text in [
        format!("2026-11-20 00:00:00,500 - a - INFO - {long}\n"),
        format!("{{\"level\":\"info\",\"logger\":\"a\",\"message\":{}}}\n", json!(long)),
    ] {
        let records = columns(Parser::Auto, &text);
        assert_eq!(records.len(), 4);
        let message: String = records.iter().map(|r| r["Message"].as_str().expect("text")).collect();
        assert_eq!(message, long);
        for (index, record) in records.iter().enumerate() {
            assert!(record["Message"].as_str().expect("text").len() <= STRING_MAX_BYTES);
            assert_eq!((&record["Part"], &record["Parts"]), (&json!(index + 1), &json!(4)));
            assert_eq!((&record["Level"], &record["LoggerName"]), (&json!("INFO"), &json!("a")));
        }
    }
}

#[test]
fn what_is_long_elsewhere_in_a_json_line_is_kept_as_text() {
    let wide: String = (0..60_000).map(|n| format!(",\"key{n}\":{n}")).collect();
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let long = "x".repeat(70_000);
    for line in [
        format!("{{\"level\":\"info\"{wide}}}"),
        format!("{{\"level\":\"info\",\"deep\":{deep}}}"),
        format!("{{\"level\":\"info\",\"message\":\"m\",\"long\":\"{long}\"}}"),
    ] {
        let records = columns(Parser::Auto, &line);
        let message: String = records.iter().map(|r| r["Message"].as_str().expect("text")).collect();
        assert_eq!(message, line);
        assert!(records.iter().all(|record| record["Level"] == "INFO" && record["Fields"]["KeptAsText"].is_string()));
    }
}

#[test]
fn many_long_columns_stay_within_the_bounds_of_a_record() {
    let field = "f".repeat(29_000);
    let fields: String = (0..27).map(|n| format!(",\"k{n}\":\"{field}\"")).collect();
    let id = "i".repeat(29_990);
    let line = format!(
        "{{\"level\":\"{id}\",\"logger\":\"{id}\",\"event_type\":\"{id}\",\"trace_id\":\"{id}\",\"span_id\":\"{id}\"{fields}}}"
    );
    let dashed = format!("2026-11-20 23:00:33,123 - {} - INFO - {}", "n".repeat(500_000), "m".repeat(500_000));
    for text in [line, dashed] {
        let records = columns(Parser::Auto, &text);
        let message: String = records.iter().map(|r| r["Message"].as_str().expect("text")).collect();
        assert_eq!(message, text);
        for record in &records {
            let strings = record.as_object().expect("columns").values().filter_map(Value::as_str);
            assert!(strings.map(str::len).all(|len| len <= STRING_MAX_BYTES));
        }
    }
}

#[test]
fn an_object_is_no_longer_than_one_value_may_be() {
    let field = "\\\"".repeat(7_000);
    let fields = |count: usize| (0..count).map(|n| format!(",\"k{n}\":\"{field}\"")).collect::<String>();
    let stack = |lines: usize| format!("Traceback (most recent call last):\n{}E: \u{1}", "  \\\"f\"\n".repeat(lines));
    let check = |line: &str, column: &str, fits: bool| {
        let records = columns(Parser::Auto, line);
        let longest = records.iter().filter_map(|record| Some(record.get(column)?.to_string().len())).max();
        assert!(longest.is_none_or(|len| len <= STRING_MAX_BYTES), "{column}: {longest:?}");
        let message: String = records.iter().map(|r| r["Message"].as_str().expect("text")).collect();
        assert_eq!(message == "m", fits, "{column}: {} records, {longest:?} bytes", records.len());
        assert!(fits || message == line, "the line as it is");
    };
    for count in 1..=6 {
        check(&format!("{{\"message\":\"m\"{}}}", fields(count)), "Fields", count <= 4);
    }
    for (lines, fits) in [(1_000, true), (5_000, true), (7_000, false), (20_000, false)] {
        let exception = json!({"message": "m", "exception": stack(lines)}).to_string();
        check(&exception, "Exception", fits);
    }
}

#[test]
fn what_a_value_would_alter_is_kept_as_text() {
    for (line, why) in [
        (r#"{"level":"info","a":1,"a":2}"#, "repeated_key"),
        (r#"{"level":"info","n":123456789012345678901234567890}"#, "number"),
    ] {
        let kept = json!({"KeptAsText": why});
        assert_eq!(columns(Parser::Auto, line), [json!({"Level":"INFO","Message":line,"Fields":kept})]);
    }
}

#[test]
fn a_stack_that_is_too_long_stands_in_the_message() {
    let frames = "  File \"a.py\", line 1, in f\n    g()\n".repeat(240);
    let filler = format!("    {}\n", "y".repeat(60_000));
    let stack = format!("Traceback (most recent call last):\n{frames}{filler}ValueError: bad");
    let text = format!("2026-11-20 00:00:00,500 - a - ERROR - it broke\n{stack}\n");
    let records = columns(Parser::Auto, &text);
    let message: String = records.iter().map(|r| r["Message"].as_str().expect("text")).collect();
    assert_eq!(message, text.trim_end());
    assert_eq!(records[0]["Exception"], json!({"Type":"ValueError","Message":"bad"}));
}

#[test]
fn no_bytes_make_a_record_that_is_no_json() {
    let mut bytes: Vec<u8> = (0..=255u8).cycle().take(5_000).collect();
    bytes.extend_from_slice(b"\n{\"a\":\"\xff\"}\n{\n\0\0\n\xef\xbb\xbfx\r\n");
    let mut ingest = ingest(options(Parser::Auto, Vec::new()));
    let records = all(&mut ingest, &bytes);
    assert!(records.len() > 5);
}

#[test]
fn a_byte_order_mark_at_the_start_is_no_text_and_counts_as_read() {
    let stack = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: bad\n";
    let check = |text: &str, expected: &[Value]| {
        assert_eq!(columns(Parser::Auto, &format!("\u{feff}{text}")), expected, "{text:?}");
    };
    check("plain\r\n\u{feff}later\n", &[json!({"Message":"plain"}), json!({"Message":"\u{feff}later"})]);
    check("{\"msg\":\"j\"}\n  x\n", &[json!({"Message":"j"}), json!({"Message":"  x"})]);
    check("2026-11-20 00:00:00,500 - a - INFO - m\n", &[json!({"LoggerName":"a","Level":"INFO","Message":"m"})]);
    let exception = json!({"Type":"ValueError","Message":"bad","Stack":stack.trim_end()});
    check(stack, &[json!({"Level":"ERROR","Message":"ValueError: bad","Exception":exception})]);
    check(
        &format!("oh\n{stack}"),
        &[
            json!({"Level":"ERROR","Message":"oh","Exception":{"Type":"ValueError","Message":"bad","Stack":stack.trim_end()}}),
        ],
    );
    check("", &[json!({})]);
    check("\n", &[json!({})]);
}

#[test]
fn bytes_that_are_no_utf_8_stay_readable_and_are_marked() {
    let text = b"2026-11-20 00:00:00,500 - a - INFO - caf\xe9\nfine \xc3\xa9\nnul \0 here\n{\"a\":\"\xff\"}\n";
    let records = all(&mut ingest(options(Parser::Auto, Vec::new())), text);
    let columns: Vec<Value> = records.into_iter().map(|record| record.columns).collect();
    let marked = json!({"InvalidBytes":1});
    let expected = [
        json!({"LoggerName":"a","Level":"INFO","Message":"caf\u{fffd}","Fields":marked}),
        json!({"Message":"fine \u{e9}"}),
        json!({"Message":"nul \0 here"}),
        json!({"Message":"{\"a\":\"\u{fffd}\"}","Fields":marked}),
    ];
    assert_eq!(columns, expected);
    // A character that a bound cuts in two would be marked: no bound cuts one.
    let long = "\u{e9}\u{6f22}\u{1f6a2}".repeat(300_000);
    let parts = all(&mut ingest(options(Parser::Auto, Vec::new())), long.as_bytes());
    assert!(parts.len() > 40 && parts.iter().all(|part| part.columns["Fields"]["InvalidBytes"].is_null()));
    let broken: Vec<u8> = b"ab\xff".repeat(50_000);
    let parts = all(&mut ingest(options(Parser::Auto, Vec::new())), &broken);
    let marked: u64 = parts.iter().map(|part| part.columns["Fields"]["InvalidBytes"].as_u64().expect("marked")).sum();
    assert_eq!(marked, 50_000);
}

#[test]
fn when_rules_set_the_route_and_a_record_without_one_keeps_its_seq() {
    let errors = Rule::new(vec![("Level".into(), vec!["ERROR".into()])]);
    let task = Rule::new(vec![("TaskID".into(), vec!["1*".into()]), ("Level".into(), vec!["INFO".into()])]);
    let mut ingest = ingest(options(Parser::Auto, vec![Some(errors), Some(task)]));
    let records = all(&mut ingest, b"ERROR:a:x\nplain\nDEBUG:a:y\n");
    assert_eq!(records.iter().map(|record| record.route).collect::<Vec<_>>(), [0b01, 0b10, 0b00]);
    assert_eq!(records[2].columns, json!({}));
    assert_eq!(ingest.counters().routed, [1, 1]);
}

#[test]
fn an_open_group_waits_for_its_flush_and_the_position_stays_before_it() {
    let mut ingest = ingest(options(Parser::Auto, Vec::new()));
    let window = b"one\ntwo\n  more\nunfin";
    let fed = ingest.feed(window, &READ_TIME, Flush::No);
    assert_eq!((fed.consumed, ingest.position()), (4, 4));
    assert!(ingest.holds_back());
    let rest = &window[4..];
    let fed = ingest.feed(rest, &READ_TIME, Flush::Group);
    assert_eq!((fed.consumed, ingest.position()), (11, 15));
    let section = ingest.section(b"p".to_vec(), false).expect("section");
    let messages: Vec<Value> = records(&section).into_iter().map(|record| record.columns).collect();
    assert_eq!(messages, [json!({"Message":"one"}), json!({"Message":"two\n  more"})]);
    assert_eq!((section.counters.lines, section.counters.bytes), (3, 15));
    assert!(ingest.section(Vec::new(), false).is_none());
    let fed = ingest.feed(b"unfinished", &READ_TIME, Flush::All);
    assert_eq!((fed.consumed, ingest.holds_back()), (10, false));
}

#[test]
fn a_section_is_closed_at_its_bound_and_the_next_goes_on() {
    let line = format!("{}\n", "x".repeat(999));
    let text = line.repeat(3_000);
    let mut ingest = ingest(options(Parser::Auto, Vec::new()));
    let mut rest = text.as_bytes();
    let mut sections = Vec::new();
    loop {
        let fed = ingest.feed(rest, &READ_TIME, Flush::All);
        rest = &rest[fed.consumed..];
        sections.extend(ingest.section(ingest.position().to_le_bytes().to_vec(), false));
        if !fed.section_full {
            break;
        }
    }
    assert_eq!(sections.len(), 4);
    assert!(sections.iter().all(|s| s.records.bytes.len() < SECTION_TARGET_BYTES + 2_000));
    let total: usize = sections.iter().map(|section| records(section).len()).sum();
    assert_eq!(total, 3_000);
    assert_eq!(sections[1].first_seq, sections[0].counters.records + 1);
    assert_eq!(sections[1].base.to_le_bytes().to_vec(), sections[0].position);
}

/// Ingest whose redaction is off.
fn unredacted() -> Ingest {
    let redactor = Arc::new(redact::Redactor::none());
    ingest(Arc::new(Options { redactor, ..(*options(Parser::Auto, Vec::new())).clone() }))
}

#[test]
fn secrets_are_gone_before_a_line_is_parsed_and_ids_stay_what_they_were() {
    let stack =
        "Traceback (most recent call last):\n  File \"a.py\", line 1\n    f(password=\"x1\")\nValueError: token=x2\n";
    let text = format!(
        "2026-11-20 00:00:00,500 - a - ERROR - it broke, secret=x3 for ever\n{stack}\
         {{\"level\":\"info\",\"msg\":\"m\",\"password\":\"x4\",\"prompt_tokens\":7}}\nplain\n"
    );
    let redacted = all(&mut ingest(options(Parser::Auto, Vec::new())), text.as_bytes());
    let plain = all(&mut unredacted(), text.as_bytes());
    let ids = |records: &[Record]| records.iter().map(|record| (record.id, record.seq)).collect::<Vec<_>>();
    assert_eq!(ids(&redacted), ids(&plain));
    assert_eq!(plain[0].columns["Message"], "it broke, secret=x3 for ever");
    let exception = json!({
        "Type": "ValueError",
        "Message": "token=[REDACTED:token]",
        "Stack": stack.trim_end().replace("x1", "[REDACTED:password]").replace("x2", "[REDACTED:token]"),
    });
    let columns: Vec<&Value> = redacted.iter().map(|record| &record.columns).collect();
    let message = "it broke, secret=[REDACTED:secret] for ever";
    assert_eq!(columns[0], &json!({"LoggerName":"a","Level":"ERROR","Message":message,"Exception":exception}));
    let fields = json!({"password":"[REDACTED:password]","prompt_tokens":7});
    assert_eq!(columns[1], &json!({"Level":"INFO","Message":"m","PromptTokens":7,"Fields":fields}));
    assert_eq!(columns[2], &json!({"Message":"plain"}));
}

#[test]
fn a_colour_hides_no_secret_and_stays_only_where_it_is_kept_and_there_is_none() {
    let coloured = "\x1b[36mlogin\x1b[0m pass\x1b[1mword=hun\x1b[31mter2\x1b[0m ok";
    let quoted = coloured.replace('\x1b', "\\u001b");
    let runtime = format!("{{\"log\":\"{quoted}\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-20T23:00:00Z\"}}");
    for ansi in [Ansi::Strip, Ansi::Keep] {
        let options = Options { ansi, ..(*options(Parser::Auto, Vec::new())).clone() };
        let text = format!("{coloured}\n{{\"msg\":\"{quoted}\"}}\n{runtime}\n\x1b[32mup\x1b[0m\n");
        let records = all(&mut ingest(Arc::new(options)), text.as_bytes());
        for record in &records[..3] {
            assert_eq!(record.columns["Message"], "login password=[REDACTED:password] ok", "{ansi:?}");
        }
        let kept = if ansi == Ansi::Keep { "\x1b[32mup\x1b[0m" } else { "up" };
        assert_eq!(records[3].columns["Message"], kept);
    }
}

#[test]
fn a_group_of_a_pattern_that_is_named_like_a_secret_is_gone_from_the_whole_record() {
    let pattern = Pattern::new(r"^(?<level>[A-Z]+) (?<user>\w+) (?<api_key>[a-z0-9]+)$").expect("a pattern");
    let stack = "Traceback (most recent call last):\n  File \"a.py\", line 1\nValueError: x\n";
    let text = format!("WARN ann x9\n{stack}INFO bob {}\n", "q7".repeat(40));
    let records = all(&mut ingest(options(Parser::Regex(pattern), Vec::new())), text.as_bytes());
    let marker = "[REDACTED:api_key]";
    let exception = json!({"Type": "ValueError", "Message": "x", "Stack": stack.trim_end()});
    let fields = json!({"user": "ann", "api_key": marker});
    let message = format!("WARN ann {marker}");
    assert_eq!(
        records[0].columns,
        json!({"Level": "WARNING", "Message": message, "Exception": exception, "Fields": fields})
    );
    let fields = json!({"user": "bob", "api_key": marker});
    assert_eq!(records[1].columns, json!({"Level": "INFO", "Message": format!("INFO bob {marker}"), "Fields": fields}));
}

#[test]
fn a_secret_where_a_message_becomes_parts_or_a_line_pieces_is_gone() {
    let secret = "Qx7k2Lq9Zt4Vw8Np3Rt5V";
    for before in (STRING_MAX_BYTES - 40)..(STRING_MAX_BYTES + 5) {
        let text = format!("{} password={secret} end\n", "y".repeat(before));
        let records = columns(Parser::Auto, &text);
        let message: String = records.iter().map(|r| r["Message"].as_str().expect("text")).collect();
        assert_eq!(message, text.trim_end().replace(secret, "[REDACTED:password]"));
    }
    let short = Options { max_line: 100, ..(*options(Parser::Auto, Vec::new())).clone() };
    for before in 60..110 {
        let text = format!("{} password={secret} end{}\n", "y".repeat(before), "z".repeat(100));
        let records = all(&mut ingest(Arc::new(short.clone())), text.as_bytes());
        let message: String = records.iter().map(|r| r.columns["Message"].as_str().expect("text")).collect();
        assert!(!(0..secret.len() - 4).any(|at| message.contains(&secret[at..at + 5])), "{message}");
    }
}
