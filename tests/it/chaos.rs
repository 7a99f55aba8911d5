//! Seeded rounds of the real binary: files are written and rotated, sinks fail, and the process is killed again and again
//! at random moments. The oracle is what the sinks hold in the end, and that the manifest says the same.
//!
//! `CHAOS_ROUNDS` rounds (2 without it) from seed `CHAOS_SEED` (1) on; `scripts/chaos.sh` runs a hundred. The seed settles
//! what is written, rotated and refused and how long each process lives; what that hits depends on the machine.

mod faults;
mod oracle;
mod writer;

use std::time::{Duration, Instant};

use crate::delivery::azure_sink;
use crate::support::azure::{AzureServer, AzureSettings, Fault};
use crate::support::engine::Engine;
use crate::support::ferry::{Ferry, PATIENCE, append, until};
use crate::support::search::messages;
use faults::Faults;
use oracle::{ERRORS, Held};
use writer::Writers;

/// Rounds of an ordinary test run.
const ROUNDS: u64 = 2;
/// Kills of one round, at the least.
const KILLS: usize = 10;
/// Longest that a round may kill on while its writers still write.
const KILLING_MAX: Duration = Duration::from_secs(60);
/// Longest life of a process that is killed, in milliseconds.
const LIFE_MAX_MS: u64 = 700;

/// Numbers that a seed settles.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 0 to `sides` − 1.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    /// Another one, for a thread of its own.
    pub fn split(&mut self) -> Self {
        Dice::new(self.roll(u64::MAX >> 11))
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_rotation_and_failing_sinks_lose_nothing_and_double_nothing() {
    let first = number("CHAOS_SEED", 1);
    let rounds = number("CHAOS_ROUNDS", ROUNDS);
    for seed in first..first + rounds {
        round(seed).await;
    }
}

/// Answers that are not counted for so long are not coming.
const QUIET: Duration = Duration::from_millis(700);

/// The first of two requests is never answered, the second is: a kill then must not leave the first behind the cursor.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_overtakes_another_does_not_move_the_cursor_over_it() {
    const LINES: usize = 5_000;
    let azure = AzureServer::start(AzureSettings::default());
    azure.fault(Fault::Hang);
    let mut ferry = Ferry::new(&format!(
        "[[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\n{}batch_bytes = \"100KB\"\n",
        azure_sink(&azure)
    ));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &azure.authority);
    append(&ferry.path("a.log"), (0..LINES).map(|n| format!("line {n:06} {}", "x".repeat(80))));
    let running = ferry.run();
    azure.until("the second request", PATIENCE, |ledger| ledger.answered(204) > 0).await;
    // Until nothing more comes of it: what was counted has moved the cursor then, if anything does.
    let (mut last, mut since) = (0, Instant::now());
    until("the answers to be counted", async || {
        let status = ferry.call(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status.stdout).ok()?;
        let delivered = status["sinks"]["azure_monitor"]["delivered"].as_u64()?;
        if delivered != std::mem::replace(&mut last, delivered) {
            since = Instant::now();
        }
        (delivered > 0 && since.elapsed() > QUIET).then_some(())
    })
    .await;
    running.kill();
    let ended = ferry.call(&["ship"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let records: Vec<serde_json::Value> = azure.records().into_iter().map(serde_json::Value::Object).collect();
    assert_eq!(messages(&records).len(), LINES);
}

/// One round: its line on standard output, or a panic that says how to run it again.
async fn round(seed: u64) {
    let mut dice = Dice::new(seed);
    let begun = Instant::now();
    let engines = Engine::both().await;
    let engine = &engines[usize::try_from(seed % 2).expect("0 or 1")];
    let index = format!("{}-{seed}", engine.index("chaos").await);
    let azure = AzureServer::start(AzureSettings::default());
    let mut faults = Faults::start(engine, &index, &azure, dice.split()).await;
    let run = format!("chaos-{seed}-{}", std::process::id());
    let mut ferry = Ferry::new(&format!(
        "[run]\nrun_id = \"{run}\"\nvm_name = \"vm-7\"\n\
         [[sources.file]]\nname = \"load\"\ninclude = [\"{{dir}}/logs/*.log*\"]\n\
         [sinks.elasticsearch]\nendpoints = [\"{}\"]\nindex = \"{index}\"\nbatch_bytes = \"{}KB\"\n\
         [sinks.errors]\ntype = \"file\"\npath = \"{{dir}}/{ERRORS}\"\nwhen = {{ Level = [\"ERROR\"] }}\n{}",
        faults.url(),
        10 + dice.roll(120),
        azure_sink(&azure)
    ));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &azure.authority);
    std::fs::create_dir(ferry.path("logs")).expect("a folder");
    let writers = Writers::start(&ferry.path("logs"), &mut dice);

    let mut kills = 0;
    while kills < KILLS || (!writers.done() && begun.elapsed() < KILLING_MAX) {
        kills += usize::from(live_and_die(&mut ferry, &mut dice).await);
    }
    let expected = writers.end();
    faults.end().await;
    let running = ferry.run();
    until("the start", async || running.text().contains("started").then_some(())).await;
    let ended = running.stop();

    let mut wrong = Vec::new();
    if ended.code != Some(0) {
        wrong.push(format!(
            "the last stop ended with {:?}: {}",
            ended.code,
            crate::support::ferry::tail(&ended.stderr)
        ));
    }
    let held = Held::read(engine, &index, &azure, &ferry, &run).await;
    wrong.extend(held.against(&expected, kills));
    wrong.extend(held.against_manifest(&ferry, &run));
    let verdict = ferry.call(&["verify", "--run-id", &run, "--sink", "elasticsearch"]);
    if verdict.code != Some(0) {
        wrong.push(format!("verify ended with {:?}: {}{}", verdict.code, verdict.stdout, verdict.stderr));
    }
    let word = if wrong.is_empty() { "nothing missing, nothing twice" } else { "WRONG" };
    println!(
        "seed {seed}: {} lines, {kills} kills, {}, {:.1} s; {}: {word}; Azure: {} twice, by EventID",
        expected.len(),
        faults.summary(),
        begun.elapsed().as_secs_f64(),
        engine.name,
        held.twice_in_azure()
    );
    if !wrong.is_empty() {
        ferry.dir.disable_cleanup(true);
        panic!(
            "seed {seed}: {}\nits folder: {}\nagain: CHAOS_SEED={seed} CHAOS_ROUNDS=1 cargo test --test it chaos",
            wrong.join("\n"),
            ferry.dir.path().display()
        );
    }
    engine.forget(&index).await;
}

/// One life of the daemon. True where it was killed, false where a stop came to its end before that.
async fn live_and_die(ferry: &mut Ferry, dice: &mut Dice) -> bool {
    let mut running = ferry.run();
    // Not events that could be awaited: the moments are the point.
    tokio::time::sleep(Duration::from_millis(20 + dice.roll(LIFE_MAX_MS))).await;
    if dice.roll(4) == 0 {
        running.terminate();
        tokio::time::sleep(Duration::from_millis(dice.roll(400))).await;
    }
    let ended = running.try_end();
    match &ended {
        None => running.kill(),
        Some(code) => assert_eq!(*code, Some(0), "only a stop ends it: {}", running.text()),
    }
    ended.is_none()
}
