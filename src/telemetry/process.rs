//! What the system knows of this process, under the names that every program has in Prometheus.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::exposition::{Exposition, Kind};

/// Size of the unit of `/proc/self/status`.
const KIB: u64 = 1024;

/// This process, since it began to work.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    began: SystemTime,
}

impl Process {
    /// Called once, at the start.
    pub fn begin() -> Self {
        Process { began: SystemTime::now() }
    }

    /// Writes its figures; what the system does not tell is left out.
    pub fn write(&self, page: &mut Exposition) {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        page.family("process_cpu_seconds_total", Kind::Counter, "CPU time of the process.").sample(&[], cpu);
        if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
            let memory = [
                ("VmRSS:", "process_resident_memory_bytes", "Memory that the process has in RAM."),
                ("VmSize:", "process_virtual_memory_bytes", "Memory that the process may address."),
            ];
            for (field, name, help) in memory {
                if let Some(bytes) = kib(&status, field) {
                    page.family(name, Kind::Gauge, help).sample(&[], bytes * KIB);
                }
            }
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            // One of them is the folder's own, open while it is counted.
            let open = (open.count() as u64).saturating_sub(1);
            page.family("process_open_fds", Kind::Gauge, "Open files and connections.").sample(&[], open);
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            page.family("process_max_fds", Kind::Gauge, "Most files and connections that may be open.")
                .sample(&[], most);
        }
        if let Ok(began) = self.began.duration_since(UNIX_EPOCH) {
            page.family("process_start_time_seconds", Kind::Gauge, "When the process began, since 1970.")
                .sample(&[], began.as_secs_f64());
        }
    }
}

/// A figure in KiB of `/proc/self/status`.
fn kib(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::exposition::Format;
    use super::*;

    #[test]
    fn a_process_has_its_figures() {
        let mut page = Exposition::new(Format::Text);
        Process::begin().write(&mut page);
        let text = page.finish();
        let value = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            found.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
        };
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!((3.0..value("process_max_fds")).contains(&value("process_open_fds")));
        assert!(value("process_start_time_seconds") > 1.7e9);
    }

    #[test]
    fn a_figure_is_read_by_its_name() {
        let status = "VmSize:\t  5000 kB\nVmRSS:\t    12 kB\nThreads:\t3\n";
        assert_eq!((kib(status, "VmRSS:"), kib(status, "Threads:"), kib(status, "VmSwap:")), (Some(12), None, None));
    }
}
