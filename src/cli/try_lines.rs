//! `logferry try`: lines on standard input, the records that they become, and why. The same for the `[[test]]` tables of a
//! configuration, which `check` runs.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use super::check::counted;
use super::{ConfigArgument, Usage, find_source, identity, load, named, runtime, ship};
use crate::azure::whereabouts::Whereabouts;
use crate::config::{Config, Purpose};
use crate::ingest::{self, Flush, Format, GROUP_QUIET, Outcome};
use crate::lifecycle::identity::settle;
use crate::lifecycle::report::EXIT_DELIVERED;
use crate::lifecycle::{Signals, state_dir};
use crate::pipeline;
use crate::source::file::Pattern;
use crate::source::{RunColumns, stdin};
use crate::trial::expect::{self, Failure, Test};
use crate::trial::pretty::{self, Style, kinds, left_out};
use crate::trial::{Trial, Tried};

/// Name of the source where the configuration has none, as `ship -` calls it.
const STDIN: &str = "stdin";

/// How often it is looked whether a signal has come, and whether a group has waited long enough.
const LOOK: Duration = Duration::from_millis(100);

/// Output is written at the latest when so many bytes are there, and whenever nothing more waits.
const OUTPUT_BYTES: usize = 64 * 1024;

const EXAMPLES: &str = "\
Nothing is sent or kept, no file of the configuration is read and nobody is asked: columns that Azure's metadata
service or a container would give are not there, nor those of a path without --path. Column Origin is all zeros, and the same lines give the same
EventIDs. A group of lines (a traceback) is shown when the next line comes, or after a second. Rules that drop and sample
apply, rate limits do not.

Examples:
  tail -n 20 app.log | logferry try                            with the defaults
  tail -f app.log | logferry try -c logferry.toml --source agent
  logferry try -c logferry.toml --path /runs/42/7/app.log <app.log     with the columns that the path gives
  docker logs job 2>&1 | logferry try --format ndjson | jq .Level

What a configuration should make of lines can be kept in it, as [[test]]: see logferry config example.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// How records are shown: with what matched and what was redacted, or the records that are sent, alone
    #[arg(long, value_enum, default_value_t = Shown::Pretty)]
    format: Shown,
    /// The source whose lines these are [default: the first of the configuration]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// The file that these lines would stand in, which need not be there: its path gives the columns that a source captures
    #[arg(long, value_name = "PATH")]
    path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Shown {
    Pretty,
    Ndjson,
}

/// A source, as far as its lines depend on it.
struct BenchSource {
    name: Arc<str>,
    ingest: ingest::Options,
    /// Of a source of files.
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl BenchSource {
    fn of(name: Arc<str>, ingest: ingest::Options) -> Self {
        BenchSource { name, ingest, include: Vec::new(), exclude: Vec::new() }
    }

    /// The columns that a path gives; `None`: it is no path of this source.
    fn captures(&self, path: &Path) -> Option<Vec<(String, String)>> {
        let captures = self.include.iter().find_map(|pattern| pattern.captures(path))?;
        (!self.exclude.iter().any(|pattern| pattern.matches(path))).then_some(captures)
    }
}

/// What lines are tried with: a source, and what is the same for all of them.
pub(super) struct Bench {
    sources: Vec<BenchSource>,
    run: RunColumns,
    sinks: Vec<Arc<str>>,
    /// Columns that only a running logferry knows.
    unknown: Vec<String>,
}

impl Bench {
    pub(super) fn new(config: &Config) -> Self {
        let files = config.files.iter().map(|source| BenchSource {
            include: source.include.clone(),
            exclude: source.exclude.clone(),
            ..BenchSource::of(Arc::clone(&source.name), source.ingest.clone())
        });
        let docker =
            config.docker.iter().map(|source| BenchSource::of(Arc::clone(&source.name), source.ingest.clone()));
        let mut sources: Vec<_> = files.chain(docker).collect();
        if sources.is_empty() {
            sources.push(BenchSource::of(STDIN.into(), named::ingest_options(config)));
        }
        let wanted = identity(config);
        let unknown = wanted.from_imds().into_iter().map(str::to_owned).collect();
        // Nobody is asked: what is not known here is left out.
        let settled = settle(&wanted, None, "", &Whereabouts::Elsewhere, &state_dir::host_name()).settled;
        let run = pipeline::run_columns(settled.columns, &settled.vm_name, &config.redactor);
        Bench { sources, run, sinks: config.sinks.iter().map(|sink| Arc::clone(&sink.name)).collect(), unknown }
    }

    /// The source of this name; else the one that reads this path, or the first one.
    fn source(&self, name: Option<&str>, path: Option<&Path>) -> Option<&BenchSource> {
        let Some(name) = name else {
            let reads = |path| self.sources.iter().find(|source| source.captures(path).is_some());
            return path.and_then(reads).or(self.sources.first());
        };
        self.sources.iter().find(|source| *source.name == *name)
    }

