//! The state folder on a file system that is full: reading waits, nothing breaks, nothing is lost, and it goes on by itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::delivery::azure_sink;
use crate::support::azure::{AzureServer, AzureSettings, Fault};
use crate::support::ferry::{Ended, Ferry, append, until};

/// Bytes of one line.
const LINE_BYTES: usize = 10_000;

const MESSAGE: &str = "no room for the buffer in";

/// A small file system in memory; gone when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir_all(&at).expect("a folder");
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "logferry-test"]).arg(&at).output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("not tested: this user may not mount a file system");
        }
        mounted.then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A process that still runs there keeps it until its end.
        let _ = Command::new("umount").args(["-l"]).arg(&self.0).output();
    }
}

fn line(number: usize) -> String {
    format!("line {number:06} {}", "x".repeat(LINE_BYTES))
}

/// Every number once.
fn assert_each_line_once(records: &[Value], lines: usize) {
    let mut numbers: Vec<usize> = records
        .iter()
        .map(|record| record["Message"].as_str().and_then(|text| text.get(5..11)?.parse().ok()).expect("a line"))
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..lines).collect::<Vec<_>>());
}

fn assert_complete(ferry: &Ferry, ended: &Ended, lines: usize) {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let text = std::fs::read_to_string(ferry.path("state/manifests/42.json")).expect("a manifest");
    let manifest: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&manifest["complete"], &manifest["records"]), (&json!(true), &json!(lines)), "{manifest}");
}

/// Takes all room that is left.
fn fill(path: &Path) {
    let file = std::fs::File::create(path).expect("a file");
    let bytes = vec![1u8; 64 * 1024];
    for chunk in [64 * 1024, 1024] {
        while std::io::Write::write_all(&mut &file, &bytes[..chunk]).is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_another_file_fills_pauses_reading_and_goes_on_when_there_is_room() {
    const LINES: usize = 3_000;
    let mut ferry = Ferry::new(
        "[run]\nvm_name = \"vm-7\"\nrun_id = \"42\"\n[buffer]\nmax_bytes = \"32MiB\"\n\
         [[sources.file]]\ninclude = [\"{dir}/*.log\"]\n[sinks.file]\npath = \"{dir}/out.ndjson\"\n",
    );
    let Some(disk) = SmallDisk::mount(ferry.path("state"), "40m") else { return };
    let running = ferry.run();
    until("the start", async || running.text().contains("started").then_some(())).await;
    fill(&disk.0.join("another"));
    append(&ferry.path("a.log"), (0..LINES).map(line));
    until("the message", async || running.text().contains(MESSAGE).then_some(())).await;
    let folder = ferry.path("state/buffer");
    assert!(running.text().contains(&format!("{MESSAGE} {}", folder.display())), "it says where: {}", running.text());
    assert!(running.text().contains("free some disk"), "and what to do: {}", running.text());
    // What had come into the log is delivered all the same.
    until("deliveries", async || {
        let records = ferry.records("out.ndjson").len();
        let status = ferry.call(&["status", "--json"]);
        let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
        assert_eq!(status["buffer"]["disk_full"], true);
        (records > 0 && status["sinks"]["file"]["lag_records"] == 0).then_some(())
    })
    .await;
    assert!(ferry.records("out.ndjson").len() < LINES, "the disk was not full at all");
    std::fs::remove_file(disk.0.join("another")).expect("room");
    until("the rest", async || (ferry.records("out.ndjson").len() == LINES).then_some(())).await;
    assert!(running.text().contains("the disk has room again"), "{}", running.text());
    let ended = running.stop();
    assert_each_line_once(&ferry.records("out.ndjson"), LINES);
    assert_complete(&ferry, &ended, LINES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_beyond_the_disk_waits_for_the_sink_and_loses_nothing_over_a_kill() {
    const LINES: usize = 4_000;
    let server = AzureServer::start(AzureSettings::default());
    server.fault_rule(|_| Some(Fault::Status(503, None)));
    let mut ferry = Ferry::new(&format!(
        "[run]\nvm_name = \"vm-7\"\nrun_id = \"42\"\n[buffer]\nmax_bytes = \"32MiB\"\n\
         [[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\n{}",
        azure_sink(&server)
    ));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    let Some(_disk) = SmallDisk::mount(ferry.path("state"), "20m") else { return };
    append(&ferry.path("a.log"), (0..LINES).map(line));
    let running = ferry.run();
    until("the message", async || running.text().contains(MESSAGE).then_some(())).await;
    running.kill();
    // A start on the full disk: there is no room for a segment of its own.
    let running = ferry.run();
    until("the message", async || running.text().contains(MESSAGE).then_some(())).await;
    server.fault_rule(|_| None);
    until("all lines", async || (server.records().len() >= LINES).then_some(())).await;
    let ended = running.stop();
    // Whatever the first process had sent was refused: nothing is there twice.
    let records: Vec<Value> = server.records().into_iter().map(Value::Object).collect();
    assert_each_line_once(&records, LINES);
    assert_complete(&ferry, &ended, LINES);
}
