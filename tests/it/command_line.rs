//! What a user sees of the commands: output, messages, exit codes.

use crate::support::ferry::{Ferry, append};

#[test]
fn without_a_configuration_ship_prints_records_and_reports_on_standard_error() {
    let mut ferry = Ferry::new("");
    let log = ferry.path("app.log");
    append(
        &log,
        ["2026-11-20 23:00:33,123 - agent - WARNING - careful".to_owned(), "{\"msg\":\"j\",\"n\":1}".to_owned()],
    );
    let ended = ferry.call_plain(&["ship", log.to_str().expect("UTF-8")]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let records: Vec<serde_json::Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["@timestamp"], "2026-11-20T23:00:33.123Z");
    assert_eq!((&records[0]["LoggerName"], &records[0]["Level"]), (&"agent".into(), &"WARNING".into()));
    assert_eq!((&records[1]["Message"], &records[1]["Fields"]["n"]), (&"j".into(), &1.into()));
    assert_eq!((&records[0]["Seq"], &records[1]["Seq"]), (&1.into(), &2.into()));
    assert!(ended.stderr.contains("everything delivered"), "{}", ended.stderr);
}

#[test]
fn a_second_ship_goes_on_where_the_first_ended() {
    let mut ferry =
        Ferry::new("[[sources.file]]\ninclude = [\"{dir}/*.log\"]\n[sinks.file]\npath = \"{dir}/out/r.ndjson\"\n");
    let log = ferry.path("app.log");
    for round in 0..3 {
        append(&log, (0..5).map(|n| format!("line {round} {n}")));
        let ended = ferry.call(&["ship"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let records = ferry.records("out/r.ndjson");
        assert_eq!(records.len(), (round + 1) * 5);
    }
    let records = ferry.records("out/r.ndjson");
    let last = records.last().expect("a record");
    assert_eq!((&last["Message"], &last["Seq"]), (&"line 2 4".into(), &15.into()));
}

#[test]
fn usage_and_configuration_mistakes_end_with_2_and_start_nothing() {
    let mut ferry =
        Ferry::new("[[sources.file]]\ninclud = [\"/x\"]\n[sinks.elasticsearch]\nendpoints = [\"ftp://x\"]\n");
    for command in [&["run"][..], &["ship"], &["check"]] {
        let ended = ferry.call(command);
        assert_eq!(ended.code, Some(2), "{command:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("include") && ended.stderr.contains("ftp://x"), "{}", ended.stderr);
    }
    assert!(!ferry.path("state").exists());
    assert_eq!(ferry.call_plain(&["ship", "/no/such/file"]).code, Some(2));
    assert_eq!(ferry.call_plain(&["shipp"]).code, Some(2));
}

#[test]
fn only_what_would_have_started_says_that_nothing_was() {
    let mut ferry = Ferry::new("[buffer]\nmax_byte = 1\n");
    for (command, starts) in
        [(&["run"][..], true), (&["ship"], true), (&["check"], false), (&["config", "show"], false)]
    {
        let ended = ferry.call(command);
        assert_eq!(ended.code, Some(2), "{command:?}: {}", ended.stderr);
        assert_eq!(ended.stderr.contains("nothing was started"), starts, "{command:?}: {}", ended.stderr);
    }
}

#[test]
fn what_a_file_source_would_skip_is_refused_when_it_is_named() {
    let mut ferry = Ferry::new("");
    let fifo = ferry.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    std::fs::write(ferry.path("app.log.zst"), b"\x28\xb5\x2f\xfd\0").expect("a file");
    std::fs::write(ferry.path("empty.log"), b"").expect("a file");
    let mut check = |path: std::path::PathBuf, code: i32, part: &str| {
        let ended = ferry.call_plain(&["ship", path.to_str().expect("UTF-8")]);
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    };
    let dir = fifo.parent().expect("a folder").to_owned();
    check(fifo, 2, "is no file: pipe it in and use -");
    check("/dev/null".into(), 2, "is no file: pipe it in and use -");
    check(dir.join("app.log.zst"), 2, "is compressed: decompress it first (zstdcat ");
    check(dir.join("empty.log"), 0, "everything delivered");
    check("/proc/self/limits".into(), 0, "everything delivered");
}

#[test]
fn a_named_file_is_read_as_the_source_whose_pattern_matches_it() {
    let mut ferry = Ferry::new(
        "[[sources.file]]\nname = \"other\"\ninclude = [\"{dir}/none/*\"]\n\
         [[sources.file]]\nname = \"runs\"\ninclude = [\"{dir}/runs/{RunID}/{TaskID}.log\"]\nparser = \"raw\"\n\
         [sinks.file]\npath = \"{dir}/out/r.ndjson\"\n",
    );
    let (log, unknown) = (ferry.path("runs/42/t7.log"), ferry.path("unknown.log"));
    std::fs::create_dir_all(log.parent().expect("a folder")).expect("folders");
    append(&log, ["{\"msg\":\"as it stands\"}".to_owned()]);
    append(&ferry.path("runs/42/t8.log"), ["not named".to_owned()]);
    append(&unknown, ["{\"msg\":\"parsed\"}".to_owned()]);
    let ended = ferry.call(&["ship", log.to_str().expect("UTF-8"), unknown.to_str().expect("UTF-8")]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut records = ferry.records("out/r.ndjson");
    records.sort_by_key(|record| record["Source"].to_string());
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!((&records[0]["Source"], &records[0]["Message"]), (&"other".into(), &"parsed".into()));
    assert_eq!((&records[1]["Source"], &records[1]["Message"]), (&"runs".into(), &"{\"msg\":\"as it stands\"}".into()));
    assert_eq!((&records[1]["RunID"], &records[1]["TaskID"]), (&"42".into(), &"t7".into()));
}

#[test]
fn an_output_without_room_ends_a_ship_without_configuration() {
    let ferry = Ferry::new("");
    let log = ferry.path("app.log");
    append(&log, ["line".to_owned()]);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_logferry"));
    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let output = command.arg("ship").arg(&log).stdout(full).output().expect("logferry runs");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no room is left on it") && said.contains("run it again"), "{said}");
    assert!(!said.contains("safe"), "{said}");
}

#[test]
fn two_processes_on_one_state_folder_do_not_meet() {
    let mut ferry =
        Ferry::new("[[sources.file]]\ninclude = [\"{dir}/*.log\"]\n[sinks.file]\npath = \"{dir}/out/r.ndjson\"\n");
    let running = ferry.run();
    while !running.text().contains("started") {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let ended = ferry.call(&["run"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(&format!("in use by process {}", running.id())), "{}", ended.stderr);
    assert_eq!(running.stop().code, Some(0));
}

#[test]
fn check_online_says_what_does_not_answer() {
    let mut ferry = Ferry::new(
        "[[sources.file]]\ninclude = [\"{dir}/*.log\"]\n[sinks.elasticsearch]\nendpoints = [\"http://127.0.0.1:1\"]\n\
         [sinks.file]\npath = \"{dir}/out/r.ndjson\"\n[buffer]\nmax_bytes = \"64MiB\"\n",
    );
    let ended = ferry.call(&["check", "--online"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let line = |start: &str| ended.stdout.lines().find(|line| line.starts_with(start)).map(str::to_owned);
    assert!(line("failed  sink elasticsearch").is_some_and(|line| line.contains("127.0.0.1:1")), "{}", ended.stdout);
    assert!(line("ok      sink file").is_some() && line("ok      state.dir").is_some(), "{}", ended.stdout);
    assert!(ended.stdout.contains("; 1 file source, 0 Docker sources, 2 sinks\n"), "{}", ended.stdout);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(ferry.path("state")).expect("made"));
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_pipe_gives_its_records_while_it_is_quiet_and_a_signal_ends_it_without_loss() {
    use std::io::{BufRead as _, Read as _, Write as _};
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_logferry"))
        .args(["ship", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("logferry starts");
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    input.write_all(b"one\n").expect("write");
    let mut first = String::new();
    output.read_line(&mut first).expect("a record, while the pipe stays open");
    assert!(first.contains("\"one\""), "{first}");
    input.write_all(b"two\nunfinished").expect("write");
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &id]).status().expect("kill").success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("records");
    assert!(rest.contains("\"two\"") && rest.contains("\"unfinished\""), "{rest}");
    assert_eq!(child.wait().expect("ended").code(), Some(0));
    drop(input);
}
