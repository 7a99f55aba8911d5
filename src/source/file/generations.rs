//! Generations of a wanted file that got another name before anyone looked at them: rotated while logferry was away, or
//! faster than it could look. Their new names need not be wanted by any pattern, so evidence is asked for.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::discover::Found;
use super::engine::Engine;
use super::identity::{MARK_BYTES, Mark, Stat};
use super::roster::TailId;
use super::tail::{Condition, Place, State, Tail};
use crate::buffer::Closed;
use crate::record::Nanos;

impl Engine {
    /// Follows renames whose old name a source wants to files that nobody has seen under it.
    pub fn follow_renames(&mut self, renames: &[(PathBuf, PathBuf)]) -> Result<(), Closed> {
        // The wanted name that the file at a path had before.
        let mut wanted: HashMap<&Path, &Path> = HashMap::new();
        for (from, to) in renames {
            let origin = wanted.remove(from.as_path());
            let origin = if self.desk.discovery.source_of(from).is_some() { Some(from.as_path()) } else { origin };
            match origin {
                Some(origin) => wanted.insert(to, origin),
                None => wanted.remove(to.as_path()),
            };
        }
        for (path, from) in wanted {
            let (None, Some(source)) = (self.desk.discovery.source_of(path), self.desk.discovery.source_of(from))
            else {
                continue;
            };
            let Ok(stat) = Stat::of(path) else { continue };
            let found = Found { path: path.to_path_buf(), source, stat };
            if self.is_unknown(&stat) && !self.is_too_old(&found) {
                self.take_generation(path, stat, source, from)?;
            }
        }
        Ok(())
    }

    /// Whether neither a tail nor the log has this file.
    fn is_unknown(&self, stat: &Stat) -> bool {
        self.roster.at_key(stat.key).is_none()
            && !self.roster.remembered.iter().any(|known| known.may_be(stat, self.desk.boot))
    }

    /// After a start: files that were born after the newest generation that the log knows of a path, and before the one
    /// that is there now, and have the path's name with a number or a date behind it, were at that path meanwhile.
    pub fn find_rotated_generations(&mut self) -> Result<(), Closed> {
        let mut newest: BTreeMap<PathBuf, Option<Nanos>> = BTreeMap::new();
        let known = self.roster.remembered.iter().map(|known| (&known.descriptor.path, known.position.birth));
        let tails = self.roster.iter().filter(|(_, tail)| tail.resumed).map(|(_, tail)| (&tail.discovered, tail.birth));
        for (path, birth) in known.chain(tails) {
            // None stays: without all births nothing can be told.
            let newest = newest.entry(path.clone()).or_insert(Some(Nanos::MIN));
            *newest = newest.zip(birth).map(|(one, other)| one.max(other));
        }
        for (path, newest) in newest {
            let (Some(after), Some(source)) = (newest, self.desk.discovery.source_of(&path)) else { continue };
            let before = match Stat::of(&path) {
                Ok(stat) => stat.birth,
                Err(_) => Some(Nanos::MAX),
            };
            let Some(before) = before else { continue };
            if before > after {
                self.take_rotated(&path, source, (after, before), None)?;
            }
        }
        Ok(())
    }

    /// A file was, or may have been, truncated before anything of it was read: a copy that was made since is all that
    /// is left of it. What begins like the file does now is no such copy, but one of what is there.
    pub fn find_unread_copy(&mut self, id: TailId, since: Nanos) -> Result<bool, Closed> {
        let Some(tail) = self.roster.get(id) else { return Ok(false) };
        let (path, source) = (tail.path.clone(), tail.source);
        self.take_rotated(&path, source, (since, Nanos::MAX), Some(id))
    }

    /// Takes files with a rotated name of `path` that nobody knows and that were born within these times.
    pub fn take_rotated(
        &mut self,
        path: &Path,
        source: usize,
        (after, before): (Nanos, Nanos),
        unlike: Option<TailId>,
    ) -> Result<bool, Closed> {
        let Some(Ok(entries)) = path.parent().map(std::fs::read_dir) else { return Ok(false) };
        let mut generations = Vec::new();
        for entry in entries.filter_map(Result::ok) {
            let name = entry.path();
            if !has_rotated_name(&name, path) || self.desk.discovery.source_of(&name).is_some() {
                continue;
            }
            let Ok(stat) = Stat::of(&name) else { continue };
            let in_time = stat.birth.is_some_and(|birth| after < birth && birth < before);
            if stat.regular && in_time && self.is_unknown(&stat) && !self.begins_like(&name, unlike) {
                generations.push((stat.birth, name, stat));
            }
        }
        // Oldest first: of those that the log knows, the newest says where the search goes on after a kill.
        generations.sort_unstable_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        let mut taken = false;
        for (_, name, stat) in generations {
            taken |= self.take_generation(&name, stat, source, path)?;
        }
        Ok(taken)
    }

