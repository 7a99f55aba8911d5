//! Which containers are accounted for: what the engine's events said before a restart of ours is not taken for news.
//!
//! A container that came and went while nobody listened is known by the engine's events alone, of which it keeps some hundred.
//! They are asked for again from a little before the last moment that is noted here; a container in them that is neither
//! in the log nor noted here was missed, and is said to be.
//!
//! A file of its own beside the log, a hint: what stands in the log comes first. A container is noted before its origins
//! end, so that no crash in between makes it look missed. It is not synced: after a power loss the engine has no events.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::record::Nanos;

/// How long before the last moment that was noted the events are looked through again, in nanoseconds: containers that have
/// ended and are still being read are not noted yet.
const OVERLAP_NANOS: Nanos = 60_000_000_000;

/// Most containers that are remembered; the engine keeps the events of some 40.
const CONTAINERS_MAX: usize = 1_024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Seen {
    path: Option<PathBuf>,
    since: Option<Nanos>,
    accounted: VecDeque<String>,
}

impl Seen {
    /// What the last run noted at `path`; `None`: nothing is kept.
    pub(super) fn load(path: Option<PathBuf>) -> Seen {
        let mut seen = Seen { path, ..Seen::default() };
        let text = seen.path.as_ref().and_then(|path| std::fs::read(path).ok());
        if let Some(noted) = text.and_then(|text| serde_json::from_slice::<Value>(&text).ok()) {
            seen.since = noted["until"].as_i64().map(|until| until - OVERLAP_NANOS);
            let ids = noted["containers"].as_array().into_iter().flatten();
            seen.accounted = ids.filter_map(Value::as_str).map(str::to_owned).take(CONTAINERS_MAX).collect();
        }
        seen
    }

    /// From when on events may tell of what was missed; `None`: nobody has listened before.
    pub(super) fn since(&self) -> Option<Nanos> {
        self.since
    }

    pub(super) fn is_accounted(&self, id: &str) -> bool {
        self.accounted.iter().any(|known| known == id)
    }

    /// A container is gone, and what became of it is about to be written to the log.
    pub(super) fn account(&mut self, id: &str, now: Nanos) {
        if !self.is_accounted(id) {
            self.accounted.push_back(id.to_owned());
            if self.accounted.len() > CONTAINERS_MAX {
                self.accounted.pop_front();
            }
        }
        self.note(now);
    }

    /// Events were listened to until now.
    pub(super) fn note(&mut self, now: Nanos) {
        let Some(path) = &self.path else { return };
        let text = json!({ "until": now, "containers": self.accounted }).to_string();
        if let Err(error) = replace(path, text.as_bytes()) {
            tracing::warn!(path = %path.display(), %error, "cannot be written: after a restart containers may be called missed that were not");
        }
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&new, bytes)?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_known_after_a_restart() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("docker/seen.json");
        let mut seen = Seen::load(Some(path.clone()));
        assert_eq!(seen.since(), None);
        seen.account("a", OVERLAP_NANOS + 7);
        seen.account("a", OVERLAP_NANOS + 8);
        let again = Seen::load(Some(path.clone()));
        assert_eq!((again.since(), again.accounted.len()), (Some(8), 1));
        assert!(again.is_accounted("a") && !again.is_accounted("b"));
        for n in 0..2 * CONTAINERS_MAX {
            seen.account(&n.to_string(), 0);
        }
        assert!(!seen.is_accounted("a") && seen.is_accounted("2047"));
        std::fs::write(&path, "rubbish").expect("write");
        assert_eq!(Seen::load(Some(path)).since(), None);
    }
}
