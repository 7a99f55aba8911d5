//! Groups of lines, and lines written over, as records.

use super::*;

#[test]
fn of_a_line_that_was_written_over_the_last_state_is_the_message() {
    let over = |n: u32| json!({"Overwritten": n});
    let check = |text: &str, expected: &[Value]| assert_eq!(columns(Parser::Auto, text), expected, "{text:?}");
    check(
        "a\r\n1%\r2%\r3%\nd\r",
        &[json!({"Message":"a"}), json!({"Message":"3%","Fields":over(2)}), json!({"Message":"d"})],
    );
    // What comes last is read like any other line.
    check(
        "1%\r2026-11-20 00:00:00,500 - a - INFO - done\n",
        &[json!({"LoggerName":"a","Level":"INFO","Message":"done","Fields":over(1)})],
    );
    check("1%\r2%\r{\"msg\":\"j\",\"n\":1}\n", &[json!({"Message":"j","Fields":{"n":1,"Overwritten":2}})]);
    check(
        "1%\r2%\nTraceback (most recent call last):\n  x\nE: y\n",
        &[json!({"Level":"ERROR","Message":"2%","Fields":over(1),
            "Exception":{"Type":"E","Message":"y","Stack":"Traceback (most recent call last):\n  x\nE: y"}})],
    );
    // A logger redraws nothing, and neither does JSON.
    check("2026-11-20 00:00:00,500 - a - INFO - x\ry\n", &[json!({"LoggerName":"a","Level":"INFO","Message":"x\ry"})]);
    check("{\"msg\":\"a\\rb\"}\n", &[json!({"Message":"a\rb"})]);
    assert_eq!(columns(Parser::Raw, "b\rc\nd\r"), [json!({"Message":"b\rc"}), json!({"Message":"d\r"})]);
    let none = Options { multiline: Multiline::None, ..(*options(Parser::Auto, Vec::new())).clone() };
    assert_eq!(all(&mut ingest(Arc::new(none)), b"b\rc\n")[0].columns, json!({"Message":"b\rc"}));
}

#[test]
fn a_progress_bar_over_max_line_gives_the_last_state_of_each_piece() {
    let short = |parser| Arc::new(Options { max_line: 64, ..(*options(parser, Vec::new())).clone() });
    let bar: String = (0..100).map(|n| format!("\r{n}% password=hunter{n}")).collect();
    let messages = |text: &str| -> Vec<Value> {
        all(&mut ingest(short(Parser::Auto)), text.as_bytes()).into_iter().map(|record| record.columns).collect()
    };
    let found = messages(&format!("{bar}\nnext\n"));
    assert!(found.iter().all(|record| !record["Message"].as_str().expect("text").contains('\r')), "{found:?}");
    assert!(!found.iter().any(|record| record.to_string().contains("hunter")), "{found:?}");
    let over: u64 = found.iter().filter_map(|record| record["Fields"]["Overwritten"].as_u64()).sum();
    assert_eq!((over + found.len() as u64, &found[found.len() - 1]), (101, &json!({"Message":"next"})));
    // What a logger wrote stays, however long it is.
    let logged = format!("2026-11-20 00:00:00,500 - a - INFO - x\r{}", "y\r".repeat(100));
    let text: String =
        messages(&logged).iter().map(|record| record["Message"].as_str().expect("text").to_owned()).collect();
    assert_eq!(text, logged);
}

#[test]
fn an_exception_below_a_calm_line_is_a_record_of_its_own() {
    let stack = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: bad";
    let exception = json!({"Type":"ValueError","Message":"bad","Stack":stack});
    let own = json!({"Level":"ERROR","Message":"ValueError: bad","Exception":exception});
    for level in ["INFO", "DEBUG"] {
        let text = format!("2026-11-20 00:00:00,500 - a - {level} - step 4\n  of 12\n{stack}\nnext\n");
        let mut ingest = ingest(options(Parser::Auto, Vec::new()));
        let records = all(&mut ingest, text.as_bytes());
        let columns: Vec<&Value> = records.iter().map(|record| &record.columns).collect();
        let head = json!({"LoggerName":"a","Level":level,"Message":"step 4\n  of 12"});
        assert_eq!(columns, [&head, &own, &json!({"Message":"next"})]);
        assert_eq!((ingest.counters().lines, ingest.counters().recorded_lines), (6, 6));
    }
    let warned = columns(Parser::Auto, &format!("WARNING:a:step 4\n{stack}\n"));
    assert_eq!(warned, [json!({"LoggerName":"a","Level":"WARNING","Message":"step 4","Exception":exception})]);
}

