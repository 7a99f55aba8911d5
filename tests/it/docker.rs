//! The Docker source by the real binary on a real engine: every line of every container, and a manifest that names the
//! containers of which the engine did not hand out all.
//!
//! Each line that a container prints carries the container's name and the line's number, so that one that is missing or
//! there twice shows. `DOCKER_SEED` (1) settles what the containers print and when logferry is killed.

mod bound;
pub mod containers;
mod dockerd;
mod dry_run;
mod exits;
mod kills;
mod limit;
mod load;
mod oracle;
mod restarts;
mod short_lives;
mod stop;

use std::path::Path;

use serde_json::{Map, Value};

use crate::support::ferry::{Ended, Ferry, Running, until};
use containers::Containers;

/// The file sink's file.
const OUT: &str = "out.ndjson";

const FILE_SINK: &str = "[sinks.file]\npath = \"{dir}/out.ndjson\"\nmax_bytes = 0\n";

/// logferry with the containers of one test as its only source, in a run of their label.
struct Reading {
    ferry: Ferry,
    run: String,
}

impl Reading {
    /// `rest`: the tables of the configuration but `[run]` and the source.
    fn new(containers: &Containers, rest: &str) -> Reading {
        let run = containers.label.clone();
        let head = format!("[run]\nvm_name = \"vm-7\"\nrun_id = \"{run}\"\n{}", containers.source());
        // A table of the test's own takes the place of the usual one: nothing here is about waiting.
        let teardown = if rest.contains("[teardown]") { "" } else { "[teardown]\nwait_containers = \"0s\"\n" };
        Reading { ferry: Ferry::new(&format!("{head}{teardown}{rest}")), run }
    }

    /// Starts the daemon; it has reached the engine when this returns.
    async fn start(&mut self) -> Running {
        let mut running = self.ferry.run();
        until("the engine to be reached", async || {
            assert!(!running.has_ended(), "{}", running.text());
            running.text().contains("Docker engine reached").then_some(())
        })
        .await;
        running
    }

    /// Everything but the manifests that the file sink holds.
    fn records(&self) -> Vec<Value> {
        self.ferry.records(OUT)
    }

    /// The manifest of the last stop.
    fn manifest(&self) -> Value {
        let path = self.ferry.path(&format!("state/manifests/{}.json", self.run));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).expect("JSON")
    }

    /// Containers that manifests name with a gap, each with the kinds; `sunk`: the manifest records of origins in a sink.
    fn gaps(&self, sunk: &[Value]) -> Map<String, Value> {
        oracle::gaps(&self.manifest(), sunk)
    }

    /// [`Reading::gaps`] with the file sink.
    fn file_gaps(&self) -> Map<String, Value> {
        self.gaps(&self.ferry.all_records(OUT))
    }
}

/// A stop that left nothing in the buffer.
fn assert_delivered(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}", crate::support::ferry::tail(&ended.stderr));
}

/// Whether this user can read the engine's own log files.
fn data_folder_is_readable(containers: &Containers) -> bool {
    let readable = std::fs::read_dir(Path::new(&containers.data_folder()).join("containers")).is_ok();
    if !readable {
        eprintln!("not tested: this user may not read the engine's data folder");
    }
    readable
}

/// Numbers that come out the same with the same `DOCKER_SEED`.
fn dice() -> crate::chaos::Dice {
    let seed = std::env::var("DOCKER_SEED").map_or(1, |text| text.parse().expect("DOCKER_SEED"));
    crate::chaos::Dice::new(seed)
}