    /// The log is to learn of the generations of a path in the order in which they were born: after a kill it is searched
    /// for those that are younger than the youngest that it knows.
    pub fn commit_older(&mut self, id: TailId) -> Result<(), Closed> {
        let roster = &self.roster;
        self.unread_moved.retain(|other| roster.get(*other).is_some_and(|tail| !tail.has_origin()));
        let Some(tail) = self.roster.get(id) else { return Ok(()) };
        let mut older: Vec<(Option<Nanos>, TailId)> = self
            .unread_moved
            .iter()
            .filter_map(|other| roster.get(*other).map(|tail| (*other, tail)))
            .filter(|(_, other)| matches!(other.state, State::Fresh | State::Live) && other.size > 0)
            .filter(|(_, other)| other.discovered == tail.discovered)
            .filter(|(_, other)| other.birth.zip(tail.birth).is_some_and(|(other, this)| other < this))
            .map(|(id, other)| (other.birth, id))
            .collect();
        older.sort_unstable();
        for (_, other) in older {
            if !self.hold(other)? || self.look_at(other) != Some(Condition::Intact) {
                continue;
            }
            if self.roster.get(other).is_some_and(|tail| tail.state == State::Fresh) {
                self.judge(other)?;
            }
            if let Some(tail) = self.roster.get_mut(other)
                && tail.state == State::Live
                && !tail.has_origin()
            {
                match tail.begin_stream(&mut self.desk) {
                    Ok(()) => tail.commit(&self.desk)?,
                    Err(error) => self.trouble(other, &error),
                }
            }
            self.queue(other);
        }
        Ok(())
    }

    /// Whether a file begins with the same bytes as that of a tail, as far as both reach.
    fn begins_like(&self, path: &Path, tail: Option<TailId>) -> bool {
        let Some(tail) = tail.and_then(|id| self.roster.get(id)) else { return false };
        let (Some(handle), Ok((other, stat))) = (&tail.handle, self.open(path)) else { return false };
        let len = tail.size.min(stat.size).min(MARK_BYTES as u64) as u16;
        let mark = |file| Mark::read(file, 0, len).ok().flatten();
        len > 0 && mark(handle) == mark(&other)
    }

    /// Reads a file that was once discovered, or would have been, at another path. The log learns of it at once, before
    /// anything of a younger generation is read.
    fn take_generation(&mut self, path: &Path, stat: Stat, source: usize, from: &Path) -> Result<bool, Closed> {
        self.make_room();
        let Ok((handle, opened)) = self.open(path) else { return Ok(false) };
        if !opened.regular || !opened.same_file(stat.key, stat.birth) {
            return Ok(false);
        }
        tracing::info!(path = %path.display(), from = %from.display(), "file was rotated before it was read");
        let mut tail = Tail::new(&Found { path: path.to_path_buf(), source, stat: opened }, Some(handle));
        tail.discovered = from.to_path_buf();
        tail.renamed = true;
        tail.place = Place::Away { since: Instant::now() };
        let id = self.roster.insert(tail);
        if !self.is_own(id)? {
            return Ok(true);
        }
        self.commit_older(id)?;
        let Some(tail) = self.roster.get_mut(id) else { return Ok(true) };
        tail.state = State::Live;
        if let Err(error) = tail.begin_stream(&mut self.desk) {
            self.roster.remove(id);
            self.refuse(path, opened.size, &error);
            return Ok(false);
        }
        tail.commit(&self.desk)?;
        self.queue(id);
        Ok(true)
    }
}

/// Whether `path` is `original` with a number or a date behind it: `app.log.1`, `app.log-20261120`.
fn has_rotated_name(path: &Path, original: &Path) -> bool {
    let (Some(name), Some(original)) = (path.file_name(), original.file_name()) else { return false };
    name.as_encoded_bytes().strip_prefix(original.as_encoded_bytes()).is_some_and(|rest| {
        matches!(rest.first(), Some(b'.' | b'-' | b'_'))
            && rest.iter().any(u8::is_ascii_digit)
            && rest.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'T' | b'Z'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_name_is_a_name_with_a_number_or_a_date_behind_it() {
        let check = |name: &str, expected: bool| {
            assert_eq!(has_rotated_name(Path::new(name), Path::new("/l/app.log")), expected, "{name}");
        };
        check("/l/app.log.1", true);
        check("/l/app.log-20261120", true);
        check("/l/app.log.2026-11-20T10:00:00Z", true);
        check("/l/app.log", false);
        check("/l/app.log.err", false);
        check("/l/app.log.1.gz", false);
        check("/l/app.log2", false);
        check("/l/app.log.", false);
    }
}
