//! A disk in memory that forgets what was not synced: a power loss drops, tears and reorders it. Calls fail at random.
//!
//! What a program sees and what would be left of it are kept apart, for the bytes of files and for the names in folders.
//! Like Linux, a failed fsync leaves the bytes readable, and the next one says that all is well without writing them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Dice;
use crate::buffer::storage::{Storage, StorageFile};

/// What is written at once or not at all.
const SECTOR_BYTES: u64 = 512;

/// A change of a file that was not synced yet.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8>, lost: bool },
    Length { len: u64, lost: bool },
}

#[derive(Clone, Debug, Default)]
struct Contents {
    seen: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
    /// Up to here it was written once: that takes no room again. Preallocation is not relied on.
    high: u64,
}

#[derive(Clone, Debug)]
enum NameChange {
    Appear(PathBuf, u64),
    Vanish(PathBuf),
    Move(PathBuf, PathBuf),
}

/// How often calls fail, in 1 of so many; 0: never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub io: u64,
    pub full: u64,
    pub sync: u64,
}

#[derive(Debug)]
struct Inner {
    files: BTreeMap<u64, Contents>,
    next_file: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    name_changes: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
    dice: Dice,
    faults: Faults,
    /// Faults that happened.
    failed: u64,
}

/// The disk; clones are the same one.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<Inner>>);

