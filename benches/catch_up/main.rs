//! `cargo bench`: how much CPU and memory it takes to catch up on a long log file, beside a floor. Prints figures and
//! holds them against nothing, but fails where a record is missing, doubled or damaged.
//!
//! One executable plays every part, each in a process of its own: the driver (this file), the floor program
//! ([`floor`]) and the server that takes the records ([`stub`]). logferry itself is the real binary, `logferry ship`
//! with its buffer on. CPU and peak memory are what the kernel counts for the process from its start to its end.
//!
//! ```text
//! cargo bench                          3 rounds of 2,000,000 lines: floor, logferry, logferry with gzip; ingest alone
//! cargo bench -- --rounds 5 --lines 500000
//! cargo bench -- ingest                ingest alone, µs a line: raw, parsed, and with redaction
//! cargo bench -- steady                5,000 lines/s for 20 s into a followed file: CPU and latency
//! cargo bench -- endurance             20,000 lines/s for 10 minutes, with logrotate every 20 s and the sink away for 2:
//!                                      memory; `--seconds 60` for a shorter one
//! cargo bench -- containers            100 containers of 200 lines/s for 60 s: memory, latency, and CPU beside that of
//!                                      `docker logs -f`; wants a Docker engine on this machine (tests/services/up.sh)
//! ```
//!
//! Without `--bench`, which cargo gives, it is a quick trial of itself: `cargo test --benches`.

mod containers;
mod endurance;
mod floor;
mod ingest;
mod lines;
mod process;
mod steady;
mod stub;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use process::{Run, Stub};
use table::Row;

/// What any part of the benchmark may fail with: it is said and ends the run.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

const LINES: u64 = 2_000_000;
const ROUNDS: usize = 3;
/// Lines of a trial: enough for several requests.
const TRIAL_LINES: u64 = 30_000;

const INDEX: &str = "logs-bench-default";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["floor", lines, buffer, address] => floor::run(Path::new(lines), Path::new(buffer), address),
        ["stub", lines] => lines.parse().map_err(Fault::from).and_then(stub::run),
        words => Plan::parse(words).and_then(|plan| drive(&plan)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("catch_up: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// What kind of load.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    CatchUp,
    Ingest,
    Steady,
    Endurance,
    Containers,
}

/// What to measure.
struct Plan {
    lines: u64,
    rounds: usize,
    kind: Kind,
    /// For so long, where it is not the usual time.
    seconds: Option<u64>,
    trial: bool,
}

impl Plan {
    fn parse(words: &[&str]) -> Result<Plan, Fault> {
        let trial = !words.contains(&"--bench");
        let (lines, rounds) = if trial { (TRIAL_LINES, 1) } else { (LINES, ROUNDS) };
        let mut plan = Plan { lines, rounds, kind: Kind::CatchUp, seconds: None, trial };
        let mut words = words.iter().filter(|word| **word != "--bench");
        while let Some(word) = words.next() {
            match (*word, words.clone().next()) {
                ("ingest", _) => plan.kind = Kind::Ingest,
                ("steady", _) => plan.kind = Kind::Steady,
                ("endurance", _) => plan.kind = Kind::Endurance,
                ("containers", _) => plan.kind = Kind::Containers,
                ("--seconds", Some(count)) => (plan.seconds, _) = (Some(count.parse()?), words.next()),
                ("--lines", Some(count)) => (plan.lines, _) = (count.parse()?, words.next()),
                ("--rounds", Some(count)) => (plan.rounds, _) = (count.parse()?, words.next()),
                (other, _) => {
                    return Err(format!(
                        "{other}: expected ingest, steady, endurance, containers, --seconds COUNT, --lines COUNT or --rounds COUNT"
                    )
                    .into());
                }
            }
        }
        if plan.seconds.is_some() && !matches!(plan.kind, Kind::Endurance | Kind::Containers) {
            return Err("--seconds: only with endurance or containers".into());
        }
        if !(1..=lines::MAX_LINES).contains(&plan.lines) || plan.rounds == 0 {
            return Err(format!("1 to {} lines and at least one round are possible", lines::MAX_LINES).into());
        }
        Ok(plan)
    }
}

/// The folder of a run, on a disk; gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, Fault> {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("catch_up");
        // What a run that was interrupted has left.
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => fs::create_dir_all(&path)?,
        }
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("catch_up: {} stays behind: {error}", self.0.display());
        }
    }
}

