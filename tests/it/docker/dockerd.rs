//! A Docker engine of a test's own, to be stopped and started.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Instant;

use tempfile::TempDir;

use crate::support::ferry::PATIENCE;

pub struct Dockerd {
    dir: TempDir,
    options: &'static [&'static str],
    child: Option<Child>,
}

impl Dockerd {
    /// Starts one in a folder of its own, with `image` of the usual engine.
    pub fn start(options: &'static [&'static str], image: &str) -> Dockerd {
        let mut dockerd = Dockerd { dir: tempfile::tempdir().expect("a folder"), options, child: None };
        dockerd.go_on();
        let pipe = format!("docker save {image} | DOCKER_HOST={} docker load", dockerd.host());
        let load = Command::new("sh").args(["-c", &pipe]).output().expect("sh");
        assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
        dockerd
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// As its unit would: on TERM. Without live-restore it ends its containers first.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // Where it has ended by itself, there is nothing to signal.
        let _ = Command::new("kill").arg(child.id().to_string()).output();
        let _ = child.wait();
    }

    /// Starts it again; it answers when this returns.
    pub fn go_on(&mut self) {
        let path = |name: &str| self.path(name).display().to_string();
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).expect("a log");
        let program = if Path::new("/usr/sbin/dockerd").exists() { "/usr/sbin/dockerd" } else { "dockerd" };
        let child = Command::new(program)
            .args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["--host", &self.host(), "--iptables=false", "--bridge=none", "--ip-masq=false"])
            .args(self.options)
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("dockerd");
        self.child = Some(child);
        let end = Instant::now() + PATIENCE;
        let answers = || {
            let version = Command::new("docker").env("DOCKER_HOST", self.host()).arg("version").output();
            version.is_ok_and(|output| output.status.success())
        };
        while !answers() {
            assert!(Instant::now() < end, "dockerd did not come up: {}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        crate::support::ferry::tail(&text).to_owned()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // With live-restore they would outlive it.
        let remove = "ids=$(docker ps -aq); [ -z \"$ids\" ] || docker rm -f $ids";
        if self.child.is_some() {
            let _ = Command::new("sh").env("DOCKER_HOST", self.host()).args(["-c", remove]).output();
        }
        self.stop();
    }
}
