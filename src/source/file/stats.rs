//! Figures of the file source for reports, written by its thread and read by anyone. No figure decides anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Figures of all `[[sources.file]]`.
#[derive(Debug, Default)]
pub struct Stats {
    /// One for each source, in the order of the configuration.
    pub sources: Vec<SourceStats>,
    /// Files that are held open.
    pub open_files: Figure,
    /// Files that were truncated or rewritten while they were known.
    pub truncations: Figure,
    /// Bytes that are known to have been in files and could not be read: truncated, rewritten or deleted too early.
    pub unread_bytes: Figure,
    /// Files that appeared and were gone before they could be opened.
    pub missed_files: Figure,
    /// Files in UTF-16, which are not read.
    pub utf16_files: Figure,
    /// Files that are compressed, but by their names not by gzip, and left alone, as of the last walk.
    pub compressed_files: Figure,
}

/// Figures of one `[[sources.file]]`.
#[derive(Debug, Default)]
pub struct SourceStats {
    /// Column Source.
    pub name: Arc<str>,
    /// Files that are known now.
    pub files: Figure,
    /// Bytes that stand in these files and are not taken up yet, as of the last look.
    pub lag_bytes: Figure,
    /// Lines taken up since the start.
    pub lines: Figure,
    /// Bytes of these lines.
    pub bytes: Figure,
    /// Files that cannot be read now.
    pub unreadable_files: Figure,
}

/// A number that one thread writes and others read.
#[derive(Debug, Default)]
pub struct Figure(AtomicU64);

impl Figure {
    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, less: u64) {
        self.0.fetch_sub(less, Ordering::Relaxed);
    }
}
