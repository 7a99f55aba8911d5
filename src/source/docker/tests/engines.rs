//! Engines that come and go, and what stands between them and us.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::super::own::Own;
use super::super::{Address, Environment};
use super::*;

/// A TCP proxy in front of the engine's socket that cuts every connection after this long, as those in front of remote engines
/// cut what is quiet.
async fn cutting_proxy(life: Duration) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = tokio::net::UnixStream::connect("/var/run/docker.sock").await.expect("the engine");
                let copy = tokio::io::copy_bidirectional(&mut near, &mut far);
                let _ = tokio::time::timeout(life, copy).await;
            });
        }
    });
    format!("tcp://{address}")
}

/// An engine of a test's own, to be stopped and started.
pub(super) struct Dockerd {
    dir: PathBuf,
    child: Child,
}

impl Dockerd {
    pub(super) fn host(dir: &Path) -> String {
        format!("unix://{}/docker.sock", dir.display())
    }

    fn start(dir: &Path, options: &[&str]) -> Dockerd {
        Dockerd::start_by(Command::new("/usr/sbin/dockerd"), dir, options)
    }

    /// By this command, which hands its arguments and a TERM on to dockerd.
    pub(super) fn start_by(mut command: Command, dir: &Path, options: &[&str]) -> Dockerd {
        let path = |name: &str| dir.join(name).display().to_string();
        let log = std::fs::File::options().create(true).append(true).open(path("log")).expect("log");
        let child = command
            .args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["--host", &Dockerd::host(dir), "--iptables=false", "--bridge=none", "--ip-masq=false"])
            .args(options)
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("dockerd");
        let dockerd = Dockerd { dir: dir.to_owned(), child };
        let end = Instant::now() + PATIENCE;
        let answers = || {
            let host = Dockerd::host(dir);
            Command::new("docker").env("DOCKER_HOST", host).arg("version").output().is_ok_and(|o| o.status.success())
        };
        while !answers() {
            assert!(Instant::now() < end, "dockerd did not come up, see {}", path("log"));
            std::thread::sleep(Duration::from_millis(50));
        }
        dockerd
    }

    /// As its unit would: on TERM. Containers stay, and with live-restore they go on.
    fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = self.child.id().to_string();
            let _ = Command::new("kill").arg(pid).status();
            let _ = self.child.wait();
        }
    }

    pub(super) fn load(&self, image: &str) {
        let host = Dockerd::host(&self.dir);
        let pipe = format!("docker save {image} | DOCKER_HOST={host} docker load");
        let load = Command::new("sh").args(["-c", &pipe]).output().expect("sh");
        assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let host = Dockerd::host(&self.dir);
            let _ = Command::new("sh").env("DOCKER_HOST", host).args(["-c", "docker rm -f $(docker ps -aq)"]).output();
            self.stop();
        }
    }
}

#[tokio::test]
async fn connections_that_are_cut_again_and_again_cost_nothing() {
    let mut engine = Engine::usual();
    let mut options = engine.options();
    options.host = Host::Address(cutting_proxy(Duration::from_millis(800)).await);
    let source = start(options, &Log::default(), Vec::new());
    let script = "import os, time\nfor n in range(30000):\n  os.write(1, b'line%d %s\\n' % (n, b'x' * 30))\n  \
                  if n % 97 == 0: os.write(2, b'err%d\\n' % n)\n  if n % 100 == 0: time.sleep(0.02)";
    let name = engine.python("cut", script);
    let records = source.until(|r| count(r, &name, "stdout") >= 30_000 && count(r, &name, "stderr") >= 310).await;
    let expected = numbered("line", 0..30_000).into_iter().map(|line| format!("{line} {}", "x".repeat(30)));
    assert!(messages(&records, &name, "stdout").into_iter().eq(expected));
    assert_eq!(count(&records, &name, "stderr"), 310);
    assert!(source.stats.reconnects() > 3 && source.stats.gaps().0 == 0, "{:?}", source.stats);
    engine.wait(&name);
    source.kill().await;
}

