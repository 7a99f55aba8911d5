//! The state folder: one process at a time, and what is kept in it of the machine that it belongs to.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::identity::{self, Identity, Settled, Wanted};
use crate::azure::whereabouts::{self, Need, Whereabouts};

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
    IDENTITY,
    "identity.new",
    "lock",
    "manifests",
];

/// The file of the machine's identity.
const IDENTITY: &str = "identity.json";

/// Longest that a start is to take where columns come from IMDS; over [`Need::patience`] of those.
const START_MAX: Duration = Duration::from_secs(120);

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("state.dir {dir:?} cannot be used: {source}; it must be a folder that this user may write to")]
    Io { dir: PathBuf, source: io::Error },
    #[error("state.dir {dir:?} is in use by process {holder}; give this one a state.dir of its own, or stop that one")]
    Held { dir: PathBuf, holder: String },
}

/// An open state folder; the lock on it lasts as long as this value, and ends with the process however that ends.
#[derive(Debug)]
pub struct StateDir {
    dir: PathBuf,
    _lock: File,
    /// What an earlier start left.
    kept: Option<Identity>,
}

impl StateDir {
    /// Makes the folder if need be, and locks it.
    ///
    /// # Errors
    /// [`StateError`], which names the process that holds it.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let io_error = |source: io::Error| StateError::Io { dir: dir.to_owned(), source };
        make_private(dir).map_err(io_error)?;
        let lock = lock(dir)?;
        let kept = match std::fs::read(dir.join(IDENTITY)) {
            Ok(bytes) => serde_json::from_slice(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error(error)),
        };
        Ok(StateDir { dir: dir.to_owned(), _lock: lock, kept })
    }

    /// Finds out where this machine is, settles the columns of every record, and keeps what was found out. IMDS is waited
    /// for as [`Need::patience`] says, and no longer than until `give_up`.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub async fn settle(
        &mut self,
        wanted: &Wanted,
        user_agent: &str,
        give_up: impl Future<Output = ()>,
    ) -> Result<Settled, StateError> {
        let need = wanted.need(self.kept.as_ref(), &machine_id());
        if need == Need::Columns {
            // The service manager gives a start 90 s.
            super::service::notify(&format!("EXTEND_TIMEOUT_USEC={}", START_MAX.as_micros()));
        }
        let found = tokio::select! {
            biased;
            found = whereabouts::find(&wanted.azure, need, user_agent) => found,
            () = give_up => Whereabouts::Silent { reason: "a signal came before IMDS had answered".to_owned() },
        };
        if let Whereabouts::Azure(vm) = &found {
            tracing::info!(vm = vm.name, id = vm.vm_id, region = vm.location, "this is a VM of Azure");
        }
        self.settle_by(wanted, &found)
    }

    fn settle_by(&mut self, wanted: &Wanted, found: &Whereabouts) -> Result<Settled, StateError> {
        let outcome = identity::settle(wanted, self.kept.as_ref(), &machine_id(), found, &host_name());
        for warning in &outcome.warnings {
            tracing::warn!("{warning}");
        }
        if self.kept.as_ref() != Some(&outcome.keep) {
            let bytes = serde_json::to_vec(&outcome.keep).unwrap_or_default();
            let written = write_durably(&self.dir, &self.dir.join(IDENTITY), &bytes);
            written.map_err(|source| StateError::Io { dir: self.dir.clone(), source })?;
            self.kept = Some(outcome.keep);
        }
        Ok(outcome.settled)
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
    use crate::azure::imds::Instance;

    #[test]
    fn a_second_process_is_refused_and_told_who_holds_the_folder() {
        let dir = tempfile::tempdir().expect("dir");
        let held = StateDir::open(dir.path()).expect("open");
        let error = StateDir::open(dir.path()).expect_err("held");
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        StateDir::open(dir.path()).expect("free again");
    }

    #[test]
    fn a_state_folder_is_for_its_user_alone_and_a_shared_one_keeps_its_mode() {
        let dir = tempfile::tempdir().expect("dir");
        let mode = |dir: &Path| std::fs::metadata(dir).expect("metadata").mode() & 0o777;
        let made = dir.path().join("a/b");
        drop(StateDir::open(&made).expect("open"));
        assert_eq!(mode(&made), 0o700);
        let open_it = |extra: Option<&str>| {
            std::fs::set_permissions(&made, Permissions::from_mode(0o755)).expect("mode");
            if let Some(name) = extra {
                std::fs::write(made.join(name), b"").expect("write");
            }
            drop(StateDir::open(&made).expect("open"));
            mode(&made)
        };
        assert_eq!(open_it(None), 0o700);
        assert_eq!(open_it(Some("notes.txt")), 0o755);
    }

    fn wanted(vm_name: Option<&str>) -> Wanted {
        Wanted {
            columns: Vec::new(),
            vm_name: vm_name.map(|name| whereabouts::Value::Text(name.to_owned())),
            azure: whereabouts::Options { imds: crate::azure::imds::address(), certain: false },
        }
    }

    /// A start in which IMDS says that the VM has this name and this id.
    fn start(dir: &Path, vm_name: Option<&str>, name: &str, vm_id: &str) -> Settled {
        let instance = Instance { name: name.to_owned(), vm_id: vm_id.to_owned(), ..Instance::default() };
        let mut state = StateDir::open(dir).expect("open");
        state.settle_by(&wanted(vm_name), &Whereabouts::Azure(Box::new(instance))).expect("settle")
    }

    #[test]
    fn the_vm_name_is_settled_once() {
        let dir = tempfile::tempdir().expect("dir");
        let name = |wanted: Option<&str>, found: &str| start(dir.path(), wanted, found, "id").vm_name;
        assert_eq!(name(None, "first"), "first");
        assert_eq!(name(None, "second"), "first");
        assert_eq!(name(Some("wanted"), "second"), "wanted");
        assert_eq!(name(None, "second"), "first");
    }

    #[test]
    fn a_folder_of_another_machine_is_known_as_a_copy() {
        let dir = tempfile::tempdir().expect("dir");
        assert!(!start(dir.path(), None, "a", "one").cloned);
        let copied = start(dir.path(), None, "b", "other");
        assert_eq!((copied.cloned, copied.vm_name.as_str()), (true, "b"));
        assert!(!start(dir.path(), None, "b", "other").cloned);
        std::fs::write(dir.path().join(IDENTITY), r#"{"machine_id":"other","vm_name":"a"}"#).expect("write");
        let mut state = StateDir::open(dir.path()).expect("open");
        let settled = state.settle_by(&wanted(None), &Whereabouts::Elsewhere).expect("settle");
        let has_id = !machine_id().is_empty();
        assert_eq!((settled.cloned, settled.vm_name), (has_id, if has_id { host_name() } else { "a".to_owned() }));
    }

    #[test]
    fn an_identity_that_cannot_be_read_is_settled_anew() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(dir.path().join(IDENTITY), "{torn").expect("write");
        assert_eq!(start(dir.path(), None, "a", "one").vm_name, "a");
        assert_eq!(start(dir.path(), None, "b", "one").vm_name, "a");
    }

    #[tokio::test]
    async fn a_signal_ends_the_wait_for_imds() {
        let dir = tempfile::tempdir().expect("dir");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let mut wanted = wanted(None);
        wanted.azure = whereabouts::Options { imds: address.parse().expect("a URL"), certain: true };
        let mut state = StateDir::open(dir.path()).expect("open");
        let given_up = async { tokio::time::sleep(Duration::from_millis(50)).await };
        let settled = tokio::time::timeout(Duration::from_secs(2), state.settle(&wanted, "logferry-test", given_up));
        assert_eq!(settled.await.expect("in time").expect("settle").vm_name, host_name());
    }
}
