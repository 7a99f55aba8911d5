//! The state folder: one process at a time, and the identity of the machine that it belongs to.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Mode of the state folder: records hold what programs log, and that is for nobody else.
const MODE: u32 = 0o700;

/// What a state folder holds. One with anything else in it (`/tmp`, say) is shared with others, and its mode is theirs.
const ENTRIES: &[&str] = &[
    ".logferry-check",
    "buffer",
    "control.sock",
    "cursors",
    "dead-letters",
    "docker",
    "identity.json",
    "identity.new",
    "lock",
    "manifests",
];

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("state.dir {dir:?} cannot be used: {source}; it must be a folder that this user may write to")]
    Io { dir: PathBuf, source: io::Error },
    #[error("state.dir {dir:?} is in use by process {holder}; give this one a state.dir of its own, or stop that one")]
    Held { dir: PathBuf, holder: String },
}

/// What is known of the machine; kept so that it is the same for every record of a state folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    machine_id: String,
    vm_name: String,
}

/// An open state folder; the lock on it lasts as long as this value, and ends with the process however that ends.
#[derive(Debug)]
pub struct StateDir {
    dir: PathBuf,
    _lock: File,
    vm_name: String,
    cloned: bool,
}

impl StateDir {
    /// Makes the folder if need be, locks it, and settles the VM's name: `wanted`, else the one of an earlier start on
    /// this machine, else what `discover` gives.
    ///
    /// # Errors
    /// [`StateError`], which names the process that holds it.
    pub fn open(dir: &Path, wanted: Option<&str>, discover: impl FnOnce() -> String) -> Result<Self, StateError> {
        let io_error = |source: io::Error| StateError::Io { dir: dir.to_owned(), source };
        make_private(dir).map_err(io_error)?;
        let lock = lock(dir)?;
        let path = dir.join("identity.json");
        let machine_id = machine_id();
        let kept: Option<Identity> = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error(error)),
        };
        // Without a machine id on either side nothing can be told, and nothing is assumed.
        let cloned = kept
            .as_ref()
            .is_some_and(|kept| !kept.machine_id.is_empty() && !machine_id.is_empty() && kept.machine_id != machine_id);
        let vm_name = match (wanted, &kept) {
            (Some(wanted), _) => wanted.to_owned(),
            (None, Some(kept)) if !cloned && !kept.vm_name.is_empty() => kept.vm_name.clone(),
            (None, _) => discover(),
        };
        let identity = Identity { machine_id, vm_name: vm_name.clone() };
        if kept.as_ref() != Some(&identity) {
            write_durably(dir, &path, &serde_json::to_vec(&identity).unwrap_or_default()).map_err(io_error)?;
        }
        Ok(StateDir { dir: dir.to_owned(), _lock: lock, vm_name, cloned })
    }

    /// Column VMName.
    pub fn vm_name(&self) -> &str {
        &self.vm_name
    }

    /// The folder was copied from another machine: its origins are not ours.
    pub fn cloned(&self) -> bool {
        self.cloned
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    pub fn buffer(&self) -> PathBuf {
        self.dir.join("buffer")
    }

    pub fn cursors(&self) -> PathBuf {
        self.dir.join("cursors")
    }

    pub fn manifests(&self) -> PathBuf {
        self.dir.join("manifests")
    }

    /// What a Docker source of this name notes beside the log.
    pub fn docker(&self, source: &str) -> PathBuf {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let name: String = source.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        // Names that differ in other characters only stay apart.
        let hash = xxhash_rust::xxh3::xxh3_64(source.as_bytes()) as u32;
        self.dir.join("docker").join(format!("{name}-{hash:08x}.json"))
    }

    pub fn dead_letters(&self) -> PathBuf {
        self.dir.join("dead-letters")
    }
}