fn drive(plan: &Plan) -> Result<(), Fault> {
    let folder = Folder::new()?;
    match plan.kind {
        Kind::CatchUp => catch_up_in_rounds(&folder, plan),
        Kind::Ingest => ingest::drive(plan.trial),
        Kind::Steady => steady::drive(&folder.0, plan.trial),
        Kind::Endurance => endurance::drive(&folder.0, plan.seconds.unwrap_or(endurance::SECONDS)),
        Kind::Containers => {
            let usual = if plan.trial { containers::TRIAL_SECONDS } else { containers::SECONDS };
            containers::drive(&folder.0, plan.seconds.unwrap_or(usual), plan.trial)
        }
    }
}

fn catch_up_in_rounds(folder: &Folder, plan: &Plan) -> Result<(), Fault> {
    let file = folder.0.join("lines.log");
    lines::write(&file, plan.lines)?;
    let mut rows = [Row::new("floor"), Row::new("logferry"), Row::new("logferry, gzip")];
    for round in 1..=plan.rounds {
        for (number, row) in rows.iter_mut().enumerate() {
            let run = match number {
                0 => catch_up(&folder.0, plan.lines, |dir, url| floor_command(&file, dir, url))?,
                1 => catch_up(&folder.0, plan.lines, |dir, url| ship_command(&file, dir, url, "none"))?,
                _ => catch_up(&folder.0, plan.lines, |dir, url| ship_command(&file, dir, url, "gzip"))?,
            };
            eprintln!("round {round} of {}: {}", plan.rounds, row.describe(&run));
            row.runs.push(run);
        }
    }
    table::print(plan.lines, &rows);
    ingest::drive(plan.trial)
}

/// Runs one shipper from its start to its end against a server of its own, in a folder of its own.
fn catch_up(
    folder: &Path,
    lines: u64,
    command: impl FnOnce(&Path, &str) -> Result<Command, Fault>,
) -> Result<Run, Fault> {
    let dir = folder.join("run");
    fs::create_dir(&dir)?;
    let stub = Stub::start(lines)?;
    let log = dir.join("shipper.log");
    let mut command = command(&dir, &stub.address)?;
    let ended = process::run(&mut command, &log);
    let taken = stub.end()?;
    let said = fs::read_to_string(&log).unwrap_or_default();
    let run = ended.map_err(|fault| format!("{fault}\n{said}"))?;
    taken.check(lines).map_err(|reason| format!("{reason}\n{said}"))?;
    fs::remove_dir_all(&dir)?;
    Ok(Run { lines, body_bytes: taken.body_bytes, wire_bytes: taken.wire_bytes, requests: taken.requests, ..run })
}

fn floor_command(file: &Path, dir: &Path, address: &str) -> Result<Command, Fault> {
    let mut command = process::bare(&std::env::current_exe()?);
    command.arg("floor").arg(file).arg(dir.join("buffer")).arg(address);
    Ok(command)
}

fn ship_command(file: &Path, dir: &Path, address: &str, compression: &str) -> Result<Command, Fault> {
    let config = write_config(&file_source(file), dir, address, compression)?;
    let mut command = process::bare(Path::new(env!("CARGO_BIN_EXE_logferry")));
    command.arg("ship").arg("-c").arg(config);
    Ok(command)
}

/// The table of a source that reads these files, a glob.
fn file_source(include: &Path) -> String {
    format!("[[sources.file]]\nname = \"bench\"\ninclude = [{include:?}]\n")
}

/// A configuration with the defaults of everything that may cost something; nothing in it looks beyond the loopback and
/// `source`, the table of its only source.
fn write_config(source: &str, dir: &Path, address: &str, compression: &str) -> Result<PathBuf, Fault> {
    let path = dir.join("logferry.toml");
    let text = format!(
        r#"
[run]
run_id = "bench"
vm_name = "bench-vm"

[state]
dir = {state:?}

{source}
[sinks.elasticsearch]
endpoints = ["http://{address}"]
index = "{INDEX}"
compression = "{compression}"

[teardown]
scheduled_events = "off"
wait_containers = "0s"

[http]
listen = "off"
"#,
        state = dir.join("state"),
    );
    fs::write(&path, text)?;
    Ok(path)
}
