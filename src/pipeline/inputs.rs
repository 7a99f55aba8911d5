//! Inputs that are read once to their end: standard input and compressed files. Each on a thread of its own; a stop ends
//! them early.

use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Gone;
use crate::buffer::{self, Appender};
use crate::ingest;
use crate::record::OriginId;
use crate::source::file::{self, archive};
use crate::source::{RunColumns, stdin};

/// What is being read.
#[derive(Default)]
pub(super) struct Inputs {
    stdin: Option<oneshot::Receiver<Result<stdin::End, stdin::Error>>>,
    archives: Option<oneshot::Receiver<Result<archive::Outcome, buffer::Closed>>>,
    stops: Stops,
}

/// Ends the reading of every input; clones mean the same inputs.
#[derive(Clone, Default)]
pub(super) struct Stops {
    stdin: stdin::Stop,
    archives: archive::Stop,
}

impl Stops {
    pub fn set(&self) {
        self.stdin.set();
        self.archives.set();
    }
}

/// How reading went.
#[derive(Default)]
pub(super) struct Ends {
    /// A stop came before the end.
    pub cut: bool,
    /// Standard input broke off for this reason.
    pub fault: Option<String>,
    /// What could not be read, or not to its end, and why.
    pub unreadable: Vec<String>,
}

impl Inputs {
    pub fn stops(&self) -> Stops {
        self.stops.clone()
    }

    /// Starts to read standard input.
    pub fn start_stdin(
        &mut self,
        (name, options): (String, Arc<ingest::Options>),
        run: RunColumns,
        appender: Appender,
    ) -> io::Result<()> {
        let (done, ended) = oneshot::channel();
        let stop = self.stops.stdin.clone();
        let thread = std::thread::Builder::new().name("stdin".to_owned());
        thread.spawn(move || {
            // The other end is gone when nobody waits any more.
            let _ = done.send(stdin::follow(io::stdin(), &name, options, &run, &appender, &stop));
        })?;
        self.stdin = Some(ended);
        Ok(())
    }

    /// Starts to read compressed files; gives back the sources, which now leave them out.
    pub fn start_archives(&mut self, setup: archive::Setup) -> io::Result<Vec<file::Options>> {
        let mut files = setup.sources.clone();
        let archives = archive::Archives::find(setup, Box::new(OriginId::random))?;
        let patterns = archives.patterns();
        if patterns.is_empty() {
            return Ok(files);
        }
        for source in &mut files {
            source.exclude.extend(patterns.iter().cloned());
        }
        let (done, ended) = oneshot::channel();
        let stop = self.stops.archives.clone();
        let thread = std::thread::Builder::new().name("archives".to_owned());
        thread.spawn(move || {
            let _ = done.send(archives.read(&stop));
        })?;
        self.archives = Some(ended);
        Ok(files)
    }

    /// Waits for the end of each; `None` where there is none.
    pub async fn ends(self) -> Result<Option<Ends>, Gone> {
        if self.stdin.is_none() && self.archives.is_none() {
            return Ok(None);
        }
        let mut ends = Ends::default();
        if let Some(archives) = self.archives {
            let outcome = archives.await.map_err(|_| Gone)?.map_err(|buffer::Closed| Gone)?;
            ends.cut = outcome.cut;
            ends.unreadable = outcome.faults;
        }
        if let Some(stdin) = self.stdin {
            match stdin.await.map_err(|_| Gone)? {
                Ok(stdin::End::Whole) => {}
                Ok(stdin::End::Cut) => ends.cut = true,
                Ok(stdin::End::Unreadable) => {
                    let said = "standard input is in UTF-16: convert it (iconv -f UTF-16 -t UTF-8)";
                    ends.unreadable.push(said.to_owned());
                }
                Err(error) => ends.fault = Some(error.to_string()),
            }
        }
        Ok(Some(ends))
    }
}

/// Files that the source of files does not read, though they were to be read to their end.
pub(super) fn left_alone(stats: &file::Stats, which: archive::Which) -> Vec<String> {
    let mut lines: Vec<String> = utf_16(stats).into_iter().collect();
    let compressed = stats.compressed_files.get();
    if compressed > 0 && which == archive::Which::All {
        lines.push(format!("{compressed} files are compressed, but not by gzip: decompress them first"));
    }
    lines
}

/// Files in UTF-16, in words.
pub(super) fn utf_16(stats: &file::Stats) -> Option<String> {
    let files = stats.utf16_files.get();
    (files > 0).then(|| format!("{files} files are in UTF-16: convert them (iconv -f UTF-16 -t UTF-8)"))
}