#[test]
fn a_group_over_a_bound_is_marked_in_each_of_its_records() {
    let frames = "\tat a.B.c(D.java:1)\n".repeat(700);
    let records = columns(Parser::Auto, &format!("java.lang.StackOverflowError\n{frames}next\n"));
    assert_eq!(records.len(), 3);
    assert_eq!((&records[0]["Fields"], &records[1]["Fields"]), (&json!({"GroupPiece":1}), &json!({"GroupPiece":2})));
    assert_eq!(records[0]["Exception"]["Type"], "java.lang.StackOverflowError");
    assert_eq!(records[1]["Message"].as_str().map(|text| text.lines().count()), Some(201));
    assert_eq!(records[2], json!({"Message":"next"}));
}

#[test]
fn records_that_begin_where_a_pattern_matches_are_read_by_their_first_line() {
    let start = Multiline::Start(Start::new("^[A-Z]{2,}:").expect("a pattern"));
    let options = Arc::new(Options { multiline: start, ..(*options(Parser::Auto, Vec::new())).clone() });
    let text = b"INFO:a:one\n{\"b\":1}\nERROR:a:two\n\nmore\nTraceback (most recent call last):\n  x\nE: y\nrest\n";
    let columns: Vec<Value> = all(&mut ingest(options), text).into_iter().map(|record| record.columns).collect();
    let stack = "Traceback (most recent call last):\n  x\nE: y\nrest";
    assert_eq!(
        columns,
        [
            json!({"LoggerName":"a","Level":"INFO","Message":"one\n{\"b\":1}"}),
            json!({"LoggerName":"a","Level":"ERROR","Message":"two\n\nmore",
                "Exception":{"Type":"E","Message":"y\nrest","Stack":stack}}),
        ]
    );
}

#[test]
fn an_exception_keeps_its_carriage_returns_and_its_type() {
    let stack = "Traceback (most recent call last):\n  x\nRuntimeError: ffmpeg: 10%\r20%";
    let exception = json!({"Type":"RuntimeError","Message":"ffmpeg: 10%\r20%","Stack":stack});
    let alone = json!({"Level":"ERROR","Message":"RuntimeError: ffmpeg: 10%\r20%","Exception":exception});
    assert_eq!(columns(Parser::Auto, &format!("{stack}\n")), [alone]);
    let below = json!({"Level":"ERROR","Message":"2%","Fields":{"Overwritten":1},"Exception":exception});
    assert_eq!(columns(Parser::Auto, &format!("1%\r2%\n{stack}\n")), [below]);
}

#[test]
fn what_carriage_returns_part_stays_where_no_bar_is_drawn() {
    for text in ["login failed for root\rall is well", "one\rtwo\rthree"] {
        assert_eq!(columns(Parser::Auto, &format!("{text}\n")), [json!({"Message":text})]);
    }
    let short = Arc::new(Options { max_line: 16, ..(*options(Parser::Auto, Vec::new())).clone() });
    let text = "one failed\rtwo ok\rthree ok\rfour failed";
    let found = all(&mut ingest(short), format!("{text}\n").as_bytes());
    let messages: String = found.iter().map(|record| record.columns["Message"].as_str().expect("text")).collect();
    // One at the end of a piece is a line end.
    let words = |text: &str| text.replace('\r', "");
    assert_eq!((words(&messages), found.len() > 1), (words(text), true));
}