    /// The columns that all records of a source have, with those of a path.
    fn columns(&self, source: &BenchSource, path: Option<&Path>) -> RunColumns {
        let Some(path) = path else { return self.run.clone() };
        let captures = source.captures(path).unwrap_or_default();
        let own = [("Source", source.name.to_string()), ("FilePath", path.to_string_lossy().into_owned())];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        RunColumns(captures.into_iter().chain(self.run.0.iter().cloned()).chain(own).collect())
    }

    fn names(&self) -> String {
        self.sources.iter().map(|source| &*source.name).collect::<Vec<_>>().join(", ")
    }

    /// Runs a test of the configuration; says what is not as expected.
    pub(super) fn run(&self, test: &Test) -> Vec<Failure> {
        // That there is such a source was checked.
        let path = test.path.as_deref();
        let Some(source) = self.source(test.source.as_deref(), path) else { return Vec::new() };
        if path.is_some_and(|path| source.captures(path).is_none()) {
            return vec![Failure::of_path(test, &source.name)];
        }
        expect::run(test, &source.ingest, &source.name, &self.columns(source, path), &self.sinks)
    }
}

/// Shows what comes until the input ends, the reader goes, or a signal comes; then what it was in figures.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let given = find_source(arguments.config.config);
    let configuration = if ship::is_without_config(&given) { ship::embedded() } else { given };
    let loaded = load(&configuration, Purpose::Records)?;
    let bench = Bench::new(&loaded.config);
    let path = arguments.path.as_ref().map(std::path::absolute).transpose()?;
    let path = path.as_deref();
    let Some(source) = bench.source(arguments.source.as_deref(), path) else {
        let asked = arguments.source.unwrap_or_default();
        return Err(Usage(format!("{} has no source {asked}; there is {}", loaded.file, bench.names())).into());
    };
    if bench.sources.len() > 1 && arguments.source.is_none() {
        eprintln!(
            "logferry: lines are read as those of the source {}; --source names another of {}",
            source.name,
            bench.names()
        );
    }
    if let Some(path) = path.filter(|path| source.captures(path).is_none()) {
        eprintln!(
            "logferry: the source {} does not read {}: no column comes of that path",
            source.name,
            path.display()
        );
    }
    if !bench.unknown.is_empty() {
        eprintln!("logferry: left out, as Azure's metadata service is not asked: {}", bench.unknown.join(", "));
    }
    if io::stdin().is_terminal() {
        eprintln!("logferry: lines from this terminal; Ctrl-D ends them");
    }
    let trial = Trial::new(&source.ingest, &source.name, &bench.columns(source, path));
    let colour = io::stdout().is_terminal();
    let style = (arguments.format == Shown::Pretty).then(|| Style { sinks: bench.sinks.clone(), colour });
    let has_sinks = !bench.sinks.is_empty();
    let showing = Showing { trial, style, has_sinks, output: Vec::new(), sum: Sum::default(), reader_is_gone: false };
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = runtime()?;
    let shown = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let told = Arc::clone(&stop);
        let mut showing = tokio::task::spawn_blocking(move || showing.all(&told));
        tokio::select! {
            _ = signals.stop() => {}
            shown = &mut showing => return shown?,
        }
        stop.store(true, Ordering::Relaxed);
        // Whoever does not read may hold the output: a second signal ends at once.
        tokio::select! {
            _ = signals.stop() => Ok(None),
            shown = &mut showing => shown?,
        }
    });
    // A thread may still wait for standard input.
    runtime.shutdown_timeout(Duration::ZERO);
    if let Some(sum) = shown? {
        eprint!("{}", sum.text());
    }
    Ok(EXIT_DELIVERED)
}

/// Lines on their way through.
struct Showing {
    trial: Trial,
    /// `None`: the records alone.
    style: Option<Style>,
    has_sinks: bool,
    output: Vec<u8>,
    sum: Sum,
    /// Nobody reads standard output any more.
    reader_is_gone: bool,
}

impl Showing {
    /// Reads standard input to its end, or until a stop; `None` where the reader has gone: it has seen enough.
    fn all(mut self, stop: &AtomicBool) -> anyhow::Result<Option<Sum>> {
        let reads = stdin::reads(io::stdin())?;
        let constants: Vec<String> = self.trial.constants().map(|(name, _)| name.to_owned()).collect();
        if let Some(style) = &self.style {
            self.output.extend_from_slice(pretty::constants(self.trial.constants(), style).as_bytes());
        }
        let mut last = Instant::now();
        let mut failure = None;
        loop {
            let is_stopped = stop.load(Ordering::Relaxed);
            let (bytes, flush) = match reads.recv_timeout(LOOK) {
                _ if is_stopped => (Vec::new(), Flush::All),
                Ok(Ok(bytes)) if bytes.is_empty() => (bytes, Flush::All),
                Ok(Ok(bytes)) => (bytes, Flush::No),
                Ok(Err(error)) => {
                    failure = Some(error);
                    (Vec::new(), Flush::All)
                }
                Err(RecvTimeoutError::Timeout) if last.elapsed() < GROUP_QUIET || !self.trial.holds_back() => continue,
                Err(RecvTimeoutError::Timeout) => (Vec::new(), Flush::Group),
                Err(RecvTimeoutError::Disconnected) => (Vec::new(), Flush::All),
            };
            last = Instant::now();
            self.take(&bytes, flush, &constants)?;
            self.write();
            if self.reader_is_gone {
                return Ok(None);
            }
            if flush == Flush::All {
                break;
            }
        }
        match failure {
            Some(error) => Err(anyhow::anyhow!("standard input cannot be read: {error}")),
            None => Ok(Some(self.sum)),
        }
    }

