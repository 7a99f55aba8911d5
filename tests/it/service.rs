//! What the real binary tells a service manager, and the unit that says how long it may take.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::ferry::{Ferry, PATIENCE, append};

const UNIT: &str = include_str!("../../systemd/logferry.service");
const EXAMPLE: &str = include_str!("../../config/logferry.toml");

/// What a stop may take besides `teardown.deadline`: the manifest, the sinks that are told to end, the report.
const BESIDE_DEADLINE: Duration = Duration::from_secs(30);

/// The unit's settings, by name; of one that stands there several times, all values.
fn unit() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut settings: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, value) in UNIT.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')) {
        settings.entry(name).or_default().push(value);
    }
    settings
}

#[test]
fn the_unit_stops_after_docker_and_before_the_network_and_gives_a_stop_its_time() {
    let unit = unit();
    // Units stop in the reverse of the order in which they start.
    let network = vec!["network.target network-online.target nss-lookup.target"];
    assert_eq!((&unit["Before"], &unit["After"]), (&vec!["docker.service"], &network));
    assert_eq!((&unit["Wants"], &unit["Type"]), (&vec!["network-online.target"], &vec!["notify"]));
    let example = EXAMPLE.lines().find(|line| line.starts_with("deadline")).expect("the default deadline");
    let minutes = example.split('"').nth(1).and_then(|text| text.strip_suffix('m')?.parse::<u64>().ok());
    let deadline = Duration::from_secs(60 * minutes.expect("minutes"));
    let stop = Duration::from_secs(unit["TimeoutStopSec"][0].parse().expect("seconds"));
    assert!(stop >= deadline + BESIDE_DEADLINE, "{stop:?} for a deadline of {deadline:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_hears_of_the_start_of_the_stop_and_how_long_that_may_take() {
    let mut ferry = Ferry::new(
        "[[sources.file]]\ninclude = [\"{dir}/*.log\"]\n[teardown]\nwait_containers = \"7s\"\n\
         [sinks.file]\npath = \"{dir}/out/records.ndjson\"\n",
    );
    append(&ferry.path("a.log"), (0..100).map(|n| format!("line {n}")));
    let path = ferry.path("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let hear = || {
        let mut bytes = [0; 4_096];
        let read = socket.recv(&mut bytes).expect("a message in time");
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    };
    ferry.set("NOTIFY_SOCKET", path.to_str().expect("UTF-8"));
    let running = ferry.run();
    assert_eq!(hear(), "READY=1");
    running.terminate();
    assert_eq!(hear(), "STOPPING=1");
    assert_eq!(hear(), "EXTEND_TIMEOUT_USEC=67000000", "the wait for containers, and a minute without a step");
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
