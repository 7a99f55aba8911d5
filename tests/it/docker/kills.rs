//! logferry killed ten times while containers come and go: what it makes of that in Elasticsearch.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::containers::Containers;
use super::load::{Job, Load};
use super::oracle::{Verdict, judge};
use super::{Reading, assert_delivered, dice, exits};
use crate::support::engine::Engine;
use crate::support::ferry::{Ended, until};
use crate::support::search::{documents, manifests};

const CONTAINERS: usize = 200;
const LINES_MAX: u64 = 2_000;
const KILLS: usize = 10;
/// How far from the end of a container a kill is, and how long nobody reads after it, at the most, in milliseconds.
const KILL_AFTER_MAX_MS: u64 = 500;
const AWAY_MAX_MS: u64 = 700;

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_lose_and_double_no_line_of_kept_containers() {
    let killed = Killed::run("kills", false).await;
    eprintln!("{KILLS} kills, kept containers: {}", killed.verdict);
    killed.verdict.assert_whole();
    assert!(killed.gaps().is_empty(), "nothing is missing, but the manifest names {:?}", killed.gaps());
    assert_eq!(killed.reading.manifest()["complete"], true, "{}", killed.reading.manifest());
    assert_eq!(killed.verified.code, Some(0), "{}{}", killed.verified.stdout, killed.verified.stderr);
    exits::assert_each_once(&killed.jobs, &killed.records);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_with_containers_that_the_engine_removes_lose_only_what_the_manifest_names() {
    let killed = Killed::run("rm-kills", true).await;
    let gaps = killed.gaps();
    let needless = gaps.keys().filter(|container| !killed.verdict.missing.contains_key(*container)).count();
    eprintln!(
        "{KILLS} kills, containers with --rm: {} lines of {} containers are missing; the manifest names {} with a gap, \
         {needless} of them whole; verify ended with {:?}",
        killed.verdict.missing_lines(),
        killed.verdict.missing.len(),
        gaps.len(),
        killed.verified.code,
    );
    killed.verdict.assert_nothing_twice();
    killed.verdict.assert_missing_is_named(&gaps);
    let kinds: BTreeSet<String> = gaps.values().map(Value::to_string).collect();
    assert!(kinds.iter().all(|kinds| kinds.contains("gone")), "{kinds:?}");
    assert_eq!(killed.reading.manifest()["complete"], gaps.is_empty(), "{}", killed.reading.manifest());
    exits::assert_none_twice(&killed.jobs, &killed.records);
}

/// A load during which logferry was killed, and what came of it.
struct Killed {
    reading: Reading,
    jobs: Vec<Job>,
    records: Vec<Value>,
    verdict: Verdict,
    /// Manifest records of single origins.
    origins: Vec<Value>,
    /// What `logferry verify` says to it.
    verified: Ended,
}

impl Killed {
    async fn run(test: &str, removed: bool) -> Killed {
        let containers = Containers::new(test).await;
        let mut dice = dice();
        let load = Load::draw(&containers, &mut dice, CONTAINERS, LINES_MAX, removed);
        let engine = Engine::elasticsearch().await;
        let index = engine.index(&format!("docker-{test}")).await;
        let mut reading = Reading::new(
            &containers,
            &format!("[sinks.elasticsearch]\nendpoints = [\"{}\"]\nindex = \"{index}\"\n", engine.url),
        );
        let mut running = reading.start().await;
        // A thread of its own: the containers run on whatever happens to logferry.
        let ended = std::thread::scope(|scope| {
            let carrier = scope.spawn(|| load.run());
            for kill in 1..=KILLS {
                while load.ended() < kill * CONTAINERS / (KILLS + 1) && !carrier.is_finished() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                // Not events that could be awaited: the moments are the point.
                std::thread::sleep(Duration::from_millis(dice.roll(KILL_AFTER_MAX_MS)));
                running.kill();
                std::thread::sleep(Duration::from_millis(dice.roll(AWAY_MAX_MS)));
                running = reading.ferry.run();
            }
            assert!(!carrier.is_finished(), "the containers ended before the last kill");
            carrier.join().expect("the containers");
            running
        });
        until("the engine to be reached", async || ended.text().contains("Docker engine reached").then_some(())).await;
        assert_delivered(&ended.stop());
        let records = documents(&engine, &index, json!({ "match_all": {} })).await;
        let verdict = judge(&load.jobs, &records);
        // Each under its EventID, which is the _id: what was stored is what was read, not more.
        let ids: BTreeSet<&str> = records.iter().filter_map(|record| record["EventID"].as_str()).collect();
        assert_eq!(ids.len(), records.len(), "records with one EventID in two documents");
        let origins = manifests(&engine, &index, &reading.run, "logferry.manifest.origin").await;
        let verified = reading.ferry.call(&["verify", "--run-id", &reading.run, "--sink", "elasticsearch"]);
        engine.forget(&index).await;
        Killed { reading, jobs: load.jobs, records, verdict, origins, verified }
    }

    fn gaps(&self) -> serde_json::Map<String, Value> {
        self.reading.gaps(&self.origins)
    }
}
