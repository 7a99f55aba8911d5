//! `drain`, `status` and `ship` beside a running daemon.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::delivery::azure_sink;
use crate::support::azure::{AzureServer, AzureSettings, Fault};
use crate::support::ferry::{Ferry, Running, append, until};

const FILES: &str = "[[sources.file]]\nname = \"agent\"\ninclude = [\"{dir}/*.log\"]\n";

async fn start(ferry: &mut Ferry) -> Running {
    let running = ferry.run();
    let socket = ferry.path("state/control.sock");
    until("the socket", async || std::os::unix::net::UnixStream::connect(&socket).is_ok().then_some(())).await;
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_delivers_what_was_written_before_it_and_the_daemon_goes_on() {
    let mut ferry = Ferry::new(&format!("{FILES}[sinks.file]\npath = \"{{dir}}/out.ndjson\"\n"));
    let running = start(&mut ferry).await;
    let mode = std::fs::metadata(ferry.path("state/control.sock")).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let log = ferry.path("a.log");
    for round in 1..=3 {
        append(&log, (0..1_000).map(|n| format!("line {round} {n}")));
        // Its end is there once it is unchanged for a while.
        std::fs::write(ferry.path(&format!("{round}.log")), "no end").expect("write");
        let ended = ferry.call(&["drain"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("everything delivered") && ended.stderr.contains(": complete"),
            "{}",
            ended.stderr
        );
        assert_eq!(ferry.records("out.ndjson").len(), round * 1_001, "{}", ended.stderr);
        let summary = ferry.all_records("out.ndjson").pop().expect("a record");
        assert_eq!(
            (&summary["EventType"], &summary["Fields"]["incarnation"]),
            (&json!("logferry.manifest"), &json!(round))
        );
        assert_eq!(summary["Fields"]["records"], round * 1_001);
    }
    let ended = ferry.call(&["status", "--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let status: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(status["pid"], running.id());
    assert_eq!(status["sources"]["agent"]["lines"], 3 * 1_001);
    assert_eq!((&status["sinks"]["file"]["lag_records"], &status["sinks"]["file"]["fault"]), (&json!(0), &Value::Null));
    assert!(status["buffer"]["used_bytes"].as_u64() > Some(0), "{status}");
    // Rates are over the last ten seconds; all was read and delivered in less, or in a little more.
    let rates = [&status["sources"]["agent"]["lines_per_second"], &status["sinks"]["file"]["records_per_second"]];
    assert!(rates.iter().all(|rate| rate.is_f64()), "{status}");
    append(&log, (0..1_000).map(|n| format!("line {n}")));
    assert_eq!(ferry.call(&["drain"]).code, Some(0));
    until("rates", async || {
        let status: Value = serde_json::from_str(&ferry.call(&["status", "--json"]).stdout).ok()?;
        let rate = |value: &Value| value.as_f64().filter(|rate| *rate > 0.0);
        rate(&status["sources"]["agent"]["lines_per_second"])?;
        rate(&status["sinks"]["file"]["records_per_second"])
    })
    .await;
    let ended = ferry.call(&["status"]);
    assert!(ended.stdout.contains("agent") && ended.stdout.contains("4003"), "{}", ended.stdout);
    assert_eq!(ended.stdout.matches("a second").count(), 2, "{}", ended.stdout);
    assert_eq!(running.stop().code, Some(0));
    assert!(!ferry.path("state/control.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_whose_deadline_passes_ends_with_3_and_the_daemon_delivers_later() {
    let server = AzureServer::start(AzureSettings::default());
    server.fault_rule(|_| Some(Fault::Status(503, None)));
    let mut ferry = Ferry::new(&format!("{FILES}{}", azure_sink(&server)));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    append(&ferry.path("a.log"), (0..50).map(|n| format!("line {n}")));
    let running = start(&mut ferry).await;
    let ended = ferry.call(&["drain", "--deadline", "3s"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("not complete: 50 records not yet in azure_monitor"), "{}", ended.stderr);
    let status: Value = serde_json::from_str(&ferry.call(&["status", "--json"]).stdout).expect("JSON");
    let sink = &status["sinks"]["azure_monitor"];
    assert!(sink["lag_records"].as_u64() >= Some(50) && sink["fault"].is_string(), "{status}");
    server.fault_rule(|_| None);
    let ended = ferry.call(&["drain", "--deadline", "60s"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(server.records().len(), 50);
    assert_eq!(running.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_daemon_there_is_a_clear_word_and_a_killed_one_leaves_nothing_in_the_way() {
    let mut ferry = Ferry::new(&format!("{FILES}[sinks.file]\npath = \"{{dir}}/out.ndjson\"\n"));
    let no_daemon = |ferry: &mut Ferry| {
        for command in ["drain", "status", "tap"] {
            let ended = ferry.call(&[command]);
            assert_eq!(ended.code, Some(1), "{command}: {}", ended.stderr);
            assert!(ended.stderr.contains("no daemon is running on state.dir"), "{}", ended.stderr);
        }
    };
    no_daemon(&mut ferry);
    start(&mut ferry).await.kill();
    assert!(ferry.path("state/control.sock").exists());
    no_daemon(&mut ferry);
    let running = start(&mut ferry).await;
    assert_eq!(ferry.call(&["drain"]).code, Some(0));
    assert_eq!(ferry.call(&["drain", "--deadline", "soon"]).code, Some(2));
    // A second daemon is refused, and the first one stays reachable.
    let second = ferry.call(&["run"]);
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains(&format!("in use by process {}", running.id())), "{}", second.stderr);
    assert_eq!(ferry.call(&["drain"]).code, Some(0));
    assert_eq!(running.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ship_beside_a_daemon_goes_through_it() {
    let mut ferry = Ferry::new(&format!("{FILES}[sinks.file]\npath = \"{{dir}}/out.ndjson\"\n"));
    let running = start(&mut ferry).await;
    append(&ferry.path("a.log"), (0..10).map(|n| format!("line {n}")));
    let ended = ferry.call(&["ship"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ferry.records("out.ndjson").len(), 10);
    let log = ferry.path("a.log");
    let ended = ferry.call(&["ship", log.to_str().expect("UTF-8")]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("logferry drain"), "{}", ended.stderr);
    assert_eq!(running.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_on_the_socket_is_answered_and_harms_nothing() {
    use std::io::{Read as _, Write as _};
    let mut ferry = Ferry::new(&format!("{FILES}[sinks.file]\npath = \"{{dir}}/out.ndjson\"\n"));
    let running = start(&mut ferry).await;
    let ask = |bytes: &[u8]| {
        let mut stream = std::os::unix::net::UnixStream::connect(ferry.path("state/control.sock")).expect("a socket");
        // More than is taken may meet a closed door.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    for bytes in [&b"\n"[..], b"{}\n", b"\xff\xfe\n", b"{\"command\":\"fly\"}\n", b""] {
        assert!(ask(bytes).starts_with("{\"error\":\"this is no request"), "{bytes:?}");
    }
    ask(&vec![b'x'; 1 << 20]);
    assert!(ask(b"{\"command\":\"status\"}\n").starts_with("{\"status\":{"));
    assert_eq!(running.stop().code, Some(0));
}
