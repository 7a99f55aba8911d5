//! The real binary finds out what this machine is: on Azure from IMDS at its real address, and elsewhere without delay.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::ferry::{Ended, Ferry, append};
use crate::support::imds::{Fault, ImdsServer, Target, compute, with_tag};
use crate::support::network::Network;

/// All that can be asked for, with one tag that is not there.
const RUN: &str = "[run]\nrun_id = \"imds:tag/RunID\"\ntask_id = \"imds:tag/TaskID\"\nbenchmark = \"swe-bench\"\n\
                   [run.fields]\nRegion = \"imds:compute/location\"\nZone = \"imds:compute/zone\"\n";

/// A file source and a file sink.
const FLOW: &str =
    "[[sources.file]]\ninclude = [\"{dir}/*.log\"]\n[sinks.out]\ntype = \"file\"\npath = \"{dir}/out\"\n";

/// How long a start waits at most where IMDS does not answer and columns are to come from there, with time for the rest.
const WAIT_FOR_COLUMNS_MAX: Duration = Duration::from_secs(15);

fn ferry(run: &str, starter: &[&str]) -> Ferry {
    let mut ferry = Ferry::new(&format!("{run}{FLOW}"));
    ferry.start_by(starter);
    ferry
}

/// Starts the daemon, lets it deliver one line more, stops it, and gives the record of that line.
fn deliver(ferry: &mut Ferry, line: &str) -> (Value, Ended) {
    append(&ferry.path("a.log"), [line.to_owned()]);
    let running = ferry.run();
    let until = Instant::now() + Duration::from_secs(60);
    let record = loop {
        let records = ferry.records("out");
        if let Some(record) = records.into_iter().find(|record| record["Message"] == line) {
            break record;
        }
        assert!(Instant::now() < until, "no record of {line}: {}", running.text());
        std::thread::sleep(Duration::from_millis(10));
    };
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    (record, ended)
}

/// The columns of `[run]` of a record, in the order RunID, TaskID, Benchmark, VMName, Region, Zone.
fn columns(record: &Value) -> [&str; 6] {
    ["RunID", "TaskID", "Benchmark", "VMName", "Region", "Zone"].map(|name| record[name].as_str().unwrap_or("-"))
}

#[test]
fn on_azure_records_have_the_name_the_tags_and_the_region_of_their_vm() {
    let Some(network) = Network::new() else { return };
    let server = ImdsServer::start_in(&network, with_tag(compute("vm-7"), "runid", "42"), None);
    let mut ferry = ferry(RUN, &network.starter_on_azure());
    // Events are another matter, and ask for themselves.
    ferry.set("LOGFERRY__TEARDOWN__SCHEDULED_EVENTS", "off");
    let (record, ended) = deliver(&mut ferry, "first");
    assert_eq!(columns(&record), ["42", "-", "swe-bench", "vm-7", "westeurope", "-"]);
    assert!(ended.stderr.contains("TaskID is empty: the VM has no such tag as tag/TaskID"), "{}", ended.stderr);
    let asked = server.read(|l| l.asked(Target::Instance));
    assert_eq!(asked, 1, "once a start");
    let manifests: Vec<Value> = ferry.all_records("out");
    let manifests = manifests.iter().filter(|record| record["EventType"] == "logferry.manifest");
    assert_eq!(manifests.map(|record| columns(record)[0]).collect::<Vec<_>>(), ["42"]);

    // `ship` settles its columns likewise; the name stays, and a tag is read anew.
    let renamed = with_tag(with_tag(compute("vm-8"), "RunID", "43"), "TaskID", "9");
    server.set_compute(renamed);
    append(&ferry.path("a.log"), ["second".to_owned()]);
    let shipped = ferry.call(&["ship"]);
    assert_eq!(shipped.code, Some(0), "{}", shipped.stderr);
    let records = ferry.records("out");
    let second = records.iter().find(|record| record["Message"] == "second").expect("the second line");
    assert_eq!(columns(second), ["43", "9", "swe-bench", "vm-7", "westeurope", "-"]);
    assert_eq!(records.len(), 2);
}

