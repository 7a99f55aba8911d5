//! Writes manifests: takes a snapshot of the log, asks each sink where it stands, appends records, keeps the file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::document::{self, EVENT_ORIGIN, EVENT_SUMMARY, OriginFigures, SinkFigures, Summary};
use super::{DESCRIPTOR, SOURCE, owns};
use crate::buffer::section::RecordHeader;
use crate::buffer::{
    Appender, Closed, LiveOrigin, LogPosition, OriginInfo, OriginsWatch, Records, RemovedSink, RetiredSum, Retirement,
    Section, Snapshot,
};
use crate::delivery::{Handle, Standing};
use crate::record::{Constants, Counters, EventId, OriginId, RouteBits, time};

/// A section of manifest records is closed when they have this many bytes.
const SECTION_BYTES: usize = 512 * 1024;

/// What a keeper needs.
#[derive(Debug)]
pub struct Setup {
    pub appender: Appender,
    pub origins: OriginsWatch,
    /// By route bit.
    pub sinks: Vec<Handle>,
    /// Columns of `[run]` with VMName.
    pub run: Vec<(String, String)>,
    /// Where the manifest files are.
    pub dir: PathBuf,
    /// Where damaged parts of the buffer are set aside.
    pub quarantine: PathBuf,
    /// Origins of the log at start: ours are taken out of it by [`owns`].
    pub live: Vec<LiveOrigin>,
}

/// What a manifest is of.
#[derive(Debug, Default)]
pub struct Target {
    /// Origins when the target was set, and the place in the log that they had come to.
    pub snapshot: Snapshot,
    /// Why the target itself is not all, in words.
    pub faults: Vec<String>,
    pub notes: Vec<String>,
}

/// A manifest that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub run_id: String,
    pub complete: bool,
    /// The summary in one sentence.
    pub message: String,
    /// The file, where it could be written.
    pub path: Option<PathBuf>,
}

/// Our own origin of one run.
#[derive(Debug)]
struct Run {
    info: Arc<OriginInfo>,
    counters: Counters,
    incarnation: u64,
}

/// Keeps the manifests of a state folder.
#[derive(Debug)]
pub struct Keeper {
    setup: Setup,
    names: Vec<String>,
    runs: HashMap<String, Run>,
}

impl Keeper {
    pub fn new(mut setup: Setup) -> Self {
        let mut runs = HashMap::new();
        for origin in std::mem::take(&mut setup.live) {
            let Some(run_id) = origin.info.descriptor.strip_prefix(DESCRIPTOR) else { continue };
            let incarnation = origin.position.as_slice().try_into().map(u64::from_le_bytes).unwrap_or(0);
            let run = Run { info: origin.info.clone(), counters: origin.counters, incarnation };
            runs.insert(String::from_utf8_lossy(run_id).into_owned(), run);
        }
        let names = setup.sinks.iter().map(|sink| sink.name.to_string()).collect();
        Keeper { setup, names, runs }
    }

    /// Writes the record of each origin that has ended and that every sink has passed, and retires it.
    ///
    /// # Errors
    /// [`Closed`]: the buffer has stopped.
    pub async fn retire_passed(&mut self) -> Result<(), Closed> {
        if !self.setup.origins.has_ended() {
            return Ok(());
        }
        let snapshot = self.setup.origins.snapshot().await?;
        let passed: BTreeSet<OriginId> = snapshot.passed.iter().copied().collect();
        if passed.is_empty() {
            return Ok(());
        }
        let standings: Vec<Standing> = self.standings(LogPosition::default()).await;
        let mut by_run: BTreeMap<String, Vec<OriginFigures>> = BTreeMap::new();
        for origin in snapshot.live.into_iter().filter(|origin| passed.contains(&origin.info.id)) {
            let figures = figures(origin, &standings);
            by_run.entry(figures.columns.run_id().to_owned()).or_default().push(figures);
        }
        for (run_id, origins) in by_run {
            let incarnation = self.run(&run_id)?.incarnation + 1;
            let mut letter = Letter::default();
            for origin in &origins {
                letter.put(self, &run_id, EVENT_ORIGIN, &origin.message(), &origin.fields(incarnation, &self.names))?;
                let dead_lettered = origin.sinks.iter().map(|sink| sink.dead_lettered).collect();
                let evicted = origin.sinks.iter().map(|sink| sink.evicted).collect();
                letter.retire.push(Retirement { origin: origin.id, dead_lettered, evicted });
                if letter.records.bytes.len() >= SECTION_BYTES {
                    self.append(&run_id, std::mem::take(&mut letter)).await?;
                }
            }
            self.append(&run_id, letter).await?;
        }
        Ok(())
    }

