//! A network of a test's own: a namespace with a loopback device and the address of IMDS on it. Nothing leaves it, and
//! nothing of the machine's network is seen in it; files, and with them the Docker socket, are.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where IMDS is on every Azure VM.
pub const IMDS_ADDRESS: &str = "169.254.169.254";

/// Where `ip netns` keeps its namespaces, by name.
const NAMESPACES: &str = "/run/netns";

const PREFIX: &str = "logferry-test-";

/// A namespace; gone when it is dropped, but for what still runs in it.
pub struct Network {
    name: String,
}

impl Network {
    /// With the address of IMDS on its loopback device. `None` where this user may not make one.
    pub fn new() -> Option<Self> {
        let address = format!("{IMDS_ADDRESS}/32");
        Self::make(&[&["link", "set", "lo", "up"], &["addr", "add", &address, "dev", "lo"]])
    }

    /// One whose packets to anywhere vanish, as those to the address of IMDS do on most machines that are not Azure's.
    /// `None` where this user may not make one.
    pub fn that_swallows() -> Option<Self> {
        // One end of a cable; what is sent to the neighbour at the other end, nobody takes.
        Self::make(&[
            &["link", "set", "lo", "up"],
            &["link", "add", "cable", "type", "veth", "peer", "name", "end"],
            &["link", "set", "cable", "up"],
            &["link", "set", "end", "up"],
            &["addr", "add", "10.9.9.9/24", "dev", "cable"],
            &["route", "add", "default", "via", "10.9.9.1"],
            &["neigh", "add", "10.9.9.1", "lladdr", "02:00:00:00:00:01", "dev", "cable"],
        ])
    }

    fn make(commands: &[&[&str]]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        remove_abandoned();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{count}", std::process::id());
        if let Err(reason) = ip(&["netns", "add", &name]) {
            eprintln!("not tested: no network namespace: {reason}");
            return None;
        }
        let network = Network { name };
        for arguments in commands {
            ip(&[&["-n", network.name.as_str()], *arguments].concat()).expect("ip");
        }
        Some(network)
    }

    /// The words that start a program in it, for `Ferry::start_by`.
    pub fn starter(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// The same on a machine whose chassis has the tag of Azure's: the program sees a `/sys/class` with that alone.
    pub fn starter_on_azure(&self) -> Vec<&str> {
        // `ip netns exec` has given the program mounts of its own.
        let script = "mount -t tmpfs none /sys/class && mkdir -p /sys/class/dmi/id && \
                      echo 7783-7084-3265-9085-8269-3286-77 >/sys/class/dmi/id/chassis_asset_tag && exec \"$@\"";
        [&self.starter()[..], &["sh", "-c", script, "sh"]].concat()
    }

    /// Does something on a thread in it. A socket stays in the network that it was made in, and a thread begins in
    /// that of the thread that started it.
    ///
    /// # Panics
    /// As `act`.
    pub fn enter<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(Path::new(NAMESPACES).join(&self.name)).expect("the namespace");
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("setns");
                act()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// As [`Self::enter`], for what waits: on a runtime of its own, of one thread.
    pub fn block_on<T: Send>(&self, act: impl AsyncFnOnce() -> T + Send) -> T {
        self.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(act())
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let Output { status, stderr, .. } = Command::new("ip").args(arguments).output().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("ip {arguments:?}: {}", String::from_utf8_lossy(&stderr))) }
}

/// Removes what tests left behind that were killed: namespaces named after a process that is no more.
fn remove_abandoned() {
    for entry in std::fs::read_dir(NAMESPACES).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            // Another test may be faster.
            let _ = ip(&["netns", "del", &name]);
        }
    }
}
