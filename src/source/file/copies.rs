//! Copies and new generations: `copytruncate` copies a log and then truncates it. What was unread when it was truncated
//! stands in the copy, and what was read must not be read there again.
//!
//! A file that begins like one that is being read, and whose name has that one's name in it, waits. It is the other's
//! copy once that one has been truncated (or unlinked after the copy was born) and the copy holds the same bytes up to
//! where the other was read. It is a file of its own as soon as one byte differs, it is longer than the other, or
//! nothing has happened to either for a while.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::discover::Found;
use super::engine::Engine;
use super::identity::{MARK_BYTES, Mark, Stat};
use super::roster::TailId;
use super::tail::{Condition, Place, State, Tail};
use crate::buffer::Closed;
use crate::record::time;

/// Longest time that a file is held back as a possible copy, however much it grows.
pub const HOLD_MAX: Duration = Duration::from_secs(60);

/// First bytes of compressed files, and the command that makes text of each. The lines in them were read before they were
/// compressed.
const COMPRESSED: &[(&[u8], &str)] =
    &[(b"\x1f\x8b\x08", "zcat"), (b"\x28\xb5\x2f\xfd", "zstdcat"), (b"\xfd7zXZ\0", "xzcat"), (b"BZh", "bzcat")];

/// So many first bytes tell whether a file is compressed.
pub const COMPRESSED_HEAD_BYTES: usize = 8;

/// The command that makes text of a file with these first bytes; `None` where it is not compressed.
pub fn decompressor(head: &[u8]) -> Option<&'static str> {
    COMPRESSED.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, command)| *command)
}

/// Whose lines a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Own,
    /// The other's: it goes on in this file.
    Copy,
    /// It cannot be told yet.
    Open,
}

