//! The files that are known: by id, by inode and by path, and those of an earlier start that were not met again yet.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::identity::{Key, Stat, same_birth};
use super::position::{Descriptor, Position};
use super::tail::{Place, State, Tail};
use crate::buffer::LiveOrigin;
use crate::buffer::section::OriginInfo;
use crate::record::Counters;

/// A tail within this process; never used twice.
pub(super) type TailId = u64;

/// An origin of the log whose file is not held: since before the start, or since its handle was closed.
#[derive(Debug)]
pub(super) struct Remembered {
    pub info: Arc<OriginInfo>,
    pub descriptor: Descriptor,
    pub position: Position,
    pub counters: Counters,
    pub ended: bool,
    /// Since when it is looked for in vain.
    pub missing_since: Option<Instant>,
}

impl Remembered {
    /// What the log holds of an origin; `None` where its words are not understood.
    pub fn of(live: LiveOrigin) -> Option<Self> {
        Some(Remembered {
            descriptor: Descriptor::decode(&live.info.descriptor)?,
            position: Position::decode(&live.position)?,
            info: live.info,
            counters: live.counters,
            ended: live.ended,
            missing_since: None,
        })
    }

    /// Whether a file may be this one, by inode, birth and, within one boot, device. Its contents have the last word.
    pub fn may_be(&self, stat: &Stat, boot: u64) -> bool {
        let position = &self.position;
        let same_boot = boot != 0 && position.boot == boot;
        stat.key.ino == position.key.ino
            && (!same_boot || stat.key.dev == position.key.dev)
            && same_birth(stat.birth, position.birth)
    }
}

#[derive(Default)]
pub(super) struct Roster {
    tails: BTreeMap<TailId, Tail>,
    by_key: HashMap<Key, TailId>,
    by_path: HashMap<PathBuf, TailId>,
    next: TailId,
    pub remembered: Vec<Remembered>,
}

impl Roster {
    /// Takes in a tail. One that has a file is found by its inode, one at its place by its path, too.
    pub fn insert(&mut self, tail: Tail) -> TailId {
        let id = self.next;
        self.next += 1;
        if !matches!(tail.state, State::Truncated { .. }) {
            self.by_key.insert(tail.key, id);
            self.by_path.insert(tail.path.clone(), id);
        }
        self.tails.insert(id, tail);
        id
    }

    pub fn remove(&mut self, id: TailId) -> Option<Tail> {
        self.forget_names(id);
        self.tails.remove(&id)
    }

    /// Takes a tail out of the indices by inode and path.
    pub fn forget_names(&mut self, id: TailId) {
        let Some(tail) = self.tails.get(&id) else { return };
        if self.by_key.get(&tail.key) == Some(&id) {
            self.by_key.remove(&tail.key);
        }
        if self.by_path.get(&tail.path) == Some(&id) {
            self.by_path.remove(&tail.path);
        }
    }

    /// Puts a tail, whose file or path changed, into the indices.
    pub fn learn_names(&mut self, id: TailId) {
        let Some(tail) = self.tails.get(&id) else { return };
        self.by_key.insert(tail.key, id);
        self.by_path.insert(tail.path.clone(), id);
    }

    /// The file of a tail has another path now.
    pub fn move_to(&mut self, id: TailId, path: &Path) {
        let Some(tail) = self.tails.get_mut(&id) else { return };
        if self.by_path.get(&tail.path) == Some(&id) {
            self.by_path.remove(&tail.path);
        }
        tail.path = path.to_path_buf();
        self.by_path.insert(path.to_path_buf(), id);
    }

    pub fn get(&self, id: TailId) -> Option<&Tail> {
        self.tails.get(&id)
    }

    pub fn get_mut(&mut self, id: TailId) -> Option<&mut Tail> {
        self.tails.get_mut(&id)
    }

    pub fn at_key(&self, key: Key) -> Option<TailId> {
        self.by_key.get(&key).copied()
    }

    pub fn at_path(&self, path: &Path) -> Option<TailId> {
        self.by_path.get(path).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (TailId, &Tail)> {
        self.tails.iter().map(|(id, tail)| (*id, tail))
    }

    pub fn ids(&self) -> Vec<TailId> {
        self.tails.keys().copied().collect()
    }

    /// Files whose handles can be closed, the one that can be spared best first: those at their place, read to the end
    /// and long not written to, then those that still have to be read.
    pub fn spare_handles(&self) -> Vec<TailId> {
        let mut spare: Vec<(bool, Instant, TailId)> = self
            .iter()
            .filter(|(_, tail)| tail.handle.is_some() && tail.place == Place::Here)
            .filter(|(_, tail)| !matches!(tail.state, State::Held { .. }))
            .map(|(id, tail)| (!tail.at_end() || tail.held_back() > 0, tail.grown, id))
            .collect();
        spare.sort_unstable();
        spare.into_iter().map(|(_, _, id)| id).collect()
    }
}