impl SimDisk {
    pub fn new(dice: Dice) -> Self {
        SimDisk(Arc::new(Mutex::new(Inner {
            files: BTreeMap::new(),
            next_file: 1,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            dirs: BTreeSet::new(),
            dice,
            faults: Faults::default(),
            failed: 0,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    pub fn failed(&self) -> u64 {
        self.lock().failed
    }

    /// Power is lost: of what was not synced anything may be there.
    pub fn lose_power(&self) {
        let inner = &mut *self.lock();
        let dice = &mut inner.dice;
        let mut names = inner.durable_names.clone();
        for change in std::mem::take(&mut inner.name_changes) {
            if dice.roll(2) == 0 {
                apply_name(&mut names, &change);
            }
        }
        inner.names.clone_from(&names);
        inner.durable_names = names;
        for contents in inner.files.values_mut() {
            let mut left = std::mem::take(&mut contents.durable);
            for change in std::mem::take(&mut contents.changes) {
                survive(&mut left, change, dice);
            }
            contents.seen.clone_from(&left);
            contents.durable = left;
        }
        let there: BTreeSet<u64> = inner.names.values().copied().collect();
        inner.files.retain(|id, _| there.contains(id));
    }

    /// Names and bytes of the files of a folder, as a program sees them.
    pub fn files(&self, dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let inner = self.lock();
        let here = inner.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        here.map(|(path, id)| (path.clone(), inner.files.get(id).map(|c| c.seen.clone()).unwrap_or_default())).collect()
    }

    /// A disk that holds these files for sure.
    pub fn of(files: &BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let disk = SimDisk::new(Dice::new(0));
        {
            let inner = &mut *disk.lock();
            for (id, (path, bytes)) in (1..).zip(files) {
                let high = bytes.len() as u64;
                inner
                    .files
                    .insert(id, Contents { seen: bytes.clone(), durable: bytes.clone(), changes: Vec::new(), high });
                inner.names.insert(path.clone(), id);
                inner.next_file = id + 1;
            }
            inner.durable_names.clone_from(&inner.names);
        }
        disk
    }
}

/// What a power loss leaves of one change.
fn survive(left: &mut Vec<u8>, change: Change, dice: &mut Dice) {
    match change {
        Change::Write { lost: true, .. } | Change::Length { lost: true, .. } => {}
        Change::Length { len, .. } => {
            if dice.roll(2) == 0 {
                left.resize(len as usize, 0);
            }
        }
        Change::Write { offset, bytes, .. } => match dice.roll(4) {
            0 => {}
            1 => write(left, offset, &bytes),
            // Any of its sectors.
            2 => {
                let mut at = 0;
                while at < bytes.len() as u64 {
                    let end = ((offset + at) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset;
                    let end = end.min(bytes.len() as u64);
                    if dice.roll(2) == 0 {
                        write(left, offset + at, &bytes[at as usize..end as usize]);
                    }
                    at = end;
                }
            }
            // Its beginning.
            _ => write(left, offset, &bytes[..dice.roll(bytes.len() as u64 + 1) as usize]),
        },
    }
}

fn write(to: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (offset, end) = (offset as usize, offset as usize + bytes.len());
    if bytes.is_empty() {
        return;
    }
    if to.len() < end {
        to.resize(end, 0);
    }
    to[offset..end].copy_from_slice(bytes);
}

fn apply_name(names: &mut BTreeMap<PathBuf, u64>, change: &NameChange) {
    match change {
        NameChange::Appear(path, id) => drop(names.insert(path.clone(), *id)),
        NameChange::Vanish(path) => drop(names.remove(path)),
        NameChange::Move(from, to) => {
            if let Some(id) = names.remove(from) {
                names.insert(to.clone(), id);
            }
        }
    }
}

impl Inner {
    fn fails(&mut self, one_in: u64) -> bool {
        let fails = one_in > 0 && self.dice.roll(one_in) == 0;
        self.failed += u64::from(fails);
        fails
    }

    fn io(&mut self) -> io::Result<()> {
        let one_in = self.faults.io;
        if self.fails(one_in) { Err(io::Error::other("simulated input/output error")) } else { Ok(()) }
    }

    fn full(&mut self) -> io::Result<()> {
        let one_in = self.faults.full;
        if self.fails(one_in) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn change_name(&mut self, change: NameChange) {
        apply_name(&mut self.names, &change);
        self.name_changes.push(change);
    }
}

impl Storage for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.io()?;
        inner.dirs.insert(dir.to_owned());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut inner = self.lock();
        inner.io()?;
        let here = inner.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(here.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create(&self, path: &Path, preallocate: u64) -> io::Result<Arc<dyn StorageFile>> {
        let mut inner = self.lock();
        inner.io()?;
        inner.full()?;
        if inner.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = inner.next_file;
        inner.next_file += 1;
        let seen = vec![0; preallocate as usize];
        let changes = vec![Change::Length { len: preallocate, lost: false }];
        inner.files.insert(id, Contents { seen, durable: Vec::new(), changes, high: 0 });
        inner.change_name(NameChange::Appear(path.to_owned(), id));
        Ok(Arc::new(SimFile { disk: self.clone(), id }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let mut inner = self.lock();
        inner.io()?;
        match inner.names.get(path) {
            Some(&id) => Ok(Arc::new(SimFile { disk: self.clone(), id })),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.io()?;
        if !inner.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        inner.change_name(NameChange::Move(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.io()?;
        if !inner.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        inner.change_name(NameChange::Vanish(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.io()?;
        let of_dir = |path: &Path| path.parent() == Some(dir);
        let changes = std::mem::take(&mut inner.name_changes);
        for change in changes {
            let concerns = match &change {
                NameChange::Appear(path, _) | NameChange::Vanish(path) => of_dir(path),
                NameChange::Move(from, to) => of_dir(from) || of_dir(to),
            };
            if concerns {
                apply_name(&mut inner.durable_names, &change);
            } else {
                inner.name_changes.push(change);
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    id: u64,
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut Inner, &mut Contents) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.disk.lock();
        // Taken out, so that both can be changed; a file that was removed lives on in its handles.
        let mut contents = inner.files.remove(&self.id).unwrap_or_default();
        let result = act(&mut inner, &mut contents);
        inner.files.insert(self.id, contents);
        result
    }
}

impl StorageFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|inner, contents| {
            inner.io()?;
            let from = contents.seen.get(offset as usize..).unwrap_or_default();
            let mut len = from.len().min(buf.len());
            if len > 1 && inner.dice.roll(16) == 0 {
                len = 1 + inner.dice.roll(len as u64 - 1) as usize;
            }
            buf[..len].copy_from_slice(&from[..len]);
            Ok(len)
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|inner, contents| {
            let end = offset + bytes.len() as u64;
            let room = |inner: &mut Inner| if end > contents.high { inner.full() } else { Ok(()) };
            let failure = inner.io().and_then(|()| room(inner)).err();
            contents.high = contents.high.max(end);
            // What fails may have been done in part.
            let done = if failure.is_some() { inner.dice.roll(bytes.len() as u64 + 1) as usize } else { bytes.len() };
            write(&mut contents.seen, offset, &bytes[..done]);
            contents.changes.push(Change::Write { offset, bytes: bytes[..done].to_vec(), lost: false });
            failure.map_or(Ok(()), Err)
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|inner, contents| {
            let one_in = inner.faults.sync;
            if inner.fails(one_in) {
                for change in &mut contents.changes {
                    match change {
                        Change::Write { lost, .. } | Change::Length { lost, .. } => *lost = true,
                    }
                }
                return Err(io::Error::other("simulated failure of fsync"));
            }
            let mut durable = std::mem::take(&mut contents.durable);
            contents.changes.retain(|change| match change {
                Change::Write { lost: true, .. } | Change::Length { lost: true, .. } => true,
                Change::Write { offset, bytes, .. } => {
                    write(&mut durable, *offset, bytes);
                    false
                }
                Change::Length { len, .. } => {
                    durable.resize(*len as usize, 0);
                    false
                }
            });
            contents.durable = durable;
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|inner, contents| {
            inner.io()?;
            contents.seen.resize(len as usize, 0);
            contents.changes.push(Change::Length { len, lost: false });
            Ok(())
        })
    }

    fn size(&self) -> io::Result<u64> {
        self.with(|inner, contents| {
            inner.io()?;
            Ok(contents.seen.len() as u64)
        })
    }
}