impl Engine {
    /// Decides about a file of which nothing has been read yet.
    pub fn judge(&mut self, id: TailId) -> Result<(), Closed> {
        let Some(tail) = self.roster.get_mut(id) else { return Ok(()) };
        match begins_compressed(tail) {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(path = %tail.path.display(), "compressed file is left alone");
                tail.state = State::Skipped;
                return Ok(());
            }
            Err(error) => {
                self.trouble(id, &error);
                return Ok(());
            }
        }
        // A new generation of a known inode is no copy of the one before it.
        let others = if tail.generation > 0 {
            Vec::new()
        } else {
            self.look_at_originals(id)?;
            self.lookalikes(id)
        };
        for other in others {
            match self.compare(other, id)? {
                Verdict::Own => {}
                Verdict::Copy => return self.adopt(other, id),
                Verdict::Open => {
                    if let Some(tail) = self.roster.get_mut(id) {
                        let now = Instant::now();
                        tracing::debug!(path = %tail.path.display(), "file may be a copy, it is held back");
                        tail.state = State::Held { of: other, since: now, changed: now };
                    }
                    return self.weigh(id);
                }
            }
        }
        if let Some(tail) = self.roster.get_mut(id) {
            tail.state = State::Live;
        }
        Ok(())
    }

    /// Decides at once about a file whose name no source wants: true where it is neither a copy of a file that is
    /// there, which stays alone, nor of one that was truncated, which goes on in it.
    pub fn is_own(&mut self, id: TailId) -> Result<bool, Closed> {
        for other in self.lookalikes(id) {
            match self.compare(other, id)? {
                Verdict::Own => {}
                Verdict::Copy => {
                    self.adopt(other, id)?;
                    return Ok(false);
                }
                Verdict::Open => {
                    self.roster.remove(id);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Looks again at a file that is held back as a possible copy.
    pub fn weigh(&mut self, id: TailId) -> Result<(), Closed> {
        let Some(tail) = self.roster.get(id) else { return Ok(()) };
        let State::Held { of, since, mut changed } = tail.state else { return Ok(()) };
        let size = tail.size;
        if !self.hold(id)? {
            return Ok(());
        }
        let condition = self.look_at(id);
        let Some(tail) = self.roster.get_mut(id) else { return Ok(()) };
        if condition.is_none() {
            return Ok(());
        }
        if tail.size != size {
            changed = Instant::now();
            tail.state = State::Held { of, since, changed };
        }
        let verdict = self.compare(of, id)?;
        // Looking at the other one may have settled it already.
        let Some(tail) = self.roster.get(id) else { return Ok(()) };
        if !matches!(tail.state, State::Held { .. }) {
            return Ok(());
        }
        let proof = self.timing.copy_proof;
        let long_unchanged = |tail: &Tail| {
            let age = time::now().saturating_sub(tail.changed);
            u128::try_from(age).is_ok_and(|age| age >= proof.as_nanos())
        };
        let settled = changed.elapsed() >= proof
            || since.elapsed() >= HOLD_MAX
            || (long_unchanged(tail) && self.roster.get(of).is_none_or(long_unchanged));
        match verdict {
            Verdict::Copy => self.adopt(of, id),
            Verdict::Open if !settled => Ok(()),
            Verdict::Open | Verdict::Own => {
                if let Some(tail) = self.roster.get_mut(id) {
                    tail.state = State::Live;
                }
                self.queue(id);
                Ok(())
            }
        }
    }

    /// Looks closely at the files that this one may be a copy of by its name: one that was truncated and has grown to its
    /// old size since is a new generation, which the copy then begins like.
    fn look_at_originals(&mut self, id: TailId) -> Result<(), Closed> {
        let Some(tail) = self.roster.get(id) else { return Ok(()) };
        let originals: Vec<TailId> = self
            .roster
            .iter()
            .filter(|(_, other)| other.state == State::Live && other.place == Place::Here && other.handle.is_some())
            .filter(|(_, other)| other.has_origin() && is_rotation_of(&tail.path, &other.path))
            .map(|(other, _)| other)
            .collect();
        for other in originals {
            if let Some(original) = self.roster.get_mut(other) {
                original.check = true;
            }
            if self.look_at(other) == Some(Condition::Rewritten) {
                self.rewritten(other)?;
            }
        }
        Ok(())
    }

    /// Tails whose bytes a file begins with and whose name stands in its name.
    fn lookalikes(&self, id: TailId) -> Vec<TailId> {
        let Some(tail) = self.roster.get(id) else { return Vec::new() };
        let Some(handle) = &tail.handle else { return Vec::new() };
        let mut marks: HashMap<u16, Option<Mark>> = HashMap::new();
        let mut begins_with = |head: Mark| {
            let len = head.len;
            *marks.entry(len).or_insert_with(|| Mark::read(handle, 0, len).ok().flatten()) == Some(head)
        };
        let begins_like = |original: &Tail| {
            original.handle.as_ref().is_some_and(|original| begin_alike(handle, original).unwrap_or(true))
        };
        let is_alike = |(other, candidate): &(TailId, &Tail)| {
            if *other == id {
                false
            } else if candidate.has_origin() {
                // A copy that is being made may not reach as far as the head yet.
                candidate.read_to() > 0
                    && has_name_in(&tail.path, &candidate.path)
                    && if u64::from(candidate.head.len) <= tail.size {
                        begins_with(candidate.head)
                    } else {
                        begins_like(candidate)
                    }
            } else {
                // Neither has been read yet: the longer name is the copy's. The original may have grown out of nothing since
                // it was looked at last.
                matches!(candidate.state, State::Fresh | State::Live)
                    && extends_name(&tail.path, &candidate.path)
                    && begins_like(candidate)
            }
        };
        self.roster.iter().filter(is_alike).map(|(other, _)| other).collect()
    }

    /// Whether the file of `copy` is a copy of `of`. The copy was looked at first: one that is longer than the original
    /// was afterwards cannot have come from it. Where the original turns out to be truncated the copy is looked at again.
    fn compare(&mut self, of: TailId, copy: TailId) -> Result<Verdict, Closed> {
        let verdict = self.compare_once(of, copy)?;
        // The original may have been truncated between the look at it and the comparison: then a second look shows it.
        let truncated = self.roster.get(of).is_none_or(|original| matches!(original.state, State::Truncated { .. }));
        if verdict == Verdict::Own && !truncated { self.compare_once(of, copy) } else { Ok(verdict) }
    }

    fn compare_once(&mut self, of: TailId, copy: TailId) -> Result<Verdict, Closed> {
        let Some(original) = self.roster.get(of) else { return Ok(Verdict::Own) };
        if !matches!(original.state, State::Truncated { .. }) {
            if !self.hold(of)? {
                return Ok(Verdict::Own);
            }
            if let Some(original) = self.roster.get_mut(of) {
                original.check = true;
            }
            match self.look_at(of) {
                Some(Condition::Rewritten) => self.rewritten(of)?,
                Some(Condition::Intact) => {}
                None => return Ok(Verdict::Open),
            }
        }
        // Who truncates has finished the copy before: what the copy was when it was looked at last may be a part of it.
        if self.roster.get(of).is_some_and(|original| matches!(original.state, State::Truncated { .. }))
            && self.look_at(copy).is_none()
        {
            return Ok(Verdict::Open);
        }
        let (Some(original), Some(copy)) = (self.roster.get(of), self.roster.get(copy)) else {
            return Ok(Verdict::Own);
        };
        match verdict(original, copy) {
            Ok(verdict) => Ok(verdict),
            Err(error) => {
                tracing::debug!(path = %copy.path.display(), %error, "possible copy could not be compared");
                Ok(Verdict::Open)
            }
        }
    }

    /// The file of `copy` belongs to `of`, which goes on there.
    fn adopt(&mut self, of: TailId, copy: TailId) -> Result<(), Closed> {
        let Some(copy) = self.roster.remove(copy) else { return Ok(()) };
        self.adopt_tail(of, copy)
    }

    fn adopt_tail(&mut self, of: TailId, copy: Tail) -> Result<(), Closed> {
        self.roster.forget_names(of);
        let Some(original) = self.roster.get_mut(of) else { return Ok(()) };
        tracing::debug!(copy = %copy.path.display(), of = %original.discovered.display(), "copy is read to its end");
        original.adopt(copy);
        original.commit(&self.desk)?;
        let size = original.size;
        self.roster.learn_names(of);
        self.raise_goals(of, size);
        self.queue(of);
        self.retime(of);
        Ok(())
    }

    /// The bytes of a file are no longer those that were read: a new generation begins, and the old one waits for a copy.
    pub fn rewritten(&mut self, id: TailId) -> Result<(), Closed> {
        let Some(tail) = self.roster.get_mut(id) else { return Ok(()) };
        self.desk.stats.truncations.add(1);
        tracing::info!(path = %tail.path.display(), read = tail.read_to(), "file was truncated or rewritten");
        if !tail.has_origin() {
            let (next, unread) = tail.split_generation();
            let since = tail.since;
            self.roster.remove(id);
            let next = self.roster.insert(next);
            self.queue(next);
            if unread > 0 && !self.find_unread_copy(next, since)? {
                self.desk.stats.unread_bytes.add(unread);
                tracing::warn!(unread, "file was truncated before any of it was read; these bytes are lost");
            }
            return Ok(());
        }
        self.roster.forget_names(id);
        let Some(tail) = self.roster.get_mut(id) else { return Ok(()) };
        let (next, _) = tail.split_generation();
        let next = self.roster.insert(next);
        self.queue(next);
        self.retime(id);
        self.find_copy(id)
    }

    /// Looks for the copy of a generation that was truncated: among the files that are held back, and in its folder,
    /// where it may have a name that no source wants.
    pub fn find_copy(&mut self, of: TailId) -> Result<(), Closed> {
        let held: Vec<TailId> = self
            .roster
            .iter()
            .filter(|(_, tail)| matches!(tail.state, State::Held { of: other, .. } if other == of))
            .map(|(id, _)| id)
            .collect();
        for id in held {
            if self.compare(of, id)? == Verdict::Copy {
                return self.adopt(of, id);
            }
        }
        let Some(original) = self.roster.get(of) else { return Ok(()) };
        let (path, source) = (original.path.clone(), original.source);
        let Some(Ok(entries)) = path.parent().map(std::fs::read_dir) else { return Ok(()) };
        for entry in entries.filter_map(Result::ok) {
            let name = entry.path();
            if name == path || !has_name_in(&name, &path) || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
                continue;
            }
            let Ok(stat) = Stat::of(&name) else { continue };
            if self.roster.at_key(stat.key).is_some() {
                continue;
            }
            let Ok(handle) = self.desk.open(&name) else { continue };
            let Ok(stat) = Stat::of_file(&handle) else { continue };
            let wanted = self.desk.discovery.source_of(&name).is_some();
            let mut copy = Tail::new(&Found { path: name, source, stat }, Some(handle));
            if !wanted {
                copy.place = Place::Away { since: Instant::now() };
            }
            let Some(original) = self.roster.get(of) else { return Ok(()) };
            if verdict(original, &copy).is_ok_and(|verdict| verdict == Verdict::Copy) {
                return self.adopt_tail(of, copy);
            }
        }
        Ok(())
    }

    /// No copy showed up: what was read is taken up, and the generation ends.
    pub fn give_up_generation(&mut self, id: TailId) -> Result<(), Closed> {
        // One last look, for a copy that a slow walk has not brought up.
        self.find_copy(id)?;
        let Some(tail) = self.roster.get_mut(id) else { return Ok(()) };
        let State::Truncated { unread, .. } = tail.state else { return Ok(()) };
        if unread > 0 {
            self.desk.stats.unread_bytes.add(unread);
            tracing::warn!(
                path = %tail.path.display(), unread, offset = tail.read_to(),
                "file was truncated or rewritten before it was read to its end; these bytes are lost"
            );
        }
        tail.count_gap(unread);
        tail.end(&self.desk)?;
        self.roster.remove(id);
        Ok(())
    }
}

/// Whether `copy` is a copy of `original`, which was just looked at; later than `copy` was.
fn verdict(original: &Tail, copy: &Tail) -> io::Result<Verdict> {
    let Some(file) = &copy.handle else { return Ok(Verdict::Open) };
    let reaches = copy.size >= original.read_to();
    // A copy that is being made may not reach that far yet.
    let has_head = u64::from(original.head.len) <= copy.size;
    let begins_otherwise = has_head && Mark::read(file, 0, original.head.len)? != Some(original.head);
    if begins_otherwise || original.key == copy.key {
        return Ok(Verdict::Own);
    }
    if reaches && Mark::read_before(file, original.read_to())? != Some(original.before()) {
        return Ok(Verdict::Own);
    }
    if matches!(original.state, State::Truncated { .. }) {
        return Ok(if reaches { Verdict::Copy } else { Verdict::Own });
    }
    let Some(handle) = &original.handle else { return Ok(Verdict::Own) };
    match original.place {
        Place::Away { .. } => Ok(Verdict::Own),
        Place::Deleted { .. } => {
            let unlinked = Stat::of_file(handle)?.changed;
            let born_before = copy.birth.is_some_and(|birth| birth < unlinked);
            let ends_alike = copy.size >= original.size && alike_before(handle, file, original.size)?;
            Ok(if born_before && reaches && ends_alike { Verdict::Copy } else { Verdict::Own })
        }
        Place::Here if copy.size > original.size => Ok(Verdict::Own),
        Place::Here => Ok(if alike_before(handle, file, copy.size)? { Verdict::Open } else { Verdict::Own }),
    }
}

/// Whether the bytes before an offset are the same in both files.
fn alike_before(one: &std::fs::File, other: &std::fs::File, offset: u64) -> io::Result<bool> {
    let one = Mark::read_before(one, offset)?;
    Ok(one.is_some() && one == Mark::read_before(other, offset)?)
}

/// Whether the name of `copy` contains the name of `original` up to its first dot: `app.log-20261120` does `app.log`.
fn has_name_in(copy: &Path, original: &Path) -> bool {
    let name = |path: &Path| path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
    let (copy, original) = (name(copy), name(original));
    let stem = match original.iter().skip(1).position(|&byte| byte == b'.') {
        Some(dot) => &original[..=dot],
        None => &original[..],
    };
    !stem.is_empty() && copy.windows(stem.len()).any(|window| window == stem)
}

/// Whether the name of `copy` is that of `original` and more.
fn extends_name(copy: &Path, original: &Path) -> bool {
    let (Some(copy), Some(original)) = (copy.file_name(), original.file_name()) else { return false };
    copy.len() > original.len() && copy.as_encoded_bytes().starts_with(original.as_encoded_bytes())
}

/// Whether the name of `copy` is what rotation makes of that of `original`: `app.log.1`, `app.log-20261120` or
/// `app-20261120.log` of `app.log`.
fn is_rotation_of(copy: &Path, original: &Path) -> bool {
    let (Some(name), Some(stem)) = (copy.file_name(), original.file_stem()) else { return false };
    let extension = original.extension().map(|extension| extension.as_encoded_bytes()).unwrap_or_default();
    let (name, stem) = (name.as_encoded_bytes(), stem.as_encoded_bytes());
    extends_name(copy, original)
        || name.strip_prefix(stem).is_some_and(|rest| {
            let ends_alike = rest.strip_suffix(extension).is_some_and(|rest| rest.len() > 1 && rest.ends_with(b"."));
            matches!(rest.first(), Some(b'.' | b'-' | b'_')) && ends_alike
        })
}

/// Whether two files begin with the same bytes, as far as both reach; false where one is empty.
fn begin_alike(one: &std::fs::File, other: &std::fs::File) -> io::Result<bool> {
    let size = Stat::of_file(one)?.size.min(Stat::of_file(other)?.size).min(MARK_BYTES as u64);
    Ok(size > 0 && Mark::read(one, 0, size as u16)? == Mark::read(other, 0, size as u16)?)
}

fn begins_compressed(tail: &Tail) -> io::Result<bool> {
    let Some(handle) = &tail.handle else { return Ok(false) };
    let mut first = [0u8; COMPRESSED_HEAD_BYTES];
    let read = super::identity::read_at(handle, &mut first, 0)?;
    Ok(decompressor(&first[..read]).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_name_of_its_original_in_its_own() {
        let check = |copy: &str, original: &str, expected: bool| {
            assert_eq!(has_name_in(Path::new(copy), Path::new(original)), expected, "{copy} of {original}");
        };
        check("/l/app.log.1", "/l/app.log", true);
        check("/l/old/app.log-20261120", "/l/app.log", true);
        check("/l/app-20261120.log", "/l/app.log", true);
        check("/l/worker2.log", "/l/worker1.log", false);
        check("/l/trace", "/l/docker_trace.txt", false);
        check("/l/.hidden.1", "/l/.hidden", true);
    }

    #[test]
    fn a_rotated_file_has_a_number_or_a_date_behind_its_name_or_before_its_extension() {
        let check = |copy: &str, original: &str, expected: bool| {
            assert_eq!(is_rotation_of(Path::new(copy), Path::new(original)), expected, "{copy} of {original}");
        };
        check("/l/app.log.1", "/l/app.log", true);
        check("/l/old/app.log-20261120", "/l/app.log", true);
        check("/l/app-20261120.log", "/l/app.log", true);
        check("/l/app.1.log", "/l/app.log", true);
        check("/l/trace.1", "/l/trace", true);
        check("/l/app.log", "/l/app.log", false);
        check("/l/application.log", "/l/app.log", false);
        check("/l/run.12.log", "/l/run.1.log", false);
        check("/l/app.err", "/l/app.log", false);
    }
}
