//! An event while containers run, on a real engine: approved when they have ended, with every line of them delivered.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{FILE_SINK, LIMIT, POLLS, summaries, teardown, until_state};
use crate::docker::containers::Containers;
use crate::support::ferry::{Ferry, until};
use crate::support::imds::{Announced, Fault, ImdsServer, Target, compute};

fn ferry(containers: &Containers, server: &ImdsServer) -> Ferry {
    let run = "[run]\nvm_name = \"vm-7\"\nrun_id = \"42\"\n";
    Ferry::new(&format!("{run}{}{FILE_SINK}{}", containers.source(), teardown(server, "")))
}

fn messages(ferry: &Ferry) -> Vec<String> {
    let records = ferry.records("out.ndjson");
    let printed = records.iter().filter(|record| record["Stream"] == "stdout");
    printed.map(|record| record["Message"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_approved_when_the_last_container_has_ended_and_all_of_it_is_delivered() {
    check_that_it_is_waited_for("event", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_the_engine_removes_at_its_end_is_waited_for_too() {
    check_that_it_is_waited_for("event-rm", &["--rm"]).await;
}

async fn check_that_it_is_waited_for(test: &str, options: &[&str]) {
    let containers = Containers::new(test).await;
    let server = ImdsServer::start(compute("vm-7"));
    let mut ferry = ferry(&containers, &server);
    let running = ferry.run();
    until("the engine", async || running.text().contains("Docker engine reached").then_some(())).await;
    let name =
        containers.start("works", options, "echo begun; while [ ! -e /tmp/end ]; do sleep 0.1; done; echo ended");
    until("its first line", async || messages(&ferry).contains(&"begun".to_owned()).then_some(())).await;
    server.announce(Announced::new("A", "Terminate", &["vm-7"], Duration::from_secs(600)));
    until_state(&mut ferry, "draining").await;
    let polls = server.read(|l| l.answered(Target::Events, 200));
    server.until("polls", LIMIT, |l| l.answered(Target::Events, 200) >= polls + POLLS).await;
    assert_eq!((server.read(|l| l.asked(Target::Approval)), summaries(&ferry).len()), (0, 0), "it works on");

    containers.call(&["exec", &name, "touch", "/tmp/end"]);
    let ended = Instant::now();
    server.until("the approval", LIMIT, |l| !l.approvals.is_empty()).await;
    println!("approved {:.2} s after the container was told to end", ended.elapsed().as_secs_f64());
    assert_eq!(messages(&ferry), ["begun", "ended"]);
    let records = ferry.records("out.ndjson");
    assert!(records.iter().any(|record| record["EventType"] == "container.exited"), "{records:?}");
    let manifest = summaries(&ferry).pop().expect("a manifest");
    assert_eq!(manifest["Fields"]["complete"], true, "{manifest}");
    assert!(!manifest["Fields"]["notes"].to_string().contains("still"), "{manifest}");
    assert_eq!(running.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_started_before_an_approval_was_taken_is_waited_for_too() {
    let containers = Containers::new("event-again").await;
    let server = ImdsServer::start(compute("vm-7"));
    let mut ferry = ferry(&containers, &server);
    let running = ferry.run();
    until("the engine", async || running.text().contains("Docker engine reached").then_some(())).await;
    server.outage(Target::Approval, Fault::Status(503, None), None);
    server.announce(Announced::new("A", "Terminate", &["vm-7"], Duration::from_secs(600)));
    server.until("an attempt", LIMIT, |l| l.answered(Target::Approval, 503) > 0).await;
    let name = containers.start("late", &[], "echo begun; while [ ! -e /tmp/end ]; do sleep 0.1; done; echo ended");
    let told = "a container was started before the event could be approved";
    until("it to be seen", async || running.text().contains(told).then_some(())).await;
    server.recover();
    let attempts = server.read(|l| l.asked(Target::Approval));
    let polls = server.read(|l| l.answered(Target::Events, 200));
    server.until("polls", LIMIT, |l| l.answered(Target::Events, 200) >= polls + 3 * POLLS).await;
    assert_eq!(server.read(|l| l.asked(Target::Approval)), attempts, "it works on");
    containers.call(&["exec", &name, "touch", "/tmp/end"]);
    server.until("the approval", LIMIT, |l| !l.approvals.is_empty()).await;
    assert_eq!(messages(&ferry), ["begun", "ended"]);
    assert_eq!(running.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_container_runs_the_manifest_comes_before_the_event_may_begin_and_nothing_is_approved() {
    let containers = Containers::new("event-late").await;
    let server = ImdsServer::start(compute("vm-7"));
    let mut ferry = ferry(&containers, &server);
    let running = ferry.run();
    let name = containers.start("goes-on", &[], "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done");
    until("its lines", async || (messages(&ferry).len() > 20).then_some(())).await;
    let notice = Duration::from_secs(30);
    let announced = Instant::now();
    server.announce(Announced::new("A", "Preempt", &["vm-7"], notice));
    let manifest = until("a manifest", async || summaries(&ferry).pop()).await;
    let margin = Duration::from_secs(10);
    assert!(announced.elapsed() < notice - margin, "{:?}", announced.elapsed());
    let notes: Vec<&str> =
        manifest["Fields"]["notes"].as_array().expect("notes").iter().filter_map(Value::as_str).collect();
    assert!(notes.iter().any(|note| note.contains(&name) && note.contains("still ran")), "{notes:?}");
    server.until("the event to begin", LIMIT, |l| l.answered(Target::Events, 200) >= 32).await;
    assert_eq!(server.read(|l| l.asked(Target::Approval)), 0);
    let before = messages(&ferry).len();
    until("reading to go on", async || (messages(&ferry).len() > before + 5).then_some(())).await;
    containers.call(&["kill", &name]);
    assert_eq!(running.stop().code, Some(0));
}
