//! The engine stopped and started while containers print, and stopped before logferry is.

use std::time::Duration;

use super::containers::{BUSYBOX, Containers};
use super::dockerd::Dockerd;
use super::load::STREAMS;
use super::oracle::{Verdict, held};
use super::{FILE_SINK, Reading, assert_delivered, data_folder_is_readable};
use crate::support::ferry::until;

/// Containers that print all the time.
const CONTAINERS: usize = 4;
const RESTARTS: usize = 3;
/// Lines that each container has printed before the engine stops again, at the least.
const LINES_BETWEEN: u64 = 200;

/// Goes on where it was when the engine ended it: its number is kept in its own file system.
const PRINTER: &str = "n=$(cat /n 2>/dev/null || echo 0); \
     trap 'echo \"$0 bye $n\"; echo $((n+1)) >/n; exit 0' TERM; \
     while :; do echo \"$0 out $n\"; echo \"$0 err $n\" >&2; n=$((n+1)); [ $((n % 20)) != 0 ] || sleep 0.05; done";

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_stops_its_containers_and_starts_them_again_costs_nothing() {
    restart_the_engine("restarts", &[], &["--restart", "always"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_lets_its_containers_live_on_costs_nothing() {
    restart_the_engine("live-restore", &["--live-restore"], &[]).await;
}

/// As on a machine that shuts down: the engine tells its containers to end, then it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_containers_print_while_the_engine_stops_for_good_arrives() {
    const LAST_WORDS: usize = 500;
    let mut dockerd = Dockerd::start(&[], BUSYBOX);
    let containers = Containers::at("engine-stops", dockerd.host()).await;
    if !data_folder_is_readable(&containers) {
        return;
    }
    let mut reading = Reading::new(&containers, FILE_SINK);
    let running = reading.start().await;
    let last_words = format!(
        "trap 'i=0; while [ $i -lt {LAST_WORDS} ]; do i=$((i+1)); echo last $i; done; printf \"no end\"; exit 0' TERM; \
         n=0; while :; do n=$((n+1)); echo line $n; sleep 0.02; done"
    );
    let names: Vec<String> =
        (0..CONTAINERS).map(|number| containers.start(&format!("says-{number}"), &[], &last_words)).collect();
    until("lines of every container", async || {
        names.iter().all(|name| containers.logs(name)[0].lines().count() > 20).then_some(())
    })
    .await;
    dockerd.stop();
    assert_delivered(&running.stop());
    // What there is to be read is what the engine says when it is back.
    dockerd.go_on();
    let held = held(&reading.records());
    let mut verdict = Verdict::default();
    for name in &names {
        let found = held.get(&(name.clone(), "stdout".to_owned())).cloned().unwrap_or_default();
        let expected: Vec<String> = containers.logs(name)[0].lines().map(str::to_owned).collect();
        assert!(expected.len() > LAST_WORDS && expected.ends_with(&["no end".to_owned()]), "{name}: {expected:?}");
        verdict.add(name, "stdout", &expected, &found);
    }
    eprintln!("the engine stopped for good: {verdict}");
    verdict.assert_whole();
    drop(containers);
}

async fn restart_the_engine(test: &str, engine: &'static [&'static str], options: &[&str]) {
    let mut dockerd = Dockerd::start(engine, BUSYBOX);
    let containers = Containers::at(test, dockerd.host()).await;
    let mut reading = Reading::new(&containers, FILE_SINK);
    let running = reading.start().await;
    let mut names: Vec<String> = (0..CONTAINERS)
        .map(|number| {
            let name = format!("goes-on-{number}");
            containers.start(&name, options, &PRINTER.replace("$0", &format!("c{number}")))
        })
        .collect();
    // One that has ended when the engine first stops; later one that ends while it is away, and one that begins after it.
    names.push(containers.start("before", &[], "echo before; printf 'no end'"));
    let printed = |name: &str| containers.logs(name)[0].lines().count() as u64;
    for restart in 1..=RESTARTS {
        let before: Vec<u64> = names[..CONTAINERS].iter().map(|name| printed(name)).collect();
        until("lines of every container", async || {
            let mut pairs = names[..CONTAINERS].iter().zip(&before);
            pairs.all(|(name, before)| printed(name) >= before + LINES_BETWEEN).then_some(())
        })
        .await;
        let brief = "for i in 1 2 3 4 5 6 7 8 9; do echo brief $i; sleep 0.05; done; printf 'no end'";
        names.push(containers.start(&format!("brief-{restart}"), &[], brief));
        dockerd.stop();
        tokio::time::sleep(Duration::from_millis(300 * restart as u64)).await;
        dockerd.go_on();
        names.push(containers.start(&format!("after-{restart}"), &[], "echo after; printf 'no end' >&2"));
    }
    for name in &names[..CONTAINERS] {
        containers.call(&["stop", "-t", "10", name]);
    }
    assert_delivered(&running.stop());
    let held = held(&reading.records());
    let mut verdict = Verdict::default();
    for name in &names {
        for (stream, text) in STREAMS.into_iter().zip(containers.logs(name)) {
            let found = held.get(&(name.clone(), stream.to_owned())).cloned().unwrap_or_default();
            let expected: Vec<String> = text.lines().map(str::to_owned).collect();
            verdict.add(name, stream, &expected, &found);
        }
    }
    eprintln!("{RESTARTS} restarts of the engine {engine:?}: {verdict}");
    verdict.assert_whole();
    let gaps = reading.file_gaps();
    assert!(gaps.is_empty(), "nothing is missing, but the manifest names {gaps:?}");
    drop(containers);
}
