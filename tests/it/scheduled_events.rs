//! What the real binary makes of events that Azure announces. IMDS is the imitation, on a loopback port here, at its real
//! address in `network`.

mod containers;
mod network;

use std::path::Path;
use std::time::{Duration, Instant};

use logferry::azure::imds;
use serde_json::{Value, json};

use crate::delivery::azure_sink;
use crate::http::address;
use crate::metrics::scrape;
use crate::support::azure::{AzureServer, AzureSettings, Fault as SinkFault};
use crate::support::ferry::{Ferry, Running, append, until};
use crate::support::imds::{Announced, Fault, ImdsServer, Target, compute};

/// Most real time that an event of these tests may take.
const LIMIT: Duration = Duration::from_secs(60);

const NOTICE: Duration = Duration::from_secs(600);

const RUN: &str = "[run]\nvm_name = \"vm-8\"\nrun_id = \"42\"\n";
const FILES: &str = "[[sources.file]]\nname = \"agent\"\ninclude = [\"{dir}/*.log\"]\n";
const FILE_SINK: &str = "[sinks.file]\npath = \"{dir}/out.ndjson\"\n";

/// Polls after which an event that nothing is made of has been seen, and more than once.
const POLLS: usize = 4;

/// The table that has announced events polled at this server.
fn teardown(server: &ImdsServer, more: &str) -> String {
    format!("[teardown]\nscheduled_events = \"on\"\nimds = \"{}\"\n{more}", server.base)
}

/// A daemon that reads a file of 100 lines and polls the VM `vm-7`, which its configuration calls `vm-8`.
struct Story {
    server: ImdsServer,
    ferry: Ferry,
    running: Running,
}

impl Story {
    async fn begin(more: &str) -> Story {
        let server = ImdsServer::start(compute("vm-7"));
        let mut ferry = Ferry::new(&format!("{RUN}{FILES}{FILE_SINK}{}", teardown(&server, more)));
        append(&ferry.path("a.log"), (0..100).map(|n| format!("line {n}")));
        let running = ferry.run();
        server.until("polls", LIMIT, |l| l.answered(Target::Events, 200) > 0).await;
        Story { server, ferry, running }
    }

    /// The same with a sink for Azure; `prepare` is done to its server before the daemon starts.
    fn with_azure(more: &str, prepare: impl FnOnce(&AzureServer)) -> (AzureServer, Story) {
        let server = ImdsServer::start(compute("vm-7"));
        let azure = AzureServer::start(AzureSettings::default());
        prepare(&azure);
        let mut ferry = Ferry::new(&format!("{RUN}{FILES}{}{}", azure_sink(&azure), teardown(&server, more)));
        ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &azure.authority);
        append(&ferry.path("a.log"), (0..100).map(|n| format!("line {n}")));
        let running = ferry.run();
        (azure, Story { server, ferry, running })
    }

    /// Waits until IMDS was asked so often as a change of mind would need.
    async fn some_polls_later(&self) {
        let before = self.server.read(|l| l.answered(Target::Events, 200));
        self.server.until("polls", LIMIT, |l| l.answered(Target::Events, 200) >= before + POLLS).await;
    }

    async fn until_state(&mut self, state: &str) -> Value {
        until_state(&mut self.ferry, state).await
    }

    fn approvals(&self) -> Vec<String> {
        self.server.read(|l| l.approved().iter().map(|&id| id.to_owned()).collect())
    }

    /// Stops it; the records about events: EventType and id.
    fn end(self) -> Vec<(String, String)> {
        let ended = self.running.stop();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        event_records(&self.ferry.records("out.ndjson"))
    }
}

/// The sink takes nothing.
fn is_away(azure: &AzureServer) {
    azure.fault_rule(|_| Some(SinkFault::Status(503, None)));
}

/// What `status` says of announced events.
fn events_status(ferry: &mut Ferry) -> Value {
    let ended = ferry.call(&["status", "--json"]);
    let status: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
    status["scheduled_events"].clone()
}

async fn until_state(ferry: &mut Ferry, state: &str) -> Value {
    until(state, async || Some(events_status(ferry)).filter(|status| status["state"] == state)).await
}

/// EventType and id of the event of each record about one.
fn event_records(records: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let about = records.iter().filter(|record| record["Source"] == "azure.scheduled_events");
    about.map(|record| (text(&record["EventType"]), text(&record["Fields"]["EventId"]))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(event_type, id)| (event_type.to_owned(), id.to_owned())).collect()
}

