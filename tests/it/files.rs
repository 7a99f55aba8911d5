//! Files as the real binary meets them: compressed, in other encodings, too many, too long, not allowed.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::ferry::{Ended, Ferry, PATIENCE, append, tail};

/// Most memory that reading may take, whatever stands in the file.
const RSS_MAX_KIB: u64 = 100 * 1024;

/// Bytes of the long line; `LONG_LINE_MIB` asks for more.
const LONG_LINE_MIB: u64 = 64;

const ONE_SINK: &str = "[[sources.file]]\ninclude = [\"{dir}/*.log*\"]\n[sinks.file]\npath = \"{dir}/out/r.ndjson\"\n";

fn ship(ferry: &mut Ferry, name: &str) -> Ended {
    let path = ferry.path(name);
    ferry.call_plain(&["ship", path.to_str().expect("UTF-8")])
}

fn messages(output: &str) -> Vec<String> {
    let message = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
        record["Message"].as_str().unwrap_or_default().to_owned()
    };
    output.lines().map(message).collect()
}

/// The most memory that a process has taken so far, in KiB.
fn peak_rss_kib(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Runs the real `gzip` over a file.
fn gzip(path: &Path) {
    assert!(Command::new("gzip").arg(path).status().expect("gzip").success());
}

#[test]
fn a_compressed_file_is_shipped_and_one_that_is_broken_ends_with_1() {
    let mut ferry = Ferry::new("");
    append(&ferry.path("app.log"), (0..10_000).map(|n| format!("line {n}")));
    gzip(&ferry.path("app.log"));
    let ended = ship(&mut ferry, "app.log.gz");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(messages(&ended.stdout), (0..10_000).map(|n| format!("line {n}")).collect::<Vec<_>>());
    let whole = std::fs::read(ferry.path("app.log.gz")).expect("read");
    std::fs::write(ferry.path("cut.log.gz"), &whole[..whole.len() / 2]).expect("write");
    let ended = ship(&mut ferry, "cut.log.gz");
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("not read: ") && ended.stderr.contains("cut.log.gz: the compressed"),
        "{}",
        ended.stderr
    );
    assert!(messages(&ended.stdout).len() > 1000);
}

#[test]
fn in_a_folder_that_was_named_every_file_is_read_or_said() {
    let mut ferry = Ferry::new("");
    std::fs::create_dir(ferry.path("logs")).expect("a folder");
    append(&ferry.path("logs/app.log.1"), ["rotated".to_owned()]);
    gzip(&ferry.path("logs/app.log.1"));
    append(&ferry.path("logs/app.log"), ["current".to_owned()]);
    let ended = ship(&mut ferry, "logs");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(messages(&ended.stdout).into_iter().collect::<BTreeSet<_>>().len(), 2);
    std::fs::write(ferry.path("logs/app.log.2.zst"), b"\x28\xb5\x2f\xfd\0").expect("write");
    let ended = ship(&mut ferry, "logs");
    assert_eq!((ended.code, messages(&ended.stdout).len()), (Some(1), 2), "{}", ended.stderr);
    assert!(ended.stderr.contains("not read: 1 files are compressed, but not by gzip"), "{}", ended.stderr);
}

