//! What makes a file the same file: inode, birth time and hashes of its contents. Looks, never decides.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::xxh3_64;

use crate::record::Nanos;

/// Most bytes that one [`Mark`] covers.
pub const MARK_BYTES: usize = 1024;

/// Where the kernel says which boot this is.
const BOOT_ID_PATH: &str = "/proc/sys/kernel/random/boot_id";

/// A file while it exists, within one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub dev: u64,
    pub ino: u64,
}

/// What one look at a file gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub key: Key,
    /// Time of creation, where the file system keeps one.
    pub birth: Option<Nanos>,
    pub size: u64,
    /// Time of the last change of the contents.
    pub modified: Nanos,
    /// Time of the last change of contents, names or rights.
    pub changed: Nanos,
    /// Names that the file has; 0: deleted.
    pub links: u64,
    pub regular: bool,
    pub folder: bool,
}

fn nanos_of(time: SystemTime) -> Nanos {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    }
}

impl Stat {
    fn from_metadata(metadata: &Metadata) -> Self {
        let nanos = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Stat {
            key: Key { dev: metadata.dev(), ino: metadata.ino() },
            birth: metadata.created().ok().map(nanos_of),
            size: metadata.size(),
            modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
            links: metadata.nlink(),
            regular: metadata.is_file(),
            folder: metadata.is_dir(),
        }
    }

    /// Looks at what the path leads to, through symbolic links.
    ///
    /// # Errors
    /// As the operating system gives them: not found, permission denied …
    pub fn of(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::from_metadata(&metadata))
    }

    /// Looks at an open file.
    ///
    /// # Errors
    /// As the operating system gives them.
    pub fn of_file(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::from_metadata(&metadata))
    }

    /// Whether both looks met the same file: same inode, and born at the same time where both know when.
    pub fn same_file(&self, key: Key, birth: Option<Nanos>) -> bool {
        self.key == key && same_birth(self.birth, birth)
    }
}

/// Births that contradict each other belong to different files.
pub fn same_birth(one: Option<Nanos>, other: Option<Nanos>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// Length and hash of some bytes: to see whether they are still the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// At most [`MARK_BYTES`].
    pub len: u16,
    pub hash: u64,
}

impl Mark {
    /// The mark of no bytes.
    pub const EMPTY: Mark = Mark { len: 0, hash: 0 };

    /// The mark of the first [`MARK_BYTES`] of `bytes`.
    pub fn of_head(bytes: &[u8]) -> Self {
        Self::of(&bytes[..bytes.len().min(MARK_BYTES)])
    }

    /// The mark of the last [`MARK_BYTES`] of `bytes`.
    pub fn of_tail(bytes: &[u8]) -> Self {
        Self::of(&bytes[bytes.len().saturating_sub(MARK_BYTES)..])
    }

    fn of(bytes: &[u8]) -> Self {
        if bytes.is_empty() { Self::EMPTY } else { Mark { len: bytes.len() as u16, hash: xxh3_64(bytes) } }
    }

    /// The mark of the `len` bytes of the file from `offset` on; `None` where the file is shorter.
    ///
    /// # Errors
    /// As reading gives them.
    pub fn read(file: &File, offset: u64, len: u16) -> io::Result<Option<Self>> {
        let mut bytes = [0u8; MARK_BYTES];
        let bytes = &mut bytes[..usize::from(len).min(MARK_BYTES)];
        let read = read_at(file, bytes, offset)?;
        Ok((read == bytes.len()).then(|| Self::of(bytes)))
    }

    /// The mark of the up to [`MARK_BYTES`] bytes that end at `offset`; `None` where the file is shorter.
    ///
    /// # Errors
    /// As reading gives them.
    pub fn read_before(file: &File, offset: u64) -> io::Result<Option<Self>> {
        let len = offset.min(MARK_BYTES as u64);
        Self::read(file, offset - len, len as u16)
    }
}

/// Fills `buffer` from `offset` on, as far as the file reaches; gives how many bytes that were.
///
/// # Errors
/// As reading gives them; an interrupted call is repeated.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Opens a file for reading. Never waits: a pipe that took the file's place would block an ordinary open for ever.
///
/// # Errors
/// As the operating system gives them.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits();
    OpenOptions::new().read(true).custom_flags(flags as i32).open(path)
}

/// Where an open file is now, as the kernel knows it; `None` where it does not say.
pub fn path_of(file: &File) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

/// A number for this boot of the machine; 0 where the kernel does not say.
pub fn boot() -> u64 {
    std::fs::read(BOOT_ID_PATH).map_or(0, |text| xxh3_64(text.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_cover_the_first_and_the_last_kilobyte() {
        let bytes: Vec<u8> = (0..3000u32).map(|n| (n % 251) as u8).collect();
        assert_eq!(Mark::of_head(&bytes), Mark::of_head(&bytes[..MARK_BYTES]));
        assert_eq!(Mark::of_tail(&bytes), Mark::of_tail(&bytes[3000 - MARK_BYTES..]));
        assert_ne!(Mark::of_head(&bytes[..1023]), Mark::of_head(&bytes));
        assert_eq!(Mark::of_head(b""), Mark::EMPTY);
    }

    #[test]
    fn marks_of_a_file_are_those_of_its_bytes() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("f");
        let bytes: Vec<u8> = (0..3000u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &bytes).expect("write");
        let file = open(&path).expect("open");
        assert_eq!(Mark::read(&file, 0, 1024).expect("read"), Some(Mark::of_head(&bytes)));
        assert_eq!(Mark::read_before(&file, 3000).expect("read"), Some(Mark::of_tail(&bytes)));
        assert_eq!(Mark::read_before(&file, 10).expect("read"), Some(Mark::of_tail(&bytes[..10])));
        assert_eq!(Mark::read_before(&file, 0).expect("read"), Some(Mark::EMPTY));
        assert_eq!(Mark::read_before(&file, 3001).expect("read"), None);
        assert_eq!(path_of(&file), Some(path));
    }

    #[test]
    fn a_deleted_file_has_no_links() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("f");
        std::fs::write(&path, "x").expect("write");
        let file = open(&path).expect("open");
        let before = Stat::of(&path).expect("stat");
        assert!(before.regular && before.links == 1 && before.size == 1);
        std::fs::remove_file(&path).expect("remove");
        let after = Stat::of_file(&file).expect("stat");
        assert!(after.links == 0 && after.same_file(before.key, before.birth));
    }
}
