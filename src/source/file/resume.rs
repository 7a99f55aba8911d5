//! Files of the log that are met again, after a restart or after their handle was closed: which of the known origins
//! goes on in which file, and which of them are over.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::desk::Handle;
use super::discover::{Found, search_inode};
use super::engine::Engine;
use super::identity::{Mark, Stat};
use super::position::{Descriptor, Position};
use super::roster::{Remembered, TailId};
use super::tail::{Place, State, Tail};
use crate::buffer::Closed;
use crate::ingest::Ingest;

/// How long a file that the log knows may be missing, together with its folder, before its origin ends: a disk that is
/// mounted late must not make everything on it new.
pub const MISSING_FOLDER_MAX: Duration = Duration::from_secs(600);

/// The same where the folder is there and only the file is not.
pub const MISSING_FILE_MAX: Duration = Duration::from_millis(1500);

impl Engine {
    /// A file that may be one or several of those that the log knows: its contents decide.
    pub fn claim(&mut self, found: &Found, handle: Handle, known: Vec<usize>) -> Result<Option<TailId>, Closed> {
        let mut fits: Option<usize> = None;
        let mut generation = 0;
        for &n in &known {
            let position = &self.roster.remembered[n].position;
            generation = generation.max(position.generation.saturating_add(1));
            let equal = match holds(&handle, found.stat.size, position) {
                Ok(equal) => equal,
                Err(error) => {
                    self.refuse(&found.path, found.stat.size, &error);
                    return Ok(None);
                }
            };
            let rank = |n: usize| {
                let known = &self.roster.remembered[n];
                (known.position.generation, !known.ended, known.position.offset)
            };
            if equal && fits.is_none_or(|best| rank(n) > rank(best)) {
                fits = Some(n);
            }
        }
        // From the back, so that the numbers before stay right.
        let mut resumed = None;
        let mut outlived = Vec::new();
        for n in known.into_iter().rev() {
            let known = &self.roster.remembered[n];
            let certain = known.position.path == found.path
                || (known.position.birth.is_some() && known.position.birth == found.stat.birth);
            if Some(n) == fits {
                resumed = Some(self.roster.remembered.swap_remove(n));
            } else if certain || fits.is_some() {
                outlived.push(self.roster.remembered.swap_remove(n));
            }
        }
        let id = match resumed {
            Some(known) => self.resume(found, Some(handle), known)?,
            None => {
                let mut tail = Tail::new(found, Some(handle));
                tail.generation = generation;
                self.roster.insert(tail)
            }
        };
        self.queue(id);
        for known in outlived {
            self.outlive(known, found.source)?;
        }
        Ok(Some(id))
    }

    /// Goes on where the log says that this file was taken up.
    fn resume(&mut self, found: &Found, handle: Option<Handle>, known: Remembered) -> Result<TailId, Closed> {
        let mut tail = Tail::new(found, handle);
        tail.discovered.clone_from(&known.descriptor.path);
        tail.renamed = found.path != known.descriptor.path;
        tail.resumed = true;
        tail.check = true;
        tail.resume_at(&known.position);
        let (info, constants) = self.desk.origin(known.info.id, found.source, &known.descriptor.path);
        let same_run = run_id(&known.info.constants) == constants.run_id();
        if !known.ended && same_run {
            let info = if *info == *known.info { Arc::clone(&known.info) } else { info };
            if let Some(source) = self.desk.sources.get(found.source) {
                let options = Arc::clone(&source.ingest);
                let offset = known.position.offset;
                let ingest = Ingest::new(options, Arc::clone(&info), constants, offset, known.counters);
                tail.attach(info, ingest);
            }
            return Ok(self.roster.insert(tail));
        }
        if !known.ended {
            tracing::info!(path = %found.path.display(), "file goes on under another RunID, as a new origin");
            let offset = known.position.offset;
            self.desk.append_position(&known.info, &known.counters, offset, known.position.encode(), true)?;
        }
        tail.generation = known.position.generation.saturating_add(1);
        tail.state = State::Done;
        let id = self.roster.insert(tail);
        self.revive(id)?;
        Ok(id)
    }

    /// The inode of this origin holds another generation now: what is left of the origin may be in a copy.
    fn outlive(&mut self, known: Remembered, source: usize) -> Result<(), Closed> {
        if known.ended {
            return Ok(());
        }
        tracing::warn!(path = %known.position.path.display(), "file was truncated or rewritten while logferry was away");
        self.desk.stats.truncations.add(1);
        let stat = Stat {
            key: known.position.key,
            birth: known.position.birth,
            size: known.position.offset,
            modified: 0,
            changed: 0,
            links: 1,
            regular: true,
            folder: false,
        };
        let mut tail = Tail::new(&Found { path: known.position.path.clone(), source, stat }, None);
        tail.discovered.clone_from(&known.descriptor.path);
        tail.resume_at(&known.position);
        let (info, constants) = self.desk.origin(known.info.id, source, &known.descriptor.path);
        let info = if *info == *known.info { Arc::clone(&known.info) } else { info };
        if let Some(options) = self.desk.sources.get(source).map(|source| Arc::clone(&source.ingest)) {
            let ingest = Ingest::new(options, Arc::clone(&info), constants, known.position.offset, known.counters);
            tail.attach(info, ingest);
        }
        tail.state = State::Truncated { since: Instant::now(), unread: 0 };
        let id = self.roster.insert(tail);
        self.find_copy(id)?;
        self.retime(id);
        Ok(())
    }

