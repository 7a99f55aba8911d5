//! Private keys that are cut into records of any number of lines: no line of them is left, nor what stands beside them.

use std::sync::Arc;

use super::*;

const BEGIN: &str = "-----BEGIN RSA PRIVATE KEY-----";
const END: &str = "-----END RSA PRIVATE KEY-----";
const MARKER: &str = "[REDACTED:private_key]";
const FULL: &str = "MIIEowIBAAKCAQEAx7k2Lq9Zt4Vw8Np3Rt5Vx7k2Lq9Zt4Vw8Np3Rt5Vx7k2Lq9Z";

/// Forty lines of a key, which was never one: each is found again by any eight letters of it.
fn body() -> Vec<String> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(state >> 58) as usize])
    };
    let mut line = |len: usize| -> String { (0..len).map(|_| letter()).collect() };
    let mut lines: Vec<String> = (0..39).map(|_| line(64)).collect();
    lines.push(format!("{}A7=", line(25)));
    lines
}

/// The records of a stream as they go on.
fn cleaned(resumed: bool, records: &[String]) -> Vec<String> {
    let mut redaction = Redaction::new(Arc::default(), resumed);
    let clean = |record: &String| match redaction.clean(record.as_bytes(), Piece::None) {
        Some(clean) => String::from_utf8(clean.text).expect("UTF-8"),
        None => record.clone(),
    };
    records.iter().map(clean).collect()
}

fn assert_nothing_is_left(body: &[String], out: &[String], case: &str) {
    let all = out.join("\n---\n");
    for line in body {
        let pieces = (0..line.len() / 8).map(|piece| &line[piece * 8..piece * 8 + 8]);
        let left: Vec<&str> = pieces.filter(|piece| all.contains(piece)).collect();
        assert!(left.is_empty(), "{case}: {left:?} of {line} in\n{all}");
    }
    assert!(!all.contains("hunter"), "{case}:\n{all}");
}

#[test]
fn no_line_of_a_key_is_left_in_any_split_of_it() {
    let body = body();
    let mut lines = vec![BEGIN.to_owned()];
    lines.extend(body.iter().cloned());
    lines.push(END.to_owned());
    for head in ["", "    ", "2026-11-20 23:00:33,123 - a - INFO - ", "[a.b] INFO: ", "[a.b]   \t"] {
        for k in [1, 2, 3, 7, 13] {
            for first in 1..=k {
                // From where the stream is read, and whether another process read it up to there.
                for (from, resumed) in [(0, false), (0, true), (1, true), (20, true)] {
                    let rest = &lines[from..];
                    let mut splits = vec![&rest[..first]];
                    splits.extend(rest[first..].chunks(k));
                    for beside in [false, true] {
                        let record = |lines: &&[String]| -> String {
                            let mut lines: Vec<String> = lines.iter().map(|line| format!("{head}{line}")).collect();
                            if beside {
                                lines.insert(0, format!("{head}login with password=hunter2 failed"));
                                lines.push(format!("{head}db_password: hunter3!"));
                            }
                            lines.join("\n")
                        };
                        let mut records: Vec<String> = splits.iter().map(record).collect();
                        records.push(format!("{head}after {FULL}"));
                        let out = cleaned(resumed, &records);
                        let case = format!("{head:?}, {k} lines, first {first}, from {from}, beside {beside}");
                        assert_nothing_is_left(&body, &out, &case);
                        assert_eq!(out.last(), records.last(), "{case}: the key has ended");
                        if !beside && head.trim().is_empty() {
                            let keys = &out[..out.len() - 1];
                            assert!(keys.iter().all(|record| record.trim() == MARKER), "{case}: {keys:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_key_ends_and_another_begins_in_one_record() {
    let records = [
        format!("one\r\n{BEGIN}\r\n{FULL}"),
        format!("{FULL}\r\n{FULL}\r\nabcd\r\n{END}\r\nthen token=abc123\r\n[h] {BEGIN}\r\n[h] {FULL}\r\n[h] {FULL}"),
        format!("[h] {FULL}\n[h] {END} secret=abc\n{BEGIN}\n{FULL}\n{END}\n{FULL}\nend"),
    ];
    let redactor = Arc::new(Redactor::default());
    let mut redaction = Redaction::new(Arc::clone(&redactor), false);
    let out = records.map(|record| {
        let clean = redaction.clean(record.as_bytes(), Piece::None).expect("changed");
        // Places on both sides of a key are found again.
        assert_eq!(clean.place(record.len()).unwrap_or(clean.text.len()), clean.text.len());
        String::from_utf8(clean.text).expect("UTF-8")
    });
    assert_eq!(
        out,
        [
            format!("one\r\n{MARKER}"),
            format!("{MARKER}\r\nthen token=[REDACTED:token]\r\n[h] {MARKER}[h] {MARKER}\r\n[h] {MARKER}"),
            format!("[h] {MARKER}\n[h] {MARKER} secret=[REDACTED:secret]\n{MARKER}\n{FULL}\nend"),
        ]
    );
    let keys = redactor.counts().into_iter().find(|(kind, _)| *kind == "private_key");
    assert_eq!(keys, Some(("private_key", 8)), "lines that nothing parts are one");
}

#[test]
fn what_only_looks_like_a_key_stays() {
    let check = |resumed: bool, records: &[String]| assert_eq!(cleaned(resumed, records), records);
    // Nothing says that a key goes on.
    check(false, &[format!("{FULL}\n{FULL}")]);
    // Another process ended in no key: something else begins, or too much else stands before.
    let certificate = format!("-----BEGIN CERTIFICATE-----\n{FULL}\n-----END CERTIFICATE-----");
    check(true, &[certificate, FULL.to_owned()]);
    check(true, &[format!("a b c.\n\n{}{FULL}", "some words.\n".repeat(5))]);
    check(true, &["a b\nabcd".to_owned(), "Zm9vYmFyMQ==".to_owned(), END.to_owned()]);
    // The words of the line go on behind what begins a key.
    let mention = "no \"-----BEGIN PRIVATE KEY-----\" in x.pem".to_owned();
    let out = cleaned(false, &[mention, FULL.to_owned()]);
    assert_eq!(out, [format!("no \"{MARKER}\" in x.pem"), FULL.to_owned()]);
    // This kind is off.
    let off = Redactor::new(&Settings { off: vec![Kind::PrivateKey], patterns: Vec::new() }).expect("settings");
    let mut redaction = Redaction::new(Arc::new(off), true);
    for record in [format!("{FULL}\n{FULL}"), format!("{BEGIN}\n{FULL}"), FULL.to_owned()] {
        assert!(redaction.clean(record.as_bytes(), Piece::None).is_none(), "{record}");
    }
}

#[test]
fn a_key_with_lines_of_others_between_goes_and_the_others_are_looked_at() {
    let body = body();
    let mut lines = vec![BEGIN.to_owned()];
    for (index, line) in body.iter().enumerate() {
        lines.push(line.clone());
        lines.extend((0..index % 5).map(|n| format!("(worker {n}) password=hunter{n}, all well.")));
    }
    lines.extend([END.to_owned(), FULL.to_owned()]);
    for k in 1..lines.len() - 1 {
        let records: Vec<String> = lines.chunks(k).map(|lines| lines.join("\n")).collect();
        let out = cleaned(false, &records);
        assert_nothing_is_left(&body, &out, &format!("{k} lines"));
        let all = out.join("\n");
        assert_eq!(all.matches("[REDACTED:password], all well.").count(), 80, "{k}: {all}");
        assert!(all.ends_with(FULL), "{k}: {all}");
    }
}
