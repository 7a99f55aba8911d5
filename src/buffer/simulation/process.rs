//! One life of a process on the simulated disk: writer, syncer, sources and sinks, a step at a time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::disk::SimDisk;
use super::model::{LASTING, Model, SINKS, Standing};
use super::{Dice, Violation};
use crate::buffer::queue::{Retirement, lock};
use crate::buffer::recovery::{Sizes, recover};
use crate::buffer::storage::is_full;
use crate::buffer::sync::{Tail, sync_appended};
use crate::buffer::writer::{self, Writer};
use crate::buffer::{Appender, CursorFile, CursorState, LogPosition, OpenError, Options, Reader, Setup, WhenFull};

/// So small that many are begun.
const SEGMENT_BYTES: u64 = 6 * 1024;
/// Never full by what the sinks leave: that would need a thread that waits.
const MAX_BYTES: u64 = 1 << 40;
/// Live origins at a time.
const ORIGINS_MAX: usize = 6;

struct Sink {
    reader: Reader,
    file: CursorFile,
    state: CursorState,
    memory: Vec<u8>,
}

pub struct Process {
    writer: Writer,
    tail: Arc<Tail>,
    appender: Appender,
    sinks: Vec<Sink>,
    written: u64,
}

impl Process {
    /// Opens the log and checks what it gives back; `None` where the disk fails.
    pub fn start(disk: &SimDisk, model: &mut Model) -> Result<Option<Process>, Violation> {
        let setup = Setup {
            dir: "/buffer".into(),
            cursor_dir: "/cursors".into(),
            options: Options { max_bytes: MAX_BYTES, when_full: WhenFull::Block, sync: Duration::ZERO },
            sinks: SINKS.iter().map(|name| (*name).to_owned()).collect(),
        };
        let sizes = Sizes { segment_bytes: SEGMENT_BYTES, room_poll: Duration::ZERO };
        let opened = match recover(&setup, Arc::new(disk.clone()), sizes) {
            Ok(opened) => opened,
            Err(OpenError::Io { .. }) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        if opened.recovered.damaged_bytes > 0 || !disk.files(Path::new("/buffer/quarantine")).is_empty() {
            return Err("whole bytes were taken for damaged ones".to_owned());
        }
        model.recovered(&opened.recovered.origins, &opened.start.retired)?;
        for (sink, (_, state)) in opened.cursors.iter().enumerate() {
            model.cursor_recovered(sink, state)?;
        }
        let appender = Appender { shared: Arc::clone(&opened.start.shared) };
        let Ok((writer, tail)) = writer::begin(opened.start) else { return Ok(None) };
        let sinks = opened.readers.into_iter().zip(opened.cursors);
        let sinks = sinks.map(|(reader, (file, state))| Sink { reader, file, state, memory: Vec::new() }).collect();
        Ok(Some(Process { writer, tail, appender, sinks, written: 0 }))
    }

    /// Number of the segment that is written.
    pub fn segment(&self) -> u64 {
        self.appender.shared.progress.borrow().appended.segment
    }

    /// One step of somebody. False where the process ends by a fault of the disk.
    pub fn step(&mut self, model: &mut Model, dice: &mut Dice) -> Result<bool, Violation> {
        match dice.roll(12) {
            0..=3 => {
                self.append(model, dice);
                Ok(true)
            }
            4 | 5 => self.write(model),
            6 | 7 => self.sync(model),
            8 | 9 => self.read(dice.roll(SINKS.len() as u64) as usize, model, dice),
            10 => self.sync_cursor(dice.roll(SINKS.len() as u64) as usize, model),
            _ => {
                self.retire(model);
                Ok(true)
            }
        }
    }

    fn append(&mut self, model: &mut Model, dice: &mut Dice) {
        if model.origins.is_empty() {
            model.new_origin();
        }
        let open: Vec<usize> = (0..model.origins.len()).filter(|&n| !model.origins[n].ended()).collect();
        let n = match dice.roll(open.len() as u64 + 1) as usize {
            new if new == open.len() && open.len() < ORIGINS_MAX => model.new_origin(),
            known => open[known % open.len()],
        };
        let routes: Vec<u32> = (0..dice.roll(6)).map(|_| dice.roll(4) as u32).collect();
        let ended = n != LASTING && dice.roll(5) == 0;
        let section = model.append(n, &routes, dice.roll(900) as usize, ended, Vec::new());
        // Closed: the process is about to end.
        let _ = self.appender.append_blocking(section);
    }

    fn write(&mut self, model: &mut Model) -> Result<bool, Violation> {
        if !model.waits() {
            return Ok(true);
        }
        let alive = self.writer.step().is_ok();
        let (written, end) = {
            let progress = self.appender.shared.progress.borrow();
            (progress.written, progress.appended)
        };
        model.written((written - self.written) as usize, end);
        self.written = written;
        self.note_synced(model);
        Ok(alive && self.is_alive())
    }

    fn is_alive(&self) -> bool {
        self.appender.shared.fatal.borrow().is_none()
    }

    fn note_synced(&self, model: &mut Model) {
        let synced = self.appender.shared.progress.borrow().synced;
        model.synced(synced);
    }

    fn sync(&mut self, model: &mut Model) -> Result<bool, Violation> {
        let alive = sync_appended(&self.appender.shared, &self.tail).is_ok();
        self.note_synced(model);
        Ok(alive)
    }

    /// A sink reads a frame, takes or refuses its records, and moves its cursor over them.
    fn read(&mut self, n: usize, model: &mut Model, dice: &mut Dice) -> Result<bool, Violation> {
        let sink = &mut self.sinks[n];
        let mut frame = match sink.reader.try_next(std::mem::take(&mut sink.memory)) {
            Ok(Ok(frame)) => frame,
            Ok(Err(memory)) => {
                sink.memory = memory;
                return Ok(true);
            }
            // It is read again later.
            Err(_) => return Ok(true),
        };
        let stop = dice.roll(8);
        let mut count = 0;
        let mut refused = false;
        while let Some(record) = frame.next_record() {
            let (id, next) = (record.origin.id, record.next);
            let taken = model.given(n, id, record.seq, record.members)?;
            if !taken {
                *sink.state.dead_lettered.entry(id).or_default() += 1;
                refused = true;
            }
            sink.state.cursor = next;
            count += 1;
            if count == stop && !sink.advance(n, model, std::mem::take(&mut refused)) {
                return Ok(false);
            }
        }
        sink.state.cursor = frame.after();
        sink.memory = frame.into_bytes();
        if sink.reader.damaged_bytes() > 0 {
            return Err(format!("{} found damage where there is none", SINKS[n]));
        }
        Ok(sink.advance(n, model, refused))
    }

    fn sync_cursor(&mut self, n: usize, model: &mut Model) -> Result<bool, Violation> {
        let alive = self.sinks[n].file.sync().is_ok();
        if alive {
            model.cursor_synced(n);
        }
        Ok(alive)
    }

    /// What has ended and was passed by all retires with a section of the lasting origin, as with a manifest record.
    fn retire(&mut self, model: &mut Model) {
        let lowest = lock(&self.appender.shared.cursors).iter().min().copied().unwrap_or_default();
        let origins = model.may_retire(lowest);
        if origins.is_empty() {
            return;
        }
        let letters = |n: usize| -> Vec<u64> {
            let id = model.origins[n].info.id;
            self.sinks.iter().map(|sink| sink.state.dead_lettered.get(&id).copied().unwrap_or(0)).collect()
        };
        let retire: Vec<(usize, Vec<u64>)> = origins.into_iter().map(|n| (n, letters(n))).collect();
        let retirements: Vec<Retirement> = retire
            .iter()
            .map(|(n, dead_lettered)| Retirement {
                origin: model.origins[*n].info.id,
                dead_lettered: dead_lettered.clone(),
                evicted: Vec::new(),
            })
            .collect();
        let section = model.append(LASTING, &[3], 10, false, retire);
        self.appender.queue_retiring(section, retirements);
    }

    /// Ends in order: what is queued is written, what is written synced, cursors too.
    pub fn close(mut self, model: &mut Model) -> Result<(), Violation> {
        while model.waits() {
            if !self.write(model)? {
                return Ok(());
            }
        }
        self.sync(model)?;
        for n in 0..SINKS.len() {
            self.sync_cursor(n, model)?;
        }
        Ok(())
    }

    /// Writes and reads everything.
    pub fn finish(&mut self, model: &mut Model) -> Result<(), Violation> {
        let mut dice = Dice::new(0);
        self.retire(model);
        for _ in 0..2 {
            while model.waits() {
                self.write(model)?;
            }
            self.sync(model)?;
            let end = self.appender.shared.progress.borrow().synced;
            for n in 0..SINKS.len() {
                while self.sinks[n].reader.position() < end {
                    self.read(n, model, &mut dice)?;
                }
                let sink = &mut self.sinks[n];
                sink.state.cursor.at = end;
                sink.state.cursor.record = 0;
                if !sink.advance(n, model, false) {
                    return Err("a cursor cannot be written".to_owned());
                }
            }
            self.retire(model);
        }
        while model.waits() {
            self.write(model)?;
        }
        self.sync(model)?;
        let end: LogPosition = self.appender.shared.progress.borrow().synced;
        for n in 0..SINKS.len() {
            while self.sinks[n].reader.position() < end {
                self.read(n, model, &mut dice)?;
            }
        }
        Ok(())
    }

    pub fn standing(&self) -> Standing<'_> {
        Standing {
            retired: self.writer.retired(),
            dead_lettered: self.sinks.iter().map(|sink| sink.state.dead_lettered.clone()).collect(),
        }
    }
}

impl Sink {
    /// Writes the cursor as the ledger of a sink does; `refused`: dead letters are among what it passes.
    fn advance(&mut self, n: usize, model: &mut Model, refused: bool) -> bool {
        let written = self.file.write(&self.state);
        model.cursor_written(n, &self.state, written.is_ok());
        match &written {
            // Written later, with what comes then.
            Err(error) if is_full(error) => {}
            Err(_) => return false,
            Ok(()) => {}
        }
        if refused {
            if self.file.sync().is_err() {
                return false;
            }
            model.cursor_synced(n);
        }
        self.reader.acknowledge(self.state.cursor.at);
        true
    }
}
