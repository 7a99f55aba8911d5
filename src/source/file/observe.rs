//! Which files there are now, and which of those already known they are: found, renamed, gone, met again after a
//! restart. Reads no lines.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::desk::Handle;
use super::discover::Found;
use super::engine::Engine;
use super::identity::{Stat, path_of, same_birth};
use super::options::StartAt;
use super::roster::TailId;
use super::tail::{Condition, Place, State, Tail};
use super::wake::Hint;
use crate::buffer::Closed;
use crate::record::time;

/// A file whose lines have not grown for this long gives back its memory.
const REST_AFTER: Duration = Duration::from_secs(5);

/// Share of the handles, as a divisor, that is given back at once when no more may be held.
const HANDLES_SPARED: usize = 8;

impl Engine {
    /// Walks over everything and takes in what has changed.
    pub fn survey(&mut self) -> Result<(), Closed> {
        let survey = self.desk.discovery.survey();
        if self.watch.follow(&survey.folders) {
            // What appeared between the walk and the watch gave no hint.
            self.survey_again = true;
        }
        for (path, error) in &survey.troubles {
            self.refuse(path, 0, error);
        }
        let mut seen = HashSet::with_capacity(survey.files.len());
        let mut others = Vec::new();
        // First those that are where they were, so that a second name of a file is not taken for a new one.
        for found in survey.files {
            match self.roster.at_key(found.stat.key) {
                Some(id) if self.roster.get(id).is_some_and(|tail| tail.is_at(&found.path)) => {
                    seen.insert(id);
                    self.meet_again(id, &found)?;
                }
                _ => others.push(found),
            }
        }
        for found in others {
            if let Some(id) = self.observe(&found)? {
                seen.insert(id);
            }
        }
        for id in self.roster.ids() {
            if !seen.contains(&id) {
                self.look_for(id)?;
            }
        }
        self.search_missing()?;
        if self.starting {
            self.find_rotated_generations()?;
        }
        self.forget_refused();
        self.starting = false;
        self.count();
        Ok(())
    }

    /// Follows hints about single paths.
    pub fn heed(&mut self, changed: HashMap<PathBuf, Hint>, renames: &[(PathBuf, PathBuf)]) -> Result<(), Closed> {
        // First what is known finds its new place, so that what is found afterwards is what nobody knew.
        for (path, hint) in &changed {
            if let Some(id) = self.roster.at_path(path) {
                if hint.moved {
                    self.look_for(id)?;
                }
                self.queue(id);
            }
        }
        self.follow_renames(renames)?;
        for (path, mut hint) in changed {
            hint.created &= !renames.iter().any(|(from, _)| *from == path);
            if hint.moved || self.roster.at_path(&path).is_none() {
                self.observe_path(&path, hint)?;
            }
        }
        Ok(())
    }