/// Makes the folder if need be, and takes from others what they may do in it where it is this user's and holds nothing
/// but state.
///
/// # Errors
/// It is not there and cannot be made.
pub fn make_private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(MODE).create(dir)?;
    let found = std::fs::metadata(dir)?;
    let others_may = found.mode() & 0o077 != 0;
    if others_may && found.uid() == rustix::process::geteuid().as_raw() && holds_only_state(dir) {
        // Some file systems know no modes: then it stays as it is.
        if let Err(error) = std::fs::set_permissions(dir, Permissions::from_mode(MODE)) {
            tracing::warn!(dir = %dir.display(), %error, "others may read state.dir, and that cannot be changed");
        }
    }
    Ok(())
}

fn holds_only_state(dir: &Path) -> bool {
    let is_state = |entry: io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| ENTRIES.iter().any(|known| entry.file_name() == *known))
    };
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.all(is_state))
}

fn lock(dir: &Path) -> Result<File, StateError> {
    let io_error = |source: io::Error| StateError::Io { dir: dir.to_owned(), source };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join("lock"))
        .map_err(io_error)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).and_then(|()| file.rewind()).map_err(io_error)?;
            writeln!(file, "{}", std::process::id()).map_err(io_error)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Who holds it may be just writing its number: then there is none to show.
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            let holder = if holder.is_empty() { "?".to_owned() } else { holder.to_owned() };
            Err(StateError::Held { dir: dir.to_owned(), holder })
        }
        Err(TryLockError::Error(error)) => Err(io_error(error)),
    }
}

fn write_durably(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

fn machine_id() -> String {
    std::fs::read_to_string("/etc/machine-id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Name of the host, for a VM whose platform gives none.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_refused_and_told_who_holds_the_folder() {
        let dir = tempfile::tempdir().expect("dir");
        let held = StateDir::open(dir.path(), Some("vm"), String::new).expect("open");
        let error = StateDir::open(dir.path(), Some("vm"), String::new).expect_err("held");
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        StateDir::open(dir.path(), Some("vm"), String::new).expect("free again");
    }

    #[test]
    fn a_state_folder_is_for_its_user_alone_and_a_shared_one_keeps_its_mode() {
        let dir = tempfile::tempdir().expect("dir");
        let mode = |dir: &Path| std::fs::metadata(dir).expect("metadata").mode() & 0o777;
        let made = dir.path().join("a/b");
        drop(StateDir::open(&made, Some("vm"), String::new).expect("open"));
        assert_eq!(mode(&made), 0o700);
        let open_it = |extra: Option<&str>| {
            std::fs::set_permissions(&made, Permissions::from_mode(0o755)).expect("mode");
            if let Some(name) = extra {
                std::fs::write(made.join(name), b"").expect("write");
            }
            drop(StateDir::open(&made, Some("vm"), String::new).expect("open"));
            mode(&made)
        };
        assert_eq!(open_it(None), 0o700);
        assert_eq!(open_it(Some("notes.txt")), 0o755);
    }

    #[test]
    fn the_vm_name_is_settled_once() {
        let dir = tempfile::tempdir().expect("dir");
        let name = |wanted: Option<&str>, found: &str| {
            StateDir::open(dir.path(), wanted, || found.to_owned()).expect("open").vm_name().to_owned()
        };
        assert_eq!(name(None, "first"), "first");
        assert_eq!(name(None, "second"), "first");
        assert_eq!(name(Some("wanted"), "second"), "wanted");
    }

    #[test]
    fn a_folder_of_another_machine_is_known_as_a_copy() {
        let dir = tempfile::tempdir().expect("dir");
        assert!(!StateDir::open(dir.path(), None, || "a".to_owned()).expect("open").cloned());
        let other = Identity { machine_id: "other".to_owned(), vm_name: "a".to_owned() };
        std::fs::write(dir.path().join("identity.json"), serde_json::to_vec(&other).expect("json")).expect("write");
        let state = StateDir::open(dir.path(), None, || "b".to_owned()).expect("open");
        let has_id = !machine_id().is_empty();
        assert_eq!((state.cloned(), state.vm_name()), (has_id, if has_id { "b" } else { "a" }));
    }
}
