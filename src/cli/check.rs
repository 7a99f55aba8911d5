//! `logferry check`: is the configuration right, and does what it names answer?

use std::path::Path;
use std::sync::Arc;

use super::try_lines::Bench;
use super::{Usage, find_source, load, runtime};
use crate::azure::whereabouts::{self, Need, Whereabouts};
use crate::config::{Config, Loaded, Purpose, ScheduledEvents};
use crate::lifecycle::identity::{self, Outcome};
use crate::lifecycle::report::{EXIT_DELIVERED, EXIT_FAILED};
use crate::lifecycle::state_dir;
use crate::sink::Sink;
use crate::sink::http::USER_AGENT;
use crate::source::docker;
use crate::trial::expect::{Failure, Test};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: super::ConfigArgument,
    /// Also ask every sink and Docker engine, and try the state folder
    #[arg(long)]
    online: bool,
}

/// Prints what was checked, a line each.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let loaded = load(&find_source(arguments.config.config.clone()), Purpose::Pipeline)?;
    let config = &loaded.config;
    println!(
        "{}: no mistakes; {}, {}, {}",
        loaded.file,
        counted(config.files.len() as u64, "file source"),
        counted(config.docker.len() as u64, "Docker source"),
        counted(config.sinks.len() as u64, "sink")
    );
    tests(&loaded)?;
    if !arguments.online {
        return Ok(EXIT_DELIVERED);
    }
    let all_well = runtime()?.block_on(online(config));
    Ok(if all_well { EXIT_DELIVERED } else { EXIT_FAILED })
}

/// Runs the tests that the configuration has.
///
/// # Errors
/// Every test that failed: a mistake of the configuration.
fn tests(loaded: &Loaded) -> Result<(), Usage> {
    let tests = &loaded.config.tests;
    if tests.is_empty() {
        return Ok(());
    }
    let bench = Bench::new(&loaded.config);
    let failed: Vec<(&Test, Vec<Failure>)> =
        tests.iter().map(|test| (test, bench.run(test))).filter(|(_, failures)| !failures.is_empty()).collect();
    println!("{} passed", counted((tests.len() - failed.len()) as u64, "test"));
    if failed.is_empty() {
        return Ok(());
    }
    let blocks = failed.iter().flat_map(|(test, failures)| failures.iter().map(|failure| block(loaded, test, failure)));
    let of = format!("{} of {} tests failed in {}", failed.len(), tests.len(), loaded.file);
    Err(Usage(format!("{}{of}", blocks.collect::<String>())))
}

/// One thing that is not as a test expects it, as a mistake is shown.
fn block(loaded: &Loaded, test: &Test, failure: &Failure) -> String {
    let Failure { line, what, nearest, expected, found } = failure;
    let line = line.or(test.line).map(|line| format!(":{line}")).unwrap_or_default();
    let nearest = nearest.as_ref().map(|nearest| format!("    nearest: {nearest}\n")).unwrap_or_default();
    let name = &test.name;
    format!("{}{line}: test {name:?}: {what}\n    expected: {expected}\n    found: {found}\n{nearest}\n", loaded.file)
}

/// `1 sink`, `2 sinks`.
pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

async fn online(config: &Config) -> bool {
    let mut all_well = say("state.dir", state_folder(&config.state_dir, config.buffer.max_bytes));
    if let Some(answer) = azure(config).await {
        all_well &= say("IMDS", answer);
    }
    for options in &config.docker {
        all_well &= say(&format!("source {}", options.name), docker::probe(options).await);
    }
    for options in &config.sinks {
        let name = Arc::clone(&options.name);
        let answer = match Sink::new(options, USER_AGENT) {
            Ok(sink) => sink.probe().await,
            Err(error) => Err(error.to_string()),
        };
        all_well &= say(&format!("sink {name}"), answer);
    }
    all_well
}

/// What IMDS says of this VM, and so the columns of every record; `None` where nothing depends on it.
async fn azure(config: &Config) -> Option<Result<String, String>> {
    let wanted = super::identity(config);
    // Who checks wants an answer now.
    let found = whereabouts::find(&wanted.azure, Need::Name, USER_AGENT).await;
    let Outcome { settled, warnings, .. } = identity::settle(&wanted, None, "", &found, &state_dir::host_name());
    let reason = warnings.join("; ");
    match found {
        Whereabouts::Elsewhere if reason.is_empty() => None,
        Whereabouts::Silent { .. } if reason.is_empty() && config.teardown.scheduled_events == ScheduledEvents::Off => {
            None
        }
        Whereabouts::Silent { reason: why } if reason.is_empty() => Some(Err(why)),
        Whereabouts::Azure(vm) if reason.is_empty() => {
            let from_imds = wanted.from_imds();
            let columns = settled.columns.iter().filter(|(name, _)| from_imds.contains(&name.as_str()));
            let columns: Vec<String> = columns.map(|(name, value)| format!(", {name} is {value:?}")).collect();
            Some(Ok(format!("VM {} in {}; VMName is {:?}{}", vm.name, vm.location, settled.vm_name, columns.concat())))
        }
        _ => Some(Err(reason)),
    }
}

fn say(what: &str, answer: Result<String, String>) -> bool {
    match answer {
        Ok(text) => {
            println!("ok      {what}: {text}");
            true
        }
        Err(text) => {
            println!("failed  {what}: {text}");
            false
        }
    }
}

/// Whether the folder can be written to, and its file system has room for a full buffer.
fn state_folder(dir: &Path, max_bytes: u64) -> Result<String, String> {
    let what =
        |error: std::io::Error| format!("{}: {error}; it must be a folder that this user may write to", dir.display());
    state_dir::make_private(dir).map_err(what)?;
    let probe = dir.join(".logferry-check");
    std::fs::write(&probe, b"x").map_err(what)?;
    std::fs::remove_file(&probe).map_err(what)?;
    let space = rustix::fs::statvfs(dir).map_err(|error| what(error.into()))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let used = buffer_bytes(&dir.join("buffer"));
    if free.saturating_add(used) < max_bytes {
        return Err(format!(
            "{}: {free} bytes are free, buffer.max_bytes is {max_bytes}: make room, or lower it",
            dir.display()
        ));
    }
    Ok(format!("{} is writable, {free} bytes are free", dir.display()))
}

fn buffer_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|metadata| metadata.len()).sum()
}