#[test]
fn with_a_state_what_was_rotated_and_compressed_meanwhile_is_read_once() {
    let mut ferry = Ferry::new(ONE_SINK);
    let log = ferry.path("app.log");
    append(&ferry.path("app.log.1"), (0..500).map(|n| format!("oldest {n}")));
    gzip(&ferry.path("app.log.1"));
    append(&log, (0..500).map(|n| format!("old {n}")));
    assert_eq!(ferry.call(&["ship"]).code, Some(0));
    // Written to, rotated twice and compressed before the next start.
    append(&log, (500..600).map(|n| format!("old {n}")));
    std::fs::rename(ferry.path("app.log.1.gz"), ferry.path("app.log.3.gz")).expect("rename");
    std::fs::rename(&log, ferry.path("app.log.2")).expect("rename");
    gzip(&ferry.path("app.log.2"));
    append(&log, (0..100).map(|n| format!("new {n}")));
    for _ in 0..2 {
        let ended = ferry.call(&["ship"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    let mut found: Vec<String> =
        ferry.records("out/r.ndjson").iter().map(|record| record["Message"].as_str().expect("text").into()).collect();
    let oldest = (0..500).map(|n| format!("oldest {n}"));
    let mut expected: Vec<String> =
        oldest.chain((0..600).map(|n| format!("old {n}"))).chain((0..100).map(|n| format!("new {n}"))).collect();
    found.sort();
    expected.sort();
    assert_eq!(found.len(), expected.len());
    assert_eq!(found, expected);
}

#[test]
fn the_daemon_leaves_compressed_files_alone() {
    let mut ferry = Ferry::new(ONE_SINK);
    append(&ferry.path("app.log.1"), ["read before".to_owned()]);
    gzip(&ferry.path("app.log.1"));
    append(&ferry.path("app.log"), ["new".to_owned()]);
    let running = ferry.run();
    while ferry.records("out/r.ndjson").is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ferry.records("out/r.ndjson").len(), 1);
    assert!(ended.stderr.contains("compressed file is left alone"), "{}", tail(&ended.stderr));
}

#[test]
fn a_file_and_an_input_in_utf_16_are_said_and_not_garbled() {
    let mut ferry = Ferry::new(ONE_SINK);
    let text: Vec<u8> = "\u{feff}one\ntwo\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(ferry.path("wide.log"), &text).expect("write");
    append(&ferry.path("plain.log"), ["plain".to_owned()]);
    let ended = ferry.call(&["ship"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("wide.log") && ended.stderr.contains("iconv -f UTF-16"), "{}", ended.stderr);
    assert!(ended.stderr.contains("not read: 1 files are in UTF-16"), "{}", ended.stderr);
    let records = ferry.records("out/r.ndjson");
    assert_eq!((records.len(), &records[0]["Message"]), (1, &"plain".into()));
    let manifests = ferry.all_records("out/r.ndjson");
    let wide = |fields: &serde_json::Value| fields["gap_kinds"][0] == "unreadable" && fields["gap_bytes"] == text.len();
    let gaps = manifests.iter().filter(|record| record["EventType"] == "logferry.manifest.origin");
    assert_eq!(gaps.filter(|record| wide(&record["Fields"])).count(), 1, "{manifests:?}");
    let summary = manifests.iter().find(|record| record["EventType"] == "logferry.manifest").expect("a summary");
    assert_eq!(summary["Fields"]["complete"], false);

    let mut child = Command::new(env!("CARGO_BIN_EXE_logferry"))
        .args(["ship", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("logferry starts");
    child.stdin.take().expect("a pipe").write_all(&text).expect("write");
    let output = child.wait_with_output().expect("ended");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
    assert!(said.contains("not read: standard input is in UTF-16"), "{said}");
}

/// Ships a file without configuration; gives its records, the sum of their text, and the memory that it took, in KiB.
fn ship_counting(path: &Path) -> (u64, u64, u64) {
    ship_input(path, Stdio::null())
}

fn ship_input(path: &Path, input: Stdio) -> (u64, u64, u64) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_logferry"))
        .arg("ship")
        .arg(path)
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("logferry starts");
    let (mut records, mut text, mut peak) = (0, 0, 0);
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).expect("records") > 0 {
        let record: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        records += 1;
        text += record["Message"].as_str().unwrap_or_default().len() as u64;
        peak = peak.max(peak_rss_kib(child.id()).unwrap_or(0));
        line.clear();
    }
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    (records, text, peak)
}

#[test]
fn a_line_without_end_is_read_in_pieces_with_bounded_memory() {
    let given = std::env::var("LONG_LINE_MIB").ok().and_then(|mib| mib.parse().ok());
    let mib: u64 = given.unwrap_or(LONG_LINE_MIB);
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("long.log");
    let mut file = std::fs::File::create(&path).expect("a file");
    let piece: String = "0123456789abcde\u{e9}".repeat(1 << 16).chars().take(1 << 20).collect();
    let mut written = 0;
    while written < mib << 20 {
        file.write_all(piece.as_bytes()).expect("write");
        written += piece.len() as u64;
    }
    let input = Stdio::from(std::fs::File::open(&path).expect("the file"));
    for (records, text, peak) in [ship_counting(&path), ship_input(Path::new("-"), input)] {
        println!("{mib} MiB: {records} records, {peak} KiB");
        assert_eq!(text, written);
        assert!(records >= written / 60_000, "{records}");
        assert!(0 < peak && peak < RSS_MAX_KIB, "{peak} KiB");
    }
}

#[test]
fn a_compressed_line_without_end_takes_no_more_memory() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("long.log");
    let mut file = std::fs::File::create(&path).expect("a file");
    let piece = "0123456789abcdef".repeat(1 << 16);
    for _ in 0..LONG_LINE_MIB {
        file.write_all(piece.as_bytes()).expect("write");
    }
    gzip(&path);
    let (_, text, peak) = ship_counting(&dir.path().join("long.log.gz"));
    assert_eq!(text, LONG_LINE_MIB << 20);
    assert!(0 < peak && peak < RSS_MAX_KIB, "{peak} KiB");
}

#[test]
fn a_hole_of_a_gigabyte_before_a_line_is_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("sparse.log");
    let mut file = std::fs::File::create(&path).expect("a file");
    file.seek(SeekFrom::Start(1 << 30)).expect("seek");
    file.write_all(b"after the hole\n").expect("write");
    file.set_len(2 << 30).expect("room");
    let (records, text, peak) = ship_counting(&path);
    assert_eq!((records, text), (1, 14));
    assert!(peak < RSS_MAX_KIB, "{peak} KiB");
}

/// The daemon with a limit of open files; `limit` as `ulimit -n` takes it.
fn run_limited(ferry: &Ferry, limit: u32) -> (std::process::Child, std::path::PathBuf) {
    let log = ferry.path("limited.log-of-ferry");
    let config = ferry.path("logferry.toml");
    let script = format!("ulimit -n {limit}; exec \"$0\" run -c \"$1\"");
    let child = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_logferry"), config.to_str().expect("UTF-8")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).expect("a log"))
        .spawn()
        .expect("logferry starts");
    (child, log)
}

fn open_files(id: u32) -> usize {
    std::fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count)
}