    fn observe_path(&mut self, path: &Path, hint: Hint) -> Result<(), Closed> {
        match self.desk.discovery.look(path) {
            Ok(Some(found)) => {
                self.observe(&found)?;
            }
            Ok(None) => {
                if hint.moved && Stat::of(path).is_ok_and(|stat| stat.folder) {
                    self.survey_soon();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if hint.created && self.roster.at_path(path).is_none() {
                    self.missed(path);
                }
            }
            Err(error) => self.refuse(path, 0, &error),
        }
        Ok(())
    }

    pub fn missed(&self, path: &Path) {
        self.desk.stats.missed_files.add(1);
        tracing::warn!(path = %path.display(), "file appeared and was gone, or renamed, before it could be opened");
    }

    /// Takes in one file that a source wants; gives its tail.
    pub fn observe(&mut self, found: &Found) -> Result<Option<TailId>, Closed> {
        let mut before = None;
        if let Some(other) = self.roster.at_path(&found.path)
            && let Some(tail) = self.roster.get(other)
            && tail.key != found.stat.key
        {
            before = tail.birth;
            self.look_for(other)?;
        }
        if let Some(id) = self.roster.at_key(found.stat.key) {
            let reused = self
                .roster
                .get(id)
                .is_some_and(|tail| tail.handle.is_none() && !same_birth(tail.birth, found.stat.birth));
            if !reused {
                self.meet_again(id, found)?;
                return Ok(Some(id));
            }
            self.lose(id)?;
        }
        let admitted = self.admit(found)?;
        if let (Some(after), Some(birth)) = (before, found.stat.birth) {
            self.take_rotated(&found.path, found.source, (after, birth), None)?;
        }
        Ok(admitted)
    }

    /// A known file was seen under a name that a source wants.
    fn meet_again(&mut self, id: TailId, found: &Found) -> Result<(), Closed> {
        let Some(tail) = self.roster.get(id) else { return Ok(()) };
        if !tail.is_at(&found.path) {
            let still_there = tail.place == Place::Here
                && Stat::of(&tail.path).is_ok_and(|stat| stat.key == tail.key)
                && self.desk.discovery.source_of(&tail.path).is_some();
            if still_there {
                return Ok(());
            }
            tracing::debug!(from = %tail.path.display(), to = %found.path.display(), "file was renamed");
            self.roster.move_to(id, &found.path);
            if let Some(tail) = self.roster.get_mut(id) {
                tail.renamed = true;
                tail.commit(&self.desk)?;
                if !tail.has_origin() {
                    self.unread_moved.insert(id);
                }
            }
        }
        let Some(tail) = self.roster.get_mut(id) else { return Ok(()) };
        tail.place = Place::Here;
        if tail.state == State::Done {
            self.revive(id)?;
        }
        let Some(tail) = self.roster.get_mut(id) else { return Ok(()) };
        let differs = found.stat.size != tail.size || !tail.at_end() || tail.is_stale(&found.stat);
        if differs || tail.trouble || matches!(tail.state, State::Held { .. }) {
            tail.check = true;
            self.queue(id);
        } else if tail.grown.elapsed() >= REST_AFTER {
            tail.rest();
        }
        self.retime(id);
        Ok(())
    }

    /// An origin has ended, but its file is wanted: a new origin goes on where it ended, known to the log at once.
    pub fn revive(&mut self, id: TailId) -> Result<(), Closed> {
        let Some(tail) = self.roster.get_mut(id) else { return Ok(()) };
        match tail.begin_stream(&mut self.desk) {
            Ok(()) => {
                tail.state = State::Live;
                tail.commit(&self.desk)?;
            }
            Err(error) => self.trouble(id, &error),
        }
        Ok(())
    }

    /// A file that no tail holds: met again, or new.
    fn admit(&mut self, found: &Found) -> Result<Option<TailId>, Closed> {
        let known: Vec<usize> = (0..self.roster.remembered.len())
            .filter(|&n| self.roster.remembered[n].may_be(&found.stat, self.desk.boot))
            .collect();
        let from_end = self.starting
            && self.untouched.get(found.source).copied().unwrap_or(false)
            && self.desk.sources.get(found.source).is_some_and(|source| source.start_at == StartAt::End);
        if known.is_empty() && !from_end && self.is_too_old(found) {
            return Ok(None);
        }
        self.make_room();
        let (handle, stat) = match self.open(&found.path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.missed(&found.path);
                return Ok(None);
            }
            Err(error) => {
                self.refuse(&found.path, found.stat.size, &error);
                return Ok(None);
            }
        };
        if !stat.regular || stat.key != found.stat.key {
            // Something else took its place meanwhile: the next look finds it.
            self.survey_soon();
            return Ok(None);
        }
        self.refused.remove(&found.path);
        let found = Found { stat, ..found.clone() };
        if !known.is_empty() {
            return self.claim(&found, handle, known);
        }
        let mut tail = Tail::new(&found, Some(handle));
        if from_end {
            if let Err(error) = tail.skip_to_end().and_then(|()| tail.begin_stream(&mut self.desk)) {
                self.refuse(&found.path, found.stat.size, &error);
                return Ok(None);
            }
            tail.state = State::Live;
            tail.commit(&self.desk)?;
        }
        tracing::debug!(path = %found.path.display(), size = found.stat.size, from_end, "file found");
        let id = self.roster.insert(tail);
        self.queue(id);
        Ok(Some(id))
    }

    pub fn open(&self, path: &Path) -> io::Result<(Handle, Stat)> {
        let handle = self.desk.open(path)?;
        let stat = Stat::of_file(&handle)?;
        Ok((handle, stat))
    }

    pub fn is_too_old(&self, found: &Found) -> bool {
        let limit = self.desk.sources.get(found.source).and_then(|source| source.ignore_older);
        limit.is_some_and(|limit| {
            let age = time::now().saturating_sub(found.stat.modified);
            u128::try_from(age).is_ok_and(|age| age > limit.as_nanos())
        })
    }