    /// Writes the manifest of every run that the log knows, and of the configured one: the records into the log, the file
    /// into the state folder. What every sink has passed retires.
    ///
    /// # Errors
    /// [`Closed`]: the buffer has stopped.
    pub async fn write(&mut self, target: Target) -> Result<Vec<Written>, Closed> {
        self.retire_passed().await?;
        let standings = self.standings(target.snapshot.at).await;
        // What has retired since the target was set is done with, and stands in the sums.
        let now = self.setup.origins.snapshot().await?;
        let still: BTreeSet<OriginId> = now.live.iter().map(|origin| origin.info.id).collect();
        let mut runs: BTreeMap<String, Vec<OriginFigures>> = BTreeMap::new();
        for sum in &now.retired {
            runs.entry(sum.run_id.clone()).or_default();
        }
        let is_counted = |origin: &LiveOrigin| still.contains(&origin.info.id) && !owns(&origin.info.descriptor);
        for origin in target.snapshot.live.into_iter().filter(is_counted) {
            let figures = figures(origin, &standings);
            runs.entry(figures.columns.run_id().to_owned()).or_default().push(figures);
        }
        // A run of which nothing was read has a manifest too, that says so.
        let configured = self.configured_run().to_owned();
        if !configured.is_empty() || runs.is_empty() {
            runs.entry(configured).or_default();
        }
        let mut faults = target.faults;
        if standings.iter().any(|standing| !standing.counted) {
            faults.push("more records are buffered than could be counted".to_owned());
        }
        if has_entries(&self.setup.quarantine) {
            faults.push("parts of the buffer were damaged on disk, see buffer/quarantine in state.dir".to_owned());
        }
        let mut written = Vec::new();
        for (run_id, origins) in runs {
            let retired = now.retired.iter().find(|sum| sum.run_id == run_id);
            let mut summary = self.summary(&run_id, &origins, retired);
            summary.faults.clone_from(&faults);
            summary.notes.clone_from(&target.notes);
            written.push(self.write_run(summary, origins).await?);
        }
        Ok(written)
    }