#[test]
fn what_imds_said_is_kept_for_a_start_without_it_and_a_copied_folder_is_noticed() {
    let Some(network) = Network::new() else { return };
    let first = with_tag(compute("vm-7"), "RunID", "42");
    let server = ImdsServer::start_in(&network, first, None);
    let mut ferry = ferry(RUN, &network.starter_on_azure());
    let (one, _) = deliver(&mut ferry, "one");
    drop(server);

    let (two, ended) = deliver(&mut ferry, "two");
    assert_eq!(columns(&two), ["42", "-", "swe-bench", "vm-7", "westeurope", "-"]);
    assert!(ended.stderr.contains("RunID is \"42\" as at an earlier start"), "{}", ended.stderr);
    assert_eq!(two["Origin"], one["Origin"]);

    let mut other = with_tag(compute("vm-8"), "RunID", "43");
    other["vmId"] = "another".into();
    let _server = ImdsServer::start_in(&network, other, None);
    let (three, ended) = deliver(&mut ferry, "three");
    assert_eq!(columns(&three), ["43", "-", "swe-bench", "vm-8", "westeurope", "-"]);
    assert!(ended.stderr.contains("was copied from another machine"), "{}", ended.stderr);
    // What was there is read anew in this VM's name: its lines are not those of the other.
    let records = ferry.records("out");
    let of_here: Vec<&str> =
        records.iter().filter(|r| r["VMName"] == "vm-8").filter_map(|r| r["Message"].as_str()).collect();
    assert_eq!((of_here, three["Origin"] == one["Origin"]), (vec!["one", "two", "three"], false));
}

#[test]
fn an_imds_that_is_being_updated_is_waited_for_before_the_first_record() {
    let Some(network) = Network::new() else { return };
    let server = ImdsServer::start_in(&network, with_tag(compute("vm-7"), "RunID", "42"), None);
    server.outage(Target::Instance, Fault::Status(410, None), Some(Duration::from_secs(2)));
    let mut ferry = ferry(RUN, &network.starter_on_azure());
    let manager = UnixDatagram::bind(ferry.path("notify")).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(5))).expect("a limit");
    let address = ferry.path("notify").to_str().expect("UTF-8").to_owned();
    ferry.set("NOTIFY_SOCKET", &address);
    let (record, _) = deliver(&mut ferry, "first");
    assert_eq!(columns(&record), ["42", "-", "swe-bench", "vm-7", "westeurope", "-"]);
    assert!(server.read(|l| l.answered(Target::Instance, 410)) >= 2);
    // The service manager is told that it may take longer than it gives a start.
    let said = [(); 2].map(|()| {
        let mut bytes = [0; 100];
        let length = manager.recv(&mut bytes).expect("a message");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    });
    assert_eq!(said, ["EXTEND_TIMEOUT_USEC=120000000", "READY=1"]);
}

#[test]
fn a_signal_ends_the_wait_for_imds_and_what_is_there_is_delivered() {
    let Some(network) = Network::new() else { return };
    let server = ImdsServer::start_in(&network, compute("vm-7"), None);
    server.outage(Target::Instance, Fault::Status(410, None), None);
    let mut ferry = ferry(RUN, &network.starter_on_azure());
    append(&ferry.path("a.log"), ["first".to_owned()]);
    let running = ferry.run();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let limit = Duration::from_secs(60);
    runtime.block_on(server.until("a question", limit, |l| l.answered(Target::Instance, 410) > 0));
    let begun = Instant::now();
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(begun.elapsed() < WAIT_FOR_COLUMNS_MAX, "{:?}", begun.elapsed());
    let records = ferry.records("out");
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(columns(record)[..3], ["-", "-", "swe-bench"]);
    assert!(ended.stderr.contains("a signal came before IMDS had answered"), "{}", ended.stderr);
}

#[test]
fn elsewhere_no_packet_is_sent_and_the_start_is_not_held_up() {
    let Some(network) = Network::that_swallows() else { return };
    // Asking would take five seconds here.
    let mut ferry = ferry(RUN, &network.starter());
    let begun = Instant::now();
    let (record, ended) = deliver(&mut ferry, "first");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(columns(&record)[..3], ["-", "-", "swe-bench"]);
    assert_ne!(columns(&record)[3], "-", "the host's name");
    let said = "RunID is empty, tag/RunID cannot be asked for: this machine is not Azure's by /sys/";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
}