    /// A known file was not seen where it was: finds out where it is now.
    fn look_for(&mut self, id: TailId) -> Result<(), Closed> {
        let Some(tail) = self.roster.get_mut(id) else { return Ok(()) };
        if matches!(tail.state, State::Truncated { .. }) {
            return Ok(());
        }
        match Stat::of(&tail.path) {
            Ok(stat) if stat.same_file(tail.key, tail.birth) => {
                // Away, or wanted no longer, or missed by the walk: it is where it was.
                if tail.state == State::Done && stat.size > tail.read_to() || tail.state != State::Done {
                    tail.check |= tail.is_stale(&stat);
                    self.queue(id);
                }
                return Ok(());
            }
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(());
            }
            _ => {}
        }
        let Some(handle) = &tail.handle else { return self.lose(id) };
        let Ok(stat) = Stat::of_file(handle) else { return Ok(()) };
        let now = path_of(handle);
        self.queue(id);
        if stat.links == 0 {
            if let Some(tail) = self.roster.get_mut(id)
                && !matches!(tail.place, Place::Deleted { .. })
            {
                tail.place = Place::Deleted { since: Instant::now() };
            }
        } else if let Some(path) = now {
            self.relocate(id, &path)?;
        }
        self.retime(id);
        Ok(())
    }

    /// The file of a tail is at this path now.
    pub fn relocate(&mut self, id: TailId, path: &Path) -> Result<(), Closed> {
        let wanted = self.desk.discovery.source_of(path).is_some();
        if self.roster.get(id).is_some_and(|tail| tail.is_at(path)) {
            return Ok(());
        }
        self.roster.move_to(id, path);
        let Some(tail) = self.roster.get_mut(id) else { return Ok(()) };
        tracing::debug!(path = %path.display(), wanted, "file was renamed");
        tail.renamed = true;
        tail.place = match tail.place {
            _ if wanted => Place::Here,
            Place::Away { since } => Place::Away { since },
            _ => Place::Away { since: Instant::now() },
        };
        if !tail.has_origin() {
            self.unread_moved.insert(id);
        }
        tail.commit(&self.desk)
    }

    /// Sees to it that a tail has its file open. False where it has not; then there is nothing to read from it now.
    pub fn hold(&mut self, id: TailId) -> Result<bool, Closed> {
        let Some(tail) = self.roster.get(id) else { return Ok(false) };
        if tail.handle.is_some() {
            return Ok(true);
        }
        let path = tail.path.clone();
        self.make_room();
        match self.open(&path) {
            Ok((handle, stat)) => {
                let Some(tail) = self.roster.get_mut(id) else { return Ok(false) };
                if stat.same_file(tail.key, tail.birth) {
                    tail.handle = Some(handle);
                    tail.check = true;
                    return Ok(true);
                }
                self.lose(id)?;
                self.survey_soon();
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.lose(id)?,
            Err(error) => self.trouble(id, &error),
        }
        Ok(self.roster.get(id).is_some_and(|tail| tail.handle.is_some()))
    }

    /// Closes handles that can be spared where no more may be held.
    pub fn make_room(&mut self) {
        if self.desk.stats.open_files.get() < self.handles_max as u64 {
            return;
        }
        let spared = (self.handles_max / HANDLES_SPARED).max(1);
        for id in self.roster.spare_handles().into_iter().take(spared) {
            if let Some(tail) = self.roster.get_mut(id) {
                tail.rest();
                tail.handle = None;
            }
        }
    }

    /// A path that cannot be looked at or opened: said once.
    pub fn refuse(&mut self, path: &Path, size: u64, error: &io::Error) {
        if self.refused.insert(path.to_path_buf(), size).is_none() {
            tracing::warn!(path = %path.display(), %error, "cannot be read, it is tried again at each poll");
        }
    }

    /// What is gone is not refused any more.
    fn forget_refused(&mut self) {
        self.refused.retain(|path, _| {
            path.symlink_metadata().is_ok_and(|metadata| !metadata.is_dir() || std::fs::read_dir(path).is_err())
        });
    }

    fn count(&self) {
        // What gzip makes of a file while that is read holds nothing else.
        let is_gzip = |path: &Path| path.extension().is_some_and(|extension| extension == "gz");
        let skipped = self.roster.iter().filter(|(_, tail)| tail.state == State::Skipped);
        let compressed = skipped.filter(|(_, tail)| !is_gzip(&tail.path)).count();
        self.desk.stats.compressed_files.set(compressed as u64);
        for (n, figures) in self.desk.stats.sources.iter().enumerate() {
            let (mut files, mut lag, mut unreadable) = (0, 0, 0);
            for (_, tail) in self.roster.iter().filter(|(_, tail)| tail.source == n) {
                files += 1;
                lag += tail.size.saturating_sub(tail.taken());
                unreadable += u64::from(tail.trouble);
            }
            unreadable +=
                self.refused.keys().filter(|path| self.desk.discovery.source_of(path) == Some(n)).count() as u64;
            figures.files.set(files);
            figures.lag_bytes.set(lag);
            figures.unreadable_files.set(unreadable);
        }
    }

    /// A file that was seen for the first time, or grew out of nothing: decides whose it is, then reads.
    pub fn begin(&mut self, id: TailId) -> Result<bool, Closed> {
        self.commit_older(id)?;
        let changed = self.roster.get(id).map(|tail| tail.changed);
        if !self.hold(id)? || self.look_at(id) != Some(Condition::Intact) {
            return Ok(false);
        }
        let Some(tail) = self.roster.get_mut(id) else { return Ok(false) };
        let (empty, again) = (tail.size == 0, tail.generation > 0);
        if (empty && changed != Some(tail.changed)) || (!empty && again) {
            // It may have been written to and truncated since the last look.
            let since = tail.since;
            self.find_unread_copy(id, since)?;
        }
        if empty {
            return Ok(false);
        }
        self.judge(id)?;
        match self.roster.get(id).map(|tail| tail.state) {
            Some(State::Live) => self.advance(id),
            _ => Ok(false),
        }
    }
}
