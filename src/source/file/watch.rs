//! Hints from the operating system that something changed. Only hints: who is told looks for himself, and a slow
//! poll runs beside it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::identity::Key;
use super::wake::{Hint, Wake};

/// Watches folders, each once, under the path by which it was found first.
pub struct Watch {
    watcher: Option<RecommendedWatcher>,
    folders: HashMap<Key, PathBuf>,
    /// The limit of watches was met, which has been said.
    exhausted: bool,
}

impl Watch {
    /// Sets up watching; where that fails the poll alone serves, which is said once.
    pub fn new(wake: Arc<Wake>) -> Self {
        let config = notify::Config::default().with_follow_symlinks(false);
        let watcher = match RecommendedWatcher::new(move |event| pass_on(&wake, event), config) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "folders cannot be watched, files are polled instead; see fs.inotify.max_user_instances");
                None
            }
        };
        Watch { watcher, folders: HashMap::new(), exhausted: false }
    }

    /// A source that is polled only.
    #[cfg(test)]
    pub fn none() -> Self {
        Watch { watcher: None, folders: HashMap::new(), exhausted: false }
    }

    /// Watches exactly these folders. True where some of them were not watched before.
    pub fn follow(&mut self, folders: &[(Key, PathBuf)]) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let wanted: HashMap<Key, &PathBuf> = folders.iter().rev().map(|(key, path)| (*key, path)).collect();
        self.folders.retain(|key, path| {
            let stays = wanted.get(key) == Some(&&*path);
            if !stays {
                // A folder that is gone took its watch along; that this fails then is no news.
                let _ = watcher.unwatch(path);
            }
            stays
        });
        let mut more = false;
        for (key, path) in folders {
            if self.folders.contains_key(key) {
                continue;
            }
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.folders.insert(*key, path.clone());
                    more = true;
                }
                Err(error) if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) => {
                    // Asked for again at the next walk: others may have given theirs back, or the limit was raised.
                    if !std::mem::replace(&mut self.exhausted, true) {
                        tracing::warn!(
                            watched = self.folders.len(), folder = %path.display(),
                            "no more folders can be watched, the rest is polled; raise fs.inotify.max_user_watches"
                        );
                    }
                    return more;
                }
                Err(error) => tracing::debug!(folder = %path.display(), %error, "folder not watched, polled instead"),
            }
        }
        more
    }
}

/// Turns an event into a hint. Runs on the watcher's own thread.
fn pass_on(wake: &Wake, event: notify::Result<notify::Event>) {
    let event = match event {
        Ok(event) if event.need_rescan() => return wake.all_changed(),
        Ok(event) => event,
        Err(error) => {
            tracing::debug!(%error, "an event could not be read");
            return wake.all_changed();
        }
    };
    if let EventKind::Modify(ModifyKind::Name(RenameMode::Both)) = event.kind {
        // Repeats a "from" and a "to", but it alone says that they belong together.
        if let Ok([from, to]) = <[_; 2]>::try_from(event.paths) {
            wake.renamed(from, to);
        }
        return;
    }
    let Some(hint) = hint_of(event.kind) else { return };
    for path in event.paths {
        wake.changed(path, hint);
    }
}

/// What an event says about its path; `None` for those that our own reading causes.
fn hint_of(kind: EventKind) -> Option<Hint> {
    match kind {
        EventKind::Create(_) => Some(Hint { created: true, ..Hint::MOVED }),
        EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => Some(Hint::MOVED),
        // Rights and the number of names: a file may have become readable, or have been deleted.
        EventKind::Modify(ModifyKind::Metadata(_)) => Some(Hint::MOVED),
        EventKind::Modify(_) | EventKind::Any | EventKind::Other => Some(Hint::default()),
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Hint::default()),
        EventKind::Access(_) => None,
    }
}