#[test]
fn an_exception_below_a_calm_line_has_the_time_of_that_line() {
    let text = "2026-11-20 00:00:00,500 - a - INFO - up\nTraceback (most recent call last):\n  x\nE: y\n";
    let times: Vec<Nanos> =
        all(&mut ingest(options(Parser::Auto, Vec::new())), text.as_bytes()).iter().map(|record| record.time).collect();
    assert_eq!(times, [1_795_132_800_500_000_000; 2]);
}

#[test]
fn a_pattern_keeps_the_exception_below_a_calm_line_in_its_record() {
    let start = Multiline::Start(Start::new("^INFO").expect("a pattern"));
    let options = Arc::new(Options { multiline: start, ..(*options(Parser::Auto, Vec::new())).clone() });
    let stack = "Traceback (most recent call last):\n  x\nE: y";
    let found = all(&mut ingest(options), format!("INFO:a:up\n{stack}\n").as_bytes());
    let exception = json!({"Type":"E","Message":"y","Stack":stack});
    let expected = json!({"LoggerName":"a","Level":"INFO","Message":"up","Exception":exception});
    assert_eq!(found.iter().map(|record| &record.columns).collect::<Vec<_>>(), [&expected]);
}

#[test]
fn two_records_of_one_group_have_all_its_lines_however_many_a_secret_had() {
    let key: String = std::iter::once("  -----BEGIN PRIVATE KEY-----\n".to_owned())
        .chain((0..20).map(|_| format!("  {}\n", "MIIEvQIBADANBgkqhkiG9w0B".repeat(2))))
        .chain(["  -----END PRIVATE KEY-----\n".to_owned()])
        .collect();
    let text = format!("INFO:a:up\n{key}Traceback (most recent call last):\n  x\nE: y\n");
    let mut ingest = ingest(options(Parser::Auto, Vec::new()));
    let found = all(&mut ingest, text.as_bytes());
    assert_eq!((found.len(), found[0].columns.to_string().contains("MIIE")), (2, false), "{}", found[0].columns);
    let group = framing::Framer::new(Multiline::Auto, 1000).next(text.as_bytes(), 0, Flush::All).expect("a group");
    assert_eq!((group.lines, take::lines_before(text.as_bytes(), &group)), (26, 23));
}