    /// A file that is not held is no longer where it was. It is searched by its inode, else remembered for a while.
    pub fn lose(&mut self, id: TailId) -> Result<(), Closed> {
        let Some(tail) = self.roster.get(id) else { return Ok(()) };
        let (key, birth) = (tail.key, tail.birth);
        for path in tail.path.parent().map(|folder| search_inode(folder, key.ino)).unwrap_or_default() {
            let Ok((handle, stat)) = self.open(&path) else { continue };
            if !stat.same_file(key, birth) {
                continue;
            }
            if let Some(tail) = self.roster.get_mut(id) {
                tail.handle = Some(handle);
                tail.check = true;
            }
            return self.relocate(id, &path);
        }
        let Some(tail) = self.roster.remove(id) else { return Ok(()) };
        match tail.position(&self.desk) {
            Some((info, counters, position)) => {
                if let Some(descriptor) = Descriptor::decode(&info.descriptor) {
                    let missing_since = Some(Instant::now());
                    let known = Remembered { info, descriptor, position, counters, ended: false, missing_since };
                    self.roster.remembered.push(known);
                }
            }
            None if tail.state == State::Fresh && tail.size > 0 => self.missed(&tail.path),
            None => {}
        }
        Ok(())
    }

    /// Origins of the log that were not met: searched under other names, ended when they stay away.
    pub fn search_missing(&mut self) -> Result<(), Closed> {
        let mut n = 0;
        while n < self.roster.remembered.len() {
            if self.search_one(n)? {
                continue;
            }
            n += 1;
        }
        Ok(())
    }

    /// True where the n-th remembered origin was found or given up and another one stands in its place.
    fn search_one(&mut self, n: usize) -> Result<bool, Closed> {
        let Some(known) = self.roster.remembered.get_mut(n) else { return Ok(false) };
        let Some(source) = self.desk.sources.iter().position(|source| *source.name == *known.descriptor.source) else {
            return Ok(false);
        };
        let since = *known.missing_since.get_or_insert_with(Instant::now);
        // A file that the patterns left out since then is neither read nor given up.
        if known.ended || self.desk.discovery.source_of(&known.descriptor.path) != Some(source) {
            return Ok(false);
        }
        let Some(folder) = known.position.path.parent().map(Path::to_path_buf) else { return Ok(false) };
        let known = &self.roster.remembered[n];
        for path in search_inode(&folder, known.position.key.ino) {
            let (handle, stat) = match self.open(&path) {
                Ok(opened) => opened,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                // It may be there, only not for us: that is no reason to give it up.
                Err(_) => return Ok(false),
            };
            if !known.may_be(&stat, self.desk.boot) || self.roster.at_key(stat.key).is_some() {
                continue;
            }
            if holds(&handle, stat.size, &known.position).unwrap_or(false) {
                let known = self.roster.remembered.swap_remove(n);
                let found = Found { path, source, stat };
                let wanted = self.desk.discovery.source_of(&found.path).is_some();
                let id = self.resume(&found, Some(handle), known)?;
                if let Some(tail) = self.roster.get_mut(id)
                    && !wanted
                {
                    tail.place = Place::Away { since: Instant::now() };
                }
                self.queue(id);
                self.retime(id);
                return Ok(true);
            }
            if known.position.birth.is_some() {
                // It is that file, with other contents: truncated, and then renamed.
                let discovered = known.descriptor.path.clone();
                let wanted = self.desk.discovery.source_of(&path).is_some();
                let id = self.claim(&Found { path, source, stat }, handle, vec![n])?;
                if let Some(tail) = id.and_then(|id| self.roster.get_mut(id))
                    && !wanted
                {
                    tail.discovered = discovered;
                    tail.place = Place::Away { since: Instant::now() };
                }
                return Ok(id.is_some());
            }
        }
        let limit = if folder.is_dir() { MISSING_FILE_MAX } else { MISSING_FOLDER_MAX };
        if since.elapsed() < limit || !self.desk.appender.files_may_read() {
            return Ok(false);
        }
        let known = self.roster.remembered.swap_remove(n);
        tracing::warn!(
            path = %known.position.path.display(), offset = known.position.offset,
            "file is gone; what was written to it after this offset is not known"
        );
        let offset = known.position.offset;
        self.desk.append_position(&known.info, &known.counters, offset, known.position.encode(), true)?;
        Ok(true)
    }
}

/// Whether a file holds, up to the position, what it held when that was written.
fn holds(handle: &Handle, size: u64, position: &Position) -> io::Result<bool> {
    Ok(size >= position.offset
        && Mark::read(handle, 0, position.head.len)? == Some(position.head)
        && Mark::read_before(handle, position.offset)? == Some(position.before))
}

/// RunID out of the stored members of an origin's constants; empty where there is none.
fn run_id(members: &[u8]) -> String {
    let object = [b"{", members, b"}"].concat();
    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&object)
        .ok()
        .and_then(|columns| columns.get("RunID").and_then(serde_json::Value::as_str).map(str::to_owned))
        .unwrap_or_default()
}