    async fn write_run(&mut self, summary: Summary, origins: Vec<OriginFigures>) -> Result<Written, Closed> {
        let run_id = summary.run_id.clone();
        let incarnation = self.run(&run_id)?.incarnation + 1;
        if let Some(run) = self.runs.get_mut(&run_id) {
            run.incarnation = incarnation;
        }
        let mut file = summary.fields(incarnation, &self.names);
        file["time"] = time::rfc3339(time::now()).into();
        let mut listed = Vec::with_capacity(origins.len());
        let mut letter = Letter::default();
        for origin in &origins {
            let fields = origin.fields(incarnation, &self.names);
            letter.put(self, &run_id, EVENT_ORIGIN, &origin.message(), &fields)?;
            listed.push(fields);
            if letter.records.bytes.len() >= SECTION_BYTES {
                self.append(&run_id, std::mem::take(&mut letter)).await?;
            }
        }
        file["origin_records"] = Value::Array(listed);
        let message = summary.message(&self.names);
        letter.put(self, &run_id, EVENT_SUMMARY, &message, &summary.fields(incarnation, &self.names))?;
        self.append(&run_id, letter).await?;
        let (dir, name) = (self.setup.dir.clone(), format!("{}.json", file_name(&run_id)));
        let path = dir.join(&name);
        let kept = tokio::task::spawn_blocking(move || keep(&dir, &name, &file)).await;
        let failed = match kept {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = &failed {
            tracing::warn!(path = %path.display(), error, "the manifest could not be written to the state folder");
        }
        let path = failed.is_none().then_some(path);
        Ok(Written { run_id, complete: summary.is_complete(), message, path })
    }

    fn summary(&self, run_id: &str, origins: &[OriginFigures], retired: Option<&RetiredSum>) -> Summary {
        let vm_name = self.column("VMName").to_owned();
        let mut summary = Summary { run_id: run_id.to_owned(), vm_name, ..Summary::default() };
        summary.sinks.resize(self.names.len(), SinkFigures::default());
        for origin in origins {
            summary.origins += 1;
            summary.add(&origin.counters, &origin.sinks, &origin.removed);
        }
        if let Some(sum) = retired {
            summary.origins += sum.origins;
            summary.retired = sum.origins;
            let of = |counts: &[u64], bit: usize| counts.get(bit).copied().unwrap_or(0);
            let one = |bit| SinkFigures {
                routed: sum.counters.routed_to(bit),
                dead_lettered: of(&sum.dead_lettered, bit),
                evicted: of(&sum.evicted, bit),
                ..SinkFigures::default()
            };
            let sinks: Vec<SinkFigures> = (0..self.names.len()).map(one).collect();
            summary.add(&sum.counters, &sinks, &removed_figures(&sum.removed));
        }
        summary
    }

    async fn standings(&self, target: LogPosition) -> Vec<Standing> {
        let mut standings = Vec::with_capacity(self.setup.sinks.len());
        for sink in &self.setup.sinks {
            standings.push(sink.standing(target).await);
        }
        standings
    }

    fn column(&self, name: &str) -> &str {
        self.setup.run.iter().find(|(column, _)| column == name).map_or("", |(_, value)| value)
    }

    fn configured_run(&self) -> &str {
        self.column("RunID")
    }

    /// Our own origin of a run; made at the first need.
    fn run(&mut self, run_id: &str) -> Result<&Run, Closed> {
        if !self.runs.contains_key(run_id) {
            // Without a source of randomness no origin can be made, and no source can go on either.
            let id = OriginId::random().map_err(|error| {
                tracing::error!(%error, "no manifest can be made without random numbers");
                Closed
            })?;
            let column = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            let constants = Constants::new([
                column("RunID", run_id),
                column("Benchmark", self.column("Benchmark")),
                column("VMName", self.column("VMName")),
                column("Source", SOURCE),
                column("Origin", &id.to_string()),
            ]);
            let descriptor = [DESCRIPTOR, run_id.as_bytes()].concat();
            let info = Arc::new(OriginInfo { id, descriptor, constants: constants.members().to_vec() });
            self.runs.insert(run_id.to_owned(), Run { info, counters: Counters::default(), incarnation: 0 });
        }
        self.runs.get(run_id).ok_or(Closed)
    }

    /// Appends what a letter holds. Its records are counted when the log has taken it.
    async fn append(&mut self, run_id: &str, letter: Letter) -> Result<(), Closed> {
        let Some(run) = self.runs.get_mut(run_id) else { return Err(Closed) };
        let count = u64::from(letter.records.count);
        if count == 0 {
            return Ok(());
        }
        let mut counters = run.counters.clone();
        counters.lines += count;
        counters.recorded_lines += count;
        counters.records += count;
        counters.routed.resize(self.names.len(), 0);
        counters.routed.iter_mut().for_each(|routed| *routed += count);
        let section = Section {
            origin: Arc::clone(&run.info),
            position: run.incarnation.to_le_bytes().to_vec(),
            counters: counters.clone(),
            ended: false,
            first_seq: run.counters.records + 1,
            base: run.counters.records,
            records: letter.records,
        };
        self.setup.appender.append_retiring(section, letter.retire).await?;
        run.counters = counters;
        Ok(())
    }
}

/// Records of one section, on their way.
#[derive(Default)]
struct Letter {
    records: Records,
    retire: Vec<Retirement>,
}

impl Letter {
    fn put(&mut self, keeper: &Keeper, run_id: &str, event: &str, message: &str, fields: &Value) -> Result<(), Closed> {
        let run = keeper.runs.get(run_id).ok_or(Closed)?;
        let begin = run.counters.records + u64::from(self.records.count);
        // One bit for each sink: manifest records pass by every rule.
        let route = (0..keeper.names.len()).fold(0, |bits: RouteBits, bit| bits | 1 << bit);
        let header = RecordHeader {
            time: time::now(),
            event_id: EventId::new(run.info.id, begin, begin + 1, 0),
            begin: self.records.count,
            extent: 1,
            route,
        };
        self.records.push(&header, |out| document::encode(out, event, message, fields));
        Ok(())
    }
}

fn figures(origin: LiveOrigin, standings: &[Standing]) -> OriginFigures {
    let id = origin.info.id;
    let count = |counts: &HashMap<OriginId, u64>| counts.get(&id).copied().unwrap_or(0);
    let sink = |(bit, standing): (usize, &Standing)| {
        let routed = origin.counters.routed_to(bit);
        let (dead_lettered, buffered) = (count(&standing.dead_lettered), count(&standing.buffered));
        // Reading goes on during a drain: records that came behind its target may have been evicted with older ones.
        let evicted = count(&standing.evicted).min(routed.saturating_sub(dead_lettered + buffered));
        SinkFigures { routed, dead_lettered, evicted, abandoned: 0, buffered }
    };
    OriginFigures {
        id,
        columns: Constants::from_members(&origin.info.constants),
        sinks: standings.iter().enumerate().map(sink).collect(),
        removed: removed_figures(&origin.removed),
        ended: origin.ended,
        counters: origin.counters,
    }
}

fn removed_figures(removed: &[RemovedSink]) -> BTreeMap<String, SinkFigures> {
    let one = |sink: &RemovedSink| {
        let RemovedSink { name, routed, dead_lettered, evicted, abandoned } = sink.clone();
        (name, SinkFigures { routed, dead_lettered, evicted, abandoned, buffered: 0 })
    };
    removed.iter().map(one).collect()
}

fn has_entries(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

/// A RunID as the name of a file: what is no letter, digit, `-`, `_` or inner `.` becomes `%` and two digits.
fn file_name(run_id: &str) -> String {
    if run_id.is_empty() {
        return "%".to_owned();
    }
    let mut name = String::new();
    for (at, byte) in run_id.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && at > 0);
        if plain {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    if name.len() > FILE_NAME_MAX_BYTES {
        // Long names keep what tells them apart.
        let hash = crc32c::crc32c(run_id.as_bytes());
        name.truncate(FILE_NAME_MAX_BYTES);
        name.push_str(&format!("%{hash:08X}"));
    }
    name
}

/// Longest RunID in the name of a manifest file, in bytes; file systems take 255 for the whole name.
const FILE_NAME_MAX_BYTES: usize = 200;

/// Writes the file durably in place of the one before.
fn keep(dir: &Path, name: &str, manifest: &Value) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let temporary = dir.join(format!("{name}.new"));
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    let mut text = serde_json::to_vec_pretty(manifest)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(&temporary, dir.join(name))?;
    std::fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_run_id_becomes_a_file_name_of_its_own() {
        let check = |run_id: &str, expected: &str| assert_eq!(file_name(run_id), expected);
        check("42", "42");
        check("a.b-c_d", "a.b-c_d");
        check("", "%");
        check("../etc", "%2E.%2Fetc");
        check("a b", "a%20b");
        let long = |end: &str| file_name(&("x".repeat(300) + end));
        assert_ne!(long("1"), long("2"));
        assert!(long("1").len() < 230);
    }
}
