//! What every file of the thread shares: the way to the buffer, the columns, the ids, the read buffer.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::discover::Discovery;
use super::identity;
use super::options::{Options, StartAt};
use super::position::Descriptor;
use super::stats::{SourceStats, Stats};
use crate::buffer::section::{OriginInfo, Records, Section};
use crate::buffer::{Appender, Closed};
use crate::ingest;
use crate::record::{Constants, Counters, OriginId};
use crate::source::RunColumns;

/// Draws the id of a new origin.
pub type Draw = Box<dyn FnMut() -> io::Result<OriginId> + Send>;

/// One source, as its files need it.
pub(super) struct Source {
    pub name: Arc<str>,
    pub start_at: StartAt,
    pub ignore_older: Option<std::time::Duration>,
    pub ingest: Arc<ingest::Options>,
}

pub(super) struct Desk {
    pub sources: Vec<Source>,
    pub discovery: Discovery,
    pub appender: Appender,
    pub stats: Arc<Stats>,
    /// Which boot of the machine this is.
    pub boot: u64,
    /// Read buffer, kept from read to read.
    pub scratch: Vec<u8>,
    run: RunColumns,
    draw: Draw,
}

/// An open file that is counted.
pub(super) struct Handle {
    file: File,
    stats: Arc<Stats>,
}

impl Deref for Handle {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stats.open_files.subtract(1);
    }
}

impl Desk {
    pub fn new(options: Vec<Options>, discovery: Discovery, run: RunColumns, appender: Appender, draw: Draw) -> Self {
        let figures = |source: &Options| SourceStats { name: Arc::clone(&source.name), ..SourceStats::default() };
        let stats = Stats { sources: options.iter().map(figures).collect(), ..Stats::default() };
        let sources = options
            .into_iter()
            .map(|source| Source {
                name: source.name,
                start_at: source.start_at,
                ignore_older: source.ignore_older,
                ingest: Arc::new(source.ingest),
            })
            .collect();
        Desk {
            sources,
            discovery,
            appender,
            stats: Arc::new(stats),
            boot: identity::boot(),
            scratch: Vec::new(),
            run,
            draw,
        }
    }

    /// Opens a file, counted in the figures.
    pub fn open(&self, path: &Path) -> io::Result<Handle> {
        let file = identity::open(path)?;
        self.stats.open_files.add(1);
        Ok(Handle { file, stats: Arc::clone(&self.stats) })
    }

    /// Draws a new origin for a file that a source discovered at this path.
    pub fn new_origin(&mut self, source: usize, discovered: &Path) -> io::Result<(Arc<OriginInfo>, Constants)> {
        let id = (self.draw)()?;
        Ok(self.origin(id, source, discovered))
    }

    /// The origin with this id as the configuration of now describes it.
    pub fn origin(&self, id: OriginId, source: usize, discovered: &Path) -> (Arc<OriginInfo>, Constants) {
        let name = self.sources.get(source).map(|source| source.name.to_string()).unwrap_or_default();
        let pair = |name: &str, value: String| (name.to_owned(), value);
        let columns =
            self.discovery.captures(source, discovered).into_iter().chain(self.run.0.iter().cloned()).chain([
                pair("Source", name.clone()),
                pair("FilePath", discovered.to_string_lossy().into_owned()),
                pair("Origin", id.to_string()),
            ]);
        let redactor = self.sources.get(source).map(|source| Arc::clone(&source.ingest.redactor)).unwrap_or_default();
        let constants = redactor.columns(columns);
        let descriptor = Descriptor { source: name, path: PathBuf::from(discovered) }.encode();
        (Arc::new(OriginInfo { id, descriptor, constants: constants.members().to_vec() }), constants)
    }

    /// Appends a section that carries no records: a position, or the end of an origin.
    pub fn append_position(
        &self,
        origin: &Arc<OriginInfo>,
        counters: &Counters,
        offset: u64,
        position: Vec<u8>,
        ended: bool,
    ) -> Result<(), Closed> {
        self.appender.append_blocking(Section {
            origin: Arc::clone(origin),
            position,
            counters: counters.clone(),
            ended,
            first_seq: counters.records + 1,
            base: offset,
            records: Records::default(),
        })
    }
}
