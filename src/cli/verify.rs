//! `logferry verify`: does a sink hold all that the manifests of a run say?

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::{Usage, find_source, load, runtime};
use crate::config::Purpose;
use crate::lifecycle::report::{EXIT_DELIVERED, EXIT_LEFT};
use crate::sink::http::USER_AGENT;
use crate::sink::stored::ReadError;
use crate::sink::{Kind, Options, azure_monitor, elasticsearch};
use crate::verify::{Reader, SCANS_MAX, Verdict, report, take};

/// Wait between two readings with `--wait`: the first, and the longest after doublings.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// How often the sink is asked before a failure that may pass is the answer.
const READS_MAX: usize = 3;

/// Origins that are looked through at each reading while waiting: with more in doubt it is not equal yet.
const SCANS_WHILE_WAITING_MAX: usize = 20;

/// Longest `--wait`.
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: super::ConfigArgument,
    /// The run; '' for what has no RunID
    #[arg(long, value_name = "RUN")]
    run_id: String,
    /// Read again until it is equal, for this long at most, such as 15m
    #[arg(long, value_name = "TIME", value_parser = wait)]
    wait: Option<Duration>,
    /// The sink to read [default: the only one that can be read]
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// `90s`, `15m`, `1h`.
fn wait(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time such as 90s, 15m or 1h, of at most 7 days".to_owned();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(expected()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
    let wait = seconds.map(Duration::from_secs).ok_or_else(expected)?;
    if wait > WAIT_MAX { Err(expected()) } else { Ok(wait) }
}

/// Prints the verdict; the exit code says whether it is equal.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let loaded = load(&find_source(arguments.config.config.clone()), Purpose::Sinks)?;
    let sink = choose(&loaded.config.sinks, arguments.sink.as_deref())?;
    let reader = reader(sink)?;
    let verdict = runtime()?.block_on(until_equal(&reader, arguments, &sink.name))?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&verdict)?);
    } else {
        print!("{}", report::text(&verdict));
    }
    Ok(if verdict.equal { EXIT_DELIVERED } else { EXIT_LEFT })
}

fn can_be_read(sink: &Options) -> bool {
    match &sink.kind {
        Kind::Elasticsearch(_) => true,
        Kind::AzureMonitor(options) => options.workspace_id.is_some(),
        Kind::File(_) | Kind::Console(_) | Kind::Tally(_) => false,
    }
}

/// What is missing for reading a sink that could be read.
fn lacks(sink: &Options) -> Option<String> {
    let is_azure = matches!(&sink.kind, Kind::AzureMonitor(options) if options.workspace_id.is_none());
    is_azure.then(|| {
        format!(
            "sinks.{}.workspace_id is missing: verify needs the id of the Log Analytics workspace behind the rule (the GUID \
             on its overview page)",
            sink.name
        )
    })
}

/// The sink that is meant.
fn choose<'a>(sinks: &'a [Options], name: Option<&str>) -> Result<&'a Options, Usage> {
    let readable: Vec<&Options> = sinks.iter().filter(|sink| can_be_read(sink)).collect();
    let names = readable.iter().map(|sink| &*sink.name).collect::<Vec<_>>().join(", ");
    let which = if names.is_empty() { "none can be".to_owned() } else { format!("these can: {names}") };
    match name {
        Some(name) => match sinks.iter().find(|sink| &*sink.name == name) {
            Some(sink) if can_be_read(sink) => Ok(sink),
            Some(sink) => {
                Err(Usage(lacks(sink).unwrap_or_else(|| format!("the sink {name} cannot be read back; {which}"))))
            }
            None => Err(Usage(format!("there is no sink {name}; of those that can be read, {which}"))),
        },
        None => match readable.as_slice() {
            [only] => Ok(only),
            [] => Err(Usage(sinks.iter().find_map(lacks).unwrap_or_else(|| {
                "no sink of the configuration can be read back: verify needs one of type elasticsearch or azure_monitor"
                    .to_owned()
            }))),
            _ => Err(Usage(format!("several sinks can be read; choose one with --sink: {names}"))),
        },
    }
}

fn reader(sink: &Options) -> anyhow::Result<Reader> {
    match &sink.kind {
        Kind::Elasticsearch(options) => Ok(Reader::Elasticsearch(elasticsearch::Reader::new(options, USER_AGENT)?)),
        Kind::AzureMonitor(options) => {
            let reader = azure_monitor::Reader::new(options, USER_AGENT);
            Ok(Reader::AzureMonitor(reader.map_err(|error| Usage(format!("sinks.{}.{error}", sink.name)))?))
        }
        Kind::File(_) | Kind::Console(_) | Kind::Tally(_) => {
            Err(Usage(format!("the sink {} cannot be read back", sink.name)).into())
        }
    }
}

/// Reads once; with `--wait` again and again until it is equal or the time is over.
async fn until_equal(reader: &Reader, arguments: &Arguments, sink: &str) -> Result<Verdict, ReadError> {
    let Some(wait) = arguments.wait else { return take_patiently(reader, &arguments.run_id, sink).await };
    let until = Instant::now() + wait;
    let progress = progress();
    let mut pause = PAUSE_FIRST;
    while Instant::now() < until {
        match take(reader, &arguments.run_id, sink, SCANS_WHILE_WAITING_MAX).await {
            Ok(verdict) if verdict.equal => {
                progress.finish_and_clear();
                return Ok(verdict);
            }
            Ok(verdict) => progress.set_message(said(&verdict)),
            Err(error) if error.passing => progress.set_message(error.reason),
            Err(error) => return Err(error),
        }
        tokio::time::sleep_until((Instant::now() + pause).min(until)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    progress.finish_and_clear();
    take_patiently(reader, &arguments.run_id, sink).await
}

/// Reads once; a failure that may pass, such as a connection that a server has just closed, is no answer yet.
async fn take_patiently(reader: &Reader, run_id: &str, sink: &str) -> Result<Verdict, ReadError> {
    for _ in 1..READS_MAX {
        match take(reader, run_id, sink, SCANS_MAX).await {
            Err(error) if error.passing => tracing::debug!(reason = error.reason, "reading failed, it is tried again"),
            result => return result,
        }
        tokio::time::sleep(PAUSE_FIRST).await;
    }
    take(reader, run_id, sink, SCANS_MAX).await
}

/// The state of things in a few words.
fn said(verdict: &Verdict) -> String {
    let (found, expected) =
        verdict.vms.iter().fold((0, 0), |(found, expected), vm| (found + vm.found, expected + vm.expected));
    let findings = verdict.findings.len() as u64 + verdict.more_findings;
    format!("{found} records for {expected}, {findings} findings")
}

/// On a terminal a line that moves, else nothing.
fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_has_a_number_and_a_unit() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(wait(text).ok().map(|wait| wait.as_secs()), expected, "{text}");
        };
        check("90s", Some(90));
        check("15m", Some(900));
        check("1h", Some(3600));
        check("7d", Some(604_800));
        check("8d", None);
        check("15", None);
        check("m", None);
        check("-1m", None);
        check("99999999999999999999d", None);
    }
}