#[test]
fn ten_thousand_files_are_read_within_a_limit_of_256_open_files() {
    const FILES: usize = 10_000;
    let ferry = Ferry::new(
        "[[sources.file]]\ninclude = [\"{dir}/many/**/*.log\"]\n[sinks.file]\npath = \"{dir}/out/r.ndjson\"\n",
    );
    for n in 0..FILES {
        let folder = ferry.path(&format!("many/{}", n % 50));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(format!("{n}.log")), format!("line of {n}\n")).expect("write");
    }
    let (mut child, log) = run_limited(&ferry, 256);
    let begun = Instant::now();
    let mut most = 0;
    let mut wait_for = |expected: usize| {
        loop {
            most = most.max(open_files(child.id()));
            let text = std::fs::read_to_string(ferry.path("out/r.ndjson")).unwrap_or_default();
            if text.lines().count() >= expected {
                return;
            }
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            // Who is new is held against all that are known: some time, where nothing is optimised and others build.
            assert!(begun.elapsed() < PATIENCE * 3 / 2, "{}: {}", text.lines().count(), tail(&said()));
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait_for(FILES);
    println!("{FILES} files: {:?}", begun.elapsed());
    // All of them, while none of them can be held open for all.
    for n in 0..FILES {
        append(&ferry.path(&format!("many/{}/{n}.log", n % 50)), [format!("more of {n}")]);
    }
    wait_for(2 * FILES);
    println!("twice: {:?}, {most} open files, {:?} KiB", begun.elapsed(), peak_rss_kib(child.id()));
    assert!(most < 256, "{most} open files");
    let peak = peak_rss_kib(child.id()).expect("it runs");
    assert!(peak < RSS_MAX_KIB, "{peak} KiB");
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().expect("kill").success());
    let status = child.wait().expect("ended");
    assert_eq!(status.code(), Some(0), "{}", tail(&std::fs::read_to_string(&log).expect("a log")));
    let records = ferry.records("out/r.ndjson");
    let distinct: BTreeSet<&str> = records.iter().filter_map(|record| record["Message"].as_str()).collect();
    assert_eq!((records.len(), distinct.len()), (2 * FILES, 2 * FILES));
}