    fn take(&mut self, bytes: &[u8], flush: Flush, constants: &[String]) -> anyhow::Result<()> {
        let Showing { trial, style, has_sinks, output, sum, reader_is_gone } = self;
        let _ = trial.take(bytes, flush, |tried| {
            sum.add(&tried);
            if *has_sinks {
                sum.unrouted += tried.records.iter().filter(|record| record.route == 0).count() as u64;
            }
            match style {
                Some(style) => output.extend_from_slice(pretty::tried(&tried, constants, style).as_bytes()),
                None => {
                    // What no sink gets is not sent.
                    for record in tried.records.iter().filter(|record| record.route != 0 || !*has_sinks) {
                        output.extend_from_slice(&record.document);
                        output.push(b'\n');
                    }
                }
            }
            if output.len() >= OUTPUT_BYTES {
                *reader_is_gone = !written(output);
            }
            if *reader_is_gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(())
    }

    fn write(&mut self) {
        if !self.reader_is_gone && !self.output.is_empty() {
            self.reader_is_gone = !written(&mut self.output);
        }
    }
}

/// Writes to standard output; false where nobody takes it.
fn written(output: &mut Vec<u8>) -> bool {
    let mut out = io::stdout().lock();
    let written = out.write_all(output).and_then(|()| out.flush()).is_ok();
    output.clear();
    written
}

/// What came, in figures.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    lines: u64,
    records: u64,
    /// Records that no sink gets.
    unrouted: u64,
    /// Lines by what they were taken for.
    formats: BTreeMap<String, u64>,
    /// Lines of which nothing was recognised, by reason.
    whole: BTreeMap<Format, u64>,
    /// Lines that were left out, by rule.
    left_out: BTreeMap<String, u64>,
    redacted: BTreeMap<String, u64>,
}

impl Sum {
    fn add(&mut self, tried: &Tried) {
        let lines = (tried.lines.1 + 1).saturating_sub(tried.lines.0);
        self.lines += lines;
        self.records += tried.records.len() as u64;
        let formats = tried.seen.formats();
        let words: Vec<&str> = formats.iter().map(|format| format.word()).collect();
        *self.formats.entry(words.join(" + ")).or_default() += lines;
        if let Some(reason) = formats.iter().find(|format| !format.is_recognised()) {
            *self.whole.entry(*reason).or_default() += lines;
        }
        if tried.seen.outcome != Outcome::Recorded {
            *self.left_out.entry(left_out(tried.seen.outcome)).or_default() += lines;
        }
        for (kind, count) in &tried.redacted {
            *self.redacted.entry(kind.clone()).or_default() += count;
        }
    }

    fn text(&self) -> String {
        let listed = |counts: &BTreeMap<String, u64>| {
            let counts: Vec<(String, u64)> = counts.iter().map(|(name, count)| (name.clone(), *count)).collect();
            kinds(&counts)
        };
        let mut out = format!("{}, {}\n", counted(self.lines, "line"), counted(self.records, "record"));
        if self.lines > 0 {
            out.push_str(&format!("lines by format: {}\n", listed(&self.formats)));
        }
        if self.unrouted > 0 {
            out.push_str(&format!("{} for no sink\n", counted(self.unrouted, "record")));
        }
        for (reason, lines) in &self.whole {
            out.push_str(&format!("kept whole: {lines} ({}: {})\n", reason.word(), reason.layout()));
        }
        for (rule, lines) in &self.left_out {
            out.push_str(&format!("no record: {lines} ({rule})\n"));
        }
        if !self.redacted.is_empty() {
            out.push_str(&format!("redacted: {}\n", listed(&self.redacted)));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::Seen;

    #[test]
    fn a_sum_counts_lines_by_what_they_were_taken_for() {
        let seen = Seen::of(&[Format::Cri, Format::Plain], Outcome::Recorded);
        let with = |lines, seen, redacted| Tried { lines, seen, redacted, records: Vec::new() };
        let mut sum = Sum::default();
        sum.add(&with(
            (1, 3),
            Seen::of(&[Format::PythonDashed, Format::Traceback], Outcome::Recorded),
            vec![("jwt".to_owned(), 2)],
        ));
        sum.add(&with((4, 4), seen, vec![("jwt".to_owned(), 1)]));
        sum.add(&with((5, 5), Seen::of(&[Format::Json], Outcome::Dropped { rule: 0 }), Vec::new()));
        assert_eq!(
            sum.text(),
            "5 lines, 0 records\nlines by format: cri + plain 1, json 1, python + traceback 3\n\
             kept whole: 1 (plain: no format fits: the line is its own message)\n\
             no record: 1 (dropped by record.drop[0])\nredacted: jwt 3\n"
        );
    }
}
