//! A VM's last minutes at the real address of IMDS: a backlog, an event, its approval. The whole of it runs in a network
//! of the test's own. `EVENT_BACKLOG_MB` says how much there is to deliver; a preemption
//! bears 100 MB too, if the machine has nothing else to do.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::docker::containers::Containers;
use crate::support::azure::{AzureServer, AzureSettings, Fault};
use crate::support::ferry::{Ferry, append, until};
use crate::support::imds::{Announced, ImdsServer, Target, compute};
use crate::support::network::Network;

use super::{LIMIT, event_records, events_status, until_state};

/// Bytes of a line with its end.
const LINE_BYTES: usize = 1_000;

const CONTROL: Duration = Duration::from_secs(20);

/// Two backlogs at a time would only slow each other down.
static TURN: Mutex<()> = Mutex::new(());

fn lines(megabytes: usize) -> usize {
    let megabytes = std::env::var("EVENT_BACKLOG_MB").map_or(megabytes, |text| text.parse().expect("EVENT_BACKLOG_MB"));
    megabytes * 1_000_000 / LINE_BYTES
}

fn line(n: usize) -> String {
    format!("2026-11-20 23:00:33,123 - agent.worker - INFO - step {n:09} {}", "x".repeat(LINE_BYTES - 71))
}

/// What the container prints: lines, and more of them once it is told to end.
const PRINTED: usize = 2_000;
const SCRIPT: &str = "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); echo line $i; done; while [ ! -e /tmp/end ]; do sleep 0.1; \
                      done; while [ $i -lt 2000 ]; do i=$((i+1)); echo line $i; done";

/// A VM with a managed identity, a file and a container, whose sink accepts nothing until the event is announced.
fn last_minutes(event_type: &str, notice: Duration, megabytes: usize) {
    let Some(network) = Network::new() else { return };
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let azure = network.enter(|| AzureServer::start(AzureSettings::default()));
    let server = ImdsServer::start_in(&network, compute("vm-7"), Some(&azure));
    let settings = &azure.settings;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    let containers = runtime.block_on(Containers::new("last-minutes"));
    let mut ferry = Ferry::new(&format!(
        "[run]\nrun_id = \"42\"\nvm_name = \"vm-7\"\n[[sources.file]]\nname = \"agent\"\ninclude = [\"{{dir}}/*.log\"]\n\
         [sinks.azure_monitor]\nendpoint = \"{}\"\ndcr_id = \"{}\"\nstream = \"{}\"\n\
         credential = {{ kind = \"managed_identity\" }}\n[teardown]\nscheduled_events = \"on\"\n{}",
        azure.endpoint,
        settings.dcr_id,
        settings.stream,
        containers.source()
    ));
    ferry.start_by(&network.starter());
    azure.fault_rule(|_| Some(Fault::Status(503, None)));
    let running = ferry.run();
    runtime.block_on(server.until("polls", LIMIT, |l| l.answered(Target::Events, 200) > 0));
    let count = lines(megabytes);
    let works = containers.start("works", &[], SCRIPT);
    append(&ferry.path("a.log"), (0..count).map(line));
    // It has been read when the event comes: what is left is to deliver it.
    runtime.block_on(until("the backlog", async || {
        let ended = ferry.call(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&ended.stdout).ok()?;
        let printed = status["sources"]["containers"]["lines"].as_u64()?;
        (status["sources"]["agent"]["lines"] == count && printed >= 1_000).then_some(())
    }));
    assert_eq!(azure.read(|l| l.records.len()), 0, "nothing is accepted yet");

    let announced = server.elapsed();
    azure.fault_rule(|_| None);
    server.announce(Announced::new("A", event_type, &["vm-7"], notice));
    containers.call(&["exec", &works, "touch", "/tmp/end"]);
    runtime.block_on(server.until("the approval", notice, |l| !l.approvals.is_empty()));
    let (delivered, printed, manifest) = azure.read(|l| {
        let of = |column: &str, value: &str| {
            l.records.iter().filter(|record| record.get(column).is_some_and(|is| is == value)).count()
        };
        let manifest = l.records.iter().rfind(|record| record["EventType"] == "logferry.manifest").cloned();
        (of("Source", "agent"), of("Stream", "stdout"), manifest)
    });
    let approved = server.read(|l| l.approvals[0].clone());
    println!(
        "{event_type}, {} MB in {count} lines: approved {:.2} s after it was announced",
        count * LINE_BYTES / 1_000_000,
        (approved.1 - announced).as_secs_f64()
    );
    assert_eq!((approved.0.as_str(), delivered, printed), ("A", count, PRINTED));
    let manifest = manifest.expect("a manifest");
    assert_eq!(manifest["Fields"]["complete"], true, "{manifest:?}");
    assert!(manifest["Fields"]["lines"].as_u64() > Some(count as u64), "the record of the event counts too");

    append(&ferry.path("a.log"), ["after the approval".to_owned()]);
    let has_it = |record: &crate::support::azure::Record| record["Message"] == "after the approval";
    runtime.block_on(azure.until("the line after it", CONTROL, |l| l.records.iter().any(has_it)));
    runtime.block_on(until_state(&mut ferry, "approved"));
    let stopping = Instant::now();
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    println!("{event_type}: the stop took {:.2} s", stopping.elapsed().as_secs_f64());
    let (agents, others) = azure.read(|l| {
        let (agents, others): (Vec<_>, Vec<_>) = l.records.iter().partition(|record| record["Source"] == "agent");
        (agents.len(), others.into_iter().cloned().map(serde_json::Value::Object).collect::<Vec<_>>())
    });
    assert_eq!(agents, count + 1);
    assert_eq!(event_records(&others)[0], ("azure.scheduled_event".to_owned(), "A".to_owned()));
    assert_eq!((azure.read(|l| l.duplicates), server.read(|l| l.answered(Target::Identity, 200))), (0, 1));
}

#[test]
fn a_terminated_vm_delivers_its_backlog_and_lets_the_event_begin() {
    last_minutes("Terminate", Duration::from_secs(300), 100);
}

#[test]
fn the_thirty_seconds_of_a_preemption_are_enough() {
    last_minutes("Preempt", Duration::from_secs(30), 40);
}

#[test]
fn where_packets_to_imds_vanish_the_daemon_starts_ships_and_stops_all_the_same() {
    let Some(network) = Network::that_swallows() else { return };
    let mut ferry = Ferry::new(
        "[[sources.file]]\ninclude = [\"{dir}/*.log\"]\n[sinks.file]\npath = \"{dir}/out.ndjson\"\n\
         [teardown]\nscheduled_events = \"on\"\n",
    );
    ferry.start_by(&network.starter());
    append(&ferry.path("a.log"), (0..100).map(|n| format!("line {n}")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let began = Instant::now();
    let running = ferry.run();
    runtime.block_on(until("records", async || (ferry.records("out.ndjson").len() == 100).then_some(())));
    let status = runtime.block_on(until("the fault", async || {
        Some(events_status(&mut ferry)).filter(|status| status["fault"].is_string())
    }));
    assert!(status["fault"].as_str().is_some_and(|fault| fault.contains("does not answer")), "{status}");
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(began.elapsed() < CONTROL, "{:?}", began.elapsed());
    assert_eq!(ended.stderr.matches("announcements cannot be followed").count(), 1, "{}", ended.stderr);
}