#[test]
fn a_file_that_may_not_be_read_is_said_and_read_once_it_may() {
    const NOBODY: u32 = 65_534;
    let ferry = Ferry::new(ONE_SINK);
    let log = ferry.path("secret.log");
    append(&log, ["one".to_owned()]);
    let own = |mode: u32| {
        std::fs::set_permissions(&log, std::fs::Permissions::from_mode(mode)).expect("rights");
    };
    own(0o600);
    let said = ferry.path("said");
    let config = ferry.path("logferry.toml");
    // A copy, as the folder of the build may be closed to others.
    let binary = ferry.path("logferry");
    std::fs::copy(env!("CARGO_BIN_EXE_logferry"), &binary).expect("copy");
    let mut command = Command::new(&binary);
    command.arg("run").arg("-c").arg(config).stdout(Stdio::null()).stdin(Stdio::null());
    command.stderr(std::fs::File::create(&said).expect("a log"));
    if std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) != 0) {
        // Only the superuser can have somebody else try it: here the owner loses the right himself.
        own(0o000);
    } else {
        std::os::unix::fs::chown(ferry.dir.path(), Some(NOBODY), Some(NOBODY)).expect("owner");
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command.spawn().expect("logferry starts");
    let begun = Instant::now();
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        while !done() {
            let text = std::fs::read_to_string(&said).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "{what}: {}", tail(&text));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let text = || std::fs::read_to_string(&said).unwrap_or_default();
    let lines = || ferry.records("out/r.ndjson").len();
    wait("the refusal", &|| text().contains("secret.log"));
    own(0o644);
    wait("the first line", &|| lines() == 1);
    // Taken away again: what is held open is read on.
    own(0o000);
    append(&log, ["two".to_owned()]);
    wait("the second line", &|| lines() == 2);
    assert_eq!(text().lines().filter(|line| line.contains("cannot be read")).count(), 1, "{}", text());
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().expect("kill").success());
    assert_eq!(child.wait().expect("ended").code(), Some(0), "{}", tail(&text()));
}

/// The daemon in a user namespace of its own, in which a limit of inotify is set.
fn run_with_few_watches(ferry: &Ferry, limit: &str) -> Option<(std::process::Child, std::path::PathBuf)> {
    let log = ferry.path("said");
    let script = format!("{limit} && exec \"$0\" run -c \"$1\"");
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", script, env!("CARGO_BIN_EXE_logferry")]);
        command.arg(ferry.path("logferry.toml")).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&log).expect("a log"));
        command
    };
    let allowed = unshare(limit).status().is_ok_and(|status| status.success());
    allowed.then(|| (unshare(&script).spawn().expect("logferry starts"), log.clone()))
}

#[test]
fn without_watches_files_are_polled_and_it_is_said_once() {
    const FOLDERS: usize = 8;
    for (limit, said) in [
        ("echo 3 > /proc/sys/user/max_inotify_watches", "no more folders can be watched"),
        ("echo 0 > /proc/sys/user/max_inotify_instances", "folders cannot be watched, files are polled instead"),
    ] {
        let ferry = Ferry::new(
            "[[sources.file]]\ninclude = [\"{dir}/logs/*/*.log\"]\n[sinks.file]\npath = \"{dir}/out/r.ndjson\"\n",
        );
        for n in 0..FOLDERS {
            std::fs::create_dir_all(ferry.path(&format!("logs/{n}"))).expect("a folder");
            append(&ferry.path(&format!("logs/{n}/a.log")), ["one".to_owned()]);
        }
        let Some((mut child, log)) = run_with_few_watches(&ferry, limit) else {
            eprintln!("no user namespace can be had here: {limit} was not tried");
            return;
        };
        let begun = Instant::now();
        let wait = |lines: usize| {
            while ferry.records("out/r.ndjson").len() < lines {
                let text = || std::fs::read_to_string(&log).unwrap_or_default();
                assert!(begun.elapsed() < PATIENCE, "{lines} lines: {}", tail(&text()));
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        wait(FOLDERS);
        for n in 0..FOLDERS {
            append(&ferry.path(&format!("logs/{n}/a.log")), ["two".to_owned()]);
            append(&ferry.path(&format!("logs/{n}/b.log")), ["new".to_owned()]);
        }
        wait(3 * FOLDERS);
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &id]).status().expect("kill").success());
        assert_eq!(child.wait().expect("ended").code(), Some(0));
        let text = std::fs::read_to_string(&log).expect("a log");
        assert_eq!(text.lines().filter(|line| line.contains(said)).count(), 1, "{}", tail(&text));
        assert_eq!(ferry.records("out/r.ndjson").len(), 3 * FOLDERS);
    }
}