#[test]
fn on_azure_without_a_way_to_imds_the_start_is_held_up_for_seconds_only() {
    let Some(network) = Network::that_swallows() else { return };
    let mut named = ferry("[run]\n", &network.starter_on_azure());
    let begun = Instant::now();
    let (record, ended) = deliver(&mut named, "first");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(ended.stderr.contains("VMName is the host's name"), "{}", ended.stderr);
    let host = columns(&record)[3].to_owned();

    let mut asked = ferry(RUN, &network.starter_on_azure());
    let begun = Instant::now();
    let (record, ended) = deliver(&mut asked, "first");
    assert!(begun.elapsed() < WAIT_FOR_COLUMNS_MAX, "{:?}", begun.elapsed());
    assert_eq!(columns(&record), ["-", "-", "swe-bench", &host, "-", "-"]);
    assert!(ended.stderr.contains("RunID is empty, tag/RunID cannot be asked for: IMDS at"), "{}", ended.stderr);
}

#[test]
fn what_answers_at_the_address_in_another_cloud_is_not_believed() {
    let Some(network) = Network::new() else { return };
    let server = ImdsServer::start_in(&network, compute("vm-7"), None);
    let portal = || Fault::Redirect("http://portal.example/".into());
    for fault in [Fault::Html(200), Fault::Html(404), portal(), Fault::Body(b"{\"compute\":{}}".to_vec())] {
        server.recover();
        server.outage(Target::Instance, fault.clone(), None);
        let mut ferry = ferry("[run]\n", &network.starter());
        ferry.set("LOGFERRY__TEARDOWN__SCHEDULED_EVENTS", "on");
        let begun = Instant::now();
        let (record, ended) = deliver(&mut ferry, "first");
        assert_ne!(columns(&record)[3], "vm-7", "{fault:?}");
        assert!(ended.stderr.contains("VMName is the host's name"), "{fault:?}: {}", ended.stderr);
        assert!(begun.elapsed() < Duration::from_secs(20), "{fault:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn check_says_what_imds_makes_of_the_columns_and_what_it_cannot() {
    let Some(network) = Network::new() else { return };
    let server = ImdsServer::start_in(&network, with_tag(compute("vm-7"), "RunID", "42"), None);
    let check = |run: &str, starter: &[&str], code: i32, expected: &str| {
        let mut ferry = ferry(run, starter);
        let checked = ferry.call(&["check", "--online"]);
        let line = checked.stdout.lines().find(|line| line.contains(" IMDS: ")).unwrap_or_default();
        assert_eq!((checked.code, line), (Some(code), expected), "{run}: {}{}", checked.stdout, checked.stderr);
        // Without --online nobody is asked.
        let asked = server.read(|l| l.requests.len());
        assert_eq!(ferry.call(&["check"]).code, Some(0));
        let shown = ferry.call(&["config", "show"]);
        assert!(!run.contains("tag/RunID") || shown.stdout.contains("run_id = \"imds:tag/RunID\""), "{}", shown.stdout);
        assert_eq!(server.read(|l| l.requests.len()), asked);
    };
    let on_azure = network.starter_on_azure();
    check("[run]\n", &on_azure, 0, "ok      IMDS: VM vm-7 in westeurope; VMName is \"vm-7\"");
    let tag = "[run]\nrun_id = \"imds:tag/RunID\"\nvm_name = \"mine\"\n";
    check(tag, &on_azure, 0, "ok      IMDS: VM vm-7 in westeurope; VMName is \"mine\", RunID is \"42\"");
    check("[run]\n", &network.starter(), 0, "");
    let missing = "failed  IMDS: TaskID is empty: the VM has no such tag as tag/TaskID; a restart reads its tags again";
    check(RUN, &on_azure, 1, missing);
    let elsewhere = "failed  IMDS: RunID is empty, tag/RunID cannot be asked for: this machine is not Azure's by \
                     /sys/class/dmi/id/chassis_asset_tag (teardown.scheduled_events = \"on\" asks IMDS all the same); \
                     a restart asks again";
    check(tag, &network.starter(), 1, elsewhere);
}