#[tokio::test]
async fn an_engine_that_is_absent_and_then_stops_and_starts_costs_nothing() {
    let dir = tempfile::tempdir().expect("folder");
    let mut engine = Engine::at(Some(Dockerd::host(dir.path())));
    let source = start(engine.options(), &Log::default(), Vec::new());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!source.stats.engine_up() && !source.task.is_finished());
    let mut dockerd = Dockerd::start(dir.path(), &[]);
    dockerd.load(BUSYBOX);
    let script = "n=$(cat /n 2>/dev/null || echo 0); trap 'echo bye; echo $n >/n; exit' TERM; \
                  while :; do echo line$n; echo err$n >&2; n=$((n+1)); [ $((n % 50)) = 0 ] && sleep 0.02; done";
    let name = engine.run("going", &["--restart", "always"], script);
    source.until(|r| count(r, &name, "stdout") > 500).await;
    for _ in 0..3 {
        let before = count(&source.log.records(), &name, "stdout");
        dockerd.stop();
        dockerd = Dockerd::start(dir.path(), &[]);
        source.until(|r| count(r, &name, "stdout") > before + 500).await;
    }
    engine.call(&["stop", "-t", "5", &name]);
    let stats = Arc::clone(&source.stats);
    let log = source.log.clone();
    assert_eq!(source.stop().await, Drained { origins: 2, left_bytes: 0 });
    let records = log.records();
    let output = engine.docker(&["logs", &name]).output().expect("logs");
    for (stream, bytes) in [("stdout", output.stdout), ("stderr", output.stderr)] {
        let text = String::from_utf8(bytes).expect("text");
        let expected: Vec<&str> = text.lines().collect();
        let found = messages(&records, &name, stream);
        assert!(expected == found, "{stream}: {} of {}", found.len(), expected.len());
        assert!(found.len() > 1500);
    }
    assert_eq!(stats.gaps().0, 0, "{:?}", stats.gaps());
    drop(engine);
    drop(dockerd);
}

#[tokio::test]
async fn an_engine_restart_with_live_restore_costs_nothing() {
    let dir = tempfile::tempdir().expect("folder");
    let mut engine = Engine::at(Some(Dockerd::host(dir.path())));
    let mut dockerd = Dockerd::start(dir.path(), &["--live-restore"]);
    dockerd.load(BUSYBOX);
    let source = start(engine.options(), &Log::default(), Vec::new());
    let name =
        engine.run("live", &[], "n=0; while :; do echo line$n; n=$((n+1)); [ $((n % 50)) = 0 ] && sleep 0.02; done");
    source.until(|r| count(r, &name, "stdout") > 500).await;
    dockerd.stop();
    dockerd = Dockerd::start(dir.path(), &["--live-restore"]);
    let before = count(&source.log.records(), &name, "stdout");
    let records = source.until(|r| count(r, &name, "stdout") > before + 500).await;
    let found = messages(&records, &name, "stdout");
    assert_eq!(found, numbered("line", 0..found.len() as u64));
    engine.call(&["rm", "-f", &name]);
    source.stop().await;
    drop(engine);
    drop(dockerd);
}

#[tokio::test]
async fn whoever_shares_a_network_is_told_from_whose_it_is() {
    let mut engine = Engine::usual();
    let host = engine.run("host", &[], "cat /proc/self/mountinfo; exec sleep 1000");
    let full = engine.name("guest");
    let network = format!("container:{host}");
    let script = "cat /proc/self/mountinfo; exec sleep 1000";
    engine.call(&["run", "-d", "--name", &full, "--network", &network, BUSYBOX, "sh", "-c", script]);
    let (host, guest) = (engine.id(&host), engine.id(&full));
    let address = Address::of(&Host::Auto, &Environment::read()).expect("an address");
    let client = super::super::engine::Engine::new(&address, Arc::default()).expect("a client");
    for (own, other) in [(&host, &guest), (&guest, &host)] {
        let end = Instant::now() + PATIENCE;
        let mountinfo = loop {
            let logs = engine.call(&["logs", own]);
            if logs.contains(" /etc/resolv.conf ") {
                break logs;
            }
            assert!(Instant::now() < end, "no mounts: {logs}");
        };
        let mut found = Own::new("", &mountinfo, &host[..12]);
        assert!(found.is(&host), "without the engine it looks like that");
        found.settle(&client).await.expect("the engine answers");
        assert!(found.is(own) && !found.is(other), "{found:?}");
    }
}

#[tokio::test]
async fn a_stop_without_an_engine_ends() {
    let mut options = Engine::usual().options();
    options.host = Host::Address("unix:///nowhere/docker.sock".into());
    let source = start(options, &Log::default(), Vec::new());
    let (done, answer) = oneshot::channel();
    let deadline = Some(tokio::time::Instant::now() + Duration::from_millis(700));
    let settle = Duration::from_secs(1);
    source.control.send(Control::Stop { settle, deadline, done }).await.expect("it runs");
    assert_eq!(answer.await.expect("an answer"), Drained::default());
}