/// The summaries of the manifests in a file sink.
fn summaries(ferry: &Ferry) -> Vec<Value> {
    let mut records = ferry.all_records("out.ndjson");
    records.retain(|record| record["EventType"] == "logferry.manifest");
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_this_vm_is_drained_for_approved_and_recorded_and_the_daemon_goes_on() {
    let mut story = Story::begin("").await;
    story.server.announce(Announced::new("A", "Terminate", &["vm-7"], NOTICE));
    story.server.until("the approval", LIMIT, |l| !l.approvals.is_empty()).await;
    // All that was written before is in the sink by then, and the proof of it.
    assert_eq!(story.ferry.records("out.ndjson").iter().filter(|record| record["Source"] == "agent").count(), 100);
    let manifest = summaries(&story.ferry).pop().expect("a manifest");
    assert_eq!((&manifest["Fields"]["complete"], &manifest["RunID"]), (&json!(true), &json!("42")), "{manifest}");
    let status = story.until_state("approved").await;
    assert_eq!((&status["events"][0]["EventId"], &status["events"][0]["stance"]), (&json!("A"), &json!("approved")));
    assert_eq!(status["events_total"], json!({"Terminate": 1}));

    append(&story.ferry.path("a.log"), ["after the approval".to_owned()]);
    until("the line", async || {
        let records = story.ferry.records("out.ndjson");
        records.iter().any(|record| record["Message"] == "after the approval").then_some(())
    })
    .await;
    story.server.withdraw("A");
    story.until_state("nothing").await;
    let text = story.running.text();
    assert!(!story.running.has_ended() && text.contains("is approved: all was delivered"), "{text}");

    let first = story.ferry.records("out.ndjson").into_iter().find(|record| record["Source"] != "agent");
    let first = first.expect("a record of the event");
    assert_eq!((&first["Level"], &first["RunID"], &first["VMName"]), (&"WARNING".into(), &"42".into(), &"vm-8".into()));
    assert_eq!((&first["Fields"]["EventType"], &first["Fields"]["Resources"]), (&"Terminate".into(), &json!(["vm-7"])));
    assert_eq!(story.approvals(), ["A"]);
    let expected =
        ["", ".approved", ".started", ".over"].map(|end| (format!("azure.scheduled_event{end}"), "A".into()));
    assert_eq!(story.end(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_happens_for_an_event_of_another_vm_whatever_the_configuration_calls_this_one() {
    let mut story = Story::begin("").await;
    story.server.announce(Announced::new("A", "Terminate", &["vm-8"], NOTICE));
    story.some_polls_later().await;
    assert_eq!(events_status(&mut story.ferry)["state"], "nothing");
    assert_eq!((story.approvals().len(), summaries(&story.ferry).len()), (0, 0));
    assert_eq!(story.end(), pairs(&[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_names_two_vms_is_drained_for_and_not_approved() {
    let mut story = Story::begin("").await;
    story.server.announce(Announced::new("A", "Reboot", &["vm-7", "vm-9"], NOTICE));
    let status = story.until_state("delivered").await;
    assert_eq!(status["events"][0]["stance"], "drained");
    let table = story.ferry.call(&["status"]).stdout;
    assert!(
        table.contains("Azure announces Reboot not before ") && table.contains(" GMT: all is delivered\n"),
        "{table}"
    );
    story.some_polls_later().await;
    assert_eq!((story.approvals().len(), summaries(&story.ferry).len()), (0, 1));
    assert_eq!(story.end(), pairs(&[("azure.scheduled_event", "A")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_names_this_vm_alone_after_a_while_is_approved_then() {
    let mut story = Story::begin("").await;
    story.server.announce(Announced::new("A", "Reboot", &["vm-7", "vm-9"], NOTICE));
    story.until_state("delivered").await;
    story.server.replace(Announced::new("A", "Reboot", &["vm-7"], NOTICE));
    story.server.until("the approval", LIMIT, |l| !l.approvals.is_empty()).await;
    story.until_state("approved").await;
    let expected = ["", ".altered", ".approved"].map(|end| (format!("azure.scheduled_event{end}"), "A".to_owned()));
    assert_eq!(story.end()[..3], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_is_recorded_and_nothing_else() {
    let mut story = Story::begin("").await;
    story.server.announce(Announced::new("A", "Freeze", &["vm-7"], NOTICE));
    until("the record", async || (!event_records(&story.ferry.records("out.ndjson")).is_empty()).then_some(())).await;
    story.some_polls_later().await;
    let status = events_status(&mut story.ferry);
    assert_eq!((&status["state"], &status["events"][0]["stance"]), (&json!("nothing"), &json!("told")));
    assert_eq!((story.approvals().len(), summaries(&story.ferry).len()), (0, 0));
    assert_eq!(story.end(), pairs(&[("azure.scheduled_event", "A")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn announced_events_of_this_vm_are_counted_by_their_type_and_those_of_others_are_not() {
    let story = Story::begin("approve = \"never\"\n[http]\nlisten = \"127.0.0.1:0\"\n").await;
    let address = address(&story.running).await;
    let counts = || {
        let samples = scrape(&address).expect("figures");
        let count = |kind: &str| samples.get(&format!("logferry_events_total{{type=\"{kind}\"}}")).copied();
        ["Freeze", "Reboot", "Redeploy", "Preempt", "Terminate"].map(count)
    };
    assert_eq!(counts(), [Some(0.0); 5], "each is there before the first one");
    story.server.announce(Announced::new("A", "Freeze", &["vm-7"], NOTICE));
    story.server.announce(Announced::new("B", "Terminate", &["vm-9"], NOTICE));
    until("the event", async || (counts()[0] == Some(1.0)).then_some(())).await;
    story.server.announce(Announced::new("C", "Freeze", &["vm-7"], NOTICE));
    story.server.announce(Announced::new("D", "Terminate", &["vm-7", "vm-9"], NOTICE));
    until("all of them", async || (counts()[4] == Some(1.0)).then_some(())).await;
    story.server.withdraw("A");
    story.some_polls_later().await;
    assert_eq!(counts(), [2.0, 0.0, 0.0, 0.0, 1.0].map(Some));
    story.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_has_begun_is_drained_for_within_the_deadline_of_a_stop_and_nothing_is_approved() {
    let mut story = Story::begin("deadline = \"30s\"\n").await;
    story.server.announce(Announced::begun("A", "Redeploy", &["vm-7"]));
    story.until_state("delivered").await;
    story.some_polls_later().await;
    let manifests = summaries(&story.ferry);
    assert_eq!((story.approvals().len(), manifests.len()), (0, 1));
    assert_eq!(manifests[0]["Fields"]["complete"], true);
    let text = story.running.text();
    let seconds = text.split("deadline_s=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a deadline");
    assert!((28.0..=30.0).contains(&seconds.parse::<f64>().expect("a number")), "{seconds}");
    assert_eq!(story.end(), pairs(&[("azure.scheduled_event", "A")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_approved_where_the_configuration_says_never_and_nothing_drained_for_what_it_leaves_out() {
    let mut story = Story::begin("approve = \"never\"\nevents = [\"Terminate\"]\n").await;
    story.server.announce(Announced::new("A", "Preempt", &["vm-7"], NOTICE));
    story.some_polls_later().await;
    assert_eq!(
        (events_status(&mut story.ferry)["state"].as_str(), summaries(&story.ferry).len()),
        (Some("nothing"), 0)
    );
    story.server.announce(Announced::new("B", "Terminate", &["vm-7"], NOTICE));
    story.until_state("delivered").await;
    story.some_polls_later().await;
    assert_eq!((story.approvals().len(), summaries(&story.ferry).len()), (0, 1));
    assert_eq!(story.end(), pairs(&[("azure.scheduled_event", "A"), ("azure.scheduled_event", "B")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_called_off_ends_the_drain_and_delivery_goes_on() {
    let (azure, Story { server, mut ferry, running }) = Story::with_azure("", is_away);
    server.announce(Announced::new("A", "Terminate", &["vm-7"], NOTICE));
    let status = until_state(&mut ferry, "draining").await;
    let left = status["deadline_seconds"].as_f64().expect("a deadline");
    assert!((500.0..590.0).contains(&left), "{left}");
    server.withdraw("A");
    let status = until_state(&mut ferry, "nothing").await;
    assert_eq!((&status["deadline_seconds"], &status["events"]), (&Value::Null, &json!([])));
    azure.fault_rule(|_| None);
    azure.until("all lines", LIMIT, |l| l.records.iter().filter(|r| r["Source"] == "agent").count() == 100).await;
    let ended = running.stop();
    assert_eq!((ended.code, server.read(|l| l.approvals.len())), (Some(0), 0), "{}", ended.stderr);
    let records: Vec<Value> = azure.records().into_iter().map(Value::Object).collect();
    let expected = [("azure.scheduled_event", "A"), ("azure.scheduled_event.over", "A")];
    assert_eq!(event_records(&records), pairs(&expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_is_not_taken_is_sent_again() {
    let mut story = Story::begin("").await;
    // More than the client repeats by itself.
    story.server.outage(Target::Approval, Fault::Status(500, None), Some(Duration::from_secs(14)));
    story.server.announce(Announced::new("A", "Terminate", &["vm-7"], NOTICE));
    story.server.until("the approval", LIMIT, |l| !l.approvals.is_empty()).await;
    story.until_state("approved").await;
    assert_eq!((story.approvals(), summaries(&story.ferry).len()), (vec!["A".to_owned()], 1));
    assert!(story.running.text().contains("the event is not approved"), "{}", story.running.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_was_not_taken_is_not_sent_again_for_an_event_that_names_another_vm_by_now() {
    let mut story = Story::begin("").await;
    story.server.outage(Target::Approval, Fault::Status(503, None), None);
    story.server.announce(Announced::new("A", "Terminate", &["vm-7"], NOTICE));
    story.server.until("an attempt", LIMIT, |l| l.answered(Target::Approval, 503) > 0).await;
    story.server.replace(Announced::new("A", "Terminate", &["vm-7", "vm-9"], NOTICE));
    story.until_state("delivered").await;
    story.server.recover();
    let attempts = story.server.read(|l| l.asked(Target::Approval));
    // Longer than the pause between attempts.
    for _ in 0..3 {
        story.some_polls_later().await;
    }
    assert_eq!((story.approvals().len(), story.server.read(|l| l.asked(Target::Approval))), (0, attempts));
    assert_eq!(story.running.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_outlasts_a_restart_is_recorded_once() {
    let Story { server, mut ferry, running } = Story::begin("").await;
    server.announce(Announced::new("A", "Terminate", &["vm-7", "vm-9"], NOTICE));
    until_state(&mut ferry, "delivered").await;
    assert_eq!(running.stop().code, Some(0));
    let running = ferry.run();
    until_state(&mut ferry, "delivered").await;
    server.announce(Announced::new("B", "Freeze", &["vm-7"], NOTICE));
    until("its record", async || (event_records(&ferry.records("out.ndjson")).len() > 1).then_some(())).await;
    assert_eq!(running.stop().code, Some(0));
    let records = ferry.records("out.ndjson");
    let expected = [("azure.scheduled_event", "A"), ("azure.scheduled_event", "B")];
    assert_eq!(event_records(&records), pairs(&expected));
    let of_azure: Vec<&Value> = records.iter().filter(|record| record["Source"] == "azure.scheduled_events").collect();
    assert_eq!(of_azure[0]["Origin"], of_azure[1]["Origin"]);
    assert_eq!((&of_azure[0]["Seq"], &of_azure[1]["Seq"]), (&json!(1), &json!(2)));
    // They stand in the manifest like any other records.
    let manifest = summaries(&ferry).pop().expect("a manifest");
    assert_eq!((&manifest["Fields"]["complete"], &manifest["Fields"]["records"]), (&json!(true), &json!(102)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imds_that_is_slow_or_ill_delays_neither_records_nor_a_stop() {
    let server = ImdsServer::start(compute("vm-7"));
    server.outage(Target::Instance, Fault::Status(410, None), Some(Duration::from_secs(3)));
    server.set_first_events(Duration::from_secs(120));
    let mut ferry = Ferry::new(&format!("{RUN}{FILES}{FILE_SINK}{}", teardown(&server, "")));
    append(&ferry.path("a.log"), (0..100).map(|n| format!("line {n}")));
    let running = ferry.run();
    until("records", async || (ferry.records("out.ndjson").len() == 100).then_some(())).await;
    assert_eq!(server.read(|l| l.asked(Target::Events)), 0, "it does not know its name yet");
    server.until("the first question", LIMIT, |l| l.asked(Target::Events) == 1).await;
    let began = Instant::now();
    assert_eq!(running.stop().code, Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn announced_events_are_polled_once_a_second() {
    let story = Story::begin("").await;
    let (began, before) = (story.server.elapsed(), story.server.read(|l| l.asked(Target::Events)));
    story.server.until("polls", LIMIT, |l| l.asked(Target::Events) == before + 6).await;
    let took = (story.server.elapsed() - began).as_secs_f64();
    assert!((4.9..9.0).contains(&took), "6 polls in {took:.1} s");
    assert_eq!(story.server.read(|l| l.asked(Target::Instance)), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn imds_is_not_asked_where_it_is_switched_off_or_the_machine_is_not_of_azure() {
    let is_azure = imds::chassis_is_azure(Path::new(imds::CHASSIS_ASSET_TAG_PATH));
    for mode in ["off", "auto"].into_iter().filter(|mode| *mode == "off" || !is_azure) {
        let server = ImdsServer::start(compute("vm-7"));
        let teardown = teardown(&server, "").replace("\"on\"", &format!("{mode:?}"));
        let mut ferry = Ferry::new(&format!("{RUN}{FILES}{FILE_SINK}{teardown}"));
        append(&ferry.path("a.log"), ["line".to_owned()]);
        let running = ferry.run();
        until("the record", async || (!ferry.records("out.ndjson").is_empty()).then_some(())).await;
        assert_eq!(events_status(&mut ferry), Value::Null, "{mode}");
        assert_eq!(running.stop().code, Some(0));
        assert_eq!(server.read(|l| l.requests.len()), 0, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_away_until_after_the_deadline_still_gets_all_and_the_event_is_approved_then() {
    let (azure, Story { server, ferry, running }) = Story::with_azure("margin = \"50s\"\n", is_away);
    server.until("polls", LIMIT, |l| l.answered(Target::Events, 200) > 0).await;
    let announced = Instant::now();
    server.announce(Announced::new("A", "Terminate", &["vm-7"], Duration::from_secs(60)));
    let manifest = async || {
        let text = std::fs::read_to_string(ferry.path("state/manifests/42.json")).ok()?;
        serde_json::from_str::<Value>(&text).ok()
    };
    let first = until("a manifest", manifest).await;
    // Nine to ten seconds, as NotBefore has whole ones; a poll and a little come on top.
    assert!(announced.elapsed() < Duration::from_secs(14), "{:?}", announced.elapsed());
    assert_eq!((&first["complete"], server.read(|l| l.asked(Target::Approval))), (&json!(false), 0), "{first}");
    azure.fault_rule(|_| None);
    server.until("the approval", LIMIT, |l| !l.approvals.is_empty()).await;
    let last = manifest().await.expect("a manifest");
    assert_eq!((&last["complete"], last["incarnation"].as_u64() > first["incarnation"].as_u64()), (&json!(true), true));
    assert_eq!(azure.read(|l| l.records.iter().filter(|record| record["Source"] == "agent").count()), 100);
    assert_eq!(running.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_keep_an_event_from_being_approved_until_they_are_sent_again() {
    let poison = |azure: &AzureServer| {
        azure.poison(|record| record.get("Message").is_some_and(|message| message == "line 17"));
    };
    let (azure, Story { server, mut ferry, running }) = Story::with_azure("", poison);
    server.until("polls", LIMIT, |l| l.answered(Target::Events, 200) > 0).await;
    server.announce(Announced::new("A", "Terminate", &["vm-7"], NOTICE));
    until("the reason", async || running.text().contains("nothing is approved: dead letters").then_some(())).await;
    assert_eq!(server.read(|l| l.asked(Target::Approval)), 0);
    azure.poison(|_| false);
    let replayed = ferry.call(&["replay"]);
    assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
    server.until("the approval", LIMIT, |l| !l.approvals.is_empty()).await;
    let held = azure.read(|l| l.records.iter().filter(|record| record["Source"] == "agent").count());
    assert_eq!(held, 100);
    assert_eq!(running.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_that_fail_are_said_once_and_go_on() {
    let mut story = Story::begin("").await;
    story.server.outage(Target::Events, Fault::Status(503, None), None);
    let status =
        until("the fault", async || Some(events_status(&mut story.ferry)).filter(|status| !status["fault"].is_null()))
            .await;
    assert!(status["fault"].as_str().is_some_and(|fault| fault.contains("answered 503")), "{status}");
    story.server.until("failed polls", LIMIT, |l| l.answered(Target::Events, 503) >= 3).await;
    story.server.announce(Announced::new("A", "Terminate", &["vm-7"], NOTICE));
    story.server.recover();
    story.server.until("the approval", LIMIT, |l| !l.approvals.is_empty()).await;
    assert_eq!(story.until_state("approved").await["fault"], Value::Null);
    let text = story.running.text();
    assert_eq!(text.matches("IMDS does not answer what is announced").count(), 1, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_takes_no_longer_than_the_announced_event_leaves() {
    let (_azure, Story { server, mut ferry, running }) = Story::with_azure("", is_away);
    server.announce(Announced::new("A", "Preempt", &["vm-7"], Duration::from_secs(30)));
    until_state(&mut ferry, "draining").await;
    let began = Instant::now();
    let ended = running.stop();
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}