#[test]
fn lines_that_a_runtime_wrapped_stay_single_whatever_the_pattern_is() {
    let start = Multiline::Start(Start::new("^>>").expect("a pattern"));
    let options = Arc::new(Options { multiline: start, ..(*options(Parser::Auto, Vec::new())).clone() });
    let docker =
        |word: &str| format!("{{\"log\":\"{word}\\n\",\"stream\":\"stderr\",\"time\":\"2026-11-20T23:00:33.5Z\"}}\n");
    let cri = "2026-11-20T23:00:33.123456789Z stdout F c\n";
    let text = format!(">> x\ny\n{}{}{cri}{cri}z\nz\n", docker("a"), docker("b"));
    let found = all(&mut ingest(options), text.as_bytes());
    let expected = [
        json!({"Message":">> x\ny"}),
        json!({"Message":"a","Stream":"stderr"}),
        json!({"Message":"b","Stream":"stderr"}),
        json!({"Message":"c","Stream":"stdout"}),
        json!({"Message":"c","Stream":"stdout"}),
        json!({"Message":"z\nz"}),
    ];
    assert_eq!(found.iter().map(|record| &record.columns).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    assert_eq!(found[1].time, 1_795_215_633_500_000_000);
}

#[test]
fn a_secret_that_spans_the_head_leaves_the_stack_below_it() {
    let start = Multiline::Start(Start::new("^>>").expect("a pattern"));
    let pattern = Pattern::new("(?s)(?P<password>Nov.*)").expect("a pattern");
    let options = options(Parser::Regex(pattern), Vec::new());
    let options = Arc::new(Options { multiline: start, ..(*options).clone() });
    let head = "Nov 20, 2026 11:00:33 PM com.example.a.very.long.name.of.a.class.Main run\n";
    for below in ["Traceback (most recent call last):\n  x\nE: y\n", "Error: x\n    at f (/a.js:1:2)\n"] {
        let found = all(&mut ingest(Arc::clone(&options)), format!("{head}{below}").as_bytes());
        assert_eq!(found.len(), 1);
        assert!(!found[0].columns.to_string().contains("com.example"), "{}", found[0].columns);
    }
}

#[test]
fn kept_colours_stand_in_the_stack_and_not_in_the_type() {
    let keep = Arc::new(Options { ansi: Ansi::Keep, ..(*options(Parser::Auto, Vec::new())).clone() });
    let stack = "Traceback (most recent call last):\n  File \u{1b}[35m\"a.py\"\u{1b}[0m, line 1\n\
        \u{1b}[1;35mValueError\u{1b}[0m: \u{1b}[35mbad\u{1b}[0m";
    let found = all(&mut ingest(Arc::clone(&keep)), format!("ERROR:a:oh\n{stack}\n").as_bytes());
    assert_eq!(found[0].columns["Exception"], json!({"Type":"ValueError","Message":"bad","Stack":stack}));
    let java = "oh: \u{1b}[31mjava.io.IOException\u{1b}[0m: x\n\tat a.B.c(D.java:1)";
    let found = all(&mut ingest(keep), format!("ERROR {java}\n").as_bytes());
    let stack = &java[4..];
    assert_eq!(found[0].columns["Exception"], json!({"Type":"java.io.IOException","Message":"x","Stack":stack}));
}

#[test]
fn no_line_of_a_private_key_is_left_where_a_group_is_cut_within_it() {
    let line = |n: usize| format!("MIIEowIBAAKCAQEA{n:02}x7k2Lq9Zt4Vw8Np3Rt5Vx7k2Lq9Zt4Vw8Np3Rt5Vx7k2Lq");
    let check = |found: &[Record], case: &str| {
        let text: String = found.iter().map(|record| record.columns.to_string()).collect();
        assert!(!text.contains("MIIE") && !text.contains("x7k2") && !text.contains("hunter2"), "{case}: {text}");
        assert!(text.contains("the end."), "{case}: {text}");
    };
    let start = Multiline::Start(Start::new("^[A-Z]{2,}:").expect("a pattern"));
    let bound = Arc::new(Options { multiline: start, ..(*options(Parser::Auto, Vec::new())).clone() });
    for head in ["", "  ", "[a.b] "] {
        let mut lines = vec!["login password=hunter2 failed.".to_owned(), "-----BEGIN PRIVATE KEY-----".to_owned()];
        lines.extend((0..40).map(line));
        lines.extend(["-----END PRIVATE KEY-----".to_owned(), "password=hunter2 is the end.".to_owned()]);
        let key: Vec<String> = lines.iter().map(|line| format!("{head}{line}\n")).collect();
        // The most lines of a group are reached at each line of it.
        for before in (458..499).step_by(4) {
            let text = format!("INFO:a:one\n{}{}", "more.\n".repeat(before), key.concat());
            let found = all(&mut ingest(Arc::clone(&bound)), text.as_bytes());
            assert_eq!(found[0].columns["Fields"], json!({"GroupPiece":1}), "{head:?} {before}");
            check(&found, &format!("{head:?} {before}"));
        }
        // Whoever writes it pauses; where another process read on from, only what is behind is known.
        for k in [1, 2, 3, 7, 13] {
            for (from, resumed) in [(0, false), (20, true)] {
                let mut ingest = ingest(Arc::clone(&bound));
                ingest.redaction = Redaction::new(Arc::default(), resumed);
                let mut found = Vec::new();
                for lines in key[from..].chunks(k) {
                    let text = lines.concat();
                    assert_eq!(ingest.feed(text.as_bytes(), &READ_TIME, Flush::Group).consumed, text.len());
                    found.extend(ingest.section(Vec::new(), false).iter().flat_map(records));
                }
                check(&found, &format!("{head:?}, {k} lines, from {from}"));
            }
        }
    }
}
